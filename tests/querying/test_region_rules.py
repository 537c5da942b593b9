"""Answers for any region: against shapely's cuts and pyproj's areas; through small steps; in parts.

A region here is what is asked, and the same thing as a shapely polygon in unrolled degrees, whose cells and
weights are found one by one.
"""

import functools
import itertools
import math

import numpy as np
import pytest
import shapely
from pyproj import Geod
from shapely import affinity, ops

import cop_zarr
from cop_zarr.errors import RegionError
from cop_zarr.regions import footprint
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
    """How much of each cell of the globe (at a pole: of its half on the Earth) lies in a polygon."""
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
    """Of one cell in each row, m²: geodesic polygons, with parallels in 32 steps; columns: (721, 1)."""
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
    """Of cells (bands, n), float64."""
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


# Regions, each with the polygon it means


def box(west, south, east, north):
    return (west, south, east, north), shapely.box(west, south, east + 360 * (east < west), north)


def ring_of_star(rng, lon, lat, radius, points):
    angles = np.sort(rng.uniform(0, 2 * np.pi, points))
    reach = radius * rng.uniform(0.4, 1, points)
    return np.column_stack([lon + reach * np.cos(angles), lat + reach * np.sin(angles)])


def star(seed, lon, lat, radius, *, holes=0, points=24):
    """A random star; over a pole it is cut off."""
    rng = np.random.default_rng(seed)
    polygon = shapely.Polygon(ring_of_star(rng, lon, lat, radius, points))
    for number in range(holes):
        hole = ring_of_star(rng, lon + (number - 0.5) * radius / 3, lat, radius / 6, 7)
        polygon = polygon.difference(shapely.Polygon(hole))
    polygon = polygon.intersection(shapely.box(-180, -90, 360, 90))
    assert polygon.is_valid
    return polygon, polygon


def stars(*places):
    found = shapely.union_all([star(*place)[0] for place in places])
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
    "box on edges": box(10.125, 40.125, 13.375, 42.875),
    "box over the seam": box(177.3, -18.9, -178.2, -15.2),
    "box beginning at the seam": box(-180, 61.1, -177.7, 62),
    "box from 0 to 360": box(179.1, 10.2, 182.3, 13),
    "box at the north pole": box(-30, 89.3, -20.4, 90),
    "box at the south pole": box(100.2, -90, 109, -89.1),
    "belt": box(-180, -2.1, 180, -1.3),
    "belt that begins within a cell": box(10.05, 3.1, 10.04, 4),
    "slim box": box(10.03, 40.1, 10.29, 47.9),
    "star": star(0, 12, 45, 3),
    "star with holes": star(1, 100.3, -20.4, 4, holes=2),
    "star over the seam": star(2, 179.9, -17, 3, holes=1),
    "star east of the seam": star(3, 181.4, 66, 1.2),
    "star at the north pole": star(4, 60, 89, 2.5),
    "star at the south pole": star(5, 300, -89.2, 2),
    "small star": star(6, -60.1, -3.2, 0.3),
    "stars": stars((7, 12, 45, 1), (8, 16, 44, 2)),
    "stars around the seam": stars((9, 177, 50, 1.5), (10, 184, 51, 2.5)),
    "north cap": cap(21, 87.4, 90),
    "south cap": cap(13, -87.6, -90),
    "circle": disc(12.1, 45.3, 200_000),
    "circle over the seam": disc(-179.8, -17.2, 150_000),
    "circle beside the pole": disc(50, 88.2, 150_000, points=20_000),
    "circle around the north pole": disc(20.3, 89.21, 150_000),
    "circle on the south pole": disc(0, -90, 120_000),
}


@pytest.mark.parametrize("name", REGIONS)
def test_every_rule_against_brute_force(store, globe, name):
    """Weights, counts and values, for every pooling with every weights= and empty= that go with it."""
    asked, polygon = REGIONS[name]
    loose = 20 if isinstance(asked, cop_zarr.PointBuffer) else 1  # the disc here has chords
    parts, held = coverage_of(polygon), globe.any(axis=0)
    assert not ((parts > 0) & (parts < 2e-6)).any(), "touched, or rounding? take another example"
    plain = isinstance(asked, tuple)
    for pooling, weights, empty in WORDS:
        answer = store.query(asked, pooling=pooling, weights=weights, empty=empty)
        weighing = weights
        if weights == "auto":
            weighing = None if plain or pooling in {"min", "max"} else "coverage"
        expected = weigh(parts, weighing)
        (first, stop), (west, east) = answer.meta["rows"], answer.meta["cols"]
        window = expected[first:stop].take(range(west, east), axis=1, mode="wrap")
        assert np.count_nonzero(window) == np.count_nonzero(expected), "the window leaves cells out"
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


