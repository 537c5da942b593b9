"""What stays in memory: how much of it, in which order it goes, and that no answer shows it."""

import itertools
import os
import pickle
import shutil
import signal
import sys
import threading
import time

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

import cop_zarr
from cop_zarr.core.lru_cache import CACHE_BYTES, ENTRY_BYTES, LRUCache
from cop_zarr.errors import ChunkError, InputError
from cop_zarr.storage import LocalFolder
from tests.support import factory
from tests.support.folders import WatchedFolder, open_in

STEP = factory.STEP
CHUNK_BYTES = 8 * 8 * factory.BANDS * 4 + ENTRY_BYTES
"""What a decoded chunk counts in memory."""

POOLINGS = ["mean", "max", "min", "std", "sum"]

# The cache by itself


def modelled(capacity, puts_and_gets):
    """What a list of (key, value, size), oldest use first, would hold; gives what each get gives."""
    kept, answers = [], []
    for key, value, size in puts_and_gets:
        found = [entry for entry in kept if entry[0] == key]
        if value is None:
            answers.append(found[0][1] if found else None)
            kept = [entry for entry in kept if entry[0] != key] + found
        elif size <= capacity:
            kept = [entry for entry in kept if entry[0] != key] + [(key, value, size)]
            while sum(entry[2] for entry in kept) > capacity:
                del kept[0]
    return kept, answers


OPERATIONS = st.lists(st.tuples(st.integers(0, 7), st.booleans(), st.integers(0, 14)), max_size=60)


@given(st.integers(0, 40), OPERATIONS)
def test_any_puts_and_gets_leave_what_a_list_would_hold(capacity, operations):
    cache, answers = LRUCache(capacity), []
    numbered = [
        (key, number if is_put else None, size) for number, (key, is_put, size) in enumerate(operations)
    ]
    for done, (key, value, size) in enumerate(numbered, 1):
        if value is None:
            answers.append(cache.get(key))
        else:
            cache.put(key, value, size)
        kept, expected = modelled(capacity, numbered[:done])
        assert cache.nbytes == sum(entry[2] for entry in kept) <= capacity
        assert [key in cache for key in range(8)] == [
            any(entry[0] == key for entry in kept) for key in range(8)
        ]
        assert answers == expected
    for key, value, _ in kept if numbered else ():
        assert cache.get(key) == value


def test_the_least_recently_used_goes_first():
    cache = LRUCache(3)
    for key in "abc":
        cache.put(key, key.upper(), 1)
    assert cache.get("a") == "A"
    cache.put("d", "D", 1)
    assert [cache.get(key) for key in "abcd"] == ["A", None, "C", "D"]
    cache.put("e", "E", 2)  # two of them go for it
    assert [key in cache for key in "abcde"] == [False, False, False, True, True]


def test_to_ask_whether_it_is_there_is_no_use_of_it():
    cache = LRUCache(2)
    cache.put("a", 1, 1)
    cache.put("b", 2, 1)
    assert "a" in cache
    cache.put("c", 3, 1)
    assert "a" not in cache


def test_a_replaced_value_counts_once_and_becomes_the_most_recent():
    cache = LRUCache(10)
    cache.put("a", 1, 4)
    cache.put("b", 2, 4)
    cache.put("a", 3, 6)
    assert (cache.get("a"), cache.get("b"), cache.nbytes) == (3, 2, 10)
    cache.put("b", 4, 1)
    cache.put("c", 5, 4)  # of 11 bytes, the oldest go: a's 6
    assert ("a" in cache, "b" in cache, cache.nbytes) == (False, True, 5)


def test_what_is_larger_than_all_is_not_kept_and_drops_nothing():
    cache = LRUCache(4)
    cache.put("a", 1, 4)
    cache.put("b", 2, 5)
    assert (cache.get("a"), cache.get("b"), cache.nbytes) == (1, None, 4)


def test_a_capacity_of_0_keeps_nothing():
    cache = LRUCache(0)
    cache.put("a", np.zeros(3), 24)
    assert cache.get("a") is None
    assert ("a" in cache, cache.nbytes) == (False, 0)


