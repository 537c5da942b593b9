"""Small sources, and stores of them on a disk and in memory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import cop_zarr
from tests.support import factory
from tests.writing import small


@pytest.fixture(scope="session")
def small_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source of 37 x 53 cells with 12 tiles; the first columns are empty."""
    path = tmp_path_factory.mktemp("small") / "small.tif"
    return factory.write_geotiff(
        path, rows=small.ROWS, cols=small.COLS, bands=small.BANDS, blockxsize=16, blockysize=16
    )


@pytest.fixture(scope="session")
def small_store(small_source: Path) -> Path:
    """A store of it. Tests that change it take :func:`copied`."""
    path = small_source.with_name("small.zarr")
    cop_zarr.ingest(small_source, path)
    return path


@pytest.fixture
def copied(small_store: Path, tmp_path: Path) -> Path:
    """A copy of the small store."""
    return shutil.copytree(small_store, tmp_path / "copied.zarr")


@pytest.fixture
def fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have two ingests of one source give the same bytes."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