@pytest.mark.parametrize("name", REGIONS)
def test_a_grid_holds_cells_outside_too_and_weights_tell(store, globe, name):
    asked, polygon = REGIONS[name]
    answer = store.query(asked, output="grid", weights="coverage")
    (first, stop), (west, east) = answer.meta["rows"], answer.meta["cols"]
    cells = globe[:, first:stop].take(range(west, east), axis=2, mode="wrap")
    np.testing.assert_array_equal(answer.data, cells)
    np.testing.assert_array_equal(answer.valid, cells.any(axis=0))
    np.testing.assert_allclose(answer.weights.sum(dtype="f8"), coverage_of(polygon).sum(), rtol=1e-5)
    assert answer.weights.shape == answer.valid.shape == cells.shape[1:]


# One region, named in several ways


def around(polygon, turn):
    """A polygon's coordinates with longitudes from -180 to 180, jumping where it crosses the seam."""
    wrapped = shapely.transform(
        polygon, lambda xy: np.column_stack([(xy[:, 0] + 180) % 360 - 180, xy[:, 1]])
    )
    return wrapped if turn else polygon


@pytest.mark.parametrize("weights", WEIGHINGS)
@pytest.mark.parametrize("name", ["star over the seam", "stars around the seam"])
def test_a_polygon_over_the_seam_is_one_region_however_it_is_drawn(store, name, weights):
    polygon = REGIONS[name][0]
    west = polygon.intersection(shapely.box(0, -90, 180, 90))
    east = affinity.translate(polygon.intersection(shapely.box(180, -90, 360, 90)), -360)
    parts = [*shapely.get_parts(west), *shapely.get_parts(east)]
    drawn = [
        polygon,
        around(polygon, 1),
        shapely.MultiPolygon(parts),
        shapely.GeometryCollection(parts[::-1]),
    ]
    first, *others = (store.query(each, weights=weights, subpixel="touch") for each in drawn)
    for other in others:
        np.testing.assert_allclose(other.data, first.data, rtol=1e-6)
        assert other.meta["cols"] == first.meta["cols"]
        assert other.meta["total_cells"] == first.meta["total_cells"]


@pytest.mark.parametrize("weights", WEIGHINGS)
@pytest.mark.parametrize(
    "name",
    [name for name in REGIONS if isinstance(REGIONS[name][0], tuple) and REGIONS[name][1].bounds[2] <= 360],
)
def test_a_box_drawn_as_a_polygon_is_that_box(store, name, weights):
    asked, polygon = REGIONS[name]
    as_box, as_polygon = (store.query(each, weights=weights) for each in (asked, polygon))
    np.testing.assert_allclose(as_polygon.data, as_box.data, rtol=1e-6)
    scale = as_box.weights.max()
    np.testing.assert_allclose(as_polygon.weights / scale, as_box.weights / scale, rtol=0, atol=2e-7)
    assert as_polygon.meta["rows"] == as_box.meta["rows"]


# Small steps: nothing jumps

HAIRS = [0.0, 1e-9, 1e-6]
PLACES = sorted({-hair for hair in HAIRS} | set(HAIRS))
"""Degrees away from where a region's edge meets a cell's, the seam or a pole."""

ROUNDING = 4e-6
"""What the tolerance of a touch, 1e-6 of a cell on each of four sides, may make."""


def means(store, regions, **options):
    """Coverage- and area-weighted means, in units of the largest value of a band: (2, regions, bands)."""
    scale = 2048 * (np.arange(store.bands) + 1)
    return np.stack(
        [
            [
                store.query(region, weights=weights, subpixel="touch", **options).data / scale
                for region in regions
            ]
            for weights in ("coverage", "area")
        ]
    )


def assert_continuous(found, places, lipschitz):
    """Every step is as small as the way between places allows, for values from 0 to 1."""
    steps = np.abs(np.diff(found, axis=1)).max(axis=2)
    allowed = ROUNDING + lipschitz * np.diff(places)
    assert (steps <= allowed).all(), (steps, allowed)


def turned(lon):
    """A longitude, from -180 to 180."""
    return (lon + 180) % 360 - 180


BOXES = {
    "inside": (10.125, 40.125, 12.625, 42.375),
    "seam": (179.875, -17.125, 182.375, -15.875),
    "antimeridian": (178.125, -17.125, 180, -15.875),
    "one cell": (10.125, 40.125, 10.375, 40.375),
    "slim": (10.3, 40.125, 10.375, 42.375),
    "speck": (10.124, 40.124, 10.125, 40.125),
    "Greenwich": (-0.125, 51.125, 0.875, 51.875),
}


