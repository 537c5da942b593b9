"""Answers for any region: against shapely's intersections and pyproj's areas; after small steps.

Each region is what a caller gives, and the same region as a polygon in unwrapped degrees, whose cells and
weights are computed one by one.
"""

import functools
import itertools
import math

import numpy as np
import pytest
import shapely
from pyproj import Geod
from shapely import affinity

import cop_zarr
from cop_zarr.errors import RegionError
from tests.support import factory

STEP = factory.STEP
GEOD = Geod(ellps="WGS84")

WEIGHINGS = [None, "coverage", "area"]
WORDS = [
    *itertools.product(["mean", "std", "sum"], WEIGHINGS, ["include", "skip"]),
    *itertools.product(["min", "max"], [None], ["include", "skip"]),
    ("mean", "auto", "include"),
    ("min", "auto", "skip"),
]


# Weights and answers, cell by cell


def coverage_of(polygon):
    """Fraction of each cell of the globe (at a pole, of its half up to the pole) inside a polygon."""
    west, south, east, north = polygon.bounds
    rows = np.arange(math.floor((90.125 - north) / STEP), math.ceil((90.125 - south) / STEP))
    cols = np.arange(math.floor((west + 180.125) / STEP), math.ceil((east + 180.125) / STEP))
    tops, lefts = (90.125 - STEP * rows)[:, None], -180.125 + STEP * cols
    cells = shapely.box(lefts, np.maximum(tops - STEP, -90), lefts + STEP, np.minimum(tops, 90))
    shapely.prepare(polygon)
    parts = np.where(shapely.contains(polygon, cells), 1.0, 0)
    cut = shapely.intersects(polygon, cells) & (parts == 0)
    parts[cut] = shapely.area(shapely.intersection(polygon, cells[cut])) / shapely.area(cells[cut])
    weights = np.zeros((factory.ROWS, factory.COLS))
    np.add.at(weights, (rows[:, None], cols % factory.COLS), parts)
    weights[weights < 1e-6 * min(1, weights.sum())] = 0
    return weights


@functools.cache
def areas():
    """Area of a cell in each row, m², ``(721, 1)``: geodesic polygons, with parallels in 32 steps."""
    lons = np.linspace(0, STEP, 33)
    found = []
    for row in range(factory.ROWS):
        top = min(90.125 - STEP * row, 90)
        bottom = max(90.125 - STEP * (row + 1), -90)
        ring = np.concatenate([lons, lons[::-1]]), np.repeat([bottom, top], 33)
        found.append(abs(GEOD.polygon_area_perimeter(*ring)[0]))
    return np.array(found)[:, None]


def weigh(parts, weighing):
    if weighing is None:
        return np.sign(parts)
    return parts * areas() if weighing == "area" else parts


def pool(pooling, cells, weights):
    """Pool cells, ``(bands, n)``."""
    if not weights.size:
        return np.full(len(cells), np.nan)
    mean = np.average(cells, axis=1, weights=weights)
    return {
        "mean": lambda: mean,
        "std": lambda: np.sqrt(np.average((cells - mean[:, None]) ** 2, axis=1, weights=weights)),
        "sum": lambda: cells @ weights,
        "min": lambda: cells.min(axis=1),
        "max": lambda: cells.max(axis=1),
    }[pooling]()


# Regions, each with its polygon


def box(west, south, east, north):
    return (west, south, east, north), shapely.box(west, south, east + 360 * (east < west), north)


def ring_of_star(rng, lon, lat, radius, points):
    angles = np.sort(rng.uniform(0, 2 * np.pi, points))
    reach = radius * rng.uniform(0.4, 1, points)
    return np.column_stack([lon + reach * np.cos(angles), lat + reach * np.sin(angles)])


