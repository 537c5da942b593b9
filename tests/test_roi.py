"""Regions: what is refused and how, and circles held against pyproj's own points of them."""

import json
import math

import numpy as np
import pytest
from pyproj import Geod

from cop_zarr.errors import CopZarrError, RegionError
from cop_zarr.roi import MAX_BUFFER_M, BBox, PointBuffer, footprint

GEOD = Geod(ellps="WGS84")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((math.nan, 0, 1, 1), "minlon must be a finite number; got nan"),
        ((0, math.nan, 1, 1), "minlat must be a finite number"),
        ((0, 0, math.inf, 1), "maxlon must be a finite number; got inf"),
        ((0, 0, 1, -math.inf), "maxlat must be a finite number; got -inf"),
        ((0, 1, 1, 0), "minlat must be less than maxlat"),
        ((0, 1, 1, 1), "minlat must be less than maxlat"),
        ((0, -90.001, 1, 1), "latitudes must lie within -90"),
        ((0, 0, 1, 90.001), "latitudes must lie within -90"),
        ((-180.001, 0, 1, 1), "longitudes must lie within -180 … 360"),
        ((0, 0, 360.001, 1), "longitudes must lie within -180 … 360"),
        ((5, 0, 5, 1), "wider than 0°"),
        ((180, 0, -180, 1), "wider than 0°"),
        ((360, 0, 0, 1), "wider than 0°"),
        ((-180, 0, 360, 1), "no wider than the 360°"),
        ((-180, 0, 180.5, 1), "no wider than the 360°"),
        ((None, 0, 1, 1), "minlon must be a number of degrees or metres; got None"),
        (("0", 0, 1, 1), "minlon must be a number of degrees or metres; got '0'"),
        ((0, b"0", 1, 1), "minlat must be a number"),
        ((0, 0, 1j, 1), "maxlon must be a number"),
        ((0, 0, [1], 1), "maxlon must be a number"),
        ((0, 0, np.array([1.0]), 1), "maxlon must be a number"),
        ((10**400, 0, 1, 1), "minlon must be a number"),
    ],
)
def test_box_refuses(numbers, message):
    with pytest.raises(RegionError, match=message) as error:
        BBox(*numbers)
    assert isinstance(error.value, CopZarrError)
    assert isinstance(error.value, ValueError)


def test_box_refusal_tells_the_value_and_the_order():
    with pytest.raises(RegionError) as error:
        BBox(30, 120, 32, 122)
    assert "(30.0, 120.0, 32.0, 122.0)" in str(error.value)
    assert "(minlon, minlat, maxlon, maxlat)" in str(error.value)


@pytest.mark.parametrize(
    ("refused", "swapped"),
    [
        (lambda: BBox(30, 120, 32, 122), True),
        (lambda: BBox(120, 91, 122, 92), False),
        (lambda: PointBuffer(31.2, 121.5, 5000), True),
        (lambda: PointBuffer(121.5, 91, 5000), False),
    ],
)
def test_swapped_latitude_and_longitude_get_a_hint(refused, swapped):
    with pytest.raises(RegionError) as error:
        refused()
    assert ("are latitude and longitude swapped?" in str(error.value)) == swapped


@pytest.mark.parametrize(
    ("numbers", "west_east"),
    [
        ((120, 30, 122, 32), (120, 122)),
        ((170, 0, -170, 1), (170, 190)),
        ((190, 0, 200, 1), (190, 200)),
        ((350, 0, 10, 1), (350, 370)),
        ((-10, 0, 350, 1), (-10, 350)),
        ((-180, 0, 180, 1), (-180, 180)),
        ((0, 0, 360, 1), (0, 360)),
        ((350, 0, -170, 1), (350, 550)),  # edges of both conventions: 10° W eastward to 170° W
        ((200, 0, -170, 1), (200, 550)),
        ((360, 0, -180, 1), (360, 540)),
        ((10, 0, 9.5, 1), (10, 369.5)),
    ],
)
def test_box_unrolls_eastward(numbers, west_east):
    bounds = BBox(*numbers).bounds
    assert (bounds.west, bounds.east) == west_east
    assert (bounds.south, bounds.north) == (numbers[1], numbers[3])


