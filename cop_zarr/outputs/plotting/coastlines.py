"""Coastlines of a plot: the edges between cells with data and cells without."""

from __future__ import annotations

import numpy as np

from cop_zarr.core.product import STEP_DEG
from cop_zarr.outputs.plotting.extent import Extent


def coastlines(extent: Extent) -> np.ndarray:
    """Segments between cells with data and cells without; collinear edges are one segment.

    Returns
    -------
    ndarray
        float64, ``(n, 2, 2)``: both ends of each segment as (longitude, latitude), unwrapped.
    """
    west, north = extent.cell_bounds.west, extent.cell_bounds.north
    cols, tops, bottoms = _column_runs(extent.valid[:, 1:] != extent.valid[:, :-1])
    rows, lefts, rights = _column_runs((extent.valid[1:] != extent.valid[:-1]).T)
    vertical = np.stack([cols + 1, tops, cols + 1, bottoms], axis=-1)
    horizontal = np.stack([lefts, rows + 1, rights, rows + 1], axis=-1)
    ends = np.concatenate([vertical, horizontal]).reshape(-1, 2, 2)
    return np.asarray(ends * [STEP_DEG, -STEP_DEG] + [west, north])


def _column_runs(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns of the unbroken runs down each column, their first rows, and their stop rows."""
    steps = np.diff(np.pad(edges.astype("i1"), ((1, 1), (0, 0))), axis=0).T  # so that columns come first
    cols, first = np.nonzero(steps == 1)
    _, stop = np.nonzero(steps == -1)
    return cols, first, stop
