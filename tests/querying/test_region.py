"""Answers against the source's own values, which the package has no part in."""

import hashlib
import json
import math
import tracemalloc
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import shapely

import cop_zarr
from cop_zarr.core import product
from cop_zarr.core.grid import TOUCH_TOLERANCE
from cop_zarr.errors import (
    CopZarrError,
    InputError,
    RegionError,
    ResultTooLargeError,
    SubcellError,
    YearError,
)
from cop_zarr.querying.options import MAX_BYTES
from cop_zarr.storage import LocalFolder
from tests.support import factory
from tests.support.folders import WatchedFolder, open_in
from tests.support.regions import same_bits

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
    for box in random_boxes(200, seed=0):
        answer = store.query(box, output="grid")
        expected = expected_cells(globe, box)
        np.testing.assert_array_equal(answer.data, expected, strict=True, err_msg=str(box))
        np.testing.assert_array_equal(answer.valid, expected.any(axis=0), err_msg=str(box))
        assert answer.meta["valid_cells"] == expected.any(axis=0).sum()
        seen["wrapped"] += answer.meta["cols"][1] > 1440
        seen["pole"] += answer.meta["rows"][0] == 0 or answer.meta["rows"][1] == 721
        seen["empty"] += not answer.valid.any()
        seen["mixed"] += 0 < answer.valid.sum() < answer.valid.size
    assert min(seen.values()) > 5, seen


def test_pooled_vectors_are_those_of_numpy(store, globe):
    for box in random_boxes(120, seed=1, largest=25):
        cells = expected_cells(globe, box).reshape(factory.BANDS, -1)
        mean, largest = store.query(box).data, store.query(box, pooling="max").data
        np.testing.assert_allclose(mean, cells.mean(axis=1, dtype="f8"), rtol=1e-6, err_msg=str(box))
        np.testing.assert_array_equal(largest, cells.max(axis=1), strict=True, err_msg=str(box))
        assert mean.dtype == "f4"
        assert mean.shape == (factory.BANDS,)


@pytest.mark.parametrize("box", [(-180, -90, 180, 90), (10, -90, 9.99, 90)])
def test_whole_globe(store, globe, box):
    whole = globe.reshape(factory.BANDS, -1)
    answer = store.query(box)
    np.testing.assert_allclose(answer.data, whole.mean(axis=1, dtype="f8"), rtol=1e-6)
    np.testing.assert_array_equal(store.query(box, pooling="max").data, whole.max(axis=1))
    assert answer.meta["total_cells"] == 721 * 1440
    assert not answer.meta["clipped"]
    first = answer.meta["cols"][0]
    assert answer.meta["cols"] == [first, first + 1440]
    grid = store.query(box, output="grid")
    np.testing.assert_array_equal(grid.data, np.roll(globe, -first, axis=2))


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
        "type": "PointBuffer", "lon": 179.95, "lat": -17, "buffer_m": 60_000, "shape": "box"
    }  # fmt: skip
    assert answer.meta["bbox_4326"] == [west, south, east, north]


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
    same_bits(answer.data, values)
    np.testing.assert_array_equal(answer.valid, (values != 0).any(axis=0))
    assert not answer.valid[2, 18], "-0.0 is no data"
    assert answer.valid[10, 10], "NaN is"


@pytest.mark.parametrize("pooling", ["mean", "max", "min", "std", "sum"])
def test_nan_reaches_the_bands_it_is_in(odd, pooling):
    store, _ = odd
    one_band = store.query(box_of((200, 208), (800, 808)), pooling=pooling).data
    assert np.isnan(one_band).tolist() == [False, False, True, False]
    all_bands = store.query(box_of((208, 212), (808, 812)), pooling=pooling).data
    assert np.isnan(all_bands).all()
    clean = store.query(box_of((212, 220), (800, 808)), pooling=pooling).data
    assert np.isfinite(clean).all()


