"""Hostile TIFFs and stores are refused, soon and in little memory; the fuzzer would notice otherwise."""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import google_crc32c
import imagecodecs
import numpy as np
import pytest

import cop_zarr
from cop_zarr.errors import SourceError
from cop_zarr.source.geotiff import GeoTiff
from tests.support import factory, fuzz
from tests.support.fuzz import Finding, bounded, outcome, read_tiff, seal

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


@pytest.fixture(scope="module")
def tiffs(tmp_path_factory: pytest.TempPathFactory) -> fuzz.TiffTarget:
    return fuzz.TiffTarget(tmp_path_factory.mktemp("tiffs"))


def test_an_input_is_made_again_from_its_seed_and_number(tiffs: fuzz.TiffTarget) -> None:
    made = [tiffs.mutant(fuzz.source_of(seed, 5)) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_wrong_reader_of_tiffs_is_found(tiffs: fuzz.TiffTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    tiffs.check_good()
    read = GeoTiff.read

    def leaking(*arguments: object) -> np.ndarray:
        try:
            return read(*arguments)
        except SourceError as error:
            raise LookupError from error

    monkeypatch.setattr(GeoTiff, "read", leaking)
    with pytest.raises(LookupError):
        for count in range(2000):
            tiffs.run(fuzz.source_of(0, count))
    monkeypatch.setattr(GeoTiff, "read", lambda *arguments: read(*arguments) * np.float32(2))
    with pytest.raises(Finding, match="not what was written"):
        tiffs.check_good()


def test_a_store_whose_checksums_are_not_looked_at_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(google_crc32c, "value", lambda _: 0)
    target = fuzz.StoreTarget(tmp_path)
    with pytest.raises(Finding, match="wrong answer"):
        for count in range(2000):
            target.run(fuzz.source_of(0, count))


def test_bounds_are_noticed() -> None:
    with pytest.raises(Finding, match="MiB of memory"), bounded():
        np.ones(20 << 20)
    with pytest.raises(Finding, match="more than"), bounded(seconds=0.1):
        while True:
            pass

    def run_out() -> None:
        try:
            np.ones(1 << 40)
        except MemoryError as error:
            raise SourceError from error

    with pytest.raises(Finding, match="memory ran out"), bounded():
        outcome(run_out)


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


def refuse(path: Path, *, or_answer: bool = False) -> None:
    """See that a file is refused within two seconds, in little memory."""
    with bounded(2):
        found = outcome(lambda: read_tiff(path))
    assert found in {"SourceError", "MemoryLimitError"} or (or_answer and found == "answer")


def test_the_file_without_hostile_tags_is_read(tmp_path: Path) -> None:
    path = write_bigtiff(tmp_path / "a.tif", 8192)
    read_tiff(path, np.zeros((1, 16, 16), "f4"))


SIDE = 31_623 * 16
TILES = 31_623**2
"""10^9 tiles of 16 x 16 cells."""


@pytest.mark.parametrize("side", [16, SIDE])
def test_a_billion_tiles_are_refused(tmp_path: Path, side: int) -> None:
    listed = {"tag324": (LONG8, TILES, 4096), "tag325": (4, TILES, 4096 + 8 * TILES)}
    sizes = {"tag256": (4, 1, [side]), "tag257": (4, 1, [side])}
    refuse(write_bigtiff(tmp_path / "a.tif", 4096 + 12 * TILES, **sizes, **listed))


def test_as_many_strips_as_the_globe_can_have_are_refused(tmp_path: Path) -> None:
    strips = 721 * 65535
    tags = {
        "tag256": (4, 1, [1440]),
        "tag257": (4, 1, [721]),
        "tag273": (LONG8, strips, 4096),
        "tag277": (3, 1, [65535]),
        "tag278": (4, 1, [1]),
        "tag279": (4, strips, 4096 + 8 * strips),
        "tag284": (3, 1, [2]),
        "tag33922": (12, 6, (0.0, 0.0, 0.0, -180.125, 90.125, 0.0)),
        **dict.fromkeys(("tag322", "tag323", "tag324", "tag325")),
    }
    refuse(write_bigtiff(tmp_path / "a.tif", 4096 + 12 * strips, **tags))


@pytest.mark.parametrize("tag", ["tag256", "tag257", "tag277", "tag322", "tag323"])
@pytest.mark.parametrize("size", [0, 2**31, 2**64 - 1])
def test_absurd_sizes_are_refused(tmp_path: Path, tag: str, size: int) -> None:
    refuse(write_bigtiff(tmp_path / "a.tif", 8192, **{tag: (LONG8, 1, [size])}))


LOADED = {258, 270, 277, 282, 324, 325, 330, 338, 339, 42112, 42113, 33550, 33922, 34735, 34736, 34737}
"""Tags that tifffile reads; without some of them it gives an answer."""


@pytest.mark.parametrize(("kind", "count"), [(2, 2**40), (12, 2**61), (16, 2**64 - 1)])
def test_a_tag_with_more_values_than_the_file_is_refused(tmp_path: Path, kind: int, count: int) -> None:
    for code in LOADED:
        write_bigtiff(tmp_path / "a.tif", 8192, **{f"tag{code}": (kind, count, 1024)})
        refuse(tmp_path / "a.tif", or_answer=True)


def test_a_tag_of_half_a_gigabyte_is_refused(tmp_path: Path) -> None:
    for code in sorted(LOADED):
        write_bigtiff(tmp_path / "a.tif", 1 << 30, **{f"tag{code}": (1, 1 << 29, 1 << 20)})
        refuse(tmp_path / "a.tif", or_answer=True)


def test_several_numbers_for_a_size_are_not_multiplied(tmp_path: Path) -> None:
    sizes = {"tag256": (4, 255, 8192), "tag277": (3, 1, [65535]), "tag278": (4, 1, [16])}
    strips = {"tag273": (LONG8, 1, [4096]), "tag279": (LONG8, 1, [1024])}
    tiles = dict.fromkeys(("tag322", "tag323", "tag324", "tag325"))
    refuse(write_bigtiff(tmp_path / "a.tif", 1 << 16, **sizes, **strips, **tiles))


def test_a_directory_that_follows_itself_is_refused(tmp_path: Path) -> None:
    refuse(write_bigtiff(tmp_path / "a.tif", 8192, next_ifd=16))


def write_bomb(path: Path, compression: int, encoded: bytes, predictor: int) -> Path:
    tags = {"tag259": (3, 1, [compression]), "tag317": (3, 1, [predictor])}
    write_bigtiff(path, 4096, **tags, tag325=(LONG8, 1, [len(encoded)]))
    with path.open("ab") as file:
        file.write(encoded)
    return path


def test_a_tile_that_decodes_to_too_much_takes_no_memory(tmp_path: Path) -> None:
    much = bytes(200 << 20)
    bombs = {
        8: zlib.compress(much, 1),
        5: imagecodecs.lzw_encode(much),
        50000: imagecodecs.zstd_encode(much),
    }
    del much
    for compression, encoded in bombs.items():
        for predictor in (1, 3):
            path = write_bomb(tmp_path / "a.tif", compression, encoded, predictor)
            with bounded(2):
                found = outcome(lambda path=path: read_tiff(path))
            assert found in {"SourceError", "MemoryLimitError", "answer"}


def test_lzw_that_looks_up_an_empty_table_is_not_decoded(tmp_path: Path) -> None:
    """The codes 256 (CLEAR), 258 and 257, of nine bits each."""
    encoded = int(f"{256:09b}{258:09b}{257:09b}00000", 2).to_bytes(4, "big")
    with pytest.raises(SourceError, match="CLEAR"):
        read_tiff(write_bomb(tmp_path / "a.tif", 5, encoded, 1))


@pytest.mark.parametrize("compression", [1, 8])
def test_a_segment_of_gigabytes_is_refused(tmp_path: Path, compression: int) -> None:
    tags = {"tag259": (3, 1, [compression]), "tag325": (LONG8, 1, [1 << 33])}
    refuse(write_bigtiff(tmp_path / "a.tif", 1 << 34, **tags))


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
    return json.loads(made["zarr.json"])


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


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("size", [-1, 0, 2**16, 2**32, 2**63, 10**400, 1.5, "8", None])
def test_absurd_shapes_are_refused(place: Path, document: dict, axis: int, size: object) -> None:
    array = document["consolidated_metadata"]["metadata"]["embedding"]
    array["shape"][axis] = size
    if axis == 0:
        array["chunk_grid"]["configuration"]["chunk_shape"][0] = size
    (place / "zarr.json").write_bytes(seal(document))
    refuse_store(place)


def test_as_many_bands_as_a_store_may_have_take_no_memory(place: Path, document: dict) -> None:
    array = document["consolidated_metadata"]["metadata"]["embedding"]
    array["shape"] = [65535, 721, 1440]
    array["chunk_grid"]["configuration"]["chunk_shape"][0] = 65535
    document["attributes"]["spatial:transform"] = [0.25, 0, -180.125, 0, -0.25, 90.125]
    (place / "zarr.json").write_bytes(seal(document))
    refuse_store(place)


@pytest.mark.parametrize(
    "number",
    [10**400, float("nan"), float("inf"), -1e308, None, "0", {}],
    ids=lambda number: repr(number)[:8],
)
def test_absurd_corners_are_refused(place: Path, document: dict, number: object) -> None:
    for position in (2, 5):
        document["attributes"]["spatial:transform"][position] = number
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
    "key",
    [
        "../secret",
        "embedding/../../secret",
        "embedding/c/0/../../../../secret",
        "{absolute}",
    ],
)
def test_no_path_leaves_the_store(place: Path, document: dict, key: str) -> None:
    secret = place.with_name("secret")
    secret.write_bytes(b"secret")
    key = key.format(absolute=secret)
    document["attributes"]["cop_zarr"]["objects"][key] = [6, google_crc32c.value(b"secret")]
    (place / "zarr.json").write_bytes(seal(document))
    opened: list[str] = []
    hook = opened.append

    def watch(event: str, args: tuple) -> None:
        if event == "open" and watching:
            hook(os.path.realpath(args[0]) if isinstance(args[0], str) else "")

    watching = True
    sys.addaudithook(watch)
    try:
        outcome(lambda: fuzz.ask(place))
        outcome(lambda: cop_zarr.verify(place, workers=1))
    finally:
        watching = False
    assert str(secret) not in opened


@pytest.mark.parametrize("codec", ["pickle", "numcodecs.pickle", "numcodecs.json2", "crc32c", "vlen-bytes"])
def test_other_codecs_are_refused(place: Path, document: dict, codec: str) -> None:
    document["consolidated_metadata"]["metadata"]["embedding"]["codecs"][-1] = {"name": codec}
    (place / "zarr.json").write_bytes(seal(document))
    refuse_store(place)


def test_nothing_is_unpickled_or_evaluated() -> None:
    package = Path(cop_zarr.__file__).parent
    # what a cluster's workers are sent comes from the cluster, which runs what it is sent anyway
    clusters = {package / "querying/distributed/cluster.py", package / "querying/distributed/answers.py"}
    for path in set(package.rglob("*.py")) - clusters:
        text = path.read_text()
        for word in (
            "import pickle",
            "pickle=True",
            "marshal",
            "shelve",
            "eval(",
            "exec(",
            "yaml",
            "__import__",
        ):
            assert word not in text, f"{path}: {word}"


@pytest.mark.parametrize("key", [KEY, *SMALL])
def test_an_object_of_gigabytes_is_refused(place: Path, key: str) -> None:
    os.truncate(place / key, 1 << 32)
    refuse_store(place)


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


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made_socket:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            made_socket.bind(f"/proc/self/fd/{folder}/{path.name}")  # a path may have 107 bytes
        finally:
            os.close(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc, /dev/zero")
@pytest.mark.parametrize("key", ["zarr.json", KEY, SMALL[0]])
@pytest.mark.parametrize(
    "put",
    [
        pytest.param(os.mkfifo, id="FIFO"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), id="endless"),
        pytest.param(lambda path: path.symlink_to("/dev/null"), id="null"),
        pytest.param(lambda path: path.symlink_to(path), id="circle"),
        pytest.param(lambda path: path.symlink_to("gone"), id="dangling"),
        pytest.param(os.mkdir, id="folder"),
        pytest.param(make_socket, id="socket"),
    ],
)
def test_what_is_no_file_is_no_object(place: Path, put: object, key: str) -> None:
    (place / key).unlink()
    put(place / key)
    refuse_store(place)