@pytest.mark.parametrize("capacity", [-1, 1.5, 2.0, True, False, "256 MiB", None, [1], float("inf")])
def test_what_is_no_number_of_bytes_is_refused(store_path, capacity):
    with pytest.raises(InputError, match="cache_bytes must be a whole number of bytes, or 0; got "):
        LRUCache(capacity)
    with pytest.raises(InputError, match="cache_bytes") as error:
        cop_zarr.open(store_path, cache_bytes=capacity)
    assert str(error.value).endswith(repr(capacity))


def test_a_bad_capacity_is_told_before_the_store_is_looked_for(tmp_path):
    with pytest.raises(InputError, match="got -5"):
        cop_zarr.open(tmp_path / "nowhere.zarr", cache_bytes=-5)


def test_a_pickle_is_empty_and_of_the_same_capacity():
    cache = LRUCache(100)
    cache.put("a", np.ones(5), 40)
    copy = pickle.loads(pickle.dumps(cache))
    assert (copy.capacity, copy.nbytes, "a" in copy) == (100, 0, False)
    assert (cache.nbytes, "a" in cache) == (40, True)
    copy.put("b", 1, 100)
    assert (copy.get("b"), copy.nbytes) == (1, 100)


@pytest.fixture
def hasty():
    """Threads take turns every few microseconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(count, work):
    """Do this in so many threads at once, each with its number; gives what they raised."""
    raised, barrier = [], threading.Barrier(count)

    def run(number):
        barrier.wait()
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001  # for the thread that waits
            raised.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return raised


def test_sixteen_threads_leave_an_exact_count(hasty):
    cache = LRUCache(1000)

    def work(number):
        rng = np.random.default_rng(number)
        keys, new_sizes = rng.integers(0, 60, 3000).tolist(), rng.integers(0, 120, 3000).tolist()
        for key, size in zip(keys, new_sizes, strict=True):
            if size % 3 == 0:
                cache.put(key, (key, size), size)
            else:
                found = cache.get(key)
                assert found is None or found[0] == key
            assert cache.nbytes >= 0

    assert not in_threads(16, work)
    sizes = {key: cache.get(key)[1] for key in range(60) if key in cache}
    assert len(sizes) > 5
    assert cache.nbytes == sum(sizes.values()) <= 1000


def test_it_may_be_used_while_it_is_used_by_the_same_thread():
    """As by the handler of a signal, or when a value that it lets go of is finalized."""
    cache, found = LRUCache(2), []

    class Last:
        def __del__(self):
            found.append(cache.get("b"))
            cache.put("d", 4, 0)

    def work(_):
        cache.put("a", Last(), 1)
        cache.put("b", 2, 1)
        cache.put("c", 3, 1)

    assert not in_threads(1, work)
    assert found == [2]
    assert (cache.nbytes, cache.get("c"), cache.get("d")) == (2, 3, 4)


def ended(child, seconds):
    """Wait for a child at most so long; its exit code, or None for one that had to be killed."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(1e-3)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_amid_threads_that_use_it_does_not_hang(hasty):
    cache, other, stop = LRUCache(50), LRUCache(5), threading.Event()

    def work(number):
        while not stop.is_set():
            for key in range(20):
                cache.put((number, key), key, 3)
                cache.get((number - 1, key))

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    codes = []
    try:
        for _ in range(30):
            child = os.fork()
            if child == 0:
                try:
                    for each in (cache, other):
                        each.put("child", 7, 3)
                        right = each.get("child") == 7 and each.nbytes <= each.capacity
                        os._exit(1) if not right else None
                    os._exit(0)
                finally:
                    os._exit(2)
            codes.append(ended(child, 20))
            if codes[-1] is None:
                break
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert codes == [0] * 30
    assert cache.get("child") is None
    cache.put("parent", 1, 1)
    assert cache.get("parent") == 1


# Decoded chunks of an open store


def around(rows, cols):
    """A box that touches just these cells of the lattice, from each first to one before each last."""
    west, east = -180 + STEP * cols[0] - 0.1, -180 + STEP * (cols[1] - 1) + 0.1
    return (west, 90 - STEP * (rows[1] - 1) - 0.1, east, 90 - STEP * rows[0] + 0.1)


@pytest.fixture
def kept(store_path):
    """Opens the store with a memory of so many chunks; gives it, and the keys read from then on."""

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


def places(rows, cols):
    """Keys of the chunks of a block of chunks."""
    return {f"embedding/c/0/{row}/{col}" for row in range(*rows) for col in range(*cols)}


LAND = around((160, 184), (1040, 1072))
"""Three by four whole chunks, all of which hold data."""

