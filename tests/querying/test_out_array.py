"""Where many answers go: arrays of the caller's own, in memory or not, written block by block."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import cop_zarr
from cop_zarr.errors import InputError, ResultTooLargeError
from cop_zarr.querying import out_array as filling
from cop_zarr.storage import LocalFolder
from tests.support import factory
from tests.support.folders import WatchedFolder, open_in

BANDS = factory.BANDS
ROW_BYTES = 4 * BANDS
COUNT = 53

LONS, LATS = np.random.default_rng(0).uniform(-80, 80, (2, COUNT))
BOXES = np.stack([LONS, LATS, LONS + 1, LATS + 1], axis=1)

ASKS = {
    "query_many": lambda store, **options: store.query_many(BOXES, **options),
    "sample": lambda store, **options: store.sample(LONS, LATS, **options),
    "bilinear": lambda store, **options: store.sample(LONS, LATS, method="bilinear", **options),
}


@pytest.fixture(params=ASKS)
def ask(request):
    """A question that has COUNT rows."""
    return ASKS[request.param]


class Rows:
    """As an HDF5 dataset takes rows; it keeps which were written, and in which order."""

    def __init__(self, shape=(COUNT, BANDS), chunks=None, **attributes):
        self.shape, self.chunks = shape, chunks
        self.values, self.times = np.full(shape, -7, "f4"), np.zeros(shape, int)
        self.blocks = []
        self.__dict__.update(attributes)

    def __setitem__(self, rows, values):
        assert isinstance(rows, slice)
        assert rows.step is None
        assert values.dtype == np.float32
        assert values.shape == (rows.stop - rows.start, self.shape[1])
        self.values[rows] = values
        self.times[rows] += 1
        self.blocks.append((rows.start, rows.stop))


PLACES = {
    "float32": lambda _: np.empty((COUNT, BANDS), "f4"),
    "Fortran's order": lambda _: np.empty((COUNT, BANDS), "f4", order="F"),
    "every second row": lambda _: np.empty((2 * COUNT, BANDS), "f4")[::2],
    "upside down": lambda _: np.empty((COUNT, BANDS), "f4")[::-1],
    "some columns": lambda _: np.empty((COUNT, BANDS + 9), "f4")[:, 4:-5],
    "a column of cells": lambda _: np.empty((COUNT, 3, BANDS), "f4")[:, 1],
    "float64": lambda _: np.empty((COUNT, BANDS), "f8"),
    "the other byte order": lambda _: np.empty((COUNT, BANDS), ">f4"),
    "memory map": lambda path: np.memmap(path / "a.f4", "f4", "w+", shape=(COUNT, BANDS)),
    "memory map of float64": lambda path: np.memmap(path / "a.f8", "f8", "w+", 80, (COUNT, BANDS)),
    "npy file": lambda path: np.lib.format.open_memmap(path / "a.npy", "w+", "<f4", (COUNT, BANDS)),
    "zarr": lambda path: zarr.create_array(
        path / "a.zarr", shape=(COUNT, BANDS), chunks=(7, 5), dtype="f4", compressors=None
    ),
    "zarr of float64": lambda path: zarr.create_array(
        path / "a.zarr", shape=(COUNT, BANDS), chunks=(60, 16), dtype="f8"
    ),
    "sharded zarr": lambda path: zarr.create_array(
        path / "a.zarr", shape=(COUNT, BANDS), chunks=(3, 8), shards=(12, 16), dtype="f4"
    ),
    "zarr version 2": lambda path: zarr.create_array(
        path / "a.zarr", shape=(COUNT, BANDS), chunks=(10, 16), dtype="f4", zarr_format=2
    ),
}


@pytest.mark.parametrize("block", [filling.BLOCK_BYTES, 20 * ROW_BYTES], ids=["at once", "in blocks"])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_an_array_of_the_caller_s_own_is_filled_and_given_back(store, tmp_path, monkeypatch, place, block):
    monkeypatch.setattr(filling, "BLOCK_BYTES", block)
    for question in ASKS.values():
        with contextlib.suppress(FileNotFoundError):
            (tmp_path / "a.f4").unlink()
        sub = tmp_path / str(id(question))
        sub.mkdir()
        out = place(sub)
        expected = question(store)
        assert question(store, out=out) is out
        np.testing.assert_array_equal(out[:], expected)


def test_around_a_view_nothing_is_written(store, ask):
    whole = np.full((COUNT + 6, BANDS + 9), -7, "f4")
    ask(store, out=whole[2:-4, 3:-6])
    np.testing.assert_array_equal(whole[2:-4, 3:-6], ask(store))
    whole[2:-4, 3:-6] = -7
    assert (whole == -7).all()


def test_what_was_written_to_a_map_is_in_its_file(store, tmp_path, ask):
    out = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", "<f4", (COUNT, BANDS))
    ask(store, out=out).flush()
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), ask(store))


def test_nan_and_zeros_replace_what_was_there(part_of_it):
    """Refused rows, rows of ocean and rows without data, whatever the array held before."""
    store, lons, lats, boxes = part_of_it
    for out in (np.full((4, BANDS), -7, "f4"), np.full((4, BANDS), -7.0), Rows((4, BANDS))):
        for empty in ("include", "skip"):
            for method in ("nearest", "bilinear"):
                options = {"method": method, "empty": empty, "on_error": "nan"}
                expected = store.sample(lons, lats, **options)
                given = store.sample(lons, lats, out=out, **options)
                np.testing.assert_array_equal(getattr(given, "values", given), expected)
            expected = store.query_many(boxes, empty=empty, on_error="nan")
            given = store.query_many(boxes, empty=empty, on_error="nan", out=out)
            np.testing.assert_array_equal(getattr(given, "values", given), expected)
            assert np.isnan(expected[2]).all()
            assert not np.nan_to_num(expected[1]).any()
            assert expected[0].any()


@pytest.fixture
def part_of_it(store):
    """The store, and rows of which the first has data, the second none, the third no place."""
    lons, lats = [80.75, -75, np.nan, 20.3], [49.25, 0, 0, 40.2]
    boxes = [(lon - 0.2, lat - 0.2, lon + 0.2, lat + 0.2) for lon, lat in zip(lons, lats, strict=True)]
    return store, lons, lats, boxes


# In blocks of rows


@pytest.mark.parametrize("most", [1, 2, 7, 52, 53, 54, 1000])
@pytest.mark.parametrize("chunks", [None, (7, 16), (60, 3), (1, 16), True], ids=str)
def test_each_row_is_written_once(store, ask, monkeypatch, most, chunks):
    monkeypatch.setattr(filling, "BLOCK_BYTES", most * ROW_BYTES)
    out = Rows(chunks=chunks)
    assert ask(store, out=out) is out
    np.testing.assert_array_equal(out.values, ask(store))
    assert (out.times == 1).all()
    assert max(stop - start for start, stop in out.blocks) <= most
    assert out.blocks == sorted(out.blocks)


@pytest.mark.parametrize(
    ("most", "attributes", "expected"),
    [
        (20, {}, [20, 40, 53]),
        (20, {"chunks": None}, [20, 40, 53]),
        (20, {"chunks": (7, 16)}, [14, 28, 42, 53]),
        (20, {"chunks": (10, 4)}, [20, 40, 53]),
        (20, {"chunks": (20, 16)}, [20, 40, 53]),
        (20, {"chunks": (21, 16)}, [20, 40, 53]),  # no chunk fits
        (20, {"chunks": (3, 16), "shards": None}, [18, 36, 53]),
        (20, {"chunks": (3, 16), "shards": (15, 16)}, [15, 30, 45, 53]),
        (13, {"chunks": (3, 16), "shards": (6, 16)}, [12, 24, 36, 48, 53]),
        (20, {"chunks": ((10, 10, 33), (16,))}, [20, 40, 53]),  # as dask tells them
        (20, {"chunks": "auto"}, [20, 40, 53]),
        (20, {"chunks": (0, 0)}, [20, 40, 53]),
        (0.5, {"chunks": (1, 16)}, list(range(1, 54))),
        (1000, {"chunks": (7, 16)}, [53]),
    ],
)
def test_blocks_end_where_chunks_end(store, monkeypatch, most, attributes, expected):
    monkeypatch.setattr(filling, "BLOCK_BYTES", int(most * ROW_BYTES))
    for ask in ASKS.values():
        out = ask(store, out=Rows(**attributes))
        assert [stop for _, stop in out.blocks] == expected
        assert [start for start, _ in out.blocks] == [0, *expected[:-1]]


@given(st.integers(0, 300), st.integers(1, 9), st.integers(1, 4000), st.integers(0, 50))
def test_blocks_cover_all_rows_once_and_fit(count, bands, most, chunk):
    before, filling.BLOCK_BYTES = filling.BLOCK_BYTES, most
    try:
        out, answered = Rows((count, bands), (chunk, bands)), []

        def answer(first, stop, block):
            answered.append((first, stop))
            assert block.shape == (stop - first, bands)
            assert block.nbytes <= max(most, 4 * bands)
            block[:] = np.arange(first, stop)[:, None]

        filling.fill(out, count, bands, answer)
    finally:
        filling.BLOCK_BYTES = before
    assert answered == out.blocks
    assert (out.times == 1).all()
    np.testing.assert_array_equal(out.values, np.broadcast_to(np.arange(count)[:, None], (count, bands)))
    if 0 < chunk <= most // (4 * bands):
        assert all(start % chunk == 0 for start, _ in out.blocks)


def test_shards_and_chunks_of_zarr_are_written_whole(store, ask, tmp_path, monkeypatch):
    """None is written twice: what a block's end would cut is read back and written anew."""
    monkeypatch.setattr(filling, "BLOCK_BYTES", 20 * ROW_BYTES)
    for name, options, rows in (
        ("chunks", {"chunks": (7, 16)}, 7),
        ("shards", {"chunks": (3, 16), "shards": (6, 16)}, 6),
    ):
        array = zarr.create_array(tmp_path / name, shape=(COUNT, BANDS), dtype="f4", **options)
        spans = []

        class Watched:
            shape, dtype, chunks, shards = array.shape, array.dtype, array.chunks, array.shards

            def __setitem__(self, at, values, array=array, spans=spans):
                spans.append((at.start, at.stop))
                array[at] = values

        ask(store, out=Watched())
        assert len(spans) > 2
        assert all(start % rows == 0 for start, _ in spans)
        np.testing.assert_array_equal(array[:], ask(store))


