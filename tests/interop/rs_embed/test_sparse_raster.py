"""A store as one array, whose cells are read when they are first asked for."""

import gc
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cop_zarr.errors import ChunkError, StorageError
from cop_zarr.format.opening import open_reader, read_document
from cop_zarr.interop.rs_embed.sparse_raster import Raster
from cop_zarr.storage import LocalFolder, folder
from tests.support.folders import WatchedFolder

WINDOWS = [
    (slice(0, 721), slice(0, 1440)),
    (slice(0, 1), slice(0, 1)),
    (slice(720, 721), slice(1439, 1440)),
    (slice(715, 721), slice(1430, 1440)),
    (slice(7, 9), slice(295, 305)),
    (slice(100, 140), slice(310, 590)),
]


def reader(path):
    where = folder(str(path))
    return open_reader(where, read_document(where), workers=2)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_window_holds_the_sources_cells(window, store_path, globe):
    cells = Raster(reader(store_path)).cut(*window)
    assert cells.dtype == np.float32
    np.testing.assert_array_equal(np.moveaxis(cells, -1, 0), globe[:, *window])


def test_windows_by_chance_from_several_threads(store_path, globe):
    raster, rng = Raster(reader(store_path)), np.random.default_rng(0)
    corners = np.column_stack([rng.integers(0, 680, 300), rng.integers(0, 1400, 300)]).tolist()
    windows = [(slice(row, row + 1 + row % 40), slice(col, col + 1 + col % 40)) for row, col in corners]
    with ThreadPoolExecutor(8) as pool:
        for window, cells in zip(windows, pool.map(lambda one: raster.cut(*one), windows), strict=True):
            np.testing.assert_array_equal(np.moveaxis(cells, -1, 0), globe[:, *window])


def test_each_chunk_is_read_once(store_path):
    where = WatchedFolder(LocalFolder(store_path))
    raster = Raster(open_reader(where, read_document(where), workers=2))
    raster.cut(slice(0, 40), slice(600, 640))
    read = list(where.read_keys)
    raster.cut(slice(3, 17), slice(601, 630))
    assert where.read_keys == read


def test_cells_cannot_be_changed_by_who_looks_at_them(store_path):
    cells = Raster(reader(store_path)).cut(slice(0, 2), slice(0, 2))
    with pytest.raises(ValueError, match="read-only"):
        cells[0, 0, 0] = 1


def test_damaged_chunk_is_an_error_each_time(tmp_path, store_path):
    where = WatchedFolder(LocalFolder(store_path))
    whole = open_reader(where, read_document(where), workers=1)
    whole.crcs = whole.crcs + 1
    raster = Raster(whole)
    for _ in range(2):
        with pytest.raises(ChunkError):
            raster.cut(slice(0, 8), slice(0, 8))


def test_disk_is_taken_for_what_was_asked_and_given_back(store_path):
    raster = Raster(reader(store_path))
    raster.cut(slice(0, 8), slice(0, 80))
    found = os.fstat(raster._file.fileno())
    assert found.st_size == 721 * 1440 * 16 * 4
    assert found.st_blocks * 512 < 1 << 20
    file = raster._file
    del raster
    gc.collect()
    assert file.closed


def test_view_outlives_its_raster(store_path, globe):
    cells = Raster(reader(store_path)).cut(slice(0, 8), slice(0, 80))
    gc.collect()
    np.testing.assert_array_equal(np.moveaxis(cells, -1, 0), globe[:, :8, :80])


def test_full_disk_is_an_error(store_path, monkeypatch):
    raster = Raster(reader(store_path))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageError, match=r"No space left on device.*TMPDIR"):
        raster.cut(slice(0, 8), slice(0, 80))
    monkeypatch.undo()
    assert raster.cut(slice(0, 8), slice(0, 80)).any()


def test_no_place_for_temporary_files_is_an_error(store_path, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StorageError, match="TMPDIR"):
        Raster(reader(store_path))