def test_unrolled_bounds_keep_their_promise():
    rng, kept = np.random.default_rng(0), 0
    for minlon, maxlon in rng.choice(np.arange(-180, 361, 20), (2000, 2)).tolist():
        try:
            west, _, east, _ = BBox(minlon, 0, maxlon, 1).bounds
        except RegionError:
            assert (maxlon - minlon) % 360 == 0 or maxlon - minlon > 360
            continue
        kept += 1
        assert -180 <= west < east <= west + 360
        assert ((west - minlon) % 360, (east - maxlon) % 360) == (0, 0)
    assert kept > 1000


@pytest.mark.parametrize(
    "roi",
    [
        (120, 30, 122, 32),
        [120.0, 30, 122, 32],
        np.array([120, 30, 122, 32]),
        np.array([120, 30, 122, 32], "f4"),
        tuple(map(np.float64, (120, 30, 122, 32))),
        tuple(map(np.int16, (120, 30, 122, 32))),
        BBox(120, 30, 122, 32),
        BBox(*map(np.array, (120, 30, 122, 32))),
    ],
)
def test_ways_to_give_a_box(roi):
    found = footprint(roi)
    assert found.bounds == (120, 30, 122, 32)
    assert found.input_crs == "EPSG:4326"
    expected = {"type": "BBox", "minlon": 120, "minlat": 30, "maxlon": 122, "maxlat": 32}
    assert json.loads(json.dumps(found.roi)) == expected


def test_point_is_recorded_as_it_was_given():
    found = footprint(PointBuffer(lon=np.float32(121.5), lat=31, buffer_m=np.int64(30_000)))
    expected = {"type": "PointBuffer", "lon": 121.5, "lat": 31, "buffer_m": 30_000}
    assert json.loads(json.dumps(found.roi)) == expected


@pytest.mark.parametrize(
    ("roi", "message"),
    [
        (None, "got NoneType: None"),
        ("0,0,1,1", "got str: '0,0,1,1'"),
        ("1234", "got str: '1234'"),
        (b"1234", "got bytes"),
        (5, "got int: 5"),
        ({"minlon": 0}, "got dict"),
        ({1, 2, 3, 4}, "got set"),
        ((number for number in range(4)), "got generator"),
        ((0, 0, 1), "got 3 values"),
        ((0, 0, 0, 1, 1, 1), "got 6 values"),
        ((), "got 0 values"),
        (np.array(5.0), "got ndarray"),
        (np.zeros((4, 1)), "must be a number"),
        (np.zeros((2, 4)), "got 2 values"),
        (("a", "b", "c", "d"), "must be a number"),
        (BBox, "got type"),
    ],
)
def test_what_is_no_region(roi, message):
    with pytest.raises(RegionError, match=message):
        footprint(roi)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((math.nan, 0, 1), "lon must be a finite number"),
        ((0, math.inf, 1), "lat must be a finite number"),
        ((0, 0, math.nan), "buffer_m must be a finite number"),
        ((0, 0, math.inf), "buffer_m must be a finite number"),
        ((0, 0, 0), "buffer_m must be more than 0 m"),
        ((0, 0, -5), "buffer_m must be more than 0 m"),
        ((0, 0, 20_100_000), "at most 20,003,931 m"),
        ((0, 90.1, 5), "lat must lie within -90"),
        ((-180.1, 0, 5), "lon must lie within -180 … 360"),
        ((360.1, 0, 5), "lon must lie within -180 … 360"),
        (("0", 0, 5), "lon must be a number"),
        ((0, None, 5), "lat must be a number"),
        ((0, 0, "5 km"), "buffer_m must be a number"),
    ],
)
def test_point_refuses(numbers, message):
    with pytest.raises(RegionError, match=message):
        PointBuffer(*numbers)


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
