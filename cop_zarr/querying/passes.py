"""Which chunks many regions touch, and in how many passes over the chunks they are pooled. Nothing is read.

A region of several chunks is unfinished from its first chunk to its last, and holds its sums meanwhile.
Where too many would be unfinished at once, regions are pooled in several passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from cop_zarr.core.grid import Window
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.querying.pool_parts import with_weight

MAX_UNFINISHED, MAX_UNFINISHED_BYTES = 16_384, 256 << 20
"""Regions that may be unfinished at once, and memory for their vectors: one or two of float64 each, which
with 768 bands makes 100 to 200 MB."""


def touching_pairs(
    reader: ChunkReader, windows: Sequence[Window], weights: Sequence[np.ndarray | None]
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a chunk with data (its number, counted row by row) and a region with some weight in it.

    Both are int64; the pairs are sorted by chunk, then by region.
    """
    layout = reader.layout
    unweighted = [region for region, weight in enumerate(weights) if weight is None]
    edges = [(window.row, window.row_stop, window.col, window.col_stop) for window in windows]
    chunks, owners = layout.chunks_of_windows(np.array(edges, "i8").reshape(-1, 4)[unweighted])
    pairs = [(chunks, np.array(unweighted, "i8")[owners])]
    for region, weight in enumerate(weights):
        if weight is not None:
            parts = with_weight(layout.parts(windows[region]), weight)
            chunks = np.array([part.row * layout.chunk_grid[1] + part.col for part in parts], "i8")
            pairs.append((chunks, np.full(len(parts), region)))
    chunks, regions = (np.concatenate(columns) for columns in zip(*pairs, strict=True))
    stored = reader.lengths.ravel()[chunks] > 0
    chunks, regions = chunks[stored], regions[stored]
    count = max(1, len(windows))
    found = np.unique(chunks * count + regions)  # a window around the globe may meet a chunk twice
    return found // count, found % count


def passes(
    chunks: np.ndarray, regions: np.ndarray, chunk_counts: np.ndarray, bands: int
) -> Iterator[np.ndarray]:
    """Yield the pairs of each pass as a mask; ``chunk_counts`` is the number of chunks of each region."""
    most = max(1, min(MAX_UNFINISHED, MAX_UNFINISHED_BYTES // (16 * bands)))
    count = -(-_max_unfinished(chunks, regions, chunk_counts) // most)
    several, first = np.unique(regions[chunk_counts[regions] > 1], return_index=True)
    numbers = np.zeros(len(chunk_counts), "i8")  # regions of one chunk are pooled in the first pass
    numbers[several[np.argsort(first)]] = np.arange(several.size) % max(1, count)
    for number in range(count):
        yield numbers[regions] == number


def _max_unfinished(chunks: np.ndarray, regions: np.ndarray, chunk_counts: np.ndarray) -> int:
    """How many regions would be unfinished at once in one pass; at least 1 if there is any chunk."""
    if not chunks.size:
        return 0
    order = np.argsort(regions, kind="stable")  # the chunks of each region together, still in their order
    stops = np.cumsum(chunk_counts)
    several = chunk_counts > 1
    first, last = chunks[order[(stops - chunk_counts)[several]]], chunks[order[stops[several] - 1]]
    length = int(chunks[-1]) + 1
    change = np.bincount(first, minlength=length) - np.bincount(last, minlength=length)
    return max(1, int(np.cumsum(change).max()))
