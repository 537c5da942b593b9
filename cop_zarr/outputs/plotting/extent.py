"""Which cells does a picture show? A window of the grid, and where its edges lie in degrees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cop_zarr.core.grid import Bounds, Grid, Window
from cop_zarr.core.product import LATTICE_COLS
from cop_zarr.errors import InputError
from cop_zarr.regions import BBox, Roi, footprint

MARGIN_CELLS = 2
"""Cells shown around a region, at least."""

MARGIN_PART = 0.12
"""And around a large one: this part of its side."""

LONGEST = 5
"""A picture of a region is so many times as wide as high at most, unless it ends at a pole."""


class View(NamedTuple):
    """The cells of a picture.

    Attributes
    ----------
    grid : Grid
        The store's.
    window : Window
        The cells; those over the antimeridian run on past the grid's width.
    valid : ndarray
        bool, the window's shape: which of them have data.
    """

    grid: Grid
    window: Window
    valid: np.ndarray

    @property
    def extent(self) -> Bounds:
        """Outer edges of the cells in degrees: unrolled, and up to half a cell past a pole."""
        return self.grid.window_bounds(self.window)

    @property
    def shown(self) -> Bounds:
        """The same, clipped at the poles."""
        west, south, east, north = self.extent
        return Bounds(west, max(south, -90.0), east, min(north, 90.0))

    def over(self, window: Window, values: np.ndarray) -> np.ndarray:
        """Lay values of another window's cells over this one's; NaN where it has none.

        Parameters
        ----------
        window : Window
            Cells of the same grid.
        values : ndarray
            Of that window's shape.

        Returns
        -------
        ndarray
            float64, of this window's shape.
        """
        rows = np.arange(self.window.row, self.window.row_stop) - window.row
        cols = (np.arange(self.window.col, self.window.col_stop) - window.col) % LATTICE_COLS
        here = (rows >= 0) & (rows < values.shape[0]), cols < values.shape[1]
        out = np.full(self.window.shape, np.nan)
        out[np.ix_(*here)] = values[np.ix_(rows[here[0]], cols[here[1]])]
        return out


def view(grid: Grid, mask: np.ndarray, bbox: BBox | Sequence[float] | None) -> View:
    """Show a box, or all of a store.

    Parameters
    ----------
    mask : ndarray
        bool, the grid's shape: which cells have data.
    bbox : BBox or sequence of float, optional
        (minlon, minlat, maxlon, maxlat) in degrees; every cell that it touches is shown, whole.

    Raises
    ------
    InputError
        If it is another kind of region.
    RegionError
        If it is no box, or lies outside the store.
    """
    if bbox is None:
        return showing(grid, mask, grid.whole)
    found = footprint(_box(bbox))
    return showing(grid, mask, grid.touched(found.bounds)[0])


def around(grid: Grid, mask: np.ndarray, window: Window) -> View:
    """Show a region's cells and a margin around them, as far as there are cells."""
    rows, cols = window.shape
    margin = max(MARGIN_CELLS, round(MARGIN_PART * cols))
    lacking = round((cols + 2 * margin) / LONGEST) - rows  # of a disc near a pole, which is wide and low
    above = max(MARGIN_CELLS, round(MARGIN_PART * rows), lacking // 2)
    row, row_stop = max(window.row - above, 0), min(window.row_stop + above, grid.rows)
    if not grid.cyclic:
        col, col_stop = max(window.col - margin, 0), min(window.col_stop + margin, grid.cols)
        return showing(grid, mask, Window(row, row_stop, col, col_stop))
    each = min(margin, (grid.cols - window.shape[1]) // 2)
    turn = grid.cols if window.col < each else 0  # a window begins in the grid
    return showing(
        grid, mask, Window(row, row_stop, window.col - each + turn, window.col_stop + each + turn)
    )


def showing(grid: Grid, mask: np.ndarray, window: Window) -> View:
    """Show a window's cells."""
    rows = mask[window.row : window.row_stop]
    return View(grid, window, rows.take(range(window.col, window.col_stop), axis=1, mode="wrap"))


def _box(bbox: Roi) -> Roi:
    """Refuse what names no box: a picture's edges are meridians and parallels."""
    if isinstance(bbox, BBox) or (isinstance(bbox, Sequence | np.ndarray) and not isinstance(bbox, str)):
        return bbox
    raise InputError(
        f"bbox must be a BBox or four numbers (minlon, minlat, maxlon, maxlat); got {type(bbox).__name__}. "
        "To draw another kind of region, pass region="
    )
