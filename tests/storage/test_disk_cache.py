"""The disk cache: about its limit, never another store's object, never a damaged one, never in the way."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from fsspec.implementations import http

import cop_zarr
from cop_zarr.errors import (
    InputError,
    StorageError,
    StoreNotFoundError,
    StoreReplacedError,
    UnreachableError,
)
from cop_zarr.storage import DiskCache
from cop_zarr.storage import disk_cache as module
from tests.support import factory
from tests.support.proxy import Drop, Reset, Stall, Status, fault_proxy
from tests.support.servers import static_server

ROWS, COLS, BANDS = (200, 240), (800, 848), 4
BOX = (20, 31, 31, 39)
PART = (20, 38, 21, 39)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def _new_process(monkeypatch):
    """Each test starts as a process that has written nothing yet."""
    monkeypatch.setattr(module, "_bytes_since_sweep", {})


def objects(folder):
    """Path below the cache folder and size of every object in it."""
    found = {}
    for path in folder.glob(f"*{module.SUFFIX}/*"):
        with contextlib.suppress(FileNotFoundError):  # other processes evict
            found[path.relative_to(folder).as_posix()] = path.stat().st_size
    return found


def test_put_get_and_drop(folder):
    one, other = (DiskCache(folder, 1000, name) for name in ("one", "other"))
    assert one.get("a/b") is None
    one.put("a/b", b"1")
    one.put("empty", b"")
    one.put("a/b", b"22")
    assert (one.get("a/b"), one.get("empty"), one.get("a/b", 1)) == (b"22", b"", b"2")
    assert other.get("a/b") is None
    other.put("a/b", b"3")
    assert (one.get("a/b"), other.get("a/b")) == (b"22", b"3")
    assert DiskCache(folder, 1000, "one").get("a/b") == b"22"
    one.put("larger than the limit", bytes(1001))
    one.drop("a/b")
    one.drop("nothing")
    assert objects(folder) == {f"one{module.SUFFIX}/empty": 0, f"other{module.SUFFIX}/a.b": 1}


def test_least_recently_used_objects_of_all_stores_are_evicted_first(folder):
    old, new = (DiskCache(folder, 1000, name) for name in ("old", "new"))
    for age, name in enumerate("hgfedcba"):
        old.put(name, bytes(100))
        os.utime(folder / f"old{module.SUFFIX}" / name, (age, age))
    old.get("h")  # used last, though written first
    for name in "xyz":
        new.put(name, bytes(100))
    left = objects(folder)
    assert {f"old{module.SUFFIX}/h", *(f"new{module.SUFFIX}/{name}" for name in "xyz")} <= set(left)
    assert f"old{module.SUFFIX}/g" not in left
    assert 800 <= sum(left.values()) <= 1000


@pytest.mark.parametrize("before", [0, 5_000_000])
def test_the_folder_is_scanned_once_per_share_of_the_limit(folder, monkeypatch, before):
    """Not for every object; and objects of earlier processes count from the first."""
    scans, sweep = [], DiskCache._sweep
    monkeypatch.setattr(DiskCache, "_sweep", lambda *args: (scans.append(args), sweep(*args)))
    (folder / f"other{module.SUFFIX}").mkdir(parents=True)
    (folder / f"other{module.SUFFIX}/a").write_bytes(bytes(before))
    cache = DiskCache(folder, 1_000_000, "store")
    for number in range(300):
        cache.put(str(number), bytes(1000))
    assert 6 <= len(scans) <= 8  # the first, and one for each 50,000 bytes
    assert sum(objects(folder).values()) == 300_000


def test_only_abandoned_partial_files_are_removed_and_no_foreign_ones(folder, tmp_path):
    """A cache folder may be full of other things; ``size`` is left over from earlier versions."""
    (folder / "thesis").mkdir(parents=True)
    own = folder / f"other{module.SUFFIX}"
    own.mkdir()
    for name, age in (("old", 2 * module.ABANDONED_SECONDS), ("young", 10)):
        (own / f"{name}.partial").write_bytes(b"1")
        os.utime(own / f"{name}.partial", (time.time() - age,) * 2)
    foreign = [folder / "thesis/a.doc", folder / "film.partial", folder / "size", tmp_path / "linked/a"]
    (tmp_path / "linked").mkdir()
    (folder / f"link{module.SUFFIX}").symlink_to(tmp_path / "linked")
    (folder / f"file{module.SUFFIX}").touch()
    for path in foreign:
        path.write_bytes(bytes(5000))
        os.utime(path, (0, 0))
    cache = DiskCache(folder, 1000, "store")
    for number in range(20):
        cache.put(str(number), bytes(200))
    assert [path.stat().st_size for path in foreign] == [5000] * 4
    assert [path.name for path in own.iterdir()] == ["young.partial"]
    assert 600 <= sum(objects(folder).values()) - 5000 <= 1001


def test_what_cannot_be_a_cache(folder, tmp_path):
    for limit in (0, -1):
        with pytest.raises(InputError):
            DiskCache(folder, limit, "store")
    assert not folder.exists()
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(StorageError):
            DiskCache(path, 1000, "store")


# Several processes

LIMIT, LARGEST = 100_000, 1_500

HAMMER = """
import random, sys
from pathlib import Path
from cop_zarr.storage import DiskCache

