"""Many regions at once: the vectors of single queries, to the last bit, for fewer reads."""

import collections
import contextlib
import itertools
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import shapely
import shapely.affinity

import cop_zarr
from cop_zarr import PointBuffer
from cop_zarr.errors import ChunkError, CopZarrError, InputError, RegionError, SubcellError, YearError
from cop_zarr.querying import many_regions as batches
from cop_zarr.querying import out_array as filling
from cop_zarr.storage import LocalFolder
from tests.support import factory
from tests.support.folders import WatchedFolder, open_in
from tests.support.questions import REDUCERS

STEP, BANDS = factory.STEP, factory.BANDS
OCEAN = (-82, -5, -70, 5)
LAND = (10, 40, 12, 42)


def same_bits(found, expected, message=""):
    """Whether two float32 arrays are the same, signs of zeros and bits of NaN included."""
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(
        np.ascontiguousarray(found).view("u4"), np.ascontiguousarray(expected).view("u4"), message
    )


def single(store, regions, **options):
    """The vectors of single queries."""
    found = np.empty((len(regions), store.bands), "f4")
    for row, region in enumerate(regions):
        found[row] = store.query(region, **options).data
    return found


def a_polygon(a):
    turns = np.sort(a.rng.uniform(0, 2 * np.pi, a.rng.integers(3, 9)))
    ring = [(a.lon + a.wide * np.cos(turn), a.lat + 5 * np.sin(turn)) for turn in turns]
    return shapely.convex_hull(shapely.MultiPoint(ring)).buffer(0.3)


def on_edges(a):
    west, south = np.floor(a.lon * 4) / 4 + 0.125, np.floor(a.lat) + 0.125
    return tuple(map(float, (west, south, west + np.ceil(a.wide), south + 1)))


def holed(a):
    outer, hole = (shapely.box(a.lon, a.lat, a.lon + size, a.lat + size) for size in (4, 1.5))
    return outer - shapely.affinity.translate(hole, 1, 1)


KINDS = {
    "box": lambda a: (a.lon, max(a.lat - a.high, -90), min(a.lon + a.wide, 180), a.lat + 0.3),
    "on edges": on_edges,
    "wrapped": lambda a: (180 - a.wide, a.lat, a.rng.uniform(1, 30) - 180, a.lat + 1),
    "all around": lambda a: (a.lon, a.lat, a.lon - 1e-9, a.lat + 1),
    "all around from Greenwich": lambda a: (0, a.lat, 360, a.lat + 1),
    "all around from the seam": lambda a: (-180, a.lat, 180, a.lat + 1),
    "north pole": lambda a: (a.lon, 85, min(a.lon + 60, 180), 90),
    "south pole": lambda a: (a.lon, -90, a.lon + a.wide, -85),
    "point": lambda a: PointBuffer(a.lon, a.lat, a.rng.uniform(2e4, 3e5)),
    "polar point": lambda a: PointBuffer(a.lon, 90 - a.lat**2 / 7056, 5e4),
    "circle": lambda a: PointBuffer(a.lon, a.lat, a.rng.uniform(3e4, 3e5), "circle"),
    "polygon": a_polygon,
    "holed": holed,
    "ocean": lambda a: (-104 + a.wide, a.lat, -100 + a.wide, a.lat + 5),
}
"""How to draw a region of each kind, none smaller than a cell and some larger than a chunk: of a place, a
width, a height and a generator."""

FEW_AROUND = [kind for kind in KINDS if "around" not in kind]


def many_regions(count, seed, kinds=tuple(KINDS)):
    """So many regions, of each kind in turn, shuffled."""
    rng, regions = np.random.default_rng(seed), []
    for kind, _ in zip(itertools.cycle(kinds), range(count), strict=False):
        wide, high = rng.uniform(0.3, rng.choice([1, 5, 20]), 2)
        lon, lat = rng.uniform(-175, 175), rng.uniform(-84, 84)
        regions.append(KINDS[kind](SimpleNamespace(rng=rng, lon=lon, lat=lat, wide=wide, high=high)))
    return [regions[number] for number in rng.permutation(count)]


