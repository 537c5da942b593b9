"""Points to vectors: the cell that each lies in, or between the four centres around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from cop_zarr.core.grid import Grid, range_hint
from cop_zarr.core.product import LATTICE_COLS, LATTICE_ROWS
from cop_zarr.errors import RegionError
from cop_zarr.format.chunk_reader import ChunkIndex, ChunkReader
from cop_zarr.querying.options import EMPTIES, OnError, check_on_error, check_word

Method = Literal["nearest", "bilinear"]

LATTICE = LATTICE_ROWS, LATTICE_COLS

AT_ONCE = 1 << 20
"""Points that are sorted by chunk together: their cells and weights take 100 MB, or 400 MB if bilinear."""

COPIED_AT_ONCE = 1024
"""Points whose vectors are copied together: 3 MB of 768 bands, which a processor's cache holds."""


@dataclass(frozen=True)
class Points:
    """Checked points.

    Attributes
    ----------
    shape : tuple of int
        How the caller gave them.
    lons, lats : ndarray
        float64, ``(n,)``.
    method : {"nearest", "bilinear"}
        What they are to be made of.
    refused : ndarray or None
        bool, ``(n,)``: those that have no answer; None if each has one.
    """

    shape: tuple[int, ...]
    lons: np.ndarray
    lats: np.ndarray
    method: Method
    refused: np.ndarray | None = None


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


def check_words(method: object, empty: object, on_error: object) -> None:
    """Refuse words that :meth:`cop_zarr.Store.sample` does not take."""
    check_word("method", method, get_args(Method))
    check_word("empty", empty, EMPTIES)
    check_on_error(on_error)


def checked(grid: Grid, lon: ArrayLike, lat: ArrayLike, method: Method, on_error: OnError) -> Points:
    """Check that each point is one, and lies in the store; nothing has been read when one is refused.

    Raises
    ------
    RegionError
        If they are no numbers, or do not go together; and, if ``on_error`` is "raise", if one is not
        finite, out of range, or has a cell that the grid lacks.
    """
    lons, lats = _numbers(lon, "lon"), _numbers(lat, "lat")
    try:
        lons, lats = np.broadcast_arrays(lons, lats)
    except ValueError:
        raise RegionError(f"lon and lat must have one shape; got {lons.shape} and {lats.shape}") from None
    points = Points(lons.shape, lons.ravel(), lats.ravel(), method)
    lons, lats = points.lons, points.lats
    bad = ~((lons >= -180) & (lons <= 360) & (np.abs(lats) <= 90))  # NaN is
    if bad.any():
        _tell(on_error, points, bad, _out_of_range)
        lons, lats = np.where(bad, 0, lons), np.where(bad, 0, lats)
    missing = np.zeros(lons.shape, "?")
    for first in range(0, len(lons) if grid.shape != LATTICE else 0, AT_ONCE):  # the globe lacks no cell
        part = slice(first, first + AT_ONCE)
        cells = cells_of(grid, lons[part], lats[part], method)
        missing[part] = ((cells.rows < 0) & (cells.weights > 0)).any(axis=0)
    missing &= ~bad
    if missing.any():
        _tell(on_error, points, missing, partial(_outside, grid))
    bad |= missing
    return Points(points.shape, lons, lats, method, bad if bad.any() else None)


def cells_of(grid: Grid, lons: np.ndarray, lats: np.ndarray, method: Method) -> Cells:
    """Find the cells of points; rows and columns are -1 where the grid lacks one."""
    if method == "nearest":
        rows, cols = grid.cells_at(lons[None], lats[None])
        return Cells(rows, cols, np.ones(rows.shape))
    return Cells(*grid.cells_around(lons, lats))


def answer(
    reader: ChunkReader,
    points: Points,
    span: slice,
    mask: np.ndarray | None,
    out: np.ndarray,
) -> Iterator[int]:
    """Look up the vectors of some of the points.

    Parameters
    ----------
    span : slice
        Which points.
    mask : ndarray or None
        The cells with data, if others do not count.
    out : ndarray
        float32, ``(n, bands)``; NaN for a point without any weight.

    Yields
    ------
    int
        How many more points are done.
    """
    for first in range(span.start, span.stop, AT_ONCE):
        part = slice(first, min(first + AT_ONCE, span.stop))
        cells = cells_of(reader.layout.grid, points.lons[part], points.lats[part], points.method)
        if mask is not None:
            cells = skip_empty(cells, mask)
        if points.refused is not None:
            cells.weights[:, points.refused[part]] = 0
        gather(reader, cells, out[part.start - span.start : part.stop - span.start])
        yield part.stop - part.start