def test_blocks_tell_their_progress_in_one_count(store, ask, monkeypatch):
    monkeypatch.setattr(filling, "BLOCK_BYTES", 10 * ROW_BYTES)
    told = []
    ask(store, out=Rows(), progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert {done for done, _ in told} >= {10, 20, 30, 40, 50, 53}
    assert {total for _, total in told} == {COUNT}


def test_an_array_in_memory_is_answered_in_one_block(store_path):
    """So that each chunk is read once, whatever BLOCK_BYTES is."""
    folder = WatchedFolder(LocalFolder(store_path))
    store = open_in(folder)
    folder.read_keys.clear()
    lons, lats = np.tile([20.1, 60.2, 100.3], 300), np.full(900, 50.2)
    before, filling.BLOCK_BYTES = filling.BLOCK_BYTES, 10 * ROW_BYTES
    try:
        store.sample(lons, lats, out=np.empty((900, BANDS), "f4"))
        store.query_many(
            np.stack([lons, lats, lons + 0.4, lats + 0.4], 1), out=np.empty((900, BANDS), "f4")
        )
    finally:
        filling.BLOCK_BYTES = before
    assert len(folder.read_keys) <= 2 * 3 * 2


# What is refused


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.empty((COUNT, BANDS - 1), "f4"), r"of the shape \(53, 16\); got \(53, 15\)"),
        (np.empty((COUNT + 1, BANDS), "f4"), r"got \(54, 16\)"),
        (np.empty((BANDS, COUNT), "f4"), r"got \(16, 53\)"),
        (np.empty(COUNT * BANDS, "f4"), r"got \(848,\)"),
        (np.empty((1, COUNT, BANDS), "f4"), r"got \(1, 53, 16\)"),
        (np.float32(1), "must be an array of the shape"),
        (Rows((COUNT, 1)), r"got \(53, 1\)"),
        (np.empty((COUNT, BANDS), "i4"), "out must take float32 numbers; got an array of int32"),
        (np.empty((COUNT, BANDS), "?"), "got an array of bool"),
        (np.empty((COUNT, BANDS), "c8"), "got an array of complex64"),
        (np.empty((COUNT, BANDS), object), "got an array of object"),
        (Rows(dtype=np.dtype("u2")), "got an array of uint16"),
        (Rows(dtype="int64"), "got an array of int64"),
        (Rows(dtype="no such"), "out must take float32 numbers"),
        (np.broadcast_to(np.float32(0), (COUNT, BANDS)), "out is read-only"),
        ([[0.0] * BANDS] * COUNT, "got <class 'list'>"),
        ("a.npy", "got <class 'str'>"),
        (True, "got <class 'bool'>"),
        (SimpleNamespace(dtype="f4"), "got <class 'types.SimpleNamespace'>"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
@pytest.mark.parametrize("on_error", ["raise", "nan"])
def test_what_does_not_take_the_rows_is_refused_before_any_read(store_path, out, message, on_error):
    folder = WatchedFolder(LocalFolder(store_path))
    store = open_in(folder)
    folder.read_keys.clear()
    for ask in ASKS.values():
        with pytest.raises(InputError, match=message):
            ask(store, out=out, on_error=on_error)
    assert not folder.read_keys


@pytest.mark.parametrize("kind", [np.dtype("f8"), "float32", ">f4", np.float32, None], ids=str)
def test_kinds_of_float_are_taken_by_any_of_their_names(store, ask, kind):
    attributes = {} if kind is None else {"dtype": kind}
    out = ask(store, out=Rows(**attributes))
    np.testing.assert_array_equal(out.values, ask(store))


def test_a_shape_may_be_a_list(store, ask):
    out = Rows()
    out.shape = list(out.shape)
    np.testing.assert_array_equal(ask(store, out=out).values, ask(store))


def test_no_rows_into_no_rows(store):
    for out in (np.empty((0, BANDS), "f4"), np.empty((0, BANDS)), Rows((0, BANDS))):
        assert store.query_many([], out=out) is out
        assert store.sample([], [], out=out) is out
    assert out.blocks == []


def test_more_rows_than_memory_has_are_refused_with_a_way_out():
    message = (
        r"^1,000,000,000,000,000 rows of 768 float32 numbers take 3,072,000,000,000,000,000 bytes.* out="
    )
    with pytest.raises(ResultTooLargeError, match=message) as error:
        filling.rows_for(10**15, 768, None)
    assert isinstance(error.value, InputError)
    with pytest.raises(ResultTooLargeError):
        filling.rows_for(2**62, 768, None)


@pytest.mark.parametrize("raised", [MemoryError, ValueError("array is too big")])
def test_rows_for_which_there_is_no_memory_may_go_elsewhere(store, ask, monkeypatch, raised):
    expected, out, made = ask(store), Rows(), np.empty

    def refuses(shape, *others, **named):
        if shape == (COUNT, BANDS) and others == ("f4",):
            raise raised
        return made(shape, *others, **named)

    monkeypatch.setattr(filling, "BLOCK_BYTES", 10 * ROW_BYTES)
    monkeypatch.setattr(np, "empty", refuses)
    with pytest.raises(ResultTooLargeError, match=r"^53 rows of 16 float32 numbers take 3,392 bytes"):
        ask(store)
    ask(store, out=out)
    np.testing.assert_array_equal(out.values, expected)


def test_what_an_array_raises_is_not_hidden(store, ask):
    class Full(Rows):
        def __setitem__(self, rows, values):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left on device"):
        ask(store, out=Full())
    assert ask(store).shape == (COUNT, BANDS)


def test_out_is_the_same_from_stores_with_and_without_memory(store_path, ask):
    expected = ask(cop_zarr.open(store_path, cache_bytes=0))
    store = cop_zarr.open(store_path)
    for out in (np.empty((COUNT, BANDS), "f4"), Rows(), np.empty((COUNT, BANDS))):
        given = ask(store, out=out)
        np.testing.assert_array_equal(getattr(given, "values", given), expected)
        if isinstance(given, np.ndarray):
            given[:] = -1
