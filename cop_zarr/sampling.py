"""Points to vectors: the cell that each lies in, or between the four centres around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from cop_zarr.chunks import ChunkReader
from cop_zarr.errors import RegionError
from cop_zarr.grid import Grid, range_hint
from cop_zarr.plans import Empty, one_of
from cop_zarr.product import LATTICE_NORTH, LATTICE_ROWS, LATTICE_WEST, STEP_DEG

Method = Literal["nearest", "bilinear"]


@dataclass(frozen=True)
class Cells:
    """What points are made of: ``k`` cells each, 1 (nearest) or 4 (bilinear).

    Attributes
    ----------
    rows, cols : ndarray
        int64, ``(k, n)``, in the grid.
    weights : ndarray
        float64, ``(k, n)``: sums to 1 over the cells of a point, or all 0 for a point without data.
    """

    rows: np.ndarray
    cols: np.ndarray
    weights: np.ndarray


def check_words(method: object, empty: object) -> None:
    """Refuse words that :meth:`cop_zarr.Store.sample` does not take."""
    one_of("method", method, get_args(Method))
    one_of("empty", empty, get_args(Empty))


def check_points(lon: ArrayLike, lat: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Longitudes and latitudes of one shape, float64.

    Raises
    ------
    RegionError
        If they are no numbers, do not go together, or one is not finite or out of range.
    """
    lons, lats = _numbers(lon, "lon"), _numbers(lat, "lat")
    try:
        lons, lats = np.broadcast_arrays(lons, lats)
    except ValueError:
        raise RegionError(f"lon and lat must have one shape; got {lons.shape} and {lats.shape}") from None
    good = (lons >= -180) & (lons <= 360) & (np.abs(lats) <= 90)  # NaN is not
    if not good.all():
        place = np.unravel_index(int(np.argmin(good)), good.shape)
        hint = range_hint(lons[place], lats[place])
        raise RegionError(
            f"lon must lie within -180 … 360 and lat within -90 … 90; got lon={lons[place]}, "
            f"lat={lats[place]} at {_position(place)}, the first of {int((~good).sum()):,}{hint}"
        )
    return lons, lats


def cells_of(grid: Grid, lons: np.ndarray, lats: np.ndarray, method: Method) -> Cells:
    """Find the cells of points.

    Parameters
    ----------
    lons, lats : ndarray
        Checked points, of one shape.

    Raises
    ------
    RegionError
        If one of them has a cell that the grid lacks.
    """
    lon, lat = lons.ravel(), lats.ravel()
    if method == "nearest":
        rows, cols = grid.cells_at(lon[None], lat[None])
        weights = np.ones(rows.shape)
    else:
        rows, cols, weights = _around(grid, lon, lat)
    missing = ((rows < 0) & (weights > 0)).any(axis=0)
    if missing.any():
        place = np.unravel_index(int(np.argmax(missing)), lons.shape)
        what = "its cell is not" if method == "nearest" else "the four cell centres around it are not all"
        raise RegionError(
            f"the point lon={lons[place]}, lat={lats[place]} at {_position(place)} is outside the store, "
            f"the first of {int(missing.sum()):,}: {what} in {grid}"
        )
    return Cells(rows, cols, weights)


def skip_empty(cells: Cells, valid: np.ndarray) -> Cells:
    """Let only cells with data count."""
    weights = np.where(valid[cells.rows, cells.cols], cells.weights, 0)
    total = weights.sum(axis=0)
    return Cells(cells.rows, cells.cols, weights / np.where(total > 0, total, 1))


def gather(reader: ChunkReader, cells: Cells) -> np.ndarray:
    """Read the points' vectors; each chunk is read once, whatever the order of the points.

    Returns
    -------
    ndarray
        float32, ``(n, bands)``; NaN for a point without any weight.
    """
    corners, count = cells.weights.shape
    out = np.zeros((count, reader.layout.bands), "f4")
    size = reader.layout.chunk_cells
    for chunk, corner, points in _by_chunk(reader, cells):
        if chunk is None:
            continue
        values = chunk[cells.cols[corner, points] % size, cells.rows[corner, points] % size]
        if corners == 1:
            out[points] = values
        else:
            out[points] += cells.weights[corner, points, None] * values
    out[~(cells.weights > 0).any(axis=0)] = np.nan
    return out


def _by_chunk(reader: ChunkReader, cells: Cells) -> Iterator[tuple[np.ndarray | None, int, np.ndarray]]:
    """Chunk after chunk, each with the points that have one of their corners in it."""
    size, corners = reader.layout.chunk_cells, len(cells.weights)
    corner, point = np.nonzero(cells.weights)
    if not point.size:
        return
    chunk_cols = reader.layout.chunk_grid[1]
    chunk = cells.rows[corner, point] // size * chunk_cols + cells.cols[corner, point] // size
    group = chunk * corners + corner
    order = np.argsort(group, kind="stable")
    groups, starts = np.unique(group[order], return_index=True)
    wanted = np.unique(chunk)
    data = reader.read_many([divmod(int(number), chunk_cols) for number in wanted])
    current, values = -1, None
    for number, points in zip(groups.tolist(), np.split(point[order], starts[1:]), strict=True):
        if number // corners != current:
            current, values = number // corners, next(data)
        yield values, number % corners, points


def _around(grid: Grid, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and weights of the four centres around each point; each ``(4, n)``."""
    y, x = (LATTICE_NORTH - lat) / STEP_DEG - 0.5, (lon - LATTICE_WEST) / STEP_DEG - 0.5
    top, left = np.floor(y), np.floor(x)
    south, east = y - top, x - left
    rows = np.minimum(top + np.array([[0], [0], [1], [1]]), LATTICE_ROWS - 1)  # row 721 would weigh 0
    cols = left + np.array([[0], [1], [0], [1]])
    weights = np.stack([(1 - south) * (1 - east), (1 - south) * east, south * (1 - east), south * east])
    return *grid.from_lattice(rows.astype("i8"), cols.astype("i8")), weights


def _numbers(values: ArrayLike, name: str) -> np.ndarray:
    """Degrees as float64; masked ones are NaN."""
    try:
        array = np.ma.asanyarray(values) if np.ma.isMA(values) else np.asarray(values)
    except (TypeError, ValueError) as error:
        raise RegionError(f"{name} must be numbers of degrees: {error}") from error
    if array.dtype.kind not in "fiu":
        raise RegionError(f"{name} must be numbers of degrees; got {array.dtype} values")
    with np.errstate(over="ignore"):  # a longdouble may; infinity is refused like any other
        array = array.astype("f8", copy=False)
    return np.ma.filled(array, np.nan) if np.ma.isMA(array) else array


def _position(place: tuple[np.intp, ...]) -> str:
    if not place:
        return "the only position"
    return "position " + ", ".join(str(int(index)) for index in place)