@pytest.mark.parametrize("weights", [None, "coverage", "area"])
@pytest.mark.parametrize("pooling", ["mean", "sum", "std", "max", "min"])
def test_nan_beside_a_region_does_not_reach_it(odd, pooling, weights):
    """An L around cell (10, 10), which is NaN in every band and in the window of the L."""
    store, values = odd
    if pooling in {"max", "min"} and weights:
        return
    whole, hole = (
        shapely.box(*box_of(*cells)) for cells in (((208, 212), (808, 812)), ((210, 211), (810, 811)))
    )
    answer = store.query(whole - hole, pooling=pooling, weights=weights)
    assert answer.valid[2, 2]
    assert answer.weights[2, 2] == 0
    assert np.isfinite(answer.data).all()
    beside = np.ones((4, 4), "?")
    beside[2, 2] = False
    cells = values[:, 8:12, 8:12][:, beside].astype("f8")
    expected = {"mean": cells.mean(axis=1), "sum": cells.sum(axis=1), "std": cells.std(axis=1)}
    if pooling in expected and weights != "area":
        np.testing.assert_allclose(answer.data, expected[pooling], rtol=1e-6)
    sliver = shapely.box(*box_of((208, 212), (808, 812))) - shapely.buffer(hole, -0.01)
    assert np.isnan(store.query(sliver, pooling=pooling, weights=weights).data).all()


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
    with pytest.raises(RegionError, match="outside"):
        store.query((100, 30, 110, 45))


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


LAND = (10, 40, 12, 42)
BOW_TIE = shapely.Polygon([(10, 40), (12, 42), (12, 40), (10, 42)])


@pytest.mark.parametrize(
    ("roi", "options", "error"),
    [
        (LAND, {"year": 2020}, YearError), (LAND, {"pooling": "median", "output": "grid"}, InputError),
        (LAND, {"weights": "area", "pooling": "min"}, InputError), (LAND, {"max_bytes": "1GB"}, InputError),
        (LAND, {"output": "grid", "max_bytes": 100}, ResultTooLargeError),
        ((10, 40, 10.2, 42), {}, SubcellError), ((10, 40, 12, 40.1), {}, SubcellError),
        ((179.95, 40, -179.95, 42), {}, SubcellError),
        (cop_zarr.PointBuffer(10, 40, 1e-3), {}, SubcellError),
        (shapely.box(10, 40, 10.2, 42), {}, SubcellError),
        (cop_zarr.PointBuffer(10, 40, 5000, "circle"), {}, SubcellError),
        ((12, 42, 10, 40), {}, RegionError), ("10,40,12,42", {}, RegionError),
        (LAND, {"crs": "EPSG:0"}, RegionError), (LAND, {"crs": "EPSG:5773"}, RegionError),
        ((0, 0, 1e9, 1e9), {"crs": "EPSG:3857"}, RegionError),
        (cop_zarr.BBox(*LAND), {"crs": "EPSG:3857"}, RegionError),
        (cop_zarr.PointBuffer(1, 2, 3), {"crs": 4326}, RegionError),
        (shapely.Point(10, 40), {}, RegionError), (shapely.Polygon(), {}, RegionError),
        (shapely.box(40, 100, 42, 110), {}, RegionError), (BOW_TIE, {}, RegionError),
    ],
    ids=str,
)  # fmt: skip
def test_refused_before_any_read(watched, roi, options, error):
    store, read_keys = watched
    with pytest.raises(error) as raised:
        store.query(roi, **options)
    assert type(raised.value) is error
    assert isinstance(raised.value, CopZarrError)
    assert isinstance(raised.value, ValueError)
    assert not read_keys


AROUND_IT = shapely.box(15, 30, 30, 45) - shapely.box(19, 34, 27, 42)
"""A frame around the odd store: its bounds meet the store, no part of it does."""


