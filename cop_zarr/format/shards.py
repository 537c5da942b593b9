"""Shards: objects that hold several chunks, as the Zarr codec ``sharding_indexed`` has them. No I/O.

The chunks with data follow one another row by row, without gaps. After them comes the index, offset and
length of every chunk as little-endian uint64, and the CRC-32C of the index. Offsets are thus the running
sums of the lengths, and the integrity table tells every byte of a shard that is not a chunk's.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cop_zarr.errors import DamageError
from cop_zarr.format.chunk_grid import Layout, ObjectIndex
from cop_zarr.format.codec import crc32c

NO_CHUNK = np.uint64(2**64 - 1)
"""Offset and length of a chunk that is not in a shard."""

CRC_BYTES = 4


def chunk_offsets(lengths: np.ndarray, side: int) -> np.ndarray:
    """Offset of each chunk in its shard of ``side`` x ``side`` chunks, 0 for one without data: int64.

    ``lengths`` is that of all chunks, ``(chunk rows, chunk cols)``; its first chunk begins a shard.
    """
    rows, cols = lengths.shape
    padded = np.pad(lengths.astype("i8"), ((0, -rows % side), (0, -cols % side)))
    shards = padded.reshape(padded.shape[0] // side, side, -1, side).swapaxes(1, 2)
    flat = shards.reshape(*shards.shape[:2], -1)
    before = np.cumsum(flat, axis=2) - flat
    offsets = before.reshape(shards.shape).swapaxes(1, 2).reshape(padded.shape)[:rows, :cols]
    return np.where(lengths > 0, offsets, 0)


def index_bytes(side: int) -> int:
    """Size of the index of a shard, with its CRC-32C."""
    return 16 * side**2 + CRC_BYTES


def encode_shard(chunks: Iterable[bytes], table: np.ndarray) -> bytes:
    """Make a shard of its encoded chunks; ``table`` is as for :func:`encode_index`."""
    return b"".join([*chunks, encode_index(table)])


def encode_index(table: np.ndarray) -> bytes:
    """Make a shard's index, with its CRC-32C, of its part of the integrity table: ``(3, side, side)``."""
    lengths, _, offsets = table
    index = np.stack([offsets, lengths], axis=-1).astype("<u8")
    index[lengths == 0] = NO_CHUNK
    data = index.tobytes()
    return data + crc32c(data).to_bytes(CRC_BYTES, "little")


def shard_table(table: np.ndarray, layout: Layout, index: ObjectIndex) -> np.ndarray:
    """A shard's part of the integrity table, filled up to full size with chunks without data."""
    side, (row, col) = layout.shard_chunks, index
    part = table[:, row * side : (row + 1) * side, col * side : (col + 1) * side]
    _, rows, cols = part.shape
    return np.pad(part, ((0, 0), (0, side - rows), (0, side - cols)))


def shard_bytes(table: np.ndarray) -> int:
    """Size of a shard with some data, by its part of the integrity table."""
    return int(table[0].sum(dtype="i8")) + index_bytes(table.shape[1])


def check_index(data: bytes, table: np.ndarray) -> None:
    """Raise DamageError unless a shard has the size and the index that the integrity table says."""
    expected = shard_bytes(table)
    if len(data) != expected:
        found = f"{len(data):,}" if len(data) < expected else "more"
        raise DamageError(f"the shard has {found} bytes instead of {expected:,}")
    if not data.endswith(encode_index(table)):
        raise DamageError("the shard's index is not that of the integrity table")
