"""Many regions at once: the vectors of single queries, to float32's last digit, for fewer reads."""

import collections
import json
from types import SimpleNamespace

import numpy as np
import pytest
import shapely

import cop_zarr
from cop_zarr import PointBuffer
from cop_zarr.errors import ChunkError, InputError, RegionError, SubcellError
from cop_zarr.querying import many_regions, out_array, pool_batch
from tests.support import factory
from tests.support.questions import REDUCERS
from tests.support.regions import (
    OPTIONS,
    SMALLER_KINDS,
    draw_regions,
    same_digits,
    single_queries,
)

STEP, BANDS = factory.STEP, factory.BANDS
OCEAN, LAND = (-82, -5, -70, 5), (10, 40, 12, 42)
LARGE, ONE_CHUNK = (100, 20, 120, 40), (10, 40, 10.5, 40.5)
TINY, UPSIDE_DOWN = (10, 40, 10.1, 42), (10, 50, 12, 40)
BOW_TIE = shapely.Polygon([(10, 40), (12, 42), (12, 40), (10, 42)])
# The digits of single queries


@pytest.mark.parametrize("count", [60, pytest.param(300, marks=pytest.mark.slow)])
def test_regions_have_the_digits_of_single_queries(fresh, count):
    regions = draw_regions(count, seed=0)
    same_digits(fresh.query_many(regions), single_queries(fresh, regions))


@pytest.mark.parametrize("empty", ["include", "skip"])
@pytest.mark.parametrize(
    ("subpixel", "pooling"),
    [("touch", "mean"), ("touch", "std"), ("nearest", "max"), ("nearest", "mean"), ("bilinear", "mean")],
)
def test_regions_smaller_than_a_cell_have_the_digits_of_single_queries(fresh, subpixel, pooling, empty):
    lons, lats, sizes = np.random.default_rng(2).uniform((-180, -88, 10), (180, 88, 10_000), (40, 3)).T
    regions = [PointBuffer(*each) for each in zip(lons, lats, sizes, ["box", "circle"] * 20, strict=True)]
    regions += [(179.95, 5, -179.95, 5.1), PointBuffer(10, 90, 500), shapely.box(0.1, 0.1, 0.15, 9)]
    regions += draw_regions(12, 3, SMALLER_KINDS)
    options = {"subpixel": subpixel, "pooling": pooling, "empty": empty}
    same_digits(fresh.query_many(regions, **options), single_queries(fresh, regions, **options))


