"""Which colours show vectors of hundreds of numbers? Their three principal components. NumPy only.

A view is gone through twice, chunk by chunk: once for the covariance of its cells, once for their scores.
Memory holds a covariance matrix (4.7 MB for 768 bands), some thousand cells, and three numbers a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from cop_zarr.core.reducers import quiet
from cop_zarr.format.chunk_grid import ChunkPart
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.outputs.plotting.extent import View

T = TypeVar("T")

CHANNELS = 3
"""Red, green, blue."""

PERCENTILES = (2.0, 98.0)
"""Scores outside these are drawn as these: a few far-off cells do not take all the contrast."""

BATCH_CELLS = 2048
"""Cells multiplied at a time: from here on it takes no less time for more of them."""

FLAT = 2e-6
"""Variance, as a part of the largest, below which a component may be rounding. Products of float32 numbers
strayed by 4e-7 of it at most, in batches of 768 bands of equal and of very different variance; they take a
third of the time that float64's do, which is most of what a picture of the globe takes."""


@dataclass(frozen=True)
class Components:
    """The principal components of cells.

    Attributes
    ----------
    mean : ndarray
        float64, ``(bands,)``.
    axes : ndarray
        float64, ``(3, bands)``: unit vectors, the largest variance first. Of each, the number that is
        largest by size is positive, so that a store has the same colours every time. One is 0
        throughout if the cells do not vary in so many directions.
    shares : ndarray
        float64, ``(3,)``: which part of all variance lies along each.
    cells : int
        Number of cells with data that they are of.
    """

    mean: np.ndarray
    axes: np.ndarray
    shares: np.ndarray
    cells: int


def components(reader: ChunkReader, view: View, tell: Callable[[int], None]) -> Components:
    """Find the principal components of a view's cells with data.

    Each cell counts once. A cell with a value that is not finite has no place among the others, and does
    not count.

    Parameters
    ----------
    tell : callable
        Called with the number of cells done since it was last called.
    """
    bands = reader.layout.bands
    shift, total, squares, count = np.zeros(bands), np.zeros(bands), np.zeros((bands, bands)), 0
    for batch in _batches(reader, view, tell):
        if not count:
            shift = batch.mean(axis=0)  # near the mean, so that differences of large squares lose nothing
        cells = batch - shift
        total += cells.sum(axis=0)
        squares += _products(cells)
        count += len(cells)
    offset = total / max(count, 1)
    return principal(shift + offset, squares / max(count, 1) - np.outer(offset, offset), count)


def _products(cells: np.ndarray) -> np.ndarray:
    """Sum over cells the products of each two bands: float64, ``(bands, bands)``."""
    scale = np.abs(cells).max() or 1.0  # or large values would be infinite when multiplied
    small = (cells / scale).astype("f4")
    return np.asarray(scale**2 * (small.T @ small).astype("f8"))


def principal(mean: np.ndarray, covariance: np.ndarray, count: int) -> Components:
    """The components that belong to a mean and a covariance matrix."""
    variances, vectors = np.linalg.eigh(covariance)
    largest = np.argsort(variances)[::-1][:CHANNELS]
    kept = largest[variances[largest] > FLAT * np.abs(variances).max()]
    axes, shares = np.zeros((CHANNELS, mean.size)), np.zeros(CHANNELS)
    axes[: kept.size] = vectors[:, kept].T
    shares[: kept.size] = variances[kept] / np.trace(covariance) if kept.size else 0.0
    peaks = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return Components(mean, axes * np.where(peaks < 0, -1.0, 1.0), shares, count)


@quiet
def scores(reader: ChunkReader, view: View, found: Components, tell: Callable[[int], None]) -> np.ndarray:
    """Where a view's cells lie along the components.

    Returns
    -------
    ndarray
        float64, the view's shape and ``(3,)``; NaN for cells without data, or with a value not finite.
    """
    out = np.full((*view.window.shape, CHANNELS), np.nan)

    def project(part: ChunkPart, cells: np.ndarray) -> int:
        out[part.target][view.valid[part.target]] = (cells - found.mean) @ found.axes.T
        return len(cells)

    for done in _each(reader, view, project):
        tell(done)
    out[~np.isfinite(out).all(axis=-1)] = np.nan
    return out


def colours(values: np.ndarray) -> np.ndarray:
    """Make colours of scores, each component scaled by its own percentiles.

    Parameters
    ----------
    values : ndarray
        As :func:`scores` gives them.

    Returns
    -------
    ndarray
        uint8, ``(rows, cols, 4)``: red, green, blue, and 255; or 0 in all four without data. A component
        in which the cells do not differ is 128.
    """
    known = np.isfinite(values).all(axis=-1)
    out = np.zeros((*known.shape, 4), "u1")
    if known.any():
        cells = values[known]
        low, high = np.percentile(cells, PERCENTILES, axis=0)
        span = np.where(high > low, high - low, 1.0)
        parts = np.where(high > low, np.clip((cells - low) / span, 0.0, 1.0), 0.5)
        out[known] = np.concatenate([np.rint(parts * 255), np.full((len(cells), 1), 255)], axis=1)
    return out


def _batches(reader: ChunkReader, view: View, tell: Callable[[int], None]) -> Iterator[np.ndarray]:
    """Cells with data, finite ones, some thousand at a time: float64, ``(n, bands)``."""
    held: list[np.ndarray] = []
    for cells in _each(reader, view, lambda _, cells: cells):
        tell(len(cells))
        held.append(cells)
        if sum(map(len, held)) >= BATCH_CELLS:
            yield from _finite(held)
            held = []
    yield from _finite(held)


def _finite(held: list[np.ndarray]) -> Iterator[np.ndarray]:
    """One array of those cells that are finite, if there is any."""
    cells = np.concatenate(held or [np.empty((0, 1))], dtype="f8")
    cells = cells[np.isfinite(cells).all(axis=1)]
    if len(cells):
        yield cells


def _each(reader: ChunkReader, view: View, work: Callable[[ChunkPart, np.ndarray], T]) -> Iterator[T]:
    """Have something done with each chunk's cells with data, float32, ``(n, bands)``, in its thread.

    Results come in the chunks' order, so that sums of them have the same bits every time.
    """
    chunks = [
        (place, [part for part in parts if view.valid[part.target].any()])
        for place, parts in reader.layout.chunks(view.window, reader.lengths)
    ]
    chunks = [(place, parts) for place, parts in chunks if parts]

    def take(number: int, chunk: np.ndarray) -> list[T]:
        return [
            # a chunk is (longitude, latitude, band)
            work(part, part.of(chunk).transpose(1, 0, 2)[view.valid[part.target]])
            for part in chunks[number][1]
        ]

    for found in reader.map_chunks([place for place, _ in chunks], take):
        yield from found