@pytest.fixture(scope="module")
def fresh(store_path):
    """The store without memory."""
    return cop_zarr.open(store_path, cache_bytes=0)


def test_three_hundred_regions_have_the_bits_of_single_queries(fresh):
    regions = many_regions(300, seed=0)
    same_bits(fresh.query_many(regions), single(fresh, regions))


OPTIONS = [
    {"pooling": pooling, "weights": weights, "empty": empty}
    for pooling in REDUCERS
    for weights in ("auto", None, "coverage", "area")
    for empty in ("include", "skip")
    if pooling not in {"max", "min"} or weights in {"auto", None}
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_any_options_give_the_bits_of_single_queries(fresh, options):
    regions = [*many_regions(24, 1, FEW_AROUND), (3, 10, 2.9, 12), OCEAN]
    same_bits(fresh.query_many(regions, **options), single(fresh, regions, **options), str(options))


@pytest.mark.parametrize("empty", ["include", "skip"])
@pytest.mark.parametrize(
    ("subpixel", "pooling"),
    [("touch", "mean"), ("touch", "std"), ("nearest", "max"), ("nearest", "mean"), ("bilinear", "mean")],
)
def test_regions_smaller_than_a_cell_have_the_bits_of_single_queries(fresh, subpixel, pooling, empty):
    rng = np.random.default_rng(2)
    small = [
        PointBuffer(lon, lat, size, shape)
        for lon, lat, size, shape in zip(
            rng.uniform(-180, 180, 60), rng.uniform(-88, 88, 60), rng.uniform(10, 10_000, 60),
            ["box", "circle"] * 30, strict=True,
        )
    ]  # fmt: skip
    small += [(179.95, 5, -179.95, 5.1), PointBuffer(10, 90, 500), shapely.box(0.1, 0.1, 0.15, 9)]
    options = {"subpixel": subpixel, "pooling": pooling, "empty": empty}
    small += many_regions(20, 3, FEW_AROUND)
    same_bits(fresh.query_many(small, **options), single(fresh, small, **options))


@pytest.mark.parametrize("pooling", REDUCERS)
def test_vectors_are_those_of_numpy(store, globe, pooling):
    """Windows of whole cells, cut out of the truth."""
    rng = np.random.default_rng(4)
    windows = [(int(r), int(r + h), int(c), int(c + w)) for r, h, c, w in zip(
        rng.integers(1, 680, 150), rng.integers(3, 40, 150), rng.integers(0, 1440, 150),
        rng.integers(3, 60, 150), strict=True)]  # fmt: skip
    boxes = [
        (STEP * c - 180.1, 90 - STEP * (d - 1) - 0.1, STEP * (e - 1) - 179.9, 90 - STEP * r + 0.1)
        for r, d, c, e in windows
    ]
    boxes = [(max(west, -180), *others) for west, *others in boxes]
    found = store.query_many(boxes, pooling=pooling)
    for row, (top, bottom, left, right) in enumerate(windows):
        cells = globe[:, top:bottom].take(range(left, right), axis=2, mode="wrap").astype("f8")
        expected = REDUCERS[pooling](cells, axis=(1, 2))
        np.testing.assert_allclose(found[row], expected, rtol=1e-6, err_msg=str(boxes[row]))


def test_the_order_of_regions_does_not_matter(fresh):
    regions = many_regions(100, 5, FEW_AROUND)
    together = fresh.query_many(regions)
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(np.r_[0:100, 0:100])  # each twice
        same_bits(fresh.query_many([regions[number] for number in order]), together[order])
    same_bits(fresh.query_many(regions[::-1]), together[::-1])


def test_memory_does_not_change_a_bit(fresh, store_path):
    regions = many_regions(40, 6, FEW_AROUND)
    expected = fresh.query_many(regions)
    for size in (1, 20_000, 1 << 20, 256 << 20):
        store = cop_zarr.open(store_path, cache_bytes=size)
        for _ in range(2):
            same_bits(store.query_many(regions), expected)
        same_bits(single(store, regions), expected)
        same_bits(store.query_many(regions), expected)


def test_eight_workers_give_the_bits_of_one(store_path):
    regions = many_regions(45, 7)
    one, eight = (cop_zarr.open(store_path, workers=count, cache_bytes=0) for count in (1, 8))
    for options in ({}, {"pooling": "std", "weights": "area", "empty": "skip"}, {"pooling": "min"}):
        same_bits(eight.query_many(regions, **options), one.query_many(regions, **options))
    for box in (LAND, (100, 20, 115, 35), (150, -30, -150, 30)):
        same_bits(eight.query(box).data, one.query(box).data)
        same_bits(eight.query(box, output="grid").data, one.query(box, output="grid").data)
    lon, lat = np.random.default_rng(0).uniform(-90, 90, (2, 5000))
    for method in ("nearest", "bilinear"):
        same_bits(eight.sample(lon, lat, method=method), one.sample(lon, lat, method=method))


# A part of the globe, with values that have two ways to be the same


ROWS, COLS = (200, 224), (800, 840)
PART_BOX = (20.1, 34.4, 29.6, 39.9)


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    """A store of 3 x 5 chunks; negative values, zeros of either sign, NaN, infinities, empty chunks."""
    place = tmp_path_factory.mktemp("part")
    values = factory.truth(ROWS, COLS, 4) - 9_000
    values[:, :8, :8] = np.array([-3, -0.0, -5, 0])[:, None, None]
    values[:, :8, 8:16] = 0  # a chunk without data, and another
    values[:, 8:16, 16:24] = -0.0
    values[:2, 18, 30] = np.nan, np.inf
    values[1, 19, 31] = -np.inf
    values[:, 20, 4] = 3e38
    path = factory.write_geotiff(place / "a.tif", values, rows=ROWS, cols=COLS)
    cop_zarr.ingest(path, place / "a.zarr")
    return cop_zarr.open(place / "a.zarr", cache_bytes=0)


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
    yield PART_BOX
    yield (19.9, 38.2, 21.8, 40)  # the cells of the first chunk
    yield (19.9, 38.2, 23.8, 40)  # and the empty one beside it


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_odd_values_of_a_part_have_the_bits_of_single_queries(part, options):
    """The largest of -0.0 and 0.0 is either; which one must not depend on how many regions are asked."""
    regions = list(over_the_part(60, 0))
    with np.errstate(all="ignore"):
        same_bits(part.query_many(regions, **options), single(part, regions, **options))


def test_regions_at_the_edge_of_a_part_are_clipped(part):
    inside, over = (24, 37, 29.8, 40), (24, 37, 45, 55)
    found = part.query_many([over, inside, over], pooling="min")
    assert part.query(over).meta["clipped"]
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[0], part.query(over, pooling="min").data)


