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

import pytest

from cop_zarr.errors import StorageError, StoreBusyError
from cop_zarr.storage import LOCK, folder, leases
from cop_zarr.storage.leases import Lease
from tests.support.proxy import AfterWrite, Drop, Reset, Stall, Status, fault_proxy, hitting

BEAT = 0.2
OTHER = {"token": "other", "host": "elsewhere", "pid": 1, "beat": 0.0}


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
        return folder("memory://leases/a.zarr")
    server = request.getfixturevalue("s3")
    return folder(server.place(), server.options, 10)


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(leases, "BEAT_SECONDS", BEAT)


def mark(place):
    return json.loads(place.read(LOCK))


def until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    assert true()


def test_a_lease_is_exclusive_beats_and_leaves_nothing(place):
    lease = Lease(place, LOCK)
    try:
        assert (mark(place)["pid"], mark(place)["host"]) == (os.getpid(), socket.gethostname())
        with pytest.raises(StoreBusyError, match=str(os.getpid())):
            Lease(place, LOCK)
        lease.check()
        first = mark(place)
        until(lambda: mark(place)["beat"] > first["beat"])
        assert mark(place)["token"] == first["token"]
    finally:
        lease.release()
    time.sleep(2 * BEAT)
    assert place.listing() == {}  # it does not beat any more
    Lease(place, LOCK).release()


def test_only_one_of_many_at_once_gets_it(s3):
    url = s3.place()
    start = threading.Barrier(6)

    def take(_):
        mine = folder(url, s3.options, 10)
        mine.names()
        start.wait()
        try:
            return Lease(mine, LOCK)
        except StoreBusyError:
            return None

    with ThreadPoolExecutor(6) as pool:
        got = [lease for lease in pool.map(take, range(6)) if lease]
    assert len(got) == 1
    got[0].release()


@pytest.mark.parametrize("whose", ["dead", "an earlier one of ours"])
def test_a_dead_owner_on_this_machine_is_nobody_at_once(place, monkeypatch, whose):
    monkeypatch.setattr(leases, "BEAT_SECONDS", 2)
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    pid = dead.pid if whose == "dead" else os.getpid()
    place.write(LOCK, json.dumps({**OTHER, "machine": leases._machine(), "pid": pid}).encode())
    start = time.monotonic()
    Lease(place, LOCK).release()
    assert time.monotonic() - start < leases.STALE_BEATS * leases.BEAT_SECONDS


OWNER = """
import pickle, sys
from cop_zarr.storage import leases
leases.BEAT_SECONDS = 0.2
place = pickle.load(sys.stdin.buffer)
with place.locked():
    print("claimed", flush=True)
    import time; time.sleep(60)
"""


def test_another_process_is_refused_until_it_is_killed(s3):
    place = folder(s3.place(), s3.options, 10)
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
def test_a_silent_owner_elsewhere_is_dead_after_a_while(place, content):
    place.write(LOCK, content)
    start = time.monotonic()
    lease = Lease(place, LOCK)
    took = time.monotonic() - start
    lease.release()
    assert took >= leases.STALE_BEATS * BEAT


def test_an_owner_elsewhere_that_beats_is_alive(place):
    over = threading.Event()

    def beat():
        number = 0
        while not over.wait(BEAT / 4):
            number += 1
            place.write(LOCK, json.dumps({**OTHER, "beat": number}).encode())

    place.write(LOCK, json.dumps(OTHER).encode())
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(StoreBusyError, match="elsewhere"):
            Lease(place, LOCK)
    finally:
        over.set()
        thread.join()
    assert mark(place)["token"] == "other"


@pytest.mark.parametrize("lost", ["taken", "removed"])
def test_who_was_taken_over_writes_no_more(place, lost):
    with place.locked():
        place.write("a", b"mine")
        if lost == "taken":
            place.write(LOCK, json.dumps(OTHER).encode())
        else:
            place.remove([LOCK])
        until(lambda: place._lease._lost)
        for write in (place.write, place.replace):
            with pytest.raises(StorageError):
                write("a", b"not mine any more")
        with pytest.raises(StorageError):
            place.remove(["a"])
    assert place.read("a") == b"mine"
    assert [key for key in place.listing() if key == LOCK] == [LOCK] * (lost == "taken")
    place.write("a", b"free")


@pytest.mark.slow
@pytest.mark.parametrize("fault", [Reset(), Drop(), Status(503), Stall()], ids=str)
def test_a_lease_whose_answer_was_lost_is_ours(through, proxy, fault):
    proxy.schedule = hitting(AfterWrite(fault), methods=["PUT"], times=1)
    with through.locked():
        assert mark(through)["pid"] == os.getpid()
        through.write("a", b"1")
    assert through.listing() == {"a": 1}


def test_a_network_that_was_away_costs_no_lease(through, proxy):
    with through.locked():
        proxy.schedule = hitting(Status(500), times=3)
        time.sleep(5 * BEAT)
        proxy.schedule = None
        through.write("a", b"1")
        before = mark(through)["beat"]
        until(lambda: mark(through)["beat"] > before)
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
def test_a_server_without_exclusive_writes_does_not_take_a_live_lease(gcs):
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
    place.create("a", b"1")
    place.create("a", b"2")
    assert place.read("a") == b"1"
