"""Stores for the tests of queries."""

import shutil

import numpy as np
import pytest

import cop_zarr
from tests.support import factory


@pytest.fixture(scope="session")
def fresh(store_path):
    """The store, nothing of which is kept in memory."""
    return cop_zarr.open(store_path, cache_bytes=0)


@pytest.fixture(scope="session")
def part(tmp_path_factory):
    """A store of 3 x 5 chunks; negative values, zeros of either sign, NaN, infinities, empty chunks."""
    place, rows, cols = tmp_path_factory.mktemp("part"), (200, 224), (800, 840)
    values = factory.truth(rows, cols, 4) - 9_000
    values[:, :8, :8] = np.array([-3, -0.0, -5, 0])[:, None, None]
    values[:, :8, 8:16] = 0  # a chunk without data, and another
    values[:, 8:16, 16:24] = -0.0
    values[:2, 18, 30] = np.nan, np.inf
    values[1, 19, 31] = -np.inf
    values[:, 20, 4] = 3e38
    path = factory.write_geotiff(place / "a.tif", values, rows=rows, cols=cols)
    cop_zarr.ingest(path, place / "a.zarr")
    return cop_zarr.open(place / "a.zarr", cache_bytes=0)


@pytest.fixture
def damageable(store_path, tmp_path):
    """A copy of a store with its chunks of rows 160 to 199 only, which a test may damage."""
    rows = str(store_path / "embedding/c/0")

    def ignored(folder, names):
        return [name for name in names if folder == rows and not 20 <= int(name) < 25]

    return shutil.copytree(store_path, tmp_path / "a.zarr", ignore=ignored)
