"""What an exact mean over a polygon costs, beside the plain mean of its box.

``python -m benchmarks.regions --store STORE`` asks a store of the full product, or of the stand-in, for
made-up countries: ragged outlines of 10,000 vertices in five sizes. The queries take turns in one process,
the chunks' files in the page cache, nothing decoded kept; a ratio is the median of the turns' ratios.
Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import shapely.geometry

import cop_zarr

VERTICES = 10_000
BAR = 2.0
"""How many times the plain mean of its box a country may cost."""

COUNTRIES = {
    "Switzerland": (8.2, 46.8, 1.3),
    "Great Britain": (-2.5, 54.0, 2.7),
    "France": (2.5, 46.5, 4.0),
    "Algeria": (2.6, 28.2, 7.0),
    "Brazil": (-53.0, -11.0, 16.0),
}
"""Where the made-up outlines lie, and about how large they are: centre and radius in degrees."""

WIGGLES = {3: 0.2, 7: 0.1, 31: 0.03, 127: 0.01, 533: 0.004}
"""Waves around the outline, and their height as a part of the radius: bays within bays."""


def outline(lon: float, lat: float, radius: float) -> shapely.Polygon:
    """A ragged outline that does not cross itself."""
    angle = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    ragged = radius * (1 + sum(high * np.sin(count * angle + count) for count, high in WIGGLES.items()))
    return shapely.Polygon(np.column_stack([lon + ragged * np.cos(angle), lat + ragged * np.sin(angle)]))


def take_turns(queries: dict[str, Callable[[], Any]], turns: int) -> dict[str, list[float]]:
    """Seconds of each query, in turn after turn; the first turn is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in queries}
    for turn in range(turns + 1):
        for name, query in queries.items():
            begin = time.perf_counter()
            query()
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def row(store: cop_zarr.Store, name: str, turns: int) -> str:
    """Measure one country."""
    region = outline(*COUNTRIES[name])
    box = tuple(region.bounds)
    document = {
        "type": "Polygon",
        "coordinates": [np.asarray(region.exterior.coords).tolist()],
    }
    seconds = take_turns(
        {
            "box": lambda: store.query(box),
            "shapely": lambda: store.query(region),
            "GeoJSON": lambda: store.query(document),
        },
        turns,
    )
    ratios = {
        kind: statistics.median(mine / box for mine, box in zip(seconds[kind], seconds["box"], strict=True))
        for kind in ("shapely", "GeoJSON")
    }
    answer = store.query(region).meta
    width, height = box[2] - box[0], box[3] - box[1]
    columns = [
        name,
        f"{width:.1f}° x {height:.1f}°",
        f"{store.query(box).meta['total_cells']:,}",
        f"{answer['total_cells']:,}",
        *(f"{1e3 * statistics.median(each):.1f}" for each in seconds.values()),
        *(f"{ratio:.2f}" for ratio in ratios.values()),
        "met" if max(ratios.values()) <= BAR else "NOT MET",
    ]
    return _line(columns)


def _line(columns: list[str]) -> str:
    return f"| {' | '.join(columns)} |"


def main() -> None:
    """Measure every country, and print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.regions", description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=31)
    options = parser.parse_args()
    store = cop_zarr.open(
        options.store, cache_bytes=0
    )  # the mean of a box would be kept, that of a polygon not
    print(
        _line(
            [
                "size of",
                "box",
                "cells",
                "touched",
                "box, ms",
                "shapely, ms",
                "GeoJSON, ms",
                "ratio",
                "GeoJSON's",
                f"<= {BAR:g}",
            ]
        )
    )
    print(_line(["---"] * 2 + ["---:"] * 7 + ["---"]))
    for name in COUNTRIES:
        print(row(store, name, options.turns))


if __name__ == "__main__":
    main()
