"""Boxes, points and what is not a region: footprints, checks and their errors."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from cop_zarr.errors import CopZarrError, RegionError
from cop_zarr.regions import BBox, PointBuffer, footprint
from cop_zarr.regions.point_buffer import MAX_BUFFER_M, MAX_DISC_M


@pytest.mark.parametrize(
    ("numbers", "word"),
    [
        ((math.nan, 0, 1, 1), "minlon"),
        ((0, 0, math.inf, 1), "maxlon"),
        ((0, 1, 1, 0), "minlat"),
        ((0, 1, 1, 1), "minlat"),
        ((-1080.001, 0, 1, 1), "longitudes"),
        ((5, 0, 5, 1), "wide"),
        ((170, 0, -190, 1), "wide"),
        ((180.1, 0, -179.9, 1), "wide"),
        ((-180, 0, 180.26, 1), "wide"),
        ((0, 90, 1, 90.125), "minlat"),
        ((-180, 0, 360, 1), "wide"),
        (("0", 0, 1, 1), "minlon"),
        ((0, 0, np.array([1.0]), 1), "maxlon"),
        *(((edge, 0, 1, 1), "minlon|longitudes") for edge in (1e20, -1e308, 10**400)),
        pytest.param((0, 0, 10**5000, 1), "maxlon", id="10**5000"),
    ],
)
def test_box_errors(numbers, word):
    with pytest.raises(RegionError, match=word) as error:
        BBox(*numbers)
    assert isinstance(error.value, CopZarrError)
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize(
    ("numbers", "word"),
    [
        ((math.nan, 0, 1), "lon"),
        ((0, 0, 0.0009), "buffer_m"),
        ((0, 0, MAX_BUFFER_M + 1), "buffer_m"),
        ((0, 0, MAX_DISC_M + 1, "circle"), "buffer_m"),
        ((0, 90.126, 5), "lat"),
        ((-1080.1, 0, 5), "lon"),
        ((0, 0, "5 km"), "buffer_m"),
        *(((0, 0, 1000, shape), "shape") for shape in ("square", None, 1, ["circle"])),
    ],
)
def test_point_errors(numbers, word):
    with pytest.raises(RegionError, match=word):
        PointBuffer(*numbers)


@pytest.mark.parametrize(
    ("make", "swapped"),
    [
        (lambda: BBox(30, 120, 32, 122), True),
        (lambda: BBox(120, 91, 122, 92), False),
        (lambda: PointBuffer(31.2, 121.5, 5000), True),
        (lambda: PointBuffer(121.5, 91, 5000), False),
        (lambda: BBox(50, 100, 40, 110), False),  # would be from 50 down to 40
        (lambda: BBox(-179, -90.2, 179, 90), False),
    ],
)
def test_hint_if_latitude_and_longitude_are_swapped(make, swapped):
    with pytest.raises(RegionError) as error:
        make()
    assert ("swapped" in str(error.value)) == swapped


@pytest.mark.parametrize(
    ("numbers", "west_east"),
    [
        ((120, 30, 122, 32), (120, 122)),
        ((170, 0, -170, 1), (170, 190)),
        ((-10, 0, 350, 1), (-10, 350)),
        ((-180, 0, 180, 1), (-180, 180)),
        ((0, 0, 360, 1), (0, 360)),
        ((350, 0, -170, 1), (350, 550)),  # edges of both conventions: 10° W eastward to 170° W
        ((360, 0, -180, 1), (360, 540)),
        ((10, 0, 9.5, 1), (10, 369.5)),
        ((-186.5, 0, -170, 1), (173.5, 190)),
        ((730, 0, 370.5, 1), (10, 10.5)),
        ((350, 0, 370, 1), (350, 370)),
        ((-180.125, 0, 179.875, 1), (-180.125, 179.875)),
        ((-180, 0, math.nextafter(180, 999), 1), (-180, 180)),
        ((-180.125, 0, 180.125, 1), (-180.125, 179.875)),
        ((539.875, 0, 540.125, 1), (179.875, 180.125)),
    ],
)
def test_bounds_of_a_box(numbers, west_east):
    bounds = BBox(*numbers).bounds
    assert (bounds.west, bounds.east) == west_east
    assert (bounds.south, bounds.north) == (numbers[1], numbers[3])
    centre = (sum(west_east) / 2, (numbers[1] + numbers[3]) / 2)
    assert footprint(numbers).centre == centre


def test_bounds_of_any_box():
    rng, checked = np.random.default_rng(0), 0
    for minlon, maxlon in rng.choice(np.arange(-1080, 1081, 20), (3000, 2)).tolist():
        try:
            west, _, east, _ = BBox(minlon, 0, maxlon, 1).bounds
        except RegionError:
            assert (maxlon - minlon) % 360 == 0 or maxlon - minlon > 360
            continue
        checked += 1
        assert -180 <= west <= 360
        assert west < east <= west + 360
        assert ((west - minlon) % 360, (east - maxlon) % 360) == (0, 0)
    assert checked > 1000


@pytest.mark.parametrize("lat", [-90.125, math.nextafter(90, 91), 90.125])
def test_latitudes_up_to_the_grids_edge_are_the_pole(lat):
    south, north = min(lat, 80), max(lat, -80)
    assert BBox(0, south, 1, north).bounds[1::2] == (max(south, -90), min(north, 90))
    assert PointBuffer(5, lat, 5e4).bounds == PointBuffer(5, np.clip(lat, -90, 90), 5e4).bounds


@pytest.mark.parametrize(
    "roi",
    [
        (120, 30, 122, 32),
        [120.0, 30, 122, 32],
        np.array([120, 30, 122, 32], "f4"),
        tuple(map(np.int16, (120, 30, 122, 32))),
        BBox(120, 30, 122, 32),
        BBox(*map(np.array, (120, 30, 122, 32))),
    ],
)
def test_footprint_of_a_box(roi):
    found = footprint(roi)
    assert found.bounds == (120, 30, 122, 32)
    assert found.geometry is None
    assert found.input_crs == "EPSG:4326"
    expected = {"type": "BBox", "minlon": 120, "minlat": 30, "maxlon": 122, "maxlat": 32}
    assert json.loads(json.dumps(found.roi)) == expected


@pytest.mark.parametrize("shape", ["box", "circle"])
def test_footprint_of_a_point(shape):
    found = footprint(PointBuffer(lon=np.float32(350.5), lat=31, buffer_m=np.int64(30_000), shape=shape))
    assert found.centre == (350.5, 31)
    assert (found.geometry is None) == (shape == "box")
    assert found.input_crs == "EPSG:4326"
    expected = {"type": "PointBuffer", "lon": 350.5, "lat": 31, "buffer_m": 30_000, "shape": shape}
    assert json.loads(json.dumps(found.roi)) == expected


@pytest.mark.parametrize(
    ("roi", "word"),
    [
        (None, "None"),
        ("0,0,1,1", "str"),
        ({"minlon": 0}, "GeoJSON"),
        ((number for number in range(4)), "generator"),
        ((0, 0, 1), "3 values"),
        (np.zeros((4, 1)), "4 regions"),
        ([BBox(0, 0, 1, 1)] * 4, "4 regions"),
        (Path("fields.shp"), "batch"),
        (("a", "b", "c", "d"), "number"),
    ],
)
def test_not_a_region(roi, word):
    with pytest.raises(RegionError, match=word):
        footprint(roi)


@pytest.mark.parametrize("roi", [BBox(0, 0, 1, 1), PointBuffer(0, 0, 1000)])
def test_crs_of_a_region_in_degrees(roi):
    with pytest.raises(RegionError, match=rf"{type(roi).__name__}\.from_crs"):
        footprint(roi, "EPSG:3857")
