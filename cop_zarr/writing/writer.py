"""Blocks of cells become the objects of a store: cut, encode, write, and record what was written."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from cop_zarr.core.grid import Window
from cop_zarr.format.chunk_grid import ChunkPart, Layout
from cop_zarr.format.codec import crc32c, encode
from cop_zarr.format.layout import ROOT
from cop_zarr.format.metadata import documents
from cop_zarr.storage import REQUESTS_AT_ONCE, Folder


@dataclass(frozen=True)
class BlockRecord:
    """What a store must know of a window's chunks.

    Attributes
    ----------
    window : Window
        Its edges are chunk edges.
    valid : ndarray
        bool, ``(rows, cols)``: cells with data.
    integrity : ndarray
        uint32, ``(2, chunk rows, chunk cols)``: length and CRC-32C of each chunk, 0 for one without data.
    """

    window: Window
    valid: np.ndarray
    integrity: np.ndarray

    def lengths(self, layout: Layout) -> dict[str, int]:
        """Keys and lengths of the chunk objects."""
        rows, cols = layout.chunk_range(self.window)
        return {
            layout.chunk_key(rows.start + row, cols.start + col): int(self.integrity[0, row, col])
            for row, col in np.argwhere(self.integrity[0]).tolist()
        }


class StoreWriter:
    """Encodes and writes chunks, and keeps what the store must know of them. Thread-safe.

    To be used as a context: on an object store, writing goes on in threads of its own.

    Parameters
    ----------
    layout : Layout
        Grid, bands and chunks of the store.
    target : Folder
        Where to.

    Attributes
    ----------
    valid, integrity : ndarray
        As in :class:`BlockRecord`, of the whole grid; 0 where nothing has been written.
    """

    def __init__(self, layout: Layout, target: Folder) -> None:
        self._layout = layout
        self._target = target
        self._senders = ThreadPoolExecutor(REQUESTS_AT_ONCE, "cop-zarr-write") if target.remote else None
        self.valid = np.zeros(layout.grid.shape, bool)
        self.integrity = np.zeros((2, *layout.chunk_grid), "<u4")
        self._there = np.zeros(layout.chunk_grid, bool)  # chunks that an earlier run wrote

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._senders:
            self._senders.shutdown(cancel_futures=True)

    def write(self, window: Window, cells: np.ndarray) -> BlockRecord:
        """Write the chunks of a window whose edges are chunk edges; then they are on the disk.

        What an earlier run wrote is not written again: its record vouches for it.

        Parameters
        ----------
        window : Window
            Where the cells lie in the grid. No two windows share a chunk.
        cells : ndarray
            float32, ``(rows, cols, bands)``.
        """
        self._send(
            (self._layout.chunk_key(part.row, part.col), data)
            for part, data in self.encoded(window, cells)
            if not self._there[part.row, part.col]
        )
        piece = self.piece(window)
        self._target.flush(piece.lengths(self._layout))
        return piece

    def encoded(self, window: Window, cells: np.ndarray) -> Iterator[tuple[ChunkPart, bytes]]:
        """Cut and encode a window's chunks, and record them; the places and bytes of those with data."""
        # A chunk is stored if any bit of it is set: a lone -0.0 is no data, and yet comes back as it was.
        held = np.any(cells.view("u4"), axis=2)
        for part in self._layout.parts(window):
            if held[part.target].any():
                yield part, self._encode(part, cells[part.target])

    def piece(self, window: Window) -> BlockRecord:
        """What has been recorded of a window's chunks."""
        return BlockRecord(
            window, self.valid[window.slices], self.integrity[:, *self._layout.chunk_range(window)]
        )

    def restore(self, piece: BlockRecord) -> None:
        """Take over what was recorded of chunks that an earlier run wrote."""
        self.valid[piece.window.slices] = piece.valid
        self.integrity[:, *self._layout.chunk_range(piece.window)] = piece.integrity
        self._there[self._layout.chunk_range(piece.window)] = True

    def has(self, window: Window) -> bool:
        """Whether an earlier run wrote all chunks of a window."""
        return bool(self._there[self._layout.chunk_range(window)].all())

    def documents(self, source: dict[str, Any], created: str) -> dict[str, bytes]:
        """Every other object of the store, as :func:`cop_zarr.format.metadata.documents` makes them."""
        return documents(self._layout, source, created, self.valid, self.integrity)

    def finish(self, objects: dict[str, bytes]) -> None:
        """Write the other objects, ``zarr.json`` when all before it is on the disk."""
        for key, data in objects.items():
            if key != ROOT:
                self._target.write(key, data)
        self._target.flush(key for key in objects if key != ROOT)
        self._target.replace(ROOT, objects[ROOT])

    def _encode(self, part: ChunkPart, cells: np.ndarray) -> bytes:
        """Encode one chunk, and record it; at the grid's edge it is filled up with zeros."""
        chunk = np.zeros(self._layout.stored_shape, "<f4")
        rows, cols = part.inside
        chunk[cols, rows] = cells.transpose(1, 0, 2)
        data = encode(chunk)
        window = self._layout.chunk_window(part.row, part.col)
        # "!= 0" and not any() alone, which warns of a signalling NaN
        self.valid[window.slices] = np.any(chunk[cols, rows] != 0, axis=2).T
        self.integrity[:, part.row, part.col] = len(data), crc32c(data)
        return data

    def _send(self, objects: Iterator[tuple[str, bytes]]) -> None:
        """Write objects; over a network, many at once."""
        if self._senders is None:
            for key, data in objects:
                self._target.write(key, data)
            return
        waiting: deque[Future[None]] = deque()
        for key, data in objects:
            waiting.append(self._senders.submit(self._target.write, key, data))
            if len(waiting) >= REQUESTS_AT_ONCE:
                waiting.popleft().result()
        for sent in waiting:
            sent.result()
