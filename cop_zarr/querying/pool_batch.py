"""Pooling of many planned regions, chunk by chunk in the order of the store.

A chunk is pooled into all regions that touch it at once. A region of several chunks is unfinished from its
first to its last, and its state is kept meanwhile. Where the states of all unfinished regions would take
too much memory, the regions are halved, and each half is answered by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from cop_zarr.core.batch_reducers import BATCH_REDUCERS, BatchReducer
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.querying.pairs import BEGINS, ENDS, STAGES, WHOLE, Pairs, touching_pairs

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
    slots, count = _slots(pairs)
    if count * reducer.planes * layout.bands * 8 > MAX_UNFINISHED_BYTES and len(regions) > 1:
        del pairs, elsewhere, slots
        middle = len(regions) // 2
        yield from pool_regions(reader, regions.part(0, middle), pooling, out)
        yield from pool_regions(reader, regions.part(middle, len(regions)), pooling, out)
        return
    weight = np.bincount(pairs.regions, pairs.weight, len(regions))
    untouched = weight == 0
    out[regions.rows[untouched]] = np.where(elsewhere[untouched] > 0, 0, np.nan)[:, None]
    yield int(np.count_nonzero(untouched))
    owners = pairs.regions
    ends = _Ends(regions.rows[owners], weight[owners], elsewhere[owners], out)
    states = np.empty((count, reducer.planes, layout.bands))
    yield from _Sweep(reducer, pairs, slots, states, ends).run(reader)


def _slots(pairs: Pairs) -> tuple[np.ndarray, int]:
    """Where the state of each pair's region is kept, -1 if it is not: int64; and the number of places."""
    free: list[int] = []
    held: dict[int, int] = {}
    slots, count = [], 0
    for region, stage in zip(pairs.regions.tolist(), pairs.stage.tolist(), strict=True):
        if stage == WHOLE:
            slots.append(-1)
            continue
        if stage == BEGINS:
            if not free:
                free.append(count)
                count += 1
            held[region] = free.pop()
        slots.append(held[region])
        if stage == ENDS:
            free.append(held.pop(region))
    return np.array(slots, "i8"), count


class _Ends(NamedTuple):
    """Where and how the vector of each pair's region is written."""

    rows: np.ndarray
    weight: np.ndarray
    """Weight of the region's cells in chunks with data."""
    elsewhere: np.ndarray
    """And in the others."""
    out: np.ndarray


class _Sweep(NamedTuple):
    """Pools the chunks of sorted pairs one after the other, and writes the vectors of regions that end."""

    reducer: BatchReducer
    pairs: Pairs
    slots: np.ndarray
    states: np.ndarray
    """States of unfinished regions, by slot."""
    ends: _Ends

    def run(self, reader: ChunkReader) -> Iterator[int]:
        """Read each chunk once; yield how many more regions are done."""
        chunks, starts = np.unique(self.pairs.chunks, return_index=True)
        indices = [divmod(number, reader.layout.chunk_grid[1]) for number in chunks.tolist()]
        blocks = [
            [slice(row, min(row + MAX_ROWS, stop)) for row in range(first, stop, MAX_ROWS)]
            for first, stop in pairwise([*starts.tolist(), len(self.pairs)])
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
        return self.reducer.pool(chunk.reshape(-1, chunk.shape[-1]), self.pairs.weights(some))

    def _merge(self, some: slice, states: np.ndarray) -> int:
        """Merge the states of some pairs; return how many regions are finished by them."""
        slots, stages = self.slots[some], self.pairs.stage[some]
        old, kept, whole = map(int, stages.searchsorted(STAGES[1:]))
        if old < whole:
            before = self.states.take(slots[old:whole], axis=0)
            states[old:whole] = self.reducer.merge(before, states[old:whole])
        if kept:
            self.states[slots[:kept]] = states[:kept]
        if kept < len(states):
            rows, weight, elsewhere, out = self.ends
            ended = slice(some.start + kept, some.stop)
            out[rows[ended]] = self.reducer.result(states[kept:], weight[ended], elsewhere[ended])
        return len(states) - kept