def skip_empty(cells: Cells, valid: np.ndarray) -> Cells:
    """Let only cells with data count."""
    weights = np.where(valid[cells.rows, cells.cols], cells.weights, 0)
    total = weights.sum(axis=0)
    return Cells(cells.rows, cells.cols, weights / np.where(total > 0, total, 1))


def gather(reader: ChunkReader, cells: Cells, out: np.ndarray) -> None:
    """Read points' vectors into ``(n, bands)``; each chunk is read once, in whatever order they come."""
    chunks = _by_chunk(reader, cells)
    places = [place for place in chunks if reader.holds_data(*place)]
    nearest = len(cells.weights) == 1
    if nearest:
        for place in chunks.keys() - set(places):
            for _, points in chunks[place]:
                out[points] = 0
    else:
        out[:] = 0

    def take(number: int, chunk: np.ndarray) -> None:
        for corner, points in chunks[places[number]]:
            _add(chunk, cells, corner, points, out)

    if nearest:  # each row is written once, by any thread
        for _ in reader.map_chunks(places, take):
            pass
    else:  # rows grow corner by corner, in one order
        for number, chunk in enumerate(
            reader.map_chunks(places, lambda _, chunk: chunk, reuse_buffers=False)
        ):
            take(number, chunk)
    out[~(cells.weights > 0).any(axis=0)] = np.nan


def _add(chunk: np.ndarray, cells: Cells, corner: int, points: np.ndarray, out: np.ndarray) -> None:
    """Copy, or add by their weights, the vectors of points that have a corner in a chunk."""
    size = len(chunk)
    for first in range(0, len(points), COPIED_AT_ONCE):
        some = points[first : first + COPIED_AT_ONCE]
        values = chunk[cells.cols[corner, some] % size, cells.rows[corner, some] % size]
        if len(cells.weights) == 1:
            out[some] = values
        else:
            out[some] += cells.weights[corner, some, None] * values


def _by_chunk(reader: ChunkReader, cells: Cells) -> dict[ChunkIndex, list[tuple[int, np.ndarray]]]:
    """The chunks that points lie in, in order; and for each, by corner, the points that have that in it."""
    size, corners = reader.layout.chunk_cells, len(cells.weights)
    corner, point = np.nonzero(cells.weights)
    chunk_cols = reader.layout.chunk_grid[1]
    chunk = cells.rows[corner, point] // size * chunk_cols + cells.cols[corner, point] // size
    group = chunk * corners + corner
    order = np.argsort(group, kind="stable")
    groups, starts = np.unique(group[order], return_index=True)
    members: dict[ChunkIndex, list[tuple[int, np.ndarray]]] = {}
    for number, points in zip(groups.tolist(), np.split(point[order], starts[1:]), strict=False):
        place = divmod(number // corners, chunk_cols)
        members.setdefault(place, []).append((number % corners, points))
    return members


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


def _tell(
    on_error: OnError, points: Points, bad: np.ndarray, reason: Callable[[Points, int, str, str], str]
) -> None:
    """Refuse the first of the bad points, or tell of each of them."""
    if on_error == "raise":
        first = int(np.argmax(bad))
        place, count = f" at {_position(first, points.shape)}", f", the first of {int(bad.sum()):,}"
        raise RegionError(reason(points, first, place, count))
    if callable(on_error):
        for number in np.flatnonzero(bad).tolist():
            on_error(number, RegionError(reason(points, number, "", "")))


def _out_of_range(points: Points, number: int, place: str, count: str) -> str:
    lon, lat = points.lons[number], points.lats[number]
    return (
        f"lon must lie within -180 … 360 and lat within -90 … 90; got lon={lon}, lat={lat}{place}"
        f"{count}{range_hint(lon, lat)}"
    )


def _outside(grid: Grid, points: Points, number: int, place: str, count: str) -> str:
    what = (
        "its cell is not" if points.method == "nearest" else "the four cell centres around it are not all"
    )
    lon, lat = points.lons[number], points.lats[number]
    return f"the point lon={lon}, lat={lat}{place} is outside the store{count}: {what} in {grid}"


def _position(number: int, shape: tuple[int, ...]) -> str:
    """Where a point stands in the caller's array."""
    if not shape:
        return "the only position"
    return "position " + ", ".join(str(int(index)) for index in np.unravel_index(number, shape))
