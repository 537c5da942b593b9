"""Chunk objects: what is damaged is named and never decoded into an answer."""

import os
import re
import shutil
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import zarr
from numcodecs import blosc

import cop_zarr
from cop_zarr.core.grid import Window
from cop_zarr.errors import ChunkError, DamageError, StorageError
from cop_zarr.format import chunk_reader as chunks
from cop_zarr.format.chunk_reader import MIN_PARALLEL_CHUNKS, SHORT_PAUSES
from cop_zarr.format.codec import crc32c, decode, encode
from cop_zarr.format.layout import BLOSC
from cop_zarr.storage import LocalFolder
from tests.support import factory
from tests.support.folders import WatchedFolder, open_in

BOX = (120, 30, 122, 32)
"""Rows 232 to 240, columns 1200 to 1208: 2 x 2 chunks, the first of them 29, 150."""

KEY = "embedding/c/0/29/150"


@pytest.fixture
def copied(store_path, tmp_path):
    """A store of one's own to damage: a few chunks of the whole one."""
    path = tmp_path / "globe.zarr"
    shutil.copytree(store_path, path, ignore=_far)
    return path


def _far(where, names):
    """What is not copied: chunk rows apart from 29 and 30, chunk columns apart from 139 to 161."""
    kept = {"embedding/c/0": range(29, 31), "c/0/29": range(139, 162), "c/0/30": range(139, 162)}
    for place, numbers in kept.items():
        if where.endswith(place) and "integrity" not in where:
            return [name for name in names if int(name) not in numbers]
    return []


def swap(path):
    other = path.with_name("151")
    first, second = path.read_bytes(), other.read_bytes()
    path.write_bytes(second)
    other.write_bytes(first)


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "long": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "first bit": lambda path: flip(path, 0),
    "middle bit": lambda path: flip(path, 300),
    "last bit": lambda path: flip(path, -1),
    "swapped": swap,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("output", ["pooled", "grid"])
def test_damaged_chunk_is_named(copied, damage, output):
    store = cop_zarr.open(copied, cache_bytes=0)
    store.query(BOX)
    damage(copied / KEY)
    with pytest.raises(ChunkError) as error:
        store.query(BOX, output=output)
    message = str(error.value)
    assert f"{copied}/{KEY} (lat 30.25 … 32, lon 120 … 121.75) is damaged" in message
    assert f"Repair it with: cop-zarr repair {copied} --source TIF" in message


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("missing", "it is absent"),
        ("short", r"it has [\d,]+ bytes instead of [\d,]+"),
        ("long", r"it has more than [\d,]+ bytes"),
        ("middle bit", "its CRC-32C is not the recorded one"),
    ],
)
def test_damage_is_told(copied, damage, reason):
    DAMAGES[damage](copied / KEY)
    with pytest.raises(ChunkError, match=f"is damaged: {reason}. Repair it with"):
        cop_zarr.open(copied).query(BOX)


def test_damage_elsewhere_does_not_matter(copied):
    expected = cop_zarr.open(copied).query(BOX).data
    (copied / "embedding/c/0/29/140").unlink()
    np.testing.assert_array_equal(cop_zarr.open(copied).query(BOX).data, expected)


def test_damage_is_found_by_parallel_reading_too(copied):
    box = (100, 30, 140, 32)
    store = cop_zarr.open(copied, workers=3, cache_bytes=0)
    store.query(box)
    flip(copied / KEY, 100)
    with pytest.raises(ChunkError, match=KEY):
        store.query(box)
    alive = [thread.name for thread in threading.enumerate()]
    assert not [name for name in alive if name.startswith("cop-zarr-read")]


@pytest.mark.parametrize("key", ["integrity/embedding/c/0/0/0", "valid/c/0/0"])
@pytest.mark.parametrize("damage", ["missing", "short", "long", "middle bit", "zeros"])
def test_damaged_small_object_is_named(copied, key, damage):
    DAMAGES[damage](copied / key)
    with pytest.raises(ChunkError, match=re.escape(f"{copied}/{key} is damaged")):
        cop_zarr.open(copied).query(BOX)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_in_the_place_of_a_chunk_is_no_zeros(copied, make):
    (copied / KEY).unlink()
    make(copied / KEY)
    with pytest.raises(ChunkError, match=f"{KEY} .* is damaged: it is absent"):
        cop_zarr.open(copied).query(BOX)