@pytest.mark.parametrize(
    "options", [{}, {"pooling": "max"}, {"weights": "area"}, {"weights": None}], ids=str
)
@pytest.mark.parametrize(
    "roi",
    [
        (100, 30, 110, 45),
        shapely.box(100, 30, 110, 45),
        AROUND_IT,
        shapely.MultiPolygon([shapely.box(0, 30, 10, 45), shapely.box(30, 30, 40, 45)]),
        cop_zarr.PointBuffer(28, 38, 150_000, "circle"),
    ],
    ids=["box", "polygon", "frame", "beside on both sides", "circle"],
)
def test_outside_a_part_of_the_globe_is_refused_before_any_read(odd, roi, options):
    folder = WatchedFolder(LocalFolder(Path(odd[0].url)))
    store = open_in(folder)
    folder.read_keys.clear()
    with pytest.raises(RegionError, match="outside"):
        store.query(roi, **options)
    assert not folder.read_keys


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
    with pytest.raises(SubcellError):  # and a hair less is not
        store.query((120.125, 30.125, 120.375 - 3e-7, 30.375))


def test_max_bytes_is_the_exact_size(store):
    size = 9 * 9 * factory.BANDS * 4
    assert store.query((120, 30, 122, 32), output="grid", max_bytes=size).data.nbytes == size
    with pytest.raises(ResultTooLargeError) as error:
        store.query((120, 30, 122, 32), output="grid", max_bytes=size - 1)
    assert f"{size:,}" in str(error.value)
    assert 721 * 1440 * product.BANDS * 4 > MAX_BYTES, "the default stops the published globe"


def test_pooling_is_not_limited_by_max_bytes(store):
    assert store.query((-180, -90, 180, 90), max_bytes=1).data.shape == (factory.BANDS,)


def test_pooling_the_globe_takes_little_memory(store_path):
    """The globe of this store decodes to 66 MB, 16,380 chunks of 4 KB."""
    store = cop_zarr.open(store_path, cache_bytes=0)
    store.query(LAND)
    tracemalloc.start()
    store.query((-180, -90, 180, 90))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


# Which chunks are read


def chunks_of(cells):
    """The chunks (8 x 8 cells) of a mask of the globe's cells."""
    return {f"embedding/c/0/{row // 8}/{col // 8}" for row, col in np.argwhere(cells)}


@pytest.mark.parametrize("options", [{}, {"pooling": "max"}, {"empty": "skip", "weights": "area"}], ids=str)
def test_a_chunk_outside_a_polygon_is_not_read_nor_one_of_open_ocean(watched, globe, options):
    """A thin ring over land and ocean: of its window's chunks, those in its middle cost nothing."""
    store, read_keys = watched
    ring = shapely.Point(-106, 10).buffer(14) - shapely.Point(-106, 10).buffer(13)
    answer = store.query(ring, **options)
    rows, cols = slice(*answer.meta["rows"]), slice(*answer.meta["cols"])
    belongs, window, ocean = np.zeros((3, *globe.shape[1:]), "?")
    belongs[rows, cols] = answer.weights > 0
    window[rows, cols] = True
    held = np.kron((globe[0, :720].reshape(90, 8, 180, 8) != 0).any(axis=(1, 3)), np.ones((8, 8), "?"))
    ocean[:720] = ~held
    if options.get("empty") == "skip":
        belongs &= globe.any(axis=0)
    expected = chunks_of(belongs & ~ocean)
    assert len(expected) < len(chunks_of(belongs)) or "empty" in options
    assert 3 * len(expected) < len(chunks_of(window))
    read = [key for key in read_keys if key.startswith("embedding")]
    assert len(read) == len(set(read))
    assert set(read) == expected


# What comes with an answer


@pytest.mark.parametrize("output", ["pooled", "grid"])
def test_metadata(store, store_path, source, globe, output):
    pooling = "max" if output == "pooled" else "mean"
    answer = store.query((120, 30, 122, 32), output=output, pooling=pooling)
    meta = answer.meta
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
        "source_sha256": cop_zarr.source.locate.sha256_of(source),
        "store": str(store_path),
        "cop_zarr_version": cop_zarr.__version__,
    }
    assert {key: meta[key] for key in expected} == expected


