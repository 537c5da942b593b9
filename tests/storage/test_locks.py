"""A place on an object store is one ingest's at a time, whatever has become of the last one."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import fsspec
import pytest

from cop_zarr.errors import StoreBusyError
from cop_zarr.storage import LOCK, folder, locks
from cop_zarr.storage.locks import Lock
from tests.support.patience import until
from tests.support.proxy import AfterWrite, Drop, Reset, Stall, Status, fault_proxy, hitting

LOOK = 0.2
OTHER = {"token": "other", "host": "elsewhere", "pid": 1, "since": "2026-11-29T02:03:04+00:00"}


@pytest.fixture(scope="module")
def proxy(s3):
    with fault_proxy(s3.endpoint) as running:
        yield running


@pytest.fixture
def through(s3, proxy):
    """A place on S3 behind the proxy."""
    proxy.schedule = None
    proxy.reset_counts()
    yield folder(s3.place(), s3.through(proxy.url), 8)
    proxy.schedule = None


@pytest.fixture(params=[pytest.param("s3", marks=pytest.mark.slow), "memory"])
def place(request):
    """An empty place on S3, and in memory."""
    if request.param == "memory":
        return folder("memory://locks/a.zarr")
    server = request.getfixturevalue("s3")
    return folder(server.place(), server.options)


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(locks, "LOOK_SECONDS", LOOK)


def mark(place):
    return json.loads(place.read(LOCK))


def test_a_lock_is_exclusive_says_whose_it_is_and_leaves_nothing(place):
    lock = Lock(place, LOCK)
    try:
        record = mark(place)
        assert (record["pid"], record["host"]) == (os.getpid(), socket.gethostname())
        assert abs(datetime.fromisoformat(record["since"]).timestamp() - time.time()) < 60
        with pytest.raises(StoreBusyError) as caught:
            Lock(place, LOCK)
        for word in (str(os.getpid()), socket.gethostname(), record["since"], "break_lock=True"):
            assert word in str(caught.value)
        lock.check()
        lock.guard()
        assert mark(place) == record
    finally:
        lock.release()
    assert place.listing() == {}
    Lock(place, LOCK).release()


def test_only_one_of_many_at_once_gets_it(s3):
    url = s3.place()
    start = threading.Barrier(6)

    def take(_):
        mine = folder(url, s3.options)
        mine.names()
        start.wait()
        try:
            return Lock(mine, LOCK)
        except StoreBusyError:
            return None

    with ThreadPoolExecutor(6) as pool:
        got = [lock for lock in pool.map(take, range(6)) if lock]
    assert len(got) == 1
    got[0].release()


@pytest.mark.parametrize(
    "whose", ["dead", "not waited for", "of a number used again", "an earlier one of ours"]
)
def test_a_dead_owner_on_this_machine_is_nobody(place, whose):
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    pid = {"dead": dead.pid, "of a number used again": os.getppid()}.get(whose, os.getpid())
    process = None
    if whose == "not waited for":
        process = subprocess.Popen([sys.executable, "-c", ""])
        pid = process.pid
        until(lambda: locks._birth(pid) == "")
    place.write(LOCK, json.dumps({**OTHER, "machine": locks._machine(), "pid": pid, "birth": "1"}).encode())
    Lock(place, LOCK).release()
    if process:
        process.wait()


OWNER = """
import pickle, sys
place = pickle.load(sys.stdin.buffer)
with place.locked():
    print("claimed", flush=True)
    import time; time.sleep(60)
