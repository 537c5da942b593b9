"""The array that the rows of many answers are written to: a new one, or the caller's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from cop_zarr.errors import InputError, ResultTooLargeError
from cop_zarr.querying.memory_maps import reserve
from cop_zarr.storage.files import disk_errors

BLOCK_BYTES = 256 << 20
"""Largest block of rows held for an array that is not in memory."""


class ArrayLike2D(Protocol):
    """A NumPy array, a memory map, a Zarr array, an HDF5 dataset."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""

    def __setitem__(self, rows: Any, values: np.ndarray) -> None:
        """Write rows."""


def rows_for(count: int, bands: int, out: ArrayLike2D | None) -> Any:
    """The array for ``count`` rows: a new one, or the caller's if it has the shape and accepts float32."""
    if out is None:
        try:
            return np.empty((count, bands), "f4")
        except (MemoryError, ValueError):
            raise ResultTooLargeError(
                f"{count:,} rows of {bands} float32 numbers take {count * bands * 4:,} bytes, more than "
                "memory has; give an array on a disk as out=, such as a numpy.memmap or a Zarr array"
            ) from None
    shape, dtype = getattr(out, "shape", None), getattr(out, "dtype", np.dtype("f4"))
    if not isinstance(shape, tuple | list) or tuple(shape) != (count, bands):
        raise InputError(f"out must be an array of the shape {(count, bands)}; got {shape or type(out)}")
    if not hasattr(type(out), "__setitem__") or not _accepts_float32(dtype):
        raise InputError(f"out must accept float32 numbers; got an array of {dtype}")
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise InputError("out is read-only; open it for writing, as numpy.memmap does with mode='r+'")
    if isinstance(out, np.ndarray):
        reserve(out)
    return out


def _accepts_float32(dtype: Any) -> bool:
    try:
        found = np.dtype(dtype)
    except TypeError:
        return False
    return bool(found.kind == "f" and found.itemsize >= 4)  # half precision would change the values


def blocks(rows: ArrayLike2D, count: int, bands: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield blocks of rows to fill: the first row, the one past the last, and a float32 array for them.

    An array in memory is one block, and filled itself. A block of another is written when the next one is
    taken, and cut at the edges of the array's chunks.
    """
    if isinstance(rows, np.ndarray) and rows.dtype == np.float32:
        yield 0, count, rows
        return
    step = max(1, BLOCK_BYTES // (4 * bands))
    chunks = getattr(rows, "shards", None) or getattr(rows, "chunks", None)
    chunk = chunks[0] if isinstance(chunks, tuple) and isinstance(chunks[0], int) else 1
    if 0 < chunk <= step:
        step -= step % chunk
    for first in range(0, count, step):
        stop = min(first + step, count)
        block = np.empty((stop - first, bands), "f4")
        yield first, stop, block
        with disk_errors(f"cannot write rows {first} to {stop - 1} to out"):
            rows[first:stop] = block
