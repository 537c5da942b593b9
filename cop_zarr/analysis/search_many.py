"""The best cells for many queries at once, exactly, in one pass over all chunks.

A product in float32 bounds the keys of a chunk's cells for all queries. Exact keys are computed in the
thread that decoded the chunk, of the cells that may still be among the best. Only the best are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from cop_zarr.analysis.metrics import Queries, products, squared_lengths
from cop_zarr.core.progress import Progress
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.querying.cells import CellSelection, map_cells


class Pairs(NamedTuple):
    """Cells, by their numbers, each for a query, with their keys: ``(n,)``."""

    queries: np.ndarray
    cells: np.ndarray
    keys: np.ndarray


class BestOfMany:
    """The best ``k`` cells of each query so far, and a key that ``k`` cells of each are known to reach.

    With ``beside``, another such search for the same queries, cells that cannot be among its best are left
    out. ``multiply`` is :func:`products`, or another such function.
    """

    def __init__(
        self,
        queries: Queries,
        k: int,
        beside: BestOfMany | None = None,
        multiply: Callable[[np.ndarray, np.ndarray], np.ndarray] = products,
    ) -> None:
        self._multiply = multiply
        self._queries, self._count, self._k = queries, len(queries.vectors), k
        self.floor: np.ndarray = np.full(self._count, -np.inf) if beside is None else beside.floor.copy()
        self._pending = [Pairs(np.empty(0, "i8"), np.empty(0, "i8"), np.empty(0))]
        self._waiting = 0

    def candidates(self, numbers: np.ndarray, cells: np.ndarray, hidden: np.ndarray | None = None) -> Pairs:
        """Pairs that may be among the best, of cells with these numbers; called in any thread.

        ``hidden`` is bool, ``(queries, cells)``: pairs that are left out.
        """
        queries = self._queries
        upper, lower = queries.bounds(self._multiply(queries.rounded, cells), squared_lengths(cells))
        if hidden is not None:
            upper[hidden], lower[hidden] = -np.inf, -np.inf
        self._raise_floor(lower)
        query, cell = np.nonzero((upper >= self.floor[:, None]) & (upper > -np.inf))
        keys = queries.keys(cells[cell], query)
        known = ~np.isnan(keys)
        return Pairs(query[known], numbers[cell[known]], keys[known])

    def _raise_floor(self, lower: np.ndarray) -> None:
        """Learn from lower bounds, ``(queries, cells)``, unless each query has a floor already.

        Called in any thread: whichever of two floors remains, it is one.
        """
        if lower.shape[1] >= self._k and np.isneginf(self.floor).any():
            np.maximum(self.floor, np.partition(lower, -self._k, axis=1)[:, -self._k], out=self.floor)

    def add(self, pairs: Pairs) -> None:
        """Add pairs with exact keys."""
        self._pending.append(pairs)
        self._waiting += len(pairs.keys)
        if self._waiting > self._count * self._k:
            self.merge()

    def merge(self) -> Pairs:
        """The best pairs: by query, key and number of the cell."""
        queries, cells, keys = (np.concatenate(column) for column in zip(*self._pending, strict=True))
        order = np.lexsort((cells, -keys, queries))
        first = np.searchsorted(queries[order], np.arange(self._count))
        ranks = np.arange(len(order)) - first[queries[order]]
        kept = order[ranks < self._k]
        best = Pairs(queries[kept], cells[kept], keys[kept])
        full = order[ranks == self._k - 1]
        self.floor[queries[full]] = np.maximum(self.floor[queries[full]], keys[full])
        self._pending, self._waiting = [best], 0
        return best

    def found(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each query the numbers of the best cells and their keys, equal ones by number."""
        best = self.merge()
        edges = np.searchsorted(best.queries, np.arange(self._count + 1))
        return [(best.cells[first:stop], best.keys[first:stop]) for first, stop in pairwise(edges)]


def best_of_many(
    reader: ChunkReader,
    selection: CellSelection,
    queries: Queries,
    k: int,
    *,
    excluded: np.ndarray | None,
    progress: Progress | None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each query the numbers of the best ``k`` cells and their keys, equal ones by number.

    ``excluded`` tells which cells each query leaves out: bits of uint8, ``(cells, queries / 8)``.
    """
    count, total, done = len(queries.vectors), selection.size, 0
    best = BestOfMany(queries, k)

    def candidates(numbers: np.ndarray, cells: np.ndarray) -> tuple[int, Pairs]:
        hidden = None
        if excluded is not None:
            hidden = np.unpackbits(excluded[numbers], axis=1, count=count).view("?").T
        return len(numbers), best.candidates(numbers, cells, hidden)

    for read, pairs in map_cells(reader, selection, candidates):
        best.add(pairs)
        done += read
        if progress is not None:
            progress(done, total)
    return best.found()