def star(seed, lon, lat, radius, *, holes=0, points=24):
    """A random star, cut off at the poles."""
    rng = np.random.default_rng(seed)
    polygon = shapely.Polygon(ring_of_star(rng, lon, lat, radius, points))
    for number in range(holes):
        hole = ring_of_star(rng, lon + (number - 0.5) * radius / 3, lat, radius / 6, 7)
        polygon = polygon.difference(shapely.Polygon(hole))
    polygon = polygon.intersection(shapely.box(-180, -90, 360, 90))
    assert polygon.is_valid
    return polygon, polygon


def stars(*seeds_and_places):
    found = shapely.union_all([star(*each)[0] for each in seeds_and_places])
    return found, found


def cap(seed, lat, pole):
    """From a jagged line around the globe to a pole."""
    rng = np.random.default_rng(seed)
    line = np.column_stack([np.linspace(-180, 180, 40), lat + rng.uniform(-2, 2, 40)])
    line[-1, 1] = line[0, 1]
    polygon = shapely.Polygon([*line, (180, pole), (-180, pole)])
    return polygon, polygon


def disc(lon, lat, radius_m, points=4000):
    """A geodesic circle point by point; its chords cut off 1e-6 of its radius."""
    lons, lats, _ = GEOD.fwd(*np.full((2, points + 1), [[lon], [lat]]), np.linspace(0, 360, points + 1),
                             np.full(points + 1, radius_m))  # fmt: skip
    lons = np.unwrap(lons, period=360)
    ring = np.column_stack([lons, lats])
    if abs(lons[-1] - lons[0]) > 180:
        pole = math.copysign(90, lat)
        ring = [*ring, (lons[-1], pole), (lons[0], pole)]
    return cop_zarr.PointBuffer(lon, lat, radius_m, "circle"), shapely.Polygon(ring)


REGIONS = {
    "box": box(10.07, 40.03, 13.4, 42.9),
    "box across the antimeridian": box(177.3, -18.9, -178.2, -15.2),
    "box at the north pole": box(-30, 89.3, -20.4, 90),
    "belt that begins within a cell": box(10.05, 3.1, 10.04, 4),
    "star with holes": star(1, 100.3, -20.4, 4, holes=2),
    "star across the antimeridian": star(2, 179.9, -17, 3, holes=1),
    "star at the south pole": star(5, 300, -89.2, 2),
    "circle": disc(12.1, 45.3, 200_000),
    "circle around the north pole": disc(20.3, 89.21, 150_000),
}
MORE_REGIONS = {
    "box from the antimeridian": box(-180, 61.1, -177.7, 62),
    "box from 0 to 360": box(179.1, 10.2, 182.3, 13),
    "box at the south pole": box(100.2, -90, 109, -89.1),
    "slim box": box(10.03, 40.1, 10.29, 47.9),
    "star east of the antimeridian": star(3, 181.4, 66, 1.2),
    "star at the north pole": star(4, 60, 89, 2.5),
    "small star": star(6, -60.1, -3.2, 0.3),
    "stars around the antimeridian": stars((9, 177, 50, 1.5), (10, 184, 51, 2.5)),
    "north cap": cap(21, 87.4, 90),
    "circle across the antimeridian": disc(-179.8, -17.2, 150_000),
    "circle beside the pole": disc(50, 88.2, 150_000, points=20_000),
    "circle on the south pole": disc(0, -90, 120_000),
}
EVERY_REGION = [
    *REGIONS,
    *(pytest.param(name, marks=pytest.mark.slow) for name in MORE_REGIONS),
]
REGIONS |= MORE_REGIONS


