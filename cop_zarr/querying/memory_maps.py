"""Give a memory map its place on the disk before it is written to.

A write to a page of a file that finds no room on the disk ends the process (SIGBUS): no exception says so.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from cop_zarr import system
from cop_zarr.errors import StorageError


def reserve(array: np.ndarray) -> None:
    """Have the disk set aside room for an array that may be, or be a view of, a writeable memory map.

    Raises StorageError if the disk has no room for it.
    """
    mapped = _memory_map(array)
    if mapped is None or mapped.mode not in {"r+", "w+"} or mapped.filename is None:
        return
    pages: Any = mapped._mmap  # noqa: SLF001  # its address is that of the file's part that is mapped
    address = np.frombuffer(pages, "u1").__array_interface__["data"][0]
    low, high = byte_bounds(array)
    first = mapped.offset - mapped.offset % mmap.ALLOCATIONGRANULARITY  # where in the file they begin
    try:
        system.allocate(Path(mapped.filename), first + low - address, high - low)
    except OSError as error:
        raise StorageError(
            f"cannot reserve {high - low:,} bytes for out in {mapped.filename}: {error.strerror or error}. "
            "Free some space, or put the file of out= on another disk"
        ) from error


def _memory_map(array: Any) -> Any:
    """The memory map that an array is a view of; None if it is none."""
    found = None
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and getattr(array, "_mmap", None) is not None:
            found = array
        array = array.base
    return found
