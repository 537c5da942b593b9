"""Plans of many plain boxes at once, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cop_zarr.core.grid import TOUCH_TOLERANCE, Grid
from cop_zarr.core.product import STEP_DEG
from cop_zarr.querying.options import CheckedOptions
from cop_zarr.regions.bbox import BBox
from cop_zarr.regions.forms import is_bbox_tuple

NO_BOX = (float("nan"),) * 4


def plan_boxes(grid: Grid, rois: Sequence[Any], options: CheckedOptions) -> tuple[np.ndarray, np.ndarray]:
    """The windows that :func:`~cop_zarr.querying.plan.plan` finds for boxes whose cells count once each.

    Returns the numbers of each :class:`~cop_zarr.core.grid.Window`, int64, ``(n, 4)``, and which regions
    were planned, bool, ``(n,)``. The others are left to ``plan``: what is no box of four numbers, or is
    smaller than a cell, crosses the antimeridian, may reach out of the grid, or is to be refused.
    """
    windows, planned = np.zeros((len(rois), 4), "i8"), np.zeros(len(rois), "?")
    if options.crs is not None or options.weights not in {"auto", None}:
        return windows, planned
    try:
        edges = np.array([_edges(roi) for roi in rois], "f8").reshape(-1, 4)
    except OverflowError:  # an integer too large for a float
        return windows, planned
    west, south, east, north = edges.T
    planned = (west >= -180) & (east <= 180) & (south >= -90) & (north <= 90)
    planned &= np.minimum(east - west, north - south) >= STEP_DEG * (1 - TOUCH_TOLERANCE)
    windows[planned], inside = grid.touched_windows(edges[planned])
    planned[planned] = inside
    return windows, planned


def _edges(roi: Any) -> Sequence[float]:
    """The four edges of a plain box, which may be no numbers at all, or NaN of anything else."""
    if is_bbox_tuple(roi):
        return roi  # type: ignore[no-any-return]
    return (roi.minlon, roi.minlat, roi.maxlon, roi.maxlat) if type(roi) is BBox else NO_BOX