@pytest.mark.parametrize("name", EVERY_REGION)
def test_every_rule_against_brute_force(store, globe, name):
    """Weights, counts and values, for every pooling with every weights= and empty= it accepts."""
    asked, polygon = REGIONS[name]
    loose = 20 if isinstance(asked, cop_zarr.PointBuffer) else 1  # the disc here has chords
    parts, held = coverage_of(polygon), globe.any(axis=0)
    assert not ((parts > 0) & (parts < 2e-6)).any(), "close to the tolerance: choose another region"
    plain = isinstance(asked, tuple)
    for pooling, weights, empty in WORDS:
        answer = store.query(asked, pooling=pooling, weights=weights, empty=empty)
        weighing = weights
        if weights == "auto":
            weighing = None if plain or pooling in {"min", "max"} else "coverage"
        expected = weigh(parts, weighing)
        (first, stop), (west, east) = answer.meta["rows"], answer.meta["cols"]
        window = expected[first:stop].take(range(west, east), axis=1, mode="wrap")
        assert np.count_nonzero(window) == np.count_nonzero(expected), "cells outside the window"
        scale = areas()[first:stop] if weighing == "area" else 1
        np.testing.assert_allclose(answer.weights / scale, window / scale, rtol=0, atol=5e-7 * loose)
        assert answer.meta["weights"] == weighing
        assert answer.meta["empty"] == empty
        assert answer.meta["total_cells"] == (expected > 0).sum()
        assert answer.meta["valid_cells"] == (held & (expected > 0)).sum()
        counts = (expected > 0) & (held if empty == "skip" else True)
        vector = pool(pooling, globe[:, counts].astype("f8"), expected[counts])
        np.testing.assert_allclose(
            answer.data, vector, rtol=2e-6 * loose, err_msg=f"{pooling} {weights} {empty}"
        )


def wrapped(lon):
    """A longitude, from -180 to 180."""
    return (lon + 180) % 360 - 180


def shifted(polygon):
    """A polygon as a function of a step to the north-east."""
    return lambda t: affinity.translate(polygon, t, t)


MOVING = {
    "box on edges, shifted": lambda t: (10.125 + t, 40.125 + t, 12.625 + t, 42.375 + t),
    "box on edges, grown": lambda t: (10.125, 40.125 + t, 12.625 + t, 42.375),
    "to 180, grown": lambda t: (178.125, -17.125, wrapped(180 + t), -15.875),
    "across 180, shifted": lambda t: (179.875 + t, -17.125, -177.625 + t, -15.875),
    "speck, shifted": lambda t: (10.124 + t, 40.124, 10.125 + t, 40.125),
    "at the pole": lambda t: (10, 89.1, 12, min(90 - 1e-6 + t, 90)),
    "off the last row": lambda t: (10, -90, 12, -89.875 + t),
    "cap closes": lambda t: (-180, 88, wrapped(180 + t - 2e-6), 90),
    "belt closes": lambda t: (10.1, 3, 10.1 - 2e-6 + t, 4),
    "polygon on cell edges": shifted(shapely.box(10.125, 40.125, 12.625, 42.375)),
    "diamond on corners": shifted(affinity.rotate(shapely.box(10.125, 40.125, 12.125, 42.125), 45)),
    "at the antimeridian": shifted(shapely.Polygon([(180, -17.125), (182.1, -16.2), (180, -15.125)])),
    "smaller than a thousandth": shifted(shapely.box(10.12495, 40.12495, 10.12505, 40.12505)),
}
"""Regions as functions of a step; at 0, an edge is on that of a cell, on the antimeridian or at a pole."""


@pytest.mark.parametrize("name", MOVING)
def test_small_steps_change_means_little(store, name):
    """By the tolerance of a touch, 1e-6 of a cell on each of four sides, and in proportion to the step."""
    steps = [-1e-6, -1e-9, 0.0, 1e-9, 1e-6]
    steepness = {"speck, shifted": 8e3, "smaller than a thousandth": 16e4}.get(name, 100)
    regions, scale = [MOVING[name](step) for step in steps], 2048 * (np.arange(store.bands) + 1)
    for weights, empty in (("coverage", "include"), ("area", "skip")):
        answers = store.query_many(regions, weights=weights, empty=empty, subpixel="touch") / scale
        changes = np.abs(np.diff(np.nan_to_num(answers), axis=0)).max(axis=1)
        assert (changes <= 4e-6 + steepness * np.diff(steps)).all()


def test_a_region_too_small_for_weights(store):
    with pytest.raises(RegionError, match="small"):
        store.query((0, 0, 1e-160, 1e-160), subpixel="touch", weights="coverage")
