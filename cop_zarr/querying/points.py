"""Points to vectors: the cell that each point is in, or a mean of the four cells around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from cop_zarr.core.grid import Grid
from cop_zarr.core.grouping import group_by
from cop_zarr.core.positions import normalised, on_globe, range_error
from cop_zarr.core.product import LATTICE_COLS, LATTICE_ROWS
from cop_zarr.errors import RegionError
from cop_zarr.format.chunk_grid import ChunkIndex
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.querying.options import EMPTIES, Empty, OnError, check_on_error, check_word
from cop_zarr.querying.valid_mask import ValidMask

if TYPE_CHECKING:
    from cop_zarr.regions.projections import Projection

Method = Literal["nearest", "bilinear"]

BLOCK_POINTS = 1 << 20
"""Points that are sorted by chunk together: their cells and weights take 100 MB, or 400 MB if bilinear."""

COPIED_POINTS = 1024
"""Points whose vectors are copied together: 3 MB of 768 bands, which a processor's cache holds."""


@dataclass(frozen=True)
class Points:
    """Checked points: float64, ``(n,)``; ``shape`` is that of the caller's arrays."""

    shape: tuple[int, ...]
    lons: np.ndarray
    lats: np.ndarray
    method: Method
    refused: np.ndarray | None
    """bool, ``(n,)``; None if no point is refused."""


@dataclass(frozen=True)
class PointCells:
    """The cells that make up points: ``(k, n)``, 1 (nearest) or 4 (bilinear) of each point.

    Rows and columns are -1 outside the grid. Weights sum to 1 for a point, or to 0 for one without data.
    """

    rows: np.ndarray
    cols: np.ndarray
    weights: np.ndarray


def check_options(method: object, empty: object, on_error: object) -> None:
    """Check the options of :meth:`cop_zarr.Store.sample`."""
    check_word("method", method, get_args(Method))
    check_word("empty", empty, EMPTIES)
    check_on_error(on_error)


def check_points(
    grid: Grid,
    lon: ArrayLike,
    lat: ArrayLike,
    method: Method,
    on_error: OnError,
    *,
    crs: object | None = None,
) -> Points:
    """Check points before anything is read, and convert them to degrees.

    Refused are points that are not finite, out of range, or need a cell outside the grid.
    """
    lons, lats = _degrees(lon, "lon"), _degrees(lat, "lat")
    try:
        lons, lats = np.broadcast_arrays(lons, lats)
    except ValueError:
        raise RegionError(f"lon and lat must have one shape; got {lons.shape} and {lats.shape}") from None
    shape, xs, ys = lons.shape, lons.ravel(), lats.ravel()
    source = _other_projection(crs)
    given_lons, given_lats = source.to_lonlat_or_nan(xs, ys) if source else (xs, ys)

    def out_of_range(number: int) -> str:
        x, y = xs[number], ys[number]
        return str(source.outside_error(x, y) if source else range_error(x, y, x, y, f"lon={x}, lat={y}"))

    def outside(number: int) -> str:
        missing = (
            "its cell is not" if method == "nearest" else "the four cell centres around it are not all"
        )
        lon, lat = given_lons[number], given_lats[number]
        return f"the point lon={lon}, lat={lat} is outside the store: {missing} in {grid}"

    lons, lats = given_lons, given_lats
    refused = ~on_globe(lons, lats)
    if refused.any():
        _report(on_error, shape, refused, out_of_range)
        lons, lats = np.where(refused, 0, lons), np.where(refused, 0, lats)
    lons, lats = normalised(lons, lats)
    if grid.shape != (LATTICE_ROWS, LATTICE_COLS):
        beyond = _outside(grid, lons, lats, method) & ~refused
        if beyond.any():
            _report(on_error, shape, beyond, outside)
        refused |= beyond
    return Points(shape, lons, lats, method, refused if refused.any() else None)


def _other_projection(crs: object | None) -> Projection | None:
    """The CRS to convert from; None if coordinates are in the product's CRS."""
    if crs is None:
        return None
    from cop_zarr.regions.projections import projection  # imports pyproj, which takes 0.1 s

    found = projection(crs)
    return None if found.is_product_crs else found


def _outside(grid: Grid, lons: np.ndarray, lats: np.ndarray, method: Method) -> np.ndarray:
    """Which points need a cell outside the grid."""
    outside = np.zeros(lons.shape, "?")
    for first in range(0, len(lons), BLOCK_POINTS):
        block = slice(first, first + BLOCK_POINTS)
        cells = cells_of(grid, lons[block], lats[block], method)
        outside[block] = ((cells.rows < 0) & (cells.weights > 0)).any(axis=0)
    return outside


def cells_of(grid: Grid, lons: np.ndarray, lats: np.ndarray, method: Method) -> PointCells:
    """Find the cells of points."""
    if method == "nearest":
        rows, cols = grid.cells_at(lons[None], lats[None])
        return PointCells(rows, cols, np.ones(rows.shape))
    return PointCells(*grid.cells_around(lons, lats))