# What is read


@pytest.fixture
def counted(store_path):
    """A store without memory, and how often each chunk was read from it since this was cleared."""
    folder = WatchedFolder(LocalFolder(store_path))
    store = open_in(folder)
    folder.read_keys.clear()
    return store, folder.read_keys


def test_each_chunk_is_read_once_whatever_lies_over_it(counted):
    store, read_keys = counted
    regions = many_regions(120, 8)
    expected = set()
    for region in regions:
        store.query(region)
    expected = {key for key in read_keys if key.startswith("embedding/c")}
    read_keys.clear()
    store.query_many(regions)
    assert collections.Counter(read_keys) == collections.Counter(expected)
    read_keys.clear()
    store.query_many([LAND] * 1000)
    assert len(read_keys) == len(set(read_keys)) <= 4


def test_cells_that_are_skipped_cost_no_chunk(counted, globe):
    store, read_keys = counted
    row, col = np.argwhere(~globe.any(axis=0)).T[:, ::4999]
    inside = (row > 0) & (row < 720) & (col > 0)
    lon, lat = STEP * col[inside] - 180, 90 - STEP * row[inside]
    boxes = np.stack([lon - 0.02, lat - 0.02, lon + 0.02, lat + 0.02], axis=1)
    found = store.query_many(boxes, empty="skip", subpixel="touch")
    assert len(found) > 50
    assert np.isnan(found).all()
    assert read_keys == ["valid/c/0/0"]


