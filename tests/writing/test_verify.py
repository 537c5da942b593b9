"""Every damage is found and named, and a good store is called good."""

from __future__ import annotations

import os
import shutil
import threading
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest

import cop_zarr
from cop_zarr import storage
from cop_zarr.cli import reports
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
from cop_zarr.writing.checks import Problem
from tests.support import factory
from tests.support.servers import s3_server, static_server

ROWS, COLS, BANDS = (300, 337), (580, 633), 3
CHUNK = "embedding/c/0/2/4"
TABLE = "integrity/embedding/c/0/0/0"
CHUNK_BBOX = (-27.125, 9.125, -25.125, 11.125)
"""Rows 316 to 323 and columns 612 to 619 of the lattice, by hand."""

SMALL_OBJECTS = [
    "band/c/0",
    "band/zarr.json",
    "embedding/zarr.json",
    "integrity/embedding/zarr.json",
    "integrity/zarr.json",
    "latitude/c/0",
    "latitude/zarr.json",
    "longitude/c/0",
    "longitude/zarr.json",
    "spatial_ref/c",
    "spatial_ref/zarr.json",
    "valid/c/0/0",
    "valid/zarr.json",
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verification") / "small.tif"
    return factory.write_geotiff(path, rows=ROWS, cols=COLS, bands=BANDS)


@pytest.fixture(scope="module")
def good(small: Path) -> Path:
    """A good store. Tests that change it copy it first."""
    cop_zarr.ingest(small, small.with_name("good.zarr"))
    return small.with_name("good.zarr")


@pytest.fixture
def copied(good: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good, tmp_path / "copied.zarr")


def files(store: Path) -> list[str]:
    return [path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file()]


# Good stores


@pytest.mark.parametrize("compared", [False, True])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_good_store_is_good_and_the_counts_are_right(
    good: Path, small: Path, compared: bool, workers: int
) -> None:
    report = cop_zarr.verify(good, small if compared else None, workers=workers)
    values = factory.truth(ROWS, COLS, BANDS)
    chunks = [key for key in files(good) if key.startswith("embedding/c/")]
    assert report.ok
    assert report.problems == []
    assert report.store == str(good)
    assert report.source == (str(small) if compared else None)
    assert report.objects_checked == len(files(good))
    assert report.chunks_checked == len(chunks)
    assert report.values_compared == (values.size if compared else 0)
    assert report.valid_cells == values.any(axis=0).sum()


def test_the_globe_is_good(store_path: Path, source: Path, globe: np.ndarray) -> None:
    report = cop_zarr.verify(store_path, source)
    assert report.ok
    assert report.values_compared == globe.size
    assert report.valid_cells == globe.any(axis=0).sum()


def test_a_store_in_memory_is_good(small: Path, tmp_path: Path) -> None:
    cop_zarr.ingest(small, f"memory://{tmp_path.name}/a.zarr")
    assert cop_zarr.verify(f"memory://{tmp_path.name}/a.zarr", small).ok
    fs = fsspec.filesystem("memory")
    fs.rm(f"/{tmp_path.name}/a.zarr/{CHUNK}")
    fs.pipe_file(f"/{tmp_path.name}/a.zarr/more", b"?")
    assert [problem.key for problem in cop_zarr.verify(f"memory://{tmp_path.name}/a.zarr").problems] == [
        CHUNK,
        "more",
    ]


def test_the_default_store_is_verified(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COP_ZARR_STORE", str(good))
    assert cop_zarr.verify().store == str(good)


@pytest.mark.parametrize("compared", [False, True])
def test_progress_ends_at_the_decoded_size(good: Path, small: Path, compared: bool) -> None:
    seen: list[tuple[int, int]] = []
    cop_zarr.verify(
        good, small if compared else None, progress=lambda done, total: seen.append((done, total))
    )
    total = 37 * 53 * BANDS * 4
    assert seen[-1] == (total, total)
    assert [entry[0] for entry in seen] == sorted({entry[0] for entry in seen})


# Damage


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def extend(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def delete(path: Path) -> None:
    path.unlink()


DAMAGES = {
    flip_a_bit: r"CRC-32C is not the recorded one",
    truncate: r"bytes instead of",
    extend: r"it has more than",
    empty: r"it has 0 bytes instead of",
    delete: r"it is absent",
}


@pytest.mark.parametrize("compared", [False, True])
@pytest.mark.parametrize(
    ("damage", "message"), DAMAGES.items(), ids=lambda item: getattr(item, "__name__", "")
)
def test_a_damaged_chunk_is_found_and_placed(
    copied: Path, small: Path, damage: Callable[[Path], None], message: str, compared: bool
) -> None:
    damage(copied / CHUNK)
    report = cop_zarr.verify(copied, small if compared else None)
    assert not report.ok
    [problem] = report.problems
    assert problem.key == CHUNK
    assert problem.bbox == CHUNK_BBOX
    assert message in problem.message
    assert report.chunks_checked == sum(key.startswith("embedding/c/") for key in files(copied)) + (
        damage is delete
    )
    held = 8 * 8 * BANDS if compared else 0
    assert report.values_compared == (37 * 53 * BANDS - held if compared else 0)


@pytest.mark.parametrize("key", SMALL_OBJECTS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_small_object_is_found(copied: Path, key: str, damage: Callable[[Path], None]) -> None:
    damage(copied / key)
    report = cop_zarr.verify(copied)
    [problem] = report.problems
    assert problem.key == key
    assert DAMAGES[damage] in problem.message
    assert problem.bbox is None


def test_the_small_objects_above_are_all_there_are(good: Path) -> None:
    rest = {"zarr.json", "integrity/root.json", TABLE}
    assert {key for key in files(good) if not key.startswith("embedding/c/")} == {*SMALL_OBJECTS, *rest}


@pytest.mark.parametrize("compared", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_integrity_table_is_reported(
    copied: Path, small: Path, damage: Callable[[Path], None], compared: bool
) -> None:
    damage(copied / TABLE)
    report = cop_zarr.verify(copied, small if compared else None)
    assert not report.ok
    [problem] = report.problems
    assert (problem.key, problem.bbox) == (TABLE, None)
    assert DAMAGES[damage] in problem.message
    assert problem.message.endswith("no chunk can be checked without it")
    assert (report.chunks_checked, report.values_compared, report.damaged_chunks) == (0, 0, 0)
    assert report.source == (str(small) if compared else None)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_root_is_refused_with_the_way_to_mend_it(
    copied: Path, damage: Callable[[Path], None]
) -> None:
    damage(copied / "zarr.json")
    with pytest.raises(StoreError, match=f"cop-zarr repair {copied} --source TIF"):
        cop_zarr.verify(copied)
    (copied / "integrity/root.json").unlink()
    with pytest.raises(StoreError) as error:
        cop_zarr.verify(copied)
    assert "repair" not in str(error.value)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_copy_of_the_root_is_found(copied: Path, damage: Callable[[Path], None]) -> None:
    damage(copied / "integrity/root.json")
    [problem] = cop_zarr.verify(copied).problems
    assert problem.key == "integrity/root.json"
    assert problem.message == ("it is absent" if damage is delete else "it is not equal to zarr.json")


def test_swapped_chunks_are_both_found(copied: Path) -> None:
    one, two = copied / CHUNK, copied / "embedding/c/0/1/4"
    first, second = one.read_bytes(), two.read_bytes()
    assert first != second
    one.write_bytes(second)
    two.write_bytes(first)
    assert [problem.key for problem in cop_zarr.verify(copied).problems] == ["embedding/c/0/1/4", CHUNK]


def test_every_damage_is_found_at_once(copied: Path) -> None:
    delete(copied / CHUNK)
    flip_a_bit(copied / "embedding/c/0/0/3")
    flip_a_bit(copied / "valid/c/0/0")
    truncate(copied / "latitude/c/0")
    (copied / "notes.txt").touch()
    assert [problem.key for problem in cop_zarr.verify(copied).problems] == [
        "embedding/c/0/0/3",
        CHUNK,
        "latitude/c/0",
        "notes.txt",
        "valid/c/0/0",
    ]


@pytest.mark.parametrize(
    "key",
    ["notes.txt", "embedding/c/0/0/99", "embedding/c/0/2/4.tmp", "other/zarr.json", "embedding/c/0/02/4"],
)
def test_an_object_too_many_is_found(copied: Path, key: str) -> None:
    (copied / key).parent.mkdir(exist_ok=True)
    (copied / key).write_bytes(b"?")
    assert cop_zarr.verify(copied).problems == [
        Problem(key, "it does not belong to the store: nothing records it")
    ]


@pytest.mark.parametrize(
    "key",
    ["ingest/job.json", "ingest/blocks/0-0.json", f"{CHUNK}.0123abcd.partial", "ingest/replaced/zarr.json"],
)
def test_what_an_interrupted_ingest_left_is_named_as_such(copied: Path, key: str) -> None:
    (copied / key).parent.mkdir(parents=True, exist_ok=True)
    (copied / key).write_bytes(b"?")
    assert cop_zarr.verify(copied).problems == [
        Problem(key, "it is left from an interrupted ingest or repair")
    ]


def test_the_mark_of_a_repair_under_way_is_no_problem(copied: Path) -> None:
    (copied / "ingest").mkdir()
    (copied / "ingest/lock").touch()
    assert cop_zarr.verify(copied).ok


def test_a_chunk_where_the_store_has_none_is_found(tmp_path: Path) -> None:
    values = factory.truth(ROWS, COLS, BANDS)
    values[:, 16:24, 32:40] = 0
    other = factory.write_geotiff(tmp_path / "a.tif", values, rows=ROWS, cols=COLS)
    cop_zarr.ingest(other, tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / CHUNK).write_bytes(b"other readers take this for data")
    [problem] = cop_zarr.verify(tmp_path / "a.zarr").problems
    assert problem.key == CHUNK


# Stores that are consistent, and wrong


def write_store(path: Path, tamper: Callable[[writing.StoreWriter], None]) -> Path:
    """Write a store whose checksums are right, whatever else ``tamper`` has done."""
    values = factory.truth(ROWS, COLS, BANDS)
    layout = Layout(grid.Grid(300, 580, 37, 53), BANDS)
    writer = writing.StoreWriter(layout, storage.folder(str(path)))
    writer.write(layout.grid.whole, np.moveaxis(values, 0, -1).copy())
    tamper(writer)
    writer.finish(writer.documents(factory.PROVENANCE, "2026-01-01T00:00:00+00:00"))
    return path


def test_write_store_writes_good_ones(tmp_path: Path, small: Path) -> None:
    assert cop_zarr.verify(write_store(tmp_path / "a.zarr", lambda _: None), small).ok


def test_a_wrong_mask_is_found(tmp_path: Path) -> None:
    def tamper(writer: writing.StoreWriter) -> None:
        writer.valid[17, 33] ^= True
        writer.valid[18, 34] ^= True

    [problem] = cop_zarr.verify(write_store(tmp_path / "a.zarr", tamper)).problems
    assert (problem.key, problem.bbox) == (CHUNK, CHUNK_BBOX)
    assert problem.message == "'valid' is wrong about 2 of its cells"


def test_a_mask_that_claims_data_where_no_chunk_is_is_found(tmp_path: Path) -> None:
    def tamper(writer: writing.StoreWriter) -> None:
        writer.valid[0, 1] = True  # the first chunks are empty: lattice columns below 600

    [problem] = cop_zarr.verify(write_store(tmp_path / "a.zarr", tamper)).problems
    assert problem.key == "embedding/c/0/0/0"


@pytest.mark.parametrize("name", ["latitude", "longitude"])
def test_wrong_coordinates_are_found(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(grid.Grid, name + "s").fget
    with monkeypatch.context() as patch:
        patch.setattr(grid.Grid, name + "s", property(lambda self: right(self) + 0.125))
        path = write_store(tmp_path / "a.zarr", lambda _: None)
    [problem] = cop_zarr.verify(path).problems
    assert problem.key == f"{name}/c/0"
    assert "its values are not the grid's" in problem.message


def test_values_beyond_the_edge_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = writing.encode

    def spill(chunk: np.ndarray) -> bytes:
        chunk[7, 7] = 1  # beyond the 37th row and the 53rd column in the last chunk
        return encode(chunk)

    with monkeypatch.context() as patch:
        patch.setattr(writing, "encode", spill)
        path = write_store(tmp_path / "a.zarr", lambda _: None)
    assert "embedding/c/0/4/6" in files(path)
    found = [problem for problem in cop_zarr.verify(path).problems if "edge" in problem.message]
    assert {problem.key for problem in found} >= {"embedding/c/0/4/6"}
    assert all(problem.key.split("/")[3] == "4" or problem.key.split("/")[4] == "6" for problem in found)


# Comparison with a source


@pytest.mark.parametrize("value", [np.nan, -1, 0, np.nextafter(np.float32(1e3), np.float32(2e3))])
def test_a_single_other_value_is_found_and_placed(good: Path, tmp_path: Path, value: float) -> None:
    values = factory.truth(ROWS, COLS, BANDS)
    row, col = np.argwhere(values[2, 16:24, 32:40])[0] + [16, 32]
    before, values[2, row, col] = values[2, row, col], value
    other = factory.write_geotiff(tmp_path / "other.tif", values, rows=ROWS, cols=COLS)
    report = cop_zarr.verify(good, other)
    [problem] = report.problems
    assert (problem.key, problem.bbox) == (CHUNK, CHUNK_BBOX)
    assert problem.message.startswith(
        f"1 of its values differ from the source's, the first at row {row}, column {col}, band 2: "
        f"{np.float32(before)!r} instead of"
    )
    assert report.values_compared == values.size
    assert cop_zarr.verify(good).ok


def test_a_negative_zero_is_another_value(good: Path, tmp_path: Path) -> None:
    values = factory.truth(ROWS, COLS, BANDS)
    values[0, 0, 0] = -0.0  # in a chunk that the store does not hold
    other = factory.write_geotiff(tmp_path / "other.tif", values, rows=ROWS, cols=COLS)
    assert [problem.key for problem in cop_zarr.verify(good, other).problems] == ["embedding/c/0/0/0"]


def test_equal_nans_are_equal(tmp_path: Path) -> None:
    values = factory.truth(ROWS, COLS, BANDS)
    values[:, 20, 40] = np.nan
    other = factory.write_geotiff(tmp_path / "other.tif", values, rows=ROWS, cols=COLS)
    cop_zarr.ingest(other, tmp_path / "a.zarr")
    assert cop_zarr.verify(tmp_path / "a.zarr", other).ok


def test_a_shift_by_one_column_is_found(good: Path, tmp_path: Path) -> None:
    values = np.roll(factory.truth(ROWS, COLS, BANDS), 1, axis=2)
    other = factory.write_geotiff(tmp_path / "other.tif", values, rows=ROWS, cols=COLS)
    assert len(cop_zarr.verify(good, other).problems) > 10


@pytest.mark.parametrize(
    ("rows", "cols", "bands"),
    [(ROWS, COLS, 2), (ROWS, (581, 634), 3), ((301, 338), COLS, 3), ((300, 336), COLS, 3)],
)
def test_a_source_of_another_grid_is_refused(
    good: Path, tmp_path: Path, rows: tuple[int, int], cols: tuple[int, int], bands: int
) -> None:
    other = factory.write_geotiff(tmp_path / "other.tif", rows=rows, cols=cols, bands=bands)
    with pytest.raises(InputError, match="is not this store's source"):
        cop_zarr.verify(good, other)


@pytest.mark.parametrize(
    "profile", [{"interleave": "band"}, {"tiled": False, "blockxsize": None, "blockysize": 5}]
)
def test_the_sources_container_does_not_matter(good: Path, tmp_path: Path, profile: dict) -> None:
    other = factory.write_geotiff(tmp_path / "a.tif", rows=ROWS, cols=COLS, bands=BANDS, **profile)
    report = cop_zarr.verify(good, other)
    assert report.ok
    assert report.values_compared == 37 * 53 * BANDS


def test_a_source_that_cannot_be_read(good: Path, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"")
    with pytest.raises(SourceError, match=r"a\.tif"):
        cop_zarr.verify(good, tmp_path / "a.tif")
    with pytest.raises(SourceNotFoundError):
        cop_zarr.verify(good, tmp_path / "gone.tif")


def test_too_little_memory_to_compare(good: Path, small: Path) -> None:
    with pytest.raises(MemoryLimitError):
        cop_zarr.verify(good, small, memory=1 << 20)


# Places


def see_damage_found(url: str, small: Path, options: dict | None = None) -> None:
    """The good store with a damaged chunk and an object too many, which a web server does not tell of."""
    report = cop_zarr.verify(url, storage_options=options)
    assert not report.ok
    listed = not url.startswith("http")
    assert report.listed == listed
    assert [problem.key for problem in report.problems] == [CHUNK, *(["more"] if listed else [])]
    assert report.problems[0].bbox == CHUNK_BBOX
    assert f"{url}/{CHUNK}: its CRC-32C" in f"{url}/{reports.verify_text(report)}"
    assert ("were not looked for" in reports.verify_text(report)) != listed
    compared = cop_zarr.verify(url, small, storage_options=options)
    assert compared.values_compared == 37 * 53 * BANDS - 8 * 8 * BANDS
    assert [problem.key for problem in compared.problems] == [problem.key for problem in report.problems]


def spoil(store: Path) -> None:
    flip_a_bit(store / CHUNK)
    (store / "more").write_bytes(b"?")


def test_over_http(copied: Path, good: Path, small: Path) -> None:
    spoil(copied)
    with static_server(copied.parent) as url:
        see_damage_found(f"{url}/{copied.name}", small)
    with static_server(good.parent, ranges=False) as url:
        report = cop_zarr.verify(f"{url}/{good.name}", small)
        assert report.ok
        assert not report.listed
        assert report.objects_checked == len(files(good))


def test_on_s3(copied: Path, small: Path) -> None:
    with s3_server() as server:
        url = server.place()
        for key in files(copied):
            server.put(f"{url}/{key}", (copied / key).read_bytes())
        report = cop_zarr.verify(url, small, storage_options=server.options)
        assert report.ok
        assert report.listed
        assert report.objects_checked == len(files(copied))
        spoil(copied)
        for key in (CHUNK, "more"):
            server.put(f"{url}/{key}", (copied / key).read_bytes())
        see_damage_found(url, small, server.options)


def test_in_a_zip_file(copied: Path, small: Path) -> None:
    assert cop_zarr.verify(f"zip://::file://{zipped(copied, 'good')}", small).ok
    spoil(copied)
    see_damage_found(f"zip://::file://{zipped(copied, 'bad')}", small)


def zipped(store: Path, name: str) -> str:
    with zipfile.ZipFile(store.with_name(f"{name}.zip"), "w") as file:
        for key in files(store):
            file.write(store / key, key)
    return str(store.with_name(f"{name}.zip"))


# How it goes through a store


def test_memory_does_not_depend_on_the_size_of_the_array(store_path: Path) -> None:
    decoded = 721 * 1440 * 16 * 4
    tracemalloc.start()
    assert cop_zarr.verify(store_path, workers=2).ok
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < decoded / 5


@pytest.mark.parametrize(
    ("remote", "compared", "workers", "at_once"),
    [(False, False, 1, 1), (False, False, 3, 3), (True, False, 1, 5), (True, True, 1, 25)],
)
def test_chunks_are_read_at_once(
    *,
    good: Path,
    small: Path,
    monkeypatch: pytest.MonkeyPatch,
    remote: bool,
    compared: bool,
    workers: int,
    at_once: int,
) -> None:
    """From a disk as many as there are workers; over a network those of a row, or of a block of the source.

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
    assert cop_zarr.verify(good, small if compared else None, workers=workers).ok
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
    with pytest.raises(StoreReplacedError, match="was replaced"):
        cop_zarr.verify(copied)


# What cannot be opened


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError):
        cop_zarr.verify(tmp_path / "gone.zarr")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(StoreError, match="is not a cop-zarr store"):
        cop_zarr.verify(tmp_path)


def test_an_object_that_cannot_be_read_is_no_damage(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = storage.LocalFolder.read

    def fail(self: storage.LocalFolder, key: str, limit: int = storage.SMALL_BYTES) -> bytes:
        if key == CHUNK:
            raise StorageError("Input/output error")
        return read(self, key, limit)

    monkeypatch.setattr(storage.LocalFolder, "read", fail)
    with pytest.raises(StorageError, match="Input/output error"):
        cop_zarr.verify(copied)
