"""Fixtures of the tests of tables."""

import pytest

from cop_zarr.interop.tables import runner
from tests.support import factory
from tests.support.tables import write_points


@pytest.fixture
def points(tmp_path):
    """A CSV of 500 points, and their longitudes and latitudes."""
    return write_points(tmp_path / "points.csv", 500)


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of 64 rows, so that small tables have several."""
    monkeypatch.setattr(runner, "PART_BYTES", 64 * 4 * factory.BANDS)
