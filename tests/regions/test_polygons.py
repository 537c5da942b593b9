"""Polygons in every form, against points that are known to be inside or outside."""

from types import SimpleNamespace

import numpy as np
import pytest
import shapely
from pyproj import Transformer

from cop_zarr.errors import RegionError
from cop_zarr.regions import footprint
from tests.support.geometry import area_m2, contains, same

SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]
NEXT = [[0.5, 0], [1.5, 0], [1.5, 1], [0.5, 1], [0.5, 0]]
HOLE = [[0.2, 0.2], [0.2, 0.4], [0.4, 0.4], [0.4, 0.2], [0.2, 0.2]]

DEGREES = pytest.mark.parametrize("crs", [None, "EPSG:4258"], ids=["EPSG:4326", "EPSG:4258"])
"""The product's CRS, and one that is converted, to the same degrees."""


def polygon(*rings):
    return {"type": "Polygon", "coordinates": [list(ring) for ring in rings]}


def multipolygon(*polygons):
    return {"type": "MultiPolygon", "coordinates": list(polygons)}


def feature(geometry):
    return {"type": "Feature", "properties": {}, "geometry": geometry}


def features(*geometries):
    return {"type": "FeatureCollection", "features": [feature(geometry) for geometry in geometries]}


def collection(*geometries):
    return {"type": "GeometryCollection", "geometries": list(geometries)}


def geo_interface(document, **others):
    """An object with nothing but the one property; and perhaps a ``crs``, as of geopandas."""
    return SimpleNamespace(__geo_interface__=document, **others)


def geometry_of(given, crs=None, **options):
    """The geometry of a footprint, checked for what every footprint promises."""
    found = footprint(given, crs, **options)
    west, south, east, north = found.geometry.bounds
    assert found.bounds == found.geometry.bounds
    assert found.geometry.is_valid, shapely.is_valid_reason(found.geometry)
    assert found.geometry.geom_type in {"Polygon", "MultiPolygon"}
    assert -180 <= west <= 360
    assert 0 < east - west <= 360 + 1e-9
    assert -90 <= south < north <= 90
    return found.geometry


# Forms

UNIT = shapely.box(0, 0, 1, 1)
BOTH = shapely.box(0, 0, 1.5, 1)
NAMED = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
ACCEPTED = {
    "Polygon": (polygon(SQUARE), UNIT),
    "clockwise": (polygon(SQUARE[::-1]), UNIT),
    "hole": (polygon(SQUARE, HOLE), UNIT - shapely.box(0.2, 0.2, 0.4, 0.4)),
    "hole of the other direction": (polygon(SQUARE, HOLE[::-1]), UNIT - shapely.box(0.2, 0.2, 0.4, 0.4)),
    "heights": (polygon([[*place, 100.5] for place in SQUARE]), UNIT),
    "array": (polygon(np.array(SQUARE)), UNIT),
    "MultiPolygon": (multipolygon([SQUARE], [np.add(SQUARE, 5).tolist()]), UNIT | shapely.box(5, 5, 6, 6)),
    "overlapping features": (features(polygon(SQUARE), polygon(NEXT)), BOTH),
    "a feature without a geometry": (features(polygon(SQUARE), None), UNIT),
    "GeometryCollection": (collection(polygon(SQUARE), multipolygon([NEXT])), BOTH),
    "Feature of a collection": (feature(collection(polygon(SQUARE), polygon(NEXT))), BOTH),
    "shapely": (UNIT, UNIT),
    "shapely's collection": (shapely.GeometryCollection([UNIT, shapely.box(0.5, 0, 1.5, 1)]), BOTH),
    "geo interface of features": (geo_interface(features(polygon(SQUARE), polygon(NEXT))), BOTH),
    "old crs member": ({**polygon(SQUARE), "crs": NAMED}, UNIT),
}


@pytest.mark.parametrize(("given", "expected"), ACCEPTED.values(), ids=ACCEPTED)
def test_accepted_forms(given, expected):
    found = geometry_of(given)
    assert same(found, expected)
    assert found.bounds == expected.bounds
    assert geometry_of(given, repair=True).equals(found)


