"""Principal components of embeddings, computed chunk by chunk, and the colours made of them.

The cells are read twice: for their covariance, then for their scores. Memory holds a covariance matrix
(4.7 MB for 768 bands), a few thousand cells, and three numbers a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from cop_zarr.core.reducers import quiet
from cop_zarr.format.chunk_grid import ChunkPart
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.outputs.plotting.extent import Extent

T = TypeVar("T")

CHANNELS = 3
"""Red, green, blue."""

PERCENTILES = (2.0, 98.0)
"""Scores outside these are clipped, so that a few outliers do not take all the contrast."""

BATCH_CELLS = 2048
"""Cells multiplied at a time; larger batches are no faster."""

MIN_VARIANCE = 2e-6
"""Variance, relative to the largest, below which a component may be rounding: products of float32 numbers
were off by at most 4e-7 of it (batches of 768 bands of equal and of very different variance). They take a
third of the time of float64 products, which is most of the time of a plot of the globe."""


@dataclass(frozen=True)
class PrincipalComponents:
    """The first principal components of some cells."""

    mean: np.ndarray
    """float64, ``(bands,)``."""

    axes: np.ndarray
    """float64, ``(3, bands)``: unit vectors, largest variance first. The element of largest magnitude is
    positive, so that a store always gets the same colours. 0 where there are fewer components."""

    shares: np.ndarray
    """float64, ``(3,)``: fraction of the variance along each axis."""

    cells: int


def fit_pca(reader: ChunkReader, extent: Extent, advance: Callable[[int], None]) -> PrincipalComponents:
    """Compute the principal components of an extent's cells with data; each cell counts once.

    Cells with a value that is not finite are left out. ``advance`` is called with the number of cells done
    since the last call.
    """
    bands = reader.layout.bands
    shift, total, squares, count = np.zeros(bands), np.zeros(bands), np.zeros((bands, bands)), 0
    for batch in _batches(reader, extent, advance):
        if not count:
            shift = batch.mean(axis=0)  # near the mean, so that differences of large squares lose nothing
        cells = batch - shift
        total += cells.sum(axis=0)
        squares += _products(cells)
        count += len(cells)
    offset = total / max(count, 1)
    covariance = squares / max(count, 1) - np.outer(offset, offset)
    return _from_covariance(shift + offset, covariance, count)


def _products(cells: np.ndarray) -> np.ndarray:
    """Sum the products of each two bands over cells: float64, ``(bands, bands)``."""
    scale = np.abs(cells).max() or 1.0  # products of large float32 values would overflow
    small = (cells / scale).astype("f4")
    return np.asarray(scale**2 * (small.T @ small).astype("f8"))


def _from_covariance(mean: np.ndarray, covariance: np.ndarray, count: int) -> PrincipalComponents:
    variances, vectors = np.linalg.eigh(covariance)
    largest = np.argsort(variances)[::-1][:CHANNELS]
    kept = largest[variances[largest] > MIN_VARIANCE * np.abs(variances).max()]
    axes, shares = np.zeros((CHANNELS, mean.size)), np.zeros(CHANNELS)
    axes[: kept.size] = vectors[:, kept].T
    shares[: kept.size] = variances[kept] / np.trace(covariance) if kept.size else 0.0
    peaks = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return PrincipalComponents(mean, axes * np.where(peaks < 0, -1.0, 1.0), shares, count)


@quiet
def scores(
    reader: ChunkReader, extent: Extent, pca: PrincipalComponents, advance: Callable[[int], None]
) -> np.ndarray:
    """Project an extent's cells onto the components: float64, ``(rows, cols, 3)``.

    NaN for cells without data or with a value that is not finite.
    """
    out = np.full((*extent.window.shape, CHANNELS), np.nan)

    def project(part: ChunkPart, cells: np.ndarray) -> int:
        out[part.target][extent.valid[part.target]] = (cells - pca.mean) @ pca.axes.T
        return len(cells)

    for done in _map_parts(reader, extent, project):
        advance(done)
    out[~np.isfinite(out).all(axis=-1)] = np.nan
    return out


def scores_to_rgba(values: np.ndarray) -> np.ndarray:
    """Convert scores to colours, each component scaled by its own percentiles: uint8, ``(rows, cols, 4)``.

    NaN becomes transparent black, and a component that is the same in all cells 128.
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


def _batches(reader: ChunkReader, extent: Extent, advance: Callable[[int], None]) -> Iterator[np.ndarray]:
    """Batches of cells with data, all values finite: float64, ``(n, bands)``."""
    pending: list[np.ndarray] = []
    for cells in _map_parts(reader, extent, lambda _, cells: cells):
        advance(len(cells))
        pending.append(cells)
        if sum(map(len, pending)) >= BATCH_CELLS:
            yield from _finite(pending)
            pending = []
    yield from _finite(pending)


def _finite(pending: list[np.ndarray]) -> Iterator[np.ndarray]:
    """The finite cells as one array, if there are any."""
    cells = np.concatenate(pending or [np.empty((0, 1))], dtype="f8")
    cells = cells[np.isfinite(cells).all(axis=1)]
    if len(cells):
        yield cells


def _map_parts(
    reader: ChunkReader, extent: Extent, fn: Callable[[ChunkPart, np.ndarray], T]
) -> Iterator[T]:
    """Apply a function to the cells with data of each chunk, float32, ``(n, bands)``, in several threads.

    Results come in the order of the chunks, so that sums of them are the same to the last bit.
    """
    chunks = [
        (chunk, [part for part in parts if extent.valid[part.target].any()])
        for chunk, parts in reader.layout.chunks(extent.window, reader.lengths)
    ]
    chunks = [(chunk, parts) for chunk, parts in chunks if parts]

    def read_parts(number: int, cells: np.ndarray) -> list[T]:
        return [
            # a chunk is (longitude, latitude, band)
            fn(part, part.of(cells).transpose(1, 0, 2)[extent.valid[part.target]])
            for part in chunks[number][1]
        ]

    for results in reader.map_chunks([chunk for chunk, _ in chunks], read_parts):
        yield from results
