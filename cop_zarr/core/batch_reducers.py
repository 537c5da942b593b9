"""Reducers for many regions at once: each pools the same cells, with weights of its own.

Sums of all regions are one matrix product in float64: regions x cells by cells x bands. All else goes
region by region, over its own cells only. A state is what a region's cells were pooled to so far, in
``planes`` vectors of one value a band. The reducers of one region (:mod:`cop_zarr.core.reducers`) add
float64 numbers in another order.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

PRODUCT_ROWS = 4
"""Regions of one product. OpenBLAS begins threads of its own for larger ones (262,144 multiplications, or
9,216 of one row), which get in the way of those that decode: 15 % of the processor time."""


class BatchReducer(Protocol):
    """Pools cells into one vector for each region."""

    planes: int
    """Vectors of a state."""

    def pool(self, cells: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Compute states, ``(regions, planes, bands)``, float64.

        ``cells`` are float32, ``(cells, bands)``; ``weights`` float64, ``(regions, cells)``, none negative,
        and some of each region above 0. A cell of weight 0 does not count, even if it is NaN.
        """

    def merge(self, states: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Merge states with others of the same regions."""

    def result(self, states: np.ndarray, weight: np.ndarray, empty: np.ndarray) -> np.ndarray:
        """The pooled vectors, ``(regions, bands)``, of the states and of zeros that weigh ``empty``.

        ``weight`` is that of the cells in the states; both are ``(regions,)``.
        """


class Sum:
    """Weighted sums."""

    planes = 1

    def pool(self, cells: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Sum the cells."""
        return _sums(*_used(cells, weights))[:, None]

    def merge(self, states: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Add the sums."""
        return np.asarray(states + others)

    def result(self, states: np.ndarray, weight: np.ndarray, empty: np.ndarray) -> np.ndarray:  # noqa: ARG002  # a reducer's interface, as below
        """The sums."""
        return states[:, 0]


class Mean(Sum):
    """Weighted arithmetic means."""

    def result(self, states: np.ndarray, weight: np.ndarray, empty: np.ndarray) -> np.ndarray:
        """The means."""
        return np.asarray(states[:, 0] / (weight + empty)[:, None])


class Deviation:
    """Weighted population standard deviations; a state is weight, mean and squared deviations.

    Deviations are taken from each region's own mean, cell by cell: as the difference of two products, a
    small one would be lost.
    """

    planes = 3

    def pool(self, cells: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Means and squared deviations of the cells."""
        wide, weights = _used(cells, weights)
        states = np.empty((len(weights), 3, cells.shape[1]))
        states[:, 0] = weights.sum(axis=1)[:, None]
        states[:, 1] = _sums(wide, weights) / states[:, 0]
        for state, weight in zip(states, weights, strict=True):
            counts = weight > 0
            state[2] = weight[counts] @ (wide[counts] - state[1]) ** 2
        return states

    def merge(self, states: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Merge by means and squared deviations (Chan, Golub and LeVeque 1983)."""
        weight = states[:, 0] + others[:, 0]
        share, gap = others[:, 0] / weight, others[:, 1] - states[:, 1]
        squares = states[:, 2] + others[:, 2] + gap**2 * (states[:, 0] * share)
        return np.stack([weight, states[:, 1] + gap * share, squares], axis=1)

    def result(self, states: np.ndarray, weight: np.ndarray, empty: np.ndarray) -> np.ndarray:  # noqa: ARG002
        """The standard deviations."""
        zeros = np.zeros_like(states)
        zeros[:, 0] = empty[:, None]
        merged = self.merge(states, zeros)
        return np.asarray(np.sqrt(merged[:, 2] / merged[:, 0]))


class Extreme:
    """Maxima or minima of each band; NaN where a cell is NaN."""

    planes = 1

    def __init__(self, ufunc: np.ufunc) -> None:
        self._ufunc = ufunc

    def pool(self, cells: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Extremes of the cells; their weights have no further effect."""
        states = np.empty((len(weights), 1, cells.shape[1]))
        for state, counts in zip(states, weights > 0, strict=True):
            state[0] = self._ufunc.reduce(cells[counts], axis=0)
        return states

    def merge(self, states: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Compare the extremes."""
        return np.asarray(self._ufunc(states, others))

    def result(self, states: np.ndarray, weight: np.ndarray, empty: np.ndarray) -> np.ndarray:  # noqa: ARG002
        """The extremes."""
        extremes = states[:, 0]
        return np.where(empty[:, None] > 0, self._ufunc(extremes, 0), extremes)


BATCH_REDUCERS: dict[str, BatchReducer] = {
    "mean": Mean(),
    "max": Extreme(np.maximum),
    "min": Extreme(np.minimum),
    "std": Deviation(),
    "sum": Sum(),
}
"""Reducer of each ``pooling=`` word."""


def _used(cells: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cells as float64, and their weights; of few regions, only the cells that count in any of them."""
    if len(weights) > PRODUCT_ROWS:
        return cells.astype("f8"), weights
    used = weights.any(axis=0)
    return cells[used].astype("f8"), weights[:, used]


def _sums(cells: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sums of float64 cells: ``(regions, bands)``."""
    padded = np.zeros((-(-len(weights) // PRODUCT_ROWS) * PRODUCT_ROWS, len(cells)))
    padded[: len(weights)] = weights
    products = padded.reshape(-1, PRODUCT_ROWS, len(cells)) @ cells
    sums = products.reshape(-1, cells.shape[1])[: len(weights)]
    if not np.isfinite(sums).all():  # 0 times NaN, or times infinity, is NaN
        for region, weight in enumerate(weights):
            counts = weight > 0
            sums[region] = weight[counts] @ cells[counts]
    return np.asarray(sums)
