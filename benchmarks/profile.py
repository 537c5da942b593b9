"""Where the time of a query goes: ``python -m benchmarks.profile --store STORE``.

Asks many boxes under Python's profiler in one thread, and prints each step's share as a Markdown table.
The profiler makes Python code look slower than it is, and leaves compiled code as it is: shares are what to
look at, and the microseconds beside them were measured without it.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import random
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cop_zarr

STEPS = {
    "decode": ("blosc", "codec.py"),
    "read": ("posix.", "local.py"),
    "CRC-32C": ("crc32c",),
    "sum cells": ("reduce", "pooling.py"),
    "plan": ("plans.py", "regions", "grid.py", "math."),
    "cut and look up": ("layout.py", "memory.py", "chunks.py", "threads.py"),
}
"""Steps, by what their functions' names or files contain; what is left is "the rest"."""

Box = tuple[float, float, float, float]


def boxes(count: int, degrees: float) -> list[Box]:
    """Boxes on the continents, no two alike."""
    draw = random.Random(5)  # noqa: S311  # nothing secret about it
    corners = ((draw.uniform(20, 120), draw.uniform(25, 60)) for _ in range(count))
    return [(lon, lat, lon + degrees, lat + degrees) for lon, lat in corners]


def median_us(store: cop_zarr.Store, asked: Sequence[Box]) -> float:
    """Median microseconds of a query."""
    seconds = []
    for box in asked:
        begin = time.perf_counter()
        store.query(box)
        seconds.append(time.perf_counter() - begin)
    return 1e6 * statistics.median(seconds)


def shares(store: cop_zarr.Store, asked: Sequence[Box]) -> Counter[str]:
    """What part of the time each step takes."""
    profiler = cProfile.Profile()
    profiler.enable()
    for box in asked:
        store.query(box)
    profiler.disable()
    found: Counter[str] = Counter()
    for (file, _, name), (_, _, own, *_) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        text = f"{Path(file).parent.name}/{Path(file).name} {name}"
        step = next(
            (step for step, marks in STEPS.items() if any(mark in text for mark in marks)), "the rest"
        )
        found[step] += own
    return found


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    options = parser.parse_args()
    kept = cop_zarr.open(options.store, workers=1, cache_bytes=4 << 30)
    none = cop_zarr.open(options.store, workers=1, cache_bytes=0)
    near = boxes(400, 2)
    for west, south, east, north in near:  # chunks are in memory then, and vectors of other boxes
        kept.query((west - 1, south - 1, east + 1, north + 1), pooling="max")
    cases = {
        "2°, nothing kept": (none, near),
        "2°, chunks in memory": (kept, near),
        "2°, asked before": (kept, near),
        "globe, nothing kept": (none, [(-180.0, -90.0, 180.0, 90.0)] * 3),
    }
    print("| of a query, one thread | µs |", " | ".join(STEPS), "| the rest |")
    print("| --- | ---: |", " | ".join("---:" for _ in STEPS), "| ---: |")
    for name, (store, asked) in cases.items():
        half = len(asked) // 2
        measured = median_us(store, asked[:half])
        found = shares(store, asked[:half] if "before" in name else asked[half:])
        row = (f"{found[step] / found.total():.0%}" for step in (*STEPS, "the rest"))
        print(f"| {name} | {measured:,.0f} |", " | ".join(row), "|")


if __name__ == "__main__":
    main()
