"""The cells that answer a query, and their weights. Nothing is read."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from cop_zarr.core.grid import TOUCH_TOLERANCE, Bounds, Grid, Window
from cop_zarr.core.product import STEP_DEG
from cop_zarr.core.reducers import UNWEIGHTED
from cop_zarr.errors import RegionError, SubcellError
from cop_zarr.querying.coverage import coverage
from cop_zarr.querying.options import CheckedOptions, Subpixel
from cop_zarr.regions import Footprint, Roi, footprint

Weighing = Literal["coverage", "area", "bilinear"] | None
"""What the weights of an answer are."""

SMALLEST_DEG2 = 1e-100
"""Square degrees below which the part of a cell that lies in a region loses digits as a float64."""


class Plan(NamedTuple):
    """The cells that answer a query.

    Attributes
    ----------
    footprint : Footprint
        The region.
    window : Window
        The cells it touches, or those that ``subpixel`` took for it.
    weights : ndarray or None
        float64, the window's shape; None if every cell counts once.
    clipped : bool
        Whether the store ends before the region does.
    weighing : str or None
        What the weights are: None (touched cells count once), coverage, area or bilinear.
    subpixel : str or None
        Which rule answered, if the region is smaller than a cell.
    """

    footprint: Footprint
    window: Window
    weights: np.ndarray | None
    clipped: bool
    weighing: Weighing
    subpixel: Subpixel | None

    @property
    def members(self) -> np.ndarray:
        """The cells that belong to the region: bool, the window's shape."""
        if self.weights is None:
            return np.ones(self.window.shape, "?")
        return self.weights > 0


def plan(grid: Grid, roi: Roi, options: CheckedOptions) -> Plan:
    """Find the cells that answer a query, and their weights.

    Raises
    ------
    SubcellError
        If the region is narrower or lower than one cell, and ``options.subpixel`` is "raise".
    RegionError
        If it is malformed, or outside the grid.
    MissingDependencyError
        If it is a polygon or a circle, and exactextract is not installed.
    """
    region = footprint(roi, options.crs, repair=options.repair)
    bounds = region.bounds
    rule = _subpixel(bounds, options.subpixel)
    window, clipped = grid.touched(bounds)
    weights, weighing = None, _weighing(region, options)
    if weighing or region.geometry is not None:
        weights = _weights(grid, window, region, weighing)  # refuses what is outside, for every rule
    if rule == "nearest":
        window, weights, weighing = _nearest(grid, region), None, None
    elif rule == "bilinear":
        (window, weights), weighing = _bilinear(grid, region), "bilinear"
    return Plan(region, window, weights, clipped, weighing, rule)


def _weighing(footprint: Footprint, options: CheckedOptions) -> Weighing:
    """The word for the weights: what "auto" stands for, or the one that was given."""
    if options.weights != "auto":
        return options.weights
    return None if footprint.geometry is None or options.pooling in UNWEIGHTED else "coverage"


def _weights(grid: Grid, window: Window, footprint: Footprint, weighing: Weighing) -> np.ndarray:
    """What each cell of a window weighs."""
    parts = coverage(grid, window, footprint)
    west, south, east, north = footprint.bounds
    if (east - west) * (north - south) < SMALLEST_DEG2:
        raise RegionError(
            f"the region, {east - west:g}° by {north - south:g}°, is too small for its parts of cells to "
            "be numbers; ask with subpixel='nearest' and weights=None"
        )
    if not parts.any():
        raise grid.outside(footprint.bounds)
    if weighing is None:
        return (parts > 0).astype("f8")
    if weighing == "area":
        parts *= grid.window_areas(window)[:, None]
    return parts


def _subpixel(bounds: Bounds, rule: Subpixel) -> Subpixel | None:
    """The rule for a region smaller than a cell; None if it is not."""
    width, height = bounds.east - bounds.west, bounds.north - bounds.south
    if min(width, height) >= STEP_DEG * (1 - TOUCH_TOLERANCE):
        return None
    if rule == "raise":
        raise SubcellError(
            f"the region is {width:g}° wide and {height:g}° high, less than one cell of {STEP_DEG}° x "
            f"{STEP_DEG}°; ask for a larger one, or say what to do: subpixel='touch' pools the cells that "
            "it touches, 'nearest' takes the cell at its centre, 'bilinear' interpolates between the four "
            "cell centres around it"
        )
    return rule


def _nearest(grid: Grid, footprint: Footprint) -> Window:
    """The cell at a region's centre."""
    lon, lat = footprint.centre
    row, col = (int(index[0]) for index in grid.cells_at(np.array([lon]), np.array([lat])))
    if row < 0:
        raise RegionError(
            f"the region's centre {footprint.centre} is not in the store ({grid}); take subpixel='touch'"
        )
    return Window(row, row + 1, col, col + 1)


def _bilinear(grid: Grid, footprint: Footprint) -> tuple[Window, np.ndarray]:
    """The cells whose centres are around a region's centre, and their weights.

    A row or column that weighs less than ``TOUCH_TOLERANCE`` is left out.
    """
    lon, lat = footprint.centre
    found = grid.cells_around(np.array([lon]), np.array([lat]))
    rows, cols, weights = (values.reshape(2, 2) for values in found)
    used = np.ix_(weights.sum(axis=1) > TOUCH_TOLERANCE, weights.sum(axis=0) > TOUCH_TOLERANCE)
    rows, cols, weights = rows[used], cols[used], weights[used]
    if rows.min() < 0:
        raise RegionError(
            f"the four cell centres around the region's centre {footprint.centre} are not all in the store "
            f"({grid}); take subpixel='nearest' or 'touch'"
        )
    row, col = int(rows[0, 0]), int(cols[0, 0])
    return Window(row, row + weights.shape[0], col, col + weights.shape[1]), weights
