"""The cells that answer a query, and their weights. Nothing is read."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from cop_zarr.core.grid import TOUCH_TOLERANCE, Bounds, Grid, Window
from cop_zarr.core.product import STEP_DEG
from cop_zarr.core.reducers import UNWEIGHTED
from cop_zarr.errors import CopZarrError, RegionError, SubcellError
from cop_zarr.querying.coverage import coverage
from cop_zarr.querying.options import CheckedOptions, Subpixel
from cop_zarr.regions import Footprint, Roi, footprint

WeightsKind = Literal["coverage", "area", "bilinear"] | None

MIN_AREA_DEG2 = 1e-100
"""Square degrees below which the part of a cell that is in a region loses digits as a float64."""


class Plan(NamedTuple):
    """The cells that answer a query."""

    footprint: Footprint

    window: Window
    """The touched cells, or those that ``subpixel`` chose for them."""

    weights: np.ndarray | None
    """float64, the window's shape; None if every cell counts once."""

    clipped: bool
    """Whether the region reaches beyond the store."""

    weights_kind: WeightsKind
    """What the weights are; None if touched cells count once."""

    subpixel: Subpixel | None
    """The rule that was applied; None unless the region is smaller than a cell."""

    @property
    def members(self) -> np.ndarray:
        """The cells that belong to the region: bool, the window's shape."""
        if self.weights is None:
            return np.ones(self.window.shape, "?")
        return self.weights > 0


def plan(grid: Grid, roi: Roi, options: CheckedOptions) -> Plan:
    """Find the cells that answer a query, and their weights; refuse a region that has none."""
    try:
        return _plan(grid, roi, options)
    except (CopZarrError, ImportError, MemoryError):
        raise
    except Exception as error:  # of another library: one of many regions may not end them all
        raise RegionError(
            f"the region cannot be used: {type(error).__name__}: {str(error)[:300] or 'no more is known'}; "
            "correct it, or leave it out"
        ) from error


def _plan(grid: Grid, roi: Roi, options: CheckedOptions) -> Plan:
    region = footprint(roi, options.crs, repair=options.repair)
    bounds = region.bounds
    rule = _subpixel(bounds, options.subpixel)
    window, clipped = grid.touched(bounds)
    weights, weights_kind = None, _weights_kind(region, options)
    if weights_kind or region.geometry is not None:
        weights = _weights(grid, window, region, weights_kind)  # refuses what is outside, for every rule
    if rule == "nearest":
        window, weights, weights_kind = _nearest(grid, region), None, None
    elif rule == "bilinear":
        (window, weights), weights_kind = _bilinear(grid, region), "bilinear"
    return Plan(region, window, weights, clipped, weights_kind, rule)


def _weights_kind(region: Footprint, options: CheckedOptions) -> WeightsKind:
    """The option ``weights``, "auto" resolved."""
    if options.weights != "auto":
        return options.weights
    return None if region.geometry is None or options.pooling in UNWEIGHTED else "coverage"


def _weights(grid: Grid, window: Window, region: Footprint, weights_kind: WeightsKind) -> np.ndarray:
    """The weight of each cell of a window."""
    parts = coverage(grid, window, region)
    west, south, east, north = region.bounds
    if (east - west) * (north - south) < MIN_AREA_DEG2:
        raise RegionError(
            f"the region, {east - west:g}° by {north - south:g}°, is too small for its weights to be "
            "numbers; use subpixel='nearest' and weights=None"
        )
    if not parts.any():
        raise grid.outside(region.bounds)
    if weights_kind is None:
        return (parts > 0).astype("f8")
    if weights_kind == "area":
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
            f"{STEP_DEG}°; use a larger one, or subpixel='touch' to pool the cells that it touches, "
            "subpixel='nearest' to take the cell at its centre, subpixel='bilinear' to interpolate between "
            "the four cell centres around it"
        )
    return rule


def _nearest(grid: Grid, region: Footprint) -> Window:
    """The cell at a region's centre."""
    lon, lat = region.centre
    row, col = (int(index[0]) for index in grid.cells_at(np.array([lon]), np.array([lat])))
    if row < 0:
        raise RegionError(
            f"the region's centre {region.centre} is not in the store ({grid}); use subpixel='touch'"
        )
    return Window(row, row + 1, col, col + 1)


def _bilinear(grid: Grid, region: Footprint) -> tuple[Window, np.ndarray]:
    """The cells whose centres are around a region's centre, and their weights.

    A row or column that weighs less than ``TOUCH_TOLERANCE`` is left out.
    """
    lon, lat = region.centre
    found = grid.cells_around(np.array([lon]), np.array([lat]))
    rows, cols, weights = (values.reshape(2, 2) for values in found)
    used = np.ix_(weights.sum(axis=1) > TOUCH_TOLERANCE, weights.sum(axis=0) > TOUCH_TOLERANCE)
    rows, cols, weights = rows[used], cols[used], weights[used]
    if rows.min() < 0:
        raise RegionError(
            f"the four cell centres around the region's centre {region.centre} are not all in the store "
            f"({grid}); use subpixel='nearest' or 'touch'"
        )
    row, col = int(rows[0, 0]), int(cols[0, 0])
    return Window(row, row + weights.shape[0], col, col + weights.shape[1]), weights
