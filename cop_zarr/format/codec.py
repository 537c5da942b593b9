"""Encode, decode and checksum the objects of a store: Blosc and CRC-32C."""

from __future__ import annotations

import struct

import google_crc32c
import numpy as np
from numcodecs import blosc

from cop_zarr.errors import DamageError
from cop_zarr.format.layout import BLOSC

blosc.use_threads = False
"""Blosc's own threads write blocks in the order in which they finish: other bytes each time for one chunk.
They gain nothing at this chunk size and do not survive a fork. Threads work on whole chunks instead."""

MAX_OVERHEAD = 16
"""Most bytes that Blosc adds to incompressible data: its header (BLOSC_MAX_OVERHEAD)."""

_BLOSC_HEADER = struct.Struct("<4xI4xI")
"""A Blosc 1 header: flags, decoded size, block size, encoded size with the header; little endian."""


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of bytes."""
    return int(google_crc32c.value(data))


def encode(cells: np.ndarray) -> bytes:
    """Compress an array with this format's codec; the same array always gives the same bytes."""
    shuffle = blosc.BITSHUFFLE
    encoded = blosc.compress(
        cells, BLOSC["cname"].encode(), BLOSC["clevel"], shuffle, BLOSC["blocksize"], cells.itemsize
    )
    return bytes(encoded)


def decode(data: bytes, out: np.ndarray) -> np.ndarray:
    """Undo :func:`encode`, into a C-contiguous array; DamageError if that is not possible.

    The header's sizes must be those of ``data`` and ``out``, or Blosc would read past the end.
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
