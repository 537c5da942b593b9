"""Points, and regions smaller than a cell: the cell there, or between four centres, against NumPy."""

import itertools

import numpy as np
import pytest
import shapely
from pyproj import CRS, Transformer

import cop_zarr
from cop_zarr import PointBuffer
from cop_zarr.errors import CopZarrError, InputError, RegionError, SubcellError
from cop_zarr.querying import points
from tests.support import factory

STEP = factory.STEP
BANDS = factory.BANDS


def nearest(globe, lon, lat, *, skip=False):
    """The cells whose centres are nearest, (n, bands); for points that lie on no edge."""
    row, col = np.rint((90 - lat) / STEP).astype(int), np.rint((lon + 180) / STEP).astype(int)
    cells = globe[:, row, col % factory.COLS].T
    return np.where(cells.any(axis=1, keepdims=True) | (not skip), cells, np.float32("nan"))


def bilinear(globe, lon, lat, *, skip=False):
    """Each centre counts by how near it is, in latitude and longitude, within one cell; (n, bands)."""
    row, col = np.floor((90 - lat) / STEP), np.floor((lon + 180) / STEP)
    total, weight = np.zeros((len(lon), len(globe))), np.zeros((len(lon), 1))
    for south, east in ((0, 0), (0, 1), (1, 0), (1, 1)):
        r, c = np.clip(row + south, 0, factory.ROWS - 1), col + east
        near = 1 - np.abs(90 - STEP * r - lat) / STEP, 1 - np.abs(STEP * c - 180 - lon) / STEP
        cells = globe[:, r.astype(int), c.astype(int) % factory.COLS].T
        part = (np.where(row + south == r, near[0], 0) * near[1])[:, None]
        if skip:
            part = part * cells.any(axis=1, keepdims=True)
        total += part * cells
        weight += part
    with np.errstate(invalid="ignore"):
        return total / weight


def random_points(count, seed=0):
    """All over the globe, in both conventions of longitude, many near the seam and near the poles."""
    rng = np.random.default_rng(seed)
    lon = rng.uniform(-180, 360, count)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    seam, pole = rng.random(count) < 0.1, rng.random(count) < 0.1
    lon[seam] = 180 + rng.uniform(-0.5, 0.5, seam.sum())
    lat[pole] = rng.choice([-1, 1], pole.sum()) * rng.uniform(89.4, 90, pole.sum())
    return lon, lat


CORNERS = [
    *itertools.product((-180.0, -179.9, 0.0, 179.9, 180.0, 359.9, 360.0), (-90.0, 0.0, 90.0)),
    (10.0, 40.0), (10.1, 40.1), (10.0, 89.99), (10.1, -89.9), (-0.05, 0.05), (180 - 1e-9, 45.02),
    (10 + 1e-9, 40.02), (10.02, 40 - 1e-9), (179.75 - 1e-6, -17.13), (-180 + 1e-6, -17.13),
]  # fmt: skip

ORACLES = {"nearest": nearest, "bilinear": bilinear}


@pytest.mark.parametrize("empty", ["include", "skip"])
@pytest.mark.parametrize("method", ORACLES)
def test_many_points(store, globe, method, empty):
    lon, lat = np.concatenate([random_points(20_000), np.array(CORNERS).T], axis=1)
    found = store.sample(lon, lat, method=method, empty=empty)
    expected = ORACLES[method](globe, lon, lat, skip=empty == "skip")
    assert found.dtype == "f4"
    assert np.isnan(expected).any() == (empty == "skip")
    if method == "nearest":
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("method", ORACLES)
def test_longitude_is_cyclic_and_the_grids_edge_is_the_pole(store, method):
    rng = np.random.default_rng(9)
    lon, lat = rng.integers(-180 * 64, 180 * 64, 500) / 64, rng.uniform(-90, 90, 500)
    lat[:4] = 90, -90, 90, -90
    expected = store.sample(lon, lat, method=method)
    lat[:4] = np.nextafter(90, 91), np.nextafter(-90, -91), 90.125, -90.125
    for turn in (-720, -360, 360, 720):
        np.testing.assert_array_equal(store.sample(lon + turn, lat, method=method), expected)


def test_a_centre_is_its_cell_bit_for_bit(store, globe):
    """No neighbour has a part in it, and so none is read."""
    rng = np.random.default_rng(1)
    row, col = rng.integers(0, 721, 500), rng.integers(0, 1440, 500)
    found = store.sample(col * STEP - 180, 90 - row * STEP, method="bilinear")
    np.testing.assert_array_equal(found, globe[:, row, col].T)


