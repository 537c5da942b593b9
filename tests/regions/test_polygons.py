"""Polygons in every form that people have them in, held against points whose place is known otherwise."""

import hashlib
import json

import numpy as np
import pytest
import shapely
from pyproj import Transformer

from cop_zarr.errors import RegionError
from cop_zarr.regions import BBox, footprint

SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]
NEXT = [[0.5, 0], [1.5, 0], [1.5, 1], [0.5, 1], [0.5, 0]]
HOLE = [[0.2, 0.2], [0.2, 0.4], [0.4, 0.4], [0.4, 0.2], [0.2, 0.2]]


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


def holds(geometry, lons, lats):
    """Whether points lie in an unrolled geometry, whichever turn they are told in."""
    shapely.prepare(geometry)
    turns = (-720, -360, 0, 360, 720)
    return np.any([shapely.intersects_xy(geometry, lons + turn, lats) for turn in turns], axis=0)


def same(found, expected):
    """Two geometries that cover the same places, whatever turn they are drawn in."""
    turn = 360 * round((expected.bounds[0] - found.bounds[0]) / 360)
    moved = shapely.transform(found, lambda points: np.add(points, (turn, 0)))
    return shapely.symmetric_difference(moved, expected).area < 1e-9 * expected.area


def well_made(geometry):
    west, south, east, north = geometry.bounds
    assert geometry.is_valid, shapely.is_valid_reason(geometry)
    assert geometry.geom_type in {"Polygon", "MultiPolygon"}
    assert -180 <= west <= 360
    assert 0 < east - west <= 360 + 1e-9
    assert -90 <= south < north <= 90
    return True


# What is taken


class GeoInterfaceOnly:
    """What has nothing but the one property, as rasterio's and fiona's own shapes."""

    def __init__(self, document):
        self._document = document

    @property
    def __geo_interface__(self):
        return self._document


UNIT = shapely.box(0, 0, 1, 1)
TAKEN = {
    "Polygon": (polygon(SQUARE), UNIT),
    "clockwise": (polygon(SQUARE[::-1]), UNIT),
    "hole": (polygon(SQUARE, HOLE), UNIT.difference(shapely.box(0.2, 0.2, 0.4, 0.4))),
    "hole of the other direction": (
        polygon(SQUARE, HOLE[::-1]),
        UNIT.difference(shapely.box(0.2, 0.2, 0.4, 0.4)),
    ),
    "heights": (polygon([[*place, 100.5] for place in SQUARE]), UNIT),
    "tuples": (polygon([tuple(place) for place in SQUARE]), UNIT),
    "array": (polygon(np.array(SQUARE)), UNIT),
    "MultiPolygon": (
        multipolygon([SQUARE], [np.add(SQUARE, 5).tolist()]),
        UNIT.union(shapely.box(5, 5, 6, 6)),
    ),
    "Feature": (feature(polygon(SQUARE)), UNIT),
    "FeatureCollection": (
        features(polygon(SQUARE), polygon(np.add(SQUARE, 5))),
        UNIT.union(shapely.box(5, 5, 6, 6)),
    ),
    "overlapping features": (features(polygon(SQUARE), polygon(NEXT)), shapely.box(0, 0, 1.5, 1)),
    "features that touch": (
        features(polygon(SQUARE), polygon(np.add(SQUARE, [1, 0]))),
        shapely.box(0, 0, 2, 1),
    ),
    "the same feature twice": (features(polygon(SQUARE), polygon(SQUARE)), UNIT),
    "a feature without a place": (features(polygon(SQUARE), None), UNIT),
    "GeometryCollection": (collection(polygon(SQUARE), multipolygon([NEXT])), shapely.box(0, 0, 1.5, 1)),
    "Feature of a collection": (
        feature(collection(polygon(SQUARE), polygon(NEXT))),
        shapely.box(0, 0, 1.5, 1),
    ),
    "shapely": (UNIT, UNIT),
    "shapely with heights": (shapely.force_3d(UNIT, 7), UNIT),
    "shapely's collection": (
        shapely.GeometryCollection([UNIT, shapely.box(0.5, 0, 1.5, 1)]),
        shapely.box(0, 0, 1.5, 1),
    ),
    "geo interface": (GeoInterfaceOnly(polygon(SQUARE)), UNIT),
    "geo interface of features": (
        GeoInterfaceOnly(features(polygon(SQUARE), polygon(NEXT))),
        shapely.box(0, 0, 1.5, 1),
    ),
    "old crs member": (
        {
            **polygon(SQUARE),
            "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}},
        },
        UNIT,
    ),
    "crs null": ({**polygon(SQUARE), "crs": None}, UNIT),
    "extra members": ({**polygon(SQUARE), "bbox": [0, 0, 1, 1], "foo": object()}, UNIT),
}


@pytest.mark.parametrize(("given", "expected"), TAKEN.values(), ids=TAKEN)
def test_what_is_taken(given, expected):
    found = footprint(given)
    assert well_made(found.geometry)
    assert same(found.geometry, expected)
    assert found.bounds == expected.bounds
    assert found.input_crs == "EPSG:4326"


