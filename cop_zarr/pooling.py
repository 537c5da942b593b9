"""Reducers that take one block of cells at a time and end in one vector.

Memory does not grow with the region: a reducer holds one float64 or float32 vector. Sums run in float64,
so a mean over the whole globe is as good as one over four cells.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Reducer(Protocol):
    """Pools cells into one vector."""

    def add(self, cells: np.ndarray) -> None:
        """Take cells of any number of leading axes; the last axis is the band."""

    def add_empty(self, count: int) -> None:
        """Take ``count`` cells that are 0 in every band."""

    def result(self) -> np.ndarray:
        """The pooled vector: float32, shape ``(bands,)``."""


class Mean:
    """Arithmetic mean."""

    def __init__(self, bands: int) -> None:
        self._sum = np.zeros(bands, "f8")
        self._count = 0

    def add(self, cells: np.ndarray) -> None:
        """Take cells."""
        flat = cells.reshape(-1, cells.shape[-1])
        self._sum += flat.sum(axis=0, dtype="f8")
        self._count += len(flat)

    def add_empty(self, count: int) -> None:
        """Take cells that are 0."""
        self._count += count

    def result(self) -> np.ndarray:
        """The mean."""
        return (self._sum / self._count).astype("f4")


class Maximum:
    """Largest value of each band; NaN if any cell is NaN in that band."""

    def __init__(self, bands: int) -> None:
        self._max = np.full(bands, -np.inf, "f4")

    def add(self, cells: np.ndarray) -> None:
        """Take cells."""
        flat = cells.reshape(-1, cells.shape[-1])
        np.maximum(self._max, flat.max(axis=0), out=self._max)

    def add_empty(self, count: int) -> None:
        """Take cells that are 0."""
        if count:
            np.maximum(self._max, 0, out=self._max)

    def result(self) -> np.ndarray:
        """The maximum."""
        return self._max


REDUCERS: dict[str, type[Mean | Maximum]] = {"mean": Mean, "max": Maximum}
"""The ``pooling=`` words."""
