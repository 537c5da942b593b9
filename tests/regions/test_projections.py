"""Boxes of any CRS against dense grids of their points, converted by pyproj."""

from functools import cache

import numpy as np
import pytest
from pyproj import CRS, Transformer

from cop_zarr.errors import RegionError
from cop_zarr.regions import BBox, PointBuffer, footprint
from cop_zarr.regions.projections import projection

ON_ANTIMERIDIAN = "+proj=laea +lat_0=-17 +lon_0=180 +datum=WGS84"
ROTATED_POLE = (
    "+proj=ob_tran +o_proj=longlat +o_lon_p=-162 +o_lat_p=39.25 +lon_0=180 +to_meter=0.0174532925199433 "
    "+ellps=WGS84 +type=crs"
)
HIMAWARI = "+proj=geos +h=35785831 +lon_0=140.7 +datum=WGS84"
ORTHO = "+proj=ortho +lat_0=45 +lon_0=10"
MODIS = "+proj=sinu +R=6371007.181 +units=m"

MAPS = {
    "EPSG:3857": (-25e6, -15e6, 25e6, 15e6),  # beyond the antimeridian on both sides
    "EPSG:3995": (-4e6, -4e6, 4e6, 4e6),
    "EPSG:6931": (-9e6, -9e6, 9e6, 9e6),
    "EPSG:32760": (160e3, 1e6, 840e3, 9.9e6),  # a UTM zone beside the antimeridian
    "EPSG:3035": (2.5e6, 1.5e6, 7e6, 5.5e6),
    "EPSG:6933": (-17.3e6, -7.3e6, 17.3e6, 7.3e6),
    "EPSG:26717": (1e5, 3e6, 9e5, 7e6),  # NAD27: PROJ chooses its datum shift by location
    "EPSG:4269": (-180, -80, 360, 80),
    "EPSG:4807": (-190, -90, 190, 90),  # grads, from Paris
    "ESRI:54008": (-9e6, -5e6, 9e6, 5e6),
    ON_ANTIMERIDIAN: (-3e6, -3e6, 3e6, 3e6),
    ROTATED_POLE: (-60, -60, 60, 60),
    HIMAWARI: (-3.5e6, -3.5e6, 3.5e6, 3.5e6),
    MODIS: (-6e6, -6e6, 6e6, 6e6),
    ORTHO: (-3e6, -3e6, 3e6, 3e6),
    "ESRI:54030": (-5e6, -8e6, 5e6, 8e6),
}


def random_boxes(area, count, seed):
    """Boxes of all sizes, from a thousandth of the map to the whole of it."""
    rng = np.random.default_rng(seed)
    west, south, east, north = area
    for _ in range(count):
        width, height = (10 ** rng.uniform(-3, 0, 2)) * [east - west, north - south]
        x, y = rng.uniform(west, east - width), rng.uniform(south, north - height)
        yield float(x), float(y), float(x + width), float(y + height)


@cache
def transformer(source, target):
    return Transformer.from_crs(source, target, always_xy=True)  # up to 0.1 s


def to_lonlat(xs, ys, crs):
    lons, lats = transformer(crs, "OGC:CRS84").transform(xs, ys)
    return np.asarray(lons), np.asarray(lats)


def dense(box):
    """Points all over a box, and more of them along its edges."""
    minx, miny, maxx, maxy = box
    xs, ys = np.meshgrid(np.linspace(minx, maxx, 40), np.linspace(miny, maxy, 40))
    along_x, along_y = np.linspace(minx, maxx, 300), np.linspace(miny, maxy, 300)
    return (
        np.concatenate([xs.ravel(), along_x, along_x, np.full(300, minx), np.full(300, maxx)]),
        np.concatenate([ys.ravel(), np.full(300, miny), np.full(300, maxy), along_y, along_y]),
    )


def poles_inside(box, crs):
    """Latitudes of the poles in a box, edges included."""
    minx, miny, maxx, maxy = box
    places = {pole: transformer("OGC:CRS84", crs).transform(0, pole) for pole in (-90.0, 90.0)}
    return [pole for pole, (x, y) in places.items() if minx <= x <= maxx and miny <= y <= maxy]