def test_what_a_footprint_records():
    given = shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(5, 5, 6, 7)])
    found = footprint(given)
    coordinates = b"".join(np.array(part.exterior.coords).tobytes() for part in given.geoms)
    assert json.loads(json.dumps(found.roi)) == {
        "type": "MultiPolygon",
        "polygons": 2,
        "vertices": 10,
        "coordinates_sha256": hashlib.sha256(coordinates).hexdigest(),
    }
    assert found.centre == pytest.approx((0.5 / 3 + 5.5 * 2 / 3, 0.5 / 3 + 6 * 2 / 3))
    assert footprint(features(polygon(SQUARE), polygon(NEXT))).roi["type"] == "GeometryCollection"


# Over the antimeridian

FIJI = shapely.box(170, -20, 190, -10)
SEAM = {
    "cut at 180": multipolygon(
        [[[170, -20], [180, -20], [180, -10], [170, -10], [170, -20]]],
        [[[-180, -20], [-170, -20], [-170, -10], [-180, -10], [-180, -20]]],
    ),
    "cut into features": features(
        shapely.box(170, -20, 180, -10).__geo_interface__,
        shapely.box(-180, -20, -170, -10).__geo_interface__,
    ),
    "going on past 180": polygon([[170, -20], [190, -20], [190, -10], [170, -10], [170, -20]]),
    "going on, clockwise": polygon([[170, -20], [170, -10], [190, -10], [190, -20], [170, -20]]),
    "jumping": polygon([[170, -20], [-170, -20], [-170, -10], [170, -10], [170, -20]]),
    "jumping from the other side": polygon([[-170, -10], [170, -10], [170, -20], [-170, -20], [-170, -10]]),
    "jumping at 179": polygon(
        [
            [170, -20],
            [179, -20],
            [-179, -20],
            [-170, -20],
            [-170, -10],
            [-179, -10],
            [179, -10],
            [170, -10],
            [170, -20],
        ]
    ),
    "jumping from 180 to -180": polygon(
        [
            [170, -20],
            [180, -20],
            [-180, -20],
            [-170, -20],
            [-170, -10],
            [-180, -10],
            [180, -10],
            [170, -10],
            [170, -20],
        ]
    ),
    "jumping within a part": multipolygon([[[170, -20], [-170, -20], [-170, -10], [170, -10], [170, -20]]]),
    "overlapping features of two conventions": features(
        shapely.box(170, -20, 185, -10).__geo_interface__,
        shapely.box(-178, -20, -170, -10).__geo_interface__,
    ),
}


@pytest.mark.parametrize("crs", [None, "EPSG:4258"], ids=["EPSG:4326", "EPSG:4258"])
@pytest.mark.parametrize("given", SEAM.values(), ids=SEAM)
def test_every_way_over_the_antimeridian_is_the_same_region(given, crs):
    found = footprint(given, crs)
    assert well_made(found.geometry)
    assert same(found.geometry, FIJI)
    assert found.bounds == pytest.approx((170, -20, 190, -10), abs=1e-9)
    assert found.centre == pytest.approx((180, -15))


@pytest.mark.parametrize("crs", [None, "EPSG:4258"], ids=["EPSG:4326", "EPSG:4258"])
def test_longitudes_to_360_are_the_same_places(crs):
    expected = footprint(shapely.Polygon([(-30, 10), (-20, 10), (-25, 30)])).geometry
    given = shapely.Polygon([(330, 10), (340, 10), (335, 30)])
    assert same(footprint(given, crs).geometry, expected)
    over_greenwich = shapely.Polygon([(350, 10), (10, 10), (10, 30), (350, 30)])
    assert same(footprint(over_greenwich, crs).geometry, shapely.box(-10, 10, 10, 30))


@pytest.mark.parametrize(
    "hole",
    [
        [[175, -18], [175, -12], [-175, -12], [-175, -18], [175, -18]],
        [[175, -18], [175, -12], [185, -12], [185, -18], [175, -18]],
    ],
    ids=["jumping", "going on"],
)
@pytest.mark.parametrize("shell", ["going on past 180", "jumping"])
def test_holes_over_the_antimeridian(shell, hole):
    found = footprint(polygon(SEAM[shell]["coordinates"][0], hole)).geometry
    assert well_made(found)
    assert same(found, FIJI.difference(shapely.box(175, -18, 185, -12)))


def test_hole_beyond_the_antimeridian():
    hole = [[-178, -18], [-178, -12], [-172, -12], [-172, -18], [-178, -18]]
    found = footprint(polygon(SEAM["jumping"]["coordinates"][0], hole)).geometry
    assert same(found, FIJI.difference(shapely.box(182, -18, 188, -12)))


def test_parts_all_around_the_globe_share_one_frame():
    """The frame begins after the widest gap, so that a region does not go around more than it must."""
    islands = [shapely.box(lon, 0, lon + 5, 5) for lon in (-175, 150, 172, -120)]
    found = footprint(shapely.MultiPolygon(islands)).geometry
    assert well_made(found)
    assert found.bounds == (150, 0, 245, 5)
    assert found.area == pytest.approx(100)
    ring = features(*(shapely.box(lon, 0, lon + 40, 5).__geo_interface__ for lon in range(-180, 320, 30)))
    found = footprint(ring).geometry
    assert well_made(found)
    assert found.area == pytest.approx(360 * 5)


