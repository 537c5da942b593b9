"""What an exact mean over a polygon costs, beside the plain mean of its box, for benchmarks/README.md.

``python -m benchmarks.regions --store STORE`` asks for made-up countries: ragged outlines of 10,000
vertices. Queries take turns, the chunks' files are in the page cache, and nothing decoded is kept.
"""

from __future__ import annotations

import argparse

import numpy as np
import shapely

import cop_zarr
from benchmarks.timings import in_turn, markdown, ratio

VERTICES = 10_000
MAX_RATIO = 2.0
"""How many times the plain mean of its box a country may cost."""

COUNTRIES = {
    "Switzerland": (8.2, 46.8, 1.3),
    "Great Britain": (-2.5, 54.0, 2.7),
    "France": (2.5, 46.5, 4.0),
    "Algeria": (2.6, 28.2, 7.0),
    "Brazil": (-53.0, -11.0, 16.0),
}
"""Centers and radii in degrees."""

WAVES = {3: 0.2, 7: 0.1, 31: 0.03, 127: 0.01, 533: 0.004}
"""Waves around the outline, and their height as a part of the radius."""


def outline(lon: float, lat: float, radius_deg: float) -> shapely.Polygon:
    """A ragged outline that does not cross itself."""
    angle = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    ragged = radius_deg * (1 + sum(high * np.sin(count * angle + count) for count, high in WAVES.items()))
    return shapely.Polygon(np.column_stack([lon + ragged * np.cos(angle), lat + ragged * np.sin(angle)]))


def row(store: cop_zarr.Store, name: str, turns: int) -> tuple[str, ...]:
    """Measure one country."""
    region = outline(*COUNTRIES[name])
    geojson = {"type": "Polygon", "coordinates": [np.asarray(region.exterior.coords).tolist()]}
    asked = {"box": tuple(region.bounds), "shapely": region, "GeoJSON": geojson}
    found = in_turn({kind: lambda roi=roi: store.query(roi) for kind, roi in asked.items()}, turns)
    ratios = [ratio(found[kind], found["box"]) or 0 for kind in ("shapely", "GeoJSON")]
    cells = [store.query(roi).meta["total_cells"] for roi in (asked["box"], region)]
    west, south, east, north = region.bounds
    return (
        name,
        f"{east - west:.1f}° x {north - south:.1f}°",
        *(f"{count:,}" for count in cells),
        *(f"{1e3 * one.median:.1f}" for one in found.values()),
        *(f"{one:.2f}" for one in ratios),
        "met" if max(ratios) <= MAX_RATIO else "NOT MET",
    )


def main() -> None:
    """Measure every country, and print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.regions", description=__doc__)
    parser.add_argument("--store", required=True, help="a store of the whole globe")
    parser.add_argument("--turns", type=int, default=31)
    options = parser.parse_args()
    store = cop_zarr.open(options.store, cache_bytes=0)
    titles = ["size of", "box", "cells", "touched", "box, ms", "shapely, ms", "GeoJSON, ms"]
    titles += ["ratio", "GeoJSON's", f"<= {MAX_RATIO:g}"]
    print(markdown([titles, *(row(store, name, options.turns) for name in COUNTRIES)]))


if __name__ == "__main__":
    main()
