"""Stores whose checksums are right and whose documents are wrong: each is a finding, and mended."""

from __future__ import annotations

import copy
import json
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import google_crc32c
import numpy as np
import pytest
import xarray as xr

import cop_zarr
from cop_zarr.errors import StoreError
from cop_zarr.format.codec import encode
from cop_zarr.format.document import decode_root
from cop_zarr.format.layout import SMALL_KEYS
from tests.support.fuzz import seal
from tests.writing.small import COPY, ROOT, SHAPE, TABLE, VALID, check_values, objects

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ("valid", "latitude", "longitude", "band", "spatial_ref", "integrity", "integrity/embedding")


class Forger:
    """Changes a store, and makes its checksums right again."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.root = decode_root((store / ROOT).read_bytes())
        self.record = self.root["attributes"]["cop_zarr"]
        self.members = self.root["consolidated_metadata"]["metadata"]

    def put(self, key: str, data: bytes) -> None:
        (self.store / key).write_bytes(data)
        self.record["objects"][key] = [len(data), int(google_crc32c.value(data))]

    def describe(self, name: str, **members: object) -> None:
        """Change what the root and the array's own document say, alike."""
        self.members[name] |= members
        self.put(f"{name}/zarr.json", json.dumps(self.members[name]).encode())

    def seal(self) -> None:
        for key in (ROOT, COPY):
            (self.store / key).write_bytes(seal(copy.deepcopy(self.root)))


Change = tuple[str, "Callable[[Forger], object]"]

CHANGES: dict[str, Change] = {
    **{
        f"no record of {key}": (key, lambda f, key=key: f.record["objects"].pop(key))
        for key in sorted(SMALL_KEYS)
    },
    **{
        f"a record of {key}": (key, lambda f, key=key: f.record["objects"].update({key: [3, 4]}))
        for key in ("embedding/c/0/0/0", "embedding/c/0/2/4", f"embedding/c/0/{10**20}/0", ROOT, COPY)
    },
    **{
        f"{word} for {name} in the root": (
            f"{name}/zarr.json",
            lambda f, name=name, value=value: f.members.update({name: value}),
        )
        for name in NAMES
        for word, value in {"null": None, "text": "a", "nothing": {}}.items()
    },
    **{
        f"{data[:2]!r} as document of {name}": (
            f"{name}/zarr.json",
            lambda f, name=name, data=data: f.put(f"{name}/zarr.json", data),
        )
        for name in (*NAMES, "embedding")
        for data in (b"[1]", b"[" * 9999, b"NaN", b'"\xff"')
    },
    **{
        f"{member} of {name}": (
            f"{name}/zarr.json",
            lambda f, name=name, member=member, value=value: f.describe(name, **{member: value}),
        )
        for name in NAMES
        if name != "integrity"
        for member, value in {
            "shape": [1],
            "data_type": "int8",
            "codecs": [],
            "fill_value": 7,
            "dimension_names": ["x", "y"],
        }.items()
    },
    "names of embedding": ("embedding/zarr.json", lambda f: f.describe("embedding", dimension_names=None)),
    "one more member": (ROOT, lambda f: f.members.update({"../a": f.members["integrity"]})),
    "an array as root": (ROOT, lambda f: f.root.update(node_type="array")),
    "another CRS": (ROOT, lambda f: f.root["attributes"].update({"proj:code": "EPSG:3857"})),
    "another bbox": (ROOT, lambda f: f.root["attributes"].update({"spatial:bbox": [0, 0, 1, 1]})),
    "another mask": (VALID, lambda f: f.put(VALID, encode(np.full(SHAPE, 2, "u1").view("?")))),
    "a short latitude": ("latitude/c/0", lambda f: f.put("latitude/c/0", b"abc")),
    "another latitude": ("latitude/c/0", lambda f: f.put("latitude/c/0", encode(np.zeros(SHAPE[0])))),
    "a short spatial_ref": ("spatial_ref/c", lambda f: f.put("spatial_ref/c", b"abc")),
}

A_FEW = [
    *(
        f"no record of {TABLE}",
        f"no record of {VALID}",
        "a record of embedding/c/0/2/4",
        "null for valid in the root",
    ),
    *(
        "b'[1]' as document of latitude",
        "shape of latitude",
        "data_type of valid",
        "another CRS",
        "one more member",
    ),
    *("another mask", "another latitude"),
]


@pytest.mark.parametrize(
    "change", [pytest.param(name, marks=[] if name in A_FEW else pytest.mark.slow) for name in CHANGES]
)
def test_a_wrong_document_is_found_and_mended(
    copied: Path, small_source: Path, small_store: Path, change: str
) -> None:
    """The rest is still checked: a flipped chunk is found as well, unless the integrity table is wrong."""
    forger, (key, forge) = Forger(copied), CHANGES[change]
    forge(forger)
    forger.seal()
    (copied / "embedding/c/0/3/3").write_bytes(b"damaged")
    found = {problem.key for problem in cop_zarr.verify(copied).problems}
    assert key in found
    assert "embedding/c/0/3/3" in found or key == TABLE
    assert cop_zarr.repair(copied, small_source).ok
    assert objects(copied) == objects(small_store)
    check_values(cop_zarr.open(copied))


def test_the_changes_that_readers_follow_do_harm(copied: Path) -> None:
    """Or it would be no finding."""
    forger = Forger(copied)
    forger.describe("latitude", data_type="int64")
    forger.seal()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = xr.open_zarr(copied).latitude.values
    assert abs(values).max() > 90
    assert not cop_zarr.verify(copied).ok


@pytest.mark.parametrize("empty", [(0, 0), (4, 1)])
def test_a_table_and_a_mask_that_are_wrong_about_an_empty_chunk(
    copied: Path, small_source: Path, small_store: Path, empty: tuple[int, int]
) -> None:
    store = cop_zarr.open(copied)
    assert not store._reader.holds_data(*empty)
    table = store._reader.encoded.table
    mask = store.valid.copy()
    forger = Forger(copied)
    table[:, *empty] = 5
    mask[empty[0] * 8, empty[1] * 8] = True
    forger.put(TABLE, encode(table))
    forger.put(VALID, encode(mask))
    forger.seal()
    assert not cop_zarr.verify(copied).ok
    assert cop_zarr.repair(copied, small_source).ok
    assert objects(copied) == objects(small_store)


def test_a_root_that_is_not_valid_nor_its_copy_is_not_said_to_be_repairable(
    copied: Path, small_source: Path
) -> None:
    forger = Forger(copied)
    del forger.members["embedding"]
    forger.seal()
    for call in (cop_zarr.open, cop_zarr.verify, lambda store: cop_zarr.repair(store, small_source)):
        with pytest.raises(StoreError, match="ingest") as caught:
            call(copied)
        assert "Repair it" not in str(caught.value)
    shutil.rmtree(copied)
    cop_zarr.ingest(small_source, copied)