def check(box, crs):
    """The box in degrees contains every point of the given one, and is tight."""
    found, case = BBox.from_crs(box, crs=crs).bounds, f"{box} in {crs}"
    west, south, east, north = found
    lons, lats = to_lonlat(*dense(box), crs)
    poles = poles_inside(box, crs)
    lons = lons[np.abs(lats) < 90 - 1e-5]  # at a pole they are arbitrary
    lats = np.append(lats, poles)
    assert -180 <= west < east <= west + 360, case
    assert south - 1e-6 <= lats.min(), case
    assert lats.max() <= north + 1e-6, case
    slack = 0.02 * (north - south) + 1e-9
    assert lats.min() - south < slack, case
    assert north - lats.max() < slack, case
    if east - west < 360:
        east_of_west = (lons - west + 1e-6) % 360 - 1e-6
        assert east_of_west.max() <= east - west + 1e-6, case
        assert east_of_west.min() < 0.02 * (east - west), case
        assert east_of_west.max() > 0.98 * (east - west), case
    elif not poles:
        gaps = np.diff(np.sort(lons % 360), append=360 + (lons % 360).min())
        assert gaps.max() < 10, case  # every longitude is taken for a reason
    return found


@pytest.mark.parametrize(("crs", "area"), MAPS.items(), ids=[name[:25] for name in MAPS])
def test_boxes_contain_all_their_points_and_are_tight(crs, area):
    for box in random_boxes(area, 12, seed=0):
        check(box, crs)


@pytest.mark.parametrize(("crs", "area"), MAPS.items(), ids=[name[:25] for name in MAPS])
def test_points_are_where_pyproj_has_them(crs, area):
    rng = np.random.default_rng(1)
    for x, y in rng.uniform(area[:2], area[2:], (10, 2)):
        lon, lat = to_lonlat(x, y, crs)
        point = PointBuffer.from_crs(x, y, 30_000, crs=crs)
        assert (point.lon, point.lat, point.buffer_m) == (lon, lat, 30_000)


AT_THE_POLE = {
    "within": ((-1e5, -1e5, 2e5, 3e5), 360),
    "a metre within a corner": ((-1, -1, 1e5, 1e5), 360),
    "on an edge": ((0, -1e5, 2e5, 1e5), 180),
    "on a corner": ((0, 0, 1e5, 1e5), 90),
    "on the corner of an EASE-Grid cell": ((-25e3, 0, 0, 25e3), 90),
    "a metre outside a corner": ((1, 1, 1e5, 1e5), 90),
    "a kilometre outside": ((1e3, -1e5, 1e5, 1e5), 180),
    "a metre around": ((-1, -1, 1, 1), 360),
}


@pytest.mark.parametrize(("box", "width"), AT_THE_POLE.values(), ids=AT_THE_POLE)
@pytest.mark.parametrize(
    ("crs", "pole", "offset"),
    [("EPSG:3413", 90, 0), ("EPSG:5041", 90, 2e6), ("EPSG:6931", 90, 0), ("EPSG:3031", -90, 0)],
)
def test_boxes_beside_a_pole(crs, pole, offset, box, width):
    """Stereographic and equal-area maps; 5041 has its pole at (2,000,000, 2,000,000)."""
    found = check(tuple(edge + offset for edge in box), crs)
    assert found.east - found.west == pytest.approx(width, abs=2.5)
    poleward = found.north if pole > 0 else -found.south
    assert poleward == pytest.approx(90, abs=0.01)
    assert (poleward == 90) == (box[0] <= 0 <= box[2] and box[1] <= 0 <= box[3])


@pytest.mark.parametrize(
    "bounds", [(-30, -90, 30, 90), (-120, 50, 120, 90), (-170, -90, 170, -50), (-180, -90, 180, 90)]
)
def test_boxes_up_to_a_pole_that_is_a_line_of_the_map(bounds):
    assert tuple(BBox.from_crs(bounds, crs="EPSG:4258").bounds) == pytest.approx(bounds, abs=1e-9)