def test_failing_connection_is_no_damage(store_path):
    def failing(key, data):
        if key == KEY:
            raise StorageError("no route to host")
        return data

    with pytest.raises(StorageError, match="no route"):
        open_in(WatchedFolder(LocalFolder(store_path), failing)).query(BOX)


class Remote(WatchedFolder):
    """A folder that answers as if it were far away."""

    def __init__(self, folder, answer):
        super().__init__(folder, answer)
        self.remote = True


@pytest.fixture
def pauses(monkeypatch):
    """The pauses before an object is read again, that nobody has to wait for."""
    slept = []
    monkeypatch.setattr(chunks.time, "sleep", slept.append)
    return slept


@pytest.mark.parametrize("key", [KEY, "valid/c/0/0", "integrity/embedding/c/0/0/0"])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("left", [0, 50, -1])
def test_a_remote_object_that_comes_short_is_read_again(store_path, pauses, key, times, left):
    count = 0

    def cut(asked, data):
        nonlocal count
        count += asked == key
        return data[:left] if asked == key and count <= times else data

    folder = Remote(LocalFolder(store_path), cut)
    found = open_in(folder, workers=1).query(BOX, output="grid").data
    np.testing.assert_array_equal(found, factory.truth((232, 241), (1200, 1209)))
    assert folder.read_keys.count(key) == times + 1
    assert pauses == list(SHORT_PAUSES[:times])


def test_a_remote_object_that_stays_short_is_damaged(store_path, pauses):
    folder = Remote(LocalFolder(store_path), lambda key, data: data[:50] if key == KEY else data)
    with pytest.raises(ChunkError, match=f"{KEY} .* is damaged: it has 50 bytes instead of"):
        open_in(folder, workers=1).query(BOX)
    assert folder.read_keys.count(KEY) == 1 + len(SHORT_PAUSES)
    assert pauses == list(SHORT_PAUSES)


def test_a_remote_object_that_goes_between_two_readings_is_absent(store_path, pauses):
    count = 0

    def go(key, data):
        nonlocal count
        if key != KEY:
            return data
        count += 1
        if count > 1:
            raise FileNotFoundError
        return b""

    with pytest.raises(ChunkError, match=f"{KEY} .* is damaged: it is absent"):
        open_in(Remote(LocalFolder(store_path), go), workers=1).query(BOX)


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (WatchedFolder, lambda data: data[:-1]),
        (Remote, lambda data: data + b"\0"),
        (Remote, lambda data: bytes(len(data))),
    ],
    ids=["short, from a disk", "long", "other bytes"],
)
def test_nothing_else_is_read_again(store_path, pauses, make, change):
    folder = make(LocalFolder(store_path), lambda key, data: change(data) if key == KEY else data)
    with pytest.raises(ChunkError, match=KEY):
        open_in(folder, workers=1).query(BOX)
    assert folder.read_keys.count(KEY) == 1
    assert pauses == []


def test_no_more_is_read_of_an_object_than_it_should_have(copied, monkeypatch):
    """And one byte, to tell that it has more."""
    (copied / KEY).write_bytes((copied / KEY).read_bytes() + bytes(1 << 20))
    read, lengths = LocalFolder.read, {}

    def watched(self, key, *limit):
        data = read(self, key, *limit)
        lengths[key] = len(data)
        return data

    monkeypatch.setattr(LocalFolder, "read", watched)
    store = cop_zarr.open(copied)
    with pytest.raises(ChunkError, match="it has more than"):
        store.query(BOX)
    assert lengths[KEY] == store._reader.lengths[29, 150] + 1


