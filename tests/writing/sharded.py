"""A source of 3 x 3 shards, and how to take its sharded store apart without cop_zarr."""

from __future__ import annotations

import struct
from pathlib import Path

import google_crc32c
import numpy as np

from tests.support import factory

ROWS, COLS, BANDS = (300, 437), (565, 718), 3
"""137 x 153 cells: no multiple of a chunk; lattice columns up to 600 are empty."""

SHARD = "embedding/c/0/1/1"
INDEX_BYTES = 64 * 16 + 4
ABSENT = 2**64 - 1


def truth() -> np.ndarray:
    """What the source holds: float32, (3, 137, 153)."""
    return factory.truth(ROWS, COLS, BANDS)


def read_shard(path: Path) -> dict[tuple[int, int], bytes]:
    """The chunks of a shard by their row and column in it, as its index says; as the Zarr spec has it."""
    data = path.read_bytes()
    index, crc = data[-INDEX_BYTES:-4], data[-4:]
    assert struct.pack("<I", google_crc32c.value(index)) == crc
    entries = np.frombuffer(index, "<u8").reshape(8, 8, 2)
    return {
        (row, col): data[int(start) : int(start) + int(length)]
        for row in range(8)
        for col in range(8)
        for start, length in [entries[row, col]]
        if length != ABSENT
    }


def write_shard(path: Path, chunks: dict[tuple[int, int], bytes]) -> None:
    """Write a shard with a right index; its chunks lie in the order of the dict."""
    index = np.full((8, 8, 2), ABSENT, "<u8")
    start = 0
    for place, data in chunks.items():
        index[place] = start, len(data)
        start += len(data)
    tail = index.tobytes()
    path.write_bytes(b"".join(chunks.values()) + tail + struct.pack("<I", google_crc32c.value(tail)))
