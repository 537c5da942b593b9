"""The cells that a plot shows: a window of the grid, its edges in degrees, and its coastlines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cop_zarr.core.grid import Bounds, Grid, Window, cut_window
from cop_zarr.core.product import LATTICE_COLS, STEP_DEG
from cop_zarr.errors import InputError
from cop_zarr.regions import BBox, footprint
from cop_zarr.regions.forms import reduce_form

MIN_MARGIN_CELLS = 2
MARGIN_FRACTION = 0.12
"""Margin around a region, as a fraction of its side."""

MAX_ASPECT = 5
"""Largest ratio of width to height around a region, except next to a pole."""


class Extent(NamedTuple):
    """The cells of a plot; ``valid`` has the window's shape."""

    grid: Grid
    window: Window
    valid: np.ndarray

    @property
    def cell_bounds(self) -> Bounds:
        """Outer edges of the cells in degrees, unwrapped; up to half a cell beyond a pole."""
        return self.grid.window_bounds(self.window)

    @property
    def bounds(self) -> Bounds:
        """Outer edges of the cells, clipped at the poles."""
        return self.cell_bounds.on_earth

    def reindex(self, window: Window, values: np.ndarray) -> np.ndarray:
        """Values of another window for the cells of this one: float64, NaN outside the other window."""
        rows = np.arange(self.window.row, self.window.row_stop) - window.row
        cols = (np.arange(self.window.col, self.window.col_stop) - window.col) % LATTICE_COLS
        row_inside, col_inside = (rows >= 0) & (rows < values.shape[0]), cols < values.shape[1]
        out = np.full(self.window.shape, np.nan)
        out[np.ix_(row_inside, col_inside)] = values[np.ix_(rows[row_inside], cols[col_inside])]
        return out


def bbox_extent(grid: Grid, mask: np.ndarray, bbox: BBox | Sequence[float] | None) -> Extent:
    """The extent of all cells that a box touches, or of the whole store; ``mask`` is the whole grid's."""
    if bbox is None:
        window = grid.whole
    elif isinstance(reduce_form(bbox, None)[0], Sequence | np.ndarray) and not isinstance(bbox, str):
        window, _ = grid.touched(footprint(bbox).bounds)
    else:  # the edges of a plot are meridians and parallels
        raise InputError(
            "bbox must be a BBox or four numbers (minlon, minlat, maxlon, maxlat); got "
            f"{type(bbox).__name__}. To plot another kind of region, pass region="
        )
    return Extent(grid, window, cut_window(mask, window))


def region_extent(grid: Grid, mask: np.ndarray, window: Window) -> Extent:
    """The extent of a region's window and a margin around it, within the grid."""
    rows, cols = window.shape
    col_margin = max(MIN_MARGIN_CELLS, round(MARGIN_FRACTION * cols))
    missing_rows = round((cols + 2 * col_margin) / MAX_ASPECT) - rows  # a disc near a pole is wide and low
    row_margin = max(MIN_MARGIN_CELLS, round(MARGIN_FRACTION * rows), missing_rows // 2)
    row, row_stop = max(window.row - row_margin, 0), min(window.row_stop + row_margin, grid.rows)
    if grid.cyclic:
        col_margin = min(col_margin, (grid.cols - cols) // 2)
        turn = grid.cols if window.col < col_margin else 0  # the first column of a window is not negative
        col, col_stop = window.col - col_margin + turn, window.col_stop + col_margin + turn
    else:
        col, col_stop = max(window.col - col_margin, 0), min(window.col_stop + col_margin, grid.cols)
    margin = Window(row, row_stop, col, col_stop)
    return Extent(grid, margin, cut_window(mask, margin))


def coastlines(extent: Extent) -> np.ndarray:
    """Segments between cells with data and cells without; collinear edges are one segment.

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