# Over the antimeridian

FIJI = shapely.box(170, -20, 190, -10)
PAST_180 = [[170, -20], [190, -20], [190, -10], [170, -10], [170, -20]]
JUMPING = [[170, -20], [-170, -20], [-170, -10], [170, -10], [170, -20]]
THERE = [[170, -20], [180, -20], [-180, -20], [-170, -20]]
BACK = [[170, -10], [180, -10], [-180, -10], [-170, -10]]
ANTIMERIDIAN = {
    "cut at 180": multipolygon(
        [[[170, -20], [180, -20], [180, -10], [170, -10], [170, -20]]],
        [[[-180, -20], [-170, -20], [-170, -10], [-180, -10], [-180, -20]]],
    ),
    "cut into features": features(
        shapely.box(170, -20, 180, -10).__geo_interface__,
        shapely.box(-180, -20, -170, -10).__geo_interface__,
    ),
    "past 180": polygon(PAST_180),
    "past 180, clockwise": polygon(PAST_180[::-1]),
    "jumping": polygon(JUMPING),
    "jumping from the other side": polygon(JUMPING[2:] + JUMPING[1:3]),
    "jumping from 180 to -180": polygon([*THERE, *BACK[::-1], THERE[0]]),
    "overlapping features of two conventions": features(
        shapely.box(170, -20, 185, -10).__geo_interface__,
        shapely.box(-178, -20, -170, -10).__geo_interface__,
    ),
}


@DEGREES
@pytest.mark.parametrize("given", ANTIMERIDIAN.values(), ids=ANTIMERIDIAN)
def test_every_way_to_cross_the_antimeridian(given, crs):
    found = geometry_of(given, crs)
    assert same(found, FIJI)
    assert found.bounds == pytest.approx((170, -20, 190, -10), abs=1e-9)
    assert footprint(given, crs).centre == pytest.approx((180, -15))


@DEGREES
def test_longitudes_up_to_360(crs):
    expected = footprint(shapely.Polygon([(-30, 10), (-20, 10), (-25, 30)])).geometry
    given = shapely.Polygon([(330, 10), (340, 10), (335, 30)])
    assert same(geometry_of(given, crs), expected)
    over_greenwich = shapely.Polygon([(350, 10), (10, 10), (10, 30), (350, 30)])
    assert same(geometry_of(over_greenwich, crs), shapely.box(-10, 10, 10, 30))


@pytest.mark.parametrize(
    ("shell", "west", "east"),
    [
        (PAST_180, 175, 185),
        (PAST_180, 175, -175),
        (JUMPING, 175, 185),
        (JUMPING, 175, -175),
        (JUMPING, -178, -172),
    ],
)
def test_holes_across_or_beyond_the_antimeridian(shell, west, east):
    hole = [[west, -18], [west, -12], [east, -12], [east, -18], [west, -18]]
    expected = FIJI - shapely.box(west % 360, -18, east % 360, -12)
    assert same(geometry_of(polygon(shell, hole)), expected)


def test_frame_begins_after_the_widest_gap():
    islands = [shapely.box(lon, 0, lon + 5, 5) for lon in (-175, 150, 172, -120)]
    found = geometry_of(shapely.MultiPolygon(islands))
    assert found.bounds == (150, 0, 245, 5)
    assert found.area == pytest.approx(100)
    ring = features(*(shapely.box(lon, 0, lon + 40, 5).__geo_interface__ for lon in range(-180, 320, 30)))
    assert geometry_of(ring).area == pytest.approx(360 * 5)


AS_DRAWN = {
    "globe": shapely.box(-180, -90, 180, 90),
    "globe to 360": shapely.box(0, -90, 360, 90),
    "belt": shapely.box(-180, -60, 180, 80),
    "half the globe": shapely.box(-90, 0, 90, 10),
    "wide, in steps": shapely.Polygon([(-100, 0), (0, 0), (100, 0), (100, 9), (0, 9), (-100, 9)]),
    "wider, in steps": shapely.segmentize(shapely.box(-170, -80, 170, 80), 90),
}


