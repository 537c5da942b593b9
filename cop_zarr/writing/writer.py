"""Encode blocks of cells and write them as the objects of a store."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cop_zarr.core.grid import Window
from cop_zarr.core.threads import ordered_map
from cop_zarr.errors import EncodingError
from cop_zarr.format.chunk_grid import ChunkIndex, ChunkPart, Layout, ObjectIndex
from cop_zarr.format.codec import crc32c, encode
from cop_zarr.format.layout import ROOT
from cop_zarr.format.metadata import documents
from cop_zarr.format.shards import chunk_offsets, encode_shard, shard_table
from cop_zarr.storage import Folder
from cop_zarr.writing.missing import clear_missing


@dataclass(frozen=True)
class BlockRecord:
    """What is recorded of a block's chunks."""

    window: Window
    """Its edges are edges of objects."""
    valid: np.ndarray
    """bool, ``(rows, cols)``: cells with data."""
    integrity: np.ndarray
    """uint32: the block's part of the integrity table, 0 for a chunk without data."""
    objects: np.ndarray
    """uint32, ``(2, object rows, object cols)``: length and CRC-32C of each object, 0 without data."""
    missing: np.ndarray
    """uint32, ``(2, chunk rows, chunk cols)``: the counts of :func:`clear_missing` in each chunk."""
    scale: np.ndarray
    """float32, ``(rows, cols)``: scales of the cells; empty without an encoding that has them."""

    def records(self, layout: Layout) -> dict[str, tuple[int, int]]:
        """Keys, lengths and CRC-32Cs of the objects."""
        rows, cols = layout.object_range(self.window)
        return {
            layout.object_key(rows.start + row, cols.start + col): (
                int(self.objects[0, row, col]),
                int(self.objects[1, row, col]),
            )
            for row, col in np.argwhere(self.objects[0]).tolist()
        }


