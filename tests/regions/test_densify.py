"""Rings of curves whose every point is known: circles on a sphere, by plain vector algebra."""

import numpy as np
import pytest
import shapely

from cop_zarr.regions import densify

EARTH_M = 6_371_000.0
WHOLE_TURN = np.linspace(0, 360, 37)


def small_circle(lon, lat, radius_deg):
    """A circle on the sphere, clockwise from its northernmost point by azimuth in degrees."""

    def curve(azimuths):
        a, r, phi = np.radians(azimuths), np.radians(radius_deg), np.radians(lat)
        north = np.cos(r) * np.sin(phi) + np.sin(r) * np.cos(phi) * np.cos(a)
        along = np.cos(r) * np.cos(phi) - np.sin(r) * np.sin(phi) * np.cos(a)
        across = np.sin(r) * np.sin(a)
        lons = lon + np.degrees(np.arctan2(across, along))
        return (lons + 180) % 360 - 180, np.degrees(np.arctan2(north, np.hypot(along, across)))

    return curve


def legs(*corners):
    """Straight lines between corners in degrees, one after the other; longitudes as PROJ gives them."""
    lons, lats = np.array(corners, "f8").T

    def curve(at):
        places = np.arange(len(corners))
        return (np.interp(at, places, lons) + 180) % 360 - 180, np.interp(at, places, lats)

    return curve, np.linspace(0, len(corners) - 1, 64 * (len(corners) - 1) + 1)


def gap(ring, lons, lats):
    """How far points are from the ring, in degrees; whole turns do not count."""
    edges = shapely.linestrings(np.stack([ring[:-1], ring[1:]], axis=1))
    tree, found = shapely.STRtree(edges), []
    for turn in (-720, -360, 0, 360, 720):
        points = shapely.points(lons + turn, lats)
        found.append(tree.query_nearest(points, return_distance=True, all_matches=False)[1])
    return np.min(found, axis=0)


CIRCLES = [
    (0, 0, 1e-4),
    (0, 0, 30),
    (179.9, -17, 0.5),
    (-180, 54.5, 0.3),
    (180, 0, 5),
    (20, 45, 44.9),
    (20, 45, 45.1),
    (-60, 80, 30),
    (-60, -80, 30),
    (10, 90, 12),
    (10, -90, 12),
    (0, 0, 89.9),
    (77, 60, 30 - 1e-5),
    (77, 60, 30 + 1e-5),
]


@pytest.mark.parametrize("circle", CIRCLES)
def test_no_chord_strays(circle):
    """Longitude and latitude may each be off by the tolerance: a diagonal of it, and rounding, at most."""
    curve = small_circle(*circle)
    ring = densify.trace(curve, WHOLE_TURN)
    lons, lats = curve(np.random.default_rng(0).uniform(0, 360, 5000))
    assert gap(ring, lons, lats).max() < 1.5 * densify.TOLERANCE_DEG
    assert (gap(ring, *curve(WHOLE_TURN)) < 1e-9).all()


@pytest.mark.parametrize("circle", CIRCLES)
def test_rings_are_unrolled_and_closed_to_the_last_bit(circle):
    ring = densify.trace(small_circle(*circle), WHOLE_TURN)
    _, lat, radius = circle
    around = abs(lat) + radius > 90
    assert np.abs(np.diff(ring[:, 0])).max() <= 180
    assert densify.winding_number(ring) == (
        -np.sign(lat) if around else 0
    )  # clockwise is westward around the north pole
    assert ring[-1].tolist() == [ring[0, 0] + 360 * densify.winding_number(ring), ring[0, 1]]
    if not around:
        assert np.ptp(ring[:, 0]) <= 180
        assert shapely.Polygon(ring).is_valid, shapely.is_valid_reason(shapely.Polygon(ring))


def test_every_ring_that_encloses_no_pole_is_a_valid_polygon():
    rng = np.random.default_rng(1)
    for _ in range(300):
        lon = rng.choice([-180.0, 180.0, rng.uniform(-180, 180), rng.uniform(179, 180)])
        radius = 10 ** rng.uniform(-4, 1)
        polygon = shapely.Polygon(
            densify.trace(small_circle(lon, rng.uniform(-75, 75), radius), WHOLE_TURN)
        )
        assert polygon.is_valid, shapely.is_valid_reason(polygon)


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("pole", [90, -90])
def test_ring_around_a_pole_is_closed_along_it(pole, direction):
    curve = small_circle(30, pole, 10)
    ring = densify.trace(lambda at: curve(direction * at), WHOLE_TURN)
    assert abs(densify.winding_number(ring)) == 1
    cap = shapely.Polygon(densify.close_over_pole(ring, pole))
    west, south, east, north = cap.bounds
    assert cap.is_valid
    assert east - west == pytest.approx(360, abs=1e-9)
    assert (south, north) == pytest.approx((80, 90) if pole > 0 else (-90, -80), abs=1e-9)
    assert cap.area == pytest.approx(3600, abs=1e-3)