@DEGREES
@pytest.mark.parametrize("given", AS_DRAWN.values(), ids=AS_DRAWN)
def test_edges_of_360_or_at_most_180_are_as_drawn(given, crs):
    for ring in (given, given.reverse()):
        assert same(geometry_of(ring, crs), given)


@DEGREES
@pytest.mark.parametrize(
    "given",
    [
        shapely.box(-100, -10, 100, 10),
        shapely.Polygon([(170, -20), (170, -10), (-170, -10), (-170, -20)]),
        shapely.Polygon(
            [(170, -20), (-170, -20), (-170, -10), (170, -10)], [[(175, -18), (-175, -18), (-175, -12)]]
        ),
        shapely.Polygon([(-150, 80), (-30, 75), (90, 80)]),  # 240° long as drawn, 120° the shorter way
        shapely.Polygon([(-180, 70), (-90, 75), (0, 72), (90, 71), (180, 70)]),  # a crescent, or a cap
    ],
    ids=["200° in one step", "clockwise", "hole of the wrong direction", "240° near a pole", "crescent"],
)
def test_ambiguous_rings(given, crs):
    with pytest.raises(RegionError, match="two ways"):
        footprint(given, crs)


@pytest.mark.parametrize(
    "given",
    [
        shapely.box(-180, -10, 360, 10),
        shapely.box(-100, -10, 300, 10),
        shapely.Polygon([(-40, 0), (120, 0), (240, 0), (350, 0), (350, 9), (240, 9), (120, 9), (-40, 9)]),
    ],
)
def test_rings_wider_than_360(given):
    with pytest.raises(RegionError, match="360"):
        footprint(given)


@pytest.mark.parametrize("vertices", [3, 5, 20])
def test_random_rings_that_jump_are_those_that_continue_past_180(vertices):
    """Four digits: once, a ring that closes but for its rounding was read the long way around the globe."""
    rng, checked = np.random.default_rng(vertices), 0
    while checked < 200:
        angles = np.sort(rng.uniform(0, 2 * np.pi, vertices))
        spread = rng.uniform(1, 10, vertices)
        lons = np.round(180 + rng.uniform(-3, 3) + spread * np.cos(angles), 4)
        lats = np.round(rng.uniform(-60, 60) + spread * np.sin(angles), 4)
        onward = shapely.Polygon(np.column_stack([lons, lats]))
        crosses = lons.min() < 180 < lons.max()
        if not (crosses and onward.is_valid and onward.area and shapely.is_ccw(onward.exterior)):
            continue
        jumping = np.column_stack([np.where(lons > 180, np.round(lons - 360, 4), lons), lats])
        found = footprint(polygon([*jumping.tolist(), jumping[0].tolist()])).geometry
        assert shapely.symmetric_difference(found, onward).area < 1e-9, jumping.tolist()
        checked += 1


# Around the poles


def coast(lons, pole):
    """A wavy coast around a pole, on one side of the equator."""
    lons = np.asarray(lons, "f8")
    return np.column_stack([lons, np.copysign(72 + 4 * np.sin(np.radians(3 * lons)), pole)]).tolist()


def poleward_of_coast(lons, lats, pole):
    """Which points are on the pole's side of the coast's chords, by interpolation."""
    knots = np.arange(-180, 541, 10)
    limit = np.interp(np.mod(lons, 360), knots, np.array(coast(knots, 1))[:, 1])
    return np.copysign(1, pole) * lats > limit


def rings_around(pole):
    """The same coast, closed in several ways."""
    around = coast(range(-180, 180, 10), pole)
    to_360 = coast(range(0, 361, 10), pole)
    full = coast(range(-180, 181, 10), pole)
    return {
        "along the pole": [*full, [180, pole], [-180, pole], full[0]],
        "along the pole, in steps": [*full, *([lon, pole] for lon in range(180, -181, -60)), full[0]],
        "not closed": [*around, around[0]],
        "not closed, 0 to 360": [*to_360[:-1], to_360[0]],
        "not closed, starting anywhere": [*around[7:], *around[:7], around[7]],
        "from 0 to 360 along the pole": [*to_360, [360, pole], [0, pole], to_360[0]],
    }