AS_DRAWN = {
    "globe": shapely.box(-180, -90, 180, 90),
    "globe to 360": shapely.box(0, -90, 360, 90),
    "belt": shapely.box(-180, -60, 180, 80),
    "narrow belt": shapely.box(-180, 1, 180, 2),
    "cap": shapely.box(-180, 60, 180, 90),
    "half the globe": shapely.box(-90, 0, 90, 10),
    "wide, in steps": shapely.Polygon([(-100, 0), (0, 0), (100, 0), (100, 9), (0, 9), (-100, 9)]),
    "wider, in steps": shapely.segmentize(shapely.box(-170, -80, 170, 80), 90),
}


@pytest.mark.parametrize("crs", [None, "EPSG:4258"], ids=["EPSG:4326", "EPSG:4258"])
@pytest.mark.parametrize("given", AS_DRAWN.values(), ids=AS_DRAWN)
def test_whole_turns_and_steps_below_half_a_turn_are_as_drawn(given, crs):
    for way in (given, given.reverse()):
        found = footprint(way, crs).geometry
        assert well_made(found)
        assert same(found, given)


@pytest.mark.parametrize("crs", [None, "EPSG:4258"], ids=["EPSG:4326", "EPSG:4258"])
@pytest.mark.parametrize(
    "given",
    [
        shapely.box(-100, -10, 100, 10),
        shapely.Polygon([(170, -20), (170, -10), (-170, -10), (-170, -20)]),
        shapely.Polygon(
            [(170, -20), (-170, -20), (-170, -10), (170, -10)], [[(175, -18), (-175, -18), (-175, -12)]]
        ),
    ],
    ids=["200 degrees in one step", "clockwise over the seam", "hole of the wrong direction"],
)
def test_ring_that_can_be_read_two_ways_is_refused(given, crs):
    with pytest.raises(RegionError, match=r"can be read two ways.*go on past 180.*a vertex in between"):
        footprint(given, crs)


@pytest.mark.parametrize(
    "given",
    [
        shapely.box(-180, -10, 360, 10),
        shapely.box(-100, -10, 300, 10),
        shapely.Polygon([(-180, 0), (0, 0), (180, 0), (360, 0), (360, 9), (180, 9), (0, 9), (-180, 9)]),
        shapely.Polygon([(-40, 0), (120, 0), (240, 0), (350, 0), (350, 9), (240, 9), (120, 9), (-40, 9)]),
    ],
)
def test_rings_of_more_than_one_turn_are_refused(given):
    """As a box of more than 360° is."""
    with pytest.raises(RegionError):
        footprint(given)


# Around the poles


def coast(lons, pole):
    """A wavy coast around a pole, on one side of the equator."""
    lons = np.asarray(lons, "f8")
    return np.column_stack([lons, np.copysign(72 + 4 * np.sin(np.radians(3 * lons)), pole)]).tolist()


def beyond_coast(lons, lats, pole):
    """Whether points lie on the pole's side of the coast's chords, by interpolation."""
    knots = np.arange(-180, 541, 10)
    limit = np.interp(np.mod(lons, 360), knots, np.array(coast(knots, 1))[:, 1])
    return np.copysign(1, pole) * lats > limit


def polar_points(pole, count=4000):
    rng = np.random.default_rng(0)
    lats = np.copysign(
        np.concatenate([rng.uniform(60, 90, count), 90 - 10 ** rng.uniform(-3, 0, count)]), pole
    )
    return rng.uniform(-180, 360, lats.size), lats


def rings_around(pole):
    """The same coast, closed in each of the ways found in the wild."""
    around = coast(range(-180, 180, 10), pole)
    to_360 = coast(range(0, 360, 10), pole)
    full = coast(range(-180, 181, 10), pole)
    return {
        "along the pole": [*full, [180, pole], [-180, pole], full[0]],
        "along the pole, in steps": [*full, *([lon, pole] for lon in range(180, -181, -60)), full[0]],
        "not closed": [*around, around[0]],
        "not closed, 0 to 360": [*to_360, to_360[0]],
        "not closed, starting anywhere": [*around[7:], *around[:7], around[7]],
        "from 0 to 360 along the pole": [
            *coast(range(0, 361, 10), pole),
            [360, pole],
            [0, pole],
            to_360[0],
        ],
    }


@pytest.mark.parametrize("crs", [None, "EPSG:4258"], ids=["EPSG:4326", "EPSG:4258"])
@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("way", rings_around(90))
@pytest.mark.parametrize("pole", [90, -90])
def test_rings_around_a_pole(pole, way, direction, crs):
    found = footprint(polygon(rings_around(pole)[way][::direction]), crs).geometry
    assert well_made(found)
    assert found.bounds[2] - found.bounds[0] == pytest.approx(360)
    lons, lats = polar_points(pole)
    np.testing.assert_array_equal(holds(found, lons, lats), beyond_coast(lons, lats, pole))