folder, limit, seed, count = Path(sys.argv[1]), *map(int, sys.argv[2:])
draw = random.Random(seed)
caches = {name: DiskCache(folder, limit, name) for name in ("one", "other")}
print("ready", flush=True)
wrong = hits = 0
for _ in range(count):
    name, key = draw.choice(list(caches)), str(draw.randrange(100))
    right = f"{name}/{key}/".encode() * (50 + int(key))
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


@contextlib.contextmanager
def hammering(folder, processes, count):
    """Processes that read, write and evict the same objects; killed at the end."""
    command = [sys.executable, "-c", HAMMER, folder, str(LIMIT)]
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(
                subprocess.Popen([*command, str(seed), str(count)], stdout=subprocess.PIPE, text=True)
            )
            for seed in range(processes)
        ]
        for worker in workers:
            stack.callback(worker.kill)
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"
        yield workers


def test_processes_exceed_the_limit_by_no_more_than_is_said(folder):
    most = 0
    with hammering(folder, 3, 800) as workers:
        while any(worker.poll() is None for worker in workers):
            most = max(most, sum(objects(folder).values()))
        results = [tuple(map(int, worker.stdout.read().split())) for worker in workers]
    assert [wrong for wrong, _ in results] == [0] * 3
    assert all(hits > 20 for _, hits in results)
    assert LIMIT / 2 < most <= LIMIT + 3 * (module.SWEEP_SHARE * LIMIT + LARGEST)
    assert not list(folder.rglob("*.partial"))


def test_a_stopped_process_keeps_nobody_from_the_cache(folder):
    """Nor does one that is killed leave a damaged object there."""
    cache = DiskCache(folder, LIMIT, "mine")
    with hammering(folder, 1, 10**9) as workers:
        while len(objects(folder)) < 30:
            time.sleep(0.01)
        for number in range(30):
            workers[0].send_signal(signal.SIGSTOP)
            cache.put(str(number), bytes(number))
            assert cache.get(str(number)) == bytes(number)
            workers[0].send_signal(signal.SIGCONT)
            time.sleep(0.001)
        workers[0].kill()
    for path in objects(folder):
        name, _, key = path.replace(module.SUFFIX, "").partition("/")
        if name != "mine" and key.isdigit():
            assert (folder / path).read_bytes() == f"{name}/{key}/".encode() * (50 + int(key))