@DEGREES
@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("way", rings_around(90))
@pytest.mark.parametrize("pole", [90, -90])
def test_rings_around_a_pole(pole, way, direction, crs):
    found = geometry_of(polygon(rings_around(pole)[way][::direction]), crs)
    assert found.bounds[2] - found.bounds[0] == pytest.approx(360)
    rng = np.random.default_rng(0)
    lats = np.concatenate([rng.uniform(60, 90, 2000), 90 - 10 ** rng.uniform(-3, 0, 2000)])
    lons, lats = rng.uniform(-180, 360, lats.size), np.copysign(lats, pole)
    np.testing.assert_array_equal(contains(found, lons, lats), poleward_of_coast(lons, lats, pole))


@pytest.mark.parametrize("amplitude", [20, 0])
def test_ring_on_both_sides_of_the_equator_encloses_no_pole(amplitude):
    lons = np.arange(-180, 180, 10)
    ring = np.column_stack([lons, amplitude * np.sin(np.radians(lons))]).tolist()
    with pytest.raises(RegionError, match="equator"):
        footprint(polygon([*ring, ring[0]]))


def disc(x, y, radius):
    return shapely.Point(x, y).buffer(radius)


POLAR = {
    "around the pole": disc(0, 0, 2e6),
    "pole near the rim": disc(1e6, 0, 1.000001e6),
    "holes beside the pole": disc(0, 0, 2e6) - disc(-1e6, 1, 5e5) - disc(1, -1e6, 3e5) - disc(1, 1e6, 3e5),
    "hole with the pole on its edge": shapely.box(-2e6, -2e6, 2e6, 2e6) - shapely.box(0, -1e6, 1e6, 1e6),
    "hole with the pole at its corner": shapely.box(-2e6, -2e6, 2e6, 2e6) - shapely.box(0, 0, 1e6, 1e6),
    "all but a slice": shapely.box(-1e6, -1e6, 1e6, 1e6) - shapely.box(0, 0, 1e6, 1e6),
    "half disc aslant": shapely.Polygon([(-1e6, -7e5), (1e6, 7e5), (0, 2e6)]),
    "two slices": shapely.MultiPolygon([shapely.box(0, 0, 1e6, 1e6), shapely.box(-1e6, -1e6, 0, 0)]),
    "on the antimeridian": disc(0, 2.5e6, 4e5) | disc(0, -2.5e6, 4e5),
}


@pytest.mark.parametrize("crs", ["EPSG:3995", "EPSG:3031", "EPSG:6932"])
@pytest.mark.parametrize("given", POLAR.values(), ids=POLAR)
def test_polygons_of_polar_maps(given, crs):
    """Against shapely in the plane of the map; points within 3 m of an edge may differ."""
    assert footprint(given, crs).input_crs == crs
    rng = np.random.default_rng(1)
    xs, ys = np.hstack([rng.uniform(-5e6, 5e6, (2, 2000)), rng.normal(0, 100, (2, 300))])
    lons, lats = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(xs, ys)
    points, parts = shapely.points(xs, ys), shapely.get_parts(given)
    clear = shapely.distance(shapely.union_all([part.boundary for part in parts]), points) > 3
    inside = shapely.intersects(shapely.union_all(parts), points)
    np.testing.assert_array_equal(contains(geometry_of(given, crs), lons, lats)[clear], inside[clear])


@pytest.mark.parametrize(
    ("lat", "lon", "radius"), [(0, 0, 10e6), (0, 0, 12e6), (45, 0, 12e6), (-30, 170, 11e6)]
)
def test_areas_of_discs_around_no_one_or_both_poles(lat, lon, radius):
    """PROJ's own equal-area map knows their areas."""
    crs = f"+proj=laea +lat_0={lat} +lon_0={lon} +datum=WGS84"
    whole = shapely.Point(0, 0).buffer(radius, 90)
    for shape in (whole, whole - shapely.Point(0, 0).buffer(radius - 2e6, 90)):
        assert area_m2(geometry_of(shape, crs)) == pytest.approx(shape.area, rel=3e-3), shape


