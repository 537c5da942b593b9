"""Sharded stores: written, resumed, verified and repaired, each against what GDAL wrote."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

import cop_zarr
from cop_zarr.errors import ChunkError, InputError, StorageError, StoreBusyError, StoreExistsError
from cop_zarr.format.codec import encode
from cop_zarr.storage import LocalFolder, folder
from tests.support import factory
from tests.writing.sharded import BANDS, COLS, INDEX_BYTES, ROWS, SHARD, read_shard, truth, write_shard
from tests.writing.small import TABLE, flip, objects
from tests.writing.test_wrong_documents import Forger


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sharded") / "a.tif"
    return factory.write_geotiff(path, rows=ROWS, cols=COLS, bands=BANDS, blockxsize=64, blockysize=64)


@pytest.fixture(scope="module")
def sharded(source: Path) -> Path:
    cop_zarr.ingest(source, source.with_name("s.zarr"), shards=True)
    return source.with_name("s.zarr")


@pytest.fixture
def store(sharded: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(sharded, tmp_path / "copy.zarr")


def chunks_with_data() -> np.ndarray:
    valid = np.pad(truth().any(axis=0), ((0, 55), (0, 39)))  # to 3 x 3 shards
    return valid.reshape(24, 8, 24, 8).any(axis=(1, 3))


# What is written


def test_every_bit_arrives_in_a_few_objects(sharded: Path, source: Path) -> None:
    array = zarr.open_group(sharded, mode="r")["embedding"]
    assert array[:].tobytes() == truth().tobytes()
    assert (array.shards, array.chunks) == ((BANDS, 64, 64), (BANDS, 8, 8))
    stored = chunks_with_data()
    keys = {path.relative_to(sharded).as_posix() for path in sharded.glob("embedding/c/0/*/*")}
    shards = np.argwhere(stored.reshape(3, 8, 3, 8).any(axis=(1, 3)))
    assert keys == {f"embedding/c/0/{row}/{col}" for row, col in shards}
    for key in keys:
        row, col = map(int, key.split("/")[-2:])
        held = np.argwhere(stored[8 * row : 8 * row + 8, 8 * col : 8 * col + 8])
        assert sorted(read_shard(sharded / key)) == [tuple(place) for place in held.tolist()]
    assert cop_zarr.verify(sharded, source).ok


def test_the_table_says_where_each_chunk_is(sharded: Path) -> None:
    table = zarr.open_group(sharded, mode="r")["integrity/embedding"][:]
    assert table.shape == (3, 18, 20)
    data = (sharded / SHARD).read_bytes()
    for (row, col), chunk in read_shard(sharded / SHARD).items():
        length, _, offset = table[:, 8 + row, 8 + col].tolist()
        assert data[offset : offset + length] == chunk
    assert table[0, 8:16, 8:16].sum() + INDEX_BYTES == len(data)


def test_the_version_is_one_that_older_readers_refuse(sharded: Path, source: Path, tmp_path: Path) -> None:
    cop_zarr.ingest(source, tmp_path / "plain.zarr")
    for path, version in ((sharded, 2), (tmp_path / "plain.zarr", 1)):
        text = json.loads((path / "zarr.json").read_bytes())["attributes"]["cop_zarr"]
        assert json.loads(text)["version"] == version


@pytest.mark.usefixtures("fixed_time")
@pytest.mark.parametrize(
    "profile", [{"blockxsize": 16, "blockysize": 16}, {"tiled": False, "blockysize": 5, "blockxsize": None}]
)
def test_the_bytes_do_not_depend_on_the_source_s_layout(
    tmp_path: Path, source: Path, profile: dict[str, object]
) -> None:
    other = factory.write_geotiff(tmp_path / "b.tif", rows=ROWS, cols=COLS, bands=BANDS, **profile)
    cop_zarr.ingest(source, tmp_path / "a.zarr", shards=True, workers=1)
    cop_zarr.ingest(other, tmp_path / "b.zarr", shards=True, workers=3)
    one, two = objects(tmp_path / "a.zarr"), objects(tmp_path / "b.zarr")
    assert one.keys() == two.keys()
    assert all(one[key] == two[key] for key in one if key not in {"zarr.json", "integrity/root.json"})


# Interrupted


def stopping(after: int) -> Callable[[LocalFolder, str, bytes], None]:
    """A disk that is full after so many objects of the embedding."""
    write, left = LocalFolder.write, [after]

    def limited(self: LocalFolder, key: str, data: bytes) -> None:
        left[0] -= key.startswith("embedding/c")
        if left[0] < 0:
            raise StorageError("full")
        write(self, key, data)

    return limited


@pytest.mark.usefixtures("fixed_time")
@pytest.mark.parametrize("after", [0, 2, 5])
@pytest.mark.parametrize("damaged", [False, True])
def test_resume_gives_the_bytes_of_one_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, damaged: bool
) -> None:
    cop_zarr.ingest(source, tmp_path / "whole.zarr", shards=True)
    out = tmp_path / "out.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(LocalFolder, "write", stopping(after))
        with pytest.raises(StorageError, match="resume"):
            cop_zarr.ingest(source, out, shards=True, workers=1)
    written = sorted((tmp_path / "out.zarr.partial").glob("store/embedding/c/0/*/*"))
    if damaged and written:
        flip(written[0])
    times = {path.name + path.parent.name: path.stat().st_mtime_ns for path in written}
    cop_zarr.ingest(source, out, shards=True, resume=True)
    assert objects(out) == objects(tmp_path / "whole.zarr")
    again = {
        path.name + path.parent.name: path.stat().st_mtime_ns for path in out.glob("embedding/c/0/*/*")
    }
    kept = sum(again[name] == time for name, time in times.items())
    assert kept >= len(written) - damaged - 1  # the last object may have been of a block not yet recorded


def test_resume_does_not_mix_layouts(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(LocalFolder, "write", stopping(2))
        with pytest.raises(StorageError):
            cop_zarr.ingest(source, out, shards=True, workers=1)
    with pytest.raises(StoreExistsError, match="shards"):
        cop_zarr.ingest(source, out, resume=True)
    cop_zarr.ingest(source, out, resume=True, overwrite=True)
    assert cop_zarr.open(out).info()["shard_cells"] is None
    with pytest.raises(StoreExistsError, match="shards"):
        cop_zarr.ingest(source, out, shards=True, resume=True)
    cop_zarr.ingest(source, out, shards=True, resume=True, overwrite=True)
    assert cop_zarr.open(out).info()["shard_cells"] == [64, 64]
    stamp = (out / SHARD).stat().st_mtime_ns
    cop_zarr.ingest(source, out, shards=True, resume=True)
    assert (out / SHARD).stat().st_mtime_ns == stamp
    assert cop_zarr.verify(out, source).ok


def test_one_writer(sharded: Path, source: Path) -> None:
    with folder(str(sharded)).locked():
        for call in (cop_zarr.repair, cop_zarr.ingest):
            options = {} if call is cop_zarr.repair else {"shards": True, "overwrite": True}
            with pytest.raises(StoreBusyError):
                call(*((sharded, source) if call is cop_zarr.repair else (source, sharded)), **options)


def test_an_object_store(source: Path, tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/a.zarr"
    cop_zarr.ingest(source, url, shards=True)
    assert cop_zarr.verify(url, source).ok
    store = cop_zarr.open(url)
    west, south, east, north = store.grid.bounds
    assert store.query((west, south, east, north), output="grid").data.tobytes() == truth().tobytes()
    folder(url).write(SHARD, folder(url).read(SHARD)[:-1])
    assert not cop_zarr.verify(url).ok
    assert cop_zarr.repair(url, source).rewritten == [SHARD]


# Damaged


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


def cut_index(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def damage_index(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-500] ^= 1
    path.write_bytes(data)


def move_chunk(path: Path) -> None:
    """The first chunk lies at the end, and the index says so."""
    (first, data), *others = read_shard(path).items()
    write_shard(path, {**dict(others), first: data})


def swap_in_index(path: Path) -> None:
    """Two chunks are exchanged in the index, whose checksum is right."""
    chunks = read_shard(path)
    one, two = list(chunks)[:2]
    write_shard(path, {two: chunks[one], one: chunks[two], **dict(list(chunks.items())[2:])})


def add_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


DAMAGES = {
    "cut short": (cut_short, True),
    "cut in its index": (cut_index, False),
    "a damaged index": (damage_index, False),
    "a chunk moved": (move_chunk, True),
    "chunks exchanged in the index": (swap_in_index, False),
    "a byte too many": (add_byte, False),
    "a bit flipped": (flip, True),
    "absent": (Path.unlink, True),
}
"""What is done to a shard, and whether a chunk of it is damaged: queries do not read the index."""


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_mended(store: Path, source: Path, name: str) -> None:
    damage, hits_a_chunk = DAMAGES[name]
    before = objects(store)
    damage(store / SHARD)
    opened = cop_zarr.open(store)
    west, south, east, north = opened.grid.bounds
    if hits_a_chunk:
        with pytest.raises(ChunkError, match=SHARD):
            opened.query((west, south, east, north))
    else:
        answer = opened.query((west, south, east, north), output="grid")
        assert answer.data.tobytes() == truth().tobytes()
    report = cop_zarr.verify(store)
    assert not report.ok
    assert {problem.key for problem in report.problems} == {SHARD}
    assert (report.damaged_chunks > 0) == hits_a_chunk
    repaired = cop_zarr.repair(store, source)
    assert (repaired.ok, repaired.rewritten) == (True, [SHARD])
    assert objects(store) == before
    assert opened.query((west, south, east, north), output="grid").data.tobytes() == truth().tobytes()


def test_a_shard_that_nothing_records(store: Path, source: Path) -> None:
    shutil.copy(store / SHARD, store / "embedding/c/0/0/3")
    report = cop_zarr.verify(store)
    assert [problem.key for problem in report.problems] == ["embedding/c/0/0/3"]
    assert cop_zarr.repair(store, source).removed == ["embedding/c/0/0/3"]


def forged(store: Path, change: Callable[[np.ndarray], None]) -> None:
    """Change the integrity table, and make all checksums right again."""
    table = zarr.open_group(store, mode="r")["integrity/embedding"][:].astype("<u4")
    change(table)
    forger = Forger(store)
    forger.put(TABLE, encode(table))
    forger.seal()


def overlap(table: np.ndarray) -> None:
    table[2, 8:16, 8:16] = 0


def leave(table: np.ndarray) -> None:
    table[2, 8:16, 8:16] += 2**31


def exchange(table: np.ndarray) -> None:
    one, two = table[:, 8, 8].copy(), table[:, 8, 9].copy()
    table[:, 8, 8], table[:, 8, 9] = two, one


def huge(table: np.ndarray) -> None:
    """The last chunk of a shard, so that all offsets are right."""
    row, col = np.argwhere(table[0, 8:16, 8:16])[-1] + 8
    table[0, row, col] = 2**32 - 1


@pytest.mark.parametrize("change", [overlap, leave, exchange, huge])
def test_offsets_that_cannot_be(store: Path, source: Path, change: Callable[[np.ndarray], None]) -> None:
    before = objects(store)
    forged(store, change)
    with pytest.raises(ChunkError, match=TABLE):
        cop_zarr.open(store)
    report = cop_zarr.verify(store)
    assert {problem.key for problem in report.problems} == {TABLE}
    assert cop_zarr.repair(store, source).ok
    assert objects(store) == before


def test_a_plain_version_cannot_have_shards(store: Path) -> None:
    forger = Forger(store)
    forger.record["version"] = 1
    forger.seal()
    with pytest.raises(cop_zarr.errors.StoreError, match="shards"):
        cop_zarr.open(store)


@pytest.mark.parametrize("member", ["index_codecs", "index_location", "codecs", "chunk_shape"])
def test_other_shards_are_refused(store: Path, member: str) -> None:
    forger = Forger(store)
    config = forger.members["embedding"]["codecs"][0]["configuration"]
    config[member] = {
        "index_codecs": config["index_codecs"][:1],
        "index_location": "start",
        "codecs": config["codecs"][1:],
        "chunk_shape": [BANDS, 16, 16],
    }[member]
    forger.seal()
    with pytest.raises(cop_zarr.errors.StoreError):
        cop_zarr.open(store)


def test_memory_is_refused_for_a_row_of_shards_that_does_not_fit(tmp_path: Path) -> None:
    """Strips around the globe make blocks of 64 rows."""
    path = tmp_path / "a.tif"
    profile = {"tiled": False, "blockxsize": None, "blockysize": 1, "bands": 200, "compress": None}
    factory.write_geotiff(path, rows=(0, 70), cols=(0, 1440), **profile)
    plan = cop_zarr.plan_ingest(path, tmp_path / "a.zarr", shards=True)
    assert plan.blocks == 2
    with pytest.raises(cop_zarr.errors.MemoryLimitError):
        cop_zarr.plan_ingest(path, tmp_path / "a.zarr", shards=True, memory=220 << 20)
    assert cop_zarr.plan_ingest(path, tmp_path / "a.zarr", memory=220 << 20).blocks > 2


def test_a_zip_file_can_only_be_read(sharded: Path, source: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "a"), "zip", sharded)
    store = cop_zarr.open(f"zip://::{archive}")
    west, south, east, north = store.grid.bounds
    assert store.query((west, south, east, north), output="grid").data.tobytes() == truth().tobytes()
    with pytest.raises(InputError):
        cop_zarr.repair(f"zip://::{archive}", source)