@pytest.mark.parametrize(
    "lats",
    [20 * np.sin(np.radians(np.arange(-180, 180, 10))), np.zeros(36)],
    ids=["on both sides of the equator", "on the equator"],
)
def test_ring_around_no_pole_in_particular_is_refused(lats):
    ring = np.column_stack([np.arange(-180, 180, 10), lats]).tolist()
    with pytest.raises(
        RegionError, match="the pole it encloses cannot be told; draw its edges along that pole"
    ):
        footprint(polygon([*ring, ring[0]]))


def test_ring_that_ends_at_180_on_the_latitude_where_it_began_is_refused():
    """Closed at 180 it is a crescent as drawn, and a cap if it was meant to go around the pole."""
    ring = [[-180, 70], [-90, 75], [0, 72], [90, 71], [180, 70], [-180, 70]]
    with pytest.raises(RegionError):
        footprint(polygon(ring))


def disc(x, y, radius):
    return shapely.Point(x, y).buffer(radius)


STEREOGRAPHIC = {
    "around the pole": disc(0, 0, 2e6),
    "off the pole": disc(3e6, 0, 2e6),
    "pole near the rim": disc(1e6, 0, 1.000001e6),
    "hole around the pole": disc(0, 0, 2e6) - disc(0, 0, 1e6),
    "hole beside the pole": disc(0, 0, 2e6) - disc(1e6, 0, 5e5),
    "hole on the far side of the seam": disc(0, 0, 2e6)
    - disc(-1e6, 1, 5e5)
    - disc(1, -1e6, 3e5)
    - disc(1, 1e6, 3e5),
    "hole with the pole on its edge": shapely.box(-2e6, -2e6, 2e6, 2e6) - shapely.box(0, -1e6, 1e6, 1e6),
    "hole with the pole at its corner": shapely.box(-2e6, -2e6, 2e6, 2e6) - shapely.box(0, 0, 1e6, 1e6),
    "slice of pie": shapely.Polygon([(0, 0), (2e6, 3e5), (1e6, 2e6)]),
    "all but a slice": shapely.box(-1e6, -1e6, 1e6, 1e6) - shapely.box(0, 0, 1e6, 1e6),
    "half disc": disc(0, 0, 1e6) & shapely.box(-1e6, 0, 1e6, 1e6),
    "half disc aslant": shapely.Polygon([(-1e6, -7e5), (1e6, 7e5), (0, 2e6)]),
    "two slices": shapely.MultiPolygon([shapely.box(0, 0, 1e6, 1e6), shapely.box(-1e6, -1e6, 0, 0)]),
    "two halves": shapely.GeometryCollection(
        [shapely.box(-1e6, 0, 1e6, 1e6), shapely.box(-1e6, -1e6, 1e6, 0)]
    ),
    "on the seam": disc(0, 2.5e6, 4e5) | disc(0, -2.5e6, 4e5),
}


@pytest.mark.parametrize("crs", ["EPSG:3995", "EPSG:3031", "EPSG:6931", "EPSG:6932"])
@pytest.mark.parametrize("given", STEREOGRAPHIC.values(), ids=STEREOGRAPHIC)
def test_polygons_of_polar_maps_hold_the_points_that_they_hold_there(given, crs):
    """The oracle is shapely in the map's own plane; points within 3 m of an edge may fall either way."""
    found = footprint(given, crs)
    assert well_made(found.geometry)
    assert found.input_crs == crs
    rng = np.random.default_rng(1)
    spread, near = rng.uniform(-5e6, 5e6, (2, 3000)), rng.normal(0, 100, (2, 300))
    xs, ys = np.hstack([spread, near])
    lons, lats = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(xs, ys)
    points = shapely.points(xs, ys)
    clear = (
        shapely.distance(shapely.union_all([part.boundary for part in shapely.get_parts(given)]), points)
        > 3
    )
    inside = shapely.intersects(shapely.union_all(shapely.get_parts(given)), points)
    np.testing.assert_array_equal(holds(found.geometry, lons, lats)[clear], inside[clear])


# In other CRSs


