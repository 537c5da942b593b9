"""Where do many answers go? Into an array with a row for each, new or the caller's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from cop_zarr.errors import InputError, ResultTooLargeError

BLOCK_BYTES = 256 << 20
"""What rows may take that wait to be written to an array which is not in memory."""


class ArrayLike2D(Protocol):
    """What takes rows: a NumPy array, a memory map, a Zarr array, an HDF5 dataset."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""

    def __setitem__(self, rows: Any, values: np.ndarray) -> None:
        """Write rows."""


def rows_for(count: int, bands: int, out: ArrayLike2D | None) -> Any:
    """The array for so many rows: a new one, or the caller's if it fits.

    Raises
    ------
    InputError
        If the caller's has another shape, or does not take float32.
    ResultTooLargeError
        If there is not enough memory for a new one.
    """
    if out is None:
        try:
            return np.empty((count, bands), "f4")
        except (MemoryError, ValueError):
            raise ResultTooLargeError(
                f"{count:,} rows of {bands} float32 numbers take {count * bands * 4:,} bytes, more than "
                "memory has; give them a place with out=, such as a numpy.memmap or a Zarr array"
            ) from None
    shape, dtype = getattr(out, "shape", None), getattr(out, "dtype", np.dtype("f4"))
    if not isinstance(shape, tuple | list) or tuple(shape) != (count, bands):
        raise InputError(f"out must be an array of the shape {(count, bands)}; got {shape or type(out)}")
    if not hasattr(type(out), "__setitem__") or not _takes_floats(dtype):
        raise InputError(f"out must take float32 numbers; got an array of {dtype}")
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise InputError("out is read-only; open it for writing, as numpy.memmap does with mode='r+'")
    return out


def _takes_floats(dtype: Any) -> bool:
    try:
        found = np.dtype(dtype)
    except TypeError:
        return False
    return bool(found.kind == "f" and found.itemsize >= 4)  # of half precision, no vector would be itself


def fill(rows: ArrayLike2D, count: int, bands: int, answer: Callable[[int, int, np.ndarray], None]) -> None:
    """Have all rows answered, and written to their array.

    Parameters
    ----------
    answer : callable
        Given the first row, the one past the last, and a float32 array for them, to fill. An array in
        memory is filled at once; others are written in blocks of rows, cut at the edges of their chunks.
    """
    if isinstance(rows, np.ndarray) and rows.dtype == np.float32:
        answer(0, count, rows)
        return
    for first, stop in _blocks(rows, count, bands):
        block = np.empty((stop - first, bands), "f4")
        answer(first, stop, block)
        rows[first:stop] = block


def _blocks(rows: ArrayLike2D, count: int, bands: int) -> Iterator[tuple[int, int]]:
    """Runs of rows that fit into :data:`BLOCK_BYTES`, cut at chunk edges where a chunk fits."""
    step = max(1, BLOCK_BYTES // (4 * bands))
    chunks = getattr(rows, "shards", None) or getattr(rows, "chunks", None)
    chunk = chunks[0] if isinstance(chunks, tuple) and isinstance(chunks[0], int) else 1
    if 0 < chunk <= step:
        step -= step % chunk
    for first in range(0, count, step):
        yield first, min(first + step, count)
