"""The best cells for one query, exactly, from an upper bound of each cell's key.

Chunks are read in the order of their best bound, and the exact keys of their cells computed, until no bound
that is left reaches the keys that are found.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cop_zarr.analysis.metrics import Queries, products, squared_lengths
from cop_zarr.analysis.nearby import cells_near
from cop_zarr.core.progress import Progress
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.chunk_reader import ChunkReader

BATCH_CHUNKS = 16
"""Chunks that are read before the keys found are compared again, or as many as there are workers."""


class Found(NamedTuple):
    """Cells of a grid, the best first, and their keys."""

    rows: np.ndarray
    cols: np.ndarray
    keys: np.ndarray


class Frontier:
    """Upper bounds of the cells that have not been read: float64, ``(rows, cols)``, -inf where none is.

    Rows and columns are padded to whole chunks, so that the best bound of each chunk is one reduction.
    """

    def __init__(self, reader: ChunkReader, bounds: np.ndarray) -> None:
        size, (rows, cols) = reader.layout.chunk_cells, reader.layout.chunk_grid
        self._size = size
        self._bounds = np.full((rows * size, cols * size), -np.inf)
        self._bounds[: bounds.shape[0], : bounds.shape[1]] = bounds
        self._reduce()

    def _reduce(self) -> None:
        rows, cols = self._bounds.shape
        blocks = self._bounds.reshape(rows // self._size, self._size, cols // self._size, self._size)
        self._best = blocks.max(axis=(1, 3))

    @property
    def ceiling(self) -> float:
        """The largest bound."""
        return float(self._best.max())

    def drop(self, cells: np.ndarray) -> None:
        """Forget cells: bool, the grid's shape."""
        self._bounds[: cells.shape[0], : cells.shape[1]][cells] = -np.inf
        self._reduce()

    def best_chunks(self, count: int, floor: float) -> list[tuple[int, int]]:
        """Up to ``count`` chunks with the largest bounds of at least ``floor``, the largest first."""
        flat = self._best.ravel()
        count = min(count, int(np.count_nonzero((flat >= floor) & (flat > -np.inf))))
        chosen = np.argpartition(-flat, count - 1)[:count] if count else np.empty(0, "i8")
        chosen = chosen[np.argsort(-flat[chosen], kind="stable")]
        return [divmod(chunk, self._best.shape[1]) for chunk in chosen.tolist()]

    def take(self, chunk: tuple[int, int]) -> np.ndarray:
        """Take the cells of a chunk: bool, ``(rows, cols)`` within it."""
        row, col = (index * self._size for index in chunk)
        part = self._bounds[row : row + self._size, col : col + self._size]
        cells = part > -np.inf
        part[:], self._best[chunk] = -np.inf, -np.inf
        return np.asarray(cells)


def product_bounds(
    reader: ChunkReader, selected: np.ndarray, queries: Queries, progress: Progress | None
) -> np.ndarray:
    """Upper bounds for one query from a pass over all chunks: float64, the grid's shape.

    ``selected`` is bool, of that shape; the bound of any other cell is -inf.
    """
    layout = reader.layout
    size, (chunk_rows, chunk_cols) = layout.chunk_cells, layout.chunk_grid
    sums = np.zeros((2, chunk_rows, chunk_cols, size * size), "f4")  # in the order of a chunk's memory
    chunks = [index for index in _chunks_with(layout, selected) if reader.holds_data(*index)]

    def multiply(position: int, chunk: np.ndarray) -> None:
        cells = chunk.reshape(size * size, layout.bands)
        sums[:, *chunks[position]] = products(queries.rounded, cells)[0], squared_lengths(cells)

    for done, _ in enumerate(reader.map_chunks(chunks, multiply), 1):
        if progress is not None:
            progress(done, len(chunks))
    in_rows = sums.reshape(2, chunk_rows, chunk_cols, size, size).transpose(0, 1, 4, 2, 3)
    dots, squares = in_rows.reshape(2, chunk_rows * size, -1)[:, : selected.shape[0], : selected.shape[1]]
    bounds = np.full(selected.shape, -np.inf)
    bounds[selected] = queries.bounds(dots[selected][None], squares[selected])[0][0]
    return bounds


