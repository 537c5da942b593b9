"""The cells with data that a region touches: which they are, and their vectors.

Cells are numbered row by row, from north to south, and from west to east within a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from numbers import Integral
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from cop_zarr.core.grid import Grid, Window, cut_window
from cop_zarr.core.progress import Progress
from cop_zarr.core.progress_bar import progress_bar
from cop_zarr.errors import InputError, ResultTooLargeError
from cop_zarr.format.chunk_grid import ChunkPart
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.querying.dataframe import dataframe
from cop_zarr.querying.options import CheckedOptions, check_max_bytes
from cop_zarr.querying.plan import plan
from cop_zarr.regions import Roi

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

BLOCK_CELLS = 65_536
"""Default size of a block: 201 MB of 768 bands."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells with data, and their vectors: from north to south, and from west to east within a row.

    ``len()`` is the number of cells. Of a region over the antimeridian, a row begins at the region's west
    edge.
    """

    lon: np.ndarray
    """float64, ``(n,)``, degrees from -180 to 179.75 of the cells' centres."""

    lat: np.ndarray
    """float64, ``(n,)``, degrees from 90 to -90 of the cells' centres."""

    rows: np.ndarray
    """int64, ``(n,)``, rows in the store's grid, from 0 in the north."""

    cols: np.ndarray
    """int64, ``(n,)``, columns in the store's grid, from 0 in the west."""

    vectors: np.ndarray
    """float32, ``(n, bands)``, the embeddings as they are stored."""

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        count, bands = self.vectors.shape
        return f"<Cells: {count:,} of {bands} bands>"

    def to_dataframe(self) -> pd.DataFrame:
        """The cells as a table of pandas: a row for each, in the same order.

        Returns
        -------
        pandas.DataFrame
            ``lon``, ``lat``, ``row``, ``col``, and ``embedding``: an array of ``(bands,)`` in each row, a
            view of :attr:`vectors` (``np.stack`` makes them one).

        Raises
        ------
        MissingDependencyError
            If pandas is not installed.

        Examples
        --------
        >>> import cop_zarr
        >>> cells = cop_zarr.open().cells((120, 30, 122, 32))
        >>> cells.to_dataframe().columns.to_list()
        ['lon', 'lat', 'row', 'col', 'embedding']
        """
        columns = {"lon": self.lon, "lat": self.lat, "row": self.rows, "col": self.cols}
        return dataframe(columns, self.vectors)


