"""Grid arithmetic: degrees to cells and back, windows, cell areas.

Every grid is a rectangle of cells on one global lattice of 721 x 1440 cells of 0.25°, the ERA5 grid: the
cell in lattice row *i*, column *j* is **centred** at latitude 90 - 0.25 *i*, longitude -180 + 0.25 *j*. All
of these are multiples of 1/8, exact in binary floating point.

The lattice is cyclic. Column 0 reaches from 179.875° E to 179.875° W, and a :class:`Window` that crosses
the antimeridian runs on beyond the grid's width. The first and the last row reach past the poles, to
±90.125°.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cop_zarr.core.product import LATTICE_COLS, LATTICE_NORTH, LATTICE_ROWS, LATTICE_WEST, STEP_DEG
from cop_zarr.errors import GridError, RegionError

TOUCH_TOLERANCE = 1e-6
"""An overlap of less than this part of a cell is rounding, not a touch (0.03 m at the equator)."""

WGS84_A_M, WGS84_F = 6_378_137.0, 1 / 298.257_223_563
"""Semi-major axis in metres and flattening of the WGS84 ellipsoid (EPSG:7030)."""


class Bounds(NamedTuple):
    """A box in degrees, unwrapped: ``west < east``, so that ``east`` may lie beyond 180.

    Those of a region have ``west`` within -180 … 360 (-180.125 if it is all around), ``east - west`` at
    most 360. South and north reach half a cell beyond a pole at most, as those of a grid or a window do.
    """

    west: float
    south: float
    east: float
    north: float

    @property
    def on_earth(self) -> Bounds:
        """The box without what is beyond a pole."""
        return Bounds(self.west, max(self.south, -90.0), self.east, min(self.north, 90.0))


class Affine(NamedTuple):
    """Coefficients of ``lon = a col + b row + c, lat = d col + e row + f``, for cell *corners*.

    The order is that of rasterio and of the GeoZarr ``spatial:`` convention.
    """

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float

    def centres(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Latitudes ``(rows,)`` and longitudes ``(cols,)`` of cell centres, float64, without rotation.

        >>> Affine(0.25, 0, 119.875, 0, -0.25, 32.125).centres((2, 3))
        (array([32.  , 31.75]), array([120.  , 120.25, 120.5 ]))
        """
        rows, cols = shape
        return self.f + self.e * (np.arange(rows) + 0.5), self.c + self.a * (np.arange(cols) + 0.5)


