"""Chunks and their pooled totals in memory: how many, which are dropped first, and no effect on answers."""

import itertools

import numpy as np
import pytest
import shapely

import cop_zarr
from cop_zarr.core.lru_cache import ENTRY_BYTES
from cop_zarr.core.threads import Background
from cop_zarr.errors import ChunkError
from cop_zarr.storage import LocalFolder
from tests.support import factory
from tests.support.folders import WatchedFolder, open_in
from tests.support.regions import OPTIONS, POOLINGS, same_bits

STEP = factory.STEP
CHUNK_BYTES = 8 * 8 * factory.BANDS * 4 + ENTRY_BYTES
"""Bytes that a decoded chunk counts in memory."""


def around(rows, cols):
    """A box that touches the cells from each first to one before each last, and no others."""
    west, east = -180 + STEP * cols[0] - 0.1, -180 + STEP * (cols[1] - 1) + 0.1
    return (west, 90 - STEP * (rows[1] - 1) - 0.1, east, 90 - STEP * rows[0] + 0.1)


@pytest.fixture
def cached(store_path):
    """Opens the store with memory for so many chunks; returns it, and the keys read from then on."""

    def opened(chunks, **options):
        folder = WatchedFolder(LocalFolder(store_path))
        store = open_in(folder, cache_bytes=int(chunks * CHUNK_BYTES), **options)
        folder.read_keys.clear()
        return store, folder.read_keys

    return opened


def chunks_read(read_keys):
    """The keys of chunks among these, which are forgotten."""
    found = [key for key in read_keys if key.startswith("embedding/c/")]
    read_keys.clear()
    return found


def block(rows, cols):
    """Keys of a block of chunks."""
    return {f"embedding/c/0/{row}/{col}" for row in range(*rows) for col in range(*cols)}


LAND = around((160, 184), (1040, 1072))
"""Three by four whole chunks, all of which hold data."""

ONE_CHUNK = around((160, 168), (1040, 1048))
ONE_CELL = around((163, 164), (1043, 1044))
TRIANGLE = shapely.Polygon([(80.1, 44.2), (87.3, 44.9), (84.2, 49.8)])

QUERIES = {
    "pooled": lambda store: store.query(LAND).data,
    "grid": lambda store: store.query(LAND, output="grid").data,
    "polygon": lambda store: store.query(TRIANGLE, empty="skip").data,
    "sample": lambda store: store.sample(np.linspace(80, 87, 50), np.linspace(45, 49, 50)),
    "bilinear": lambda store: store.sample(np.linspace(80, 87, 50), 47.1, method="bilinear"),
    "many": lambda store: store.query_many([LAND, TRIANGLE, (80, 45, 82, 47)]),
}
"""All of them lie in the chunks of LAND."""


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_chunks_are_read_once_with_memory_and_each_time_without(cached, query):
    store, read_keys = cached(64)
    first = query(store)
    read = chunks_read(read_keys)
    assert 1 < len(read) == len(set(read))
    np.testing.assert_array_equal(query(store), first)
    assert not read_keys
    for other in QUERIES.values():
        other(store)
    again = chunks_read(read_keys)
    assert len(again) == len(set(again) - set(read))
    without, read_keys = cached(0)
    for _ in range(2):
        np.testing.assert_array_equal(query(without), first)
        assert sorted(chunks_read(read_keys)) == sorted(read)
    assert without._reader.memory.nbytes == 0


@pytest.mark.parametrize("chunks", [0.5, 3, 40])
def test_memory_is_bounded(cached, chunks):
    store, _ = cached(chunks)
    memory = store._reader.memory
    for query, west in itertools.product(QUERIES.values(), (0, 20)):
        query(store)
        store.query((west, 20, west + 9, 29))
        assert memory.nbytes <= memory.capacity == int(chunks * CHUNK_BYTES)


@pytest.mark.parametrize("output", ["pooled", "grid"])
@pytest.mark.parametrize("workers", [1, 4])
def test_query_that_does_not_fit_drops_nothing(cached, globe, output, workers):
    store, read_keys = cached(20, workers=workers)
    store.query(LAND, output="grid")
    there = chunks_read(read_keys)
    rows, cols = (72, 232), (944, 1144)  # 20 x 25 chunks around it
    options = {"output": output} | ({"weights": "coverage"} if output == "pooled" else {})
    answer = store.query(around(rows, cols), **options).data
    if output == "grid":
        np.testing.assert_array_equal(answer, globe[:, slice(*rows), slice(*cols)])
    read = chunks_read(read_keys)
    assert len(read) > 100
    assert not set(read) & set(there)
    assert store._reader.memory.nbytes == len(there) * CHUNK_BYTES
    store.query(LAND, output="grid")
    assert not read_keys


