"""Reducers: pool blocks of cells one by one, and merge the partial results into one vector.

Memory does not grow with the region: a block leaves one or two vectors (:data:`Partial`). Partials may be
computed in different threads; they are merged in one order, so the same cells always give the same bits.
Sums are float64, so the mean of the globe is as exact as that of four cells. Without any cell, the result
is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np

Partial = tuple[Any, ...]
"""Partial result of a block: numbers, and vectors of one value a band, as its reducer defines them."""

_FLOAT64 = np.dtype("f8")

quiet = np.errstate(invalid="ignore", over="ignore")
"""No warnings: infinities are values here. Opposite ones give NaN, and a sum that is too large is one."""


class Reducer(Protocol):
    """Pools cells into one vector."""

    kind: str
    """Kind of its partials; reducers of one kind compute the same partials."""

    def pool(self, cells: np.ndarray, weights: np.ndarray | None = None) -> Partial:
        """Compute the partial of a block: ``cells`` are float32, ``(..., bands)``, at least one.

        ``weights`` are float64, of the shape of ``cells`` without its last axis, above 0, by default 1.
        """

    def add_empty(self, weight: float) -> None:
        """Add cells that are 0 in every band and together weigh ``weight``; when does not matter."""

    def merge(self, part: Partial) -> None:
        """Merge the partial of a block."""

    def result(self) -> np.ndarray:
        """The pooled vector: float32, shape ``(bands,)``."""


class Sum:
    """Weighted sum. A partial is (weight, sum)."""

    kind = "sum"

    def __init__(self, bands: int) -> None:
        self._bands = bands
        self._sum: np.ndarray | None = None
        self._merged = 0
        self._weight, self._empty = 0.0, 0.0

    def pool(self, cells: np.ndarray, weights: np.ndarray | None = None) -> Partial:
        """Sum a block."""
        if weights is None:  # as in most queries: without two more calls
            axes = (0, 1) if cells.ndim == 3 else _cell_axes(cells)
            return cells.size // cells.shape[-1], np.add.reduce(cells, axes, _FLOAT64)
        return _weight(cells, weights), _total(cells, weights)

    def add_empty(self, weight: float) -> None:
        """Add weight without value."""
        self._empty += weight

    def merge(self, part: Partial) -> None:
        """Add a block's sum."""
        weight, total = part
        self._weight += weight
        self._merged += 1
        if self._sum is None:
            self._sum = total
        elif self._merged == 2:  # the first sum may be cached
            self._sum = self._sum + total
        else:
            self._sum += total

    def result(self) -> np.ndarray:
        """The sum."""
        return _float32(self._total, self._weight + self._empty)

    @property
    def _total(self) -> np.ndarray:
        return np.zeros(self._bands) if self._sum is None else self._sum


class Mean(Sum):
    """Weighted arithmetic mean."""

    def result(self) -> np.ndarray:
        """The mean."""
        weight = self._weight + self._empty
        return _float32(self._total / (weight or 1.0), weight)


class Deviation:
    """Weighted population standard deviation (NumPy's ``ddof=0``).

    Blocks are merged by their means and squared deviations (Chan, Golub and LeVeque 1983), because the
    difference of two large sums would lose a small deviation. A partial is (weight, mean, squares).
    """

    kind = "deviation"

    def __init__(self, bands: int) -> None:
        self._weight, self._empty = 0.0, 0.0
        self._mean = np.zeros(bands)
        self._squares = np.zeros(bands)

    def pool(self, cells: np.ndarray, weights: np.ndarray | None = None) -> Partial:
        """Mean and squared deviations of a block."""
        weight = _weight(cells, weights)
        mean = _total(cells, weights) / weight
        return weight, mean, _total((cells - mean) ** 2, weights)

    def add_empty(self, weight: float) -> None:
        """Add cells of mean 0 and deviation 0."""
        self._empty += weight

    def merge(self, part: Partial) -> None:
        """Merge a block."""
        weight, mean, squares = part
        total, gap = self._weight + weight, mean - self._mean
        self._squares += squares + gap**2 * (self._weight * weight / total)
        self._mean += gap * (weight / total)
        self._weight = total

    def result(self) -> np.ndarray:
        """The standard deviation."""
        if self._empty:
            self.merge((self._empty, 0.0, 0.0))
            self._empty = 0.0
        return _float32(np.sqrt(self._squares / (self._weight or 1.0)), self._weight)


class Extreme:
    """Maximum or minimum of each band; NaN where a cell is NaN. A partial is (extreme,)."""

    def __init__(self, ufunc: np.ufunc, bands: int) -> None:
        self.kind: str = ufunc.__name__
        self._ufunc = ufunc
        self._extreme: np.ndarray | None = None
        self._bands, self._empty = bands, False

    def pool(self, cells: np.ndarray, weights: np.ndarray | None = None) -> Partial:  # noqa: ARG002  # a reducer's interface
        """Extremes of a block; weights have no effect."""
        return (self._ufunc.reduce(cells, axis=_cell_axes(cells)),)

    def add_empty(self, weight: float) -> None:
        """Add a zero. It is merged last: the order decides between +0 and -0."""
        self._empty |= weight > 0

    def merge(self, part: Partial) -> None:
        """Compare with a block's extremes."""
        (values,) = part
        self._extreme = values if self._extreme is None else self._ufunc(self._extreme, values)

    def result(self) -> np.ndarray:
        """The extreme."""
        if self._empty:
            self.merge((np.zeros(self._bands, "f4"),))
            self._empty = False
        return np.full(self._bands, np.nan, "f4") if self._extreme is None else self._extreme.copy()


REDUCERS: dict[str, Callable[[int], Reducer]] = {
    "mean": Mean,
    "max": partial(Extreme, np.maximum),
    "min": partial(Extreme, np.minimum),
    "std": Deviation,
    "sum": Sum,
}
"""Reducer of each ``pooling=`` word, given the number of bands."""

UNWEIGHTED = frozenset({"max", "min"})
"""Words for which a cell counts or not, whatever its weight."""


def nbytes(part: Partial) -> int:
    """Bytes of a partial's vectors."""
    return sum(values.nbytes for values in part if isinstance(values, np.ndarray))


def _cell_axes(cells: np.ndarray) -> tuple[int, ...]:
    return (0, 1) if cells.ndim == 3 else tuple(range(cells.ndim - 1))


def _total(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Weighted sum over the cells, float64."""
    if weights is None:
        return np.asarray(np.add.reduce(values, _cell_axes(values), _FLOAT64))
    flat: np.ndarray = values.reshape(-1, values.shape[-1])
    return np.asarray(weights.reshape(-1) @ flat.astype("f8"))


def _weight(cells: np.ndarray, weights: np.ndarray | None) -> float:
    return float(cells.size // cells.shape[-1] if weights is None else weights.sum())


def _float32(values: np.ndarray, weight: float) -> np.ndarray:
    """Round to float32; NaN if there is no weight at all."""
    return values.astype("f4") if weight else np.full(values.shape, np.nan, "f4")