class CellSelection(NamedTuple):
    """Cells of a grid, all with data."""

    grid: Grid
    window: Window

    mask: np.ndarray
    """bool, the window's shape: the cells selected."""

    @property
    def size(self) -> int:
        """Number of cells."""
        return int(np.count_nonzero(self.mask))

    def indices(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the cells in the grid: int64, ``(n,)`` each."""
        rows, cols = np.nonzero(self.mask)
        return rows + self.window.row, (cols + self.window.col) % self.grid.cols

    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Longitudes and latitudes of the cells' centres, -180 to 179.75: float64, ``(n,)`` each."""
        return self.grid.cell_centres(*self.indices())

    def part(self, first: int, stop: int) -> CellSelection:
        """The cells in some rows of the window."""
        window = replace(self.window, row=self.window.row + first, row_stop=self.window.row + stop)
        return CellSelection(self.grid, window, self.mask[first:stop])


def select_cells(grid: Grid, valid: np.ndarray, region: Roi | None, crs: object | None) -> CellSelection:
    """The cells with data that a region touches, or all; ``valid`` is the mask of the whole grid.

    RegionError if the region is malformed or wholly outside the grid; InputError for a CRS of no region.
    """
    if region is None:
        if crs is not None:
            raise InputError(f"crs={crs!r} cannot be given without a region; leave it out")
        return CellSelection(grid, grid.whole, valid)
    found = plan(grid, region, CheckedOptions(crs=crs, subpixel="touch"))
    return CellSelection(grid, found.window, cut_window(valid, found.window) & found.members)


def map_cells(
    reader: ChunkReader, selection: CellSelection, fn: Callable[[np.ndarray, np.ndarray], T]
) -> Iterator[T]:
    """Apply a function to the cells of each chunk, in the threads that decode; yield results in order.

    ``fn`` is called with the cells' numbers, int64 ``(n,)``, and their vectors, float32 ``(n, bands)``,
    which it may keep and change. Results come in the order of the chunks, so that sums of them are the same
    to the last bit. Chunks without a selected cell are not read. Errors are those of
    :meth:`cop_zarr.Store.query`.
    """
    numbers = np.cumsum(selection.mask).reshape(selection.mask.shape) - 1

    def gather(part: ChunkPart, cells: np.ndarray) -> T:
        selected = selection.mask[part.target]
        return fn(numbers[part.target][selected], cells[selected])

    return _map_parts(reader, selection, gather)


def _map_parts(
    reader: ChunkReader, selection: CellSelection, fn: Callable[[ChunkPart, np.ndarray], T]
) -> Iterator[T]:
    """Apply a function to each part of the window that holds a selected cell, as :func:`map_cells` does.

    ``fn`` is called with the part and all its cells, ``(rows, cols, bands)``, a view of the chunk.
    """
    chunks = [
        (chunk, [part for part in parts if selection.mask[part.target].any()])
        for chunk, parts in reader.layout.chunks(selection.window, reader.lengths)
    ]
    chunks = [(chunk, parts) for chunk, parts in chunks if parts]

    def read_parts(position: int, chunk: np.ndarray) -> list[T]:
        return [fn(part, part.of(chunk).transpose(1, 0, 2)) for part in chunks[position][1]]

    for results in reader.map_chunks([chunk for chunk, _ in chunks], read_parts):
        yield from results


def read_cells(
    reader: ChunkReader, selection: CellSelection, max_bytes: int, progress: Progress | None
) -> Cells:
    """Read cells into memory; ResultTooLargeError if their vectors take more than ``max_bytes``."""
    check_max_bytes(max_bytes)
    count, bands = selection.size, reader.layout.bands
    if count * bands * 4 > max_bytes:
        raise ResultTooLargeError(
            f"{count:,} cells of {bands} float32 numbers take {count * bands * 4:,} bytes, more than "
            f"max_bytes={max_bytes:,}; ask for a smaller region, take them block by block with "
            "iter_cells(), or allow more"
        )
    try:
        vectors = np.empty((count, bands), "f4")
    except MemoryError:
        raise ResultTooLargeError(
            f"memory has no room for {count:,} cells of {bands} float32 numbers; take them block by block "
            "with iter_cells()"
        ) from None
    for done in _read_vectors(reader, selection, vectors):
        if progress is not None:
            progress(done, count)
    return Cells(*_positions(selection), vectors)


def iter_blocks(
    reader: ChunkReader, selection: CellSelection, size: int, progress: Progress | bool | None
) -> Iterator[Cells]:
    """Read cells in blocks of ``size``, the last of which may be smaller; each chunk is read once.

    Rows of chunks are read whole, so that up to one of them is in memory beside a block.
    """
    if isinstance(size, bool) or not isinstance(size, Integral) or size < 1:
        raise InputError(f"cells must be a whole number of at least 1; got {size!r}")
    return _show_blocks(reader, selection, int(size), progress)


def _show_blocks(
    reader: ChunkReader, selection: CellSelection, size: int, progress: Progress | bool | None
) -> Iterator[Cells]:
    with progress_bar(progress, "cells", "cell") as advance:
        yield from _iter_blocks(reader, selection, size, advance)


def _iter_blocks(
    reader: ChunkReader, selection: CellSelection, size: int, progress: Progress | None
) -> Iterator[Cells]:
    positions, total = _positions(selection), selection.size
    edges, before = _chunk_edges(selection, reader.layout.chunk_cells)
    edge = 0  # up to which the rows are read
    vectors = np.empty((0, reader.layout.bands), "f4")  # what is read, and in no block yet
    for first in range(0, total, size):
        stop = min(first + size, total)
        if before[edge] < stop:
            held, last = len(vectors), int(np.searchsorted(before, stop))
            more = np.empty((before[last] - first, reader.layout.bands), "f4")
            more[:held] = vectors
            vectors, part = more, selection.part(edges[edge], edges[last])
            for done in _read_vectors(reader, part, vectors[held:]):
                if progress is not None:
                    progress(before[edge] + done, total)
            edge = last
        lon, lat, rows, cols = (values[first:stop] for values in positions)
        yield Cells(lon, lat, rows, cols, vectors[: stop - first])
        vectors = vectors[stop - first :]


def _read_vectors(reader: ChunkReader, selection: CellSelection, out: np.ndarray) -> Iterator[int]:
    """Read the cells' vectors into ``out``, float32, ``(n, bands)``; yield how many are there."""
    mask = selection.mask
    before = np.cumsum(mask).reshape(mask.shape) - mask

    def copy(part: ChunkPart, cells: np.ndarray) -> int:
        selected, starts = mask[part.target], before[part.target][:, 0].tolist()
        counts = selected.sum(axis=1).tolist()
        for row, (start, count) in enumerate(zip(starts, counts, strict=True)):
            if count == len(selected[row]):
                out[start : start + count] = cells[row]  # half the time of a copy of selected ones
            elif count:
                out[start : start + count] = cells[row, selected[row]]
        return sum(counts)

    return accumulate(_map_parts(reader, selection, copy))


def _positions(selection: CellSelection) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The first four fields of :class:`Cells`."""
    return *selection.centres(), *selection.indices()


def _chunk_edges(selection: CellSelection, chunk_cells: int) -> tuple[list[int], list[int]]:
    """The rows of the window between which a row of chunks is, and the number of cells before each."""
    window, (height, _) = selection.window, selection.mask.shape
    inner = range(chunk_cells - window.row % chunk_cells, height, chunk_cells)
    edges = [0, *inner, height]
    before = np.concatenate([[0], np.cumsum(selection.mask.sum(axis=1))])
    return edges, before[edges].tolist()
