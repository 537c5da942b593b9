"""From source to store: every bit arrives, in bounded memory, and a store is whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import rasterio
import zarr

import cop_zarr
from cop_zarr import storage
from cop_zarr.core import product
from cop_zarr.errors import (
    InputError,
    MemoryLimitError,
    SourceError,
    StorageError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
)
from cop_zarr.writing.blockwise import BASE_BYTES
from tests.support import factory
from tests.writing.small import BANDS, COLS, ROWS, objects, truth

Write = Callable[[storage.LocalFolder, str, bytes], None]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A destination with nothing beside it."""
    (tmp_path / "stores").mkdir()
    return tmp_path / "stores" / "out.zarr"


@pytest.fixture(scope="module")
def broken(small_source: Path) -> Path:
    """A source whose tags are right and whose last tile does not decode."""
    path = small_source.with_name("broken.tif")
    path.write_bytes(small_source.read_bytes()[:-40] + bytes(40))
    with rasterio.open(path) as tiff, pytest.raises(rasterio.errors.RasterioIOError):
        tiff.read()
    return path


def beside(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir())


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one.view("u4"), other.view("u4"))


# Values


def test_the_globe_arrives_bit_for_bit(store_path: Path, source: Path, globe: np.ndarray) -> None:
    with rasterio.open(source) as tiff:
        assert same_bits(tiff.read(), globe)
    group, valid = zarr.open(store_path, mode="r"), globe.any(axis=0)
    assert same_bits(group["embedding"][:, 200:300], globe[:, 200:300])
    assert np.array_equal(group["valid"][:], valid)
    stored = np.pad(valid, ((0, 7), (0, 0))).reshape(91, 8, 180, 8).any(axis=(1, 3))
    assert 0 < stored.sum() < stored.size  # a chunk without data has no object
    assert {path.relative_to(store_path).as_posix() for path in store_path.glob("embedding/c/0/*/*")} == {
        f"embedding/c/0/{row}/{col}" for row, col in np.argwhere(stored)
    }


@pytest.mark.parametrize(
    ("rows", "cols", "bands"),
    [
        ((681, 721), (1400, 1440), 1),
        ((301, 320), (1425, 1462), 3),  # over the antimeridian
        ((296, 310), (720, 2160), 3),  # 0 … 360
        ((13, 14), (21, 22), 1),  # one cell
    ],
)
def test_a_part_of_the_globe_arrives_bit_for_bit(
    tmp_path: Path, out: Path, rows: tuple[int, int], cols: tuple[int, int], bands: int
) -> None:
    path = factory.write_geotiff(tmp_path / "a.tif", rows=rows, cols=cols, bands=bands)
    report = cop_zarr.ingest(path, out)
    with rasterio.open(path) as tiff:
        values, bounds = tiff.read(), tiff.bounds
    assert same_bits(zarr.open(out, mode="r")["embedding"][:], values)
    assert tuple(cop_zarr.open(out).grid.bounds) == (bounds.left, bounds.bottom, bounds.right, bounds.top)
    valid = values.any(axis=0)
    assert np.array_equal(cop_zarr.open(out).valid, valid)
    assert (report.valid_cells, report.total_cells) == (valid.sum(), valid.size)


def test_a_source_without_data_becomes_a_store_without_chunks(tmp_path: Path, out: Path) -> None:
    path = factory.write_geotiff(tmp_path / "a.tif", np.zeros((2, 20, 20), "f4"))
    report = cop_zarr.ingest(path, out)
    assert (report.valid_cells, report.chunks_stored, report.chunks_total) == (0, 0, 9)
    assert not (out / "embedding" / "c").exists()
    assert not zarr.open(out, mode="r")["embedding"][:].any()
    assert cop_zarr.verify(out, path).ok


# Reproducible bytes


@pytest.mark.usefixtures("fixed_time")
@pytest.mark.parametrize(
    "profile",
    [
        {"interleave": "band", "blockxsize": 16, "blockysize": 32},
        {"tiled": False, "blockxsize": None, "blockysize": 5},
        {"compress": None, "bigtiff": "YES", "endianness": "BIG"},
        {"compress": "zstd", "predictor": 3},
    ],
)
def test_the_container_makes_no_difference(
    small_store: Path, tmp_path: Path, out: Path, profile: dict
) -> None:
    other = factory.write_geotiff(tmp_path / "other.tif", rows=ROWS, cols=COLS, bands=BANDS, **profile)
    cop_zarr.ingest(other, out)
    names_source = {"zarr.json", "integrity/root.json"}
    assert {key: data for key, data in objects(out).items() if key not in names_source} == {
        key: data for key, data in objects(small_store).items() if key not in names_source
    }


