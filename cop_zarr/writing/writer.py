"""Encode blocks of cells and write them as the objects of a store."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cop_zarr.core.grid import Window
from cop_zarr.core.threads import ordered_map
from cop_zarr.format.chunk_grid import ChunkPart, Layout
from cop_zarr.format.codec import crc32c, encode
from cop_zarr.format.layout import ROOT
from cop_zarr.format.metadata import documents
from cop_zarr.storage import Folder
from cop_zarr.writing.missing import clear_missing


@dataclass(frozen=True)
class BlockRecord:
    """What is recorded of a block's chunks."""

    window: Window
    """Its edges are chunk edges."""
    valid: np.ndarray
    """bool, ``(rows, cols)``: cells with data."""
    integrity: np.ndarray
    """uint32, ``(2, chunk rows, chunk cols)``: length and CRC-32C of each chunk, 0 for one without data."""
    missing: np.ndarray
    """uint32, ``(2, chunk rows, chunk cols)``: the counts of :func:`clear_missing` in each chunk."""

    def records(self, layout: Layout) -> dict[str, tuple[int, int]]:
        """Keys, lengths and CRC-32Cs of the chunk objects."""
        rows, cols = layout.chunk_range(self.window)
        return {
            layout.chunk_key(rows.start + row, cols.start + col): (
                int(self.integrity[0, row, col]),
                int(self.integrity[1, row, col]),
            )
            for row, col in np.argwhere(self.integrity[0]).tolist()
        }


class StoreWriter:
    """Encodes and writes chunks, ``requests`` of a window at once, and records their checksums.

    Threads may write windows that share no chunk at the same time. ``valid``, ``integrity`` and ``missing``
    are those of :class:`BlockRecord`, of the whole grid; 0 where nothing has been written. ``nodata`` is
    that of :func:`clear_missing`; None stores every cell as it is.
    """

    def __init__(
        self, layout: Layout, target: Folder, requests: int = 1, nodata: float | None = math.nan
    ) -> None:
        self._layout = layout
        self._target = target
        self._requests = requests
        self._nodata = nodata
        self.valid = np.zeros(layout.grid.shape, bool)
        self.integrity = np.zeros((2, *layout.chunk_grid), "<u4")
        self.missing = np.zeros((2, *layout.chunk_grid), "<u4")
        self._restored = np.zeros(layout.chunk_grid, bool)  # chunks that an earlier run wrote

    def write(self, window: Window, cells: np.ndarray) -> BlockRecord:
        """Write the chunks of a window that no earlier run wrote, and have them reach the disk.

        The window's edges are chunk edges; ``cells`` is float32, ``(rows, cols, bands)``.
        """
        chunks = (
            (self._layout.chunk_key(part.row, part.col), data)
            for part, data in self.encode(window, cells)
            if not self._restored[part.row, part.col]
        )
        for _ in ordered_map(lambda chunk: self._target.write(*chunk), chunks, workers=self._requests):
            pass
        chunk_range = self._layout.chunk_range(window)
        integrity, missing = self.integrity[:, *chunk_range], self.missing[:, *chunk_range]
        record = BlockRecord(window, self.valid[window.slices], integrity, missing)
        self._target.flush(record.records(self._layout))
        return record

    def encode(self, window: Window, cells: np.ndarray) -> Iterator[tuple[ChunkPart, bytes]]:
        """Cut a window into chunks, encode and record them; yields the chunks with data."""
        # A chunk is stored if any bit of it is set: a lone -0.0 is no data, but must come back as it was.
        stored = np.any(cells.view("u4"), axis=2)
        for part in self._layout.parts(window):
            if stored[part.target].any() and (data := self._encode_chunk(part, cells[part.target])):
                yield part, data
            else:
                self.valid[self._layout.chunk_window(part.row, part.col).slices] = False
                self.integrity[:, part.row, part.col] = 0

    def restore(self, block: BlockRecord) -> None:
        """Take over what was recorded of chunks that an earlier run wrote."""
        chunk_range = self._layout.chunk_range(block.window)
        self.valid[block.window.slices] = block.valid
        self.integrity[:, *chunk_range] = block.integrity
        self.missing[:, *chunk_range] = block.missing
        self._restored[chunk_range] = True

    def is_restored(self, window: Window) -> bool:
        """Whether an earlier run wrote all chunks of a window."""
        return bool(self._restored[self._layout.chunk_range(window)].all())

    def chunk_keys(self) -> set[str]:
        """Keys of the chunks with data."""
        return {self._layout.chunk_key(row, col) for row, col in np.argwhere(self.integrity[0]).tolist()}

    def documents(self, source: dict[str, Any], created: str) -> dict[str, bytes]:
        """Every other object of the store, as :func:`cop_zarr.format.metadata.documents` makes them."""
        return documents(self._layout, source, created, self.valid, self.integrity)

    def finish(self, objects: dict[str, bytes]) -> None:
        """Write the other objects, ``zarr.json`` when all before it is on the disk."""
        small = [key for key in objects if key != ROOT]
        for key in small:
            self._target.write(key, objects[key])
        self._target.flush(small)
        self._target.replace(ROOT, objects[ROOT])

    def _encode_chunk(self, part: ChunkPart, cells: np.ndarray) -> bytes | None:
        """Encode one chunk, padded with zeros at the grid's edge, and record it; None if it is empty."""
        chunk = np.zeros(self._layout.stored_shape, "<f4")
        rows, cols = part.inside
        chunk[cols, rows] = cells.transpose(1, 0, 2)
        if self._nodata is not None:
            cleared, _ = self.missing[:, part.row, part.col] = clear_missing(chunk, self._nodata)
            if cleared and not chunk.view("u4").any():
                return None
        data = encode(chunk)
        window = self._layout.chunk_window(part.row, part.col)
        # "!= 0" and not any() alone, which warns of a signalling NaN
        self.valid[window.slices] = np.any(chunk[cols, rows] != 0, axis=2).T
        self.integrity[:, part.row, part.col] = len(data), crc32c(data)
        return data
