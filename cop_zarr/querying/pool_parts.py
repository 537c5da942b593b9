"""Pooling of the parts of a window that are in one chunk, with the weights of its cells."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cop_zarr.core.grid import Window, cut_window
from cop_zarr.core.reducers import Partial, Reducer
from cop_zarr.format.chunk_grid import ChunkPart
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.querying.options import CheckedOptions
from cop_zarr.querying.plan import Plan


def effective_weights(plan: Plan, options: CheckedOptions, mask: np.ndarray | None) -> np.ndarray | None:
    """The weights of a plan's cells once those without data are known; None if each counts once."""
    if options.empty == "include":
        return plan.weights
    valid = np.zeros(plan.window.shape) if mask is None else cut_window(mask, plan.window).astype("f8")
    return valid if plan.weights is None else plan.weights * valid


def with_weight(parts: Iterable[ChunkPart], weights: np.ndarray | None) -> list[ChunkPart]:
    """The parts of a window in which a cell has any weight."""
    return [part for part in parts if weights is None or weights[part.target].any()]


def empty_weight(reader: ChunkReader, window: Window, weights: np.ndarray) -> float:
    """Weight of the cells in chunks without data."""
    empty = reader.layout.chunks(window, reader.lengths == 0)
    return sum(float(weights[part.target].sum()) for _, parts in empty for part in parts)


def pool_part(reducer: Reducer, part: ChunkPart, chunk: np.ndarray, weights: np.ndarray | None) -> Partial:
    """Pool the part of a window that is in one chunk; ``weights`` are the window's, not all 0 there."""
    if weights is None:
        return reducer.pool(part.of(chunk))
    cells, weight = part.of(chunk), weights[part.target].T  # cells are (longitude, latitude, band)
    counts = weight > 0
    if counts.all():
        return reducer.pool(cells, weight)
    return reducer.pool(cells[counts], weight[counts])  # a cell outside must not count even if it is NaN
