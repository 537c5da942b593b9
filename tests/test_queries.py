"""Answers against the source's own values, which the package has no part in."""

import json
import math
import tracemalloc
from collections import Counter

import numpy as np
import pytest

import cop_zarr
from cop_zarr import product
from cop_zarr.errors import (
    CopZarrError,
    InputError,
    RegionError,
    ResultTooLargeError,
    SubcellError,
    YearError,
)
from cop_zarr.grid import TOUCH_TOLERANCE
from cop_zarr.queries import MAX_BYTES
from cop_zarr.storage import LocalFolder
from tests import factory
from tests.folders import WatchedFolder, open_in

STEP = 0.25


def touched(low, high, first_edge, count):
    """Indices of the cells, from ``first_edge`` on without end, that an interval touches: by search."""
    first = math.floor((low - first_edge) / STEP) - 2
    indices = []
    for index in range(first, first + count + 4):
        left = first_edge + STEP * index
        if min(high, left + STEP) - max(low, left) > TOUCH_TOLERANCE * STEP:
            indices.append(index)
    return indices[:count]


def expected_cells(globe, box):
    """The cells of a box, cut out of the truth with no help of the package."""
    minlon, minlat, maxlon, maxlat = box
    while maxlon < minlon:
        maxlon += 360
    rows = touched(-maxlat, -minlat, -90.125, 721)
    cols = touched(minlon, maxlon, -180.125, 1440)
    return globe[:, rows][:, :, np.mod(cols, 1440)]


