"""Random regions of every kind, and comparison of vectors to the last bit, or to the last digit."""

import itertools
from types import SimpleNamespace

import numpy as np
import shapely
import shapely.affinity

from cop_zarr import PointBuffer

POOLINGS = ("mean", "max", "min", "std", "sum")
OPTIONS = [
    {"pooling": pooling, "weights": weights, "empty": empty}
    for pooling in POOLINGS
    for weights in ("auto", None, "coverage", "area")
    for empty in ("include", "skip")
    if pooling not in {"max", "min"} or weights in {"auto", None}
]
"""All that can be combined for a region larger than a cell."""


def same_bits(found, expected, message=""):
    """Assert that two float32 arrays are the same, signs of zeros and bits of NaN included."""
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(
        np.ascontiguousarray(found).view("u4"), np.ascontiguousarray(expected).view("u4"), message
    )


def same_digits(found, expected, cancelled=0.0):
    """Assert that two float32 arrays differ by one unit in the last place at most, or by ``cancelled``."""
    assert found.dtype == expected.dtype == np.float32
    assert found.shape == expected.shape
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    with np.errstate(invalid="ignore", over="ignore"):
        last_place = np.spacing(np.maximum(np.abs(found), np.abs(expected)))
        same |= np.abs(found - expected) <= np.maximum(last_place, cancelled)
    assert same.all(), f"{found[~same][:5]} instead of {expected[~same][:5]}"


def single_queries(store, regions, **options):
    """The vectors of single queries."""
    found = np.empty((len(regions), store.bands), "f4")
    for row, region in enumerate(regions):
        found[row] = store.query(region, **options).data
    return found


def _polygon(a):
    angles = np.sort(a.rng.uniform(0, 2 * np.pi, a.rng.integers(3, 9)))
    ring = [(a.lon + a.wide * np.cos(angle), a.lat + 5 * np.sin(angle)) for angle in angles]
    return shapely.convex_hull(shapely.MultiPoint(ring)).buffer(0.3)


def _on_edges(a):
    west, south = np.floor(a.lon * 4) / 4 + 0.125, np.floor(a.lat) + 0.125
    return tuple(map(float, (west, south, west + np.ceil(a.wide), south + 1)))


def _with_hole(a):
    outer, hole = (shapely.box(a.lon, a.lat, a.lon + size, a.lat + size) for size in (4, 1.5))
    return outer - shapely.affinity.translate(hole, 1, 1)


KINDS = {
    "box": lambda a: (a.lon, max(a.lat - a.high, -90), min(a.lon + a.wide, 180), a.lat + 0.3),
    "on edges": _on_edges,
    "wrapped": lambda a: (180 - a.wide, a.lat, a.rng.uniform(1, 30) - 180, a.lat + 1),
    "all around": lambda a: (a.lon, a.lat, a.lon - 1e-9, a.lat + 1),
    "all around from Greenwich": lambda a: (0, a.lat, 360, a.lat + 1),
    "all around from the seam": lambda a: (-180, a.lat, 180, a.lat + 1),
    "north pole": lambda a: (a.lon, 85, min(a.lon + 60, 180), 90),
    "south pole": lambda a: (a.lon, -90, a.lon + a.wide, -85),
    "point": lambda a: PointBuffer(a.lon, a.lat, a.rng.uniform(2e4, 3e5)),
    "polar point": lambda a: PointBuffer(a.lon, 90 - a.lat**2 / 7056, 5e4),
    "circle": lambda a: PointBuffer(a.lon, a.lat, a.rng.uniform(3e4, 3e5), "circle"),
    "polygon": _polygon,
    "with hole": _with_hole,
    "ocean": lambda a: (-104 + a.wide, a.lat, -100 + a.wide, a.lat + 5),
}
"""How to draw a region of each kind from a place, a width, a height and a generator; none is smaller than a
cell, and some are larger than a chunk."""

SMALLER_KINDS = tuple(kind for kind in KINDS if "around" not in kind)


def draw_regions(count, seed, kinds=tuple(KINDS)):
    """Regions of each kind in turn, shuffled."""
    rng, regions = np.random.default_rng(seed), []
    for kind, _ in zip(itertools.cycle(kinds), range(count), strict=False):
        wide, high = rng.uniform(0.3, rng.choice([1, 5, 20]), 2)
        lon, lat = rng.uniform(-175, 175), rng.uniform(-84, 84)
        regions.append(KINDS[kind](SimpleNamespace(rng=rng, lon=lon, lat=lat, wide=wide, high=high)))
    return [regions[number] for number in rng.permutation(count)]
