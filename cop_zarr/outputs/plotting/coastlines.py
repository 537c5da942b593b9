"""Where do cells with data end? Lines between them and cells without. NumPy only."""

from __future__ import annotations

import numpy as np

from cop_zarr.core.product import STEP_DEG
from cop_zarr.outputs.plotting.extent import View


def coasts(view: View) -> np.ndarray:
    """The edges between a view's cells with data and those without.

    Edges in one line are one segment, so that there are some thousand of them on the globe. The view's own
    frame is none: what lies beyond it is not asked.

    Returns
    -------
    ndarray
        float64, ``(n, 2, 2)``: of each segment both ends, longitude and latitude, unrolled as the view.
    """
    west, north = view.extent.west, view.extent.north
    cols, tops, bottoms = _runs(view.valid[:, 1:] != view.valid[:, :-1])
    rows, lefts, rights = _runs((view.valid[1:] != view.valid[:-1]).T)
    upright = np.stack([cols + 1, tops, cols + 1, bottoms], axis=-1)
    level = np.stack([lefts, rows + 1, rights, rows + 1], axis=-1)
    ends = np.concatenate([upright, level]).reshape(-1, 2, 2)
    return np.asarray(ends * [STEP_DEG, -STEP_DEG] + [west, north])


def _runs(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns of the unbroken runs down each column, their first rows, and those past their last."""
    steps = np.diff(np.pad(edges.astype("i1"), ((1, 1), (0, 0))), axis=0).T  # so that columns come first
    cols, first = np.nonzero(steps == 1)
    _, stop = np.nonzero(steps == -1)
    return cols, first, stop
