"""Coverage: the fraction of each cell of a window that is inside a region."""

from __future__ import annotations

import numpy as np

from cop_zarr.core.grid import TOUCH_TOLERANCE, Bounds, Grid, Window
from cop_zarr.core.packages import install
from cop_zarr.core.product import STEP_DEG
from cop_zarr.errors import MissingDependencyError
from cop_zarr.regions.footprints import Footprint


def coverage(grid: Grid, window: Window, footprint: Footprint) -> np.ndarray:
    """Fraction of each cell that is inside a region: float64, ``(rows, cols)``, 0 to 1.

    Of the cells in the first and last row, only the half up to the pole counts as the cell. A fraction
    below ``TOUCH_TOLERANCE`` (of the cell, or of the region if that is smaller) becomes 0.
    """
    bounds = footprint.bounds
    if footprint.geometry is None:
        return _box_coverage(grid, window, bounds)
    try:
        from cop_zarr.querying import exactextract  # boxes need neither shapely nor exactextract
    except ImportError as error:
        raise MissingDependencyError(
            "polygons and circles need exactextract, which cannot be imported: "
            f"{install(['exactextract'], 'polygons')} (wheels exist for macOS and for Linux on x86-64; "
            "elsewhere pip builds it, which needs GEOS)"
        ) from error
    fractions = np.zeros(window.shape)
    west, south, east, north = grid.window_bounds(window)
    for shift in _longitude_shifts(west, bounds.west):
        frame = Bounds(west + shift, south, east + shift, north)
        if frame.west < bounds.east and frame.east > bounds.west:
            fractions += exactextract.cell_fractions(footprint.geometry, frame, window.shape)
    souths, norths = grid.window_edges(window)
    fractions *= (STEP_DEG / (norths - souths))[:, None]
    np.minimum(fractions, 1, out=fractions)
    fractions[fractions <= TOUCH_TOLERANCE * min(1.0, float(fractions.sum()))] = 0
    return fractions


def _box_coverage(grid: Grid, window: Window, bounds: Bounds) -> np.ndarray:
    souths, norths = grid.window_edges(window)
    rows = _overlap(souths, norths, bounds.south, bounds.north) / (norths - souths)
    wests = grid.window_longitudes(window) - STEP_DEG / 2
    cols = np.zeros(wests.shape)
    for shift in _longitude_shifts(wests[0], bounds.west):
        cols += _overlap(wests + shift, wests + shift + STEP_DEG, bounds.west, bounds.east)
    # a box around the globe may begin and end in one cell, and rounding make that more than 1
    return np.outer(rows, np.minimum(cols / STEP_DEG, 1))


def _longitude_shifts(west: float, region_west: float) -> tuple[float, float, float]:
    """Multiples of 360° to add to a window's longitudes so that it meets a region.

    Three, because a region around the globe may begin and end in one cell of the window.
    """
    nearest = 360.0 * round((region_west - west) / 360)
    return nearest - 360, nearest, nearest + 360


def _overlap(lows: np.ndarray, highs: np.ndarray, low: float, high: float) -> np.ndarray:
    lengths: np.ndarray = np.maximum(np.minimum(highs, high) - np.maximum(lows, low), 0)
    return lengths
