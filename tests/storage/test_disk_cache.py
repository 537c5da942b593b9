"""Objects kept on a disk: never more than allowed, never another's, never a damaged one."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import cop_zarr
from cop_zarr.errors import InputError, StorageError, StoreReplacedError
from cop_zarr.storage import DiskCache
from cop_zarr.storage import disk_cache as cache
from tests.support import factory
from tests.support.proxy import fault_proxy
from tests.support.servers import static_server

ROWS, COLS, BANDS = (200, 240), (800, 848), 4
BOX = (20, 31, 31, 39)


@pytest.fixture
def where(tmp_path):
    return tmp_path / "cache"


def objects(where):
    """Path below the cache folder and size of every object in it."""
    return {path.relative_to(where).as_posix(): path.stat().st_size for path in where.glob("*/*")}


def test_what_was_put_is_got(where):
    kept = DiskCache(where, 1000, "store")
    assert kept.get("a/b") is None
    kept.put("a/b", b"1")
    kept.put("empty", b"")
    assert kept.get("a/b") == b"1"
    assert kept.get("empty") == b""
    kept.put("a/b", b"22")
    assert kept.get("a/b") == b"22"
    assert DiskCache(where, 1000, "store").get("a/b") == b"22"
    kept.drop("a/b")
    kept.drop("nothing")
    assert kept.get("a/b") is None
    assert objects(where) == {f"store{cache.OURS}/empty": 0}


def test_another_store_s_objects_are_not_got(where):
    one, other = (DiskCache(where, 1000, name) for name in ("one", "other"))
    one.put("a", b"1")
    assert other.get("a") is None
    other.put("a", b"2")
    assert (one.get("a"), other.get("a")) == (b"1", b"2")


def test_the_least_recently_used_go_first(where):
    kept = DiskCache(where, 1000, "store")
    for name in "abcdefghij":
        kept.put(name, bytes(100))
        time.sleep(0.002)
    kept.get("a")
    time.sleep(0.002)
    kept.put("k", bytes(100))
    left = set(objects(where))
    assert {f"store{cache.OURS}/{key}" for key in "akj"} <= left
    assert not left & {"store/b"}
    assert sum(objects(where).values()) <= 1000


def test_objects_of_another_store_make_room_too(where):
    one, other = (DiskCache(where, 1000, name) for name in ("one", "other"))
    for number in range(5):
        one.put(str(number), bytes(200))
    for number in range(5):
        other.put(str(number), bytes(200))
        assert sum(objects(where).values()) <= 1000
    assert other.get("4") is not None
    assert one.get("0") is None


def test_the_limit_holds_after_every_put(where):
    draw = random.Random(1)
    kept = DiskCache(where, 10_000, "store")
    most = 0
    for _ in range(400):
        size = draw.choice([0, 1, 500, 3_000, 9_999, 10_000, 10_001, 20_000])
        kept.put(str(draw.randrange(30)), bytes(size))
        if not draw.randrange(10):
            kept.drop(str(draw.randrange(30)))
        now = sum(objects(where).values())
        assert now <= 10_000
        most = max(most, now)
    assert most > 5_000
    assert not list(where.glob("*.partial"))


def test_what_is_larger_than_the_cache_is_not_kept(where):
    kept = DiskCache(where, 10, "store")
    kept.put("a", bytes(10))
    kept.put("b", bytes(11))
    assert objects(where) == {f"store{cache.OURS}/a": 10}


@pytest.mark.parametrize("size", [b"", b"nonsense", b"-9999999999999999999", b"\xff\xfe"])
def test_a_record_of_the_size_that_is_none_is_made_anew(where, size):
    kept = DiskCache(where, 1000, "store")
    for number in range(5):
        kept.put(str(number), bytes(200))
    (where / "size").write_bytes(size)
    again = DiskCache(where, 1000, "another")
    for number in range(5, 12):
        again.put(str(number), bytes(200))
        assert sum(objects(where).values()) <= 1000


def test_files_removed_by_hand_are_no_trouble(where):
    kept = DiskCache(where, 1000, "store")
    kept.put("a", bytes(900))
    shutil.rmtree(where / f"store{cache.OURS}")
    assert kept.get("a") is None
    kept.put("b", bytes(900))
    assert kept.get("b") == bytes(900)
    assert sum(objects(where).values()) <= 1000


def test_abandoned_partial_files_are_removed(where):
    kept = DiskCache(where, 1000, "store")
    for name, age in (("old", 2 * cache.ABANDONED_SECONDS), ("young", 10)):
        (where / f"{name}{cache.OURS}.partial").write_bytes(b"1")
        os.utime(where / f"{name}{cache.OURS}.partial", (time.time() - age,) * 2)
    for number in range(3):
        kept.put(str(number), bytes(500))
    assert [path.name for path in where.glob("*.partial")] == [f"young{cache.OURS}.partial"]


@pytest.mark.parametrize("limit", [0, -1])
def test_limits_that_are_none(where, limit):
    with pytest.raises(InputError, match=f"cache_disk_bytes must be at least 1; got {limit}"):
        DiskCache(where, limit, "store")
    assert not where.exists()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot keep a cache in .*/file/cache: Not a directory"):
        DiskCache(tmp_path / "file/cache", 1000, "store")


def test_a_folder_that_cannot_be_written(where, monkeypatch):
    monkeypatch.setattr(os, "open", lambda *_: fail(errno.EROFS))
    with pytest.raises(StorageError, match=r"cannot keep a cache in .*: Read-only file system"):
        DiskCache(where, 1000, "store")


def fail(number):
    raise OSError(number, os.strerror(number))


HAMMER = """
import pickle, random, sys
from pathlib import Path
from cop_zarr.storage import DiskCache

