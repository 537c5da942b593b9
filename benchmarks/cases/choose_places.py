"""Choose where everybody is asked, with a fixed seed: ``choose_places.py STORE OUT.npz``.

Prints, as JSON, how many cells a place of each list has.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from asking import COLS, NORTH, ROWS, STEP, WEST, boxes, window

import cop_zarr

CHUNK = 8
SIDES = (1, 3, 9, 27, 81, 243, 721)
"""Cells along the squares of the growth panel, around 40° N 95° E."""

CENTRE = (200, 1100)
POINTS = 1_000_000
BOXES = 20_000
WITHIN = (-170.0, -80.0, 170.0, 80.0)
"""Places lie within: rs-embed cuts a box off at the antimeridian."""


def square(row: int, col: int, rows: int, cols: int) -> tuple[float, float, float, float]:
    """The box on the outer edges of some cells, no further than the poles."""
    north, west = NORTH - STEP * row, WEST + STEP * col
    return west, max(-90.0, north - STEP * rows), west + STEP * cols, min(90.0, north)


def around(
    rng: np.random.Generator, lon: np.ndarray, lat: np.ndarray, degrees: float, count: int
) -> np.ndarray:
    """Boxes of so many degrees whose centres are points on land, but off the cells' edges."""
    half = degrees / 2
    west, south, east, north = WITHIN
    fits = (lon - half > west) & (lon + half < east) & (lat - half > south) & (lat + half < north)
    chosen = rng.choice(np.flatnonzero(fits), count, replace=False)
    lon, lat = lon[chosen], lat[chosen]
    return np.column_stack([lon - half, lat - half, lon + half, lat + half])


def points(rng: np.random.Generator, valid: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in cells with data, none on an edge."""
    rows, cols = np.nonzero(valid[:-1, 1:])  # cells whose boxes everybody takes
    chosen = rng.integers(len(rows), size=count)
    off_lon, off_lat = rng.uniform(-0.12, 0.12, (2, count))
    lon = WEST + STEP * (cols[chosen] + 1.5) + off_lon
    lat = np.clip(NORTH - STEP * (rows[chosen] + 0.5) + off_lat, -90, 90)
    return lon, lat


def blocks(mask: np.ndarray, size: int, *, full: bool) -> tuple[int, int]:
    """Where so many chunks a side all have data, or all have none: row and column of a cell."""
    rows, cols = (length // CHUNK for length in mask.shape)
    data = mask[: rows * CHUNK, : cols * CHUNK].reshape(rows, CHUNK, cols, CHUNK).any(axis=(1, 3))
    view = np.lib.stride_tricks.sliding_window_view(data == full, (size, size)).all(axis=(2, 3))
    found = np.argwhere(view)
    row, col = found[len(found) // 2]
    return int(row) * CHUNK, int(col) * CHUNK


def main(store: str, target: str) -> None:
    """Choose, write, print."""
    rng = np.random.default_rng(2021)
    valid = cop_zarr.open(store).valid
    lon, lat = points(rng, valid, POINTS)
    rows, cols = np.nonzero(
        valid[:-1]
    )  # the last row lies half beyond the pole: no box is one of its cells
    chunk = rows // CHUNK * (COLS // CHUNK) + cols // CHUNK
    order = rng.permutation(len(chunk))
    one_each = order[np.unique(chunk[order], return_index=True)[1]]
    chosen = rng.choice(one_each, 64, replace=False)
    found = {
        "1": np.array([square(rows[i], cols[i], 1, 1) for i in chosen]),
        "2": around(rng, lon, lat, 2, 16),
        "20": around(rng, lon, lat, 20, 4),
        "globe": np.array([(-180.0, -90.0, 180.0, 90.0)]),
        "boxes": around(rng, lon, lat, 1, BOXES),
        "far-64": np.array([square(*blocks(valid, 8, full=True), 8 * CHUNK, 8 * CHUNK)]),
        "far-ocean": np.array([square(*blocks(valid, 2, full=False), 2 * CHUNK, 2 * CHUNK)]),
    }
    found["far-2"] = found["2"][:1]
    for side in SIDES:
        row, col = (min(at - side // 2, most - side) for at, most in zip(CENTRE, (ROWS, COLS), strict=True))
        found[f"side-{side}"] = np.array([square(max(row, 0), col, side, side)])
    np.savez(target, lon=lon, lat=lat, **found)
    print(json.dumps({name: cells_of(found, name) for name in found}))


def cells_of(found: dict[str, np.ndarray], name: str) -> float:
    """Cells of a place, on average."""
    sizes = [(r.stop - r.start) * (c.stop - c.start) for r, c in map(window, boxes(found, name))]
    return float(np.mean(sizes))


if __name__ == "__main__":
    main(*sys.argv[1:])
