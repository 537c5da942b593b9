"""Upper bounds of keys from the principal components that a store keeps, without reading a vector.

A vector is ``x = m + A'p + r``: the mean, the axes times the scores, and a remainder at right angles to all
axes, of which the length ``R`` is kept. With a query ``q`` cut in the same way (``p_q``, ``R_q``), the
remainders are at least ``|R - R_q|`` apart, so that

    |x - q|² >= |p - p_q|² + (R - R_q)²

For cosines, take ``q`` of length 1 and ``t = 1 / |x|``: then ``|t x - q|² = 2 - 2 cos``. What ``t x - q``
has along the axes is ``t u - A q`` with ``u = p + A m``. At right angles to them, ``t r`` has the length
``t R``, and is to reach ``q_r - t m_r`` of the length ``g(t)``, where ``_r`` is what the axes leave:

    2 - 2 cos >= |t u - A q|² + (t R - g(t))²

The length of ``x`` is not kept, but ``|x|² = |u|² + |m_r + r|²`` lies between ``|u|² + (|m_r| - R)²`` and
``|u|² + (|m_r| + R)²``. The least value for all ``t`` in between is found piece by piece: the first term is
a parabola, and ``t R - g(t)`` is concave, since ``g`` is convex: nowhere in a piece is it less than at both
ends, or above its tangent in the middle.

Kept numbers are rounded: scores and remainder together are off by at most ``rounding`` times the cell's
distance from the mean, and so are the lengths above. Sums of them in float32 are off by a little more.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cop_zarr.analysis.metrics import UNIT_ROUNDOFF, Cosine, Queries, quiet
from cop_zarr.core.lru_cache import ENTRY_BYTES
from cop_zarr.format.components import KeptComponents

MAX_COMPONENTS = 32
"""Leading components that bounds are made of: 44 MB of scores for the published product."""

BLOCK_CELLS = 16_384
"""Cells whose bounds are computed together: their numbers stay in a processor's cache."""

PIECES = 2
"""Pieces of the lengths that a cell may have."""


class _Kept(NamedTuple):
    """What is kept of ``n`` cells, and what all queries need of it."""

    scores: np.ndarray
    """float32, ``(n, count)``."""
    remainder: np.ndarray
    """float64, ``(n,)``, as are the next three."""
    squares: np.ndarray
    """Squared lengths of the scores."""
    slack: np.ndarray
    """How far scores and remainder may be from the exact ones."""
    to_mean: np.ndarray
    """Products of the scores with those of the mean vector itself."""
    mean: np.ndarray
    axes: np.ndarray

    def block(self, cells: slice) -> _Kept:
        """Some of the cells."""
        return _Kept._make([*(array[cells] for array in self[:5]), self.mean, self.axes])


@quiet
def component_bounds(kept: KeptComponents, valid: np.ndarray, queries: Queries) -> np.ndarray:
    """Upper bounds of the keys of all cells with data for one query: float64, ``(n,)``, row by row.

    Infinite for cells of which no scores are kept.
    """
    cells, query = _read(kept, valid), queries.vectors[0]
    bounds = _cosines if isinstance(queries, Cosine) else _distances
    found = np.empty(len(cells.remainder))

    for first in range(0, len(found), BLOCK_CELLS):  # threads would wait for each other between short steps
        block = slice(first, first + BLOCK_CELLS)
        found[block] = bounds(cells.block(block), query)
    found[np.isnan(found)] = np.inf
    return found


def _read(kept: KeptComponents, valid: np.ndarray) -> _Kept:
    """Read what is kept, or take it from the store's memory."""
    memory, key = kept.reader.memory, ("component bounds",)
    cells: _Kept | None = memory.get(key)
    if cells is None:
        count = min(MAX_COMPONENTS, kept.count)
        scores, remainder = kept.scores(valid, count), kept.remainder(valid, count).astype("f8")
        squares = np.einsum("ij,ij->i", scores, scores, dtype="f8")
        rounding = kept.rounding + 4 * (count + 8) * UNIT_ROUNDOFF
        slack = rounding * np.sqrt(squares + remainder**2)
        mean, axes = kept.mean, kept.axes[:count]
        to_mean = _products(scores, axes @ mean)
        cells = _Kept(scores, remainder, squares, slack, to_mean, mean, axes)
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
    along, mean_along = cells.axes @ query, cells.axes @ cells.mean
    query_left, mean_left = query - along @ cells.axes, cells.mean - mean_along @ cells.axes
    mean_length = float(np.linalg.norm(mean_left))
    slack, rounding = cells.slack, 4 * (len(along) + 8) * UNIT_ROUNDOFF
    reached = np.sqrt(cells.squares) + np.sqrt(mean_along @ mean_along)  # |u| at most
    off, dot_off = 2 * rounding * reached**2, rounding * reached * np.sqrt(along @ along)
    squares = np.maximum(0, cells.squares + 2 * cells.to_mean + mean_along @ mean_along)  # |u|²
    dots = _products(cells.scores, along) + mean_along @ along  # u . A q
    nearest, farthest = (mean_length - cells.remainder) ** 2, (mean_length + cells.remainder) ** 2
    low = np.sqrt(np.maximum(0, squares - off + nearest)) - 4 * slack
    high = np.sqrt(squares + off + farthest) + 4 * slack
    first, last = 1 / high, 1 / low
    least = np.full(len(dots), np.inf)
    for piece in range(PIECES):
        begin, end = (first + (last - first) * (part / PIECES) for part in (piece, piece + 1))
        middle, reach = (begin + end) / 2, (end - begin) / 2
        turn = np.clip(dots / np.where(squares > 0, squares, 1), begin, end)
        parabola = np.maximum(0, (squares * turn - 2 * dots) * turn + along @ along)
        gap, slope = _gap(cells.remainder, query_left, mean_left, middle)
        ends = [_gap(cells.remainder, query_left, mean_left, t)[0] for t in (begin, end)]
        apart = np.maximum(0, np.maximum(np.minimum(*ends), -(gap + np.abs(slope) * reach)))
        least = np.minimum(least, parabola + apart**2)
    least = np.maximum(0, least - (last * off + 2 * dot_off) * last)
    distance = np.maximum(0, np.sqrt(least) - 4 * last * slack)
    return np.where(low > 0, np.minimum(1, 1 - distance**2 / 2 + 1e-12), np.inf)


def _gap(
    remainder: np.ndarray, query_left: np.ndarray, mean_left: np.ndarray, t: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``t R - g(t)``, and its slope."""
    mean_square, product = mean_left @ mean_left, query_left @ mean_left
    length = np.sqrt(np.maximum(0, (mean_square * t - 2 * product) * t + query_left @ query_left))
    slope = (mean_square * t - product) / np.maximum(length, 1e-300)
    return t * remainder - length, remainder - slope