@pytest.mark.parametrize("method", ORACLES)
@pytest.mark.parametrize(
    ("points", "shape"),
    [
        ((10.1, 40.2), ()), ((np.float32(10.1), 40), ()), (([10.1, 11], 40), (2,)), (([], []), (0,)),
        ((np.linspace(10, 12, 5), np.linspace(40, 42, 4)[:, None]), (4, 5)),
        ((np.arange(6, dtype="u1").reshape(1, 2, 3), np.arange(3, dtype="i2")), (1, 2, 3)),
        ((np.zeros((0, 3)), np.zeros((0, 3))), (0, 3)), ((np.zeros((4, 0)), 1), (4, 0)),
        ((np.arange(10.0)[::3], np.arange(8.0)[::-2]), (4,)),
    ],
)  # fmt: skip
def test_the_answer_has_the_points_shape(store, globe, method, points, shape):
    found = store.sample(*points, method=method)
    assert found.shape == (*shape, BANDS)
    assert found.dtype == "f4"
    lons, lats = (each.ravel().astype("f8") for each in np.broadcast_arrays(*points))
    np.testing.assert_allclose(found.reshape(-1, BANDS), ORACLES[method](globe, lons, lats), rtol=1e-6)


# A part of the globe, with what is no number

ROWS, COLS = (200, 220), (800, 824)
"""Latitudes 40 to 35.25, longitudes 20 to 25.75."""


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    """A store of 20 x 24 cells whose cell (3, 3) holds NaN and (5, 5) infinities; and its values."""
    place = tmp_path_factory.mktemp("part")
    values = factory.truth(ROWS, COLS, 4)
    values[1:, 3, 3] = np.nan
    values[:2, 5, 5] = np.inf, -np.inf
    cop_zarr.ingest(factory.write_geotiff(place / "a.tif", values, rows=ROWS, cols=COLS), place / "a.zarr")
    globe = np.zeros((4, factory.ROWS, factory.COLS), "f4")
    globe[:, slice(*ROWS), slice(*COLS)] = values
    return cop_zarr.open(place / "a.zarr"), globe


def test_nan_and_infinity_are_values_and_reach_no_farther_than_their_weight(part):
    store, globe = part
    for options in ({}, {"method": "bilinear"}, {"method": "bilinear", "empty": "skip"}):
        place = (20.8, 39.3) if options else (20.75, 39.25)
        assert np.isnan(store.sample(*place, **options)).tolist() == [False, True, True, True]
    for lon, lat in ((21, 39.25), (20.75, 39), (20.5, 39.2)):
        expected = nearest(globe, np.array([lon]), np.array([lat]))[0]
        found = store.sample(lon, lat, method="bilinear")
        assert np.isfinite(found).all()
        if lat != 39.2:
            np.testing.assert_array_equal(found, expected)
    assert store.sample(21.2, 38.8, method="bilinear")[:2].tolist() == [np.inf, -np.inf]


# What is read