# In front of a store


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two stores of the same cells and other values."""
    made = []
    for shift in (0, 1):
        place = tmp_path_factory.mktemp("store")
        values = factory.truth(ROWS, COLS, BANDS) + np.float32(shift)
        tif = factory.write_geotiff(place / "a.tif", values, rows=ROWS, cols=COLS)
        cop_zarr.ingest(tif, place / "a.zarr")
        made.append(place / "a.zarr")
    return made


@pytest.fixture(scope="module")
def truth(stores):
    return [answer(cop_zarr.open(store)) for store in stores]


@pytest.fixture
def remote(stores, tmp_path):
    """The proxy before a web server, and the folder that holds a.zarr there."""
    site = tmp_path / "site"
    shutil.copytree(stores[0], site / "a.zarr")
    with static_server(site) as url, fault_proxy(url) as proxy:
        yield proxy, site / "a.zarr"


def opened(proxy, folder, **options):
    return cop_zarr.open(f"{proxy.url}/a.zarr", **{"cache_dir": folder, "timeout": 30, **options})


def answer(store):
    return store.query(BOX, output="grid").data


def asked(proxy):
    """What was asked for since the last call."""
    keys = sorted(got.path.removeprefix("/a.zarr/") for got in proxy.requests)
    proxy.reset_counts()
    return keys


def test_what_was_read_once_is_not_asked_for_again(remote, folder, truth):
    """Only zarr.json is, which tells whether the store is still the same; a pickle asks for nothing."""
    proxy, _ = remote
    store = opened(proxy, folder, cache_bytes=0)
    assert np.array_equal(answer(store), truth[0])
    assert len(asked(proxy)) == len(objects(folder)) > 5
    for again in (store, pickle.loads(pickle.dumps(store))):
        assert np.array_equal(answer(again), truth[0])
        assert asked(proxy) == []
    assert np.array_equal(answer(opened(proxy, folder)), truth[0])
    assert asked(proxy) == ["zarr.json"]


@pytest.mark.parametrize("damage", ["flipped", "short", "long", "empty", "another", "absent"])
def test_a_damaged_object_is_fetched_again(remote, folder, truth, damage):
    proxy, _ = remote
    answer(opened(proxy, folder))
    other, path = sorted(folder.glob("*/*.c.*"), key=lambda path: path.stat().st_size)[-2:]
    good = path.read_bytes()
    flipped = bytes([good[0] ^ 1]) + good[1:]
    bad = {"short": good[:-1], "long": good + b"1", "empty": b"", "another": other.read_bytes()}
    path.unlink()
    if damage != "absent":
        path.write_bytes(bad.get(damage, flipped))
    asked(proxy)
    assert np.array_equal(answer(opened(proxy, folder)), truth[0])
    assert len(asked(proxy)) == 2
    assert path.read_bytes() == good


def test_a_replaced_store_is_not_answered_from_the_cache_of_the_old(remote, folder, stores, truth):
    proxy, place = remote
    old = opened(proxy, folder, cache_bytes=0)  # in memory, it would still have its chunks
    assert np.array_equal(answer(old), truth[0])
    shutil.rmtree(place)
    shutil.copytree(stores[1], place)
    assert np.array_equal(answer(opened(proxy, folder)), truth[1])
    assert np.array_equal(answer(old), truth[0])  # from its own objects
    for path in folder.glob("*/*"):
        path.unlink()
    with pytest.raises(StoreReplacedError):
        answer(old)


def test_a_small_cache_and_a_cache_of_a_local_store(remote, folder, stores, truth):
    for _ in range(2):
        assert np.array_equal(answer(opened(remote[0], folder, cache_disk_bytes=5000, workers=1)), truth[0])
        assert 0 < sum(objects(folder).values()) <= 5000
    for options in ({"cache_disk_bytes": 0}, {"cache_disk_bytes": 1000, "cache_dir": None}):
        with pytest.raises(InputError):
            cop_zarr.open(stores[0], **{"cache_dir": folder, **options})
    assert np.array_equal(answer(cop_zarr.open(stores[0], cache_dir=folder)), truth[0])


# Without a network


def offline(store):
    return store.query(BOX).meta["offline"]


@pytest.mark.usefixtures("no_pauses")
def test_what_is_kept_is_answered_while_the_server_is_down(stores, folder, caplog):
    """And says so; what is not kept fails as without a cache."""
    with static_server(stores[0]) as url:
        kept = cop_zarr.open(url, cache_dir=folder).query(PART, output="grid")
        assert kept.meta["offline"] is False
    store = cop_zarr.open(url, cache_dir=folder)
    for each in (store, pickle.loads(pickle.dumps(store))):
        found = each.query(PART, output="grid")
        assert np.array_equal(found.data, kept.data)
        assert found.meta["offline"] is True
    assert len(warnings(caplog)) == 1
    with pytest.raises(UnreachableError):
        answer(store)
    for options in ({}, {"cache_dir": folder.with_name("other")}):
        with pytest.raises(UnreachableError):
            cop_zarr.open(url, **options)


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(
    "fault", [Reset(), Drop(), pytest.param(Stall(), marks=pytest.mark.slow), Status(503)]
)
def test_the_server_is_asked_again_at_the_next_opening(remote, folder, stores, truth, fault):
    proxy, place = remote
    answer(opened(proxy, folder))
    proxy.schedule = lambda *_: fault
    store = opened(proxy, folder, timeout=6, cache_bytes=0)  # asks a server that answers, later
    assert np.array_equal(answer(store), truth[0])
    assert offline(store)
    proxy.schedule = None
    assert not offline(opened(proxy, folder))
    shutil.rmtree(place)
    shutil.copytree(stores[1], place)
    again = opened(proxy, folder)
    assert np.array_equal(answer(again), truth[1])
    assert not offline(again)
    assert offline(store)
    proxy.schedule = lambda *_: fault
    assert np.array_equal(answer(opened(proxy, folder, timeout=6)), truth[1])
    proxy.schedule = None
    for path in folder.glob("*/*.c.*"):
        path.unlink()
    with pytest.raises(StoreReplacedError):
        answer(store)


@pytest.mark.parametrize("status", [401, 403, 404, 501])
def test_a_server_that_refuses_is_heeded(remote, folder, status):
    proxy, _ = remote
    answer(opened(proxy, folder))
    proxy.schedule = lambda *_: Status(status)
    with pytest.raises(StoreNotFoundError if status == 404 else StorageError) as refusal:
        opened(proxy, folder)
    assert not isinstance(refusal.value, UnreachableError)


@pytest.mark.parametrize("change", ["options", "variable", "damaged", "absent", "forged", "objects"])
def test_nothing_of_another_server_nor_damaged_is_taken(remote, folder, monkeypatch, change):
    proxy, _ = remote
    options = {"storage_options": {"get_client": http.get_client}} if change == "objects" else {}
    answer(opened(proxy, folder, **options))
    [kept] = folder.glob("*/zarr.json") if change != "objects" else [None]
    proxy.schedule = lambda *_: Reset()
    match change:
        case "options":
            options = {"storage_options": {"headers": {"Authorization": "other"}}}
        case "variable":
            monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        case "damaged":
            kept.write_bytes(kept.read_bytes()[:-9] + bytes(9))
        case "absent":
            kept.unlink()
        case "forged":
            kept.chmod(0o666)
    with pytest.raises(UnreachableError):
        opened(proxy, folder, timeout=0.3, **options)


@pytest.fixture
def tmpfs(tmp_path):
    """Mount a small disk."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options):
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=False).returncode:
            pytest.skip("needs the right to mount a file system")
        return place

    yield mount
    subprocess.run(["umount", place], check=False)


