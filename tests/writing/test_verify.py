"""Damage is found wherever a store is, a consistent but wrong store too, and a good store is called good.

``test_damage.py`` has it find every kind of damage to every kind of object.
"""

from __future__ import annotations

import os
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import cop_zarr
from cop_zarr import storage
from cop_zarr.core import grid
from cop_zarr.errors import InputError, StorageError, StoreReplacedError
from cop_zarr.writing import writer as writing
from tests.support import factory
from tests.support.patience import STUCK_SECONDS
from tests.support.servers import static_server
from tests.writing.small import BANDS, CHUNK, CHUNK_BBOX, COLS, ROWS, flip, objects, truth, write_store

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


def test_the_lock_of_a_repair_at_work_is_no_problem(copied: Path) -> None:
    (copied / "ingest").mkdir()
    (copied / "ingest/lock").touch()
    assert cop_zarr.verify(copied).ok


# Damage, wherever the store is

UNKNOWN = ["embedding/c/0/0/99", "embedding/c/0/02/4"]
UNFINISHED = ["ingest/job.json", f"{CHUNK}.0123abcd.partial"]


@pytest.mark.parametrize("key", [*UNKNOWN, *UNFINISHED])
def test_an_unknown_object_is_found(copied: Path, key: str) -> None:
    (copied / key).parent.mkdir(parents=True, exist_ok=True)
    (copied / key).write_bytes(b"?")
    [problem] = cop_zarr.verify(copied).problems
    assert problem.key == key
    assert ("interrupted" in problem.message) == (key in UNFINISHED)


@pytest.mark.parametrize("key", ["notes.txt", "other/zarr.json", "embedding/c/0/.DS_Store", ".cache/a/b"])
def test_a_file_that_is_not_the_store_s_is_no_damage(copied: Path, small_source: Path, key: str) -> None:
    right = cop_zarr.open(copied).query((-31, 9, -25, 15)).data
    (copied / key).parent.mkdir(parents=True, exist_ok=True)
    (copied / key).write_bytes(b"?")
    report = cop_zarr.verify(copied, small_source)
    assert (report.ok, report.foreign) == (True, [key])
    assert np.array_equal(cop_zarr.open(copied).query((-31, 9, -25, 15)).data, right)


@pytest.fixture
def damaged_url(request: pytest.FixtureRequest, copied: Path) -> Iterator[tuple[str, dict | None]]:
    """URL and options of a store with a damaged chunk and an unknown object."""
    flip(copied / CHUNK)
    (copied / "more").write_bytes(b"?")
    if request.param == "disk":
        yield str(copied), None
    elif request.param == "http":
        with static_server(copied.parent) as url:
            yield f"{url}/{copied.name}", None
    elif request.param == "zip":
        with zipfile.ZipFile(copied.with_name("a.zip"), "w") as file:
            for key, data in objects(copied).items():
                file.writestr(key, data)
        yield f"zip://::file://{copied.with_name('a.zip')}", None
    else:
        server = request.getfixturevalue("s3")
        url = server.place()
        for key, data in objects(copied).items():
            server.put(f"{url}/{key}", data)
        yield url, server.options


@pytest.mark.parametrize(
    "damaged_url", ["disk", "http", "zip", pytest.param("s3", marks=pytest.mark.slow)], indirect=True
)
@pytest.mark.parametrize("compared", [False, True])
def test_damage_is_found_in_every_kind_of_place(
    damaged_url: tuple[str, dict | None], small_source: Path, compared: bool
) -> None:
    """A web server does not list what is there: the unknown object is not found."""
    url, options = damaged_url
    listed = not url.startswith("http")
    report = cop_zarr.verify(url, small_source if compared else None, storage_options=options)
    assert report.listed == listed
    assert [problem.key for problem in report.problems] == [CHUNK]
    assert report.foreign == (["more"] if listed else [])
    assert report.problems[0].bbox == CHUNK_BBOX
    assert report.values_compared == (truth().size - 8 * 8 * BANDS if compared else 0)


# Stores that are consistent, and wrong


def test_a_wrong_mask_is_found(tmp_path: Path, small_source: Path) -> None:
    assert cop_zarr.verify(write_store(tmp_path / "right.zarr"), small_source).ok
    cells = [(17, 33), (18, 34), (0, 1)]  # the first chunks are empty: lattice columns below 600
    problems = cop_zarr.verify(write_store(tmp_path / "a.zarr", wrong=cells)).problems
    assert [problem.key for problem in problems] == ["embedding/c/0/0/0", CHUNK]
    assert problems[1].bbox == CHUNK_BBOX
    assert "2 of its cells" in problems[1].message