@pytest.mark.parametrize("method", ORACLES)
def test_each_chunk_under_the_points_is_read_once_and_no_other(watched, globe, method):
    store, read_keys = watched
    lon, lat = random_points(4_000, seed=8)
    store.sample(lon, lat, method=method)
    row, col = (90 - lat) / STEP, (lon + 180) / STEP
    if method == "nearest":
        cells = {(int(r), int(c) % 1440) for r, c in zip(np.rint(row), np.rint(col), strict=True)}
    else:
        cells = {
            (min(int(r) + south, 720), (int(c) + east) % 1440)
            for r, c in zip(np.floor(row), np.floor(col), strict=True)
            for south in (0, 1)
            for east in (0, 1)
        }
    held = globe.any(axis=0)
    keys = {
        f"embedding/c/0/{r // 8}/{c // 8}"
        for r, c in cells
        if held[r // 8 * 8 : r // 8 * 8 + 8, c // 8 * 8 : c // 8 * 8 + 8].any()
    }
    assert sorted(read_keys) == sorted(keys)


def test_points_that_are_skipped_or_refused_cost_no_chunk(watched, globe):
    store, read_keys = watched
    for method in ORACLES:
        assert np.isnan(store.sample([NAN, 1081, 0], [0, 0, INFINITE], method=method, on_error="nan")).all()
    assert not read_keys
    row, col = np.argwhere(~globe.any(axis=0)).T[:, ::997]
    assert np.isnan(store.sample(col * STEP - 180, 90 - row * STEP, empty="skip")).all()
    assert read_keys == ["valid/c/0/0"]


INFINITE, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("lon", "lat", "message"),
    [
        (NAN, 0, "position 0"), ([0, 1, NAN, NAN], 0, r"position 2\D.*\b2$"),
        (0, [0, INFINITE], "position 1"),
        ([0, -1080.1], 0, "position 1"), ([1080.1, 0], 0, "position 0"),
        ([[0, 0], [0, 0]], [[0, 0], [0, 90.126]], "position 1, 1"), (48.1, 111.5, "swapped"),
        ("10", 40, "lon"), ([10, "11"], 40, "lon"), (10, b"40", "lat"), ([10, None], 40, "lon"),
        (10, True, "lat"),
        (10 + 0j, 40, "lon"), (np.datetime64("2021-01-01"), 40, "lon"), ([[1, 2], [3]], 40, "lon"),
        ({"lon": 10}, 40, "lon"), ([1, 2], [1, 2, 3], "shape"),
        (np.zeros((2, 3)), np.zeros((3, 2)), "shape"),
        (np.ma.masked_array([10.0, 11.0], mask=[False, True]), [40, 40], "position 1"),
        (np.ma.masked_array([None, object()], mask=[False, True]), [1, 1], "lon"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("options", [{}, {"method": "bilinear", "empty": "skip"}], ids=str)
def test_invalid_points_are_refused_before_any_read(watched, lon, lat, message, options):
    store, read_keys = watched
    with pytest.raises(RegionError, match=message) as error:
        store.sample(lon, lat, **options)
    assert isinstance(error.value, CopZarrError)
    assert isinstance(error.value, ValueError)
    if "position" not in message and message != "swapped":  # these are not numbers, whatever on_error says
        with pytest.raises(RegionError):
            store.sample(lon, lat, on_error="nan", **options)
    assert not read_keys


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:4807", "EPSG:32632", "EPSG:4326"])
def test_points_in_another_crs(store, crs):
    lon, lat = np.random.default_rng(5).uniform([[6], [-60]], [[12], [60]], (2, 60))
    x, y = Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(lon, lat)
    expected = store.sample(lon, lat)
    for given in (crs, CRS(crs)):
        np.testing.assert_array_equal(store.sample(x, y, crs=given), expected)
    shaped = store.sample(x.reshape(5, 12), y.reshape(5, 12), crs=crs, method="bilinear")
    np.testing.assert_allclose(shaped.reshape(60, -1), store.sample(lon, lat, method="bilinear"), rtol=1e-4)
    y[3] = 1e12
    with pytest.raises(RegionError, match="position 3"):
        store.sample(x, y, crs=crs)
    found = store.sample(x, y, crs=crs, on_error="nan")
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [3]
    with pytest.raises(RegionError, match="CRS"):
        store.sample(0, 0, crs="EPSG:1")


def test_the_grids_edge_is_the_pole_in_every_crs_of_the_globe(store):
    north, south = store.sample([0, 0], [90, -90], method="bilinear")
    for crs, pole in (("EPSG:4258", 90), ("EPSG:4807", 100)):
        for past in (0, 1e-10, 0.1):
            lats = np.array([1, -1]) * (pole + past)
            found = store.sample([0, 0], lats, crs=crs, method="bilinear")
            if crs == "EPSG:4258":  # the pole of the other datum is 170 m away
                np.testing.assert_array_equal(found, [north, south])
        with pytest.raises(RegionError, match=crs):
            store.sample(0, pole + 0.2, crs=crs)


# Points without an answer, and more points than are sorted at once


def points_without_answer():
    """Points of which some are no numbers, or lie beyond the globe, or beside the part."""
    lon, lat = (np.random.default_rng(20).uniform(*span, 400) for span in ((19, 27), (34.5, 40.5)))
    invalid = [*itertools.product([NAN, INFINITE, -INFINITE, 1081, -1081], [38.0]),
               *itertools.product([22.0], [NAN, INFINITE, -INFINITE, 90.126, -91])]  # fmt: skip
    outermost = [*itertools.product((20, 25.75), (40, 35.25)), (22, 35.25)]
    return np.concatenate([np.array([*invalid, *outermost]).T, [lon, lat]], axis=1)


@pytest.mark.parametrize("empty", ["include", "skip"])
@pytest.mark.parametrize("method", ORACLES)
def test_refused_points_are_nan_if_that_is_asked_for(part, method, empty):
    """Between centres nothing is known beyond the outermost ones, half a cell within the part's edges."""
    store, globe = part
    lon, lat = points_without_answer()
    options = {"method": method, "empty": empty}
    beyond = 0.125 if method == "nearest" else 0
    inside = (np.abs(lon - 22.875) <= 2.875 + beyond) & (np.abs(lat - 37.625) <= 2.375 + beyond)
    assert 100 < inside.sum() < 350
    expected = np.full((len(lon), 4), np.nan)
    expected[inside] = ORACLES[method](globe, lon[inside], lat[inside], skip=empty == "skip")
    found = store.sample(lon, lat, on_error="nan", **options)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    refused = []
    store.sample(lon, lat, on_error=lambda number, _: refused.append(number), **options)
    assert refused == np.flatnonzero(~inside).tolist()
    with pytest.raises(RegionError, match="position 0"):
        store.sample(lon, lat, **options)
    grid = store.sample(lon.reshape(5, 83), lat.reshape(5, 83), on_error="nan", **options)
    np.testing.assert_array_equal(grid.reshape(415, 4), found)


@pytest.mark.parametrize("at_once", [1, 7, 999, 5000])
@pytest.mark.parametrize("method", ORACLES)
def test_points_in_several_rounds_are_the_same(part, monkeypatch, method, at_once):
    store, _ = part
    lon, lat = points_without_answer()[:, : 60 if at_once == 1 else 400]
    options = {"method": method, "on_error": "nan", "empty": "skip"}
    expected = store.sample(lon, lat, **options)
    monkeypatch.setattr(points, "BLOCK_POINTS", at_once)
    monkeypatch.setattr(points, "COPIED_POINTS", 3)
    calls, count = [], lon.size
    found = store.sample(lon, lat, **options, progress=lambda *numbers: calls.append(numbers))
    np.testing.assert_array_equal(found, expected, strict=True)
    done, totals = zip(*calls, strict=True)
    assert set(totals) == {count}
    assert done == tuple(sorted(set(done)))  # it rises, chunk by chunk
    assert {*range(at_once, count, at_once), count} <= set(done)
    assert at_once < count or len(done) > 3
    with pytest.raises(RegionError, match="position 40"):
        store.sample(np.where(np.arange(50) == 40, 100, 21), 38, method=method)


@pytest.mark.parametrize(
    "points", [(10, 40), ([[10, 11]], [[40, 41]]), (np.zeros((3, 0)), 0), ([10, 11], [[40], [41]])], ids=str
)
def test_a_table_takes_points_in_one_row(watched, points):
    store, read_keys = watched
    for shape in ((2, BANDS), (1, 2, BANDS), (BANDS,), (*np.broadcast(*points).shape, BANDS)):
        out = np.empty(shape, "f4")
        with pytest.raises(InputError, match="dimension"):
            store.sample(*points, out=out)
    assert not read_keys


# Regions smaller than a cell

SHANGHAI = PointBuffer(121.5, 31.2, 5000)
"""The example of rs-embed's own documentation, which rs-embed refuses."""


def test_the_example_by_each_rule(store, globe):
    """It reaches from 31.155 to 31.245 and 121.448 to 121.552: rows 235 and 236 meet at 31.125, so one."""
    cell = globe[:, 235, 1206]
    assert cell.any()
    with pytest.raises(SubcellError) as error:
        store.query(SHANGHAI)
    assert all(rule in str(error.value) for rule in ("touch", "nearest", "bilinear"))
    np.testing.assert_array_equal(store.query(SHANGHAI, subpixel="touch").data, cell)
    np.testing.assert_array_equal(store.query(SHANGHAI, subpixel="nearest").data, cell)
    found = store.query(SHANGHAI, subpixel="bilinear")
    np.testing.assert_allclose(found.data, 0.2 * globe[:, 236, 1206] + 0.8 * globe[:, 235, 1206], rtol=1e-6)
    assert found.meta["weights"] == "bilinear"
    assert (found.meta["rows"], found.meta["cols"]) == ([235, 237], [1206, 1207])
    assert found.meta["total_cells"] == 2


def small_regions(count, seed):
    """Boxes, circles, boxes of circles and triangles less than a cell high; each with its middle."""
    rng = np.random.default_rng(seed)
    lons, lats = random_points(count, seed)
    for lon, lat, kind in zip(lons, np.clip(lats, -89.99, 89.99), rng.integers(0, 4, count), strict=True):
        if kind == 0:
            half_width, half_height = rng.uniform(1e-3, 0.12, 2)
            half_height = min(half_height, 90 - abs(lat))
            if not -180 <= lon - half_width < lon + half_width <= 360:
                continue
            yield (lon - half_width, lat - half_height, lon + half_width, lat + half_height), lon, lat
        elif kind == 3:
            offsets = rng.uniform(-0.1, 0.1, (3, 2))
            offsets[:, 1] *= min(1, (90 - abs(lat)) / 0.2)
            corners = offsets - offsets.mean(axis=0) + [lon, lat]
            if corners[:, 0].min() < -180 or corners[:, 0].max() > 360:
                continue
            yield shapely.Polygon(corners), lon, lat
        else:
            yield PointBuffer(lon, lat, rng.uniform(10, 12_000), ("box", "circle")[kind - 1]), lon, lat


@pytest.mark.parametrize("empty", ["include", "skip"])
@pytest.mark.parametrize("rule", ORACLES)
def test_one_vector_for_a_small_region(store, globe, rule, empty):
    seen = 0
    for region, lon, lat in small_regions(200, seed=9):
        answer = store.query(region, subpixel=rule, empty=empty)
        expected = ORACLES[rule](globe, np.array([lon]), np.array([lat]), skip=empty == "skip")[0]
        tolerance = {"rtol": 3e-6, "atol": 0.1 * (rule == "bilinear")}  # 1e-6 of a cell is on the line
        np.testing.assert_allclose(answer.data, expected, **tolerance, err_msg=str(region))
        seen += np.isnan(expected).all()
        assert answer.meta["subpixel"] == rule
        assert answer.meta["weights"] == ("bilinear" if rule == "bilinear" else None)
        assert np.isnan(expected).all() == (empty == "skip" and answer.meta["valid_cells"] == 0)
        assert answer.weights.sum() == pytest.approx(1, abs=3e-6)
    assert seen > 15 or empty == "include"


@pytest.mark.parametrize("rule", ["raise", "touch", "nearest", "bilinear"])
@pytest.mark.parametrize("region", [(10, 40, 10.25, 40.25), (10, 40, 12, 42), PointBuffer(10, 40, 30_000)])
def test_the_rule_says_nothing_of_a_region_that_is_large_enough(store, region, rule):
    answer = store.query(region, subpixel=rule)
    np.testing.assert_array_equal(answer.data, store.query(region).data)
    assert answer.meta["subpixel"] is None
    assert answer.meta["weights"] is None


@pytest.mark.parametrize("rule", ["touch", "nearest"])
def test_the_grid_of_a_small_region(store, globe, rule):
    answer = store.query((10.05, 40.05, 10.2, 40.11), subpixel=rule, output="grid")
    cols = slice(760, 762) if rule == "touch" else slice(761, 762)
    np.testing.assert_array_equal(answer.data, globe[:, 200:201, cols])
    assert answer.meta["subpixel"] == rule


@pytest.mark.parametrize(
    ("region", "rule", "rows", "clipped"),
    [
        ((25.7, 37.05, 25.86, 37.15), "touch", {211: 0.25, 212: 0.75}, False),
        ((25.7, 37.05, 25.86, 37.15), "nearest", {212: 1}, False),
        ((25.8, 37.15, 25.9, 37.25), "touch", {211: 1}, True),  # beyond the edge by a quarter
        ((25.7, 37.05, 25.86, 37.15), "bilinear", None, None),  # half a cell from the edge
        *(((27.7, 37.05, 27.86, 37.15), rule, None, None) for rule in ("touch", "nearest", "bilinear")),
    ],
)
def test_small_regions_at_the_edge_of_a_part(part, region, rule, rows, clipped):
    """A cell is there as far as its edge, an interpolated value as far as the last centre."""
    store, globe = part
    if rows is None:
        with pytest.raises(RegionError):
            store.query(region, subpixel=rule)
        return
    answer = store.query(region, subpixel=rule, weights="coverage")
    assert answer.meta["clipped"] == clipped
    np.testing.assert_allclose(answer.data, globe[:, list(rows), 823] @ [*rows.values()], rtol=1e-6)