@pytest.mark.parametrize(
    ("crs", "middle", "size"),
    [
        ("EPSG:3857", (20.0e6, 1e6), 2e6),
        ("EPSG:32760", (5e5, 8e6), 4e5),
        ("EPSG:3035", (4.5e6, 3.5e6), 1e6),
        ("EPSG:2193", (1.6e6, 5.4e6), 4e5),
        ("+proj=laea +lat_0=-17 +lon_0=180 +datum=WGS84", (0, 0), 3e6),
        ("EPSG:6933", (17.3e6, 3e6), 2e6),
        ("EPSG:4269", (181.0, 53.0), 10),
        ("EPSG:4267", (-100.0, 50.0), 8),  # here and below, PROJ goes from one datum shift to another
        ("EPSG:31467", (3.5e6, 5.6e6), 4e5),
        ("EPSG:4230", (10.0, 50.0), 8),
    ],
)
def test_polygons_of_other_maps_hold_the_points_that_they_hold_there(crs, middle, size):
    rng = np.random.default_rng(2)
    to_degrees = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    for _ in range(6):
        angles = np.linspace(0, 2 * np.pi, 9, endpoint=False) + rng.uniform(0, 0.6)
        reach = size * rng.uniform(0.4, 1, 9)
        drawn = shapely.Polygon(np.column_stack([reach * np.cos(angles), reach * np.sin(angles)]) + middle)
        given = drawn - disc(*middle, 0.2 * size)
        found = footprint(given, crs)
        assert well_made(found.geometry)
        xs, ys = (rng.uniform(-size, size, (2, 2000)).T + middle).T
        lons, lats = to_degrees.transform(xs, ys)
        clear = shapely.distance(given.boundary, shapely.points(xs, ys)) > 1e-5 * size
        inside = shapely.intersects_xy(given, xs, ys)
        np.testing.assert_array_equal(holds(found.geometry, lons, lats)[clear], inside[clear])


def test_edges_are_straight_on_their_own_map():
    """A line across Siberia on the polar map is no parallel: it passes 1.7° nearer to the pole."""
    corners = [(-1e6, 2e6), (1e6, 2e6), (1e6, 3e6), (-1e6, 3e6)]
    found = footprint(shapely.Polygon(corners), "EPSG:3995").geometry
    to_degrees = Transformer.from_crs("EPSG:3995", "OGC:CRS84", always_xy=True)
    assert found.bounds[3] == pytest.approx(to_degrees.transform(0, 2e6)[1], abs=1e-5)
    assert found.bounds[3] > to_degrees.transform(1e6, 2e6)[1] + 1.5


@pytest.mark.parametrize(
    "given",
    [
        shapely.Polygon([(0, 60), (60, 60), (30, 90)]),
        shapely.Polygon([(0, -60), (60, -60), (60, -90), (0, -90)]),
        shapely.Polygon([(10, 60), (100, 70), (170, 65), (170, 90), (80, 90), (10, 90)]),
        shapely.Polygon([(-100, 60), (0, 70), (100, 65), (100, 90), (0, 90), (-100, 90)]),
        shapely.Polygon([(-100, -90), (0, -90), (100, -90), (100, 90), (0, 90), (-100, 90)]),
        shapely.Polygon([(0, 90), (20, -90), (60, -90)]),
    ],
)
def test_degrees_of_another_datum_keep_their_shape(given):
    """ETRS89 is WGS84 to PROJ: so is the region, edges along a pole and corners at it included."""
    found = footprint(given, "EPSG:4258")
    assert found.input_crs == "EPSG:4258"
    assert same(found.geometry, footprint(given).geometry)


@pytest.mark.parametrize("crs", ["EPSG:4258", "EPSG:4269"])
@pytest.mark.parametrize("given", [shapely.box(30, 120, 32, 122), shapely.box(0, 80, 1, 90.5)])
def test_latitudes_beyond_the_poles_are_refused_in_any_degrees(given, crs):
    with pytest.raises(RegionError):
        footprint(given, crs)


class WithCrs(GeoInterfaceOnly):
    """What tells its CRS, as geopandas does."""

    def __init__(self, document, crs):
        super().__init__(document)
        self.crs = crs


METRES = polygon(
    [[0, 0], [111319.49079327358, 0], [111319.49079327358, 111325.142866], [0, 111325.142866], [0, 0]]
)
NAMED = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}}


@pytest.mark.parametrize(
    ("given", "crs"),
    [
        (METRES, "EPSG:3857"),
        (METRES, 3857),
        (WithCrs(METRES, "EPSG:3857"), None),
        (WithCrs(METRES, "EPSG:3857"), 3857),
        ({**METRES, "crs": NAMED}, None),
        ({**features(METRES), "crs": NAMED}, None),
        ({**METRES, "crs": NAMED}, "EPSG:3857"),
    ],
)
def test_ways_to_tell_the_crs(given, crs):
    found = footprint(given, crs)
    assert found.bounds == pytest.approx((0, 0, 1, 1), abs=1e-6)
    assert found.input_crs == "EPSG:3857"


@pytest.mark.parametrize("own", [None, "EPSG:4326", "OGC:CRS84"])
@pytest.mark.parametrize("crs", [None, 4326, "OGC:CRS84"])
def test_degrees_told_in_any_way_are_degrees(own, crs):
    found = footprint(WithCrs(polygon(SQUARE), own), crs)
    assert same(found.geometry, UNIT)