@pytest.mark.parametrize(
    ("box", "crs"),
    [
        ((-20037508.342789244, -1e6, 20037508.342789244, 1e6), "EPSG:3857"),
        ((0, -1e6, 41e6, 1e6), "EPSG:3857"),
        ((-17367530.44, -7e6, 17367530.44, 7e6), "EPSG:6933"),
        ((0, -90, 360, 90), "EPSG:4258"),
    ],
)
def test_boxes_around_the_globe(box, crs):
    west, _, east, _ = BBox.from_crs(box, crs=crs).bounds
    assert (west, east) == (-180, 180)


@pytest.mark.parametrize(
    "crs", ["EPSG:2193", "epsg:2193", 2193, CRS(2193), CRS(2193).to_wkt(), "urn:ogc:def:crs:EPSG::2193"]
)
def test_ways_to_name_a_crs(crs):
    box = BBox.from_crs((1.5e6, 5e6, 1.6e6, 5.1e6), crs=crs)
    assert tuple(box.bounds) == pytest.approx((171.7279670, -45.1534772, 173, -44.2463709), abs=1e-6)
    assert box.footprint.input_crs == "EPSG:2193"


@pytest.mark.parametrize(
    ("box", "crs", "middle"),
    [
        ((10, 40, 20, 50), "EPSG:4326", (15, 45)),
        ((10, 40, 20, 50), "EPSG:4258", (15, 45)),
        ((4.3e6, 3.1e6, 4.4e6, 3.2e6), "EPSG:3035", (10.3, 51.4)),
        ((1.5e6, 5e6, 1.6e6, 5.1e6), "EPSG:2193", (172.4, -44.7)),
    ],
)
def test_axes_are_x_and_y_although_the_crs_declares_northing_first(box, crs, middle):
    assert CRS(crs).axis_info[0].direction == "north"
    centre = BBox.from_crs(box, crs=crs).footprint.centre
    assert centre == pytest.approx(middle, abs=0.6)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    point = PointBuffer.from_crs(x, y, 1000, crs=crs)
    assert (point.lon, point.lat) == pytest.approx(middle, abs=0.6)


@pytest.mark.parametrize(
    ("box", "crs"),
    [
        ((-18e6, 8e6, -17e6, 9e6), "ESRI:54008"),
        ((-18e6, -9e6, 18e6, 9e6), "ESRI:54030"),
        ((-7e6, -7e6, 7e6, 7e6), ORTHO),
        ((-12.7e6, -12.7e6, 12.7e6, 12.7e6), "EPSG:6931"),
        ((-6e6, -6e6, 6e6, 6e6), HIMAWARI),
        ((0, 0, 1e6, 3e8), "EPSG:3857"),
    ],
)
def test_boxes_and_points_outside_the_map(box, crs):
    with pytest.raises(RegionError, match="outside the map"):
        BBox.from_crs(box, crs=crs)
    with pytest.raises(RegionError, match="outside the map"):
        PointBuffer.from_crs(*box[2:], 1000, crs=crs)


@pytest.mark.parametrize(
    "crs",
    [
        "nonsense",
        3.5,
        None,
        object(),
        "EPSG:4978",  # geocentric
        "EPSG:5773",  # vertical
        "IAU_2015:30100",  # the Moon
        "+proj=longlat +a=1737400 +b=1737400",
    ],
)
def test_not_a_crs_of_the_earth(crs):
    for make in (
        lambda: projection(crs),
        lambda: BBox.from_crs((0, 0, 1, 1), crs=crs),
        lambda: PointBuffer.from_crs(0, 0, 1000, crs=crs),
    ):
        with pytest.raises(RegionError, match="crs="):
            make()


