"""What several of these tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
import rasterio

from tests.support import factory


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two small sources with the same grid and other values."""
    place = tmp_path_factory.mktemp("pair")
    size = {"rows": (300, 324), "cols": (596, 628), "bands": 2, "blockxsize": 16, "blockysize": 16}
    paths = [factory.write_geotiff(place / "0.tif", **size), place / "1.tif"]
    with rasterio.open(paths[0]) as first:
        profile, values = first.profile, first.read()
    with rasterio.open(paths[1], "w", **profile) as second:
        second.write(-values)
    return paths
