"""What the bytes of an object mean: Blosc and CRC-32C, and what tells that they are damaged."""

from __future__ import annotations

import struct

import google_crc32c
import numpy as np
from numcodecs import blosc

from cop_zarr.format.layout import BLOSC

blosc.use_threads = False
"""Blosc's own threads write blocks in the order they finish, so that the same chunk gets other bytes each
time; they speed up nothing at this chunk size, and they do not survive a fork. Work is spread over chunks
instead."""

MAX_OVERHEAD = 16
"""Bytes by which Blosc data may be longer than what they hold: their header (BLOSC_MAX_OVERHEAD)."""

_BLOSC_HEADER = struct.Struct("<4xI4xI")
"""A Blosc 1 header: flags, decoded size, block size, encoded size with the header; little endian."""


class DamageError(Exception):
    """An object is not what its record says; becomes a ChunkError that names it."""


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of bytes."""
    return int(google_crc32c.value(data))


def encode(cells: np.ndarray) -> bytes:
    """Compress an array as this format's chunks are: the same bytes every time."""
    shuffle = blosc.BITSHUFFLE
    encoded = blosc.compress(
        cells, BLOSC["cname"].encode(), BLOSC["clevel"], shuffle, BLOSC["blocksize"], cells.itemsize
    )
    return bytes(encoded)


def decode(data: bytes, out: np.ndarray) -> np.ndarray:
    """Undo :func:`encode`, into a C-contiguous array.

    Raises
    ------
    DamageError
        If the data claim another size than the array has or than they have (Blosc would read past
        their end), or do not decode.
    """
    if len(data) < _BLOSC_HEADER.size:
        raise DamageError(f"it has {len(data)} bytes, less than a Blosc header")
    claimed, encoded = _BLOSC_HEADER.unpack_from(data)
    if claimed != out.nbytes:
        raise DamageError(f"it claims to hold {claimed:,} bytes; {out.nbytes:,} are expected")
    if encoded != len(data):
        raise DamageError(f"it claims to have {encoded:,} bytes; it has {len(data):,}")
    try:
        blosc.decompress(data, out)
    except RecursionError:
        raise
    except (RuntimeError, ValueError) as error:
        raise DamageError(f"it does not decode: {error}") from error
    return out