# In other CRSs


@pytest.mark.parametrize(
    ("crs", "middle", "size"),
    [
        ("EPSG:3857", (20.0e6, 1e6), 2e6),
        ("EPSG:32760", (5e5, 8e6), 4e5),
        ("EPSG:3035", (4.5e6, 3.5e6), 1e6),
        ("+proj=laea +lat_0=-17 +lon_0=180 +datum=WGS84", (0, 0), 3e6),
        ("EPSG:6933", (17.3e6, 3e6), 2e6),
        ("EPSG:4269", (181.0, 53.0), 10),
        ("EPSG:4267", (-100.0, 50.0), 8),  # here and below, PROJ switches between datum shifts
        ("EPSG:31467", (3.5e6, 5.6e6), 4e5),
        ("EPSG:4230", (10.0, 50.0), 8),
    ],
)
def test_polygons_of_other_maps(crs, middle, size):
    rng = np.random.default_rng(2)
    to_degrees = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    for _ in range(4):
        angles = np.linspace(0, 2 * np.pi, 9, endpoint=False) + rng.uniform(0, 0.6)
        reach = size * rng.uniform(0.4, 1, 9)
        drawn = shapely.Polygon(np.column_stack([reach * np.cos(angles), reach * np.sin(angles)]) + middle)
        given = drawn - disc(*middle, 0.2 * size)
        found = geometry_of(given, crs)
        xs, ys = (rng.uniform(-size, size, (2, 2000)).T + middle).T
        clear = shapely.distance(given.boundary, shapely.points(xs, ys)) > 1e-5 * size
        inside = contains(found, *to_degrees.transform(xs, ys))
        np.testing.assert_array_equal(inside[clear], shapely.intersects_xy(given, xs, ys)[clear])


METRES = polygon(
    [[0, 0], [111319.49079327358, 0], [111319.49079327358, 111325.142866], [0, 111325.142866], [0, 0]]
)
MERCATOR = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}}


@pytest.mark.parametrize(
    ("given", "crs"),
    [
        (METRES, 3857),
        (geo_interface(METRES, crs="EPSG:3857"), None),
        (geo_interface(METRES, crs="EPSG:3857"), 3857),
        ({**METRES, "crs": MERCATOR}, None),
        ({**features(METRES), "crs": MERCATOR}, "EPSG:3857"),
    ],
)
def test_ways_to_name_the_crs(given, crs):
    found = footprint(given, crs)
    assert found.bounds == pytest.approx((0, 0, 1, 1), abs=1e-6)
    assert found.input_crs == "EPSG:3857"


@pytest.mark.parametrize(
    ("given", "crs", "word"),
    [
        (geo_interface(METRES, crs="EPSG:3857"), 4326, "EPSG:3857.*EPSG:4326"),
        ({**METRES, "crs": MERCATOR}, 32633, "EPSG:3857.*EPSG:32633"),
        (geo_interface(METRES, crs="nonsense"), None, "nonsense"),
        ({**METRES, "crs": "EPSG:3857"}, None, "crs member"),
        ({**METRES, "crs": {"type": "link", "properties": {"href": "x"}}}, None, "crs member"),
        (feature({**polygon(SQUARE), "crs": MERCATOR}), None, "crs member"),
        (polygon([[0, 0], [1, 0], [0, 1e9], [0, 0]]), 3857, "outside the map"),
        (shapely.box(-1e300, -1e300, 1e300, 1e300), 3857, "outside the map"),
    ],
)
def test_crs_errors(given, crs, word):
    with pytest.raises(RegionError, match=word):
        footprint(given, crs)


# Invalid polygons, and repair

