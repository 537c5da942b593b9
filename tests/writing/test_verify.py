"""Every damage is found and named, and a good store is called good."""

from __future__ import annotations

import os
import shutil
import threading
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import cop_zarr
from cop_zarr import storage
from cop_zarr.core import grid
from cop_zarr.errors import (
    InputError,
    MemoryLimitError,
    SourceError,
    SourceNotFoundError,
    StorageError,
    StoreError,
    StoreNotFoundError,
    StoreReplacedError,
)
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.writing import writer as writing
from tests.support import factory
from tests.support.servers import s3_server, static_server
from tests.writing.small import BANDS, CHUNK, CHUNK_BBOX, COLS, ROWS, TABLE, VALID, flip, objects, truth

# Good stores


@pytest.mark.parametrize("compared", [False, True])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_good_store_is_good_and_the_counts_are_right(
    small_store: Path, small_source: Path, compared: bool, workers: int
) -> None:
    seen: list[tuple[int, int]] = []
    report = cop_zarr.verify(
        small_store,
        small_source if compared else None,
        workers=workers,
        progress=lambda *pair: seen.append(pair),
    )
    values = truth()
    assert seen[-1] == (values.nbytes, values.nbytes)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    chunks = [key for key in objects(small_store) if key.startswith("embedding/c/")]
    assert report.ok
    assert report.problems == []
    assert report.store == str(small_store)
    assert report.source == (str(small_source) if compared else None)
    assert report.objects_checked == len(objects(small_store))
    assert report.chunks_checked == len(chunks)
    assert report.values_compared == (values.size if compared else 0)
    assert report.valid_cells == values.any(axis=0).sum()


def test_the_globe_is_good(store_path: Path, source: Path, globe: np.ndarray) -> None:
    report = cop_zarr.verify(store_path, source)
    assert report.ok
    assert report.values_compared == globe.size
    assert report.valid_cells == globe.any(axis=0).sum()