@dataclass(frozen=True)
class Window:
    """Cells of a grid: rows ``row`` to before ``row_stop``, columns ``col`` to before ``col_stop``.

    On a cyclic grid ``col_stop`` may exceed the grid's width: column ``width + k`` is column ``k``.
    """

    row: int
    row_stop: int
    col: int
    col_stop: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.row_stop - self.row, self.col_stop - self.col

    @property
    def cells(self) -> int:
        """Number of cells."""
        height, width = self.shape
        return height * width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns as slices; only for a window that does not wrap."""
        return slice(self.row, self.row_stop), slice(self.col, self.col_stop)


@dataclass(frozen=True)
class Grid:
    """A rectangle of ``rows`` x ``cols`` cells of the lattice.

    ``row_offset`` and ``col_offset`` are the lattice row and column of its first cell. Columns may run on
    past the lattice's last one, as in a file whose longitudes go from 0 to 360.

    >>> globe = Grid.from_corner(west=-180.125, north=90.125, rows=721, cols=1440)
    >>> globe.cyclic
    True
    >>> globe.latitudes[[0, -1]], globe.longitudes[[0, -1]]
    (array([ 90., -90.]), array([-180.  ,  179.75]))
    """

    row_offset: int
    col_offset: int
    rows: int
    cols: int

    def __post_init__(self) -> None:
        inside = (
            0 <= self.row_offset < self.row_offset + self.rows <= LATTICE_ROWS
            and 0 <= self.col_offset < LATTICE_COLS
            and 0 < self.cols <= LATTICE_COLS
        )
        if not inside:
            raise GridError(
                f"{self.rows} x {self.cols} cells from lattice row {self.row_offset}, column "
                f"{self.col_offset} do not fit on the globe of {LATTICE_ROWS} x {LATTICE_COLS} cells"
            )

    def __str__(self) -> str:
        return f"{self.rows} x {self.cols} cells, {_text(self.bounds)}"

    @classmethod
    def from_corner(cls, west: float, north: float, rows: int, cols: int) -> Grid:
        """Make the grid whose north-west outer corner is at ``west``, ``north`` (degrees).

        GridError if that is no corner of a lattice cell, or the grid leaves the globe.
        """
        row, col = (LATTICE_NORTH - north) / STEP_DEG, (west - LATTICE_WEST) / STEP_DEG
        if not (math.isfinite(row) and abs(west) <= 540):  # NaN is not either
            raise GridError(f"the north-west corner ({west}, {north}) is not a place on Earth")
        if max(abs(row - round(row)), abs(col - round(col))) > TOUCH_TOLERANCE:
            raise GridError(
                f"the north-west corner ({west}, {north}) is not on the product's lattice, whose cell "
                f"corners are at {LATTICE_WEST} + {STEP_DEG} j, {LATTICE_NORTH} - {STEP_DEG} i: "
                "a shift of half a cell is never corrected by guessing"
            )
        return cls(round(row), round(col) % LATTICE_COLS, rows, cols)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.cols

    @property
    def cyclic(self) -> bool:
        """Whether the grid goes all the way around the Earth."""
        return self.cols == LATTICE_COLS

    @property
    def whole(self) -> Window:
        """The window of every cell."""
        return Window(0, self.rows, 0, self.cols)

    def part(self, window: Window) -> Grid:
        """The grid of a window's cells."""
        height, width = window.shape
        col = (self.col_offset + window.col) % LATTICE_COLS
        return Grid(self.row_offset + window.row, col, height, width)

    @property
    def bounds(self) -> Bounds:
        """Outer edges in degrees; up to 0.125° past a pole."""
        return self.window_bounds(self.whole)

    @property
    def latitudes(self) -> np.ndarray:
        """Latitudes of the cell centres, float64, shape ``(rows,)``, from north to south."""
        return self.window_latitudes(self.whole)

    @property
    def longitudes(self) -> np.ndarray:
        """Longitudes of the cell centres, float64, shape ``(cols,)``, increasing."""
        return self.window_longitudes(self.whole)

    def window_bounds(self, window: Window) -> Bounds:
        """Outer edges of a window in degrees, running on past 180."""
        (rows, cols), transform = window.shape, self.transform(window)
        west, north = transform.c, transform.f
        return Bounds(west, north - STEP_DEG * rows, west + STEP_DEG * cols, north)

    def window_latitudes(self, window: Window) -> np.ndarray:
        """Latitudes of the centres of a window's rows, float64, ``(rows,)``, from north to south."""
        first = LATTICE_NORTH - STEP_DEG / 2
        return first - STEP_DEG * (self.row_offset + np.arange(window.row, window.row_stop))

    def window_longitudes(self, window: Window) -> np.ndarray:
        """Longitudes of the centres of a window's columns, float64, ``(cols,)``, running on past 180."""
        first = LATTICE_WEST + STEP_DEG / 2
        return first + STEP_DEG * (self.col_offset + np.arange(window.col, window.col_stop))

    def cell_centres(self, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Longitudes, -180 to 179.75, and latitudes of cells' centres: float64, ``(n,)`` each, degrees."""
        return (self.longitudes[cols] + 180) % 360 - 180, self.latitudes[rows]

    def window_edges(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """South and north edges of a window's rows in degrees, float64, ``(rows,)``, clipped to ±90."""
        lats = self.window_latitudes(window)
        return np.maximum(lats - STEP_DEG / 2, -90), np.minimum(lats + STEP_DEG / 2, 90)

    def window_areas(self, window: Window) -> np.ndarray:
        """Area of one cell in each of a window's rows: m² on the WGS84 ellipsoid, float64, ``(rows,)``."""
        souths, norths = self.window_edges(window)
        areas: np.ndarray = (_zone_area(norths) - _zone_area(souths)) * (STEP_DEG / 360)
        return areas

    def cells_at(self, lons: np.ndarray, lats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the cells in which points lie; -1 outside this grid.

        A point on an edge belongs to the cell south or east of it.
        """
        rows = np.floor((LATTICE_NORTH - lats) / STEP_DEG).astype("i8")
        cols = np.floor((lons - LATTICE_WEST) / STEP_DEG).astype("i8")
        return self.from_lattice(rows, cols)

    def cells_around(self, lons: np.ndarray, lats: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, columns and bilinear weights of the four cell centres around each point.

        Each is ``(4, n)``: north-west, north-east, south-west, south-east. Rows and columns are -1 outside
        this grid; the weights of a point sum to 1.
        """
        y, x = (LATTICE_NORTH - lats) / STEP_DEG - 0.5, (lons - LATTICE_WEST) / STEP_DEG - 0.5
        top, left = np.floor(y), np.floor(x)
        south, east = y - top, x - left
        rows = np.minimum(top + np.array([[0], [0], [1], [1]]), LATTICE_ROWS - 1)  # row 721 would weigh 0
        cols = left + np.array([[0], [1], [0], [1]])
        weights = np.stack([(1 - south) * (1 - east), (1 - south) * east, south * (1 - east), south * east])
        return *self.from_lattice(rows.astype("i8"), cols.astype("i8")), weights

    def from_lattice(self, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of this grid for those of the lattice; -1 outside this grid."""
        rows = rows - self.row_offset
        cols = (cols - self.col_offset) % LATTICE_COLS
        outside = (rows < 0) | (rows >= self.rows) | (cols >= self.cols)
        return np.where(outside, -1, rows), np.where(outside, -1, cols)

    def transform(self, window: Window | None = None) -> Affine:
        """Affine transform of the grid, or of one of its windows."""
        row, col = (window.row, window.col) if window else (0, 0)
        west = LATTICE_WEST + STEP_DEG * (self.col_offset + col)
        north = LATTICE_NORTH - STEP_DEG * (self.row_offset + row)
        return Affine(STEP_DEG, 0.0, west, 0.0, -STEP_DEG, north)

    def touched(self, bounds: Bounds) -> tuple[Window, bool]:
        """Find the window of cells that a box touches, and whether the box reaches beyond this grid.

        An overlap of less than ``TOUCH_TOLERANCE`` of a cell is not a touch. On a whole globe every column
        comes at most once. RegionError if no cell is touched, or those touched are at both ends of a grid
        that is not cyclic.

        >>> globe = Grid(0, 0, 721, 1440)
        >>> globe.touched(Bounds(179.5, -0.25, 180.5, 0.25))  # over the antimeridian
        (Window(row=359, row_stop=362, col=1438, col_stop=1443), False)
        """
        west, south, east, north = bounds
        row, row_stop = _touched_span(LATTICE_NORTH - north, LATTICE_NORTH - south)
        col, col_stop = _touched_span(west - LATTICE_WEST, east - LATTICE_WEST)
        width = min(col_stop - col, LATTICE_COLS)
        rows = (max(row - self.row_offset, 0), min(row_stop - self.row_offset, self.rows))
        cols = (0, 0)
        if rows[0] < rows[1]:
            cols = self._columns((col - self.col_offset) % LATTICE_COLS, width, bounds)
        if cols[0] >= cols[1]:
            raise self.outside(bounds)
        window = Window(*rows, *cols)
        return window, window.shape != (row_stop - row, width)

    def touched_windows(self, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The windows of many boxes, ``(n, 4)``, as :meth:`touched` finds them; and where they are right.

        Returns int64, ``(n, 4)``, and bool, ``(n,)``: False for a box that may not be inside this grid.
        """
        west, south, east, north = bounds.T
        row, row_stop = _touched_spans(LATTICE_NORTH - north, LATTICE_NORTH - south)
        col, col_stop = _touched_spans(west - LATTICE_WEST, east - LATTICE_WEST)
        width = np.minimum(col_stop - col, LATTICE_COLS)
        col = (col - self.col_offset) % LATTICE_COLS
        windows = np.stack([row - self.row_offset, row_stop - self.row_offset, col, col + width], axis=1)
        inside = (windows[:, 0] >= 0) & (windows[:, 1] <= self.rows)
        return windows, inside if self.cyclic else inside & (windows[:, 3] <= self.cols)

    def outside(self, bounds: Bounds) -> RegionError:
        """The error for a region that touches no cell of this grid."""
        return RegionError(
            f"the region {_text(bounds)} lies outside the store, which covers {_text(self.bounds)}"
        )

    def _columns(self, first: int, width: int, bounds: Bounds) -> tuple[int, int]:
        """Columns of this grid among ``width`` cyclic lattice columns from ``first`` on."""
        if self.cyclic:
            return first, first + width
        head = min(first + width - LATTICE_COLS, self.cols)  # columns met after going round once
        tail = min(first + width, self.cols)
        if head > 0 and tail > first > head:
            raise RegionError(
                f"the region {_text(bounds)} meets the store, which covers {_text(self.bounds)}, in "
                "two separate pieces: ask for each of them by itself"
            )
        if head > 0:
            return 0, self.cols if tail > first else head
        return first, tail


def cut_window(mask: np.ndarray, window: Window) -> np.ndarray:
    """Cut a window out of a whole-grid mask: ``(rows, cols)``, around the globe where the window wraps."""
    rows = mask[window.row : window.row_stop]
    if window.col_stop <= mask.shape[1]:
        return rows[:, window.col : window.col_stop].copy()
    return rows.take(range(window.col, window.col_stop), axis=1, mode="wrap")


def split_columns(window: Window, cols: int) -> Iterator[tuple[int, int, int]]:
    """Cut a window's columns where it wraps: yield (first, stop, offset in the window) for each run."""
    col = window.col
    while col < window.col_stop:
        first = col % cols
        width = min(cols - first, window.col_stop - col)
        yield first, first + width, col - window.col
        col += width


def _zone_area(lats: np.ndarray) -> np.ndarray:
    """Area in m² between the equator and parallels, on the WGS84 ellipsoid (Snyder 1987, eq. 3-12)."""
    squared = WGS84_F * (2 - WGS84_F)
    e, sine = math.sqrt(squared), np.sin(np.radians(lats))
    q = (1 - squared) * (sine / (1 - squared * sine**2) + np.arctanh(e * sine) / e)
    return np.asarray(math.pi * WGS84_A_M**2 * q)


def _touched_span(low_deg: float, high_deg: float) -> tuple[int, int]:
    """Lattice indices ``[first, stop)`` touched by an interval, in degrees from the lattice's edge."""
    low, high = low_deg / STEP_DEG, high_deg / STEP_DEG
    tolerance = TOUCH_TOLERANCE * min(1, high - low)  # of the interval if that is smaller than a cell
    first = math.floor(low + tolerance)
    return first, max(first + 1, math.ceil(high - tolerance))


def _touched_spans(low_deg: np.ndarray, high_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """:func:`_touched_span` of many intervals."""
    low, high = low_deg / STEP_DEG, high_deg / STEP_DEG
    tolerance = TOUCH_TOLERANCE * np.minimum(1, high - low)
    first = np.floor(low + tolerance).astype("i8")
    return first, np.maximum(first + 1, np.ceil(high - tolerance).astype("i8"))


def _text(bounds: Bounds) -> str:
    west, south, east, north = bounds
    return f"lon {west:g} … {east:g}, lat {south:g} … {north:g}"
