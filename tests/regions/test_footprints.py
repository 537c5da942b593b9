"""Regions: what is refused and how, and circles held against pyproj's own points of them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from pyproj import Geod

from cop_zarr.errors import CopZarrError, RegionError
from cop_zarr.regions import BBox, PointBuffer, footprint
from cop_zarr.regions.point_buffer import MAX_BUFFER_M, MAX_DISC_M

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
    expected = {"type": "PointBuffer", "lon": 121.5, "lat": 31, "buffer_m": 30_000, "shape": "box"}
    assert json.loads(json.dumps(found.roi)) == expected


@pytest.mark.parametrize(
    ("roi", "message"),
    [
        (None, "there is no geometry"),
        ("0,0,1,1", "got str: '0,0,1,1'"),
        ("1234", "got str: '1234'"),
        (b"1234", "got bytes"),
        (5, "got int: 5"),
        ({"minlon": 0}, "got a GeoJSON type None"),
        ({1, 2, 3, 4}, "got set"),
        ((number for number in range(4)), "got generator"),
        ((0, 0, 1), "got 3 values"),
        ((0, 0, 0, 1, 1, 1), "got 6 values"),
        ((), "got 0 values"),
        (np.array(5.0), "got ndarray"),
        (np.zeros((4, 1)), "got 4 of them: ask for one at a time"),
        (np.zeros((2, 4)), "got 2 of them"),
        ([BBox(0, 0, 1, 1)] * 4, "got 4 of them"),
        ("fields.shp", "read a file first"),
        (Path("fields.shp"), "read a file first"),
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
        ((0, 0, 0), "buffer_m must be at least 0.001 m"),
        ((0, 0, 0.0009), "buffer_m must be at least 0.001 m"),
        ((0, 0, -5), "buffer_m must be at least 0.001 m"),
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


@pytest.mark.parametrize("shape", ["square", None, 1, ["circle"]])
def test_shape_of_a_buffer_is_a_box_or_a_circle(shape):
    with pytest.raises(RegionError, match="shape must be 'box' or 'circle'; got"):
        PointBuffer(0, 0, 1000, shape)


def test_largest_radii():
    assert PointBuffer(0, 0, MAX_BUFFER_M).buffer_m == MAX_BUFFER_M
    assert PointBuffer(0, 0, MAX_DISC_M, "circle").shape == "circle"
    with pytest.raises(RegionError, match="at most 20,003,931 m, the way from pole to pole"):
        PointBuffer(0, 0, MAX_BUFFER_M + 1)


@pytest.mark.parametrize("roi", [BBox(0, 0, 1, 1), PointBuffer(0, 0, 1000)])
def test_crs_of_what_is_in_degrees_already(roi):
    kind = type(roi).__name__
    with pytest.raises(
        RegionError, match=f"a {kind} is in degrees already; .* make it with {kind}.from_crs"
    ):
        footprint(roi, "EPSG:3857")


def test_four_numbers_take_a_crs():
    numbers = (13358338, 3503549, 13580977, 3763310)
    assert footprint(numbers, "EPSG:3857").bounds == pytest.approx((120, 30, 122, 32), abs=1e-5)
    assert footprint(np.array(numbers), 3857).bounds == BBox.from_crs(numbers, crs=3857).bounds
    with pytest.raises(RegionError, match="got 3 values"):
        footprint((1, 2, 3), 3857)


def test_middle_of_a_footprint():
    assert footprint((10, 20, 12, 30)).centre == (11, 25)
    assert footprint((170, 0, -170, 1)).centre == (180, 0.5)
    assert footprint(PointBuffer(350, 80, 50_000)).centre == (350, 80)