@dataclass(frozen=True)
class PointBatch:
    """Many points; a point without data, or refused, gets a row of NaN."""

    reader: ChunkReader
    points: Points
    empty: Empty
    valid: ValidMask

    def __len__(self) -> int:
        return self.points.lons.size

    def fill(self, first: int, stop: int, out: np.ndarray) -> Iterator[int]:
        """Look up points ``first`` to ``stop`` into ``out``, float32; yield how many more are done."""
        points, grid = self.points, self.reader.layout.grid
        for start in range(first, stop, BLOCK_POINTS):
            block = slice(start, min(start + BLOCK_POINTS, stop))
            cells = cells_of(grid, points.lons[block], points.lats[block], points.method)
            if self.empty == "skip":
                cells = skip_empty(cells, self.valid.read())
            if points.refused is not None:
                cells.weights[:, points.refused[block]] = 0
            yield from gather(self.reader, cells, out[block.start - first : block.stop - first])


def skip_empty(cells: PointCells, mask: np.ndarray) -> PointCells:
    """Give weight to cells with data only."""
    weights = np.where(mask[cells.rows, cells.cols], cells.weights, 0)
    total = weights.sum(axis=0)
    return PointCells(cells.rows, cells.cols, weights / np.where(total > 0, total, 1))


def gather(reader: ChunkReader, cells: PointCells, out: np.ndarray) -> Iterator[int]:
    """Read points' vectors into ``(n, bands)``; each chunk is read once, in any order of the points.

    Yields how many more are done: between four cells, a point counts in parts.
    """
    members = _by_chunk(reader, cells)
    parts = {index: sum(len(points) for _, points in found) for index, found in members.items()}
    chunks = [index for index in members if reader.holds_data(*index)]
    nearest = len(cells.weights) == 1
    if nearest:  # each row is written once
        for index in members.keys() - set(chunks):
            out[members[index][0][1]] = 0
    else:
        out[:] = 0

    def add(position: int, chunk: np.ndarray) -> None:
        for corner, points in members[chunks[position]]:
            _add(chunk, cells, corner, points, out)

    def add_all() -> Iterator[None]:
        if nearest:  # by any thread
            yield from reader.map_chunks(chunks, add)
        else:  # rows are summed corner by corner, always in the same order
            decoded = reader.map_chunks(chunks, lambda _, chunk: chunk, reuse_buffers=False)
            for position, chunk in enumerate(decoded):
                add(position, chunk)
                yield

    told, read, total = 0, 0, sum(map(parts.__getitem__, chunks))
    for index, _ in zip(chunks, add_all(), strict=True):
        read += parts[index]
        more = len(out) * read // total - told if read < total else 0
        told += more
        yield more
    out[~(cells.weights > 0).any(axis=0)] = np.nan
    yield len(out) - told


def _add(chunk: np.ndarray, cells: PointCells, corner: int, points: np.ndarray, out: np.ndarray) -> None:
    """Copy, or add by their weights, the vectors of points that have a corner in a chunk."""
    size = len(chunk)
    for first in range(0, len(points), COPIED_POINTS):
        some = points[first : first + COPIED_POINTS]
        values = chunk[cells.cols[corner, some] % size, cells.rows[corner, some] % size]
        if len(cells.weights) == 1:
            out[some] = values
        else:
            out[some] += cells.weights[corner, some, None] * values


def _by_chunk(reader: ChunkReader, cells: PointCells) -> dict[ChunkIndex, list[tuple[int, np.ndarray]]]:
    """By chunk, in order: the corners in it, and of each the points that have it there."""
    size, chunk_cols = reader.layout.chunk_cells, reader.layout.chunk_grid[1]
    corners = len(cells.weights)
    corner, point = np.nonzero(cells.weights)
    chunk = cells.rows[corner, point] // size * chunk_cols + cells.cols[corner, point] // size
    members: dict[ChunkIndex, list[tuple[int, np.ndarray]]] = {}
    for key, points in group_by(chunk * corners + corner, point):
        index = divmod(key // corners, chunk_cols)
        members.setdefault(index, []).append((key % corners, points))
    return members


def _degrees(values: ArrayLike, name: str) -> np.ndarray:
    """Degrees as float64; masked ones are NaN."""
    try:
        array = np.ma.asanyarray(values) if np.ma.isMA(values) else np.asarray(values)
    except (TypeError, ValueError) as error:
        raise RegionError(f"{name} must be numbers of degrees: {error}") from error
    if array.dtype.kind not in "fiu":
        raise RegionError(f"{name} must be numbers of degrees; got {array.dtype} values")
    with np.errstate(over="ignore"):  # of a longdouble; infinity is refused later
        array = array.astype("f8", copy=False)
    return np.ma.filled(array, np.nan) if np.ma.isMA(array) else array


def _report(
    on_error: OnError, shape: tuple[int, ...], refused: np.ndarray, reason: Callable[[int], str]
) -> None:
    """Raise the error of the first refused point, or call ``on_error`` for each."""
    if on_error == "raise":
        first, count = int(np.argmax(refused)), int(refused.sum())
        position = ", ".join(str(int(index)) for index in np.unravel_index(first, shape)) if shape else "0"
        raise RegionError(f"{reason(first)}; it is at position {position}, the first of {count:,}")
    if callable(on_error):
        for number in np.flatnonzero(refused).tolist():
            on_error(number, RegionError(reason(number)))
