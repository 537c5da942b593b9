"""Hostile TIFFs and stores are refused, soon and in little memory."""

from __future__ import annotations

import json
import logging
import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import imagecodecs
import numpy as np
import pytest

import cop_zarr
from cop_zarr.errors import SourceError
from cop_zarr.format.document import decode_root
from tests.support import factory, fuzz
from tests.support.fuzz import bounded, outcome, read_tiff, seal

KEY = "embedding/c/0/0/0"
SMALL = ("integrity/embedding/c/0/0/0", "valid/c/0/0")


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "tifffile")


# The fuzzer


@pytest.mark.parametrize(
    ("target", "inputs"),
    [
        ("tiff", 300),
        ("store", 100),
        pytest.param("int8", 30, marks=pytest.mark.slow),
        pytest.param("tiff", 3000, marks=pytest.mark.slow),
        pytest.param("store", 1000, marks=pytest.mark.slow),
    ],
)
def test_a_brief_run_finds_nothing(target: str, inputs: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.fuzz", target, "--inputs", str(inputs), "--seed", "1"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run(command, check=False, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Error" in run.stdout
    assert "answer" in run.stdout


# TIFF


Tag = tuple[int, int, object]
"""Type; count; values, or the offset of them."""

LONG8 = 16


def write_bigtiff(path: Path, size: int, next_ifd: int = 0, **changes: Tag | None) -> Path:
    """Write the tags of a TIFF of the product's lattice, some of them hostile; the rest of it is a hole.

    ``changes`` are named ``tag256``. Without any, the file has one tile of 16 x 16 cells, one band.
    """
    keys = (1, 1, 0, 3, 1024, 0, 1, 2, 1025, 0, 1, 1, 2048, 0, 1, 4326)
    tags: dict[int, Tag] = {
        256: (4, 1, [16]),
        257: (4, 1, [16]),
        258: (3, 1, [32]),
        259: (3, 1, [1]),
        262: (3, 1, [1]),
        277: (3, 1, [1]),
        284: (3, 1, [1]),
        322: (4, 1, [16]),
        323: (4, 1, [16]),
        324: (LONG8, 1, [4096]),
        325: (LONG8, 1, [1024]),
        339: (3, 1, [3]),
        33550: (12, 3, (0.25, 0.25, 0.0)),
        33922: (12, 6, (0.0, 0.0, 0.0, -30.125, 15.125, 0.0)),
        34735: (3, 16, keys),
    }
    for name, tag in changes.items():
        tags[int(name.removeprefix("tag"))] = tag
    tags = {code: tag for code, tag in sorted(tags.items()) if tag}
    outside = 16 + 8 + 20 * len(tags) + 8
    entries, blob = b"", b""
    for code, (kind, count, values) in tags.items():
        if isinstance(values, int):
            data = struct.pack("<Q", values)
        else:
            data = struct.pack(f"<{len(values)}{fuzz.TYPES[kind]}", *values)
            if len(data) > 8:
                data, blob = struct.pack("<Q", outside + len(blob)), blob + data
        entries += struct.pack("<HHQ", code, kind, count) + data.ljust(8, b"\0")
    with path.open("wb") as file:
        file.write(struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, len(tags)))
        file.write(entries + struct.pack("<Q", next_ifd) + blob)
        file.truncate(size)
    return path


def test_the_file_without_hostile_tags_is_read(tmp_path: Path) -> None:
    path = write_bigtiff(tmp_path / "a.tif", 8192)
    read_tiff(path, np.zeros((1, 16, 16), "f4"))


TILES = 31_623**2
"""10^9 tiles of 16 x 16 cells."""

STRIPS = 721 * 65535
"""As many as the globe can have."""

NO_TILES = dict.fromkeys(("tag322", "tag323", "tag324", "tag325"))
TILES_LISTED = {"tag324": (LONG8, TILES, 4096), "tag325": (4, TILES, 4096 + 8 * TILES)}