INVALID = {
    "bow tie": (polygon([[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]), r"\[0.5 0.5\]", 0.5),
    "spike": (polygon([[0, 0], [2, 0], [2, 2], [2, 5], [2, 2], [0, 2], [0, 0]]), r"\[2 5\]", 4),
    "overlapping holes": (polygon(SQUARE, HOLE, np.add(HOLE, 0.1).tolist()), "", 1 - 0.07),
    # GEOS makes it a part
    "hole outside": (polygon(SQUARE, [[5, 5], [6, 5], [6, 6], [5, 5]]), r"Hole.*\[5 5\]", 1.5),
    "bow tie across the antimeridian": (
        polygon([[170, 0], [-170, 10], [-170, 0], [170, 10], [170, 0]]),
        r"\[180 5\]",
        100,
    ),
    "hole across the edge and the antimeridian": (
        polygon(JUMPING, [[160, -18], [160, -12], [175, -12], [175, -18], [160, -18]]),
        "",
        200 - 30,
    ),
    "overlapping parts across the antimeridian": (
        multipolygon([JUMPING], [[[175, -20], [-165, -20], [-165, -10], [175, -10], [175, -20]]]),
        "",
        250,
    ),
}


@pytest.mark.parametrize(("given", "reason", "area"), INVALID.values(), ids=INVALID)
def test_invalid_polygons_and_their_repair(given, reason, area):
    with pytest.raises(RegionError, match=rf"not valid.*{reason}"):
        footprint(given)
    assert geometry_of(given, repair=True).area == pytest.approx(area)


def test_repair_in_another_crs():
    given = shapely.Polygon([(0, 0), (1e5, 1e5), (1e5, 0), (0, 1e5)])
    with pytest.raises(RegionError, match=r"\[50000 50000\]"):
        footprint(given, 3857)
    repaired = geometry_of(given, 3857, repair=True)
    assert repaired.area == pytest.approx(0.5 * (1e5 / 111319.49) ** 2, rel=1e-3)


@pytest.mark.parametrize(
    "given",
    [
        polygon([[0, 0], [2, 0], [1, 0], [0, 0]]),
        polygon([[0, 0], [1, 1], [0, 0], [0, 0]]),
        polygon([[170, 0], [-170, 0], [180, 0], [170, 0]]),
        polygon(SQUARE, SQUARE),
    ],
)
def test_polygons_without_area_cannot_be_repaired(given):
    for repair in (False, True):
        with pytest.raises(RegionError, match="not valid"):
            footprint(given, repair=repair)


POINT = {"type": "Point", "coordinates": [0, 0]}
MASKED = np.ma.masked_equal(np.array(SQUARE, "f8"), 1)
MALFORMED = {
    "type is a list": ({"type": ["Polygon"]}, "type"),
    "Point": (POINT, r"Store\.sample"),
    "no coordinates": ({"type": "Polygon"}, "empty"),
    "one level too many": ({"type": "Polygon", "coordinates": [[SQUARE]]}, "positions"),
    "masked position": ({"type": "Polygon", "coordinates": [MASKED]}, "finite"),
    "null": (polygon([[0, 0], [1, None], [1, 1], [0, 0]]), "positions"),
    "NaN": (polygon([[0, 0], [1, np.nan], [1, 1], [0, 0]]), "vertex 1 .*finite"),
    "feature is null": ({"type": "FeatureCollection", "features": [None]}, "feature"),
    "shapely's empty": (shapely.Polygon(), "empty"),
    "geo interface is null": (geo_interface(None), "SimpleNamespace"),
}  # fmt: skip


@pytest.mark.parametrize(("given", "word"), MALFORMED.values(), ids=MALFORMED)
def test_not_polygons(given, word):
    with pytest.raises(RegionError, match=word):
        footprint(given)


@DEGREES
@pytest.mark.parametrize(
    ("bounds", "word"),
    [
        ((30, 120, 32, 122), "swapped"),
        ((3e5, 5e6, 4e5, 6e6), "crs="),
        ((0, 0, 1, 90.5), "latitudes"),
        ((-1090, 0, -1070, 1), "longitudes"),
        ((0, 90.01, 1, 90.1), "pole|empty"),
    ],
)
def test_out_of_range(bounds, word, crs):
    with pytest.raises(RegionError, match=word):
        footprint(shapely.box(*bounds), crs)