class StoreWriter:
    """Encodes and writes objects, ``requests`` of a window at once, and records their checksums.

    Threads may write windows that share no object at the same time. ``valid``, ``integrity``, ``objects``,
    ``missing`` and ``scale`` are those of :class:`BlockRecord`, of the whole grid; 0 where nothing has been
    written.
    ``nodata`` is that of :func:`clear_missing`; None stores every cell as it is.
    """

    def __init__(
        self, layout: Layout, target: Folder, requests: int = 1, nodata: float | None = math.nan
    ) -> None:
        self._layout = layout
        self._target = target
        self._requests = requests
        self._nodata = nodata
        self.valid = np.zeros(layout.grid.shape, bool)
        self.integrity = np.zeros(layout.table_shape, "<u4")
        self.objects = np.zeros((2, *layout.object_grid), "<u4")
        self.missing = np.zeros((2, *layout.chunk_grid), "<u4")
        self.scale = np.zeros(layout.encoding.scale_shape(layout.grid.shape), "<f4")
        self._restored = np.zeros(layout.object_grid, bool)  # objects that an earlier run wrote

    def write(self, window: Window, cells: np.ndarray) -> BlockRecord:
        """Write the objects of a window that no earlier run wrote, and have them reach the disk.

        The window's edges are edges of objects; ``cells`` is float32, ``(rows, cols, bands)``. Raises
        EncodingError if the encoding cannot hold a number.
        """
        return self._write(window, self.encode(window, cells))

    def write_encoded(self, window: Window, chunks: Mapping[ChunkIndex, bytes]) -> BlockRecord:
        """Write the objects of a window, of chunks that are encoded already, as :meth:`write` does.

        ``valid`` and ``scale`` are not changed.
        """

        def objects() -> Iterator[tuple[ObjectIndex, bytes]]:
            for index, parts in self._layout.objects(window):
                held = {(part.row, part.col): chunks.get((part.row, part.col), b"") for part in parts}
                for place, data in held.items():
                    self.integrity[:2, *place] = len(data), crc32c(data) if data else 0
                yield from self._object(index, [data for data in held.values() if data])

        return self._write(window, objects())

    def _write(self, window: Window, encoded: Iterable[tuple[ObjectIndex, bytes]]) -> BlockRecord:
        objects = (
            (self._layout.object_key(*index), data) for index, data in encoded if not self._restored[index]
        )
        for _ in ordered_map(lambda item: self._target.write(*item), objects, workers=self._requests):
            pass
        record = self._record(window)
        self._target.flush(record.records(self._layout))
        return record

    def encode(self, window: Window, cells: np.ndarray) -> Iterator[tuple[ObjectIndex, bytes]]:
        """Cut a window into chunks, encode and record them; yields the objects with data."""
        # A chunk is stored if any bit of it is set: a lone -0.0 is no data, but must come back as it was.
        stored = np.any(cells.view("u4"), axis=2)
        for index, parts in self._layout.objects(window):
            chunks = []
            for part in parts:
                if stored[part.target].any() and (data := self._encode_chunk(part, cells[part.target])):
                    chunks.append(data)
                else:
                    window = self._layout.chunk_window(part.row, part.col)
                    self.valid[window.slices], self.scale[window.slices] = False, 0
                    self.integrity[:, part.row, part.col] = 0
            yield from self._object(index, chunks)

    def _object(self, index: ObjectIndex, chunks: list[bytes]) -> Iterator[tuple[ObjectIndex, bytes]]:
        """Make and record the object of some chunks with data; none, if there are none."""
        if not chunks:
            self.objects[:, *index] = 0
            return
        data = self._join(index, chunks)
        self.objects[:, *index] = len(data), crc32c(data)
        yield index, data

    def _join(self, index: ObjectIndex, chunks: list[bytes]) -> bytes:
        """Make an object of its chunks; in a shard, record where they are."""
        if self._layout.shard_cells is None:
            return chunks[0]
        part = self.integrity[:, *self._layout.chunk_range(self._layout.object_window(*index))]
        part[2] = chunk_offsets(part[0], self._layout.shard_chunks)
        return encode_shard(chunks, shard_table(self.integrity, self._layout, index))

    def restore(self, block: BlockRecord) -> None:
        """Take over what was recorded of chunks that an earlier run wrote."""
        chunk_range = self._layout.chunk_range(block.window)
        object_range = self._layout.object_range(block.window)
        self.valid[block.window.slices] = block.valid
        self.integrity[:, *chunk_range] = block.integrity
        self.objects[:, *object_range] = block.objects
        self.missing[:, *chunk_range] = block.missing
        self.scale[block.window.slices] = block.scale
        self._restored[object_range] = True

    def is_restored(self, window: Window) -> bool:
        """Whether an earlier run wrote all objects of a window."""
        return bool(self._restored[self._layout.object_range(window)].all())

    def object_keys(self) -> set[str]:
        """Keys of the objects with data."""
        return {self._layout.object_key(row, col) for row, col in np.argwhere(self.objects[0]).tolist()}

    def documents(
        self, source: dict[str, Any], created: str, losses: dict[str, Any] | None = None
    ) -> dict[str, bytes]:
        """Every other object of the store, as :func:`cop_zarr.format.metadata.documents` makes them."""
        return documents(
            self._layout, source, created, self.valid, self.integrity, scale=self.scale, losses=losses
        )

    def finish(self, objects: dict[str, bytes]) -> None:
        """Write the other objects, ``zarr.json`` when all before it is on the disk."""
        small = [key for key in objects if key != ROOT]
        for key in small:
            self._target.write(key, objects[key])
        self._target.flush(small)
        self._target.replace(ROOT, objects[ROOT])

    def _record(self, window: Window) -> BlockRecord:
        chunk_range, object_range = self._layout.chunk_range(window), self._layout.object_range(window)
        return BlockRecord(
            window,
            self.valid[window.slices],
            self.integrity[:, *chunk_range],
            self.objects[:, *object_range],
            self.missing[:, *chunk_range],
            self.scale[window.slices],
        )

    def _encode_chunk(self, part: ChunkPart, cells: np.ndarray) -> bytes | None:
        """Encode one chunk, padded with zeros at the grid's edge, and record it; None if it is empty."""
        chunk = np.zeros(self._layout.stored_shape, "<f4")
        rows, cols = part.inside
        chunk[cols, rows] = cells.transpose(1, 0, 2)
        if self._nodata is not None:
            cleared, _ = self.missing[:, part.row, part.col] = clear_missing(chunk, self._nodata)
            if cleared and not chunk.view("u4").any():
                return None
        window = self._layout.chunk_window(part.row, part.col)
        try:
            stored, scale = self._layout.encoding.encode(chunk)
        except EncodingError as error:
            west, south, east, north = self._layout.grid.window_bounds(window)
            raise EncodingError(f"{error}. It is at lon {west} … {east}, lat {south} … {north}") from None
        if not stored.view("u1").any():
            return None  # of int8, which has no -0.0
        if self._layout.encoding.has_scale:
            self.scale[window.slices] = scale[cols, rows].T
        data = encode(stored)
        # "!= 0" and not any() alone, which warns of a signalling NaN
        self.valid[window.slices] = np.any(chunk[cols, rows] != 0, axis=2).T
        self.integrity[:2, part.row, part.col] = len(data), crc32c(data)
        return data