@pytest.mark.parametrize("name", ["latitude", "longitude"])
def test_wrong_coordinates_are_found(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(grid.Grid, name + "s").fget
    with monkeypatch.context() as patch:
        patch.setattr(grid.Grid, name + "s", property(lambda self: right(self) + 0.125))
        path = write_store(tmp_path / "a.zarr")
    [problem] = cop_zarr.verify(path).problems
    assert problem.key == f"{name}/c/0"


def test_values_beyond_the_edge_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = writing.encode

    def spill(chunk: np.ndarray) -> bytes:
        chunk[7, 7] = 1  # beyond the 37th row and the 53rd column in the last chunk
        return encode(chunk)

    with monkeypatch.context() as patch:
        patch.setattr(writing, "encode", spill)
        path = write_store(tmp_path / "a.zarr")
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


def test_bits_are_compared(small_store: Path, tmp_path: Path) -> None:
    values = truth()
    values[0, 0, 0] = -0.0  # in a chunk that the store does not hold
    other = factory.write_geotiff(tmp_path / "other.tif", values, rows=ROWS, cols=COLS)
    [problem] = cop_zarr.verify(small_store, other).problems
    assert problem.key == "embedding/c/0/0/0"
    values[:, 20, 40] = np.nan
    other = factory.write_geotiff(tmp_path / "nan.tif", values, rows=ROWS, cols=COLS)
    cop_zarr.ingest(other, tmp_path / "a.zarr")
    assert cop_zarr.verify(tmp_path / "a.zarr", other).ok


@pytest.mark.parametrize(
    ("rows", "cols", "bands"), [(ROWS, COLS, 2), (ROWS, (581, 634), 3), ((300, 336), COLS, 3)]
)
def test_a_source_of_another_grid_is_refused(
    small_store: Path, tmp_path: Path, rows: tuple[int, int], cols: tuple[int, int], bands: int
) -> None:
    other = factory.write_geotiff(tmp_path / "other.tif", rows=rows, cols=cols, bands=bands)
    with pytest.raises(InputError):
        cop_zarr.verify(small_store, other)


# How a store is read


@pytest.fixture
def before_chunks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], object]], None]:
    """Have a function called with the key of each chunk before it is read from a disk."""
    read = storage.LocalFolder.read

    def watch(before: Callable[[str], object]) -> None:
        def watched(self: storage.LocalFolder, key: str, limit: int = storage.SMALL_BYTES) -> bytes:
            if key.startswith("embedding/c/"):
                before(key)
            return read(self, key, limit)

        monkeypatch.setattr(storage.LocalFolder, "read", watched)

    return watch


@pytest.mark.parametrize(
    ("remote", "compared", "workers", "at_once"),
    [(False, False, 3, 3), (True, False, 1, 5), (True, True, 1, 4)],
    ids=["as many as workers", "a row of chunks", "a tile of the source"],
)
def test_chunks_are_read_at_once(
    *,
    small_store: Path,
    small_source: Path,
    before_chunks: Callable[[Callable[[str], object]], None],
    monkeypatch: pytest.MonkeyPatch,
    remote: bool,
    compared: bool,
    workers: int,
    at_once: int,
) -> None:
    """The first chunks wait for one another; there are 5 rows of 5 chunks with data."""
    together, begun = threading.Barrier(at_once), []

    def meet(key: str) -> None:
        begun.append(key)
        if len(begun) <= at_once:
            together.wait(timeout=STUCK_SECONDS)

    before_chunks(meet)
    monkeypatch.setattr(storage.LocalFolder, "remote", remote)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert cop_zarr.verify(small_store, small_source if compared else None, workers=workers).ok
    assert len(begun) == 25


def test_a_store_that_is_replaced_meanwhile(
    copied: Path, tmp_path: Path, before_chunks: Callable[[Callable[[str], object]], None]
) -> None:
    other = factory.write_geotiff(tmp_path / "b.tif", rows=ROWS, cols=(581, 634), bands=BANDS)
    cop_zarr.ingest(other, tmp_path / "b.zarr")

    def replace(key: str) -> None:
        if key == CHUNK and (tmp_path / "b.zarr").exists():
            shutil.rmtree(copied)
            (tmp_path / "b.zarr").rename(copied)

    before_chunks(replace)
    with pytest.raises(StoreReplacedError):
        cop_zarr.verify(copied)


def test_an_object_that_cannot_be_read_is_no_damage(
    copied: Path, before_chunks: Callable[[Callable[[str], object]], None]
) -> None:
    def fail(key: str) -> None:
        raise StorageError("Input/output error")

    before_chunks(fail)
    with pytest.raises(StorageError):
        cop_zarr.verify(copied)
