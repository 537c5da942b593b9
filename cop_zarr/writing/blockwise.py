"""Go through all of a source or a store: in pieces, several at once, within the memory allowed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from cop_zarr.core import settings
from cop_zarr.core.grid import Window
from cop_zarr.core.progress import Progress
from cop_zarr.errors import MemoryLimitError
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.source.geotiff import Block, GeoTiff

MEMORY_BYTES = 1 << 30
"""Memory that going through a source may take unless told otherwise: 1 GiB."""

BASE_BYTES = 160 << 20
"""Memory of everything but the blocks at work. A 16-band ingest peaks at 75 MB in all; the rest is room for
what the allocator holds back."""

AnyWindow = TypeVar("AnyWindow", bound=Window)


@dataclass(frozen=True)
class Cut:
    """A source in blocks, how many of them may be at work at once, and the memory that they then take."""

    blocks: list[Block]
    threads: int
    memory_bytes: int


def processors(workers: int | None) -> int:
    """Threads for work that keeps a processor busy: as many as asked for, and as there are processors."""
    return min(settings.workers(workers), os.cpu_count() or 1)


def cut(tiff: GeoTiff, layout: Layout, *, workers: int | None, memory: int) -> Cut:
    """Cut a source into blocks whose edges are the layout's chunk edges.

    Raises
    ------
    MemoryLimitError
        If not even one block fits into ``memory`` bytes.
    """
    if memory <= BASE_BYTES:
        raise MemoryLimitError(
            f"memory must be more than the {BASE_BYTES >> 20} MiB that is taken before anything is read; "
            f"got {memory / 2**20:,.0f} MiB"
        )
    blocks = tiff.blocks(layout.chunk_cells, memory, reserve=BASE_BYTES)
    worst = max(map(tiff.block_memory, blocks))
    threads = min(processors(workers), len(blocks), (memory - BASE_BYTES) // worst)
    return Cut(blocks, threads, BASE_BYTES + threads * worst)


def map_blocks(
    windows: Iterable[AnyWindow],
    work: Callable[[AnyWindow], None],
    layout: Layout,
    *,
    threads: int,
    progress: Progress | None,
) -> None:
    """Do the work on every window, several at once; the first failure stops the others, and is raised.

    ``progress`` is told the decoded bytes of the windows done, and of the whole grid.
    """
    cell_bytes = layout.bands * 4
    done, lock = 0, threading.Lock()

    def take(window: AnyWindow) -> None:
        nonlocal done
        work(window)
        with lock:
            done += window.cells
            if progress:
                progress(done * cell_bytes, layout.grid.whole.cells * cell_bytes)

    with ThreadPoolExecutor(threads, "cop-zarr-work") as pool:
        futures = [pool.submit(take, window) for window in windows]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(cancel_futures=True)
    for future in futures:
        if not future.cancelled():
            future.result()