@pytest.mark.parametrize("pooling", ["mean", "sum", "std", "max", "min"])
@pytest.mark.parametrize(
    "roi",
    [(-80, -2, -76, 2), shapely.box(-80, -2, -76, 2), cop_zarr.PointBuffer(-80, 0, 9e4, "circle")],
    ids=str,
)
def test_no_data_is_an_answer(watched, roi, pooling):
    store, read_keys = watched
    answer = store.query(roi, empty="skip", pooling=pooling)
    assert np.isnan(answer.data).all()
    assert answer.meta["valid_cells"] == 0
    assert answer.meta["total_cells"] > 40
    assert not store.query(roi, pooling=pooling).data.any()
    assert not [key for key in read_keys if key.startswith("embedding")]


TRIANGLE = shapely.Polygon([(120, 30), (122, 30), (121, 32)])
SMALL_CIRCLE = cop_zarr.PointBuffer(121, 31, 5_000, "circle")


@pytest.mark.parametrize(
    ("roi", "options", "expected"),
    [
        ((120, 30, 122, 32), {"weights": "coverage"}, {"weights": "coverage"}),
        ((120, 30, 122, 32), {"pooling": "max"}, {"weights": None, "pooling": "max"}),
        (TRIANGLE, {}, {"weights": "coverage", "bbox_4326": [120, 30, 122, 32], "subpixel": None}),
        (TRIANGLE, {"pooling": "min"}, {"weights": None, "pooling": "min", "input_crs": "EPSG:4326"}),
        (TRIANGLE, {"weights": None, "empty": "skip"}, {"weights": None, "empty": "skip"}),
        (TRIANGLE, {"output": "grid"}, {"weights": "coverage", "pooling": None, "empty": "include"}),
        (SMALL_CIRCLE, {"subpixel": "touch"}, {"weights": "coverage", "subpixel": "touch"}),
        (SMALL_CIRCLE, {"subpixel": "nearest"}, {"weights": None, "subpixel": "nearest"}),
        (SMALL_CIRCLE, {"subpixel": "bilinear"}, {"weights": "bilinear", "subpixel": "bilinear"}),
    ],
)
def test_what_was_resolved_is_said(store, roi, options, expected):
    meta = store.query(roi, **options).meta
    assert {name: meta[name] for name in expected} == expected
    assert json.loads(json.dumps(meta, allow_nan=False)) == meta


def test_a_polygon_is_recorded_by_counts_and_digest(store):
    """The digest is that of little-endian WKB, as any GIS writes it."""
    holed = shapely.box(120, 30, 123, 33) - shapely.box(121, 31, 122, 32)
    roi = store.query(holed).meta["roi"]
    rings = [holed.exterior, *holed.interiors]
    digest = hashlib.sha256(b"".join(np.array(ring.coords).tobytes() for ring in rings)).hexdigest()
    assert roi == {"type": "Polygon", "polygons": 1, "vertices": 10, "coordinates_sha256": digest}


MERCATOR = (13358338.895192828, 3503549.8435043739, 13580977.876779376, 3763310.627144653)
"""Degrees 120, 30, 122, 32, by the formula a λ, a artanh sin φ."""


def test_a_region_in_another_crs_records_what_was_given(store):
    plain = store.query((120, 30, 122, 32), output="grid")
    assert "given" not in plain.meta["roi"]
    given = {"coordinates": list(MERCATOR), "crs": "EPSG:3857"}
    for roi, crs in ((cop_zarr.BBox.from_crs(MERCATOR, crs="EPSG:3857"), None), (MERCATOR, 3857)):
        answer = store.query(roi, crs=crs, output="grid")
        np.testing.assert_array_equal(answer.data, plain.data)
        assert (answer.meta["input_crs"], answer.meta["output_crs"]) == ("EPSG:3857", "EPSG:4326")
        assert answer.meta["bbox_4326"] == pytest.approx([120, 30, 122, 32], abs=1e-9)
        assert answer.meta["roi"]["given"] == given
    point = cop_zarr.PointBuffer.from_crs(500_000, 0, 60_000, crs="EPSG:32633", shape="circle")
    meta = store.query(point).meta
    assert meta["input_crs"] == "EPSG:32633"
    assert (meta["roi"]["lon"], meta["roi"]["lat"]) == (pytest.approx(15), 0)
    answer = store.query(shapely.box(*MERCATOR), crs="EPSG:3857")
    assert answer.meta["input_crs"] == "EPSG:3857"
    np.testing.assert_allclose(answer.data, store.query(shapely.box(120, 30, 122, 32)).data, rtol=1e-6)