@pytest.mark.parametrize(
    ("given", "crs", "message"),
    [
        (WithCrs(METRES, "EPSG:3857"), 4326, "says that its CRS is EPSG:3857, and crs=EPSG:4326 was given"),
        (
            WithCrs(polygon(SQUARE), "EPSG:4326"),
            3857,
            "says that its CRS is EPSG:4326, and crs=EPSG:3857 was given",
        ),
        ({**METRES, "crs": NAMED}, 32633, "says that its CRS is EPSG:3857"),
        (WithCrs(METRES, "nonsense"), None, "crs='nonsense'"),
        (METRES, "nonsense", "crs='nonsense'"),
        ({**METRES, "crs": "EPSG:3857"}, None, "crs member is not understood: 'EPSG:3857'"),
        (
            {**METRES, "crs": {"type": "link", "properties": {"href": "x"}}},
            None,
            "crs member is not understood",
        ),
        (polygon([[0, 0], [1, 0], [0, 1e9], [0, 0]]), 3857, "lies off the map of EPSG:3857"),
    ],
)
def test_crs_that_cannot_be(given, crs, message):
    with pytest.raises(RegionError, match=message):
        footprint(given, crs)


# What is refused, and what repair makes of it

BOW_TIE = [[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]
SPIKE = [[0, 0], [2, 0], [2, 2], [2, 5], [2, 2], [0, 2], [0, 0]]
FLAT = [[0, 0], [2, 0], [1, 0], [0, 0]]
INVALID = {
    "bow tie": (polygon(BOW_TIE), r"Self-intersection\[0.5 0.5\]", 0.5),
    "spike": (polygon(SPIKE), r"Self-intersection\[2 5\]", 4),
    "overlapping parts": (multipolygon([SQUARE], [NEXT]), "Self-intersection", 1.5),
    "a part twice": (multipolygon([SQUARE], [SQUARE]), "Self-intersection|Duplicate|Ring", 1),
    "hole over the edge": (
        polygon(SQUARE, [[0.5, 0.5], [0.5, 0.7], [1.5, 0.7], [1.5, 0.5], [0.5, 0.5]]),
        "Self-intersection",
        0.9,
    ),
    "overlapping holes": (polygon(SQUARE, HOLE, np.add(HOLE, 0.1).tolist()), "Self-intersection", 1 - 0.07),
    "bow tie over the seam": (
        polygon([[170, 0], [-170, 10], [-170, 0], [170, 10], [170, 0]]),
        r"Self-intersection\[180 5\]",
        100,
    ),
    "bow tie past 180": (
        polygon([[170, 0], [190, 10], [190, 0], [170, 10], [170, 0]]),
        r"Self-intersection\[180 5\]",
        100,
    ),
    "hole over the edge, over the seam": (
        polygon(
            SEAM["jumping"]["coordinates"][0], [[160, -18], [160, -12], [175, -12], [175, -18], [160, -18]]
        ),
        "Self-intersection",
        200 - 30,
    ),
    "overlapping parts over the seam": (
        multipolygon(
            SEAM["jumping"]["coordinates"], [[[175, -20], [-165, -20], [-165, -10], [175, -10], [175, -20]]]
        ),
        "Self-intersection",
        250,
    ),
    "a part twice over the seam": (
        multipolygon(SEAM["jumping"]["coordinates"], SEAM["jumping"]["coordinates"]),
        "Self-intersection|Duplicate|Ring",
        200,
    ),
}


@pytest.mark.parametrize(("given", "reason", "area"), INVALID.values(), ids=INVALID)
def test_invalid_rings_are_refused_with_the_reason_or_mended(given, reason, area):
    with pytest.raises(RegionError, match=rf"not valid: ({reason}).*repair=True, --repair"):
        footprint(given)
    mended = footprint(given, repair=True).geometry
    assert well_made(mended)
    assert mended.area == pytest.approx(area)


def test_hole_outside_is_refused_or_taken_for_a_part():
    """GEOS mends it so: a ring outside the first was hardly meant to take anything away."""
    given = polygon(SQUARE, [[5, 5], [6, 5], [6, 6], [5, 5]])
    with pytest.raises(RegionError, match=r"Hole lies outside shell\[5 5\]"):
        footprint(given)
    assert footprint(given, repair=True).geometry.area == pytest.approx(1.5)


def test_hole_outside_is_refused_over_the_seam_too():
    outside = [[100, -18], [100, -12], [110, -12], [110, -18], [100, -18]]
    with pytest.raises(RegionError, match="Hole lies outside shell"):
        footprint(polygon(SEAM["jumping"]["coordinates"][0], outside))


def test_mended_in_its_own_crs():
    given = shapely.Polygon([(0, 0), (1e5, 1e5), (1e5, 0), (0, 1e5)])
    with pytest.raises(RegionError, match=r"Self-intersection\[50000 50000\]"):
        footprint(given, 3857)
    assert footprint(given, 3857, repair=True).geometry.area == pytest.approx(
        0.5 * (1e5 / 111319.49) ** 2, rel=1e-3
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (polygon(FLAT), "not valid"),
        (polygon([[0, 0], [1, 1], [0, 0], [0, 0]]), "not valid"),
        (polygon([[5, 5]] * 4), "not valid"),
        (polygon([[170, 0], [-170, 0], [180, 0], [170, 0]]), "not valid"),
        (polygon(SQUARE, SQUARE), "not valid"),
    ],
)
def test_what_has_no_area_cannot_be_mended(given, message):
    with pytest.raises(RegionError, match=message):
        footprint(given)
    with pytest.raises(RegionError, match="nothing of it is left after repair"):
        footprint(given, repair=True)