def test_open_ocean_reads_nothing(counted):
    store, read_keys = counted
    regions = [OCEAN, shapely.box(*OCEAN), PointBuffer(-80, 0, 1e5), PointBuffer(-80, 0, 1e5, "circle")]
    np.testing.assert_array_equal(store.query_many(regions), np.zeros((4, BANDS), "f4"))
    assert not read_keys
    assert np.isnan(store.query_many(regions, empty="skip")).all()
    assert read_keys == ["valid/c/0/0"]


def test_no_region_is_no_row(counted):
    store, read_keys = counted
    for none in ([], (), iter(()), np.empty((0, 4))):
        found = store.query_many(none)
        assert (found.shape, found.dtype) == ((0, BANDS), np.float32)
    assert not read_keys


def test_nothing_is_read_when_a_region_is_refused(counted):
    store, read_keys = counted
    with pytest.raises(RegionError, match=r"region 200: "):
        store.query_many([LAND] * 200 + [(10, 50, 12, 40)])
    assert not read_keys


# Several passes, plans and blocks


@pytest.mark.parametrize("most", [1, 2, 3, 4, 7, 1000])
def test_any_number_of_half_done_regions_gives_the_same(fresh, monkeypatch, most):
    regions = many_regions(60, 9, FEW_AROUND)
    expected = fresh.query_many(regions)
    monkeypatch.setattr(batches, "OPEN_REGIONS", most)
    same_bits(fresh.query_many(regions), expected)


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("beside", [OCEAN, (10, 40, 10.5, 40.5)], ids=["ocean", "one chunk"])
@pytest.mark.parametrize("turns", [2, 3, 4])
def test_large_regions_at_even_places_are_as_good_as_any(fresh, monkeypatch, most, beside, turns):
    """Of a pattern in the order, a pass may have nothing to do."""
    regions = [(100, 20, 120, 40), *[beside] * (turns - 1)] * 9
    monkeypatch.setattr(batches, "OPEN_REGIONS", most)
    with np.errstate(all="ignore"):
        found = fresh.query_many(regions)
    same_bits(found, single(fresh, regions))


@pytest.fixture
def most_held(monkeypatch):
    """The largest number of reducers that were alive at a time and had merged something."""
    held = SimpleNamespace(now=set(), most=0)
    made = batches.REDUCERS["mean"]

    class Counted(made):
        def merge(self, partial):
            held.now.add(id(self))
            held.most = max(held.most, len(held.now))
            super().merge(partial)

        def result(self):
            held.now.discard(id(self))
            return super().result()

    monkeypatch.setitem(batches.REDUCERS, "mean", Counted)
    return held


@pytest.mark.parametrize("pattern", [[], [OCEAN], [OCEAN, (10, 40, 10.5, 40.5), OCEAN]], ids=len)
def test_no_more_regions_are_half_done_than_allowed(fresh, monkeypatch, most_held, pattern):
    regions = [(100, 20, 120, 40), *pattern] * 40
    fresh.query_many(regions)
    assert most_held.most >= 40
    monkeypatch.setattr(batches, "OPEN_REGIONS", 10)
    most_held.most = 0
    fresh.query_many(regions)
    assert 10 <= most_held.most <= 11, "one more may be begun in the chunk in which another ends"


