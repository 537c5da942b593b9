"""How cost grows with what is asked, and what a cluster adds: the table of ``docs/scaling.md``.

``python -m benchmarks.scaling --store STORE`` takes less than a minute on a store of the published size.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from distributed import Client, LocalCluster

import cop_zarr
from benchmarks.timings import in_turn, markdown

ROUNDS = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser("python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--store", required=True, help="a store of the whole globe")
    url = parser.parse_args().store
    rows = [("what", "how many", "seconds", "each")]

    def measure(what: str, count: int, work: Callable[[], object]) -> None:
        seconds = in_turn({what: work}, ROUNDS)[what].median
        rows.append((what, f"{count:,}", f"{seconds:.3f}", f"{1e6 * seconds / count:,.0f} µs"))

    def opened() -> cop_zarr.Store:
        return cop_zarr.open(url, cache_bytes=0)

    for count in (1_000, 10_000, 100_000):
        rng = np.random.default_rng(count)
        lon, lat = rng.uniform(-180, 180, count), np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
        measure("points, from opening on", count, lambda at=(lon, lat): opened().sample(*at))
    for count in (1_000, 10_000, 50_000):
        regions = boxes(count, 1)
        measure("boxes of 1°, from opening on", count, lambda asked=regions: opened().query_many(asked))
    store = opened()
    for side_deg in (0.25, 1, 4, 16, 64):
        regions = boxes(10, side_deg)
        work = lambda asked=regions: [store.query(box) for box in asked]  # noqa: E731
        measure(f"boxes of {side_deg:g}°, nothing kept", len(regions), work)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        for count in (1, 50_000):
            regions = boxes(count, 1)
            work = lambda asked=regions: store.query_many(asked, client=client)  # noqa: E731
            measure("boxes of 1°, 2 worker processes", count, work)
    print(markdown(rows))


def boxes(count: int, side_deg: float) -> list[tuple[float, ...]]:
    """Boxes all over the globe between 70° S and 70° N."""
    rng = np.random.default_rng(count)
    west = rng.uniform(-180, 180 - side_deg, count)
    south = rng.uniform(-70, 70 - side_deg, count)
    return list(map(tuple, np.stack([west, south, west + side_deg, south + side_deg], axis=1).tolist()))


if __name__ == "__main__":
    main()