@pytest.mark.parametrize("direction", [(1, 0), (0, 1), (1, 1), (1, -1)], ids=str)
@pytest.mark.parametrize("name", BOXES)
def test_a_box_moved_by_a_hair(store, name, direction):
    west, south, east, north = BOXES[name]
    east_by, north_by = direction
    moved = [
        (turned(west + t * east_by), south + t * north_by, turned(east + t * east_by), north + t * north_by)
        for t in PLACES
    ]
    assert_continuous(means(store, moved), PLACES, 8 / min(east - west, north - south))


@pytest.mark.parametrize("empty", ["include", "skip"])
@pytest.mark.parametrize("edge", range(4))
@pytest.mark.parametrize("name", BOXES)
def test_a_box_that_grows_by_a_hair(store, name, edge, empty):
    box = BOXES[name]
    size = min(box[2] - box[0], box[3] - box[1])
    grown = [[value + t * (number == edge) for number, value in enumerate(box)] for t in PLACES]
    assert_continuous(means(store, grown, empty=empty), PLACES, 8 / size)


@pytest.mark.parametrize(
    "grown",
    [
        lambda t: (10, 89.1, 12, min(90 - 1e-6 + t, 90)),
        lambda t: (10, 89.875 + t, 12, 90),
        lambda t: (10, -90, 12, -89.875 + t),
        lambda t: (-180, 88, turned(180 + t - 2e-6), 90),
        lambda t: (10.1, 3, 10.1 + 360 - 2e-6 + t - 360 * (t < 1), 4),
        lambda t: (0, 3, 360 - 2e-6 + t, 4),
    ],
    ids=[
        "to the pole",
        "off the pole row",
        "off the south pole",
        "cap closes",
        "belt closes",
        "belt to 360",
    ],
)
def test_a_box_at_an_end_of_the_globe(store, grown):
    assert_continuous(means(store, [grown(t) for t in PLACES]), PLACES, 100)


POLYGONS = {
    "on cell edges": shapely.box(10.125, 40.125, 12.625, 42.375),
    "on centres": shapely.box(10, 40, 12, 42),
    "diamond on corners": affinity.rotate(shapely.box(10.125, 40.125, 12.125, 42.125), 45),
    "with a hole on cell edges": (
        shapely.box(10.1, 40.1, 12.7, 42.4) - shapely.box(11.125, 41.125, 11.375, 41.875)
    ),
    "at the seam": shapely.Polygon([(179.875, -17.125), (182.1, -16.2), (180, -15.125)]),
    "at the antimeridian": shapely.Polygon([(180, -17.125), (182.1, -16.2), (180, -15.125)]),
    "smaller than a cell": shapely.Polygon([(10.125, 40.125), (10.2, 40.13), (10.15, 40.2)]),
    "smaller than a thousandth": affinity.scale(shapely.box(10.12, 40.12, 10.13, 40.13), 0.01, 0.01),
    "at the pole": shapely.Polygon([(10, 90 - 2e-6), (40, 89.2), (25, 88.875)]),
}


