"""The mask of cells with data."""

from __future__ import annotations

from typing import Any

import numpy as np

from cop_zarr.format.chunk_reader import ChunkReader


class ValidMask:
    """The mask of a store's cells with data, read when it is needed first."""

    def __init__(self, reader: ChunkReader) -> None:
        self._reader = reader
        self._mask: np.ndarray | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._mask is not None:
            self._mask.flags.writeable = False  # no pickle keeps this flag

    @property
    def in_memory(self) -> bool:
        """Whether :meth:`read` reads nothing."""
        return self._mask is not None

    def read(self) -> np.ndarray:
        """The mask: bool, ``(rows, cols)`` of the grid, not writeable."""
        # Not a cached_property: in Python 3.11 that holds a lock while it reads, and a fork would keep it.
        if self._mask is None:
            mask = self._reader.read_valid()
            mask.flags.writeable = False
            self._mask = mask
        return self._mask