@pytest.mark.usefixtures("fixed_time")
def test_workers_runs_and_destinations_make_no_difference(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    source = factory.write_geotiff(
        tmp_path / "a.tif", rows=(0, 100), cols=(0, 200), bands=4, blockxsize=32, blockysize=32
    )
    cop_zarr.ingest(source, out, workers=1)
    expected = objects(out)
    assert cop_zarr.open(out).info()["created"] == "2023-11-14T22:13:20+00:00"
    for number, workers in enumerate([2, 4, 4]):
        for url in (str(tmp_path / str(number)), f"memory://{tmp_path.name}/{number}"):
            cop_zarr.ingest(source, url, workers=workers)
            assert objects(url) == expected


def test_the_time_is_recorded(small_source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.time()
    cop_zarr.ingest(small_source, out)
    created = np.datetime64(cop_zarr.open(out).info()["created"].removesuffix("+00:00"), "s")
    assert int(before) <= created.astype(int) <= time.time()
    for epoch in ("abc", "99999999999999"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        with pytest.raises(InputError, match="SOURCE_DATE_EPOCH"):
            cop_zarr.ingest(small_source, out.with_name("b.zarr"))
    assert beside(out) == ["out.zarr"]


# Reports, plans, progress


def test_the_report_counts_what_is_there(small_source: Path, out: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = cop_zarr.ingest(small_source, out, progress=lambda *pair: seen.append(pair))
    valid = truth().any(axis=0)
    stored = np.pad(valid, ((0, 3), (0, 3))).reshape(5, 8, 7, 8).any(axis=(1, 3))
    assert report.store == str(out)
    assert (report.valid_cells, report.total_cells) == (valid.sum(), valid.size)
    assert (report.chunks_stored, report.chunks_total) == (stored.sum(), 35)
    assert report.store_bytes == sum(map(len, objects(out).values()))
    assert report.source == {
        "url": str(small_source),
        "bytes": small_source.stat().st_size,
        "sha256": hashlib.sha256(small_source.read_bytes()).hexdigest(),
        "published": False,
        "synthetic": False,
        "container": "float32, tiled, pixel-interleaved, compression deflate, predictor none",
        "nan_cells": 0,
        "non_finite_cells": 0,
    }
    assert cop_zarr.open(out).source == report.source
    json.dumps(report.source)
    total = valid.size * BANDS * 4
    assert len(seen) == 12  # tiles of 16 x 16
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_a_plan_estimates_and_writes_nothing(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    plan = cop_zarr.plan_ingest(source, out, workers=3)
    tile = 256 * 256 * 16 * 4
    assert (plan.source, plan.store) == (str(source), str(out))
    assert plan.source_bytes == source.stat().st_size
    assert plan.layout.shape == (16, 721, 1440)
    assert (plan.blocks, plan.workers) == (18, 3)
    assert BASE_BYTES + 3 * tile < plan.memory_bytes < BASE_BYTES + 6 * tile
    assert plan.info.compression == "deflate"
    one = (plan.memory_bytes - BASE_BYTES) // 3
    for count in (1, 2):
        plan = cop_zarr.plan_ingest(source, out, workers=3, memory=BASE_BYTES + count * one + one // 2)
        assert (plan.workers, plan.memory_bytes) == (count, BASE_BYTES + count * one)
    for variable, workers in (("2", 2), ("", 4)):
        monkeypatch.setenv("COP_ZARR_WORKERS", variable)
        assert cop_zarr.plan_ingest(source, out).workers == workers
    assert beside(out) == []


def test_credentials_are_not_shown(small_source: Path, tmp_path: Path, out: Path) -> None:
    plan = cop_zarr.plan_ingest(small_source, "memory://key:secret@bucket/a.zarr")
    assert plan.store == "memory://bucket/a.zarr"
    url = f"memory://me:secret@{tmp_path.name}/copy.tif"
    fsspec.filesystem("memory").pipe_file(f"/me:secret@{tmp_path.name}/copy.tif", small_source.read_bytes())
    report = cop_zarr.ingest(url, out)
    assert report.source["url"] == f"memory://{tmp_path.name}/copy.tif"
    assert b"secret" not in b"".join(objects(out).values())


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"workers": 0}, InputError),
        ({"workers": "two"}, InputError),
        ({"workers": 1.5}, InputError),
        ({"memory": 1 << 20}, MemoryLimitError),
        ({"memory": BASE_BYTES}, MemoryLimitError),
        ({"worker": 1}, TypeError),
    ],
)
def test_options_are_checked(small_source: Path, out: Path, options: dict, error: type[Exception]) -> None:
    for function in (cop_zarr.ingest, cop_zarr.plan_ingest):
        with pytest.raises(error):
            function(small_source, out, **options)
    assert beside(out) == []


def test_the_published_file_is_known_by_its_digest(
    small_source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only ``strict`` refuses another one."""
    sha256 = hashlib.sha256(small_source.read_bytes()).hexdigest()
    for function in (cop_zarr.ingest, cop_zarr.plan_ingest):
        with pytest.raises(SourceError, match=sha256):
            function(small_source, out, strict=True)
    assert beside(out) == []
    monkeypatch.setattr(product, "SHA256", sha256)
    assert cop_zarr.ingest(small_source, out, strict=True).source["published"] is True
    assert cop_zarr.open(out).source["published"] is True


# Failures


def test_a_source_that_fails_leaves_nothing(small_source: Path, broken: Path, out: Path) -> None:
    with pytest.raises(SourceError):
        cop_zarr.ingest(broken, out)
    assert beside(out) == []
    with pytest.raises(SourceError):
        cop_zarr.ingest(broken, "memory://broken/out.zarr")
    assert objects("memory://broken") == {}
    cop_zarr.ingest(small_source, out)
    before = objects(out)
    with pytest.raises(SourceError):
        cop_zarr.ingest(broken, out, overwrite=True)
    assert beside(out) == ["out.zarr"]
    assert objects(out) == before


def test_a_source_that_changes_meanwhile_is_refused(small_source: Path, out: Path, tmp_path: Path) -> None:
    """Its digest would not be that of the values."""
    copy = tmp_path / "copy.tif"
    copy.write_bytes(small_source.read_bytes())
    with pytest.raises(SourceError, match="changed"):
        cop_zarr.ingest(copy, out, progress=lambda *_: os.utime(copy, (1, 1)))
    assert beside(out) == []


@pytest.mark.parametrize("key", ["embedding/c/0/2/3", "ingest/blocks/0-0.json", "zarr.json"])
def test_after_a_disk_that_fails_an_ingest_is_resumed(
    small_source: Path, out: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(method: Write) -> Write:
        def write(self: storage.LocalFolder, to: str, data: bytes) -> None:
            if to == key:
                raise StorageError("No space left on device")
            method(self, to, data)

        return write

    with monkeypatch.context() as patch:
        for name in ("write", "replace"):
            patch.setattr(storage.LocalFolder, name, failing(getattr(storage.LocalFolder, name)))
        with pytest.raises(StorageError, match="resume=True"):
            cop_zarr.ingest(small_source, out)
    assert beside(out) == ["out.zarr.partial"]
    for path in (out, out.with_name("out.zarr.partial")):
        with pytest.raises((StoreError, StoreNotFoundError)):
            cop_zarr.open(path)
    with pytest.raises(StoreExistsError, match="resume=True"):
        cop_zarr.ingest(small_source, out)
    cop_zarr.ingest(small_source, out, resume=True)
    assert beside(out) == ["out.zarr"]
    assert cop_zarr.verify(out, small_source).ok


def test_an_object_store_holds_no_store_that_opens_while_it_is_written(
    small_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"memory://{tmp_path.name}/out.zarr"
    cop_zarr.ingest(small_source, url)
    change, written = storage.RemoteFolder._change, []

    def watch(self: storage.RemoteFolder, what: str, key: str, *rest: Any, **options: str) -> bool:
        if rest[0] == "pipe_file" and key != "ingest/lock":
            if key != "ingest/job.json" or written:
                with pytest.raises((StoreError, StoreNotFoundError)):
                    cop_zarr.open(url)
            written.append(key)
        return change(self, what, key, *rest, **options)

    monkeypatch.setattr(storage.RemoteFolder, "_change", watch)
    cop_zarr.ingest(small_source, url, overwrite=True)
    assert written[-1] == "zarr.json"
    assert len(written) > 10
    cop_zarr.open(url)
    assert not any(key.startswith("ingest/") for key in objects(url))


# Memory


PEAK = """
    import sys, cop_zarr
    def peak():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))
    small, heavy, out, memory = sys.argv[1:]
    cop_zarr.ingest(small, out + ".small", workers=4)
    before = peak()
    cop_zarr.ingest(heavy, out, memory=int(memory), workers=4)
    print(before, peak())
"""
"""Print the peak of memory before and after an ingest; what any ingest takes is in the first."""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    "profile",
    [
        {"blockxsize": 128, "blockysize": 128, "interleave": "pixel", "zlevel": 1},
        *(
            pytest.param({"compress": None, **profile}, marks=pytest.mark.slow)
            for profile in (
                {"tiled": False, "blockxsize": None, "blockysize": 400, "interleave": "band"},
                {"tiled": False, "blockxsize": None, "blockysize": 1, "interleave": "band"},
                {"tiled": False, "blockxsize": None, "blockysize": 3, "interleave": "pixel"},
                {"blockxsize": 128, "blockysize": 128, "interleave": "pixel"},
                {"blockxsize": 400, "blockysize": 400, "interleave": "band"},
            )
        ),
    ],
    ids=["deflated tiles", "whole planes", "rows of planes", "rows", "tiles", "tiles of planes"],
)
def test_memory_is_bounded_whatever_the_layout(
    small_source: Path, tmp_path: Path, out: Path, profile: dict
) -> None:
    rows, cols = (100, 500), (600, 1400)
    heavy = factory.truth(rows, cols, 98)  # 120 MiB
    path = factory.write_geotiff(tmp_path / "a.tif", heavy, rows=rows, cols=cols, **profile)
    allowed, slack = 32 << 20, 16 << 20
    command = [sys.executable, "-c", textwrap.dedent(PEAK), small_source, path, out]
    printed = subprocess.run(
        [*command, str(BASE_BYTES + allowed)], check=True, capture_output=True, text=True
    ).stdout
    before, peak = map(int, printed.split())
    assert before <= BASE_BYTES
    assert peak - before <= allowed + slack < heavy.nbytes / 2
    assert same_bits(zarr.open(out, mode="r")["embedding"][:, 190:230], heavy[:, 190:230])
