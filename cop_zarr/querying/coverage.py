"""How much of each cell lies in a region: the weights of a window's cells."""

from __future__ import annotations

import numpy as np

from cop_zarr.core.grid import TOUCH_TOLERANCE, Bounds, Grid, Window
from cop_zarr.core.product import STEP_DEG
from cop_zarr.errors import MissingDependencyError
from cop_zarr.regions.footprints import Footprint


def coverage(grid: Grid, window: Window, footprint: Footprint) -> np.ndarray:
    """Part of each cell that lies inside a region.

    Of the first and the last row only the half that lies on the Earth is counted as the cell. An overlap
    of less than :data:`~cop_zarr.core.grid.TOUCH_TOLERANCE` of a cell (or of the region, if that is smaller)
    is rounding, and none.

    Returns
    -------
    ndarray
        float64, shape ``(rows, cols)``, 0 to 1.

    Raises
    ------
    MissingDependencyError
        If the region is a polygon, and exactextract is not installed.
    """
    if footprint.geometry is None:
        return _box_coverage(grid, window, footprint.bounds)
    try:
        from cop_zarr.querying import exactextract  # boxes need neither shapely nor exactextract
    except ImportError as error:
        raise MissingDependencyError(
            "polygons and circles need exactextract, which is not installed: pip install "
            '"cop-zarr[polygons]" (it has wheels for macOS and for Linux on x86-64; elsewhere it is built, '
            "which needs GEOS)"
        ) from error
    parts = np.zeros(window.shape)
    west, south, east, north = grid.window_bounds(window)
    for turn in _longitude_shifts(west, footprint.bounds.west):
        frame = Bounds(west + turn, south, east + turn, north)
        if frame.west < footprint.bounds.east and frame.east > footprint.bounds.west:
            parts += exactextract.cell_fractions(footprint.geometry, frame, window.shape)
    souths, norths = grid.window_edges(window)
    parts *= (STEP_DEG / (norths - souths))[:, None]
    np.minimum(parts, 1, out=parts)
    parts[parts <= TOUCH_TOLERANCE * min(1.0, float(parts.sum()))] = 0
    return parts


def _box_coverage(grid: Grid, window: Window, bounds: Bounds) -> np.ndarray:
    """Coverage by a box, exact to the last bit."""
    souths, norths = grid.window_edges(window)
    rows = _overlap(souths, norths, bounds.south, bounds.north) / (norths - souths)
    wests = grid.window_longitudes(window) - STEP_DEG / 2
    cols = np.zeros(wests.shape)
    for turn in _longitude_shifts(wests[0], bounds.west):
        cols += _overlap(wests + turn, wests + turn + STEP_DEG, bounds.west, bounds.east)
    return np.outer(rows, np.minimum(cols / STEP_DEG, 1))  # both ends of a globe may meet in one cell


def _longitude_shifts(west: float, region_west: float) -> tuple[float, float, float]:
    """Degrees to add to a window so that it meets a region: both may be unrolled, and either a turn apart.

    A region that goes all the way around may begin and end within one cell of the window.
    """
    nearest = 360.0 * round((region_west - west) / 360)
    return nearest - 360, nearest, nearest + 360


def _overlap(lows: np.ndarray, highs: np.ndarray, low: float, high: float) -> np.ndarray:
    lengths: np.ndarray = np.maximum(np.minimum(highs, high) - np.maximum(lows, low), 0)
    return lengths
