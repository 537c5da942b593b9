"""Measure how cost grows with what is asked, and what a cluster adds: the table of ``docs/scaling.md``.

``python -m benchmarks.scaling --store STORE`` takes less than a minute on a store of the published size.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import cop_zarr
from cop_zarr.querying.distributed.cluster import Cluster

POINTS = (1_000, 10_000, 100_000)
BOXES = (1_000, 10_000, 50_000)
SIDES_DEG = (0.25, 1, 4, 16, 64)
ROUNDS = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser("python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--store", required=True, help="a store of the whole globe")
    url = parser.parse_args().store
    begin = time.perf_counter()
    for row in (("what", "how many", "seconds", "each"), *alone(url), *spread(url)):
        print("| " + " | ".join(row) + " |")
    print(f"\n{time.perf_counter() - begin:.0f} s in all")


def alone(url: str) -> Iterator[tuple[str, ...]]:
    """One machine: points, boxes, and boxes of growing size."""
    for count in POINTS:
        lon, lat = places(count)
        yield row("points, from opening on", count, lambda x=lon, y=lat: opened(url).sample(x, y))
    for count in BOXES:
        regions = boxes(count, 1.0)
        yield row("boxes of 1°, from opening on", count, lambda r=regions: opened(url).query_many(r))
    for side in SIDES_DEG:
        store, regions = opened(url), boxes(10, side)
        yield row(
            f"boxes of {side:g}°, nothing kept",
            len(regions),
            lambda s=store, r=regions: [s.query(box) for box in r],
        )


def spread(url: str) -> Iterator[tuple[str, ...]]:
    """A cluster of processes on this machine, beside one process with as many threads."""
    from distributed import Client, LocalCluster  # noqa: PLC0415  # an extra

    store, regions = opened(url), boxes(BOXES[-1], 1.0)
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        for asked in (regions[:1], regions):
            what = "boxes of 1°, 2 worker processes"
            yield row(what, len(asked), lambda some=asked: store.query_many(some, client=client))
        count = 300
        parts = [(number,) for number in range(count)]
        yield row("parts that do nothing", count, lambda: list(Cluster(client).each(abs, parts)))


def row(what: str, count: int, work: Callable[[], Any]) -> tuple[str, ...]:
    """The median of some rounds."""
    seconds = statistics.median(timed(work) for _ in range(ROUNDS))
    return what, f"{count:,}", f"{seconds:.3f}", f"{1e6 * seconds / count:,.0f} µs"


def timed(work: Callable[[], Any]) -> float:
    """Seconds that something takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def opened(url: str) -> cop_zarr.Store:
    """The store, with no chunk in memory."""
    return cop_zarr.open(url, cache_bytes=0)


def places(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points all over the globe."""
    rng = np.random.default_rng(count)
    return rng.uniform(-180, 180, count), np.degrees(np.arcsin(rng.uniform(-1, 1, count)))


def boxes(count: int, side_deg: float) -> list[tuple[float, float, float, float]]:
    """Boxes all over the globe between 70° S and 70° N."""
    rng = np.random.default_rng(count)
    west = rng.uniform(-180, 180 - side_deg, count)
    south = rng.uniform(-70, 70 - side_deg, count)
    edges = np.stack([west, south, west + side_deg, south + side_deg], axis=1)
    return [tuple(box) for box in edges.tolist()]


if __name__ == "__main__":
    main()