def random_boxes(count, seed, largest=12):
    """Boxes of one cell to ``largest`` degrees; some over the seam, at a pole, on edges, to 360."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        west = rng.choice([rng.uniform(-180, 180), rng.uniform(176, 180), rng.uniform(-108, -28)])
        south = rng.choice([rng.uniform(-90, 88), rng.uniform(86, 89.5), -90.0])
        width, height = rng.uniform(STEP, largest, 2)
        if rng.random() < 0.3:  # on cell edges
            west, south = np.round((west - 0.125) * 4) / 4 + 0.125, np.round(south * 4) / 4
            width, height = np.ceil(width * 4) / 4, np.ceil(height * 4) / 4
        west, south = max(west, -180.0), max(south, -90.0)
        north = min(south + height, 90.0)
        if north - south < STEP:
            continue
        east = west + width
        if east > 180 and rng.random() < 0.7:
            east -= 360
        yield tuple(map(float, (west, south, east, north)))


def test_grids_are_the_source_bit_for_bit(store, globe):
    seen = Counter()
    for box in random_boxes(400, seed=0):
        answer = store.query(box, output="grid")
        expected = expected_cells(globe, box)
        np.testing.assert_array_equal(answer.data, expected, strict=True, err_msg=str(box))
        np.testing.assert_array_equal(answer.valid, expected.any(axis=0), err_msg=str(box))
        assert answer.meta["valid_cells"] == expected.any(axis=0).sum()
        seen["wrapped"] += answer.meta["cols"][1] > 1440
        seen["pole"] += answer.meta["rows"][0] == 0 or answer.meta["rows"][1] == 721
        seen["empty"] += not answer.valid.any()
        seen["mixed"] += 0 < answer.valid.sum() < answer.valid.size
    assert min(seen.values()) > 10, seen


def test_pooled_vectors_are_those_of_numpy(store, globe):
    for box in random_boxes(300, seed=1, largest=25):
        cells = expected_cells(globe, box).reshape(factory.BANDS, -1)
        mean, largest = store.query(box).data, store.query(box, pooling="max").data
        np.testing.assert_allclose(mean, cells.mean(axis=1, dtype="f8"), rtol=1e-6, err_msg=str(box))
        np.testing.assert_array_equal(largest, cells.max(axis=1), strict=True, err_msg=str(box))
        assert mean.dtype == "f4"
        assert mean.shape == (factory.BANDS,)


@pytest.mark.parametrize("box", [(-180, -90, 180, 90), (0, -90, 360, 90), (10, -90, 9.99, 90)])
def test_whole_globe(store, globe, box):
    whole = globe.reshape(factory.BANDS, -1)
    answer = store.query(box)
    np.testing.assert_allclose(answer.data, whole.mean(axis=1, dtype="f8"), rtol=1e-6)
    np.testing.assert_array_equal(store.query(box, pooling="max").data, whole.max(axis=1))
    assert answer.meta["total_cells"] == 721 * 1440
    assert not answer.meta["clipped"]
    first = answer.meta["cols"][0]
    assert answer.meta["cols"] == [first, first + 1440]


def test_whole_globe_grid_begins_at_the_box_west_edge(store, globe):
    grid = store.query((0, -90, 360, 90), output="grid")
    np.testing.assert_array_equal(grid.data, np.roll(globe, -720, axis=2))


LATTICE_CELLS = {
    "north-west corner": (0, 0),
    "south-east corner": (720, 1439),
    "last column": (359, 1439),
    "column 0": (361, 0),
    "Greenwich": (360, 720),
    "north pole": (0, 728),
    "south pole": (720, 1000),
    "inside": (233, 1205),
}


@pytest.mark.parametrize(("row", "col"), LATTICE_CELLS.values(), ids=LATTICE_CELLS)
def test_a_cell_is_where_its_coordinates_say(store, globe, row, col):
    """Three by three cells around one: a flip, a transposition or half a cell would show."""
    lon, lat = -180 + STEP * col, 90 - STEP * row
    west = lon - 0.3 if lon - 0.3 >= -180 else lon + 359.7
    box = (west, max(lat - 0.3, -90), lon + 0.3, min(lat + 0.3, 90))
    answer = store.query(box, output="grid")
    rows = [number for number in (row - 1, row, row + 1) if 0 <= number < 721]
    cols = np.mod([col - 1, col, col + 1], 1440)
    expected = globe[:, rows][:, :, cols]
    np.testing.assert_array_equal(answer.data, expected)
    held = answer.valid
    row_told, col_told = np.broadcast_to(np.array(rows)[:, None] + 1, held.shape), cols + 1
    assert held.any(), "the factory has nothing here"
    np.testing.assert_array_equal(answer.data[0][held], row_told[held])
    np.testing.assert_array_equal(answer.data[1][held], np.broadcast_to(col_told, held.shape)[held])
    a, b, c, d, e, f = answer.meta["transform"]
    assert (a, b, d, e) == (STEP, 0, 0, -STEP)
    assert (c + 1.5 * a - lon) % 360 == 0
    assert f + (rows.index(row) + 0.5) * e == lat


def test_longitudes_run_on_past_180(store):
    meta = store.query((179, -1, -179, 1)).meta
    assert meta["cols"] == [1436, 1445]
    a, _, c, *_ = meta["transform"]
    assert c + a * (np.arange(9) + 0.5) == pytest.approx(np.arange(179, 181.1, 0.25), abs=0)
    assert meta["bbox_4326"] == [179, -1, 181, 1]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((-70, 10, -60, 20), (290, 10, 300, 20)),
        ((170, 10, -170, 20), (170, 10, 190, 20)),
        ((-10, 10, 10, 20), (350, 10, 10, 20)),
        ((-10, 10, -170, 20), (350, 10, -170, 20)),
    ],
)
def test_both_longitude_conventions_name_the_same_cells(store, first, second):
    answers = [store.query(box, output="grid") for box in (first, second)]
    np.testing.assert_array_equal(answers[0].data, answers[1].data)
    assert answers[0].meta["cols"] == answers[1].meta["cols"]


def test_point_asks_for_the_box_around_its_circle(store, globe):
    point = cop_zarr.PointBuffer(lon=179.95, lat=-17, buffer_m=60_000)
    west, south, east, north = point.bounds
    answer = store.query(point, output="grid")
    np.testing.assert_array_equal(answer.data, expected_cells(globe, (west, south, east, north)))
    assert answer.meta["roi"] == {
        "type": "PointBuffer", "lon": 179.95, "lat": -17, "buffer_m": 60_000
    }  # fmt: skip
    assert answer.meta["bbox_4326"] == [west, south, east, north]


def test_circle_around_the_pole(store, globe):
    answer = store.query(cop_zarr.PointBuffer(0, 90, 100_000))
    assert answer.meta["total_cells"] == 1440 * 5
    cells = globe[:, :5].reshape(factory.BANDS, -1)
    np.testing.assert_allclose(answer.data, cells.mean(axis=1, dtype="f8"), rtol=1e-6)


# What the product's own values may not spoil: NaN, -0.0, infinities, denormals.


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A store of 20 x 24 cells with odd values, and these: rows 200 to 219, columns 800 to 823."""
    place = tmp_path_factory.mktemp("odd")
    values = factory.truth((200, 220), (800, 824), 4) - 40_000
    values[:, factory.truth((200, 220), (800, 824), 4)[0] == 0] = 0
    values[2, 3, 3] = np.nan
    values[:, 10, 10] = np.nan
    values[:, 0:8, 16:24] = 0
    values[:, 2, 18] = -0.0
    values[3, 12, 20] = -np.inf
    values[3, 15, 2] = 1e-45
    path = factory.write_geotiff(place / "a.tif", values, rows=(200, 220), cols=(800, 824))
    cop_zarr.ingest(path, place / "a.zarr")
    return cop_zarr.open(place / "a.zarr"), values


