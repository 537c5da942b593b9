"""Process a source or a store block by block, several blocks at once, within the memory allowed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cop_zarr.core import settings
from cop_zarr.core.grid import Window
from cop_zarr.core.progress import Progress
from cop_zarr.core.threads import ordered_map
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.source.geotiff import Block, GeoTiff
from cop_zarr.storage import REQUESTS_AT_ONCE, Folder
from cop_zarr.writing.options import Run

BASE_BYTES = 160 << 20
"""Memory of everything but the blocks at work. A 16-band ingest peaks at 75 MB in all; the rest is room for
what the allocator keeps."""

OBJECTS_BYTES = 64 << 20
"""Memory for the objects that are read or written at once."""

AnyWindow = TypeVar("AnyWindow", bound=Window)
R = TypeVar("R")


@dataclass(frozen=True)
class BlockPlan:
    """The blocks of a source, how many of them may be at work at once, and the memory that takes."""

    blocks: list[Block]
    workers: int
    memory_bytes: int


def cpu_workers(workers: int | None) -> int:
    """Threads for work that keeps a processor busy: as many as asked for, and as there are processors."""
    return min(settings.workers(workers), os.cpu_count() or 1)


def requests_at_once(folder: Folder, layout: Layout, workers: int) -> int:
    """Objects that each of some threads reads or writes at once, in memory of a bounded size for all."""
    if not folder.remote:
        return 1
    object_bytes = layout.chunk_bytes * layout.shard_chunks**2
    return max(1, min(REQUESTS_AT_ONCE, OBJECTS_BYTES // object_bytes) // workers)


def plan_blocks(tiff: GeoTiff, layout: Layout, run: Run) -> BlockPlan:
    """Cut a source into blocks whose edges are edges of the layout's objects.

    Raises MemoryLimitError if not even one block fits into ``run.memory`` bytes.
    """
    blocks = tiff.blocks(layout.object_cells, run.memory, reserve=BASE_BYTES)
    largest = max(map(tiff.block_memory, blocks))
    workers = min(cpu_workers(run.workers), len(blocks), (run.memory - BASE_BYTES) // largest)
    return BlockPlan(blocks, workers, BASE_BYTES + workers * largest)


def map_blocks(
    fn: Callable[[AnyWindow], R],
    windows: Sequence[AnyWindow],
    layout: Layout,
    *,
    workers: int,
    progress: Progress | None,
) -> Iterator[R]:
    """Apply a function to windows in several threads, and yield the results in order.

    Results should be small, as some wait for their turn. ``progress`` is called in this thread with the
    decoded bytes of the windows done, and of the whole grid. When the loop over the results ends early,
    windows at work are waited for.
    """
    cell_bytes, done = layout.bands * 4, 0
    for window, result in zip(windows, ordered_map(fn, windows, workers=workers), strict=True):
        yield result
        done += window.cells
        if progress:
            progress(done * cell_bytes, layout.grid.whole.cells * cell_bytes)
