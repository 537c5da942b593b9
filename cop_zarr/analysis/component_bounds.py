"""Upper bounds of keys from the principal components that a store keeps, without reading a vector.

A vector is ``x = m + A'p + r``: the mean, the axes times the scores, and a remainder at right angles to all
axes. The lengths ``R`` of ``r`` and ``|x|`` are kept. With a query ``q`` cut in the same way (``p_q``,
``R_q``), the remainders are at least ``|R - R_q|`` apart, so that

    |x - q|² >= |p - p_q|² + (R - R_q)²

For cosines, ``q`` has length 1. As ``r`` is at right angles to the axes, ``r . q = r . q_r``, where ``_r``
is what the axes leave of a vector, and ``2 r . m = |x|² - |m + A'p|² - R²`` is known. So for any ``t``

    |x| cos = m . q + p . A q + t r . m + r . (q_r - t m_r)
           <= m . q + p . A q + t r . m + R |q_r - t m_r|

``t = 1 / |x|`` is taken: there, the two sides are equal for ``q = x / |x|``. With ``t = 0`` that would hold
for a mean of 0 only, and every cell look similar where all have much in common.

Kept numbers are rounded: ``(p, R)`` is off by at most ``e``, a part of the cell's distance ``D`` from the
mean, and ``|x|`` by a part ``u``. With ``|m| <= |x| + D``, this changes ``r . m`` by
``(|x| + 2 D) e + u |x|²`` at most, ``p . A q`` by ``e``, and the last term by ``(2 + t D) e``: cosines by
``(4 + 3 t D) t e + 2 u``. What sums of ``p`` in float32 add is counted in ``slack``, as a part of ``D``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cop_zarr.analysis.metrics import MIN_SQUARE, UNIT_ROUNDOFF, Cosine, Queries, quiet
from cop_zarr.core.lru_cache import ENTRY_BYTES
from cop_zarr.format.components import KeptComponents

MAX_COMPONENTS = 32
"""Leading components that bounds are made of: 44 MB of scores for the published product."""

BLOCK_CELLS = 16_384
"""Cells whose bounds are computed together: their numbers stay in a processor's cache."""


class _Kept(NamedTuple):
    """What is kept of ``n`` cells, and what all queries need of it."""

    scores: np.ndarray
    """float32, ``(n, count)``."""
    remainder: np.ndarray
    """float64, ``(n,)``, as are the next four."""
    squares: np.ndarray
    """Squared lengths of the scores."""
    slack: np.ndarray
    """How far scores and remainder may be from the exact ones."""
    inverse: np.ndarray
    """1 divided by the length of the vector."""
    known: np.ndarray
    """What does not depend on the query of the bound of a cosine, rounding counted in."""
    mean: np.ndarray
    mean_left: np.ndarray
    """What the axes leave of the mean."""
    axes: np.ndarray

    def block(self, cells: slice) -> _Kept:
        """Some of the cells."""
        return _Kept._make([*(array[cells] for array in self[:6]), *self[6:]])


@quiet
def component_bounds(kept: KeptComponents, valid: np.ndarray, queries: Queries) -> np.ndarray:
    """Upper bounds of the keys of all cells with data for one query: float64, ``(n,)``, row by row.

    Infinite for cells of which no scores are kept, or none that can be trusted.
    """
    cells, query = _read(kept, valid), queries.vectors[0]
    bounds = _cosines if isinstance(queries, Cosine) else _distances
    found = np.empty(len(cells.remainder))

    for first in range(0, len(found), BLOCK_CELLS):  # threads would wait for each other between short steps
        block = slice(first, first + BLOCK_CELLS)
        found[block] = bounds(cells.block(block), query)
    found[~np.isfinite(found)] = np.inf  # also where float32 overflowed
    return found


def _read(kept: KeptComponents, valid: np.ndarray) -> _Kept:
    """Read what is kept, or take it from the store's memory."""
    memory, key = kept.reader.memory, ("component bounds",)
    cells: _Kept | None = memory.get(key)
    if cells is None:
        count = min(MAX_COMPONENTS, kept.count)
        scores, remainder = kept.scores(valid, count), kept.remainder(valid, count).astype("f8")
        mean, axes, length = kept.mean, kept.axes[:count], kept.length(valid).astype("f8")
        squares = np.einsum("ij,ij->i", scores, scores, dtype="f8")
        distance = np.sqrt(squares + remainder**2)
        slack = (kept.rounding + 4 * (count + 8) * UNIT_ROUNDOFF) * distance
        t = np.where(length**2 > MIN_SQUARE, 1 / length, np.nan)
        along = np.einsum("ij,j->i", scores, axes @ mean, dtype="f8")
        to_mean = (length**2 - mean @ mean - distance**2) / 2 - along  # r . m
        known = (to_mean * t + (4 + 3 * t * distance) * slack) * t + 4 * UNIT_ROUNDOFF
        mean_left = mean - axes @ mean @ axes
        cells = _Kept(scores, remainder, squares, slack, t, known, mean, mean_left, axes)
        size = sum(array.nbytes for array in cells) + ENTRY_BYTES
        memory.put(key, cells, size)
    return cells


def _products(scores: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Products of scores with a vector, ``(count,)``: float64, ``(n,)``; without the threads of BLAS."""
    return np.asarray(np.einsum("ij,j->i", scores, vector.astype("f4")).astype("f8"))


def _distances(cells: _Kept, query: np.ndarray) -> np.ndarray:
    gap = query - cells.mean
    along = cells.axes @ gap
    left = float(np.linalg.norm(gap - along @ cells.axes))
    length = float(np.linalg.norm(gap))
    squares = (
        cells.squares - 2 * _products(cells.scores, along) + along @ along + (cells.remainder - left) ** 2
    )
    rounding = 8 * (len(along) + 8) * UNIT_ROUNDOFF * (np.sqrt(cells.squares) + length) ** 2
    return np.asarray(-np.maximum(0, np.sqrt(np.maximum(0, squares - rounding)) - 2 * cells.slack))


def _cosines(cells: _Kept, query: np.ndarray) -> np.ndarray:
    along = cells.axes @ query
    query_left, mean_left, t = query - along @ cells.axes, cells.mean_left, cells.inverse
    squares = (mean_left @ mean_left * t - 2 * (query_left @ mean_left)) * t + query_left @ query_left
    left = cells.remainder * np.sqrt(np.maximum(0, squares))
    dots = _products(cells.scores, along) + (left + cells.mean @ query)
    return np.asarray(np.minimum(1, dots * t + cells.known))