@pytest.mark.parametrize(
    ("box", "word"),
    [
        ((0, 0, 0, 1), "minx"),
        ((0, 0, np.nan, 1), "maxx"),
        ((0, 0, 1), "3 values"),
        ("0 0 1 1", "str"),
    ],
)
def test_box_errors(box, word):
    with pytest.raises(RegionError, match=word):
        BBox.from_crs(box, crs=3857)


def test_degrees_of_the_product_are_not_converted():
    assert BBox.from_crs((170, -20, -170, -10), crs="EPSG:4326").bounds == (170, -20, 190, -10)
    assert BBox.from_crs((350, -20, 10, -10), crs="OGC:CRS84").bounds == (350, -20, 370, -10)
    assert BBox.from_crs((0, 0, 1, 1), crs=4326) == BBox(0, 0, 1, 1)
    assert PointBuffer.from_crs(350, 10, 5, crs=4326) == PointBuffer(350, 10, 5)


@pytest.mark.parametrize(
    "box",
    [
        (170, -20, -170, -10),
        (350, 50, 10, 52),
        (-180.125, -90.125, 179.875, 90.125),
        (-180.00000000000003, 80, 180.00000000000003, 90.00000000000001),
        (5, -90.0000000001, 6, 10),
    ],
)
def test_degrees_of_another_crs_are_cyclic_too(box):
    """ETRS89 differs from WGS84 by nothing here, and so do grads but for the unit and the meridian."""
    expected = BBox(*box).bounds
    for crs in ("EPSG:4258", "EPSG:4269"):
        west, south, east, north = BBox.from_crs(box, crs=crs).bounds
        assert (south, north) == pytest.approx((expected.south, expected.north), abs=1e-5)
        assert east - west == pytest.approx(expected.east - expected.west, abs=2e-5)
        if east - west < 359:
            assert (west - expected.west + 180) % 360 - 180 == pytest.approx(0, abs=1e-5)
    if box[0] < box[2]:
        grads = BBox.from_crs(np.array(box) / 0.9, crs="EPSG:4807").bounds
        assert (grads.south, grads.north) == pytest.approx((expected.south, expected.north), abs=0.01)


@pytest.mark.parametrize("crs", ["EPSG:4258", "EPSG:4230", "EPSG:4267", "EPSG:4807"])
@pytest.mark.parametrize("box", [(0, 80, 30, 90), (0, 89.5, 30, 90), (-60, -90, -50, 10), (0, -90, 30, 90)])
def test_a_box_up_to_the_pole_of_another_datum(crs, box):
    """Its longitudes are those of its edges beside the pole: the two poles are up to 200 m apart."""
    unit, meridian = (0.9, 2.33723) if crs == "EPSG:4807" else (1, 0)
    west, south, east, north = BBox.from_crs([edge / unit for edge in box], crs=crs).bounds
    assert (west - meridian, east - meridian) == pytest.approx((box[0], box[2]), abs=0.3)
    assert (south, north) == pytest.approx((box[1], box[3]), abs=0.005)


def test_degrees_of_another_crs_have_the_same_limits():
    for box in ((0, 0, 400, 1), (0, 0, 1, 90.2), (0, 10, 1, 10), (0, 0, 2000, 1)):
        for crs in ("EPSG:4326", "EPSG:4258"):
            with pytest.raises(RegionError):
                BBox.from_crs(box, crs=crs)


def test_record_of_the_given_coordinates():
    box = (1.5e6, 5e6, 1.6e6, 5.1e6)
    for found in (footprint(box, crs=2193), BBox.from_crs(box, crs=2193).footprint):
        assert found.input_crs == "EPSG:2193"
        assert found.roi["given"] == {"coordinates": list(box), "crs": "EPSG:2193"}
        assert found.roi["type"] == "BBox"
    point = PointBuffer.from_crs(5e5, 0, 30_000, crs="EPSG:32633", shape="circle").footprint
    assert point.roi["given"] == {"coordinates": [5e5, 0], "crs": "EPSG:32633"}
    assert point.input_crs == "EPSG:32633"
    assert "given" not in BBox(0, 0, 1, 1).footprint.roi
