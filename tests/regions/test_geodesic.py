"""Geodesic circles against pyproj's own points, distances and areas of them."""

import math

import numpy as np
import pytest
import shapely
from pyproj import Geod, Transformer

from cop_zarr.errors import RegionError
from cop_zarr.regions import PointBuffer
from cop_zarr.regions.point_buffer import MAX_BUFFER_M, MAX_DISC_M

GEOD = Geod(ellps="WGS84")


def circle(lon, lat, radius_m, azimuths):
    """Longitudes relative to the centre's, -180 … 180, and latitudes of a circle's points."""
    count = len(azimuths)
    lons, lats, _ = GEOD.fwd(np.zeros(count), np.full(count, lat), azimuths, np.full(count, radius_m))
    return np.array(lons), np.array(lats)


def pole_distance(lat):
    """Metres to the nearer pole."""
    return GEOD.inv(0, lat, 0, math.copysign(90, lat))[2]


def random_circles(count, seed):
    """Centres everywhere, many near the poles and the seam; radii from a metre to half a meridian."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        lon = rng.choice([rng.uniform(-180, 360), 180, -180, 179.9, -179.9, 0, 360])
        lat = rng.choice([rng.uniform(-90, 90), rng.uniform(80, 90), rng.uniform(-90, -80), 0])
        radius = 10 ** rng.uniform(0, math.log10(MAX_BUFFER_M))
        yield float(lon), float(lat), float(radius)


def test_circle_bounds_hold_every_point_and_are_tight():
    azimuths = np.linspace(0, 180, 20_001)
    checked = 0
    for lon, lat, radius in random_circles(300, seed=0):
        if pole_distance(lat) <= radius:
            continue
        checked += 1
        west, south, east, north = PointBuffer(lon, lat, radius).bounds
        lons, lats = circle(lon, lat, radius, azimuths)
        case = (lon, lat, radius)
        assert north == pytest.approx(lats.max(), abs=1e-9), case
        assert south == pytest.approx(lats.min(), abs=1e-9), case
        # the points are 0.009° of azimuth apart, so they may miss the easternmost by a little
        half = (east - west) / 2
        assert lons.max() - 1e-9 <= half <= lons.max() + 1e-5 * max(1, half), case
        offset = ((east + west) / 2 - lon) % 360
        assert min(offset, 360 - offset) < 1e-9, case
        assert -180 <= west < east, case
    assert checked > 150


@pytest.mark.parametrize("short_m", [1e-3, 1, 100, 10_000])
@pytest.mark.parametrize("lat", [0.0, 45, 80, 89.9, -89.9])
def test_circle_that_just_misses_the_pole(lat, short_m):
    """Its easternmost point lies almost due north, where the longitude turns sharply with azimuth."""
    radius = pole_distance(lat) - short_m
    bounds = PointBuffer(10, lat, radius).bounds
    toward_pole = np.concatenate([np.geomspace(1e-9, 180, 200_000), [90]])
    azimuths = toward_pole if lat >= 0 else 180 - toward_pole
    lons, lats = circle(10, lat, radius, azimuths)
    assert (bounds.east - bounds.west) / 2 == pytest.approx(lons.max(), abs=1e-5)
    assert bounds.north >= lats.max() - 1e-9
    assert bounds.south <= lats.min() + 1e-9
    assert max(bounds.north, -bounds.south) < 90


def test_circle_around_a_pole_takes_every_longitude():
    checked = 0
    for lon, lat, radius in random_circles(400, seed=1):
        to_north, to_south = (GEOD.inv(0, lat, 0, pole)[2] for pole in (90, -90))
        if min(to_north, to_south) > radius:
            continue
        checked += 1
        west, south, east, north = PointBuffer(lon, lat, radius).bounds
        _, lats = circle(lon, lat, radius, np.linspace(0, 180, 2001))
        case = (lon, lat, radius)
        assert east - west == 360, case
        assert north == (90 if to_north <= radius else pytest.approx(lats.max(), abs=1e-9)), case
        assert south == (-90 if to_south <= radius else pytest.approx(lats.min(), abs=1e-9)), case
    assert checked > 50


@pytest.mark.parametrize("lat", [90, -90])
def test_circle_at_a_pole(lat):
    west, south, east, north = PointBuffer(0, lat, 100_000).bounds
    assert (west, east) == (-180, 180)
    inner = GEOD.fwd(0, lat, 180 if lat > 0 else 0, 100_000)[1]
    assert (south, north) == pytest.approx((inner, 90) if lat > 0 else (-90, inner))


def test_largest_circle_is_the_globe():
    assert PointBuffer(0, 90, MAX_BUFFER_M).bounds == pytest.approx((-180, -90, 180, 90), abs=1e-4)
    assert PointBuffer(25, 0, MAX_BUFFER_M).bounds == (-180, -90, 180, 90)


def test_circle_over_the_antimeridian_unrolls():
    west, _, east, _ = PointBuffer(179.9, -17, 50_000).bounds
    assert west < 179.9
    assert east > 180
    west, _, east, _ = PointBuffer(-179.9, -17, 50_000).bounds
    assert west < 180
    assert 180.1 < east < 181


def test_bounds_do_not_depend_on_the_longitude_convention():
    first, second = PointBuffer(-75, 5, 70_000).bounds, PointBuffer(285, 5, 70_000).bounds
    assert np.subtract(second, first) == pytest.approx([360, 0, 360, 0], abs=1e-9)


# The disc itself


def disc(lon, lat, radius):
    return PointBuffer(lon, lat, radius, shape="circle").footprint


def holds(geometry, lons, lats):
    """Whether points lie in an unrolled geometry, whichever turn they are told in."""
    shapely.prepare(geometry)
    turns = (-720, -360, 0, 360, 720)
    return np.any([shapely.intersects_xy(geometry, lons + turn, lats) for turn in turns], axis=0)


def points_around(lon, lat, radius, rng):
    """Points within 1.3 radii: spread over the disc, near the rim, and within metres of it."""
    spread = np.sqrt(rng.uniform(0, 1.3, 300))
    near = 1 + rng.normal(0, 0.02, 200)
    at_rim = 1 + rng.normal(0, 20, 200) / radius
    away = np.clip(np.concatenate([spread, near, at_rim]), 0, 2) * radius
    start = np.broadcast_to([[lon], [lat]], (2, away.size))
    lons, lats, _ = GEOD.fwd(*start, rng.uniform(0, 360, away.size), away)
    return np.array(lons), np.array(lats), np.array(GEOD.inv(*start, lons, lats)[2])


def equal_area(geometry):
    """Area in m² of a polygon of straight lines in degrees: its shape on the cylindrical equal-area map."""
    to_map = Transformer.from_crs("EPSG:4326", "EPSG:6933", always_xy=True)
    metres_per_degree = to_map.transform(1, 0)[0]

    def project(points):
        lons, lats = points.T
        return np.column_stack([lons * metres_per_degree, to_map.transform(np.zeros(lats.size), lats)[1]])

    return shapely.transform(geometry, project).area


def geodesic_area(lon, lat, radius):
    """Area in m² of the polygon of 3600 points of a circle, on the ellipsoid."""
    start = np.broadcast_to([[lon], [lat], [radius]], (3, 3600))
    lons, lats, _ = GEOD.fwd(start[0], start[1], np.arange(0, 360, 0.1), start[2])
    return abs(GEOD.polygon_area_perimeter(lons, lats)[0])


def check_disc(lon, lat, radius, rng):
    found, case = disc(lon, lat, radius), (lon, lat, radius)
    geometry, bounds = found.geometry, found.bounds
    assert geometry.is_valid, (case, shapely.is_valid_reason(geometry))
    assert -180 <= bounds.west < bounds.east <= bounds.west + 360 + 1e-9, case
    assert bounds.west <= 360, case

    lons, lats, distances = points_around(*case, rng)
    clear = np.abs(distances - radius) > 1
    np.testing.assert_array_equal(
        holds(geometry, lons, lats)[clear], (distances < radius)[clear], str(case)
    )

    # 180 chords of a circle leave out 2e-4 of it; there are more where they would stray by 0.1 m.
    # pyproj's own area of the smallest ones is good to some 100 cm²
    lost = min(2.1e-4, 0.2 / radius) + 2e-6
    assert equal_area(geometry) == pytest.approx(geodesic_area(*case), rel=lost, abs=0.02), case
    return bounds


def check_bounds(bounds, box, case):
    if box.east - box.west == 360:  # then they may begin anywhere
        assert bounds.east - bounds.west == pytest.approx(360, abs=1e-9), case
        assert (bounds.south, bounds.north) == pytest.approx((box.south, box.north), abs=1e-6), case
    else:
        assert tuple(bounds) == pytest.approx(tuple(box), abs=1e-5), (
            case
        )  # beside a pole, 1e-5° are a micrometre


def test_discs_hold_the_points_within_the_radius_and_no_others():
    rng, around_pole = np.random.default_rng(2), 0
    for case in random_circles(100, seed=3):
        lon, lat, radius = case[0], case[1], min(case[2], MAX_DISC_M)
        bounds = check_disc(lon, lat, radius, rng)
        check_bounds(bounds, PointBuffer(lon, lat, radius).bounds, (lon, lat, radius))
        around_pole += bounds.east - bounds.west > 359
    assert around_pole > 5


@pytest.mark.parametrize("beyond_m", [-1e4, -100, -1, -1e-3, 1e-3, 1, 100, 1e4])
@pytest.mark.parametrize("lat", [0.0, 45, 89.8, -60, -89.99])
def test_discs_beside_and_just_over_a_pole(lat, beyond_m):
    """A metre more of radius takes in the pole, and with it every longitude."""
    radius = pole_distance(lat) + beyond_m
    if not 0 < radius <= MAX_DISC_M:
        pytest.skip("no such circle")
    rng = np.random.default_rng(4)
    for lon in (10.0, 180.0):
        bounds = check_disc(lon, lat, radius, rng)
        check_bounds(bounds, PointBuffer(lon, lat, radius).bounds, (lon, lat, radius))
        assert (bounds.east - bounds.west > 359.9) == (beyond_m > 0)


@pytest.mark.parametrize("lat", [0.5, 45, 80, 89.9, -60])
def test_disc_that_touches_a_pole(lat):
    """The pole is on its rim: to one side of the meridian lies 180° of longitude, and no more."""
    bounds = check_disc(10.0, lat, pole_distance(lat), np.random.default_rng(5))
    assert (bounds.west, bounds.east) == pytest.approx((-80, 100), abs=0.01)
    assert max(bounds.north, -bounds.south) == 90


@pytest.mark.parametrize("lon", [-180.0, 180, 0, 360, 179.99, 270])
@pytest.mark.parametrize(
    ("lat", "radius"), [(54.5, 36_000), (-88.8, 1735), (0, 350), (-86.6, 3.2), (70, 1e6)]
)
def test_discs_on_the_seam_are_valid_and_lie_where_their_box_lies(lon, lat, radius):
    bounds = check_disc(lon, lat, radius, np.random.default_rng(6))
    check_bounds(bounds, PointBuffer(lon, lat, radius).bounds, (lon, lat, radius))


@pytest.mark.parametrize("lat", [90, -90])
@pytest.mark.parametrize("radius", [300, 1e4, 1e6, MAX_DISC_M])
def test_disc_around_a_pole_is_a_cap(lat, radius):
    bounds = check_disc(33.0, lat, radius, np.random.default_rng(7))
    assert bounds.east - bounds.west == pytest.approx(360, abs=1e-9)
    rim = GEOD.fwd(33, lat, 0, radius)[1]
    assert (bounds.south, bounds.north) == pytest.approx((rim, 90) if lat > 0 else (-90, rim), abs=1e-9)


@pytest.mark.parametrize("lat", [0.0, 1e-9, 45, -45, 90])
def test_largest_disc_is_a_hemisphere(lat):
    geometry = disc(0.0, lat, MAX_DISC_M).geometry
    assert geometry.is_valid
    half = abs(GEOD.polygon_area_perimeter([0, 90, 180, -90], [0, 0, 0, 0])[0])
    # a geodesic circle of a quarter meridian is half the ellipsoid but for its flattening
    assert equal_area(geometry) == pytest.approx(half, rel=0.005)
    assert equal_area(geometry) == pytest.approx(geodesic_area(0.0, lat, MAX_DISC_M), rel=2e-6)


def test_no_disc_is_larger_than_a_hemisphere():
    assert PointBuffer(0, 0, MAX_DISC_M + 1).bounds.north == 90
    with pytest.raises(RegionError, match=r"at most 10,001,965 m, a hemisphere \(shape='box' takes twice"):
        PointBuffer(0, 0, MAX_DISC_M + 1, shape="circle")


def test_disc_keeps_the_centre_that_was_given():
    found = disc(121.5, 31.2, 30_000)
    assert found.centre == (121.5, 31.2)
    assert found.roi["shape"] == "circle"
    assert found.input_crs == "EPSG:4326"
