"""Read chunks as they are stored, each by itself or those that lie close in a shard together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cop_zarr.errors import DamageError
from cop_zarr.format.chunk_grid import ChunkIndex, Layout, ObjectIndex
from cop_zarr.format.codec import MAX_OVERHEAD
from cop_zarr.format.document import ObjectRecord
from cop_zarr.format.object_reader import ObjectReader, Part, check
from cop_zarr.format.shards import check_index, chunk_offsets, index_bytes, shard_bytes, shard_table
from cop_zarr.format.spans import plan_spans

Encoded = bytes | DamageError
"""A chunk as it is stored, as recorded; or what is wrong with it."""


class EncodedChunks:
    """The chunks of a store as they are stored, found and checked by its integrity table. Thread-safe.

    The index of a shard is not read: the table has the offsets, too. Raises DamageError if they are not
    those that the lengths make, or if a chunk in a shard is longer than it can be.
    """

    def __init__(self, layout: Layout, table: np.ndarray, objects: ObjectReader) -> None:
        self._layout = layout
        self._objects = objects
        self._max_bytes = layout.encoded_bytes + MAX_OVERHEAD
        self.lengths, self.crcs, *offsets = table
        self.offsets = offsets[0] if offsets else None
        """Offset of each chunk in its shard; None without shards."""
        if offsets and self.lengths.max(initial=0) > self._max_bytes:
            raise DamageError("a chunk is longer in it than one can be")
        if offsets and not np.array_equal(offsets[0], chunk_offsets(self.lengths, layout.shard_chunks)):
            raise DamageError("its offsets are not those of chunks that follow one another in shards")

    @property
    def table(self) -> np.ndarray:
        """The integrity table."""
        return np.stack([self.lengths, self.crcs, *([] if self.offsets is None else [self.offsets])])

    @property
    def stored_bytes(self) -> int:
        """Size of all objects that hold chunks."""
        size, side = int(self.lengths.sum(dtype="i8")), self._layout.shard_chunks
        if self.offsets is None:
            return size
        shards = {(row // side, col // side) for row, col in np.argwhere(self.lengths).tolist()}
        return size + len(shards) * index_bytes(side)

    def record(self, row: int, col: int) -> ObjectRecord:
        """Length and CRC-32C that a chunk must have."""
        return ObjectRecord(self.lengths.item(row, col), self.crcs.item(row, col))

    def read(self, row: int, col: int) -> bytes:
        """Read a chunk that holds data; DamageError if it is absent, or is not as recorded."""
        key, record = self._layout.chunk_key(row, col), self.record(row, col)
        if self.offsets is None:
            return self._objects.read(key, record, self._max_bytes)
        part = Part(self._layout.key_of_chunk(row, col), self.offsets.item(row, col))
        return self._objects.read(key, record, self._max_bytes, part)

    def spans(self, chunks: Sequence[ChunkIndex]) -> list[list[int]]:
        """Group chunks of shards by the request that brings them, as positions among ``chunks``."""
        return [span.chunks for span in plan_spans(*self._ranges(chunks))]

    def read_together(self, chunks: Sequence[ChunkIndex]) -> dict[ChunkIndex, Encoded]:
        """Read chunks of one of the :meth:`spans`, by one request unless some are in the disk cache."""
        found: dict[ChunkIndex, Encoded] = {}
        for chunk in chunks:
            data = self._objects.cached(self._layout.chunk_key(*chunk), self.record(*chunk))
            if data is not None:
                found[chunk] = data
        missing = [chunk for chunk in chunks if chunk not in found]
        for start, stop, numbers in plan_spans(*self._ranges(missing), together=not found):
            wanted = [missing[number] for number in numbers]
            try:
                data = self._objects.read_range(self._layout.key_of_chunk(*wanted[0]), start, stop - start)
            except DamageError as damage:
                found.update(dict.fromkeys(wanted, damage))
            else:
                found.update({chunk: self._cut(data, start, chunk) for chunk in wanted})
        return found

    def read_shard(
        self, index: ObjectIndex, chunks: Sequence[ChunkIndex]
    ) -> tuple[DamageError | None, dict[ChunkIndex, Encoded]]:
        """Read a shard as a whole; return what is wrong with its size and its index, and its chunks."""
        table = shard_table(self.table, self._layout, index)
        try:
            data = self._objects.read_unchecked(self._layout.object_key(*index), shard_bytes(table))
        except DamageError as damage:
            return None, dict.fromkeys(chunks, damage)
        found = {chunk: self._cut(data, 0, chunk) for chunk in chunks}
        try:
            check_index(data, table)
        except DamageError as damage:
            return damage, found
        return None, found

    def _ranges(self, chunks: Sequence[ChunkIndex]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Numbers of the shards that chunks lie in, their offsets there and their lengths."""
        rows, cols = np.array(chunks, "i8").reshape(-1, 2).T
        side, (_, across) = self._layout.shard_chunks, self._layout.object_grid
        offsets = self.lengths if self.offsets is None else self.offsets
        return rows // side * across + cols // side, offsets[rows, cols], self.lengths[rows, cols]

    def _cut(self, data: bytes, start: int, chunk: ChunkIndex) -> Encoded:
        """Cut a chunk out of a range of its shard that begins at ``start``, and check it."""
        first = int(self._ranges([chunk])[1][0]) - start
        record = self.record(*chunk)
        try:
            found = check(data[first : first + record.length], record)
        except DamageError as damage:
            return damage
        self._objects.keep(self._layout.chunk_key(*chunk), found)
        return found