def box_of(rows, cols):
    """The box exactly on the edges of lattice cells."""
    west, north = -180.125 + STEP * cols[0], 90.125 - STEP * rows[0]
    return (west, 90.125 - STEP * rows[1], -180.125 + STEP * cols[1], north)


def test_odd_values_come_back_bit_for_bit(odd):
    store, values = odd
    answer = store.query(box_of((200, 220), (800, 824)), output="grid")
    bits = np.ascontiguousarray(answer.data).view("u4")
    np.testing.assert_array_equal(bits, np.ascontiguousarray(values).view("u4"))


def test_minus_zero_is_no_data_and_nan_is(odd):
    store, values = odd
    valid = store.query(box_of((200, 220), (800, 824))).valid
    np.testing.assert_array_equal(valid, (values != 0).any(axis=0))
    assert not valid[2, 18]
    assert valid[10, 10]


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_nan_reaches_the_bands_it_is_in(odd, pooling):
    store, _ = odd
    one_band = store.query(box_of((200, 208), (800, 808)), pooling=pooling).data
    assert np.isnan(one_band).tolist() == [False, False, True, False]
    all_bands = store.query(box_of((208, 212), (808, 812)), pooling=pooling).data
    assert np.isnan(all_bands).all()
    clean = store.query(box_of((212, 220), (800, 808)), pooling=pooling).data
    assert np.isfinite(clean).all()


def test_infinity_and_denormals_are_values(odd):
    store, values = odd
    box = box_of((211, 217), (800, 822))
    cells = values[:, 11:17, :22].reshape(4, -1)
    np.testing.assert_allclose(store.query(box).data, cells.mean(axis=1, dtype="f8"), rtol=1e-6)
    np.testing.assert_array_equal(store.query(box, pooling="max").data, cells.max(axis=1))


def test_empty_cells_count_as_zeros_in_the_maximum_of_negative_values(odd):
    store, values = odd
    box = box_of((200, 204), (812, 820))  # its eastern half is empty, in a chunk of -0.0
    assert values[0, :4, 12:16].min() < 0
    assert store.query(box, pooling="max").data.tolist() == [0, 0, 0, 0]


# A part of the globe


def test_part_of_the_globe_is_clipped_and_says_so(odd):
    store, values = odd
    inside = store.query(box_of((200, 220), (800, 824)))
    assert not inside.meta["clipped"]
    outside = store.query((10, 30, 30, 45), output="grid")
    assert outside.meta["clipped"]
    assert outside.data.shape == values.shape
    assert outside.meta["rows"] == [0, 20]
    assert outside.meta["cols"] == [0, 24]
    assert outside.meta["bbox_4326"] == [10, 30, 30, 45]
    assert outside.meta["transform"] == [STEP, 0, 19.875, 0, -STEP, 40.125]
    with pytest.raises(RegionError, match=r"lon 100 … 110, lat 30 … 45 lies outside the store"):
        store.query((100, 30, 110, 45))


def test_part_over_the_antimeridian(tmp_path):
    cols = (1424, 1456)
    path = factory.write_geotiff(tmp_path / "a.tif", rows=(420, 440), cols=cols, bands=4)
    cop_zarr.ingest(path, tmp_path / "a.zarr")
    store = cop_zarr.open(tmp_path / "a.zarr")
    truth = factory.truth((420, 440), cols, 4)
    answer = store.query((178.2, -17, -178.2, -16), output="grid")
    assert answer.meta["cols"] == [9, 24]
    np.testing.assert_array_equal(answer.data, truth[:, 4:9, 9:24])
    east_of_it = store.query((-179.9, -17, -178.2, -16), output="grid")
    np.testing.assert_array_equal(east_of_it.data, truth[:, 4:9, 16:24])
    assert answer.meta["transform"][2] == 178.125