HOSTILE = {
    "a billion tiles of a small image": (4096 + 12 * TILES, TILES_LISTED),
    "a billion tiles": (
        4096 + 12 * TILES,
        TILES_LISTED | dict.fromkeys(("tag256", "tag257"), (4, 1, [31_623 * 16])),
    ),
    "47 million strips": (
        4096 + 12 * STRIPS,
        {
            **NO_TILES,
            "tag256": (4, 1, [1440]),
            "tag257": (4, 1, [721]),
            "tag273": (LONG8, STRIPS, 4096),
            "tag277": (3, 1, [65535]),
            "tag278": (4, 1, [1]),
            "tag279": (4, STRIPS, 4096 + 8 * STRIPS),
            "tag284": (3, 1, [2]),
            "tag33922": (12, 6, (0.0, 0.0, 0.0, -180.125, 90.125, 0.0)),
        },
    ),
    "a segment of gigabytes": (1 << 34, {"tag325": (LONG8, 1, [1 << 33])}),
    "a compressed segment of gigabytes": (
        1 << 34,
        {"tag259": (3, 1, [8]), "tag325": (LONG8, 1, [1 << 33])},
    ),
} | {
    f"{tag} is {size}": (8192, {tag: (LONG8, 1, [size])})
    for tag in ("tag256", "tag257", "tag277", "tag322", "tag323")
    for size in (0, 2**31, 2**64 - 1)
}