def test_repair_leaves_valid_polygons_as_they_are():
    for given in (UNIT, shapely.Polygon(SQUARE, [HOLE]), SEAM["cut at 180"], SEAM["jumping"]):
        assert footprint(given, repair=True).geometry.equals(footprint(given).geometry)


MALFORMED = {
    "empty mapping": ({}, "got a GeoJSON type None"),
    "unknown type": ({"type": "Circle"}, "got a GeoJSON type 'Circle'"),
    "type is no word": ({"type": ["Polygon"]}, "got a GeoJSON type"),
    "Point": ({"type": "Point", "coordinates": [0, 0]}, "got a GeoJSON type 'Point'"),
    "LineString": ({"type": "LineString", "coordinates": SQUARE}, "got a GeoJSON type 'LineString'"),
    "collection with a Point": (
        collection(polygon(SQUARE), {"type": "Point", "coordinates": [0, 0]}),
        "'Point'",
    ),
    "no coordinates": ({"type": "Polygon"}, "geometry is empty"),
    "no coordinates of many": ({"type": "MultiPolygon"}, "geometry is empty|rings of at least four"),
    "no rings": (polygon(), "geometry is empty"),
    "no polygons": (multipolygon(), "geometry is empty"),
    "coordinates of a word": (
        {"type": "Polygon", "coordinates": "abc"},
        "rings of at least four positions",
    ),
    "coordinates of a number": ({"type": "Polygon", "coordinates": 5}, "rings of at least four positions"),
    "one level short": ({"type": "Polygon", "coordinates": SQUARE}, "rings of at least four positions"),
    "one level deep": ({"type": "Polygon", "coordinates": [[SQUARE]]}, "rings of at least four positions"),
    "many, one level short": (multipolygon(SQUARE), "rings of at least four positions"),
    "two positions": (polygon([[0, 0], [1, 0]]), "rings of at least four positions"),
    "one number a position": (polygon([[0], [1], [1], [0]]), "rings of at least four positions"),
    "a ring without its brackets": (polygon(*SQUARE), r"got a ring of shape \(2,\)"),
    "one bracket too many": (polygon([SQUARE]), r"got a ring of shape \(1, 5, 2\)"),
    "a masked position": (
        {"type": "Polygon", "coordinates": [np.ma.masked_equal(np.array(SQUARE, "f8"), 1)]},
        "finite coordinates",
    ),
    "a crs inside": (
        feature({**polygon(SQUARE), "crs": {"type": "name", "properties": {"name": "EPSG:32633"}}}),
        "must stand at the top",
    ),
    "a point": ({"type": "Point", "coordinates": [1, 2]}, "for points, take Store.sample"),
    "positions of two lengths": (
        polygon([[0, 0, 5], [1, 0], [1, 1], [0, 0, 5]]),
        "rings of at least four positions",
    ),
    "words for numbers": (
        polygon([["0", "0"], ["1", "0"], ["1", "1"], ["0", "0"]]),
        "rings of at least four positions",
    ),
    "null for a number": (
        polygon([[0, 0], [1, None], [1, 1], [0, 0]]),
        "finite|rings of at least four positions",
    ),
    "NaN": (
        polygon([[0, 0], [1, np.nan], [1, 1], [0, 0]]),
        r"vertex 1 .*must have finite coordinates; got \(1.0, nan",
    ),
    "NaN first": (
        polygon([[np.nan, 0], [1, 0], [1, 1], [np.nan, 0]]),
        "must have finite coordinates; got .nan, 0.0",
    ),
    "infinity": (
        polygon([[0, 0], [1, 0], [1, np.inf], [0, 0]]),
        r"vertex 2 .*must have finite coordinates; got \(1.0, inf",
    ),
    "no features": (features(), "geometry is empty"),
    "no member features": ({"type": "FeatureCollection"}, "features must be a list; got NoneType"),
    "features in a mapping": (
        {"type": "FeatureCollection", "features": {}},
        "features must be a list; got dict",
    ),
    "a feature of nothing": (
        {"type": "FeatureCollection", "features": [None]},
        "a feature must be a mapping",
    ),
    "features within features": (
        {"type": "FeatureCollection", "features": [features()]},
        "'FeatureCollection'",
    ),
    "only features without a place": (features(None, None), "geometry is empty"),
    "a feature without a place": (feature(None), "geometry is empty"),
    "a feature with a word": (feature("Polygon"), "a feature's geometry must be a mapping; got str"),
    "no geometries": ({"type": "GeometryCollection"}, "geometries must be a list; got NoneType"),
    "a geometry of nothing": (collection(None), "got a GeoJSON type None"),
    "shapely's empty": (shapely.Polygon(), "geometry is empty"),
    "shapely's point": (shapely.Point(0, 0), "got a Point"),
    "shapely's ring": (shapely.LinearRing([(0, 0), (1, 0), (1, 1)]), "got a LinearRing"),
    "shapely's collection with a line": (
        shapely.GeometryCollection([UNIT, shapely.LineString([(0, 0), (1, 1)])]),
        "got a LineString",
    ),
    "infinity in shapely": (shapely.Polygon([(0, 0), (1, np.inf), (1, 1)]), "must have finite coordinates"),
    "geo interface of nothing": (GeoInterfaceOnly(None), "got GeoInterfaceOnly"),
    "geo interface of a word": (GeoInterfaceOnly("Polygon"), "got GeoInterfaceOnly"),
}