SHARED = {
    **QUERIES,
    "mean of a cell": lambda store: store.query(ONE_CELL, subpixel="touch").data,
    "max of a cell": lambda store: store.query(ONE_CELL, pooling="max", subpixel="touch").data,
    "min of a chunk": lambda store: store.query(ONE_CHUNK, pooling="min").data,
    "sum of a chunk": lambda store: store.query(ONE_CHUNK, pooling="sum").data,
    "grid of a cell": lambda store: store.query(ONE_CELL, output="grid", subpixel="touch").data,
    "grid of a chunk": lambda store: store.query(ONE_CHUNK, output="grid").data,
    "a point": lambda store: store.sample(80.75, 49.25),
    "many of a chunk": lambda store: store.query_many([ONE_CHUNK], pooling="max"),
}
"""Answers that may be chunks or totals in memory, or views of them."""


@pytest.mark.parametrize("query", SHARED.values(), ids=SHARED)
def test_answers_may_be_written_to_and_cached_chunks_may_not(cached, query):
    store, _ = cached(100)
    expected = query(cached(0)[0])
    for _ in range(3):
        answer = query(store)
        np.testing.assert_array_equal(answer, expected)
        answer[...] = -1
    values = [value for value, _ in store._reader.memory._values.values()]
    for chunk in (value for value in values if isinstance(value, np.ndarray) and value.ndim == 3):
        assert not chunk.flags.writeable
        assert not np.shares_memory(answer, chunk)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_larger_region_reads_only_what_is_new(cached, globe, pooling):
    """Totals of whole chunks are cached, although the chunks themselves do not fit."""
    store, read_keys = cached(30)
    store.query(around((160, 224), (1040, 1104)), pooling=pooling)
    assert set(chunks_read(read_keys)) == block((20, 28), (130, 138))
    assert (20, 130) not in store._reader.memory
    found = store.query(around((152, 232), (1032, 1112)), pooling=pooling).data
    read = chunks_read(read_keys)
    assert len(read) == len(set(read))
    assert set(read) == block((19, 29), (129, 139)) - block((20, 28), (130, 138))
    cells = globe[:, 152:232, 1032:1112].reshape(factory.BANDS, -1).astype("f8")
    np.testing.assert_allclose(found, getattr(np, pooling)(cells, axis=1), rtol=1e-6)


def test_sum_and_mean_share_totals_and_the_others_have_their_own(cached):
    store, read_keys = cached(14)
    box = around((160, 192), (1040, 1072))  # 16 chunks, more than fit
    for pooling, reads in (("mean", 16), ("sum", 0), ("max", 16), ("min", 16), ("std", 16), ("min", 0)):
        store.query(box, pooling=pooling)
        assert len(chunks_read(read_keys)) == reads, pooling


@pytest.fixture(scope="module")
def uncached(store_path):
    """The store without memory, read by one thread."""
    return cop_zarr.open(store_path, cache_bytes=0, workers=1)


REGIONS = [
    around((150, 215), (1030, 1095)), around((160, 214), (1040, 1090)), TRIANGLE,
    around((300, 330), (1420, 1460)), cop_zarr.PointBuffer(83, 46, 2e5, "circle"), (-82, -5, -70, 5),
]  # fmt: skip


@pytest.fixture(scope="module")
def expected(uncached):
    """The vectors of REGIONS by OPTIONS."""
    return [[uncached.query(region, **options).data for region in REGIONS] for options in OPTIONS]


@pytest.mark.parametrize(("chunks", "workers"), [(0.3, 1), (3, 8), (10_000, 8)])
def test_all_options_have_the_uncached_answers_bit_for_bit(cached, expected, chunks, workers):
    """And those of eight threads are those of one."""
    store, _ = cached(chunks, workers=workers)
    for options, vectors in zip(OPTIONS, expected, strict=True):
        for region, vector in zip(REGIONS, vectors, strict=True):
            for _ in range(2):
                found = store.query(region, **options).data
                same_bits(found, vector, str(options))


def test_queries_from_several_threads_have_the_uncached_answers(cached, uncached):
    """With more chunks than fit, so that they come and go."""
    store, _ = cached(15, workers=3)
    boxes = [around((160 + row, 190 + row), (1040 + row, 1072 + row)) for row in range(0, 48, 4)]
    grids = [uncached.query(box, output="grid").data for box in boxes]
    means = [uncached.query(box).data for box in boxes]

    def work(seed):
        for number in np.random.default_rng(seed).permutation(len(boxes)):
            np.testing.assert_array_equal(store.query(boxes[number], output="grid").data, grids[number])
            np.testing.assert_array_equal(store.query(boxes[number]).data, means[number])

    for task in [Background(lambda seed=seed: work(seed)) for seed in range(6)]:
        task.result()
        task.close()
    memory = store._reader.memory
    assert memory.nbytes == sum(size for _, size in memory._values.values()) <= memory.capacity


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_damaged_chunk_is_never_cached(damageable, uncached, query):
    key = "embedding/c/0/21/131"
    whole = (damageable / key).read_bytes()
    store = cop_zarr.open(damageable)
    (damageable / key).write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    for _ in range(2):
        with pytest.raises(ChunkError, match=key):
            query(store)
    assert (21, 131) not in store._reader.memory
    (damageable / key).write_bytes(whole)
    np.testing.assert_array_equal(query(store), query(uncached))
    (damageable / key).unlink()  # from now on it comes from memory
    query(store)