def test_ways_to_give_a_polygon(store):
    geometry = shapely.geometry.mapping(TRIANGLE)
    feature = {"type": "Feature", "properties": None, "geometry": geometry}
    halves = [TRIANGLE & shapely.box(120, 30, 121, 32), TRIANGLE & shapely.box(121, 30, 122, 32)]
    expected = store.query(TRIANGLE)
    for region in (
        json.loads(json.dumps(geometry)), feature, SimpleNamespace(__geo_interface__=feature),
        {"type": "FeatureCollection", "features": [feature, feature]},
        {"type": "GeometryCollection", "geometries": [half.__geo_interface__ for half in halves]},
        shapely.MultiPolygon([TRIANGLE]), TRIANGLE.reverse(), shapely.force_3d(TRIANGLE, 100),
    ):  # fmt: skip
        answer = store.query(region)
        np.testing.assert_allclose(answer.data, expected.data, rtol=1e-6)
        assert answer.meta["total_cells"] == expected.meta["total_cells"]


def test_repair_is_asked_for_by_name(store):
    mended = store.query(BOW_TIE, repair=True)
    two = [(10, 40), (11, 41), (10, 42)], [(12, 40), (11, 41), (12, 42)]
    expected = store.query(shapely.MultiPolygon([shapely.Polygon(ring) for ring in two]))
    np.testing.assert_allclose(mended.data, expected.data, rtol=1e-6)
    np.testing.assert_allclose(mended.weights, expected.weights, atol=1e-7)


def test_embedding_is_an_array(store):
    answer = store.query((120, 30, 122, 32))
    np.testing.assert_array_equal(np.asarray(answer), answer.data)
    assert np.asarray(answer, dtype="f8").dtype == "f8"
    assert np.shares_memory(np.asarray(answer), answer.data)
    assert not np.shares_memory(np.array(answer), answer.data)
    assert repr(answer) == f"<Embedding mean (16,): {answer.valid.sum()} of 81 cells with data>"
    assert "grid (16, 9, 9)" in repr(store.query((120, 30, 122, 32), output="grid"))


def test_answers_are_the_caller_s_own(store):
    region = cop_zarr.BBox(120, 30, 122, 32)
    first = store.query(region)
    valid, weights, meta = first.valid.copy(), first.weights.copy(), json.dumps(first.meta)
    first.valid[...] = False
    first.weights[...] = 9
    first.meta["roi"].clear()
    again = store.query(region)
    np.testing.assert_array_equal(again.valid, valid)
    np.testing.assert_array_equal(again.weights, weights)
    assert json.dumps(again.meta) == meta


@pytest.mark.parametrize("subpixel", ["touch", "nearest", "bilinear"])
def test_parts_on_either_side_of_a_partial_store_are_outside(odd, subpixel):
    """Their centroid lies in it, and they do not."""
    store, _ = odd
    west, east = (
        {"type": "Polygon", "coordinates": [shapely.box(*box).exterior.coords]}
        for box in ((18, 38, 18.1, 38.1), (27, 38, 27.1, 38.1))
    )
    parts = {"type": "GeometryCollection", "geometries": [west, east]}
    with pytest.raises(RegionError, match="outside"):
        store.query(parts, subpixel=subpixel)
