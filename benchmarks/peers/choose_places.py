"""Choose the places that everything is asked for: ``choose_places.py STORE OUT.npz``."""

from __future__ import annotations

import sys

import numpy as np
from lattice import CHUNK, COLS, NORTH, ROWS, STEP, WEST, Box

import cop_zarr

SMALL_BOXES = [
    (120, 30, 122, 32),  # coast
    (85.1, 44.9, 87.3, 46.2),  # inland
    (-150, -2, -148, 2),  # ocean
    (10.875, 46.875, 11.125, 47.125),  # one cell
    (5.125, 45.125, 7.125, 47.125),  # on cell edges
    (11.3, 24.1, 12.4, 27.2),  # in four tiles of the source
]
LARGE_BOXES = [(95, -11, 150, 7), (0, -90, 10, -85), (-40, 82, -20, 90)]
"""Where rs-embed's means, computed in float32, are off by about their tolerance: islands and both poles."""

WITHIN = (-170.0, -80.0, 170.0, 80.0)
"""Places lie within: rs-embed clips a box at the antimeridian."""


def square(row: int, col: int, side: int) -> Box:
    """The box on the outer edges of some cells, clipped at the poles."""
    north, west = NORTH - STEP * row, WEST + STEP * col
    return west, max(-90.0, north - STEP * side), west + STEP * side, min(90.0, north)


def centered(
    rng: np.random.Generator, lon: np.ndarray, lat: np.ndarray, side_deg: float, count: int
) -> np.ndarray:
    """Boxes whose centers are some of the points."""
    half = side_deg / 2
    west, south, east, north = WITHIN
    fits = (lon - half > west) & (lon + half < east) & (lat - half > south) & (lat + half < north)
    chosen = rng.choice(np.flatnonzero(fits), count, replace=False)
    lon, lat = lon[chosen], lat[chosen]
    return np.column_stack([lon - half, lat - half, lon + half, lat + half])


def land_points(rng: np.random.Generator, valid: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in cells with data, none on an edge."""
    rows, cols = np.nonzero(valid[:-1, 1:])  # cells whose boxes every library takes
    chosen = rng.integers(len(rows), size=count)
    off_lon, off_lat = rng.uniform(-0.12, 0.12, (2, count))
    lon = WEST + STEP * (cols[chosen] + 1.5) + off_lon
    lat = np.clip(NORTH - STEP * (rows[chosen] + 0.5) + off_lat, -90, 90)
    return lon, lat


def cells_of_chunks(rng: np.random.Generator, valid: np.ndarray, count: int) -> list[Box]:
    """Boxes of cells with data, each in a chunk of its own."""
    rows, cols = np.nonzero(valid[:-1])  # the last row lies half beyond the pole
    chunk = rows // CHUNK * (COLS // CHUNK) + cols // CHUNK
    order = rng.permutation(len(chunk))
    one_each = order[np.unique(chunk[order], return_index=True)[1]]
    return [square(rows[i], cols[i], 1) for i in rng.choice(one_each, count, replace=False)]


def main(store: str, target: str) -> None:
    """Choose and write."""
    rng = np.random.default_rng(2021)
    valid = cop_zarr.open(store).valid
    lon, lat = land_points(rng, valid, 1_000_000)
    found = {
        "1": cells_of_chunks(rng, valid, 64),
        "2": centered(rng, lon, lat, 2, 16),
        "20": centered(rng, lon, lat, 20, 4),
        "globe": [(-180.0, -90.0, 180.0, 90.0)],
        "boxes": centered(rng, lon, lat, 1, 20_000),
        "small": SMALL_BOXES,
        "all": SMALL_BOXES + LARGE_BOXES,
        "far-64": [square(160, 1080, 64)],  # 8 x 8 chunks in Mongolia and China
        "far-ocean": [square(400, 200, 16)],
    }
    more = centered(rng, lon, lat, 1, 180_000)
    found["boxes"] = np.concatenate([found["boxes"], more])
    found["far-2"] = found["far-open"] = found["2"][:1]
    for side in (1, 3, 9, 27, 81, 243, 721):  # around 40° N 95° E, moved inside the lattice
        row, col = min(200 - side // 2, ROWS - side), min(1100 - side // 2, COLS - side)
        found[f"side-{side}"] = [square(max(row, 0), col, side)]
    np.savez(target, lon=lon, lat=lat, **{name: np.asarray(boxes, float) for name, boxes in found.items()})


main(*sys.argv[1:])