def warnings(caplog):
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_a_disk_that_fails_costs_one_warning(remote, tmpfs, truth, caplog, kind):
    place = tmpfs("size=16k")
    if kind == "read-only":
        tmpfs("remount,ro")
    for _ in range(2):
        caplog.clear()
        store = opened(remote[0], place / "cache", cache_bytes=0)
        for _ in range(2):
            assert np.array_equal(answer(store), truth[0])
        assert len(warnings(caplog)) == 1
    assert not list(place.rglob("*.partial"))


# Whose it is


OTHER = 54321
"""A user that no machine has."""


def owned(path, uid=OTHER, mode=0o700):
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)
    try:
        os.chown(path, uid, -1)
    except PermissionError:
        pytest.skip("needs the right to give files away")


@pytest.mark.parametrize("below", ["", f"store{module.SUFFIX}"])
@pytest.mark.parametrize(("uid", "mode"), [(OTHER, 0o700), (OTHER, 0o777), (-1, 0o770), (-1, 0o707)])
def test_a_folder_that_others_can_write_to_is_refused(folder, below, uid, mode):
    """And is as it was before."""
    DiskCache(folder, 1000, "store").put("a", b"1")
    owned(folder / below, uid, mode)
    with pytest.raises(InputError, match="cache_dir"):
        DiskCache(folder, 1000, "store")
    assert objects(folder) == {f"store{module.SUFFIX}/a": 1}