def test_the_default_store_is_verified(small_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COP_ZARR_STORE", str(small_store))
    assert cop_zarr.verify().store == str(small_store)


# Damage: test_damage.py does every kind to every object


@pytest.mark.parametrize("source", [None, "small_source"])
def test_every_damage_is_found_and_placed(
    copied: Path, source: str | None, request: pytest.FixtureRequest
) -> None:
    flip(copied / CHUNK)
    (copied / "embedding/c/0/0/3").unlink()
    flip(copied / VALID)
    (copied / "latitude/c/0").write_bytes(b"")
    (copied / "notes.txt").touch()
    report = cop_zarr.verify(copied, source and request.getfixturevalue(source))
    assert not report.ok
    assert {problem.key: problem.bbox for problem in report.problems} == {
        "embedding/c/0/0/3": (-29.125, 13.125, -27.125, 15.125),
        CHUNK: CHUNK_BBOX,
        "latitude/c/0": None,
        "notes.txt": None,
        VALID: None,
    }
    assert report.damaged_chunks == 2
    assert report.chunks_checked == sum(key.startswith("embedding/c/") for key in objects(copied)) + 1
    assert report.values_compared == (truth().size - 2 * 8 * 8 * BANDS if source else 0)


def test_a_damaged_table_is_the_only_problem(copied: Path) -> None:
    flip(copied / TABLE)
    report = cop_zarr.verify(copied)
    assert [problem.key for problem in report.problems] == [TABLE]
    assert (report.chunks_checked, report.listed) == (0, False)


UNKNOWN = [
    "notes.txt",
    "embedding/c/0/0/99",
    "embedding/c/0/2/4.tmp",
    "other/zarr.json",
    "embedding/c/0/02/4",
]
UNFINISHED = [
    *("ingest/job.json", "ingest/blocks/0-0.json", "ingest/replaced/zarr.json"),
    f"{CHUNK}.0123abcd.partial",
]


@pytest.mark.parametrize("key", [*UNKNOWN, *UNFINISHED])
def test_an_unknown_object_is_found(copied: Path, key: str) -> None:
    (copied / key).parent.mkdir(parents=True, exist_ok=True)
    (copied / key).write_bytes(b"?")
    [problem] = cop_zarr.verify(copied).problems
    assert problem.key == key
    assert ("interrupted" in problem.message) == (key in UNFINISHED)


def test_the_lock_of_a_repair_at_work_is_no_problem(copied: Path) -> None:
    (copied / "ingest").mkdir()
    (copied / "ingest/lock").touch()
    assert cop_zarr.verify(copied).ok


def test_a_chunk_where_the_store_has_none_is_found(tmp_path: Path) -> None:
    values = truth()
    values[:, 16:24, 32:40] = 0
    other = factory.write_geotiff(tmp_path / "a.tif", values, rows=ROWS, cols=COLS)
    cop_zarr.ingest(other, tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / CHUNK).write_bytes(b"other readers take this for data")
    [problem] = cop_zarr.verify(tmp_path / "a.zarr").problems
    assert problem.key == CHUNK


# Stores that are consistent, and wrong


def write_store(path: Path, tamper: Callable[[writing.StoreWriter], None]) -> Path:
    """Write a store whose checksums are right, whatever else ``tamper`` has done."""
    values = truth()
    layout = Layout(grid.Grid(300, 580, 37, 53), BANDS)
    writer = writing.StoreWriter(layout, storage.folder(str(path)))
    writer.write(layout.grid.whole, np.moveaxis(values, 0, -1).copy())
    tamper(writer)
    writer.finish(writer.documents(factory.PROVENANCE, "2026-01-01T00:00:00+00:00"))
    return path


def test_a_wrong_mask_is_found(tmp_path: Path, small_source: Path) -> None:
    assert cop_zarr.verify(write_store(tmp_path / "small_store.zarr", lambda _: None), small_source).ok

    def tamper(writer: writing.StoreWriter) -> None:
        writer.valid[17, 33] ^= True
        writer.valid[18, 34] ^= True
        writer.valid[0, 1] = True  # the first chunks are empty: lattice columns below 600

    problems = cop_zarr.verify(write_store(tmp_path / "a.zarr", tamper)).problems
    assert [problem.key for problem in problems] == ["embedding/c/0/0/0", CHUNK]
    assert problems[1].bbox == CHUNK_BBOX
    assert "2 of its cells" in problems[1].message


@pytest.mark.parametrize("name", ["latitude", "longitude"])
def test_wrong_coordinates_are_found(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(grid.Grid, name + "s").fget
    with monkeypatch.context() as patch:
        patch.setattr(grid.Grid, name + "s", property(lambda self: right(self) + 0.125))
        path = write_store(tmp_path / "a.zarr", lambda _: None)
    [problem] = cop_zarr.verify(path).problems
    assert problem.key == f"{name}/c/0"


def test_values_beyond_the_edge_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = writing.encode

    def spill(chunk: np.ndarray) -> bytes:
        chunk[7, 7] = 1  # beyond the 37th row and the 53rd column in the last chunk
        return encode(chunk)

    with monkeypatch.context() as patch:
        patch.setattr(writing, "encode", spill)
        path = write_store(tmp_path / "a.zarr", lambda _: None)
    found = [problem for problem in cop_zarr.verify(path).problems if "edge" in problem.message]
    assert {problem.key for problem in found} >= {"embedding/c/0/4/6"}
    assert all(problem.key.split("/")[3] == "4" or problem.key.split("/")[4] == "6" for problem in found)


# Comparison with a source


@pytest.mark.parametrize("value", [np.nan, -1, 0, np.nextafter(np.float32(1e3), np.float32(2e3))])
def test_a_single_other_value_is_found_and_placed(small_store: Path, tmp_path: Path, value: float) -> None:
    values = truth()
    row, col = np.argwhere(values[2, 16:24, 32:40])[0] + [16, 32]
    before, values[2, row, col] = values[2, row, col], value
    other = factory.write_geotiff(tmp_path / "other.tif", values, rows=ROWS, cols=COLS)
    report = cop_zarr.verify(small_store, other)
    [problem] = report.problems
    assert (problem.key, problem.bbox) == (CHUNK, CHUNK_BBOX)
    for part in (f"row {row}, column {col}, band 2", repr(np.float32(before))):
        assert part in problem.message
    assert report.values_compared == values.size
    assert cop_zarr.verify(small_store).ok


def test_bits_are_compared(small_store: Path, tmp_path: Path) -> None:
    values = truth()
    values[0, 0, 0] = -0.0  # in a chunk that the store does not hold
    other = factory.write_geotiff(tmp_path / "other.tif", values, rows=ROWS, cols=COLS)
    assert [problem.key for problem in cop_zarr.verify(small_store, other).problems] == [
        "embedding/c/0/0/0"
    ]
    values[:, 20, 40] = np.nan
    other = factory.write_geotiff(tmp_path / "nan.tif", values, rows=ROWS, cols=COLS)
    cop_zarr.ingest(other, tmp_path / "a.zarr")
    assert cop_zarr.verify(tmp_path / "a.zarr", other).ok
    shifted = np.roll(values, 1, axis=2)
    other = factory.write_geotiff(tmp_path / "shifted.tif", shifted, rows=ROWS, cols=COLS)
    assert len(cop_zarr.verify(tmp_path / "a.zarr", other).problems) > 10


@pytest.mark.parametrize(
    ("rows", "cols", "bands"),
    [(ROWS, COLS, 2), (ROWS, (581, 634), 3), ((300, 336), COLS, 3)],
)
def test_a_source_of_another_grid_is_refused(
    small_store: Path, tmp_path: Path, rows: tuple[int, int], cols: tuple[int, int], bands: int
) -> None:
    other = factory.write_geotiff(tmp_path / "other.tif", rows=rows, cols=cols, bands=bands)
    with pytest.raises(InputError):
        cop_zarr.verify(small_store, other)


@pytest.mark.parametrize(
    "profile", [{"interleave": "band"}, {"tiled": False, "blockxsize": None, "blockysize": 5}]
)
def test_the_sources_container_does_not_matter(small_store: Path, tmp_path: Path, profile: dict) -> None:
    other = factory.write_geotiff(tmp_path / "a.tif", rows=ROWS, cols=COLS, bands=BANDS, **profile)
    report = cop_zarr.verify(small_store, other)
    assert report.ok
    assert report.values_compared == 37 * 53 * BANDS


def test_a_source_that_cannot_be_read(small_store: Path, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"")
    with pytest.raises(SourceError, match=r"a\.tif"):
        cop_zarr.verify(small_store, tmp_path / "a.tif")
    with pytest.raises(SourceNotFoundError):
        cop_zarr.verify(small_store, tmp_path / "gone.tif")


def test_too_little_memory_to_compare(small_store: Path, small_source: Path) -> None:
    with pytest.raises(MemoryLimitError):
        cop_zarr.verify(small_store, small_source, memory=1 << 20)


# Places


def check_damage_found(url: str, source: Path, options: dict | None = None) -> None:
    """The store has a damaged chunk and an unknown object, which a web server does not list."""
    listed = not url.startswith("http")
    for compared in (None, source):
        report = cop_zarr.verify(url, compared, storage_options=options)
        assert report.listed == listed
        assert [problem.key for problem in report.problems] == [CHUNK, *(["more"] if listed else [])]
        assert report.problems[0].bbox == CHUNK_BBOX
        assert report.values_compared == (truth().size - 8 * 8 * BANDS if compared else 0)


@pytest.fixture
def spoilt(copied: Path) -> Path:
    flip(copied / CHUNK)
    (copied / "more").write_bytes(b"?")
    return copied


def test_over_http(spoilt: Path, small_store: Path, small_source: Path) -> None:
    with static_server(spoilt.parent) as url:
        check_damage_found(f"{url}/{spoilt.name}", small_source)
    with static_server(small_store.parent, ranges=False) as url:
        report = cop_zarr.verify(f"{url}/{small_store.name}", small_source)
        assert report.ok
        assert report.objects_checked == len(objects(small_store))


@pytest.mark.slow
def test_on_s3(spoilt: Path, small_source: Path) -> None:
    with s3_server() as server:
        url = server.place()
        for key, data in objects(spoilt).items():
            server.put(f"{url}/{key}", data)
        check_damage_found(url, small_source, server.options)


def test_in_memory(spoilt: Path, small_source: Path, tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/a.zarr"
    for key, data in objects(spoilt).items():
        storage.folder(url).write(key, data)
    check_damage_found(url, small_source)


def test_in_a_zip_file(spoilt: Path, small_source: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for key, data in objects(spoilt).items():
            file.writestr(key, data)
    check_damage_found(f"zip://::file://{tmp_path}/a.zip", small_source)


# How a store is read


@pytest.mark.slow
def test_memory_does_not_depend_on_the_size_of_the_array(store_path: Path) -> None:
    decoded = 721 * 1440 * 16 * 4
    tracemalloc.start()
    assert cop_zarr.verify(store_path, workers=2).ok
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < decoded / 5


@pytest.mark.parametrize(
    ("remote", "compared", "workers", "at_once"),
    [(False, False, 1, 1), (False, False, 3, 3), (True, False, 1, 5), (True, True, 1, 4)],
)
def test_chunks_are_read_at_once(
    *,
    small_store: Path,
    small_source: Path,
    monkeypatch: pytest.MonkeyPatch,
    remote: bool,
    compared: bool,
    workers: int,
    at_once: int,
) -> None:
    """From a disk as many as there are workers; over a network those of a row, or of a tile of the source.

    There are 5 rows of 5 chunks with data.
    """
    begun = at_work = most = 0
    lock, together, read = threading.Lock(), threading.Barrier(at_once), storage.LocalFolder.read

    def slow(self: storage.LocalFolder, key: str, limit: int = storage.SMALL_BYTES) -> bytes:
        nonlocal begun, at_work, most
        if not key.startswith("embedding/c/"):
            return read(self, key, limit)
        with lock:
            begun += 1
            first = begun <= at_once
            at_work += 1
            most = max(most, at_work)
        if first:
            together.wait(timeout=20)
        data = read(self, key, limit)
        with lock:
            at_work -= 1
        return data

    monkeypatch.setattr(storage.LocalFolder, "read", slow)
    monkeypatch.setattr(storage.LocalFolder, "remote", remote)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert cop_zarr.verify(small_store, small_source if compared else None, workers=workers).ok
    assert (begun, most) == (25, at_once)


def test_a_store_that_is_replaced_meanwhile(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = factory.write_geotiff(tmp_path / "b.tif", rows=ROWS, cols=(581, 634), bands=BANDS)
    cop_zarr.ingest(other, tmp_path / "b.zarr")
    read = storage.LocalFolder.read

    def late(self: storage.LocalFolder, key: str, limit: int = storage.SMALL_BYTES) -> bytes:
        if key == CHUNK and (tmp_path / "b.zarr").exists():
            shutil.rmtree(copied)
            (tmp_path / "b.zarr").rename(copied)
        return read(self, key, limit)

    monkeypatch.setattr(storage.LocalFolder, "read", late)
    with pytest.raises(StoreReplacedError):
        cop_zarr.verify(copied)


# What cannot be read


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError):
        cop_zarr.verify(tmp_path / "gone.zarr")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(StoreError):
        cop_zarr.verify(tmp_path)


def test_an_object_that_cannot_be_read_is_no_damage(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = storage.LocalFolder.read

    def fail(self: storage.LocalFolder, key: str, limit: int = storage.SMALL_BYTES) -> bytes:
        if key == CHUNK:
            raise StorageError("Input/output error")
        return read(self, key, limit)

    monkeypatch.setattr(storage.LocalFolder, "read", fail)
    with pytest.raises(StorageError):
        cop_zarr.verify(copied)