TRIANGLE = shapely.Polygon([(80.1, 44.2), (87.3, 44.9), (84.2, 49.8)])

ASKS = {
    "pooled": lambda store: store.query(LAND).data,
    "grid": lambda store: store.query(LAND, output="grid").data,
    "polygon": lambda store: store.query(TRIANGLE, empty="skip").data,
    "sample": lambda store: store.sample(np.linspace(80, 87, 50), np.linspace(45, 49, 50)),
    "bilinear": lambda store: store.sample(np.linspace(80, 87, 50), 47.1, method="bilinear"),
    "many": lambda store: store.query_many([LAND, TRIANGLE, (80, 45, 82, 47)]),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_what_was_read_once_is_not_read_again(kept, ask):
    store, read_keys = kept(64)
    first = ask(store)
    read = chunks_read(read_keys)
    assert 1 < len(read) == len(set(read))
    for _ in range(3):
        np.testing.assert_array_equal(ask(store), first)
    assert not read_keys
    for other in ASKS.values():  # all of them lie in the same twelve chunks
        other(store)
    again = chunks_read(read_keys)
    assert not set(again) & set(read)
    assert len(again) == len(set(again))


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_without_memory_everything_is_read_each_time(kept, ask):
    store, read_keys = kept(0)
    first = ask(store)
    read = sorted(chunks_read(read_keys))
    for _ in range(2):
        np.testing.assert_array_equal(ask(store), first)
        assert sorted(chunks_read(read_keys)) == read
    assert store._reader.memory.nbytes == 0


def test_the_default_is_to_keep_256_mib(store_path):
    assert cop_zarr.open(store_path)._reader.memory.capacity == CACHE_BYTES == 268_435_456
    for size in (0, 1, 12_345):
        assert cop_zarr.open(store_path, cache_bytes=size)._reader.memory.capacity == size


def test_stores_opened_separately_share_nothing(store_path):
    one, other = cop_zarr.open(store_path), cop_zarr.open(store_path)
    one.query(LAND)
    assert one._reader.memory.nbytes > 0
    assert other._reader.memory.nbytes == 0


def test_memory_is_never_more_than_was_allowed(kept):
    for chunks in (0.5, 1, 3, 12.5, 40):
        store, _ = kept(chunks)
        memory = store._reader.memory
        for ask, west in itertools.product(ASKS.values(), (0, 20, 40)):
            ask(store)
            store.query((west, 20, west + 9, 29))
            assert memory.nbytes <= memory.capacity == int(chunks * CHUNK_BYTES)


@pytest.mark.parametrize("output", ["pooled", "grid"])
@pytest.mark.parametrize("workers", [1, 4])
def test_more_than_fits_leaves_what_is_there(kept, globe, output, workers):
    store, read_keys = kept(20, workers=workers)
    store.query(LAND, output="grid")
    memory = store._reader.memory
    there = chunks_read(read_keys)
    large = (72, 232), (944, 1144)  # 20 x 25 chunks around it
    options = {"output": output} | ({"weights": "coverage"} if output == "pooled" else {})
    answer = store.query(around(*large), **options).data
    cells = globe[:, slice(*large[0]), slice(*large[1])]
    if output == "grid":
        np.testing.assert_array_equal(answer, cells)
    read = chunks_read(read_keys)
    assert len(read) > 100
    assert not set(read) & set(there), "what was there is used"
    assert memory.nbytes == len(there) * CHUNK_BYTES
    store.query(LAND, output="grid")
    assert not read_keys


def test_the_least_recently_asked_chunks_make_room(kept):
    store, read_keys = kept(2)
    first, second, third = (around((160, 168), (col, col + 8)) for col in (1040, 1048, 1056))
    for box in (first, second, first, third):
        store.query(box, output="grid")
    assert len(chunks_read(read_keys)) == 3
    store.query(first, output="grid")
    assert not read_keys
    store.query(second, output="grid")
    assert len(chunks_read(read_keys)) == 1


def test_many_that_fit_are_kept_in_the_place_of_older_ones(kept):
    store, read_keys = kept(40)
    store.query(LAND, output="grid")
    store.query(around((80, 128), (1040, 1080)), output="grid")  # 30 chunks
    assert len(chunks_read(read_keys)) == 42
    store.query(around((80, 128), (1040, 1080)), output="grid")
    assert not read_keys
    assert store._reader.memory.nbytes == 40 * CHUNK_BYTES


def test_what_is_kept_is_not_writeable(kept):
    store, _ = kept(100)
    for ask in ASKS.values():
        ask(store)
    values = [value for value, _ in store._reader.memory._values.values()]
    chunks = [value for value in values if isinstance(value, np.ndarray) and value.ndim == 3]
    assert len(chunks) >= 12
    for chunk in chunks:
        with pytest.raises(ValueError, match="read-only"):
            chunk[0, 0, 0] = 1


def arrays_in(value):
    """The arrays that a kept value consists of."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from arrays_in(each)


ONE_CELL = around((163, 164), (1043, 1044))
EASILY_SHARED = {
    **ASKS,
    **{f"{word} of a cell": lambda store, word=word: store.query(
        ONE_CELL, pooling=word, subpixel="touch").data for word in POOLINGS},
    **{f"{word} of a chunk": lambda store, word=word: store.query(
        around((160, 168), (1040, 1048)), pooling=word).data for word in POOLINGS},
    "grid of a cell": lambda store: store.query(ONE_CELL, output="grid", subpixel="touch").data,
    "grid of a chunk": lambda store: store.query(around((160, 168), (1040, 1048)), output="grid").data,
    "a point": lambda store: store.sample(80.75, 49.25),
    "many of a chunk": lambda store: store.query_many([around((160, 168), (1040, 1048))], pooling="max"),
}  # fmt: skip


@pytest.mark.parametrize("ask", EASILY_SHARED.values(), ids=EASILY_SHARED)
def test_no_answer_shares_memory_with_what_is_kept(kept, ask):
    store, _ = kept(100)
    expected = ask(kept(0)[0])
    for _ in range(3):
        answer = ask(store)
        np.testing.assert_array_equal(answer, expected)
        for value, _ in store._reader.memory._values.values():
            assert not any(np.shares_memory(answer, array) for array in arrays_in(value))
        assert answer.flags.writeable
        answer[...] = -1
    assert store._reader.memory.nbytes > 0


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_larger_region_reads_only_what_is_new(kept, globe, pooling):
    """Of whole chunks, what they were pooled to is kept, although they themselves do not fit."""
    store, read_keys = kept(30)
    store.query(around((160, 224), (1040, 1104)), pooling=pooling)
    assert set(chunks_read(read_keys)) == places((20, 28), (130, 138))
    assert (20, 130) not in store._reader.memory
    found = store.query(around((152, 232), (1032, 1112)), pooling=pooling).data
    read = chunks_read(read_keys)
    assert len(read) == len(set(read))
    assert set(read) == places((19, 29), (129, 139)) - places((20, 28), (130, 138))
    cells = globe[:, 152:232, 1032:1112].reshape(factory.BANDS, -1).astype("f8")
    expected = getattr(np, pooling)(cells, axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    store.query(around((161, 223), (1041, 1103)), pooling=pooling)
    assert set(chunks_read(read_keys)) == places((20, 28), (130, 138)) - places((21, 27), (131, 137))


def test_sum_and_mean_know_the_same_totals_and_the_others_their_own(kept):
    store, read_keys = kept(14)
    box = around((160, 192), (1040, 1072))  # 16 chunks, more than fit
    for pooling, reads in (("mean", 16), ("sum", 0), ("max", 16), ("min", 16), ("std", 16), ("min", 0)):
        store.query(box, pooling=pooling)
        assert len(chunks_read(read_keys)) == reads, pooling


@pytest.fixture(scope="module")
def fresh(store_path):
    """The store without any memory."""
    return cop_zarr.open(store_path, cache_bytes=0)


WINDOWS = st.tuples(st.integers(140, 170), st.integers(3, 40), st.integers(1410, 1440), st.integers(3, 60))


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([0.2, 1, 5, 20, 1000]),
    st.lists(st.tuples(WINDOWS, st.sampled_from(POOLINGS)), min_size=2, max_size=8),
)
def test_kept_answers_are_the_fresh_ones_bit_for_bit(fresh, store_path, chunks, questions):
    """Windows over one another, across the antimeridian, in a memory of any size."""
    cached = cop_zarr.open(store_path, cache_bytes=int(chunks * CHUNK_BYTES))
    for (row, height, col, width), pooling in questions:
        rows, cols = (row, row + height), (col, col + width)
        box = around(rows, cols)
        for empty in ("include", "skip"):
            expected = fresh.query(box, pooling=pooling, empty=empty).data
            for _ in range(2):
                found = cached.query(box, pooling=pooling, empty=empty).data
                np.testing.assert_array_equal(found.view("u4"), expected.view("u4"))
        grid = cached.query(box, output="grid").data
        np.testing.assert_array_equal(grid, factory.truth(rows, cols))


OPTIONS = [
    {"pooling": pooling, "weights": weights, "empty": empty}
    for pooling in POOLINGS
    for weights in ("auto", None, "coverage", "area")
    for empty in ("include", "skip")
    if pooling not in {"max", "min"} or weights in {"auto", None}
]

REGIONS = [
    around((150, 215), (1030, 1095)), around((160, 214), (1040, 1090)), TRIANGLE,
    around((300, 330), (1420, 1460)), cop_zarr.PointBuffer(83, 46, 2e5, "circle"), (-82, -5, -70, 5),
]  # fmt: skip


@pytest.fixture(scope="module")
def expected(fresh):
    """The vectors of REGIONS by OPTIONS, by one thread after the other."""
    return [[fresh.query(region, **options).data for region in REGIONS] for options in OPTIONS]


@pytest.mark.parametrize(("chunks", "workers"), [(0.3, 1), (3, 8), (30, 8), (10_000, 8)])
def test_kept_answers_to_any_options_are_the_fresh_ones(kept, expected, chunks, workers):
    """And those of eight threads are those of one."""
    store, _ = kept(chunks, workers=workers)
    for options, vectors in zip(OPTIONS, expected, strict=True):
        for region, vector in zip(REGIONS, vectors, strict=True):
            for _ in range(2):
                found = store.query(region, **options).data
                np.testing.assert_array_equal(found.view("u4"), vector.view("u4"), err_msg=str(options))


def test_threads_that_ask_at_once_get_right_answers(kept, hasty):
    """More than memory has room for, so that chunks come and go."""
    fresh, _ = kept(0)
    store, _ = kept(15, workers=3)
    boxes = [around((160 + row, 190 + row), (1040 + row, 1072 + row)) for row in range(0, 48, 4)]
    expected = [fresh.query(box, output="grid").data for box in boxes]
    means = [fresh.query(box).data for box in boxes]

    def work(number):
        for turn in np.random.default_rng(number).permutation(len(boxes)):
            np.testing.assert_array_equal(store.query(boxes[turn], output="grid").data, expected[turn])
            np.testing.assert_array_equal(store.query(boxes[turn]).data, means[turn])

    assert not in_threads(6, work)
    memory = store._reader.memory
    assert memory.nbytes == sum(size for _, size in memory._values.values()) <= memory.capacity


@pytest.fixture
def damageable(store_path, tmp_path):
    """A copy of the chunks under LAND and of what else a store needs."""

    rows = str(store_path / "embedding/c/0")

    def ignored(folder, names):
        return [name for name in names if folder == rows and not 20 <= int(name) < 23]

    return shutil.copytree(store_path, tmp_path / "a.zarr", ignore=ignored)


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_a_damaged_chunk_is_never_kept(damageable, ask):
    key = "embedding/c/0/21/131"
    whole = (damageable / key).read_bytes()
    store = cop_zarr.open(damageable)
    (damageable / key).write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    for _ in range(3):
        with pytest.raises(ChunkError, match=key):
            ask(store)
    assert (21, 131) not in store._reader.memory
    (damageable / key).write_bytes(whole)
    np.testing.assert_array_equal(ask(store), ask(cop_zarr.open(damageable, cache_bytes=0)))
    (damageable / key).unlink()  # from now on it comes from memory
    ask(store)


def test_a_pickled_store_begins_with_an_empty_memory_of_the_same_size(store_path):
    store = cop_zarr.open(store_path, cache_bytes=123_456)
    expected = store.query(LAND).data
    assert store._reader.memory.nbytes > 0
    size = len(pickle.dumps(store))
    store.query(around((80, 88), (1040, 1048)))
    assert abs(len(pickle.dumps(store)) - size) < 100
    copy = pickle.loads(pickle.dumps(store))
    assert (copy._reader.memory.capacity, copy._reader.memory.nbytes) == (123_456, 0)
    np.testing.assert_array_equal(copy.query(LAND).data, expected)
