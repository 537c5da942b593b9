"""From a plan to its answer: the chunks under its cells, put into a grid or pooled into one vector."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from cop_zarr.core.grid import Window
from cop_zarr.core.lru_cache import ENTRY_BYTES
from cop_zarr.core.reducers import REDUCERS, Partial, Reducer, nbytes, quiet
from cop_zarr.errors import ResultTooLargeError
from cop_zarr.format.chunk_grid import ChunkPart
from cop_zarr.format.chunk_reader import ChunkIndex, ChunkReader
from cop_zarr.querying.options import CheckedOptions, Output
from cop_zarr.querying.plan import Plan
from cop_zarr.querying.pool_parts import effective_weights, empty_weight, pool_part, with_weight


def data(
    reader: ChunkReader, plan: Plan, options: CheckedOptions, output: Output, mask: np.ndarray | None
) -> np.ndarray:
    """Read what a plan asks for.

    Parameters
    ----------
    mask : ndarray or None
        The store's mask of cells with data, for ``empty="skip"``; None where none has.

    Returns
    -------
    ndarray
        As :attr:`Embedding.data`.
    """
    if output == "grid":
        return grid(reader, plan.window)
    return pooled(reader, plan.window, options.pooling, effective_weights(plan, options, mask))


@quiet
def pooled(reader: ChunkReader, window: Window, pooling: str, weights: np.ndarray | None) -> np.ndarray:
    """Pool a window's cells, chunk by chunk, in memory that does not depend on the window's size.

    Parameters
    ----------
    weights : ndarray or None
        float64, the window's shape; a chunk without any weight is not read. None: every cell counts once.

    Returns
    -------
    ndarray
        float32, shape ``(bands,)``; NaN if no cell has any weight.
    """
    reducer = REDUCERS[pooling](reader.layout.bands)
    chunks = reader.layout.chunks(window, reader.lengths)
    if weights is None:
        keys = _keys(reader, reducer, window, chunks)
        reducer.add_empty(window.cells - sum(part.cells for _, parts in chunks for part in parts))
    else:
        keys = {}
        counted = ((place, with_weight(parts, weights)) for place, parts in chunks)
        chunks = [(place, parts) for place, parts in counted if parts]
        reducer.add_empty(empty_weight(reader, window, weights))
    known: dict[ChunkIndex, list[Partial]] = {
        place: found for place, key in keys.items() if (found := reader.memory.get(key)) is not None
    }
    unknown = [(place, parts) for place, parts in chunks if place not in known] if known else chunks

    def work(number: int, chunk: np.ndarray) -> list[Partial]:
        place, parts = unknown[number]
        found = [pool_part(reducer, part, chunk, weights) for part in parts]
        if (key := keys.get(place)) is not None:
            reader.memory.put(key, found, sum(map(nbytes, found)) + ENTRY_BYTES)
        return found

    read = reader.map_chunks([place for place, _ in unknown], work)
    for place, _ in chunks:
        for partial in known.get(place) or next(read):
            reducer.merge(partial)
    return reducer.result()


def _keys(
    reader: ChunkReader, reducer: Reducer, window: Window, chunks: list[tuple[ChunkIndex, list[ChunkPart]]]
) -> dict[ChunkIndex, Hashable]:
    """By what names to keep what those chunks are pooled to that are pooled whole."""
    size = reader.layout.chunk_cells
    if min(window.shape) < size or not reader.memory.capacity:
        return {}
    whole = [place for place, parts in chunks if len(parts) == 1 and parts[0].cells == size**2]
    return {place: (reducer.kind, *place) for place in whole}


def check_grid_size(window: Window, bands: int, max_bytes: int) -> None:
    """Refuse a grid of more than so many bytes."""
    rows, cols = window.shape
    size = rows * cols * bands * 4
    if size > max_bytes:
        raise ResultTooLargeError(
            f"a grid of {bands} x {rows} x {cols} float32 numbers takes {size:,} bytes, more than "
            f"max_bytes={max_bytes:,}; ask for a smaller region, for output='pooled', which is never "
            "limited, or allow more"
        )


def grid(reader: ChunkReader, window: Window) -> np.ndarray:
    """Read a window's cells: float32, shape ``(bands, rows, cols)``, north up."""
    out = np.zeros((*window.shape, reader.layout.bands), "f4")
    chunks = reader.layout.chunks(window, reader.lengths)

    def work(number: int, chunk: np.ndarray) -> None:
        for part in chunks[number][1]:
            out[part.target] = part.of(chunk).transpose(1, 0, 2)

    for _ in reader.map_chunks([place for place, _ in chunks], work):
        pass
    return np.moveaxis(out, -1, 0)
