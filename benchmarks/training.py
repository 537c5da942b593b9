"""How many items a second a training loop gets: the table of ``docs/training.md``.

``python -m benchmarks.training --store STORE``. Points lie in random cells with data, boxes are of 1° and
begin there. All rows answer the same items, shuffled anew in each epoch, and take turns; the first epoch is
not timed.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

import cop_zarr
from benchmarks.timings import in_turn, markdown
from cop_zarr.interop.torch import PointDataset, RegionDataset


def main() -> None:
    """Ask for points, then for boxes, and print."""
    parser = argparse.ArgumentParser("python -m benchmarks.training", description=__doc__)
    parser.add_argument("--store", required=True, help="a store of the whole globe")
    parser.add_argument("--items", type=int, default=2560, help="points, and boxes (default 2560)")
    parser.add_argument("--batch", type=int, default=256, help="items of a batch (default 256)")
    parser.add_argument("--rounds", type=int, default=3, help="epochs that are timed (default 3)")
    options = parser.parse_args()
    store = cop_zarr.open(options.store)
    rows, cols = np.nonzero(store.valid[8:, :-8])  # 2° from the edges
    chosen = np.random.default_rng(7).choice(rows.size, options.items)
    lon, lat = -180 + 0.25 * cols[chosen], 90 - 0.25 * (rows[chosen] + 8)
    boxes = np.stack([lon, lat, lon + 1, lat + 1], axis=1)
    found = [
        in_turn(epochs(options.store, ask, dataset, options.items, options.batch), options.rounds)
        for ask, dataset in (
            (lambda i: store.sample(lon[i], lat[i]), lambda place: PointDataset(place, lon, lat)),
            (lambda i: store.query_many(boxes[i]), lambda place: RegionDataset(place, boxes)),
        )
    ]
    print(f"{options.items:,} items in batches of {options.batch}, PyTorch {torch.__version__}\n")
    table = [("items a second", "points", "boxes of 1°")]
    table += [(name, *(f"{options.items / one[name].median:,.0f}" for one in found)) for name in found[0]]
    print(markdown(table))


def epochs(
    place: str,
    ask: Callable[[np.ndarray], np.ndarray],
    dataset: Callable[[Any], Any],
    count: int,
    batch: int,
) -> dict[str, Callable[[], object]]:
    """The rows of the table: what runs an epoch of each."""

    def in_batches() -> None:
        for chosen in np.array_split(torch.randperm(count).numpy(), -(-count // batch)):
            ask(chosen)

    def loaded(dataset: Any, workers: int = 0) -> Callable[[], object]:
        loader = DataLoader(
            dataset, batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0
        )
        return lambda: deque(loader, maxlen=0)  # asks for all batches

    in_memory = TensorDataset(torch.from_numpy(np.asarray(ask(np.arange(count)))))
    return {
        "the store asked in batches, no DataLoader": in_batches,
        "DataLoader, no workers": loaded(dataset(place)),
        "DataLoader, 2 workers": loaded(dataset(place), 2),
        "the same, two threads each": loaded(dataset(cop_zarr.open(place, workers=2)), 2),
        "the store asked once for all": lambda: ask(np.arange(count)),
        "DataLoader, vectors in memory (`TensorDataset`)": loaded(in_memory),
    }


if __name__ == "__main__":
    main()