def over_the_part(count, seed):
    """Boxes, circles and polygons in the part, over its edges, and around it."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        lon, lat = rng.uniform(19.5, 29.5), rng.uniform(34.2, 40)
        if number % 3 == 0:
            yield (lon, lat, lon + rng.uniform(0.5, 6), lat + rng.uniform(0.5, 4))
        elif number % 3 == 1:
            yield PointBuffer(lon, lat, rng.uniform(4e4, 2e5), "circle")
        else:
            yield shapely.Point(lon, lat).buffer(rng.uniform(0.4, 3), 3)
    yield (-180, -90, 180, 90)
    yield (20.1, 34.4, 29.6, 39.9)
    yield (19.9, 38.2, 21.8, 40)  # the cells of the first chunk
    yield (19.9, 38.2, 23.8, 40)  # and the empty one beside it


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(each, marks=[pytest.mark.slow] if number % 3 else [], id=str(each))
        for number, each in enumerate(OPTIONS)
    ],
)
def test_any_options_give_the_digits_of_single_queries(fresh, part, options):
    regions = [*draw_regions(12, 1, SMALLER_KINDS), (3, 10, 2.9, 12), OCEAN]
    same_digits(fresh.query_many(regions, **options), single_queries(fresh, regions, **options))
    regions = list(over_the_part(30, 0))
    with np.errstate(all="ignore"):
        found, expected = part.query_many(regions, **options), single_queries(part, regions, **options)
    same_digits(found, expected, cancelled=1e-15)  # the deviation of equal cells


@pytest.mark.parametrize(
    "options", [{}, {"pooling": "max"}, {"pooling": "std", "empty": "skip", "weights": "area"}], ids=str
)
def test_neither_order_nor_memory_nor_workers_change_a_digit(fresh, store_path, options):
    regions = draw_regions(20, 5)
    expected = fresh.query_many(regions, **options)
    order = np.random.default_rng(0).permutation(np.r_[0:20, 0:20])  # each twice
    same_digits(fresh.query_many([regions[number] for number in order], **options), expected[order])
    for size, workers in ((1, 1), (20_000, 8), (256 << 20, 8)):
        store = cop_zarr.open(store_path, cache_bytes=size, workers=workers)
        for _ in range(2):
            same_digits(store.query_many(regions, **options), expected)
        same_digits(single_queries(store, regions, **options), expected)


@pytest.mark.parametrize("pooling", REDUCERS)
def test_vectors_are_those_of_numpy(store, globe, pooling):
    """Windows of whole cells, cut out of the truth."""
    tops, heights, lefts, widths = (
        np.random.default_rng(4).integers((1, 3, 1, 3), (680, 40, 1440, 60), (80, 4)).T
    )
    boxes = np.stack([
        STEP * lefts - 180.1, 90 - STEP * (tops + heights - 1) - 0.1,
        STEP * (lefts + widths - 1) - 179.9, 90 - STEP * tops + 0.1,
    ], axis=1)  # fmt: skip
    found = store.query_many(boxes, pooling=pooling)
    for row, (top, height, left, width) in enumerate(zip(tops, heights, lefts, widths, strict=True)):
        cells = globe[:, top : top + height].take(range(left, left + width), axis=2, mode="wrap")
        expected = REDUCERS[pooling](cells.astype("f8"), axis=(1, 2))
        np.testing.assert_allclose(found[row], expected, rtol=1e-6)


@pytest.mark.parametrize("weights", [None, "coverage", "area"])
@pytest.mark.parametrize("pooling", ["mean", "sum", "std"])
def test_nan_and_infinity_in_a_chunk_spoil_the_regions_that_touch_them_only(part, pooling, weights):
    """Both are in the chunk's cell of row 218, column 830; -inf is beside them."""
    beside, around = (25.9, 34.4, 26.85, 35.1), (27.4, 35.4, 27.6, 35.6)
    options = {"pooling": pooling, "weights": weights, "subpixel": "touch"}
    found = part.query_many([beside, around, shapely.box(*beside)], **options)
    assert np.isfinite(found[[0, 2]]).all()
    assert np.isnan(found[1, 0])
    assert not np.isfinite(found[1, 1])
    assert np.isfinite(found[1, 2:]).all()
    if weights is None:
        cells = factory.truth((220, 223), (824, 828), 4).astype("f8") - 9_000
        np.testing.assert_allclose(found[0], REDUCERS[pooling](cells, axis=(1, 2)), rtol=1e-6)


# What is read


@pytest.mark.parametrize("options", [{}, {"empty": "skip", "weights": "area"}], ids=str)
def test_each_chunk_is_read_once(watched, options):
    store, read_keys = watched
    regions = draw_regions(60, 8)
    for region in regions:
        store.query(region, **options)
    expected = {key for key in read_keys if key.startswith("embedding/c")}
    read_keys.clear()
    store.query_many(regions, **options)
    assert sorted(key for key in read_keys if key.startswith("embedding/c")) == sorted(expected)


def test_no_region_reads_nothing(watched):
    store, read_keys = watched
    for none in ([], iter(()), np.empty((0, 4))):
        assert store.query_many(none).shape == (0, BANDS)
    assert not read_keys


# Several portions


@pytest.fixture
def sweeps(monkeypatch):
    """Bytes of the states that each sweep over the chunks has kept."""
    kept, run = [], pool_batch._Sweep.run

    def watched_run(sweep, reader):
        kept.append(sweep.states.nbytes)
        return run(sweep, reader)

    monkeypatch.setattr(pool_batch._Sweep, "run", watched_run)
    return kept


@pytest.mark.parametrize("pooling", ["mean", "std"])
@pytest.mark.parametrize("limit", [1, 2, 7])
def test_unfinished_regions_are_limited_and_give_the_same(fresh, monkeypatch, sweeps, limit, pooling):
    """Also where large regions are all in one half, or follow a pattern."""
    size = limit * BANDS * 8 * (3 if pooling == "std" else 1)
    for regions in (
        draw_regions(40, 9, SMALLER_KINDS),
        [LARGE] * 20 + [OCEAN] * 20,
        [LARGE, OCEAN, ONE_CHUNK, OCEAN] * 10,
    ):
        expected = fresh.query_many(regions, pooling=pooling)
        assert sweeps.pop() > 7 * size / limit
        assert not sweeps
        with monkeypatch.context() as patch:
            patch.setattr(pool_batch, "MAX_UNFINISHED_BYTES", size)
            same_digits(fresh.query_many(regions, pooling=pooling), expected)
        assert len(sweeps) > 1
        assert max(sweeps) <= size
        sweeps.clear()


