"""Cells near points, against distances of pyproj to every cell of some rows and columns."""

import numpy as np
import pytest
from pyproj import Geod

from cop_zarr.analysis.nearby import cells_near
from cop_zarr.core.grid import Grid

GEOD = Geod(ellps="WGS84")
GLOBE = Grid(0, 0, 721, 1440)
PART = Grid(300, 1400, 60, 90)  # over the antimeridian

POINTS = {
    "one": [(11.5, 48.1)],
    "antimeridian": [(179.95, -17.1), (-180, 40), (180, 40.01)],
    "poles": [(-60.3, 89.6), (0, 90), (33, -90)],
    "equator and its antipode": [(0, 0), (180, 0.25), (-90.125, 0)],
    "many of a row": [(lon, 60.25) for lon in np.arange(-30, 30, 0.25)],
    "all over": list(np.random.default_rng(0).uniform([-180, -90], [180, 90], (40, 2))),
}


@pytest.mark.parametrize("km", [0.01, 20, 111.2, 1_500, 10_001.9, 19_950, 20_003.9])
@pytest.mark.parametrize("name", POINTS)
def test_distances_are_geodesic(name, km):
    lons, lats = np.array(POINTS[name], "f8").T
    rng = np.random.default_rng(1)
    for grid in (GLOBE, PART):
        near = cells_near(grid, lons, lats, km)
        assert near.shape == grid.shape
        rows, cols = rng.integers(0, grid.rows, 1500), rng.integers(0, grid.cols, 1500)
        edge_rows, edge_cols = np.nonzero(near[:, 1:] != near[:, :-1])  # and on both sides of every edge
        some = rng.permutation(len(edge_rows))[:500]
        rows = np.concatenate([rows, edge_rows[some], edge_rows[some]])
        cols = np.concatenate([cols, edge_cols[some], edge_cols[some] + 1])
        shape = (len(lons), len(rows))
        ends = (lons[:, None], lats[:, None], grid.longitudes[cols], grid.latitudes[rows])
        distances = (
            GEOD.inv(*(np.broadcast_to(values, shape).copy() for values in ends))[2].min(axis=0) / 1000
        )
        clear = np.abs(distances - km) > 1e-8
        np.testing.assert_array_equal(near[rows, cols][clear], (distances < km)[clear])
