"""Chunk objects: which are read, how often, and that no damaged one is decoded into an answer.

``test_damage.py`` does every kind of damage to every kind of object.
"""

import shutil
import tracemalloc

import numpy as np
import pytest
import zarr
from numcodecs import blosc

import cop_zarr
from cop_zarr.errors import ChunkError, DamageError, StorageError
from cop_zarr.format import object_reader
from cop_zarr.format.codec import crc32c, decode, encode
from cop_zarr.format.object_reader import SHORT_PAUSES
from cop_zarr.storage import LocalFolder
from tests.support import factory
from tests.support.folders import WatchedFolder, open_in

BOX = (120, 30, 122, 32)
"""Rows 232 to 240, columns 1200 to 1208: 2 x 2 chunks, the first of them 29, 150."""

KEY = "embedding/c/0/29/150"


def answering(data):
    """How a folder answers that holds something else for one chunk."""
    return lambda key, good: data if key == KEY else good


@pytest.mark.parametrize("options", [{"output": "pooled"}, {"output": "grid"}])
def test_damage_is_an_error_in_its_region_alone(store_path, options):
    """Also if many chunks are read at once."""
    folder = WatchedFolder(LocalFolder(store_path), answering(bytes(500)))
    store = open_in(folder, workers=3)
    with pytest.raises(ChunkError, match=KEY):
        store.query((100, 30, 140, 32), **options)
    found = store.query((100, 30, 102, 31), output="grid").data
    np.testing.assert_array_equal(found, factory.truth((236, 241), (1120, 1129)))


def test_failed_connection_is_not_damage(store_path):
    def failing(key, data):
        if key == KEY:
            raise StorageError("no route to host")
        return data

    with pytest.raises(StorageError):
        open_in(WatchedFolder(LocalFolder(store_path), failing)).query(BOX)


class Remote(WatchedFolder):
    """A folder that claims to be on object storage."""

    def __init__(self, folder, answer):
        super().__init__(folder, answer)
        self.remote = True


@pytest.fixture
def pauses(monkeypatch):
    """The pauses before an object is read again, without waiting for them."""
    slept = []
    monkeypatch.setattr(object_reader, "sleep", slept.append)
    return slept


@pytest.mark.parametrize("key", [KEY, "valid/c/0/0", "integrity/embedding/c/0/0/0"])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("left", [0, 50, -1])
def test_short_remote_object_is_read_again(store_path, pauses, key, times, left):
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


def test_remote_object_that_stays_short_is_damaged(store_path, pauses):
    folder = Remote(LocalFolder(store_path), lambda key, data: data[:50] if key == KEY else data)
    with pytest.raises(ChunkError, match="50 bytes"):
        open_in(folder, workers=1).query(BOX)
    assert folder.read_keys.count(KEY) == 1 + len(SHORT_PAUSES)
    assert pauses == list(SHORT_PAUSES)


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (WatchedFolder, lambda data: data[:-1]),
        (Remote, lambda data: data + b"\0"),
        (Remote, lambda data: bytes(len(data))),
    ],
    ids=["short, from a disk", "long", "other bytes"],
)
def test_other_damage_is_not_read_again(store_path, pauses, make, change):
    folder = make(LocalFolder(store_path), lambda key, data: change(data) if key == KEY else data)
    with pytest.raises(ChunkError, match=KEY):
        open_in(folder, workers=1).query(BOX)
    assert folder.read_keys.count(KEY) == 1
    assert pauses == []


def test_at_most_one_byte_more_is_read_than_recorded(store_path, monkeypatch):
    read, limits = LocalFolder.read, {}

    def watched(self, key, *limit):
        limits[key] = limit
        return read(self, key, *limit)

    monkeypatch.setattr(LocalFolder, "read", watched)
    store = cop_zarr.open(store_path)
    store.query(BOX)
    assert limits[KEY] == (store._reader.lengths[29, 150] + 1,)


def test_encoding_is_deterministic():
    """With Blosc's own threads, 3 MB come out in another order every few times."""
    values = np.random.default_rng(0).normal(size=(32, 32, 768)).astype("f4")
    assert len({encode(values) for _ in range(10)}) == 1
    assert blosc.use_threads is False


@pytest.mark.parametrize("dtype", ["<f4", "<u4", "<f8", "?"])
def test_arrays_are_decoded_bit_for_bit(dtype):
    bits = np.random.default_rng(0).integers(0, 1 << 32, (8, 8, 16), "u4")
    bits[0, 0, :4] = 0x7FC00001, 0xFF800000, 0x80000000, 1  # a NaN with payload, -inf, -0.0, denormal
    values = bits % 2 == 1 if dtype == "?" else bits.view(dtype)
    decoded = decode(encode(values), np.empty(values.shape, dtype))
    assert decoded.tobytes() == values.tobytes()


@pytest.mark.parametrize("cut", [0, 1, 8, 15, 16, 17, 100, -1])
def test_data_of_another_length_than_their_header_says_are_damage(cut):
    """Blosc trusts its header and reads past the end of the data."""
    data = encode(np.arange(1024, dtype="f4"))
    for other in (data[:cut], data + b"\0"):
        with pytest.raises(DamageError):
            decode(other, np.empty(1024, "<f4"))


@pytest.mark.parametrize("numbers", [1 << 26, 1 << 17])
def test_bomb_is_refused_before_memory_is_allocated(store_path, numbers):
    """A chunk that really decodes to 256 MB, with its length and checksum in the integrity table."""
    bomb = blosc.compress(np.zeros(numbers, "f4"), b"lz4", 5, blosc.BITSHUFFLE)
    store = open_in(WatchedFolder(LocalFolder(store_path), answering(bomb)))
    reader = store._reader
    encoded = reader.encoded
    encoded.lengths, encoded.crcs = encoded.lengths.copy(), encoded.crcs.copy()
    encoded.lengths[29, 150], encoded.crcs[29, 150] = len(bomb), crc32c(bomb)
    assert store.valid.any(), "it takes 1 MB, and is read before memory is traced"
    tracemalloc.start()
    with pytest.raises(ChunkError, match=KEY):
        store.query(BOX)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (8 << 20 if numbers > 1 << 20 else 400_000)


def test_we_decode_the_chunks_of_zarr_python(store_path, tmp_path):
    shutil.copytree(store_path / "embedding", tmp_path / "embedding", ignore=lambda where, names: (
        names if where.endswith("c") else []
    ))  # fmt: skip
    array = zarr.open_array(tmp_path / "embedding", mode="r+")
    values = np.random.default_rng(0).normal(size=(factory.BANDS, 8, 8)).astype("f4")
    array[:, 16:24, 40:48] = values
    data = (tmp_path / "embedding/c/0/2/5").read_bytes()
    stored = decode(data, np.empty((8, 8, factory.BANDS), "<f4"))
    np.testing.assert_array_equal(stored.transpose(2, 1, 0), values)