def test_regions_of_one_chunk_need_one_sweep(monkeypatch, watched):
    store, read_keys = watched
    monkeypatch.setattr(pool_batch, "MAX_UNFINISHED_BYTES", 1)
    boxes = [(lon, lat, lon + 0.5, lat + 0.5) for lon in (100.2, 110.3, 130.2) for lat in (50.7, 20.6)]
    store.query_many(boxes * 30)
    assert max(collections.Counter(read_keys).values()) == 1


@pytest.mark.parametrize("pooling", ["mean", "max", "std"])
def test_any_number_of_regions_in_a_chunk_gives_the_same(watched, monkeypatch, pooling):
    store, read_keys = watched
    regions = [(10 + west / 7, 40, 13 + west / 5, 43 + west / 9) for west in range(20)] + [ONE_CHUNK] * 9
    expected = store.query_many(regions, pooling=pooling)
    for count in (1, 3, 29):
        monkeypatch.setattr(pool_batch, "MAX_ROWS", count)
        read_keys.clear()
        same_digits(store.query_many(regions, pooling=pooling), expected)
        assert max(collections.Counter(read_keys).values()) == 1


@pytest.mark.parametrize("size", [1, 60_000])
def test_plans_that_do_not_fit_together_give_the_same(fresh, monkeypatch, size):
    regions = [*draw_regions(40, 10, SMALLER_KINDS), OCEAN, LAND]
    expected = fresh.query_many(regions)
    monkeypatch.setattr(many_regions, "PLAN_BYTES", size)
    same_digits(fresh.query_many(regions), expected)
    with pytest.raises(RegionError, match="region 30: "):
        fresh.query_many([*regions[:30], None, *regions])


# What is refused


@pytest.mark.parametrize(
    ("region", "kind"),
    [
        (TINY, SubcellError), (UPSIDE_DOWN, RegionError), (None, RegionError), ("10,40,12,42", RegionError),
        ((1, 2, 3), RegionError), (float("nan"), RegionError), (shapely.Point(10, 40), RegionError),
        (shapely.Polygon(), RegionError), ({"type": "FeatureCollection", "features": []}, RegionError),
        (BOW_TIE, RegionError), ([LAND, LAND], RegionError),
    ],
    ids=str,
)  # fmt: skip
def test_a_refused_region_is_named_or_nan(fresh, region, kind):
    regions = [LAND, OCEAN, region]
    with pytest.raises(kind) as error:
        fresh.query_many(regions)
    with pytest.raises(kind) as alone:
        fresh.query(region)
    assert type(error.value) is type(error.value.__cause__) is kind
    assert str(error.value) == f"region 2: {alone.value}"
    reported = []
    for on_error in ("nan", lambda number, refusal: reported.append((number, type(refusal)))):
        found = fresh.query_many(regions, on_error=on_error)
        assert np.isnan(found[2]).all()
        same_digits(found[:2], fresh.query_many(regions[:2]))
    assert reported == [(2, kind)]


def test_the_first_refused_region_is_named_before_anything_is_read(watched, monkeypatch):
    store, read_keys = watched
    monkeypatch.setattr(out_array, "BLOCK_BYTES", 100 * BANDS * 4)
    regions = [LAND] * 30 + [TINY, UPSIDE_DOWN]
    for out in (None, np.empty((32, BANDS)), np.empty((32, BANDS), "f4")):
        with pytest.raises(SubcellError, match=r"^region 30: "):
            store.query_many(regions, out=out)
    assert np.isnan(store.query_many(regions[30:], on_error="nan")).all()
    assert not read_keys
    monkeypatch.setattr(out_array, "BLOCK_BYTES", 7 * BANDS * 4)
    with pytest.raises(SubcellError, match=r"^region 30: "):  # and not by its number in the block
        store.query_many(regions, out=np.empty((32, BANDS)))


@pytest.mark.parametrize("on_error", ["raise", "nan"])
def test_a_damaged_chunk_always_raises(damageable, on_error):
    key = "embedding/c/0/24/100"
    (damageable / key).write_bytes((damageable / key).read_bytes()[:-1])
    damaged, other = (20, 40.5, 20.5, 41), (30, 40.5, 30.5, 41)  # row 196, column 800: chunk (24, 100)
    store = cop_zarr.open(damageable)
    with pytest.raises(ChunkError, match=key):
        store.query_many([other, damaged], on_error=on_error)
    assert np.isfinite(store.query_many([other], on_error=on_error)).all()


# Ways to give several regions


BOXES = [(10.0, 40.0, 12.0, 42.0), (170.0, 5.0, -170.0, 8.0)]
POLYGONS = [shapely.box(10, 40, 12, 42), shapely.Point(25, 45).buffer(2)]
FEATURES = [
    {"type": "Feature", "properties": None, "geometry": each.__geo_interface__} for each in POLYGONS
]


