"""How many items a second a training loop gets: ``python -m benchmarks.training --store STORE``.

Prints the Markdown table of ``docs/training.md``. Points lie in random cells with data, boxes are of 1° and
begin there. All rows answer the same items, shuffled anew each epoch; they take turns, and a figure is the
median of the rounds. One untimed epoch comes first: it starts the workers and fills what memory holds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

import cop_zarr
from cop_zarr.interop.torch import PointDataset, RegionDataset

SEED = 7

Epoch = Callable[[], Iterable[Any]]
"""Begins an epoch, and gives its batches."""


def main() -> None:
    """Ask for points, then for boxes, and print."""
    parser = argparse.ArgumentParser("python -m benchmarks.training", description=__doc__)
    parser.add_argument(
        "--store", type=Path, required=True, help="a store of the stand-in, or the real one"
    )
    parser.add_argument("--items", type=int, default=2560, help="points, and boxes (default 2560)")
    parser.add_argument("--batch", type=int, default=256, help="items of a batch (default 256)")
    parser.add_argument("--rounds", type=int, default=3, help="epochs that are timed (default 3)")
    options = parser.parse_args()
    lon, lat = land_points(cop_zarr.open(options.store), options.items)
    points = rates(points_epochs(options.store, lon, lat, options.batch), options)
    boxes = np.stack([lon, lat, lon + 1, lat + 1], axis=1)
    regions = rates(boxes_epochs(options.store, boxes, options.batch), options)
    print(f"{options.items:,} items in batches of {options.batch}, PyTorch {torch.__version__}\n")
    print("| items a second | points | boxes of 1° |\n| --- | ---: | ---: |")
    for name, rate in points.items():
        print(f"| {name} | {rate:,.0f} | {regions[name]:,.0f} |")


def land_points(store: cop_zarr.Store, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Longitudes and latitudes of random cells with data; none so near an edge that its box ends beyond."""
    rows, cols = np.nonzero(store.valid[8:, :-8])
    chosen = np.random.default_rng(SEED).choice(rows.size, count)
    return -180 + 0.25 * cols[chosen], 90 - 0.25 * (rows[chosen] + 8)


def points_epochs(place: Path, lon: np.ndarray, lat: np.ndarray, batch: int) -> dict[str, Epoch]:
    """Every way to get the vectors of points."""
    store = cop_zarr.open(place)

    def ask(chosen: np.ndarray) -> np.ndarray:
        return np.asarray(store.sample(lon[chosen], lat[chosen]))

    return epochs(ask, lambda store: PointDataset(store, lon, lat), place, lon.size, batch)


def boxes_epochs(place: Path, boxes: np.ndarray, batch: int) -> dict[str, Epoch]:
    """Every way to get the vectors of boxes."""
    store = cop_zarr.open(place)

    def ask(chosen: np.ndarray) -> np.ndarray:
        return np.asarray(store.query_many(boxes[chosen]))

    return epochs(ask, lambda store: RegionDataset(store, boxes), place, len(boxes), batch)


def epochs(
    ask: Callable[[np.ndarray], np.ndarray],
    dataset: Callable[[Any], Any],
    place: Path,
    count: int,
    batch: int,
) -> dict[str, Epoch]:
    """The rows of the table, by name."""

    def in_batches() -> Iterator[np.ndarray]:
        order = torch.randperm(count).numpy()
        return (ask(order[first : first + batch]) for first in range(0, count, batch))

    def loader(dataset: Any, workers: int = 0) -> DataLoader[Any]:
        return DataLoader(dataset, batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0)

    in_memory = TensorDataset(torch.from_numpy(ask(np.arange(count))))
    ways: dict[str, Epoch] = {
        "the store asked in batches, no DataLoader": in_batches,
        "DataLoader, no workers": loader(dataset(place)).__iter__,
        "DataLoader, 2 workers": loader(dataset(place), 2).__iter__,
        "the same, two threads each": loader(dataset(cop_zarr.open(place, workers=2)), 2).__iter__,
        "the store asked once for all": lambda: [ask(np.arange(count))],
        "DataLoader, vectors in memory (`TensorDataset`)": loader(in_memory).__iter__,
    }
    return ways


def rates(ways: dict[str, Epoch], options: argparse.Namespace) -> dict[str, float]:
    """Items a second of each way: the median of the rounds, in each of which all take a turn."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.rounds + 1):
        for name, begin in ways.items():
            started = time.perf_counter()
            for _ in begin():
                pass
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: options.items / statistics.median(taken) for name, taken in seconds.items()}


if __name__ == "__main__":
    main()