def _chunks_with(layout: Layout, selected: np.ndarray) -> list[tuple[int, int]]:
    """The chunks that have a selected cell, in order."""
    (rows, cols), size = layout.chunk_grid, layout.chunk_cells
    padded = np.zeros((rows * size, cols * size), "?")
    padded[: selected.shape[0], : selected.shape[1]] = selected
    found = np.nonzero(padded.reshape(rows, size, cols, size).any(axis=(1, 3)))
    return list(zip(*(index.tolist() for index in found), strict=True))


def best_cells(
    reader: ChunkReader, bounds: np.ndarray, queries: Queries, k: int, spacing_km: float
) -> Found:
    """The ``k`` cells with the largest keys; equal ones by row and column.

    With ``spacing_km``, cells are taken in that order, and those whose centre is nearer than that to one
    already taken are left out. There are fewer than ``k`` if no more are left.
    """
    grid, frontier, pool, found = reader.layout.grid, Frontier(reader, bounds), _Pool(), list[Found]()
    left = k
    while left:
        best = pool.take(frontier.ceiling, 1 if spacing_km else left)
        if len(best.keys):
            found.append(best)
            left -= len(best.keys)
            if spacing_km and left:
                near = cells_near(grid, *grid.cell_centres(best.rows, best.cols), spacing_km)
                pool.drop(near)
                frontier.drop(near)
            continue
        floor = -np.inf if spacing_km else pool.floor(left)
        chunks = frontier.best_chunks(max(BATCH_CHUNKS, reader.workers), floor)
        if not chunks:
            break
        _read_keys(reader, frontier, pool, queries, chunks)
    return Found(*(np.concatenate(arrays) for arrays in zip(_NONE, *found, strict=True)))


def _read_keys(
    reader: ChunkReader, frontier: Frontier, pool: _Pool, queries: Queries, chunks: list[tuple[int, int]]
) -> None:
    """Read chunks, and move their cells from the frontier to the pool."""
    members, size = [frontier.take(chunk) for chunk in chunks], reader.layout.chunk_cells

    def keys_of(position: int, chunk: np.ndarray) -> np.ndarray:
        return queries.keys(chunk.transpose(1, 0, 2)[members[position]], 0)  # (longitude, latitude, band)

    for position, keys in enumerate(reader.map_chunks(chunks, keys_of)):
        rows, cols = np.nonzero(members[position])
        row, col = chunks[position]
        pool.add(Found(rows + row * size, cols + col * size, keys))


_NONE = Found(np.empty(0, "i8"), np.empty(0, "i8"), np.empty(0))


class _Pool:
    """Cells that have been read and not been taken."""

    def __init__(self) -> None:
        self._cells = _NONE

    def add(self, cells: Found) -> None:
        """Add cells; those without a key are left out."""
        known = ~np.isnan(cells.keys)
        pairs = zip(self._cells, cells, strict=True)
        self._cells = Found(*(np.concatenate([held, more[known]]) for held, more in pairs))

    def drop(self, near: np.ndarray) -> None:
        """Remove cells: bool, the grid's shape."""
        self._keep(~near[self._cells.rows, self._cells.cols])

    def floor(self, count: int) -> float:
        """The key that ``count`` cells reach; -inf if there are fewer."""
        keys = self._cells.keys
        return float(np.partition(keys, -count)[-count]) if len(keys) >= count else -np.inf

    def take(self, ceiling: float, count: int) -> Found:
        """Take the best ``count`` cells whose keys are above ``ceiling``, or fewer, the best first."""
        rows, cols, keys = self._cells
        ready = np.flatnonzero(keys > ceiling)
        best = ready[np.lexsort((cols[ready], rows[ready], -keys[ready]))][:count]
        found = Found(rows[best], cols[best], keys[best])
        kept = np.ones(len(keys), "?")
        kept[best] = False
        self._keep(kept)
        return found

    def _keep(self, kept: np.ndarray) -> None:
        self._cells = Found(*(values[kept] for values in self._cells))
