"""Geodesic circles against pyproj's own points, distances and areas of them."""

import math

import numpy as np
import pytest
import shapely
from pyproj import Geod

from cop_zarr.regions import PointBuffer
from cop_zarr.regions.point_buffer import MAX_BUFFER_M, MAX_DISC_M
from tests.support.geometry import area_m2, contains

GEOD = Geod(ellps="WGS84")


def circle(lon, lat, radius_m, azimuths):
    """Longitudes and latitudes of a circle's points."""
    ones = np.ones(len(azimuths))
    return np.array(GEOD.fwd(lon * ones, lat * ones, azimuths, radius_m * ones)[:2])


def pole_distance(lat):
    """Metres to the nearer pole."""
    return GEOD.inv(0, lat, 0, math.copysign(90, lat))[2]


def random_circles(count, seed):
    """Centres everywhere, many near poles and the antimeridian; radii from 1 m to half a meridian."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        lon = rng.choice([rng.uniform(-180, 360), 180, -180, 179.9, -179.9, 0, 360])
        lat = rng.choice([rng.uniform(-90, 90), rng.uniform(80, 90), rng.uniform(-90, -80), 0])
        radius = 10 ** rng.uniform(0, math.log10(MAX_BUFFER_M))
        yield float(lon), float(lat), float(radius)


# The box


def test_bounds_contain_every_point_and_are_tight():
    around_pole = 0
    for lon, lat, radius in random_circles(200, seed=0):
        west, south, east, north = PointBuffer(lon, lat, radius).bounds
        lons, lats = circle(0, lat, radius, np.linspace(0, 180, 10_001))
        to_north, to_south = (GEOD.inv(0, lat, 0, pole)[2] for pole in (90, -90))
        case = (lon, lat, radius)
        assert north == (90 if to_north <= radius else pytest.approx(lats.max(), abs=1e-9)), case
        assert south == (-90 if to_south <= radius else pytest.approx(lats.min(), abs=1e-9)), case
        if min(to_north, to_south) <= radius:
            around_pole += 1
            assert east - west == 360, case
            continue
        half = (east - west) / 2
        assert lons.max() - 1e-9 <= half <= lons.max() + 2e-5 * max(1, half), case
        offset = ((east + west) / 2 - lon) % 360
        assert min(offset, 360 - offset) < 1e-9, case
        assert -180 <= west < east, case
    assert 20 < around_pole < 150


def test_largest_box_is_the_globe():
    assert PointBuffer(0, 90, MAX_BUFFER_M).bounds == pytest.approx((-180, -90, 180, 90), abs=1e-4)
    assert PointBuffer(25, 0, MAX_BUFFER_M).bounds == (-180, -90, 180, 90)


# The disc


def points_around(lon, lat, radius, rng):
    """Points within 1.3 radii (some near the rim, and within metres of it), and their distances."""
    spread = np.sqrt(rng.uniform(0, 1.3, 300))
    near = 1 + rng.normal(0, 0.02, 200)
    at_rim = 1 + rng.normal(0, 20, 200) / radius
    away = np.clip(np.concatenate([spread, near, at_rim]), 0, 2) * radius
    start = np.broadcast_to([[lon], [lat]], (2, away.size))
    lons, lats, _ = GEOD.fwd(*start, rng.uniform(0, 360, away.size), away)
    return np.array(lons), np.array(lats), np.array(GEOD.inv(*start, lons, lats)[2])


def geodesic_area(lon, lat, radius):
    """Area in m² of the polygon of 3600 points of a circle, on the ellipsoid."""
    return abs(GEOD.polygon_area_perimeter(*circle(lon, lat, radius, np.arange(0, 360, 0.1)))[0])


def check_disc(lon, lat, radius, rng, *, at_pole=False):
    """Points, area and, unless its rim is at a pole, bounds of a disc; returns its bounds."""
    found, case = PointBuffer(lon, lat, radius, shape="circle").footprint, (lon, lat, radius)
    geometry, bounds = found.geometry, found.bounds
    assert geometry.is_valid, (case, shapely.is_valid_reason(geometry))
    assert -180 <= bounds.west < bounds.east <= bounds.west + 360 + 1e-9, case
    assert bounds.west <= 360, case

    lons, lats, distances = points_around(*case, rng)
    clear = np.abs(distances - radius) > 1
    inside = contains(geometry, lons, lats)
    np.testing.assert_array_equal(inside[clear], (distances < radius)[clear], str(case))

    # chords leave out up to 2e-4 of a small circle; pyproj's area of the smallest is exact to 100 cm²
    lost = min(2.1e-4, 0.2 / radius) + 2e-6
    assert area_m2(geometry) == pytest.approx(geodesic_area(*case), rel=lost, abs=0.02), case

    box = PointBuffer(lon, lat, radius).bounds
    if at_pole:
        return bounds
    if box.east - box.west == 360:  # then they may begin anywhere
        assert bounds.east - bounds.west == pytest.approx(360, abs=1e-9), case
        assert (bounds.south, bounds.north) == pytest.approx((box.south, box.north), abs=1e-6), case
    else:  # beside a pole, 1e-5° are a micrometre
        assert tuple(bounds) == pytest.approx(tuple(box), abs=1e-5), case
    return bounds


def test_discs_anywhere():
    rng, around_pole = np.random.default_rng(2), 0
    for lon, lat, radius in random_circles(80, seed=3):
        bounds = check_disc(lon, lat, min(radius, MAX_DISC_M), rng)
        around_pole += bounds.east - bounds.west > 359
    assert around_pole > 5


@pytest.mark.parametrize("past_m", [-1e4, -1, -1e-3, 1e-3, 1, 1e4])
@pytest.mark.parametrize("lat", [0.001, 45, 89.8, -60, -89.99])
def test_discs_that_just_enclose_a_pole_or_not(lat, past_m):
    radius = pole_distance(lat) + past_m
    if not 0 < radius <= MAX_DISC_M:
        return
    bounds = check_disc(180.0, lat, radius, np.random.default_rng(4))
    assert (bounds.east - bounds.west > 359.9) == (past_m > 0)


@pytest.mark.parametrize("lat", [0.5, 80, -60])
def test_disc_whose_rim_touches_a_pole(lat):
    bounds = check_disc(10.0, lat, pole_distance(lat), np.random.default_rng(5), at_pole=True)
    assert (bounds.west, bounds.east) == pytest.approx((-80, 100), abs=0.01)
    assert max(bounds.north, -bounds.south) == 90


@pytest.mark.parametrize("lat", [90, -90])
@pytest.mark.parametrize("radius", [300, 1e6, MAX_DISC_M])
def test_disc_around_a_pole_is_a_cap(lat, radius):
    bounds = check_disc(33.0, lat, radius, np.random.default_rng(7))
    assert bounds.east - bounds.west == pytest.approx(360, abs=1e-9)
    rim = GEOD.fwd(33, lat, 0, radius)[1]
    assert (bounds.south, bounds.north) == pytest.approx((rim, 90) if lat > 0 else (-90, rim), abs=1e-9)


@pytest.mark.parametrize("lat", [0.0, 1e-9, -45, 90])
def test_largest_disc_is_a_hemisphere(lat):
    geometry = PointBuffer(0.0, lat, MAX_DISC_M, "circle").footprint.geometry
    assert geometry.is_valid
    half = abs(GEOD.polygon_area_perimeter([0, 90, 180, -90], [0, 0, 0, 0])[0])
    # a geodesic circle of a quarter meridian is half the ellipsoid but for its flattening
    assert area_m2(geometry) == pytest.approx(half, rel=0.005)
    assert area_m2(geometry) == pytest.approx(geodesic_area(0.0, lat, MAX_DISC_M), rel=2e-6)
