"""The cells that a plot shows: a window of the grid, and its edges in degrees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cop_zarr.core.grid import Bounds, Grid, Window, cut_window
from cop_zarr.core.product import LATTICE_COLS
from cop_zarr.errors import InputError
from cop_zarr.regions import BBox, Roi, footprint

MIN_MARGIN_CELLS = 2
MARGIN_FRACTION = 0.12
"""Margin around a region, as a fraction of its side."""

MAX_ASPECT = 5
"""Largest ratio of width to height around a region, except next to a pole."""


class Extent(NamedTuple):
    """The cells of a plot.

    Attributes
    ----------
    grid : Grid
        The store's grid.
    window : Window
        The cells; past the grid's width, columns continue from column 0.
    valid : ndarray
        bool, the window's shape: cells with data.
    """

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
        west, south, east, north = self.cell_bounds
        return Bounds(west, max(south, -90.0), east, min(north, 90.0))

    def reindex(self, window: Window, values: np.ndarray) -> np.ndarray:
        """Values of another window for the cells of this one: float64, NaN outside the other window."""
        rows = np.arange(self.window.row, self.window.row_stop) - window.row
        cols = (np.arange(self.window.col, self.window.col_stop) - window.col) % LATTICE_COLS
        row_inside, col_inside = (rows >= 0) & (rows < values.shape[0]), cols < values.shape[1]
        out = np.full(self.window.shape, np.nan)
        out[np.ix_(row_inside, col_inside)] = values[np.ix_(rows[row_inside], cols[col_inside])]
        return out


def window_extent(grid: Grid, mask: np.ndarray, window: Window) -> Extent:
    """The extent of a window; ``mask`` is the whole grid's."""
    return Extent(grid, window, cut_window(mask, window))


def bbox_extent(grid: Grid, mask: np.ndarray, bbox: BBox | Sequence[float] | None) -> Extent:
    """The extent of all cells that a box touches, or of the whole store.

    Raises
    ------
    InputError
        If ``bbox`` is another kind of region.
    RegionError
        If the box is malformed or outside the store.
    """
    if bbox is None:
        return window_extent(grid, mask, grid.whole)
    return window_extent(grid, mask, grid.touched(footprint(_check_bbox(bbox)).bounds)[0])


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
    return window_extent(grid, mask, Window(row, row_stop, col, col_stop))


def _check_bbox(bbox: Roi) -> Roi:
    """Accept a box only: the edges of a plot are meridians and parallels."""
    if isinstance(bbox, BBox) or (isinstance(bbox, Sequence | np.ndarray) and not isinstance(bbox, str)):
        return bbox
    raise InputError(
        f"bbox must be a BBox or four numbers (minlon, minlat, maxlon, maxlat); got {type(bbox).__name__}. "
        "To plot another kind of region, pass region="
    )