def test_regions_of_one_chunk_are_never_half_done(fresh, monkeypatch, counted):
    store, read_keys = counted
    monkeypatch.setattr(batches, "OPEN_REGIONS", 1)
    boxes = [(lon, lat, lon + 0.5, lat + 0.5) for lon in (100.2, 110.3, 130.2) for lat in (50.7, 20.6)]
    store.query_many(boxes * 30)
    assert max(collections.Counter(read_keys).values()) == 1, "one pass"


@pytest.mark.parametrize("size", [1, 3_000, 60_000])
def test_plans_that_do_not_fit_together_give_the_same(fresh, monkeypatch, size):
    regions = [*many_regions(75, 10, FEW_AROUND), OCEAN, LAND]
    expected = fresh.query_many(regions)
    monkeypatch.setattr(batches, "PLAN_BYTES", size)
    same_bits(fresh.query_many(regions), expected)
    with pytest.raises(RegionError, match="region 70: "):
        fresh.query_many([*regions[:70], None, *regions])


def test_plans_take_what_they_are_counted_as(store, monkeypatch):
    """A plan of 200,000 cells with weights is answered before the next is made."""
    monkeypatch.setattr(batches, "PLAN_BYTES", 1 << 20)
    seen, pool = [], batches.Batch._pool

    def watched_pool(batch, planned, out):
        seen.append((len(planned.rows), planned.nbytes))
        pool(batch, planned, out)

    monkeypatch.setattr(batches.Batch, "_pool", watched_pool)
    store.query_many([(0, 0, 5, 5)] * 100 + [shapely.box(-85, 0, 85, 60)] * 3 + [(0, 0, 5, 5)] * 50)
    assert [rows for rows, _ in seen] == [101, 1, 1, 50]
    assert seen[1][1] > 8 * 240 * 680
    assert seen[3][1] < 50 * 2000


