"""Reducers that take one block of cells at a time and end in one vector.

Memory does not grow with the region: a reducer holds a vector or two. Sums run in float64, so a mean over
the whole globe is as good as one over four cells. A reducer that was given no cell at all ends in NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np


class Reducer(Protocol):
    """Pools cells into one vector."""

    def add(self, cells: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Take cells: float32, ``(n, bands)``; weights: float64, ``(n,)``, each above 0, or 1 if None."""

    def add_empty(self, weight: float) -> None:
        """Take cells that are 0 in every band, of this weight together."""

    def result(self) -> np.ndarray:
        """The pooled vector: float32, shape ``(bands,)``."""


class Sum:
    """Sum of weight times value."""

    def __init__(self, bands: int) -> None:
        self._sum = np.zeros(bands, "f8")
        self._weight = 0.0

    @np.errstate(invalid="ignore", over="ignore")  # infinities are values: opposite ones make NaN
    def add(self, cells: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Take cells."""
        self._sum += _total(cells, weights)
        self._weight += _weight(cells, weights)

    def add_empty(self, weight: float) -> None:
        """Take cells that are 0."""
        self._weight += weight

    def result(self) -> np.ndarray:
        """The sum."""
        return _float32(self._sum, self._weight)


class Mean(Sum):
    """Weighted arithmetic mean."""

    def result(self) -> np.ndarray:
        """The mean."""
        return _float32(self._sum / (self._weight or 1), self._weight)


class Deviation:
    """Weighted standard deviation of the population (NumPy's ``ddof=0``).

    Blocks are merged by their means and squared deviations (Chan, Golub and LeVeque 1983), because the
    difference of two large sums would lose a small deviation.
    """

    def __init__(self, bands: int) -> None:
        self._weight = 0.0
        self._mean = np.zeros(bands, "f8")
        self._squares = np.zeros(bands, "f8")

    @np.errstate(invalid="ignore", over="ignore")
    def add(self, cells: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Take cells."""
        weight = _weight(cells, weights)
        mean = _total(cells, weights) / weight
        self._merge(weight, mean, _total((cells - mean) ** 2, weights))

    @np.errstate(invalid="ignore", over="ignore")
    def add_empty(self, weight: float) -> None:
        """Take cells that are 0."""
        if weight:
            self._merge(weight, np.zeros(1), np.zeros(1))

    def _merge(self, weight: float, mean: np.ndarray, squares: np.ndarray) -> None:
        total, gap = self._weight + weight, mean - self._mean
        self._squares += squares + gap**2 * (self._weight * weight / total)
        self._mean += gap * (weight / total)
        self._weight = total

    def result(self) -> np.ndarray:
        """The standard deviation."""
        return _float32(np.sqrt(self._squares / (self._weight or 1)), self._weight)


class Extreme:
    """Largest or smallest value of each band; NaN if any cell is NaN in that band."""

    def __init__(self, ufunc: np.ufunc, bands: int) -> None:
        self._ufunc = ufunc
        self._extreme: np.ndarray | None = None
        self._bands = bands

    def add(self, cells: np.ndarray, weights: np.ndarray | None = None) -> None:  # noqa: ARG002  # a reducer's interface
        """Take cells; weights change no extreme."""
        self._take(self._ufunc.reduce(cells, axis=0))

    def add_empty(self, weight: float) -> None:
        """Take cells that are 0."""
        if weight:
            self._take(np.zeros(self._bands, "f4"))

    def _take(self, values: np.ndarray) -> None:
        self._extreme = values if self._extreme is None else self._ufunc(self._extreme, values)

    def result(self) -> np.ndarray:
        """The extreme."""
        return np.full(self._bands, np.nan, "f4") if self._extreme is None else self._extreme


REDUCERS: dict[str, Callable[[int], Reducer]] = {
    "mean": Mean,
    "max": partial(Extreme, np.maximum),
    "min": partial(Extreme, np.minimum),
    "std": Deviation,
    "sum": Sum,
}
"""The ``pooling=`` words; each makes a reducer for a number of bands."""

UNWEIGHTED = frozenset({"max", "min"})
"""Those that know only which cells belong to a region, not how much of them."""


def _total(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Weighted sum over the cells, float64."""
    total: np.ndarray = values.sum(axis=0, dtype="f8") if weights is None else weights @ values.astype("f8")
    return total


def _weight(cells: np.ndarray, weights: np.ndarray | None) -> float:
    return float(len(cells) if weights is None else weights.sum())


def _float32(values: np.ndarray, weight: float) -> np.ndarray:
    """Round; what is too large becomes infinite, and without any weight there is no number."""
    if weight == 0:
        return np.full(values.shape, np.nan, "f4")
    with np.errstate(over="ignore"):
        return values.astype("f4")