"""


def test_another_process_is_refused_until_it_is_killed(s3):
    place = folder(s3.place(), s3.options)
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        try:
            owner.stdin.write(pickle.dumps(place))
            owner.stdin.close()
            assert owner.stdout.readline() == b"claimed\n"
            with pytest.raises(StoreBusyError, match=str(owner.pid)):
                place.locked().__enter__()
            assert mark(place)["pid"] == owner.pid
        finally:
            owner.send_signal(signal.SIGKILL)
    assert list(place.listing()) == [LOCK]
    with place.locked():
        assert mark(place)["pid"] == os.getpid()
    assert place.listing() == {}


@pytest.mark.parametrize("content", [json.dumps(OTHER).encode(), b"", b"[1]", b"not JSON \xff"])
def test_a_silent_owner_elsewhere_keeps_its_lock_until_it_is_broken(place, content):
    place.write(LOCK, content)
    for _ in range(2):
        with pytest.raises(StoreBusyError, match="break_lock=True"):
            Lock(place, LOCK)
        time.sleep(3 * LOOK)
    assert place.read(LOCK) == content
    with place.locked(break_lock=True):
        assert mark(place)["pid"] == os.getpid()
    assert place.listing() == {}


def test_only_one_of_many_who_break_a_lock_has_it(s3):
    url = s3.place()
    folder(url, s3.options).write(LOCK, json.dumps(OTHER).encode())
    start = threading.Barrier(6)

    def take(_):
        mine = folder(url, s3.options)
        mine.names()
        start.wait()
        try:
            return Lock(mine, LOCK, break_lock=True)
        except StoreBusyError:
            return None

    with ThreadPoolExecutor(6) as pool:
        got = [lock for lock in pool.map(take, range(6)) if lock]
    assert len(got) == 1
    got[0].release()


@pytest.mark.parametrize("lost", ["taken", "removed"])
def test_who_has_lost_a_lock_writes_no_more(place, lost):
    other = (
        folder("memory://locks/a.zarr")
        if place._connection._options is None
        else folder(place._connection._address, place._connection._options)
    )
    with place.locked():
        place.write("a", b"mine")
        if lost == "taken":
            other.write(LOCK, json.dumps(OTHER).encode())
        else:
            other.remove([LOCK])
        time.sleep(1.5 * LOOK)
        for write in (place.write, place.replace, place.create):
            with pytest.raises(StoreBusyError):
                write("a", b"not mine any more")
        with pytest.raises(StoreBusyError):
            place.remove(["a"])
    assert place.read("a") == b"mine"
    assert [key for key in place.listing() if key == LOCK] == [LOCK] * (lost == "taken")
    place.write("a", b"free")


def test_a_request_that_waited_for_its_turn_is_not_sent(place, monkeypatch, request):
    """The lock was looked at before, and lost while the request waited."""
    theirs = json.dumps(OTHER).encode()
    memory = place.url.startswith("memory://")

    def steal():
        if memory:
            fsspec.filesystem("memory").pipe_file(f"/locks/a.zarr/{LOCK}", theirs)
        else:
            request.getfixturevalue("s3").put(f"{place.url}/{LOCK}", theirs)

    with place.locked():
        place.write("a", b"mine")
        guard, waited = place._lock.guard, []

        def late():
            if not waited:
                waited.append(1)
                steal()
                time.sleep(1.5 * LOOK)
            guard()

        monkeypatch.setattr(place._lock, "guard", late)
        with pytest.raises(StoreBusyError, match="elsewhere"):
            place.write("a", b"not mine any more")
    assert place.read("a") == b"mine"


@pytest.mark.slow
@pytest.mark.parametrize("fault", [Reset(), Drop(), Status(503), Stall()], ids=str)
def test_a_lock_whose_answer_was_lost_is_ours(through, proxy, fault):
    proxy.schedule = hitting(AfterWrite(fault), methods=["PUT"], times=1)
    with through.locked():
        assert mark(through)["pid"] == os.getpid()
        through.write("a", b"1")
    assert through.listing() == {"a": 1}


def test_a_network_that_was_away_costs_no_lock(through, proxy):
    with through.locked():
        proxy.schedule = hitting(Status(500), times=3)
        time.sleep(2 * LOOK)
        through.write("a", b"1")
    assert through.listing() == {"a": 1}


def test_a_lock_that_cannot_be_removed_is_no_failure(through, proxy):
    with through.locked():
        proxy.schedule = hitting(Status(403), methods=["DELETE"])
    proxy.schedule = None
    assert list(through.listing()) == [LOCK]
    with through.locked():
        pass  # nobody of this process holds it
    assert through.listing() == {}


@pytest.mark.slow
def test_a_server_without_exclusive_writes_does_not_take_a_live_lock(gcs):
    """The emulator of Google's overwrites: who comes later looks first."""
    url = gcs.place()
    first, second = (folder(url, gcs.options, 10) for _ in range(2))
    first.create("a", b"1")
    second.create("a", b"2")
    assert first.read("a") == b"2"  # it does overwrite
    with first.locked():
        owner = mark(first)["token"]
        with pytest.raises(StoreBusyError):
            second.locked().__enter__()
        assert mark(first)["token"] == owner


def test_create_does_not_overwrite(place):
    assert place.create("a", b"1")
    assert not place.create("a", b"2")
    assert place.read("a") == b"1"