@pytest.mark.parametrize("allowed", [1, 16 * BANDS, 160 * BANDS])
def test_vectors_that_are_half_done_take_no_more_than_allowed(fresh, monkeypatch, most_held, allowed):
    regions = [*[(100, 20, 120, 40), LAND] * 30, *many_regions(20, 16, FEW_AROUND)]
    expected = fresh.query_many(regions)
    monkeypatch.setattr(batches, "OPEN_BYTES", allowed)
    most_held.most = 0
    same_bits(fresh.query_many(regions), expected)
    assert most_held.most <= max(1, allowed // (16 * BANDS)) + 1


# What is refused

TINY, UPSIDE_DOWN = (10, 40, 10.1, 42), (10, 50, 12, 40)


@pytest.mark.parametrize(
    ("region", "kind", "message"),
    [
        (TINY, SubcellError, r"region 2: the region is 0\.1° wide and 2° high"),
        (UPSIDE_DOWN, RegionError, r"region 2: .*minlat must be less"),
        (None, RegionError, r"region 2: .*None"),
        ("10,40,12,42", RegionError, r"region 2: .*got str"),
        ((1, 2, 3), RegionError, r"region 2: .*got 3 values"),
        (float("nan"), RegionError, "region 2: "),
        (shapely.Point(10, 40), RegionError, r"region 2: .*got a Point"),
        (shapely.Polygon(), RegionError, "region 2: the geometry is empty"),
        (
            shapely.Polygon([(10, 40), (12, 42), (12, 40), (10, 42)]),
            RegionError,
            r"region 2: .*repair=True",
        ),
        ({"type": "FeatureCollection", "features": []}, RegionError, "region 2: the geometry is empty"),
        ([LAND, LAND], RegionError, r"region 2: .*2 regions"),
    ],
    ids=str,
)
def test_a_refused_region_is_named_or_nan(fresh, region, kind, message):
    regions = [LAND, OCEAN, region, (20, 40, 30, 50)]
    with pytest.raises(kind, match=message) as error:
        fresh.query_many(regions)
    assert type(error.value) is kind
    assert isinstance(error.value, CopZarrError)
    assert isinstance(error.value.__cause__, kind)
    with pytest.raises(kind) as alone:
        fresh.query(region)
    assert str(error.value) == f"region 2: {alone.value}"
    found = fresh.query_many(regions, on_error="nan")
    assert np.isnan(found[2]).all()
    same_bits(found[[0, 1, 3]], fresh.query_many([LAND, OCEAN, regions[3]]))


def test_nan_rows_are_just_those_that_a_query_refuses(part):
    """In a part of the globe with regions beside it; answers that are NaN by themselves have their bits."""
    rng = np.random.default_rng(11)
    regions = [
        *over_the_part(60, 12),
        *[(lon, lat, lon + size, lat + 1) for lon, lat, size in zip(
            rng.uniform(10, 40, 60), rng.uniform(30, 45, 60), rng.uniform(0.1, 3, 60), strict=True)],
        *many_regions(40, 13, FEW_AROUND),
    ]  # fmt: skip
    expected = np.full((len(regions), part.bands), np.nan, "f4")
    refused = 0
    for row, region in enumerate(regions):
        try:
            expected[row] = part.query(region).data
        except RegionError:
            refused += 1
    assert 40 < refused < len(regions) - 40
    same_bits(part.query_many(regions, on_error="nan"), expected)
    with pytest.raises(RegionError, match=r"region \d+: "):
        part.query_many(regions)


def test_the_first_refused_region_is_named_by_its_number(fresh, monkeypatch):
    monkeypatch.setattr(filling, "BLOCK_BYTES", 7 * BANDS * 4)  # and not by that in its block
    regions = [LAND] * 30 + [TINY, UPSIDE_DOWN]
    for out in (None, np.empty((32, BANDS)), np.empty((32, BANDS), "f4")):
        with pytest.raises(SubcellError, match=r"^region 30: "):
            fresh.query_many(regions, out=out)


def test_all_refused_are_all_nan(counted):
    store, read_keys = counted
    found = store.query_many([TINY, UPSIDE_DOWN, None], on_error="nan")
    assert np.isnan(found).all()
    assert found.shape == (3, BANDS)
    assert not read_keys


@pytest.mark.parametrize("on_error", ["raise", "nan"])
def test_a_damaged_chunk_raises_whatever_becomes_of_regions(store_path, tmp_path, on_error):
    rows = str(store_path / "embedding/c/0")
    copy = shutil.copytree(
        store_path, tmp_path / "a.zarr",
        ignore=lambda folder, names: [name for name in names if folder == rows and name != "24"],
    )  # fmt: skip
    store, key = cop_zarr.open(copy), "embedding/c/0/24/100"
    window = (20, 40.5, 20.5, 41)  # row 196, column 800: in chunk (24, 100)
    before = store.query_many([window, TINY], on_error="nan")
    (copy / key).write_bytes((copy / key).read_bytes()[:-1])
    other = (30, 40.5, 30.5, 41)
    for _ in range(2):
        store = cop_zarr.open(copy)
        with pytest.raises(ChunkError, match=key) as error:
            store.query_many(
                [other, window, TINY] if on_error == "nan" else [other, window], on_error=on_error
            )
        assert "region" not in str(error.value).split(":")[0]
    assert np.isfinite(store.query_many([other, TINY], on_error="nan")[0]).all()
    assert np.isfinite(before[0]).all()


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"on_error": "skip"}, InputError, "on_error must be one of 'raise', 'nan'; got 'skip'"),
        ({"on_error": None}, InputError, "got None"),
        ({"on_error": ["nan"]}, InputError, r"got \['nan'\]"),
        ({"pooling": "median"}, InputError, "got 'median'"),
        ({"pooling": ["mean"]}, InputError, r"got \['mean'\]"),
        ({"weights": "size"}, InputError, "got 'size'"),
        ({"pooling": "max", "weights": "area"}, InputError, "weights"),
        ({"subpixel": "bilinear", "pooling": "std"}, InputError, "subpixel"),
        ({"empty": "drop"}, InputError, "got 'drop'"),
        ({"year": 2020}, YearError, "2021 and no other"),
    ],
)
@pytest.mark.parametrize("regions", [[LAND], []], ids=len)
def test_words_are_refused_before_any_read_even_if_regions_may_be(counted, options, kind, message, regions):
    store, read_keys = counted
    with pytest.raises(kind, match=message):
        store.query_many(regions, **{"on_error": "nan", **options})
    assert not read_keys