def test_only_chunks_under_the_region_are_read_and_only_once(store_path):
    folder = WatchedFolder(LocalFolder(store_path))
    store = open_in(folder)
    assert folder.read_keys.count("integrity/embedding/c/0/0/0") == 1
    folder.read_keys.clear()
    store.query(BOX)
    under = [f"embedding/c/0/{row}/{col}" for row in (29, 30) for col in (150, 151)]
    assert sorted(folder.read_keys) == [*under, "valid/c/0/0"]
    store.query(BOX, output="grid")
    assert folder.read_keys.count("valid/c/0/0") == 1


@pytest.mark.parametrize("output", ["pooled", "grid"])
def test_empty_chunks_are_never_read(store_path, output):
    """Lattice columns 300 to 599 are empty: longitudes -105 to -30.25."""
    folder = WatchedFolder(LocalFolder(store_path))
    store = open_in(folder)
    folder.read_keys.clear()
    answer = store.query((-102, -10, -34, 10), output=output)
    assert folder.read_keys == []
    assert answer.meta["valid_cells"] == 0
    assert (answer.data == 0).all()
    assert not answer.valid.any()


@pytest.mark.parametrize("box", [(100, 30, 140, 60), (170, -30, -170, 30), (-180, 60, 180, 90)])
def test_workers_change_nothing(store_path, box):
    one, several = (cop_zarr.open(store_path, workers=count) for count in (1, 7))
    window, _ = one.grid.touched(cop_zarr.BBox(*box).bounds)
    assert window.cells > 64 * MIN_PARALLEL_CHUNKS, "too small to be read in parallel"
    for options in ({"output": "grid"}, {"pooling": "mean"}, {"pooling": "max"}):
        first, second = one.query(box, **options), several.query(box, **options)
        np.testing.assert_array_equal(first.data, second.data, strict=True)


def test_reading_is_spread_over_the_workers_and_no_more(store_path):
    at_work, most, lock = 0, 0, threading.Lock()
    together = threading.Event()

    def counting(key, data):
        nonlocal at_work, most
        if not key.startswith("embedding/c"):
            return data
        with lock:
            at_work += 1
            most = max(most, at_work)
            if most == 3:
                together.set()
        together.wait(timeout=20)  # for three at once
        time.sleep(0.005)  # for a fourth
        with lock:
            at_work -= 1
        return data

    open_in(WatchedFolder(LocalFolder(store_path), counting), workers=3).query((100, 30, 140, 60))
    assert most == 3


def test_an_abandoned_reading_stops(store_path):
    folder = WatchedFolder(LocalFolder(store_path))
    reader = open_in(folder)._reader
    chunks = reader.layout.chunks(Window(0, 721, 0, 280), reader.lengths)
    reading = reader.map_chunks([place for place, _ in chunks], lambda _, chunk: chunk, reuse_buffers=False)
    next(reading)
    reading.close()
    assert len(folder.read_keys) < 300  # of the 3,185 chunks of the window


def test_encoding_is_deterministic():
    """With Blosc's own threads, 3 MB come out in another order every few times."""
    values = np.random.default_rng(0).normal(size=(32, 32, 768)).astype("f4")
    assert len({encode(values) for _ in range(30)}) == 1
    assert blosc.use_threads is False


@pytest.mark.parametrize("dtype", ["<f4", "<u4", "<f8", "?"])
def test_what_is_encoded_comes_back_bit_for_bit(dtype):
    values = np.random.default_rng(0).integers(0, 2, (8, 8, 16)).astype(dtype)
    np.testing.assert_array_equal(
        decode(encode(values), np.empty(values.shape, dtype)), values, strict=True
    )


def test_odd_floats_come_back_bit_for_bit():
    bits = np.random.default_rng(0).integers(0, 1 << 32, (8, 8, 16), "u4")
    bits[0, 0, :4] = 0x7FC00001, 0xFF800000, 0x80000000, 1  # a NaN with payload, -inf, -0.0, denormal
    back = decode(encode(bits.view("f4")), np.empty(bits.shape, "<f4"))
    np.testing.assert_array_equal(back.view("u4"), bits)


