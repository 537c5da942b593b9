"""Where many answers go: arrays of the caller's own, in memory or not, written block by block."""

from types import SimpleNamespace

import numpy as np
import pytest
import zarr

from cop_zarr.errors import InputError, ResultTooLargeError
from cop_zarr.querying import out_array
from tests.support import factory

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
    """A call that answers COUNT rows."""
    return ASKS[request.param]


class Rows:
    """Takes rows as an HDF5 dataset does; records which were written, and in which order."""

    def __init__(self, shape=(COUNT, BANDS), chunks=None, **attributes):
        self.shape, self.chunks = shape, chunks
        self.values = np.full(shape, -7, "f4")
        self.blocks = []
        self.__dict__.update(attributes)

    def __setitem__(self, rows, values):
        assert rows.step is None
        assert values.dtype == np.float32
        assert values.shape == (rows.stop - rows.start, self.shape[1])
        self.values[rows] = values
        self.blocks.append((rows.start, rows.stop))


def zarr_array(path, **options):
    return zarr.create_array(path / "a.zarr", shape=(COUNT, BANDS), **options)


ARRAYS = {
    "float32": lambda _: np.empty((COUNT, BANDS), "f4"),
    "Fortran's order": lambda _: np.empty((COUNT, BANDS), "f4", order="F"),
    "every second row": lambda _: np.empty((2 * COUNT, BANDS), "f4")[::2],
    "upside down": lambda _: np.empty((COUNT, BANDS), "f4")[::-1],
    "some columns": lambda _: np.empty((COUNT, BANDS + 9), "f4")[:, 4:-5],
    "float64": lambda _: np.empty((COUNT, BANDS), "f8"),
    "the other byte order": lambda _: np.empty((COUNT, BANDS), ">f4"),
    "memory map": lambda path: np.memmap(path / "a.f4", "f4", "w+", shape=(COUNT, BANDS)),
    "npy file": lambda path: np.lib.format.open_memmap(path / "a.npy", "w+", "<f4", (COUNT, BANDS)),
    "zarr": lambda path: zarr_array(path, chunks=(7, 5), dtype="f4", compressors=None),
    "zarr of float64": lambda path: zarr_array(path, chunks=(60, 16), dtype="f8"),
    "sharded zarr": lambda path: zarr_array(path, chunks=(3, 8), shards=(12, 16), dtype="f4"),
    "zarr version 2": lambda path: zarr_array(path, chunks=(10, 16), dtype="f4", zarr_format=2),
}


@pytest.mark.parametrize("block", [out_array.BLOCK_BYTES, 20 * ROW_BYTES], ids=["at once", "in blocks"])
@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
def test_an_array_of_the_caller_s_own_is_filled_and_returned(store, tmp_path, monkeypatch, make, block):
    monkeypatch.setattr(out_array, "BLOCK_BYTES", block)
    for name, ask in ASKS.items():
        (tmp_path / name).mkdir()
        out = make(tmp_path / name)
        assert ask(store, out=out) is out
        np.testing.assert_array_equal(out[:], ask(store))


def test_around_a_view_nothing_is_written(store, ask):
    whole = np.full((COUNT + 6, BANDS + 9), -7, "f4")
    ask(store, out=whole[2:-4, 3:-6])
    np.testing.assert_array_equal(whole[2:-4, 3:-6], ask(store))
    whole[2:-4, 3:-6] = -7
    assert (whole == -7).all()


@pytest.mark.parametrize("empty", ["include", "skip"])
def test_nan_and_zeros_replace_what_was_there(store, empty):
    """A row with data, one without, one that is refused."""
    lons, lats = np.array([[80.75, -75, np.nan], [49.25, 0, 0]])
    boxes = np.stack([lons - 0.2, lats - 0.2, lons + 0.2, lats + 0.2], axis=1)
    options = {"empty": empty, "on_error": "nan"}
    for out in (np.full((3, BANDS), -7, "f4"), np.full((3, BANDS), -7.0), Rows((3, BANDS))):
        for ask in (
            lambda **out: store.sample(lons, lats, **options, **out),
            lambda **out: store.sample(lons, lats, method="bilinear", **options, **out),
            lambda **out: store.query_many(boxes, **options, **out),
        ):
            expected = ask()
            assert expected[0].any()
            assert np.isnan(expected[1]).all() == (empty == "skip")
            assert np.isnan(expected[2]).all()
            found = ask(out=out)
            np.testing.assert_array_equal(getattr(found, "values", found), expected)