# Ways to give many regions


def test_ways_to_give_many(fresh):
    boxes = [(10.0, 40.0, 12.0, 42.0), (20.0, 40.0, 23.0, 42.0), (170.0, 5.0, -170.0, 8.0)]
    expected = single(fresh, boxes)
    for given in (
        boxes,
        tuple(boxes),
        iter(boxes),
        (box for box in boxes),
        map(list, boxes),
        dict.fromkeys(boxes).keys(),
        collections.deque(boxes),
        np.array(boxes),
        np.array(boxes, "f4"),
        np.array(boxes, "i8"),
        np.asfortranarray(boxes),
        np.array(boxes)[::-1][::-1],
        [cop_zarr.BBox(*box) for box in boxes],
        list(np.array(boxes)),
    ):
        same_bits(fresh.query_many(given), expected, str(type(given)))


def test_ways_to_give_many_polygons(fresh):
    polygons = [shapely.box(10, 40, 12, 42), shapely.Point(25, 45).buffer(2)]
    expected = single(fresh, polygons)
    features = [
        {"type": "Feature", "properties": None, "geometry": each.__geo_interface__} for each in polygons
    ]
    array = np.empty(2, object)
    array[:] = polygons
    for given in (
        polygons,
        array,
        (each for each in polygons),
        features,
        json.loads(json.dumps(features)),
        [each.__geo_interface__ for each in polygons],
        [SimpleNamespace(__geo_interface__=each) for each in features],
        shapely.GeometryCollection(polygons).geoms,
    ):
        same_bits(fresh.query_many(given), expected, str(type(given)))


def test_a_crs_and_repair_are_those_of_all(fresh):
    mercator = (13358338.9, 3503549.8, 13580977.9, 3763310.6)
    regions = [mercator, shapely.box(*mercator)]
    same_bits(
        fresh.query_many(regions, crs="EPSG:3857"), single(fresh, regions, crs="EPSG:3857"), "EPSG:3857"
    )
    bow_tie = shapely.Polygon([(10, 40), (12, 42), (12, 40), (10, 42)])
    same_bits(fresh.query_many([bow_tie, LAND], repair=True), single(fresh, [bow_tie, LAND], repair=True))


