"""Pairs of a chunk and a region that touches it, and the weights of the chunk's cells in that region.

Nothing is read. The weights of a pair are one number a cell, in the order in which a chunk is stored:
longitude, then latitude. Those of a window whose cells count once each are made when they are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from cop_zarr.format.chunk_grid import Layout

STAGES = np.arange(4, dtype="i1")
BEGINS, BETWEEN, ENDS, WHOLE = STAGES.tolist()
"""Stages: in this order, states that are kept come first, and those that are finished last."""


@dataclass(frozen=True)
class Pairs:
    """Pairs, sorted by chunk and then by stage. An array has an element for each but where it says so."""

    chunks: np.ndarray
    """Number of the chunk, counted row by row: int64."""

    regions: np.ndarray
    """Number of the region: int64."""

    stage: np.ndarray
    """Whether the chunk is of its region's the first (BEGINS), one between, the last (ENDS) or the only one
    (WHOLE): int8."""

    weight: np.ndarray
    """Weight of the chunk's cells in the region, all together: float64, above 0."""

    cols: np.ndarray
    rows: np.ndarray
    """Which columns and rows of the chunk are in the region's window: bool, ``(pairs, chunk_cells)``."""

    tile: np.ndarray
    """Position in ``tiles``, or -1 if each cell counts once: int64."""

    tiles: np.ndarray
    """Weights of cells: float64, ``(tiles, chunk_cells²)``."""

    def __len__(self) -> int:
        return len(self.chunks)

    def weights(self, some: slice) -> np.ndarray:
        """Weights of the cells in some pairs: float64, ``(pairs, chunk_cells²)``."""
        inside = self.cols[some, :, None] & self.rows[some, None, :]
        weights: np.ndarray = inside.reshape(len(inside), -1).astype("f8")
        if len(self.tiles):
            tile = self.tile[some]
            weights[tile >= 0] = self.tiles[tile[tile >= 0]]
        return weights

    def take(self, positions: np.ndarray) -> Pairs:
        """The pairs at some positions, in their order."""
        names = ("chunks", "regions", "stage", "weight", "cols", "rows", "tile")
        return replace(self, **{name: getattr(self, name)[positions] for name in names})


def touching_pairs(
    layout: Layout, stored: np.ndarray, windows: np.ndarray, weights: Mapping[int, np.ndarray]
) -> tuple[Pairs, np.ndarray]:
    """Pairs of a chunk with data and a region with some weight in it; and each region's weight elsewhere.

    ``stored`` is bool, of the chunk grid: which chunks hold data. ``windows`` are int64, ``(regions, 4)``:
    the numbers of a :class:`~cop_zarr.core.grid.Window`. ``weights`` has those of its cells for each region
    in which they do not count once.
    """
    once = np.ones(len(windows), "?")
    once[list(weights)] = False
    regions = np.flatnonzero(once)
    chunks, owners = _chunks_once(layout, windows[regions])
    numbers, tiles = [chunks], [np.empty((0, layout.chunk_cells**2))]
    for region, of_cells in weights.items():
        chunks, some = _tiles(layout, windows[region], of_cells)
        numbers.append(chunks)
        tiles.append(some)
    counts = [len(some) for some in tiles[1:]]
    chunks, all_tiles = np.concatenate(numbers), np.concatenate(tiles)
    tile = np.maximum(np.arange(len(chunks)) - len(owners), -1)
    regions = np.concatenate([regions[owners], np.repeat(np.array(list(weights), "i8"), counts)])
    cols, rows = _inside(layout, chunks, windows[regions])
    weight = (cols.sum(axis=1) * rows.sum(axis=1)).astype("f8")
    weight[tile >= 0] = all_tiles.sum(axis=1)
    held = stored.ravel()[chunks]
    elsewhere = np.bincount(regions[~held], weight[~held], len(windows))
    stage = np.zeros(len(chunks), "i1")
    stage[held] = _stages(chunks[held], regions[held])
    order = np.flatnonzero(held)
    order = order[np.lexsort((stage[order], chunks[order]))]
    return Pairs(chunks, regions, stage, weight, cols, rows, tile, all_tiles).take(order), elsewhere


def _stages(chunks: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """The stage of each pair, in any order of the pairs."""
    order = np.lexsort((chunks, regions))
    changes = np.diff(regions[order]) != 0
    stages = np.full(len(order), BETWEEN, "i1")
    first, last = (np.ones(len(order), "?") for _ in range(2))
    first[1:] = last[:-1] = changes
    stages[order] = np.array([BETWEEN, ENDS, BEGINS, WHOLE])[2 * first + last]
    return stages


def _inside(layout: Layout, chunks: np.ndarray, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which columns and rows of each chunk are in a window: bool, ``(n, chunk_cells)``."""
    row, row_stop, col, col_stop = windows.T
    top, left = (index * layout.chunk_cells for index in np.divmod(chunks, layout.chunk_grid[1]))
    cells, width = np.arange(layout.chunk_cells), layout.grid.cols

    def before(edges: np.ndarray) -> np.ndarray:
        inside: np.ndarray = cells < edges[:, None]
        return inside

    rows = before(row_stop - top) & ~before(row - top)
    cols = before(np.minimum(col_stop, width) - left) & ~before(col - left)
    return cols | before(col_stop - width - left), rows


def _chunks_once(layout: Layout, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The chunks under windows, and the window that each is under, no pair of them twice."""
    chunks, owners = layout.chunks_of_windows(windows)
    if not (windows[:, 3] > layout.grid.cols).any():
        return chunks, owners
    count = len(windows)  # one around the globe may begin and end in the same chunk
    return np.divmod(np.unique(chunks * count + owners), count)


def _tiles(layout: Layout, window: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The chunks in which a window has any weight, and the weights of the cells of each."""
    size, (_, chunk_cols) = layout.chunk_cells, layout.chunk_grid
    rows, cols = np.arange(*window[:2])[:, None], np.arange(*window[2:])[None] % layout.grid.cols
    touched, across = np.unique(cols // size, return_inverse=True)
    down = rows // size - rows[0] // size
    tiles = np.zeros((int(down[-1, 0]) + 1, len(touched), size, size))
    tiles[down, across.reshape(cols.shape), cols % size, rows % size] = weights
    chunks = (rows[0] // size + np.arange(len(tiles)))[:, None] * chunk_cols + touched
    used = tiles.any(axis=(2, 3))
    return chunks[used], tiles[used].reshape(-1, size**2)