where, limit, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
draw = random.Random(seed)
caches = {name: DiskCache(where, limit, name) for name in ("one", "other")}
print("ready", flush=True)
sys.stdin.readline()
wrong, hits = 0, 0
for _ in range(500):
    name, key = draw.choice(list(caches)), str(draw.randrange(20))
    right = f"{name}/{key}/".encode() * (50 * (1 + int(key)))
    match draw.randrange(12):
        case 0:
            caches[name].drop(key)
        case 1 | 2 | 3 | 4:
            caches[name].put(key, right)
        case _:
            got = caches[name].get(key)
            hits += got is not None
            wrong += got is not None and got != right
print(wrong, hits)
"""


def test_many_processes_share_it(where):
    """They never get a damaged or another's object, and the limit holds whenever nobody is changing it."""
    limit = 30_000
    where.mkdir()
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, str(where), str(limit), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(4)
    ]
    most = 0
    try:
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        size = os.open(where / "size", os.O_RDWR)
        while any(worker.poll() is None for worker in workers):
            fcntl.flock(size, fcntl.LOCK_EX)  # as who changes it
            found = []
            for path in where.glob("*/*"):
                try:
                    found.append(path.stat().st_size)
                except FileNotFoundError:  # drop() needs no lock
                    continue
            fcntl.flock(size, fcntl.LOCK_UN)
            most = max(most, sum(found))
            time.sleep(0.01)  # the lock is not fair
        os.close(size)
        results = [tuple(map(int, worker.communicate()[0].split())) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert [wrong for wrong, _ in results] == [0] * 4
    assert all(hits > 20 for _, hits in results)
    assert limit / 2 < most <= limit
    assert not list(where.glob("*.partial"))


def test_killed_processes_leave_nothing_damaged(where):
    for seed in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", HAMMER.replace("range(500)", "range(10**9)"), where, "30000", str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as worker:
            try:
                assert worker.stdout.readline() == "ready\n"
                worker.stdin.write("go\n")
                worker.stdin.flush()
                time.sleep(0.1)
                deadline = time.monotonic() + 30
                while not any(where.glob(f"*{cache.OURS}/*")) and time.monotonic() < deadline:
                    time.sleep(0.01)
            finally:  # it does not end by itself, and leaving the block waits for that
                worker.send_signal(signal.SIGKILL)
    assert objects(where)
    assert sum(objects(where).values()) <= 30_000
    for path, size in objects(where).items():
        name, key = path.split("/")
        assert (where / path).read_bytes() == f"{name.removesuffix(cache.OURS)}/{key}/".encode() * (
            50 * (1 + int(key))
        ), size
    kept = DiskCache(where, 30_000, "one")
    for number in range(40):
        kept.put(f"new{number}", bytes(3_000))
        assert sum(objects(where).values()) <= 30_000


# In front of a store


def ingest(place, shift=0.0):
    values = factory.truth(ROWS, COLS, BANDS) + np.float32(shift)
    tif = factory.write_geotiff(place / "a.tif", values, rows=ROWS, cols=COLS)
    cop_zarr.ingest(tif, place / "a.zarr", overwrite=True)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two stores of the same cells and other values."""
    made = []
    for shift in (0.0, 1.0):
        place = tmp_path_factory.mktemp("store")
        ingest(place, shift)
        made.append(place / "a.zarr")
    return made


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    place = tmp_path_factory.mktemp("site")
    with static_server(place) as url, fault_proxy(url) as proxy:
        yield place, proxy


@pytest.fixture
def remote(site, stores):
    """The proxy before a web server, and the folder that holds a.zarr there."""
    place, proxy = site
    shutil.copytree(stores[0], place / "a.zarr")
    proxy.reset_counts()
    yield proxy, place / "a.zarr"
    shutil.rmtree(place / "a.zarr")


def opened(proxy, where, **options):
    return cop_zarr.open(f"{proxy.url}/a.zarr", cache_dir=where, timeout=5, **options)


def answer(store):
    return store.query(BOX, output="grid").data


@pytest.fixture(scope="module")
def truth(stores):
    return [answer(cop_zarr.open(store)) for store in stores]


def asked(proxy):
    return sorted(got.path.removeprefix("/a.zarr/") for got in proxy.requests)


def test_a_second_open_reads_nothing_but_the_root(remote, where, truth):
    proxy, _ = remote
    assert np.array_equal(answer(opened(proxy, where)), truth[0])
    assert len(asked(proxy)) > 5
    proxy.reset_counts()
    assert np.array_equal(answer(opened(proxy, where)), truth[0])
    assert asked(proxy) == ["zarr.json"]


def test_a_second_query_reads_nothing(remote, where, truth):
    proxy, _ = remote
    store = opened(proxy, where)
    answer(store)
    proxy.reset_counts()
    assert np.array_equal(answer(store), truth[0])
    assert asked(proxy) == []


@pytest.mark.parametrize("damage", ["flipped", "short", "long", "empty"])
def test_a_damaged_object_is_fetched_again(remote, where, truth, damage):
    proxy, _ = remote
    answer(opened(proxy, where))
    path = max(where.glob("*/*"), key=lambda path: path.stat().st_size)
    good = path.read_bytes()
    bad = {
        "flipped": bytes([good[0] ^ 1]) + good[1:],
        "short": good[:-1],
        "long": good + b"1",
        "empty": b"",
    }
    path.write_bytes(bad[damage])
    proxy.reset_counts()
    assert np.array_equal(answer(opened(proxy, where)), truth[0])
    assert len(asked(proxy)) == 2
    assert path.read_bytes() == good


def test_a_replaced_store_is_not_answered_from_the_old_one_s_cache(remote, where, stores, truth):
    proxy, place = remote
    old = opened(proxy, where, cache_bytes=0)  # but from memory it would answer
    assert np.array_equal(answer(old), truth[0])
    shutil.rmtree(place)
    shutil.copytree(stores[1], place)
    assert np.array_equal(answer(opened(proxy, where)), truth[1])
    assert np.array_equal(answer(old), truth[0])  # what it was, from its own objects
    for path in where.glob("*/*"):
        path.unlink()
    with pytest.raises(StoreReplacedError):
        answer(old)


def test_a_small_cache_answers_rightly(remote, where, truth):
    proxy, _ = remote
    limit = 5_000
    for _ in range(2):
        assert np.array_equal(answer(opened(proxy, where, cache_disk_bytes=limit)), truth[0])
        assert 0 < sum(objects(where).values()) <= limit


@pytest.mark.parametrize("options", [{"cache_dir": "x", "cache_disk_bytes": 0}, {"cache_disk_bytes": 1000}])
def test_options_that_have_no_meaning(remote, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="cache_disk_bytes"):
        cop_zarr.open(f"{remote[0].url}/a.zarr", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_does_not_stop_queries(remote, where, truth, monkeypatch, caplog):
    proxy, _ = remote
    store = opened(proxy, where)
    for path in where.glob("*/*"):
        path.unlink()
    write = Path.write_bytes

    def full(path, data):
        if path.suffix != ".partial":
            return write(path, data)
        write(path, data[:10])
        return fail(errno.ENOSPC)

    monkeypatch.setattr(Path, "write_bytes", full)
    with caplog.at_level(logging.WARNING, "cop_zarr"):
        assert np.array_equal(answer(store), truth[0])
    assert "No space left on device" in caplog.text
    assert objects(where) == {}
    assert not list(where.glob("*.partial"))


@pytest.fixture
def tiny(tmp_path):
    """A disk of 64 KB."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() or not mount:
        pytest.skip("only root may mount")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield place
    subprocess.run([shutil.which("umount"), place], check=True)


def test_a_full_disk_does_not_stop_queries(remote, tiny, truth, caplog):
    proxy, _ = remote
    (tiny / "ballast").write_bytes(bytes(44_000))
    for _ in range(2):
        assert np.array_equal(answer(opened(proxy, tiny)), truth[0])
    assert "No space left on device" in caplog.text
    assert not list(tiny.glob("*.partial"))


def test_a_cache_goes_to_other_processes(remote, where, truth):
    store = pickle.loads(pickle.dumps(opened(remote[0], where)))
    assert np.array_equal(answer(store), truth[0])


def test_a_local_store_may_have_a_cache(stores, where, truth):
    store = cop_zarr.open(stores[0], cache_dir=where)
    assert np.array_equal(answer(store), truth[0])
    assert objects(where)


def test_the_home_folder_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    DiskCache(Path("~/kept"), 10, "store")
    assert (tmp_path / "kept").is_dir()


def test_what_is_not_ours_in_a_cache_folder_is_never_touched(tmp_path):
    """Somebody may name a folder that is full of other things."""
    (tmp_path / "thesis").mkdir()
    theirs = [tmp_path / "thesis" / "a.doc", tmp_path / "film.partial"]
    for path in theirs:
        path.write_bytes(bytes(5000))
        os.utime(path, (0, 0))
    kept = DiskCache(tmp_path, 1000, "store")
    for number in range(20):
        kept.put(str(number), bytes(200))
    assert [path.stat().st_size for path in theirs] == [5000, 5000]