def test_advice_for_a_folder_that_others_can_write_to(folder):
    cache = DiskCache(folder, 1000, "store")
    cache.put("a", b"1")
    for path in (folder, *folder.glob("*"), *folder.glob("*/*")):
        path.chmod(0o777)
    with pytest.raises(InputError) as refusal:
        DiskCache(folder, 1000, "store")
    advice = re.search(r"chmod .*", str(refusal.value))[0]
    subprocess.run(advice, shell=True, check=True)
    assert DiskCache(folder, 1000, "store").get("a") == b"1"


def test_a_folder_like_tmp_will_do(folder):
    owned(folder, 0, 0o1777)
    DiskCache(folder, 1000, "store").put("a", b"1")
    assert DiskCache(folder, 1000, "store").get("a") == b"1"
    assert (folder / f"store{module.SUFFIX}").stat().st_mode & 0o777 == 0o700
    owned(folder / f"other{module.SUFFIX}")
    with pytest.raises(InputError):
        DiskCache(folder, 1000, "other")


@pytest.mark.parametrize("change", ["folder exchanged", "folder opened", "file exchanged", "file opened"])
def test_what_becomes_another_users_is_not_believed(folder, caplog, change):
    """Also if that happens after the cache was opened."""
    cache = DiskCache(folder, 1000, "store")
    cache.put("a", b"1")
    own = folder / f"store{module.SUFFIX}"
    match change:
        case "folder exchanged":
            owned(own)
        case "folder opened":
            own.chmod(0o770)
        case "file exchanged":
            os.chown(own / "a", OTHER, -1)
        case "file opened":
            (own / "a").chmod(0o602)
    assert cache.get("a") is None
    cache.put("a", b"2")
    assert cache.get("a") == (None if "folder" in change else b"2")
    assert len(warnings(caplog)) == ("folder" in change)


def test_no_link_is_followed(folder, tmp_path, caplog):
    """Of a folder or an object, read, written, swept or removed; the cache folder itself may be one."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "a").write_bytes(b"mine")
    os.utime(precious / "a", (0, 0))
    (tmp_path / "link").symlink_to(folder)
    folder.mkdir(0o700)
    cache = DiskCache(tmp_path / "link", 1000, "store")
    own = folder / f"store{module.SUFFIX}"
    (own / "a").symlink_to(precious / "a")
    (own / "b").symlink_to(own / "b")  # a loop
    os.mkfifo(own / "c")
    assert [cache.get(key) for key in "abc"] == [None] * 3
    for key in "abc":
        cache.put(key, key.encode())
    assert [cache.get(key) for key in "abc"] == [b"a", b"b", b"c"]
    (folder / f"linked{module.SUFFIX}").symlink_to(precious)
    with pytest.raises(InputError):
        DiskCache(folder, 1000, "linked")
    for number in range(30):
        cache.put(str(number), bytes(200))
    shutil.rmtree(own)
    own.symlink_to(precious)
    cache.put("a", b"forged")
    assert cache.get("a") is None
    cache.drop("a")
    assert (precious / "a").read_bytes() == b"mine"
    assert (precious / "a").stat().st_mtime == 0
    assert [path.name for path in precious.iterdir()] == ["a"]
    assert len(warnings(caplog)) == 1
