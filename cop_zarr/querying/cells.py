"""The cells with data that a region touches: which they are, and their vectors, chunk by chunk.

Cells are numbered row by row, from north to south, and from west to east within a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np

from cop_zarr.core.grid import Grid, Window, cut_window
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.querying.options import CheckedOptions
from cop_zarr.querying.plan import plan
from cop_zarr.regions import Roi

T = TypeVar("T")


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
        """Longitudes and latitudes of the cells' centres, -180 to 180: float64, ``(n,)`` each."""
        rows, cols = self.indices()
        return self.grid.longitudes[cols], self.grid.latitudes[rows]


def select_cells(grid: Grid, valid: np.ndarray, region: Roi | None, crs: object | None) -> CellSelection:
    """The cells with data that a region touches, or all; ``valid`` is the mask of the whole grid.

    RegionError if the region is malformed or wholly outside the grid.
    """
    if region is None:
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
    mask = selection.mask
    numbers = np.cumsum(mask).reshape(mask.shape) - 1
    chunks = [
        (chunk, [part for part in parts if mask[part.target].any()])
        for chunk, parts in reader.layout.chunks(selection.window, reader.lengths)
    ]
    chunks = [(chunk, parts) for chunk, parts in chunks if parts]

    def read_parts(position: int, chunk: np.ndarray) -> list[T]:
        results = []
        for part in chunks[position][1]:
            selected = mask[part.target]
            cells = part.of(chunk).transpose(1, 0, 2)  # a chunk is (longitude, latitude, band)
            results.append(fn(numbers[part.target][selected], cells[selected]))
        return results

    for results in reader.map_chunks([chunk for chunk, _ in chunks], read_parts):
        yield from results
