"""Cells whose centres are near some points, by geodesic distance on the WGS84 ellipsoid.

Along a parallel, the distance from a point grows with the difference in longitude: what is near a point is
an interval of each row, and its width depends on the two latitudes alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cop_zarr.core.grid import Grid
from cop_zarr.core.product import LATTICE_COLS, LATTICE_WEST, STEP_DEG

if TYPE_CHECKING:
    from pyproj import Geod

MIN_DEGREE_KM = 110.5
"""A degree of latitude is longer than this everywhere."""

HALVINGS = 44
"""Of 180°: the width of an interval is exact to 1e-11°, a thousandth of a millimetre."""


def cells_near(grid: Grid, lons: np.ndarray, lats: np.ndarray, km: float) -> np.ndarray:
    """The cells whose centre is nearer than ``km`` to any of some points: bool, the grid's shape."""
    changes = np.zeros((grid.rows, 2 * LATTICE_COLS + 1), "i4")  # +1 where an interval begins, -1 after it
    distinct, member = np.unique(lats, return_inverse=True)
    for number, lat in enumerate(distinct.tolist()):
        rows, widths = _near_rows(grid, lat, km)
        centres = lons[member == number][:, None]
        first = np.ceil((centres - widths - LATTICE_WEST) / STEP_DEG - 0.5)
        last = np.floor((centres + widths - LATTICE_WEST) / STEP_DEG - 0.5)
        count = np.clip(last - first + 1, 0, LATTICE_COLS).astype("i8")
        begin = first.astype("i8") % LATTICE_COLS
        where = np.broadcast_to(rows, count.shape)
        np.add.at(changes, (where, begin), 1)
        np.add.at(changes, (where, begin + count), -1)
    lattice = np.cumsum(changes, axis=1)[:, :-1] > 0
    lattice = lattice[:, :LATTICE_COLS] | lattice[:, LATTICE_COLS:]
    cols = (grid.col_offset + np.arange(grid.cols)) % LATTICE_COLS
    return np.asarray(lattice[:, cols])


def _near_rows(grid: Grid, lat: float, km: float) -> tuple[np.ndarray, np.ndarray]:
    """The rows that have a point nearer than ``km`` to one at ``lat``, and how far each way, in degrees."""
    rows = np.flatnonzero(np.abs(grid.latitudes - lat) * MIN_DEGREE_KM < km)
    targets = grid.latitudes[rows]
    near = _distance_km(lat, targets, np.zeros(len(rows))) < km
    rows, targets = rows[near], targets[near]
    low, high = np.zeros(len(rows)), np.full(len(rows), 180.0)
    low[_distance_km(lat, targets, high) < km] = 180
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        inside = _distance_km(lat, targets, middle) < km
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return rows, low


def _distance_km(lat: float, lats: np.ndarray, lon_gaps: np.ndarray) -> np.ndarray:
    """Distances of points at ``lats`` from one at ``lat``, for differences in longitude."""
    zeros = np.zeros(len(lats))
    return np.asarray(_geod().inv(zeros, zeros + lat, lon_gaps, lats)[2]) / 1000


@lru_cache(maxsize=1)
def _geod() -> Geod:
    from pyproj import Geod  # 0.1 s, which only distances need

    return Geod(ellps="WGS84")