@pytest.mark.parametrize("cut", [0, 1, 8, 15, 16, 17, 100, -1])
def test_cut_data_are_damage_even_with_the_right_header(cut):
    """Blosc believes its header and reads past the end of what it was given."""
    data = encode(np.arange(1024, dtype="f4"))
    with pytest.raises(DamageError):
        decode(data[:cut], np.empty(1024, "<f4"))


def test_data_with_something_after_them_are_damage():
    with pytest.raises(DamageError, match="claims to have"):
        decode(encode(np.arange(1024, dtype="f4")) + b"\0", np.empty(1024, "<f4"))


def test_damaged_header_or_stream_never_crashes():
    values = np.random.default_rng(0).normal(size=1024).astype("f4")
    data, rng = encode(values), np.random.default_rng(1)
    refused = 0
    for position in [*range(16), *rng.integers(16, len(data), 300).tolist()]:
        bad = bytearray(data)
        bad[position] ^= 1 << int(rng.integers(8))
        try:
            found = decode(bytes(bad), np.empty(1024, "<f4"))
        except DamageError:
            refused += 1
        else:
            assert found.shape == (1024,)
    assert refused > 10


def test_claim_of_another_size_is_refused_before_memory_is_taken():
    bomb = bytearray(encode(np.zeros(1024, "f4")))
    bomb[4:8] = (2**31 - 64).to_bytes(4, "little")
    tracemalloc.start()
    with pytest.raises(DamageError, match=r"claims to hold 2,147,483,584 bytes; 4,096 are expected"):
        decode(bytes(bomb), np.empty(1024, "<f4"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (1 << 26, "bytes are recorded, more than it can have"),
        (1 << 17, "claims to hold 524,288 bytes"),
    ],
)
def test_true_bomb_is_refused_before_memory_is_taken(copied, numbers, message):
    """A chunk that really decodes to 256 MB, with its length and checksum in the integrity table."""
    bomb = blosc.compress(np.zeros(numbers, "f4"), b"lz4", 5, blosc.BITSHUFFLE)
    (copied / KEY).write_bytes(bomb)
    store = cop_zarr.open(copied)
    reader = store._reader
    reader.lengths, reader.crcs = reader.lengths.copy(), reader.crcs.copy()
    reader.lengths[29, 150], reader.crcs[29, 150] = len(bomb), crc32c(bomb)
    assert store.valid.any(), "that is 1 MB, and is read before it counts"
    tracemalloc.start()
    with pytest.raises(ChunkError, match=message):
        store.query(BOX)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (8 << 20 if numbers > 1 << 20 else 400_000)


def test_crc_is_castagnoli():
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, B.4


def test_codec_is_the_one_that_zarr_is_told(store_path):
    assert BLOSC == {
        "cname": "lz4", "clevel": 5, "shuffle": "bitshuffle", "typesize": 4, "blocksize": 0
    }  # fmt: skip
    flags = (store_path / KEY).read_bytes()[2]
    assert flags >> 5 == 1, "the inner codec is not lz4"
    assert flags & 0b100, "not bit-shuffled"


def test_zarr_python_reads_what_encode_wrote(store_path, globe):
    array = zarr.open_group(store_path, mode="r")["embedding"]
    np.testing.assert_array_equal(array[:, 229:244, 1195:1210], globe[:, 229:244, 1195:1210])
    np.testing.assert_array_equal(array[:, -3:, -3:], globe[:, -3:, -3:])


def test_what_zarr_python_writes_decodes_here(store_path, tmp_path):
    shutil.copytree(store_path / "embedding", tmp_path / "embedding", ignore=lambda where, names: (
        names if where.endswith("c") else []
    ))  # fmt: skip
    array = zarr.open_array(tmp_path / "embedding", mode="r+")
    values = np.random.default_rng(0).normal(size=(factory.BANDS, 8, 8)).astype("f4")
    array[:, 16:24, 40:48] = values
    data = (tmp_path / "embedding/c/0/2/5").read_bytes()
    stored = decode(data, np.empty((8, 8, factory.BANDS), "<f4"))
    np.testing.assert_array_equal(stored.transpose(2, 1, 0), values)
