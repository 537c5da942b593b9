"""Scores of cells for queries: exact ones in float64, and bounds of them from products in float32.

Every score of a cell is a sum over its bands in one order, whatever is computed beside it, so that a cell
has the same bits in every chunk, batch and thread. A key is what is largest for the best cell.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal, Protocol

import numpy as np

Metric = Literal["cosine", "l2"]

BLOCK_CELLS = 512
"""Cells whose products are in memory at once: 3 MB of 768 bands."""

UNIT_ROUNDOFF = 2.0**-24
"""Largest relative error of one operation in float32."""

MIN_SQUARE, MAX_SQUARE = 1e-20, 1e30
"""Squared lengths for which sums in float32 neither underflow nor overflow by more than their bound."""

MIN_QUERIES = 4
"""Fewer queries than this are multiplied without BLAS."""

MAX_PRODUCT = 1 << 18
"""Multiplications of one product up to which OpenBLAS starts no thread (interface/gemm.c)."""

quiet = np.errstate(divide="ignore", invalid="ignore", over="ignore")
"""No warnings: a cell without a finite key never matches."""


class Queries(Protocol):
    """Queries of one metric."""

    vectors: np.ndarray
    """float64, ``(n, bands)``."""

    rounded: np.ndarray
    """The same in float32, to be multiplied with cells."""

    def keys(self, cells: np.ndarray, queries: np.ndarray | int) -> np.ndarray:
        """The exact key of each cell, float32 ``(n, bands)``, for one query or one each: float64, ``(n,)``.

        NaN for cells that have a value that is not finite, or no length where a length is needed.
        """

    def bounds(self, dots: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Upper and lower bounds of keys, ``(queries, cells)``, infinite where none is known.

        ``dots`` are :func:`products`, and ``squares`` are :func:`squared_lengths` of the cells.
        """

    def scores(self, keys: np.ndarray) -> np.ndarray:
        """The scores of keys, as users see them."""


class Cosine:
    """Cosine of the angle between a cell and a query of length 1. A key is a score."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors
        self.rounded = vectors.astype("f4")
        self._margin = error_bound(vectors.shape[1])

    def keys(self, cells: np.ndarray, queries: np.ndarray | int) -> np.ndarray:
        """Cosines."""
        return _by_block(self._keys, cells, self.vectors[queries])

    @quiet
    def _keys(self, cells: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        cosines = (cells * vectors).sum(axis=1) / np.sqrt((cells * cells).sum(axis=1))
        return np.asarray(np.clip(cosines, -1, 1))

    @quiet
    def bounds(self, dots: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of cosines."""
        found = dots / np.sqrt(squares)
        return _known(found + self._margin, squares, np.inf), _known(found - self._margin, squares, -np.inf)

    def scores(self, keys: np.ndarray) -> np.ndarray:
        """Cosines."""
        return keys


class Euclidean:
    """Distance between a cell and a query. A key is a distance with its sign changed."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors
        self._squares = (vectors * vectors).sum(axis=1)
        self._in_range = self._squares <= MAX_SQUARE
        self.rounded = np.where(self._in_range[:, None], vectors, 0).astype("f4")
        self._error = error_bound(vectors.shape[1])

    def keys(self, cells: np.ndarray, queries: np.ndarray | int) -> np.ndarray:
        """Distances with their sign changed."""
        return _by_block(self._keys, cells, self.vectors[queries])

    @quiet
    def _keys(self, cells: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        gaps = cells - vectors
        found = -np.sqrt((gaps * gaps).sum(axis=1))
        return np.where(np.isfinite(found), found, np.nan)

    @quiet
    def bounds(self, dots: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of distances with their sign changed."""
        total = squares.astype("f8") + self._squares[:, None]
        found = total - 2.0 * dots
        margin = self._error * total + MIN_SQUARE
        upper, lower = -np.sqrt(np.maximum(found - margin, 0)), -np.sqrt(np.maximum(found + margin, 0))
        upper[~self._in_range], lower[~self._in_range] = np.inf, -np.inf
        return _known(upper, squares, np.inf), _known(lower, squares, -np.inf)

    def scores(self, keys: np.ndarray) -> np.ndarray:
        """Distances."""
        return -keys


METRICS: dict[str, type[Cosine | Euclidean]] = {"cosine": Cosine, "l2": Euclidean}


def error_bound(bands: int) -> float:
    """Bound of the error of a cosine from products and sums in float32, in any order, fused or not.

    A sum of ``n`` products is off by at most ``n u / (1 - n u)`` times the product of both lengths (Higham
    2002, section 3.1): once for the product with the query, half of that for the cell's length; a few ``u``
    more come from rounding the query and from the division. Twice and more of that is allowed.
    """
    return 4 * (bands + 8) * UNIT_ROUNDOFF


@quiet
def products(queries: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Products of vectors, ``(queries, bands)`` and ``(cells, bands)``, in float32: ``(queries, cells)``.

    A product that is small enough is computed in the thread that asks for it. The threads that BLAS starts
    for a larger one, or for one with a single vector, would wait for those that decode chunks: on two busy
    cores that takes forty times as long.
    """
    most = MAX_PRODUCT // max(1, cells.size)
    if len(queries) < MIN_QUERIES or most < MIN_QUERIES:
        return np.asarray(np.einsum("ij,kj->ik", queries, cells))
    out = np.empty((len(queries), len(cells)), "f4")
    edges = np.linspace(0, len(queries), -(-len(queries) // most) + 1).astype("i8").tolist()
    for first, stop in pairwise(edges):
        np.matmul(queries[first:stop], cells.T, out=out[first:stop])
    return out


@quiet
def whole_products(queries: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The same by one call, for who has BLAS use a single thread."""
    return np.asarray(np.matmul(queries, cells.T))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors ``(n, bands)`` in float64, each divided by its length; any length but 0 will do."""
    vectors = vectors.astype("f8")
    exponents = np.frexp(np.abs(vectors).max(axis=1, keepdims=True))[1]
    vectors = np.ldexp(vectors, -exponents)  # the same digits, whose squares are in range
    return np.asarray(vectors / np.sqrt((vectors * vectors).sum(axis=1, keepdims=True)))


@quiet
def squared_lengths(cells: np.ndarray) -> np.ndarray:
    """Squared lengths of vectors ``(n, bands)`` in float32: ``(n,)``."""
    return np.asarray(np.einsum("ij,ij->i", cells, cells))


def _known(values: np.ndarray, squares: np.ndarray, otherwise: float) -> np.ndarray:
    """Bounds of the cells for whose length they hold; ``otherwise`` for all others."""
    values[:, ~((squares > MIN_SQUARE) & (squares < MAX_SQUARE))] = otherwise
    return values


def _by_block(
    fn: Callable[[np.ndarray, np.ndarray], np.ndarray], cells: np.ndarray, vectors: np.ndarray
) -> np.ndarray:
    """Apply a function of cells in float64 and their queries to a block of cells after the other."""
    found = np.empty(len(cells))
    for first in range(0, len(cells), BLOCK_CELLS):
        block = slice(first, first + BLOCK_CELLS)
        queries = vectors if vectors.ndim == 1 else vectors[block]
        found[block] = fn(cells[block].astype("f8", order="C"), queries)
    return found
