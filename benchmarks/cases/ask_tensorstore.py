"""Ask TensorStore, on cop-zarr's store, see ``asking.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorstore as ts
from asking import Box, Case, always, boxes, cells, serve, setting, window

SETTING = setting()
PLACES = np.load(SETTING["places"])
FILE = {"driver": "file", "path": SETTING["store"] + "/embedding/"}
HTTP = {"driver": "http", "base_url": SETTING["far"] + "/embedding/"}
CACHE_BYTES = 256 << 20
"""As much as cop-zarr keeps by default."""

MOST_POINTS = 100_000
"""More take more than a minute."""

AT_ONCE = 256
"""Regions that are under way at the same time."""


def opened(kvstore: dict[str, str], cache_bytes: int) -> ts.TensorStore:
    """Open the array of vectors."""
    return ts.open(
        {
            "driver": "zarr3",
            "kvstore": kvstore,
            "context": {"cache_pool": {"total_bytes_limit": cache_bytes}},
            "recheck_cached_data": False,
        },
        read=True,
    ).result()


def grid(array: ts.TensorStore) -> Callable[[Box], np.ndarray]:
    """Ask for every cell."""
    return lambda box: array[:, *window(box)].read().result()


def pooled(array: ts.TensorStore) -> Callable[[Box], np.ndarray]:
    """Ask for the mean."""
    return lambda box: array[:, *window(box)].read().result().mean(axis=(1, 2))


def sample(points: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Ask for the vectors of points, by its vectorised indexing."""
    rows, cols = cells(*points)
    return opened(FILE, CACHE_BYTES)[:, rows, cols].read().result().T


def many(regions: list[Box]) -> np.ndarray:
    """Ask for many means, some hundred regions at once."""
    array = opened(FILE, CACHE_BYTES)
    out = np.empty((len(regions), array.shape[0]), "f4")
    for first in range(0, len(regions), AT_ONCE):
        reads = [array[:, *window(box)].read() for box in regions[first : first + AT_ONCE]]
        for number, read in enumerate(reads, first):
            out[number] = read.result().mean(axis=(1, 2))
    return out


def case(name: str) -> Case | None:
    """The case of a name."""
    group, _, what = name.partition("/")
    if group == "remote":
        return far(what)
    if group == "boxes":
        return always(many, [boxes(PLACES, "boxes")[: int(what)]])
    if group == "points":
        some = (PLACES["lon"][: int(what)], PLACES["lat"][: int(what)])
        return always(sample, [some]) if int(what) <= MOST_POINTS else None
    make: dict[str, tuple[Any, int]] = {
        "warm": (pooled, CACHE_BYTES),
        "warm-grid": (grid, CACHE_BYTES),
        "uncached": (pooled, 0),
        "growth": (pooled, 0),
        "grid": (grid, 0),
    }
    if group not in make:
        return None
    if name == "warm/globe":  # far more than the cache holds: that is "uncached/globe"
        return None
    ask, cache_bytes = make[group]
    where = boxes(PLACES, f"side-{what}" if group == "growth" else what)
    moving = what if group.startswith("warm") else ""
    return always(ask(opened(FILE, cache_bytes)), where, moving=moving)


def far(what: str) -> Case:
    """A case over the network: opening alone, or the mean, from a store opened anew."""
    if what == "open":
        return always(lambda kvstore: opened(kvstore, 0), [HTTP])
    return Case(boxes(PLACES, f"far-{what}"), lambda: pooled(opened(HTTP, 0)))


serve(case)