class Frame:
    """A table as pandas makes it: to go through it gives the names of its columns."""

    columns = ("name", "geometry")

    def __iter__(self):
        return iter(self.columns)


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ({"type": "FeatureCollection", "features": []}, "of a feature collection give the features"),
        (shapely.box(*LAND).__geo_interface__, "rois must be many regions; got one dict"),
        ("10,40,12,42", r"got one str\. Ask for one with query\(\)"),
        (b"10,40,12,42", "got one bytes"),
        (cop_zarr.BBox(*LAND), "got one BBox"),
        (PointBuffer(10, 40, 1e5), "got one PointBuffer"),
        (shapely.box(*LAND), "got one Polygon"),
        (shapely.MultiPolygon([shapely.box(*LAND)]), "got one MultiPolygon"),
        (None, "got one NoneType"),
        (5, "got one int"),
        (
            Frame(),
            "the table has no column of geometries; its columns are name, geometry. Make a GeoDataFrame",
        ),
        (np.array(5.0), "rois must be many regions"),
        (np.array(None), "rois must be many regions"),
        (np.array(shapely.box(*LAND), object), "rois must be many regions"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("on_error", ["raise", "nan"])
def test_what_is_not_many_regions_is_refused(counted, regions, message, on_error):
    store, read_keys = counted
    with pytest.raises(InputError, match=message) as error:
        store.query_many(regions, on_error=on_error)
    assert type(error.value) is InputError
    assert not read_keys


@pytest.mark.parametrize(
    "regions", [LAND, list(LAND), np.array(LAND)], ids=lambda value: type(value).__name__
)
def test_one_box_is_not_four_regions(counted, regions):
    store, read_keys = counted
    with pytest.raises(InputError, match=r"got the four numbers of one: give \[.*\], or use query\(\)"):
        store.query_many(regions)
    assert not read_keys


# How far it is


@pytest.mark.parametrize("size", [1 << 29, 5_000])
@pytest.mark.parametrize("out", [None, "f8"])
def test_progress_grows_to_the_number_of_regions(fresh, monkeypatch, size, out):
    """With refused regions and ocean among them, in several plans and blocks."""
    monkeypatch.setattr(batches, "PLAN_BYTES", size)
    monkeypatch.setattr(batches, "OPEN_REGIONS", 5)
    monkeypatch.setattr(filling, "BLOCK_BYTES", 31 * BANDS * 4)
    regions = [*many_regions(70, 14, FEW_AROUND), TINY, None, OCEAN, TINY, OCEAN, LAND]
    table, told = None if out is None else np.empty((len(regions), BANDS), out), []
    fresh.query_many(regions, on_error="nan", out=table, progress=lambda *numbers: told.append(numbers))
    done = [done for done, _ in told]
    assert done == sorted(set(done)), "each call tells of more"
    assert done[0] > 0
    assert told[-1] == (len(regions), len(regions))
    assert {total for _, total in told} == {len(regions)}
    assert len(told) > 10


@pytest.mark.parametrize("regions", [[OCEAN] * 5, [TINY] * 5, [LAND] * 5, [LAND]], ids=str)
def test_progress_of_one_kind_alone(fresh, regions):
    told = []
    fresh.query_many(regions, on_error="nan", progress=lambda *numbers: told.append(numbers))
    assert told[-1] == (len(regions), len(regions))


def test_progress_may_stop_it(fresh):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fresh.query_many([LAND, OCEAN], progress=stop)
    with contextlib.suppress(KeyboardInterrupt):
        fresh.query_many(many_regions(50, 15, FEW_AROUND), progress=stop)
    same_bits(fresh.query_many([LAND]), single(fresh, [LAND]))


def test_zeros_weigh_the_same_whenever_they_come():
    """A query counts them before the chunks with data, many regions after: of two sums, here, that differ
    in the last bit of float64, one is rounded up to float32 and the other down."""
    rng = np.random.default_rng(1)
    for _ in range(101):
        weights, empty = rng.uniform(0, 1, (30, 4)), float(rng.uniform(5, 60))
    cells = np.full((4, 1), 14_656_055, "f4")
    for pooling, make in batches.REDUCERS.items():
        found = []
        for order in ([0, *range(1, 31)], [*range(1, 31), 0]):
            reducer = make(1)
            for number in order:
                if number:
                    reducer.merge(reducer.pool(cells, weights[number - 1]))
                else:
                    reducer.add_empty(empty)
            found.append(reducer.result())
        same_bits(*found, pooling)


def test_weights_of_empty_chunks_are_added_in_one_order(store):
    """Their sum is not a whole number, so when it is added decides on its last bit."""
    boxes = [(lon, lat, lon + 7.3, lat + 5.1) for lon in range(-80, 120, 19) for lat in range(-40, 60, 7)]
    for pooling in ("mean", "sum", "std"):
        options = {"weights": "area", "pooling": pooling}
        same_bits(store.query_many(boxes, **options), single(store, boxes, **options))


def test_a_crs_that_is_none_is_refused_though_regions_may_be(store):
    with pytest.raises(RegionError, match="crs='EPSG:0'"):
        store.query_many([(0, 0, 1e6, 1e6)], crs="EPSG:0", on_error="nan")