@pytest.mark.parametrize(
    ("regions", "given"),
    [
        *((BOXES, given) for given in (
            tuple(BOXES), iter(BOXES), map(list, BOXES), dict.fromkeys(BOXES).keys(),
            np.array(BOXES), np.array(BOXES, "f4"), np.array(BOXES, "i8"), np.asfortranarray(BOXES),
            np.array(BOXES)[::-1][::-1], [cop_zarr.BBox(*box) for box in BOXES], list(np.array(BOXES)),
        )),
        *((POLYGONS, given) for given in (
            np.array(POLYGONS, object), iter(POLYGONS), FEATURES, json.loads(json.dumps(FEATURES)),
            [SimpleNamespace(__geo_interface__=each) for each in FEATURES],
            shapely.GeometryCollection(POLYGONS).geoms,
        )),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_ways_to_give_several_regions(fresh, regions, given):
    same_digits(fresh.query_many(given), single_queries(fresh, regions))


def test_crs_and_repair_are_those_of_all(fresh):
    mercator = (13358338.9, 3503549.8, 13580977.9, 3763310.6)
    for regions, options in (
        ([mercator, shapely.box(*mercator)], {"crs": "EPSG:3857"}),
        ([BOW_TIE, LAND], {"repair": True}),
    ):
        same_digits(fresh.query_many(regions, **options), single_queries(fresh, regions, **options))


@pytest.mark.parametrize(
    "regions",
    [
        {"type": "FeatureCollection", "features": []}, shapely.box(*LAND).__geo_interface__, "10,40,12,42",
        b"10,40,12,42", cop_zarr.BBox(*LAND), PointBuffer(10, 40, 1e5), shapely.box(*LAND), None, 5,
        np.array(5.0), np.array(shapely.box(*LAND), object), LAND, list(LAND), np.array(LAND),
        SimpleNamespace(columns=("name",)),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
@pytest.mark.parametrize("on_error", ["raise", "nan"])
def test_what_is_not_several_regions_is_refused(watched, regions, on_error):
    store, read_keys = watched
    with pytest.raises(InputError) as error:
        store.query_many(regions, on_error=on_error)
    assert type(error.value) is InputError
    assert not read_keys


# Progress


@pytest.mark.parametrize("size", [1 << 29, 5_000])
@pytest.mark.parametrize("out", [None, "f8"])
def test_progress_grows_to_the_number_of_regions(fresh, monkeypatch, size, out):
    """With refused regions and ocean among them, in several portions, halves and blocks."""
    monkeypatch.setattr(many_regions, "PLAN_BYTES", size)
    monkeypatch.setattr(pool_batch, "MAX_UNFINISHED_BYTES", 5 * BANDS * 8)
    monkeypatch.setattr(out_array, "BLOCK_BYTES", 31 * BANDS * 4)
    regions = [*draw_regions(50, 14, SMALLER_KINDS), TINY, None, OCEAN, TINY, OCEAN, LAND]
    table, calls = None if out is None else np.empty((len(regions), BANDS), out), []
    fresh.query_many(regions, on_error="nan", out=table, progress=lambda *numbers: calls.append(numbers))
    done = [done for done, _ in calls]
    assert done == sorted(set(done))
    assert done[0] > 0
    assert len(done) > 10
    assert done[-1] == len(regions)
    assert {total for _, total in calls} == {len(regions)}


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
def test_an_exception_of_progress_ends_the_query(fresh, error):
    def stop(done, total):
        raise error

    with pytest.raises(error):
        fresh.query_many(draw_regions(40, 15), progress=stop)
    same_digits(fresh.query_many([LAND]), single_queries(fresh, [LAND]))


class Faulty:
    """An object whose ``__geo_interface__`` fails in some way of its own."""

    def __init__(self, error):
        self.error = error

    @property
    def __geo_interface__(self):
        raise self.error


def test_errors_of_other_libraries_are_of_one_region(store):
    deep = shapely.Point(1, 2)
    for _ in range(1_100):
        deep = shapely.GeometryCollection([deep])
    rows = store.query_many(
        [Faulty(KeyError("x")), (10, 40, 12, 42), deep, Faulty(shapely.errors.GEOSException("y"))],
        on_error="nan",
    )
    assert np.isnan(rows).all(axis=1).tolist() == [True, False, True, True]
    with pytest.raises(RegionError, match="KeyError") as caught:
        store.query(Faulty(KeyError("x")))
    assert isinstance(caught.value.__cause__, KeyError)
