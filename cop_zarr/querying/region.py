"""The answer to a plan: the cells of its window as a grid, or pooled into one vector."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cop_zarr.core.grid import Window
from cop_zarr.core.lru_cache import ENTRY_BYTES
from cop_zarr.core.reducers import REDUCERS, Partial, Reducer, nbytes, quiet
from cop_zarr.core.threads import Background
from cop_zarr.errors import ResultTooLargeError
from cop_zarr.format.chunk_grid import ChunkIndex, ChunkPart
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.querying.options import CheckedOptions, Output
from cop_zarr.querying.plan import Plan
from cop_zarr.querying.pool_parts import effective_weights, empty_weight, pool_part, with_weight
from cop_zarr.querying.valid_mask import ValidMask

ChunkParts = list[tuple[ChunkIndex, list[ChunkPart]]]


def answer(
    reader: ChunkReader, valid: ValidMask, plan: Plan, options: CheckedOptions, output: Output
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read what answers a query: the data of an Embedding, and the mask of cells with data.

    The mask is None where no chunk of the window has data: then nothing is read. Over a network, a first
    query reads the mask and its chunks at the same time, if there is a worker for each chunk.
    """
    if valid.in_memory:
        mask = valid.read()
        return _read(reader, plan, options, output, mask), mask
    chunks = reader.layout.chunks(plan.window, reader.lengths)
    if not chunks:
        return _read(reader, plan, options, output, None), None
    if reader.folder.remote and options.empty == "include" and len(chunks) <= reader.workers:
        reading = Background(valid.read)
        try:
            return _read(reader, plan, options, output, None), reading.result()
        finally:
            reading.close()
    return _read(reader, plan, options, output, valid.read()), valid.read()


def _read(
    reader: ChunkReader, plan: Plan, options: CheckedOptions, output: Output, mask: np.ndarray | None
) -> np.ndarray:
    if output == "grid":
        return read_grid(reader, plan.window)
    return pool(reader, plan.window, options.pooling, effective_weights(plan, options, mask))


@quiet
def pool(reader: ChunkReader, window: Window, pooling: str, weights: np.ndarray | None) -> np.ndarray:
    """Pool a window's cells to float32 ``(bands,)``, chunk by chunk; NaN if no cell has any weight.

    A chunk without any weight is not read. Memory does not depend on the window's size.
    """
    reducer = REDUCERS[pooling](reader.layout.bands)
    reader = reader.for_quick_work()
    chunks = reader.layout.chunks(window, reader.lengths)
    if weights is None:
        reducer.add_empty(window.cells - sum([part.cells for _, parts in chunks for part in parts]))
    else:
        weighted = ((index, with_weight(parts, weights)) for index, parts in chunks)
        chunks = [(index, parts) for index, parts in weighted if parts]
        reducer.add_empty(empty_weight(reader, window, weights))
    for partials in _pool_chunks(reader, reducer, chunks, weights):
        for partial in partials:
            reducer.merge(partial)
    return reducer.result()


def _pool_chunks(
    reader: ChunkReader, reducer: Reducer, chunks: ChunkParts, weights: np.ndarray | None
) -> Iterator[list[Partial]]:
    """Pool the parts of each chunk, in order; what whole chunks were pooled to is cached."""
    memory, kind, whole = reader.memory, reducer.kind, reader.layout.chunk_cells**2
    keeps_totals = weights is None and memory.capacity > 0
    cached: dict[ChunkIndex, list[Partial]] = {}
    if keeps_totals:
        for index, parts in chunks:
            if parts[0].cells == whole and (partials := memory.get((kind, *index))) is not None:
                cached[index] = partials
    uncached = [chunk for chunk in chunks if chunk[0] not in cached] if cached else chunks

    def pool_chunk(position: int, chunk: np.ndarray) -> list[Partial]:
        index, parts = uncached[position]
        partials = [pool_part(reducer, part, chunk, weights) for part in parts]
        if keeps_totals and parts[0].cells == whole:
            memory.put((kind, *index), partials, sum(map(nbytes, partials)) + ENTRY_BYTES)
        return partials

    pooled = reader.map_chunks([index for index, _ in uncached], pool_chunk)
    for index, _ in chunks:
        yield cached.get(index) or next(pooled)


def check_grid_size(window: Window, bands: int, max_bytes: int) -> None:
    """Refuse a grid of more than ``max_bytes``."""
    rows, cols = window.shape
    size = rows * cols * bands * 4
    if size > max_bytes:
        raise ResultTooLargeError(
            f"a grid of {bands} x {rows} x {cols} float32 numbers takes {size:,} bytes, more than "
            f"max_bytes={max_bytes:,}; ask for a smaller region, for output='pooled', which is never "
            "limited, or allow more"
        )


def read_grid(reader: ChunkReader, window: Window) -> np.ndarray:
    """Read a window's cells: float32, shape ``(bands, rows, cols)``, north up."""
    out = np.zeros((*window.shape, reader.layout.bands), "f4")
    chunks = reader.layout.chunks(window, reader.lengths)

    def copy_parts(position: int, chunk: np.ndarray) -> None:
        for part in chunks[position][1]:
            out[part.target] = part.of(chunk).transpose(1, 0, 2)

    for _ in reader.map_chunks([index for index, _ in chunks], copy_parts):
        pass
    return np.moveaxis(out, -1, 0)