def test_file_from_0_to_360(tmp_path):
    cols = (720, 2160)
    path = factory.write_geotiff(tmp_path / "a.tif", rows=(300, 310), cols=cols, bands=2)
    cop_zarr.ingest(path, tmp_path / "a.zarr")
    store = cop_zarr.open(tmp_path / "a.zarr")
    truth = factory.truth((300, 310), cols, 2)
    for box, first, stop in [
        ((-10, 13, 10, 14), 1400, 1481),
        ((350, 13, 10, 14), 1400, 1481),
        ((100, 13, 110, 14), 400, 441),
        ((-180, 13, 180, 14), 720, 2160),
    ]:
        answer = store.query(box, output="grid")
        assert answer.meta["cols"] == [first, stop]
        np.testing.assert_array_equal(
            answer.data, truth[:, 4:9].take(range(first, stop), axis=2, mode="wrap")
        )
        assert (answer.meta["transform"][2] + 0.125 - box[0]) % 360 == 0


# What is refused, and before anything is read


@pytest.fixture
def watched(store_path):
    """The store, and the keys that are read from it from now on."""
    folder = WatchedFolder(LocalFolder(store_path))
    store = open_in(folder)
    folder.read_keys.clear()
    return store, folder.read_keys


LAND = (10, 40, 12, 42)


@pytest.mark.parametrize(
    ("roi", "options", "error", "message"),
    [
        (LAND, {"year": 2020}, YearError, "2021 and no other; got year=2020"),
        (LAND, {"year": "2021"}, YearError, "got year='2021'"),
        (LAND, {"year": None}, YearError, "got year=None"),
        (LAND, {"year": True}, YearError, "got year=True"),
        (LAND, {"year": 2021.5}, YearError, "got year=2021.5"),
        (LAND, {"output": "table"}, InputError, "'pooled' or 'grid'; got 'table'"),
        (LAND, {"output": None}, InputError, "got None"),
        (LAND, {"output": ["grid"]}, InputError, r"got \['grid'\]"),
        (LAND, {"pooling": "median"}, InputError, "one of 'mean', 'max'; got 'median'"),
        (LAND, {"pooling": "Mean"}, InputError, "got 'Mean'"),
        (LAND, {"pooling": None}, InputError, "got None"),
        (LAND, {"pooling": ["mean"]}, InputError, r"got \['mean'\]"),
        (LAND, {"pooling": "median", "output": "grid"}, InputError, "got 'median'"),
        ((10, 40, 10.2, 42), {}, SubcellError, "0.2° wide and 2° high, less than one cell of 0.25°"),
        ((10, 40, 12, 40.1), {}, SubcellError, "2° wide and 0.1° high"),
        ((179.95, 40, -179.95, 42), {}, SubcellError, "0.1° wide"),
        (cop_zarr.PointBuffer(10, 40, 5000), {}, SubcellError, "less than one cell"),
        (cop_zarr.PointBuffer(10, 40, 1e-9), {}, SubcellError, "less than one cell"),
        ((12, 42, 10, 40), {}, RegionError, "minlat must be less"),
        ("10,40,12,42", {}, RegionError, "got str"),
        (LAND, {"output": "grid", "max_bytes": 100}, ResultTooLargeError, "max_bytes=100"),
    ],
)
def test_refused_before_any_read(watched, roi, options, error, message):
    store, read_keys = watched
    with pytest.raises(error, match=message) as raised:
        store.query(roi, **options)
    assert isinstance(raised.value, CopZarrError)
    assert isinstance(raised.value, ValueError)
    assert not read_keys


@pytest.mark.parametrize("year", [2021, np.int64(2021), 2021.0])
def test_the_year_that_is(store, year):
    assert store.query(LAND, year=year).meta["year"] == 2021


@pytest.mark.parametrize(
    ("box", "cells"),
    [
        ((-64.1, 30.1, -63.85, 30.35), 4),  # -63.85 + 64.1 is 0.25 less 7e-15
        ((120.125, 30.125, 120.375, 30.375), 1),
        ((0.9, 0.1, 1.15, 0.35), 4),  # 0.35 - 0.1 is 0.25 less 3e-17
        ((120.125, 30.125, 120.375 - 2e-7, 30.375), 1),
    ],
)
def test_one_cell_wide_is_wide_enough(store, box, cells):
    assert store.query(box).meta["total_cells"] == cells


