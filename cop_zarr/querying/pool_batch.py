"""Pooling of many planned regions, chunk by chunk in the order of the store.

A chunk is pooled into all regions that touch it at once. A region of several chunks is unfinished from its
first to its last, and its state is kept meanwhile. Where the states of all unfinished regions would take
too much memory, the regions are halved, and each half is answered by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cop_zarr.core.batch_reducers import BATCH_REDUCERS, BatchReducer
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.querying.pairs import BETWEEN, ENDS, WHOLE, Pairs, touching_pairs

MAX_UNFINISHED_BYTES = 256 << 20
"""Memory for the states of unfinished regions: of 43,690 means of 768 bands."""

MAX_ROWS = 128
"""Regions that a chunk is pooled into at once: 0.8 MB of states of 768 bands."""


@dataclass(frozen=True)
class PlannedRegions:
    """Regions that are answered together."""

    rows: np.ndarray
    """The row of each in the output: int64, ``(n,)``."""

    windows: np.ndarray
    """The numbers of each :class:`~cop_zarr.core.grid.Window`: int64, ``(n, 4)``."""

    weights: dict[int, np.ndarray]
    """Weights of a window's cells, by region; none where each cell counts once."""

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, first: int, stop: int) -> PlannedRegions:
        """Regions ``first`` to before ``stop``."""
        weights = {number - first: some for number, some in self.weights.items() if first <= number < stop}
        return PlannedRegions(self.rows[first:stop], self.windows[first:stop], weights)


def pool_regions(
    reader: ChunkReader, regions: PlannedRegions, pooling: str, out: np.ndarray
) -> Iterator[int]:
    """Pool regions into their rows of ``out``, float32; yield how many more are done."""
    layout, reducer = reader.layout, BATCH_REDUCERS[pooling]
    pairs, elsewhere = touching_pairs(layout, reader.lengths > 0, regions.windows, regions.weights)
    if pairs.max_unfinished * reducer.planes * layout.bands * 8 > MAX_UNFINISHED_BYTES and len(regions) > 1:
        del pairs, elsewhere
        middle = len(regions) // 2
        yield from pool_regions(reader, regions.part(0, middle), pooling, out)
        yield from pool_regions(reader, regions.part(middle, len(regions)), pooling, out)
        return
    untouched = np.bincount(pairs.regions, minlength=len(regions)) == 0
    out[regions.rows[untouched]] = np.where(elsewhere[untouched] > 0, 0, np.nan)[:, None]
    yield int(untouched.sum())
    sweep = _Sweep(reducer, pairs, elsewhere=elsewhere, rows=regions.rows, out=out)
    yield from sweep.run(reader)


class _Sweep:
    """Pools the chunks of sorted pairs one after the other, and writes the vectors of regions that end."""

    def __init__(
        self,
        reducer: BatchReducer,
        pairs: Pairs,
        *,
        elsewhere: np.ndarray,
        rows: np.ndarray,
        out: np.ndarray,
    ) -> None:
        self._reducer, self._pairs = reducer, pairs
        self._elsewhere, self._rows, self._out = elsewhere, rows, out
        self._weight = np.zeros(len(rows))  # of each region, in the chunks before
        self._slots = np.zeros(len(rows), "i8")  # of each unfinished region in the states
        self._free = list(range(pairs.max_unfinished))
        self._states = np.empty((len(self._free), reducer.planes, out.shape[1]))

    def run(self, reader: ChunkReader) -> Iterator[int]:
        """Read each chunk once; yield how many more regions are done."""
        chunks, starts = np.unique(self._pairs.chunks, return_index=True)
        indices = [divmod(number, reader.layout.chunk_grid[1]) for number in chunks.tolist()]
        blocks = [
            [slice(row, min(row + MAX_ROWS, stop)) for row in range(first, stop, MAX_ROWS)]
            for first, stop in pairwise([*starts.tolist(), len(self._pairs)])
        ]

        def pool(position: int, chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """Pool the first block in this thread, which decoded the chunk; all of them may be large."""
            first, *others = blocks[position]
            return self._pool(chunk, first), chunk.copy() if others else chunk

        # results of remote shards wait for each other; those of a whole row of shards would be too large
        few_wait = not (reader.layout.shard_cells and reader.folder.remote)
        pooled = reader.map_chunks(indices, pool, reuse_buffers=few_wait)
        for position, (states, chunk) in enumerate(pooled):
            first, *others = blocks[position]
            done = self._merge(first, states)
            for some in others:
                done += self._merge(some, self._pool(chunk, some))
            yield done

    def _pool(self, chunk: np.ndarray, some: slice) -> np.ndarray:
        """States of some pairs of a chunk."""
        return self._reducer.pool(chunk.reshape(-1, chunk.shape[-1]), self._pairs.weights(some))

    def _merge(self, some: slice, states: np.ndarray) -> int:
        """Merge the states of some pairs; return how many regions are finished by them."""
        regions, weight = self._pairs.regions[some], self._pairs.weight[some].copy()
        old, kept, whole = np.searchsorted(self._pairs.stage[some], (BETWEEN, ENDS, WHOLE)).tolist()
        if old < whole:
            slots, before = self._slots[regions[old:whole]], self._weight[regions[old:whole]]
            states[old:whole] = self._reducer.merge(
                self._states.take(slots, axis=0), before, states[old:whole], weight[old:whole]
            )
            weight[old:whole] += before
            self._free += slots.tolist()
        if kept:
            slots = np.array(self._free[-kept:])
            del self._free[-kept:]
            self._slots[regions[:kept]], self._weight[regions[:kept]] = slots, weight[:kept]
            self._states[slots] = states[:kept]
        ended = regions[kept:]
        self._out[self._rows[ended]] = self._reducer.result(
            states[kept:], weight[kept:], self._elsewhere[ended]
        )
        return len(ended)