@pytest.mark.parametrize("past_m", [1e4, 1, 1e-2, -1e-2, -1, -1e4])
@pytest.mark.parametrize("lat", [45, -80])
def test_past_a_pole_at_any_distance(lat, past_m):
    """A circle whose rim goes by on either side of a pole; right beside it, it turns by half the globe."""
    beyond_deg = np.degrees(past_m / EARTH_M)
    radius = 90 - abs(lat) + beyond_deg
    ring = densify.trace(small_circle(100, lat, radius), WHOLE_TURN)
    assert len(ring) < 200_000
    assert np.abs(np.diff(ring[:, 0])).max() <= 180
    nearest = 90 - np.abs(ring[:, 1]).max()
    assert nearest == pytest.approx(abs(beyond_deg), rel=1e-3)
    if past_m > 0:
        assert abs(densify.winding_number(ring)) == 1
    else:
        half_width = np.degrees(np.arcsin(np.sin(np.radians(radius)) / np.cos(np.radians(lat))))
        assert ring[:, 0].max() - 100 == pytest.approx(half_width, abs=1e-5)
        assert 100 - ring[:, 0].min() == pytest.approx(half_width, abs=1e-5)


@pytest.mark.parametrize("lat", [45, 80, -80])
def test_straight_over_a_pole(lat):
    """The circle comes along the meridian to its right, and leaves along that to its left."""
    pole = np.copysign(90, lat)
    ring = densify.trace(small_circle(100, lat, 90 - abs(lat)), WHOLE_TURN)
    at_pole = np.abs(ring[:, 1]) == 90
    assert at_pole.sum() == 2
    assert ring[at_pole][:, 1].tolist() == [pole, pole]
    assert np.sort(ring[at_pole][:, 0]) == pytest.approx([10, 190], abs=1e-3)
    assert shapely.Polygon(ring).is_valid
    assert (np.abs(ring[:, 0] - 100) < 90.001).all()


@pytest.mark.parametrize(
    ("corners", "bounds"),
    [
        ([(20, 70), (60, 70), (60, 90), (20, 90), (20, 70)], (20, 70, 60, 90)),
        ([(20, 70), (20, 90), (60, 90), (60, 70), (20, 70)], (20, 70, 60, 90)),
        ([(20, -90), (60, -90), (60, -70), (20, -70), (20, -90)], (20, -90, 60, -70)),
        ([(170, 70), (190, 70), (190, 90), (170, 90), (170, 70)], (170, 70, 190, 90)),
    ],
    ids=["pie", "pie the other way", "south", "over the seam"],
)
def test_edges_along_a_pole_that_the_curve_itself_draws(corners, bounds):
    ring = densify.trace(*legs(*corners))
    polygon = shapely.Polygon(ring)
    assert polygon.is_valid
    assert polygon.area == pytest.approx(shapely.Polygon(corners).area)
    assert polygon.bounds == pytest.approx(bounds, abs=1e-9)


def test_jumps_cost_no_more_than_the_rounds():
    """A map may have cuts; halving stops at the last bit of t, and does not spread."""
    cuts = np.linspace(5, 355, 20) + 0.1234567

    asked = 0

    def steps(at):
        nonlocal asked
        asked += np.size(at)
        return 0.1 * at, 0.5 * np.searchsorted(cuts, at).astype("f8") * (at < 360)

    ring = densify.trace(steps, np.linspace(0, 360, 65))
    assert asked <= 4 * (65 + (len(cuts) + 1) * densify.MAX_HALVINGS)
    assert len(ring) <= 65 + (len(cuts) + 1) * densify.MAX_HALVINGS


def test_moved_along_the_parallels():
    ring = np.array([[1.0, 2], [3, 4]])
    assert densify.shift_longitude(ring, -360).tolist() == [[-359, 2], [-357, 4]]
    assert ring.tolist() == [[1, 2], [3, 4]]