@pytest.mark.parametrize("direction", [(1, 0), (0, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("name", POLYGONS)
def test_a_polygon_moved_by_a_hair(store, name, direction):
    polygon = POLYGONS[name]
    moved = [affinity.translate(polygon, *(t * part for part in direction)) for t in PLACES]
    west, south, east, north = polygon.bounds
    assert_continuous(means(store, moved), PLACES, 16 / min(east - west, north - south))


@pytest.mark.parametrize("seed", range(4))
def test_a_path_over_edges_and_the_seam(store, seed):
    """A star goes half a degree in steps of a thousandth of a cell; no step changes more than it may."""
    rng = np.random.default_rng(seed)
    polygon = star(seed, 179.7, rng.uniform(-80, 80), rng.uniform(0.1, 1))[0]
    starts = np.arange(0, 0.5, 0.02)
    places = np.sort(np.concatenate([starts, starts + 2.5e-4]))
    moved = [affinity.translate(polygon, t, t / 3) for t in places]
    steps = np.abs(np.diff(means(store, moved), axis=1)).max(axis=(0, 2))[::2]
    west, south, east, north = polygon.bounds
    assert steps.max() <= 16 * 2.5e-4 / min(east - west, north - south)


def meridian(lon, lat):
    """A place on a meridian, perhaps beyond a pole."""
    return (turned(lon + 180), math.copysign(180, lat) - lat) if abs(lat) > 90 else (lon, lat)


@pytest.mark.parametrize(
    ("lon", "pole", "radius_m"),
    [
        (0, 90, 300), (33.3, -90, 27_000), (0, -90, 60_000), (179.99, 90, 60_000), (-100, 90, 400_000),
    ],
)  # fmt: skip
def test_a_circle_that_slides_over_the_pole(store, lon, pole, radius_m):
    """Its edge meets the pole, its middle meets it, its edge leaves it.

    Near a pole a step h covers h log(1/h) in degrees of longitude times degrees of latitude: the bound is
    that of a step 20 times as long.
    """
    edge = GEOD.fwd(0, pole, 180 * (pole > 0), radius_m)[1]
    for centre in (edge, pole, 2 * pole - edge):
        places = [meridian(lon, centre + t) for t in PLACES]
        circles = [cop_zarr.PointBuffer(*place, radius_m, "circle") for place in places]
        assert_continuous(means(store, circles), PLACES, 20 * 16 / abs(pole - edge))


@pytest.mark.parametrize("radius_m", [300, 27_000, 200_000])
@pytest.mark.parametrize("direction", [(1, 0), (0, 1)], ids=str)
@pytest.mark.parametrize(("lon", "lat"), [(10.125, 40.125), (180, -17.125), (-179.875, 65), (360, 0)])
def test_a_circle_moved_by_a_hair(store, lon, lat, radius_m, direction):
    """Its middle on an edge, and its western end there."""
    half = (lon - GEOD.fwd(lon, lat, 270, radius_m)[0]) % 360
    for centre in (lon, lon + half):
        places = [(turned(centre + t * direction[0]), lat + t * direction[1]) for t in PLACES]
        circles = [cop_zarr.PointBuffer(*place, radius_m, "circle") for place in places]
        assert_continuous(means(store, circles), PLACES, 16 / half)


# Parts make the whole


def divided(name):
    """A region in two or more, each as it is asked for, and as a polygon."""
    asked, polygon = REGIONS[name]
    west, south, east, north = polygon.bounds
    rng = np.random.default_rng(len(name))
    lon, lat = rng.uniform(west, east), rng.uniform(south, north)
    if isinstance(asked, tuple):
        cuts = [
            [(west, south, lon, north), (lon, south, east, north)],
            [(west, south, east, lat), (west, lat, east, north)],
        ]
        if west < 180 < east:
            cuts.append([(west, south, 180, north), (180, south, east, north)])
        return [[(on_earth(*part), shapely.box(*part)) for part in cut] for cut in cuts]
    lines = [
        [(west - 1, lat), (east + 1, rng.uniform(south, north))],
        [(lon, south - 1), (rng.uniform(west, east), north + 1)],
    ]
    cuts = [ops.split(polygon, shapely.LineString(line)).geoms for line in lines]
    # no edge of more than 180°: that could be read two ways
    return [[(shapely.segmentize(part, 90), part) for part in cut] for cut in cuts]


def on_earth(west, south, east, north):
    """A box's edges as four numbers that a query takes: 180 … 370 becomes -180 … 10."""
    turn = 360 if max(west, east) > 360 or west == 180 else 0
    return (west - turn if west >= 180 else west), south, east - turn, north


@pytest.mark.parametrize(
    "name", [name for name in REGIONS if not name.startswith(("circle", "stars around", "belt that"))]
)
@pytest.mark.parametrize("weights", ["coverage", "area"])
def test_parts_make_the_whole(store, name, weights):
    whole = store.query(REGIONS[name][0], weights=weights).data
    total = store.query(REGIONS[name][0], weights=weights, pooling="sum").data
    for parts in divided(name):
        assert len(parts) > 1
        asked = {"weights": weights, "subpixel": "touch"}
        answers = [store.query(part, **asked).data for part, _ in parts]
        sums = [store.query(part, pooling="sum", **asked).data for part, _ in parts]
        sizes = [weigh(coverage_of(polygon), weights).sum() for _, polygon in parts]
        np.testing.assert_allclose(np.average(answers, axis=0, weights=sizes), whole, rtol=4e-6)
        np.testing.assert_allclose(np.sum(sums, axis=0, dtype="f8"), total, rtol=4e-6)


@pytest.mark.parametrize("edge", [1e20, -1e20, 1e308, 3e9, 10**400, pytest.param(10**5000, id="10**5000")])
def test_a_huge_edge_is_refused_at_once(edge):
    """It does not go around the globe until it is on it."""
    for box in ((edge, 0, 1, 1), (1, 0, edge, 1), (0, -edge, 1, 1)):
        with pytest.raises(RegionError):
            footprint(box)


def test_a_box_too_small_to_weigh_is_refused(store):
    with pytest.raises(RegionError, match="too small for its parts of cells to be numbers"):
        store.query((0, 0, 1e-160, 1e-160), subpixel="touch", weights="coverage")
