"""A store as one array whose cells are read on first use."""

import gc
import os

import numpy as np
import pytest

from cop_zarr.core.threads import ordered_map
from cop_zarr.errors import ChunkError, StorageError
from cop_zarr.format.opening import open_reader, read_document
from cop_zarr.interop.rs_embed.sparse_raster import SparseRaster
from cop_zarr.storage import LocalFolder
from tests.support.folders import WatchedFolder

WINDOW = slice(0, 8), slice(0, 80)


@pytest.fixture
def folder(store_path):
    return WatchedFolder(LocalFolder(store_path))


@pytest.fixture
def reader(folder):
    return open_reader(folder, read_document(folder), workers=2)


def test_views(reader, globe):
    """Of the whole raster, of its corner, and of several threads at once."""
    raster, rng = SparseRaster(reader), np.random.default_rng(0)
    corners = np.column_stack([rng.integers(0, 680, 100), rng.integers(0, 1400, 100)]).tolist()
    windows = [(slice(row, row + 1 + row % 40), slice(col, col + 1 + col % 40)) for row, col in corners]
    windows += [(slice(715, 721), slice(1430, 1440)), (slice(0, 721), slice(0, 1440))]
    views = ordered_map(lambda window: raster.view(*window), windows, workers=8)
    for window, cells in zip(windows, views, strict=True):
        assert (cells.dtype, cells.flags.writeable) == (np.float32, False)
        np.testing.assert_array_equal(np.moveaxis(cells, -1, 0), globe[:, *window])


def test_each_chunk_is_read_once(folder, reader):
    raster = SparseRaster(reader)
    raster.view(slice(0, 40), slice(600, 640))
    read = list(folder.read_keys)
    raster.view(slice(3, 17), slice(601, 630))
    assert folder.read_keys == read


def test_a_damaged_chunk_raises_each_time(reader):
    reader.encoded.crcs = reader.encoded.crcs + 1
    raster = SparseRaster(reader)
    for _ in range(2):
        with pytest.raises(ChunkError):
            raster.view(*WINDOW)


def test_disk_space_is_used_for_what_was_read_and_freed(reader, globe):
    raster = SparseRaster(reader)
    cells = raster.view(*WINDOW)
    stat = os.fstat(raster._file.fileno())
    assert stat.st_size == 721 * 1440 * 16 * 4
    assert stat.st_blocks * 512 < 1 << 20
    file = raster._file
    del raster
    gc.collect()
    assert file.closed
    np.testing.assert_array_equal(np.moveaxis(cells, -1, 0), globe[:, *WINDOW])  # a view stays valid


def test_a_full_disk(reader, monkeypatch):
    raster = SparseRaster(reader)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(StorageError, match="TMPDIR"):
            raster.view(*WINDOW)
    assert raster.view(*WINDOW).any()
