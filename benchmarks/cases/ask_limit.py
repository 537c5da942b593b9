"""Do what cannot be left out, and no more, see ``asking.py``.

Where nothing is cached: read the chunk objects under a region and decode each into a buffer that is used
again, on as many threads as cop-zarr takes. ``bandwidth/N``: copy an array of N bytes.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from asking import Box, Case, always, boxes, cells, serve, setting, window
from numcodecs import blosc

blosc.use_threads = False  # Blosc's own; chunks are spread over threads instead

SETTING = setting()
PLACES = np.load(SETTING["places"])
CHUNK, CHUNK_BYTES = 8, 768 * 8 * 8 * 4
THREADS = 4
SPREAD = 16
"""From so many chunks on, threads help."""

POOL = ThreadPoolExecutor(THREADS)
LOCAL = threading.local()
Objects = list[tuple[str, int]]


def decode(item: tuple[str, int]) -> None:
    """Read one object and decode it."""
    path, size = item
    if not hasattr(LOCAL, "buffer"):
        LOCAL.buffer = np.empty(CHUNK_BYTES, "u1")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        blosc.decompress(os.read(descriptor, size), LOCAL.buffer)
    finally:
        os.close(descriptor)


def decode_all(items: Objects) -> None:
    """Read and decode objects, spread over threads if they are many."""
    if len(items) < SPREAD:
        for item in items:
            decode(item)
        return
    parts = [items[first::THREADS] for first in range(THREADS)]
    list(POOL.map(lambda part: [decode(item) for item in part], parts))


def objects(chunks: Iterable[tuple[int, int]]) -> Objects:
    """Paths and sizes of those chunks that have an object, each once."""
    found = []
    for row, col in sorted(set(chunks)):
        path = f"{SETTING['store']}/embedding/c/0/{row}/{col}"
        if os.path.exists(path):  # noqa: PTH110  # a million times
            found.append((path, os.path.getsize(path)))  # noqa: PTH202  # as above
    return found


def under(regions: list[Box]) -> Iterable[tuple[int, int]]:
    """The chunks under boxes."""
    for box in regions:
        rows, cols = (range(side.start // CHUNK, (side.stop - 1) // CHUNK + 1) for side in window(box))
        yield from itertools.product(rows, cols)


def case(name: str) -> Case | None:
    """The case of a name."""
    group, _, what = name.partition("/")
    if group == "bandwidth":
        source, target = np.ones(int(what), "u1"), np.zeros(int(what), "u1")
        return always(lambda pair: np.copyto(*pair), [(target, source)])
    if group == "points":
        rows, cols = (
            side // CHUNK for side in cells(PLACES["lon"][: int(what)], PLACES["lat"][: int(what)])
        )
        return always(decode_all, [objects(zip(rows.tolist(), cols.tolist(), strict=True))])
    if group == "boxes":
        return always(decode_all, [objects(under(boxes(PLACES, "boxes")[: int(what)]))])
    if group in {"uncached", "grid", "growth"}:
        where = boxes(PLACES, f"side-{what}" if group == "growth" else what)
        return always(decode_all, [objects(under([box])) for box in where])
    return None


serve(case)