def test_a_hair_less_than_a_cell_is_not(store):
    with pytest.raises(SubcellError):
        store.query((120.125, 30.125, 120.375 - 3e-7, 30.375))


def test_max_bytes_is_the_exact_size(store):
    size = 9 * 9 * factory.BANDS * 4
    assert store.query((120, 30, 122, 32), output="grid", max_bytes=size).data.nbytes == size
    with pytest.raises(ResultTooLargeError) as error:
        store.query((120, 30, 122, 32), output="grid", max_bytes=size - 1)
    message = str(error.value)
    assert f"{size:,} bytes" in message
    assert f"max_bytes={size - 1:,}" in message
    assert "output='pooled', which is never limited" in message


def test_pooling_is_not_limited_by_max_bytes(store):
    assert store.query((-180, -90, 180, 90), max_bytes=1).data.shape == (factory.BANDS,)


def test_default_limit_stops_the_published_globe():
    """721 x 1440 x 768 float32 are 3.2 GB."""
    assert 721 * 1440 * product.BANDS * 4 > MAX_BYTES


def test_pooling_the_globe_takes_little_memory(store_path):
    """The globe of this store decodes to 66 MB, 16,380 chunks of 4 KB."""
    store = cop_zarr.open(store_path)
    store.query(LAND)
    tracemalloc.start()
    store.query((-180, -90, 180, 90))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


# What comes with an answer

PROMISED = {
    "model", "year", "roi", "bbox_4326", "rows", "cols", "shape", "valid_cells", "total_cells",
    "output", "pooling", "weights", "empty", "input_crs", "output_crs", "product_resolution_deg",
    "transform", "source", "source_sha256", "store", "cop_zarr_version",
}  # fmt: skip


@pytest.mark.parametrize("output", ["pooled", "grid"])
def test_metadata(store, store_path, source, globe, output):
    answer = store.query((120, 30, 122, 32), output=output, pooling="max")
    meta = answer.meta
    assert set(meta) >= PROMISED
    assert json.loads(json.dumps(meta, allow_nan=False)) == meta
    cells = expected_cells(globe, (120, 30, 122, 32))
    expected = {
        "model": "copernicus",
        "year": 2021,
        "roi": {"type": "BBox", "minlon": 120, "minlat": 30, "maxlon": 122, "maxlat": 32},
        "bbox_4326": [120, 30, 122, 32],
        "rows": [232, 241],
        "cols": [1200, 1209],
        "shape": [16] if output == "pooled" else [16, 9, 9],
        "valid_cells": int(cells.any(axis=0).sum()),
        "total_cells": 81,
        "output": output,
        "pooling": "max" if output == "pooled" else None,
        "weights": None,
        "empty": "include",
        "clipped": False,
        "synthetic": False,
        "input_crs": "EPSG:4326",
        "output_crs": "EPSG:4326",
        "product_resolution_deg": [0.25, 0.25],
        "transform": [0.25, 0, 119.875, 0, -0.25, 32.125],
        "source": str(source),
        "source_sha256": cop_zarr.source.sha256_of(source),
        "store": str(store_path),
        "cop_zarr_version": cop_zarr.__version__,
    }
    assert {key: meta[key] for key in expected} == expected


def test_embedding_is_an_array(store):
    answer = store.query((120, 30, 122, 32))
    np.testing.assert_array_equal(np.asarray(answer), answer.data)
    assert np.asarray(answer, dtype="f8").dtype == "f8"
    assert np.shares_memory(np.asarray(answer), answer.data)
    assert not np.shares_memory(np.array(answer), answer.data)
    assert repr(answer) == f"<Embedding mean (16,): {answer.valid.sum()} of 81 cells with data>"
    assert "grid (16, 9, 9)" in repr(store.query((120, 30, 122, 32), output="grid"))


def test_answers_are_the_caller_s_own(store):
    for output in ("pooled", "grid"):
        first = store.query((120, 30, 122, 32), output=output)
        kept = first.data.copy(), first.valid.copy()
        first.data[...] = 7
        first.valid[...] = False
        first.meta.clear()
        again = store.query((120, 30, 122, 32), output=output)
        np.testing.assert_array_equal(again.data, kept[0])
        np.testing.assert_array_equal(again.valid, kept[1])
        assert again.meta["year"] == 2021