@pytest.mark.parametrize(("size", "tags"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused_soon_and_in_little_memory(
    tmp_path: Path, size: int, tags: dict[str, Tag | None]
) -> None:
    path = write_bigtiff(tmp_path / "a.tif", size, **tags)
    with bounded(2):
        assert outcome(lambda: read_tiff(path)) in REFUSED


REFUSED = {"SourceError", "MemoryLimitError"}

LOADED = (258, 270, 277, 282, 324, 325, 330, 338, 339, 42112, 42113, 33550, 33922, 34735, 34736, 34737)
"""Tags that tifffile reads; without some of them it gives an answer."""


@pytest.mark.parametrize(
    ("size", "tag"),
    [
        (8192, (2, 2**40, 1024)),
        (8192, (12, 2**61, 1024)),
        (8192, (LONG8, 2**64 - 1, 1024)),
        (1 << 30, (1, 1 << 29, 1 << 20)),
    ],
    ids=["ASCII", "DOUBLE", "LONG8", "half a gigabyte"],
)
def test_a_tag_that_claims_gigabytes_takes_no_memory(tmp_path: Path, size: int, tag: Tag) -> None:
    for code in LOADED:
        path = write_bigtiff(tmp_path / "a.tif", size, **{f"tag{code}": tag})
        with bounded(2):
            assert outcome(lambda path=path: read_tiff(path)) in {*REFUSED, "answer"}


def write_compressed(path: Path, compression: int, encoded: bytes, predictor: int = 1) -> Path:
    tags = {"tag259": (3, 1, [compression]), "tag317": (3, 1, [predictor])}
    write_bigtiff(path, 4096, **tags, tag325=(LONG8, 1, [len(encoded)]))
    with path.open("ab") as file:
        file.write(encoded)
    return path


@pytest.mark.parametrize("predictor", [1, 3])
@pytest.mark.parametrize(
    ("compression", "encode"),
    [(8, zlib.compress), (5, imagecodecs.lzw_encode), (50000, imagecodecs.zstd_encode)],
    ids=["deflate", "LZW", "Zstandard"],
)
def test_a_tile_that_decodes_to_too_much_takes_no_memory(
    tmp_path: Path, compression: int, encode: Callable[[bytes], bytes], predictor: int
) -> None:
    path = write_compressed(tmp_path / "a.tif", compression, encode(bytes(100 << 20)), predictor)
    with bounded(2):
        assert outcome(lambda: read_tiff(path)) in {*REFUSED, "answer"}


def test_lzw_that_looks_up_an_empty_table_is_not_decoded(tmp_path: Path) -> None:
    """The codes 256 (CLEAR), 258 and 257, of nine bits each."""
    encoded = int(f"{256:09b}{258:09b}{257:09b}00000", 2).to_bytes(4, "big")
    with pytest.raises(SourceError, match="CLEAR"):
        read_tiff(write_compressed(tmp_path / "a.tif", 5, encoded))


# Stores


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The objects of a small store: 19 x 36 cells, 5 bands."""
    folder = tmp_path_factory.mktemp("made")
    source = factory.write_geotiff(folder / "a.tif", rows=fuzz.ROWS, cols=fuzz.COLS, bands=fuzz.BANDS)
    cop_zarr.ingest(source, folder / "a.zarr")
    files = [path for path in folder.rglob("*.zarr/**/*") if path.is_file()]
    return {path.relative_to(folder / "a.zarr").as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def place(made: dict[str, bytes], tmp_path: Path) -> Path:
    """A store of one's own to spoil."""
    for key, data in made.items():
        path = tmp_path / "a.zarr" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "a.zarr"


@pytest.fixture
def document(made: dict[str, bytes]) -> dict:
    return decode_root(made["zarr.json"])


def refuse_store(place: Path, *, verify: bool = True) -> None:
    """See that a store is refused within two seconds, in little memory; and verified in no more."""
    with bounded(2):
        assert outcome(lambda: fuzz.ask(place)) in {"StoreError", "ChunkError", "StorageError"}
    if verify:
        with bounded(5):
            outcome(lambda: cop_zarr.verify(place, workers=1))


def test_the_store_is_good(place: Path) -> None:
    with bounded():
        assert outcome(lambda: fuzz.ask(place)) == "answer"


def test_as_many_bands_as_a_store_may_have_take_no_memory(place: Path, document: dict) -> None:
    array = document["consolidated_metadata"]["metadata"]["embedding"]
    array["shape"] = [65535, 721, 1440]
    array["chunk_grid"]["configuration"]["chunk_shape"][0] = 65535
    document["attributes"]["spatial:transform"] = [0.25, 0, -180.125, 0, -0.25, 90.125]
    (place / "zarr.json").write_bytes(seal(document))
    refuse_store(place)


def test_a_root_document_of_a_gigabyte_is_refused(place: Path) -> None:
    os.truncate(place / "zarr.json", 1 << 30)
    refuse_store(place)


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_deep_documents_are_refused(place: Path, document: dict, kind: str) -> None:
    limit = sys.getrecursionlimit()
    for depth in [10_000, 100_000, *range(limit - 150, limit, 10)]:
        text = json.dumps({**document, "deep": "here"})
        inner = {"list": "[" * depth + "]" * depth, "dict": '{"a":' * depth + "0" + "}" * depth}[kind]
        (place / "zarr.json").write_text(text.replace('"here"', inner))
        refuse_store(place, verify=False)


@pytest.mark.parametrize(
    "key", ["../secret", "embedding/../../secret", "embedding/c/0/../../../../secret", "{absolute}"]
)
def test_no_path_leaves_the_store(place: Path, document: dict, key: str) -> None:
    secret = place.with_name("secret")
    secret.write_bytes(b"secret")
    key = key.format(absolute=secret)
    document["attributes"]["cop_zarr"]["objects"][key] = [6, google_crc32c.value(b"secret")]
    (place / "zarr.json").write_bytes(seal(document))
    opened: list[str] = []

    def watch(event: str, args: tuple) -> None:
        if watching and event == "open" and isinstance(args[0], str):
            opened.append(os.path.realpath(args[0]))

    watching = True
    sys.addaudithook(watch)
    outcome(lambda: fuzz.ask(place))
    outcome(lambda: cop_zarr.verify(place, workers=1))
    watching = False  # a hook cannot be removed
    assert str(place / "zarr.json") in opened
    assert str(secret) not in opened


def test_a_document_that_is_no_document_is_a_problem(place: Path, document: dict) -> None:
    document["consolidated_metadata"]["metadata"]["latitude"] = 5
    (place / "zarr.json").write_bytes(seal(document))
    assert "latitude/zarr.json" in {problem.key for problem in cop_zarr.verify(place).problems}


def test_nothing_is_unpickled_or_evaluated() -> None:
    package = Path(cop_zarr.__file__).parent
    # what a cluster's workers are sent comes from the cluster, which runs what it is sent anyway
    clusters = {package / "querying/distributed/cluster.py", package / "querying/distributed/answers.py"}
    for path in set(package.rglob("*.py")) - clusters:
        text = path.read_text()
        found = re.findall(r"import pickle|pickle=True|marshal|shelve|eval\(|exec\(|yaml|__import__", text)
        assert not found, f"{path}: {found}"


@pytest.mark.parametrize("key", [KEY, *SMALL])
def test_a_recorded_length_of_gigabytes_is_refused(
    place: Path, document: dict, made: dict[str, bytes], key: str
) -> None:
    table, objects = SMALL[0], document["attributes"]["cop_zarr"]["objects"]
    if key == KEY:
        (place / table).write_bytes(with_length(made[table], 2**32 - 1))
        data = (place / table).read_bytes()
        objects[table] = [len(data), google_crc32c.value(data)]
    else:
        objects[key][0] = 2**32 - 1
    os.truncate(place / key, 2**32 - 1)
    (place / "zarr.json").write_bytes(seal(document))
    refuse_store(place)


def with_length(table: bytes, length: int) -> bytes:
    """An integrity table in which the first chunk has another length."""
    numbers = np.frombuffer(fuzz.blosc.decompress(table), "<u4").copy()
    numbers[0] = length
    return fuzz.blosc.compress(numbers.tobytes(), b"lz4", 5, fuzz.blosc.BITSHUFFLE, 0, 4)