# In blocks of rows


@pytest.mark.parametrize(
    ("rows", "attributes", "stops"),
    [
        (20, {}, [20, 40, 53]),
        (20, {"chunks": (7, 16)}, [14, 28, 42, 53]),
        (20, {"chunks": (20, 16)}, [20, 40, 53]),
        (20, {"chunks": (21, 16)}, [20, 40, 53]),  # no chunk fits
        (20, {"chunks": (3, 16), "shards": None}, [18, 36, 53]),
        (13, {"chunks": (3, 16), "shards": (6, 16)}, [12, 24, 36, 48, 53]),
        (20, {"chunks": ((10, 10, 33), (16,))}, [20, 40, 53]),  # as Dask gives them
        (20, {"chunks": "auto"}, [20, 40, 53]),
        (20, {"chunks": True}, [20, 40, 53]),
        (20, {"chunks": (0, 0)}, [20, 40, 53]),
        (0.5, {"chunks": (1, 16)}, list(range(1, 54))),
        (1000, {"chunks": (7, 16)}, [53]),
    ],
    ids=str,
)
def test_blocks_end_where_chunks_end(store, monkeypatch, rows, attributes, stops):
    monkeypatch.setattr(out_array, "BLOCK_BYTES", int(rows * ROW_BYTES))
    for ask in ASKS.values():
        out = ask(store, out=Rows(**attributes))
        assert out.blocks == list(zip([0, *stops], stops, strict=False))
        np.testing.assert_array_equal(out.values, ask(store))


def test_an_array_in_memory_is_one_block(watched, monkeypatch):
    """So that each chunk is read once, whatever BLOCK_BYTES is."""
    store, read_keys = watched
    monkeypatch.setattr(out_array, "BLOCK_BYTES", 10 * ROW_BYTES)
    lons, lats = np.tile([20.1, 60.2, 100.3], 300), np.full(900, 50.2)
    store.sample(lons, lats, out=np.empty((900, BANDS), "f4"))
    assert len(read_keys) == len(set(read_keys))
    read_keys.clear()
    boxes = np.stack([lons, lats, lons + 0.4, lats + 0.4], 1)
    store.query_many(boxes, out=np.empty((900, BANDS), "f4"))
    assert len(read_keys) == len(set(read_keys))


# What is refused


@pytest.mark.parametrize(
    "out",
    [
        np.empty((COUNT, BANDS - 1), "f4"), np.empty((COUNT + 1, BANDS), "f4"),
        np.empty(COUNT * BANDS, "f4"), np.float32(1), Rows((COUNT, 1)), np.empty((COUNT, BANDS), "i4"),
        np.empty((COUNT, BANDS), "f2"), np.empty((COUNT, BANDS), "c8"), np.empty((COUNT, BANDS), object),
        Rows(dtype="int64"), Rows(dtype="no such"), np.broadcast_to(np.float32(0), (COUNT, BANDS)),
        [[0.0] * BANDS] * COUNT, "a.npy", True, SimpleNamespace(dtype="f4"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
@pytest.mark.parametrize("on_error", ["raise", "nan"])
def test_what_does_not_accept_the_rows_is_refused_before_any_read(watched, ask, out, on_error):
    store, read_keys = watched
    with pytest.raises(InputError, match="out"):
        ask(store, out=out, on_error=on_error)
    assert not read_keys


@pytest.mark.parametrize("dtype", [np.dtype("f8"), "float32", ">f4", np.float32], ids=str)
def test_names_of_float_and_a_shape_that_is_a_list_are_accepted(store, ask, dtype):
    out = Rows(dtype=dtype)
    out.shape = list(out.shape)
    np.testing.assert_array_equal(ask(store, out=out).values, ask(store))


def test_no_rows_into_no_rows(store):
    for out in (np.empty((0, BANDS), "f4"), np.empty((0, BANDS)), Rows((0, BANDS))):
        assert store.query_many([], out=out) is out
        assert store.sample([], [], out=out) is out
    assert out.blocks == []


@pytest.mark.parametrize("count", [10**15, 2**62])
def test_more_rows_than_memory_has_are_refused(count):
    with pytest.raises(ResultTooLargeError, match="out="):
        out_array.rows_for(count, 768, None)
