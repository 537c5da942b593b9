"""How the embedding array is cut into chunks, and a window into parts of them. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from cop_zarr.core.grid import Grid, Window, split_columns
from cop_zarr.format.encodings import FLOAT32, Encoding
from cop_zarr.format.layout import (
    CHUNK_CELLS,
    EMBEDDING,
    INTEGRITY_CHUNK,
    SCALE_CHUNK,
    SCALE_KEYS,
    SMALL_KEYS,
)


class ChunkPart(NamedTuple):
    """The part of a window that lies in one chunk."""

    row: int
    col: int
    """Index of the chunk in the chunk grid."""
    inside: tuple[slice, slice]
    """Rows and columns within the chunk."""
    target: tuple[slice, slice]
    """Rows and columns within the window."""
    cells: int
    """Number of cells in this part."""

    def of(self, chunk: np.ndarray) -> np.ndarray:
        """The cells of this part of a chunk; both are ``(longitude, latitude, band)``."""
        rows, cols = self.inside
        return chunk[cols, rows]


ChunkIndex = tuple[int, int]
"""Row and column of a chunk in the chunk grid."""

ObjectIndex = tuple[int, int]
"""Row and column of an object in the grid of objects."""


@dataclass(frozen=True)
class Layout:
    """How an embedding array of ``bands`` on ``grid`` is cut into chunks and objects, and encoded."""

    grid: Grid
    bands: int
    chunk_cells: int = CHUNK_CELLS
    shard_cells: int | None = None
    """Rows and columns of a shard, an object of several chunks; None if each chunk is an object."""
    encoding: Encoding = FLOAT32

    @property
    def format_version(self) -> int:
        """Version of the format that a store of this layout has: the first that knows it."""
        return 2 if self.shard_cells or not self.encoding.is_lossless else 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of ``embedding``: (band, latitude, longitude)."""
        return self.bands, *self.grid.shape

    @property
    def chunk_grid(self) -> tuple[int, int]:
        """Number of chunk rows and chunk columns."""
        rows, cols = self.grid.shape
        return -(-rows // self.chunk_cells), -(-cols // self.chunk_cells)

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """Shape of a chunk as it is stored: (longitude, latitude, band)."""
        return self.chunk_cells, self.chunk_cells, self.bands

    @property
    def chunk_bytes(self) -> int:
        """Size of a decoded chunk."""
        return 4 * self.chunk_cells**2 * self.bands

    @property
    def encoded_bytes(self) -> int:
        """Size of a chunk in the type that is stored, before it is compressed."""
        return self.encoding.dtype.itemsize * self.chunk_cells**2 * self.bands

    @property
    def small_keys(self) -> frozenset[str]:
        """The keys that ``zarr.json`` records."""
        return SMALL_KEYS | SCALE_KEYS if self.encoding.has_scale else SMALL_KEYS

    @property
    def needed_keys(self) -> frozenset[str]:
        """The keys of what no chunk can be read without."""
        return frozenset({INTEGRITY_CHUNK, *([SCALE_CHUNK] if self.encoding.has_scale else [])})

    @property
    def object_cells(self) -> int:
        """Rows and columns of what an object holds: a shard, or a chunk."""
        return self.shard_cells or self.chunk_cells

    @property
    def object_grid(self) -> tuple[int, int]:
        """Number of rows and columns of objects."""
        rows, cols = self.grid.shape
        return -(-rows // self.object_cells), -(-cols // self.object_cells)

    @property
    def shard_chunks(self) -> int:
        """Rows and columns of chunks that an object holds."""
        return self.object_cells // self.chunk_cells

    @property
    def table_shape(self) -> tuple[int, int, int]:
        """Shape of the integrity table: length and CRC-32C of each chunk, and in a shard its offset."""
        return 3 if self.shard_cells else 2, *self.chunk_grid

    def chunk_key(self, row: int, col: int) -> str:
        """Name of a chunk: without shards, the key of its object within the store."""
        return f"{EMBEDDING}/c/0/{row}/{col}"

    def object_key(self, row: int, col: int) -> str:
        """Key of an object within the store."""
        return f"{EMBEDDING}/c/0/{row}/{col}"

    def key_of_chunk(self, row: int, col: int) -> str:
        """Key of the object that holds a chunk."""
        return self.object_key(row // self.shard_chunks, col // self.shard_chunks)

    def chunk_range(self, window: Window) -> tuple[slice, slice]:
        """Rows and columns of the chunk grid under a window that does not wrap."""
        return _index_range(window, self.chunk_cells)

    def object_range(self, window: Window) -> tuple[slice, slice]:
        """Rows and columns of the grid of objects under a window that does not wrap."""
        return _index_range(window, self.object_cells)

    def chunk_window(self, row: int, col: int) -> Window:
        """Cells of a chunk; fewer than a full chunk at the south and east edges."""
        return self._window(row, col, self.chunk_cells)

    def object_window(self, row: int, col: int) -> Window:
        """Cells that an object holds."""
        return self._window(row, col, self.object_cells)

    def _window(self, row: int, col: int, size: int) -> Window:
        rows, cols = self.grid.shape
        return Window(row * size, min((row + 1) * size, rows), col * size, min((col + 1) * size, cols))

    def objects(self, window: Window) -> Iterator[tuple[ObjectIndex, list[ChunkPart]]]:
        """The objects under a window that does not wrap, row by row, and its parts in each."""
        size = self.shard_chunks
        if size == 1:
            yield from (((part.row, part.col), [part]) for part in self.parts(window))
            return
        held: dict[ObjectIndex, list[ChunkPart]] = {}
        for part in self.parts(window):
            held.setdefault((part.row // size, part.col // size), []).append(part)
        yield from sorted(held.items())

    def chunks(
        self, window: Window, where: np.ndarray | None = None
    ) -> list[tuple[tuple[int, int], list[ChunkPart]]]:
        """The chunks under a window, each once and in order, with the window's parts in them.

        A window all around the globe has two parts in the chunk in which it begins and ends. ``where`` has
        the shape of the chunk grid: chunks where it is 0 are left out.
        """
        parts = self.parts(window)
        if where is not None:
            parts = [part for part in parts if where.item(part.row, part.col)]
        if window.col_stop <= self.grid.cols:
            return [((part.row, part.col), [part]) for part in parts]
        index = attrgetter("row", "col")
        return [(key, list(group)) for key, group in groupby(sorted(parts, key=index), index)]

    def chunks_of_windows(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The chunks under many windows, each given by the numbers of a :class:`Window`: int64, ``(n, 4)``.

        Returns the numbers of chunks, counted row by row, and the window that each is under. A window
        around the globe may meet a chunk twice.
        """
        size, cols, chunk_cols = self.chunk_cells, self.grid.cols, self.chunk_grid[1]
        wraps = np.flatnonzero(windows[:, 3] > cols)
        beyond = windows[wraps] * [1, 1, 0, 1] - [0, 0, 0, cols]
        pieces = np.concatenate([windows, beyond])
        owners = np.concatenate([np.arange(len(windows)), wraps])
        row, row_stop, col, col_stop = pieces.T
        col_stop = np.minimum(col_stop, cols)
        heights, widths = -(-row_stop // size) - row // size, -(-col_stop // size) - col // size
        counts = heights * widths
        piece = np.repeat(np.arange(len(pieces)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        down, across = np.divmod(within, widths[piece])
        return (row[piece] // size + down) * chunk_cols + col[piece] // size + across, owners[piece]

    def by_chunk(self, cells: np.ndarray) -> np.ndarray:
        """Numbers of cells, ``(rows, cols)``, as chunks have them: ``(.., .., size, size)``.

        The axes are chunk row and column, longitude and latitude in the chunk; beyond the grid's edge is 0.
        """
        size, (rows, cols), shape = self.chunk_cells, self.chunk_grid, self.grid.shape
        padded = np.zeros((rows * size, cols * size), cells.dtype)
        padded[: shape[0], : shape[1]] = cells
        blocks = padded.reshape(rows, size, cols, size).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(blocks)

    def parts(self, window: Window) -> list[ChunkPart]:
        """Cut a window along the chunk edges, chunk row by chunk row; a wrapped one is followed around."""
        size = self.chunk_cells
        columns = [
            cut
            for first, stop, offset in split_columns(window, self.grid.cols)
            for cut in _cut(first, stop, offset, size)
        ]
        return [
            ChunkPart(chunk_row, chunk_col, (rows, cols), (target_rows, target_cols), height * width)
            for chunk_row, rows, target_rows, height in _cut(window.row, window.row_stop, 0, size)
            for chunk_col, cols, target_cols, width in columns
        ]


def _index_range(window: Window, size: int) -> tuple[slice, slice]:
    return (
        slice(window.row // size, -(-window.row_stop // size)),
        slice(window.col // size, -(-window.col_stop // size)),
    )


def _cut(start: int, stop: int, offset: int, size: int) -> list[tuple[int, slice, slice, int]]:
    """Cut a run of cells at chunk edges: chunk index, slice in it, slice from ``offset`` on, length."""
    cuts, shift = [], offset - start
    while start < stop:
        index, first = divmod(start, size)
        end = min(start - first + size, stop)
        inside = slice(first, first + end - start)
        cuts.append((index, inside, slice(start + shift, end + shift), end - start))
        start = end
    return cuts