@pytest.mark.parametrize(("given", "message"), MALFORMED.values(), ids=MALFORMED)
def test_what_is_refused(given, message):
    with pytest.raises(RegionError, match=message):
        footprint(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (shapely.box(30, 120, 32, 122), r"go from 120 to 122; are latitude and longitude swapped\?"),
        (shapely.box(-80, -120, -70, -110), r"go from -120 to -110; are latitude and longitude swapped\?"),
        (
            shapely.box(3e5, 5e6, 4e5, 6e6),
            r"go from 5e\+06 to 6e\+06; if it is in another CRS, name it \(crs=, --crs\)",
        ),
        (shapely.box(0, 0, 1, 90.5), "go from 0 to 90.5"),
        (
            shapely.box(-190, 0, -170, 1),
            "longitudes must lie within -180 … 360; the geometry's go from -190 to -170",
        ),
        (shapely.box(370, 0, 380, 1), "the geometry's go from 370 to 380"),
    ],
)
def test_out_of_range(given, message):
    with pytest.raises(RegionError, match=message):
        footprint(given)


def test_ring_around_a_pole_that_might_as_well_be_drawn_is_refused():
    """Its third edge is 240° long as drawn, 120° by the shorter way."""
    with pytest.raises(RegionError, match=r"from longitude 90 to -150 .* so that the ring encloses a pole"):
        footprint(polygon([[-150, 80], [-30, 75], [90, 80], [-150, 80]]))


def test_ring_that_crosses_itself_by_shorter_ways_is_taken_as_drawn():
    ring = [[-180, 83], [-100, 85], [-20, 84.5], [72, 86], [-180, 89], [-180, 83]]
    assert same(footprint(polygon(ring)).geometry, shapely.Polygon(ring))


@pytest.mark.parametrize("vertices", [3, 4, 5, 8, 20])
def test_rings_that_jump_are_those_that_go_on_past_180(vertices):
    """Coordinates as people have them, to four digits: a ring that closes but for its rounding was refused,
    or taken the long way around the globe."""
    rng, checked = np.random.default_rng(vertices), 0
    while checked < 300:
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


def area_of(geometry):
    """Area in m² of a polygon in degrees, on a cylindrical map of equal areas that goes on past 180."""
    cylinder = Transformer.from_crs("EPSG:4326", "+proj=cea +lat_ts=0 +ellps=WGS84", always_xy=True)

    def flat(points):
        ys = cylinder.transform(np.zeros(len(points)), points[:, 1])[1]
        return np.column_stack([6_378_137 * np.radians(points[:, 0]), ys])

    return shapely.transform(shapely.segmentize(geometry, 0.5), flat).area


@pytest.mark.parametrize(
    ("lat", "lon", "radius"),
    [(0, 0, 10e6), (0, 0, 12e6), (45, 0, 12e6), (-30, 170, 10e6), (-30, 170, 11e6), (30, -170, 10e6)],
)
def test_equal_area_discs_around_poles(lat, lon, radius):
    """PROJ's own equal-area map knows their areas: around none, one or both poles, and with a hole."""
    crs = f"+proj=laea +lat_0={lat} +lon_0={lon} +datum=WGS84"
    disc = shapely.Point(0, 0).buffer(radius, 90)
    ring = disc.difference(shapely.Point(0, 0).buffer(radius - 2e6, 90))
    for shape in (disc, ring):
        found = footprint(shape, crs).geometry
        assert area_of(found) == pytest.approx(shape.area, rel=3e-3), shape


@pytest.mark.parametrize("crs", ["EPSG:4267", "EPSG:4284", "EPSG:4200", "EPSG:4740"])
def test_degrees_of_other_datums_go_on_past_180(crs):
    found = footprint(polygon([[178, 50], [182, 50], [182, 52], [178, 52], [178, 50]]), crs)
    np.testing.assert_allclose(found.bounds, (178, 50, 182, 52), atol=0.01)
    np.testing.assert_allclose(BBox.from_crs((178, 50, 182, 52), crs=crs).bounds, found.bounds, atol=1e-6)


def test_numbers_off_every_map():
    with pytest.raises(RegionError, match="off the map"):
        footprint(shapely.box(-1e300, -1e300, 1e300, 1e300), 3857)


def test_crs_member_of_an_object_that_has_no_crs_is_refused():
    class Speaking:
        __geo_interface__ = {  # noqa: RUF012  # as some classes have it
            **polygon(SQUARE),
            "crs": {"type": "name", "properties": {"name": "EPSG:32633"}},
        }

    with pytest.raises(RegionError, match="hand that mapping over instead"):
        footprint(Speaking())
