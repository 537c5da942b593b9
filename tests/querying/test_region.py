"""Answers against the source's own values, which the package has no part in."""

import hashlib
import itertools
import json
import math
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import shapely

import cop_zarr
from cop_zarr.core import product
from cop_zarr.core.grid import TOUCH_TOLERANCE
from cop_zarr.errors import (
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


AROUND = [(-180, -90, 180, 90), (10, -90, 9.99, 90)]
"""The whole globe, twice."""

FROM_GREENWICH = [(290, 10, 300, 20), (170, 10, 190, 20), (350, 10, 10, 20), (350, 10, -170, 20)]


def test_grids_are_the_source_bit_for_bit_and_where_their_coordinates_say(store, globe):
    seen = Counter()
    for box in [*random_boxes(200, seed=0), *AROUND, *FROM_GREENWICH]:
        answer = store.query(box, output="grid")
        expected = expected_cells(globe, box)
        np.testing.assert_array_equal(answer.data, expected, strict=True, err_msg=str(box))
        held = expected.any(axis=0)
        np.testing.assert_array_equal(answer.valid, held, err_msg=str(box))
        assert (answer.meta["valid_cells"], answer.meta["total_cells"]) == (held.sum(), held.size)
        width, _, west, _, height, north = answer.meta["transform"]
        rows, cols = np.indices(held.shape) + 0.5
        row, col = answer.data[:2, held] - 1  # each cell tells its own
        assert (north + height * rows[held] == 90 - STEP * row).all()
        assert ((west + width * cols[held] - (STEP * col - 180)) % 360 == 0).all()
        seen["wrapped"] += answer.meta["cols"][1] > 1440
        seen["pole"] += answer.meta["rows"][0] == 0 or answer.meta["rows"][1] == 721
        seen["empty"] += not held.any()
        seen["mixed"] += 0 < held.sum() < held.size
    assert min(seen.values()) > 5, seen


def test_pooled_vectors_are_those_of_numpy(store, globe):
    for box in [*random_boxes(120, seed=1, largest=25), *AROUND]:
        cells = expected_cells(globe, box).reshape(factory.BANDS, -1)
        mean, largest = store.query(box).data, store.query(box, pooling="max").data
        np.testing.assert_allclose(mean, cells.mean(axis=1, dtype="f8"), rtol=1e-6, err_msg=str(box))
        np.testing.assert_array_equal(largest, cells.max(axis=1), strict=True, err_msg=str(box))
        assert mean.dtype == "f4"


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
    values[1:, 10, 10] = np.nan
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
    assert answer.valid[10, 10], "NaN in some bands is"
    largest = store.query(box_of((200, 204), (812, 820)), pooling="max").data
    assert largest.tolist() == [0] * 4, "negative values, and a chunk of zeros that is not stored"


@pytest.mark.parametrize("weights", [None, "coverage", "area"])
@pytest.mark.parametrize("pooling", ["mean", "sum", "std", "max", "min"])
def test_nan_beside_a_region_does_not_reach_it(odd, pooling, weights):
    """An L around cell (10, 10), which is NaN in all bands but one and in the window of the L."""
    store, values = odd
    if pooling in {"max", "min"} and weights:
        return
    whole, hole = (
        shapely.box(*box_of(*cells)) for cells in (((208, 212), (808, 812)), ((210, 211), (810, 811)))
    )
    answer = store.query(whole - hole, pooling=pooling, weights=weights)
    assert answer.valid[2, 2]
    assert answer.weights[2, 2] == 0
    cells = np.delete(values[:, 8:12, 8:12].reshape(4, 16), 10, axis=1).astype("f8")
    if weights == "area":
        assert np.isfinite(answer.data).all()
    else:
        np.testing.assert_allclose(answer.data, getattr(np, pooling)(cells, axis=1), rtol=1e-6)
    sliver = whole - shapely.buffer(hole, -0.01)
    found = store.query(sliver, pooling=pooling, weights=weights).data
    assert np.isnan(found).tolist() == [False, True, True, True]


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
    assert not read_keys


BESIDE = {
    "box": (100, 30, 110, 45),
    "polygon": shapely.box(100, 30, 110, 45),
    "frame": shapely.box(15, 30, 30, 45) - shapely.box(19, 34, 27, 42),
    "both sides": shapely.MultiPolygon([shapely.box(0, 30, 10, 45), shapely.box(30, 30, 40, 45)]),
    "circle": cop_zarr.PointBuffer(28, 38, 150_000, "circle"),
}
SPECKS = shapely.MultiPolygon([shapely.box(18, 38, 18.1, 38.1), shapely.box(27, 38, 27.1, 38.1)])
"""On both sides of the odd store, with their centroid in it."""


@pytest.mark.parametrize(
    ("roi", "options"),
    [
        *itertools.product(BESIDE.values(), [{}, {"pooling": "max"}, {"weights": "area"}]),
        *((SPECKS, {"subpixel": rule}) for rule in ("touch", "nearest", "bilinear")),
    ],
    ids=str,
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
    with pytest.raises(ResultTooLargeError, match=f"{size:,}"):
        store.query((120, 30, 122, 32), output="grid", max_bytes=size - 1)
    assert store.query((-180, -90, 180, 90), max_bytes=1).data.nbytes == factory.BANDS * 4  # no limit
    assert 721 * 1440 * product.BANDS * 4 > MAX_BYTES, "the default stops the published globe"


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


@pytest.mark.parametrize("options", [{}, {"pooling": "max"}, {"empty": "skip", "weights": "area"}], ids=str)
def test_a_chunk_outside_a_polygon_is_not_read_nor_one_of_open_ocean(watched, globe, options):
    """A thin ring over land and ocean, whose middle costs nothing."""
    store, read_keys = watched
    answer = store.query(shapely.Point(-106, 10).buffer(14) - shapely.Point(-106, 10).buffer(13), **options)
    window = tuple(slice(*answer.meta[axis]) for axis in ("rows", "cols"))
    belongs, held = np.zeros(globe.shape[1:], "?"), globe.any(axis=0)
    belongs[window] = answer.weights > 0
    if options.get("empty") == "skip":
        belongs &= held
    stored = {(row // 8, col // 8) for row, col in np.argwhere(held)}
    expected = {(row // 8, col // 8) for row, col in np.argwhere(belongs)} & stored
    assert 3 * 64 * len(expected) < answer.weights.size
    read = [key for key in read_keys if key.startswith("embedding")]
    assert sorted(read) == sorted(f"embedding/c/0/{row}/{col}" for row, col in expected)


@pytest.mark.parametrize(
    "roi",
    [(-80, -2, -76, 2), shapely.box(-80, -2, -76, 2), cop_zarr.PointBuffer(-80, 0, 9e4, "circle")],
    ids=str,
)
def test_no_data_is_an_answer(watched, roi):
    store, read_keys = watched
    for pooling in ("mean", "sum", "std", "max", "min"):
        answer = store.query(roi, empty="skip", pooling=pooling)
        assert np.isnan(answer.data).all()
        assert answer.meta["valid_cells"] == 0
        assert answer.meta["total_cells"] > 40
        assert not store.query(roi, pooling=pooling).data.any()
    assert set(read_keys) <= {"valid/c/0/0"}


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
        "source_sha256": cop_zarr.storage.sha256_of(source),
        "store": str(store_path),
        "cop_zarr_version": cop_zarr.__version__,
    }
    assert {key: meta[key] for key in expected} == expected


def test_a_polygon_is_recorded_by_counts_and_digest(store):
    """The digest is that of little-endian WKB, as any GIS writes it."""
    holed = shapely.box(120, 30, 123, 33) - shapely.box(121, 31, 122, 32)
    roi = store.query(holed).meta["roi"]
    rings = [holed.exterior, *holed.interiors]
    digest = hashlib.sha256(b"".join(np.array(ring.coords).tobytes() for ring in rings)).hexdigest()
    assert roi == {"type": "Polygon", "polygons": 1, "vertices": 10, "coordinates_sha256": digest}


MERCATOR = (13358338.895192828, 3503549.8435043739, 13580977.876779376, 3763310.627144653)
"""Degrees 120, 30, 122, 32, by the formula a λ, a artanh sin φ."""


def test_a_region_in_another_crs(store):
    plain = store.query((120, 30, 122, 32), output="grid")
    for roi, crs in ((cop_zarr.BBox.from_crs(MERCATOR, crs="EPSG:3857"), None), (MERCATOR, 3857)):
        answer = store.query(roi, crs=crs, output="grid")
        np.testing.assert_array_equal(answer.data, plain.data)
        assert (answer.meta["input_crs"], answer.meta["output_crs"]) == ("EPSG:3857", "EPSG:4326")
        assert answer.meta["bbox_4326"] == pytest.approx([120, 30, 122, 32], abs=1e-9)
        assert answer.meta["roi"]["given"] == {"coordinates": list(MERCATOR), "crs": "EPSG:3857"}
    answer = store.query(shapely.box(*MERCATOR), crs="EPSG:3857")
    np.testing.assert_allclose(answer.data, store.query(shapely.box(120, 30, 122, 32)).data, rtol=1e-6)


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


def test_a_box_shifted_by_turns_has_the_same_bits(store, globe):
    """Edges of whole 1/64 degrees, so that the shift itself is exact."""
    rng = np.random.default_rng(31)
    for _ in range(20):
        west, south = rng.integers(-180 * 64, 180 * 64) / 64, rng.uniform(-90.125, 80)
        box = (west, south, west + rng.integers(20, 640) / 64, south + rng.uniform(0.3, 9))
        for options in ({"weights": "area"}, {"output": "grid"}):
            expected = store.query(box, **options)
            for turn in (-720, -360, 360):
                answer = store.query((box[0] + turn, box[1], box[2] + turn, box[3]), **options)
                np.testing.assert_array_equal(answer.data, expected.data, strict=True)
                assert answer.meta["cols"] == expected.meta["cols"]
    whole = store.query((-180.125, -90.125, 179.875, 90.125), weights="area")
    assert (whole.meta["rows"], whole.meta["cols"]) == ([0, 721], [0, 1440])
    assert whole.meta["bbox_4326"] == [-180.125, -90, 179.875, 90]
    np.testing.assert_array_equal(whole.data, store.query((-180, -90, 180, 90), weights="area").data)
