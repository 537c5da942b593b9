"""One store used by many threads, and by processes that it was pickled to or forked into."""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import cop_zarr
from cop_zarr.errors import ChunkError
from tests.support.proxy import fault_proxy
from tests.support.questions import Part, ask_and_compare
from tests.support.servers import static_process, static_server

PART = Part((200, 232), (580, 640))
"""4 x 8 chunks; the western 4 x 2 hold no data."""

KINDS = ["disk", "http", "s3", "zip", "zip on http"]

SECONDS = 60
"""A pool that has not answered by then hangs."""

pytestmark = pytest.mark.filterwarnings(
    # what Python 3.12 says of every fork beside threads; that it goes well is what is tested here
    "ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    site = tmp_path_factory.mktemp("site")
    cop_zarr.ingest(PART.write(site / "a.tif"), site / "a.zarr")
    shutil.make_archive(str(site / "a"), "zip", site / "a.zarr")
    return site


@pytest.fixture(scope="module")
def urls(site, s3):
    """The same store in many places, each with the options to open it.

    The servers are processes of their own: a child must not wait for the turn of its busy parent's threads.
    """
    url = s3.place()
    cop_zarr.ingest(site / "a.tif", url, storage_options=s3.options)
    with static_process(site) as web:
        yield {
            "disk": (str(site / "a.zarr"), {}),
            "http": (f"{web}/a.zarr", {}),
            "s3": (url, s3.options),
            "zip": (f"zip::{site}/a.zip", {}),
            "zip on http": (f"zip::{web}/a.zip", {}),
        }


def opened(urls, kind, **options) -> cop_zarr.Store:
    """A store that has been used, so that there are connections, loops and threads to be in the way."""
    url, storage_options = urls[kind]
    options = {"cache_bytes": 0, **options}  # what is in memory is not asked for
    store = cop_zarr.open(url, storage_options=storage_options, **options)
    assert ask_and_compare(store, PART, ["before"]) == []
    assert store.valid.any()
    return store


def seeds(name: object, count: int) -> list[str]:
    return [f"{name}/{number}" for number in range(count)]


# Threads


@pytest.mark.parametrize("kind", KINDS)
def test_sixteen_threads(urls, kind):
    """All begin at once, with a store of which nothing has been read but what opening takes."""
    url, storage_options = urls[kind]
    store = cop_zarr.open(url, storage_options=storage_options)
    begin = threading.Barrier(16)

    def ask(number: int) -> list[str]:
        begin.wait()
        return ask_and_compare(store, PART, seeds(number, 8))

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(16))) == [[]] * 16


# Processes


@pytest.mark.parametrize(
    "method", ["fork", *(pytest.param(name, marks=pytest.mark.slow) for name in ("spawn", "forkserver"))]
)
def test_a_pool_of_processes(urls, method):
    """The stores are made and used in the parent, and pickled to the pool."""
    stores = [opened(urls, kind) for kind in KINDS]
    context = multiprocessing.get_context(method)
    with context.Pool(3) as pool:
        asked = [
            pool.apply_async(ask_and_compare, (store, PART, seeds(f"{kind}/{turn}", 4)))
            for turn in range(3)
            for kind, store in zip(KINDS, stores, strict=True)
        ]
        assert [each.get(SECONDS) for each in asked] == [[]] * 15
    for kind, store in zip(KINDS, stores, strict=True):  # and the parent's still work
        assert ask_and_compare(store, PART, seeds(kind, 2)) == []


INHERITED: list[cop_zarr.Store] = []
"""What forked workers find in the memory that they share with their parent."""


def ask_inherited(name: str) -> list[str]:
    return [wrong for store in INHERITED for wrong in ask_and_compare(store, PART, seeds(name, 3))]


@pytest.fixture
def inherited(urls):
    INHERITED[:] = [opened(urls, kind) for kind in KINDS]
    yield INHERITED
    INHERITED.clear()


def ask_in_threads(name: str) -> list[str]:
    with ThreadPoolExecutor(8) as pool:
        return [wrong for found in pool.map(ask_inherited, seeds(name, 8)) for wrong in found]


def ask_and_collect(name: str) -> list[str]:
    """Loops share their epoll across a fork: who closes a connection there has it closed for both."""
    wrong = ask_inherited(name)
    gc.collect()
    return wrong


def ask_after_another_fork(name: str) -> list[str]:
    """Fork once more, after the store was used in the child."""
    wrong = ask_inherited(name)
    child = os.fork()
    if child == 0:
        try:
            os._exit(len(ask_inherited(f"{name} again")))
        finally:
            os._exit(255)
    return wrong + ["again"] * (os.waitpid(child, 0)[1] != 0)


@pytest.mark.parametrize(
    "work",
    [
        ask_inherited,
        *(
            pytest.param(work, marks=pytest.mark.slow)
            for work in (ask_in_threads, ask_and_collect, ask_after_another_fork)
        ),
    ],
)
def test_workers_that_are_forked(inherited, work):
    """As a PyTorch DataLoader's: nothing is pickled, the dataset is there after the fork."""
    with multiprocessing.get_context("fork").Pool(4) as pool:
        asked = [pool.apply_async(work, (f"worker {number}",)) for number in range(8)]
        assert ask_inherited("parent") == []  # at the same time
        assert [each.get(SECONDS) for each in asked] == [[]] * 8
    assert ask_inherited("parent again") == []


@pytest.mark.slow
def test_a_fork_while_threads_ask(inherited):
    """Sixteen threads are in the middle of it, and their locks with them."""
    over = threading.Event()

    def ask(number: int) -> list[str]:
        wrong, turn = [], 0
        while not over.is_set():
            wrong += ask_and_compare(inherited[number % len(KINDS)], PART, [f"{number}/{turn}"])
            turn += 1
        return wrong

    with ThreadPoolExecutor(16) as threads:
        asking = [threads.submit(ask, number) for number in range(16)]
        try:
            for turn in range(3):
                with multiprocessing.get_context("fork").Pool(2) as pool:
                    asked = [pool.apply_async(ask_inherited, (f"{turn}/{each}",)) for each in range(2)]
                    assert [each.get(SECONDS) for each in asked] == [[]] * 2
        finally:
            over.set()
        assert [each.result(SECONDS) for each in asking] == [[]] * 16


@pytest.mark.slow
def test_a_fork_while_a_thread_waits_for_the_mask(site):
    """What one thread reads from a slow store is nothing that a forked worker must wait for."""
    with static_server(site) as web, fault_proxy(web) as proxy:
        slow = cop_zarr.open(f"{proxy.url}/a.zarr")
        INHERITED[:] = [cop_zarr.open(site / "a.zarr")]
        proxy.latency = 2
        with ThreadPoolExecutor(1) as thread:
            reading = thread.submit(lambda: slow.valid)
            while not proxy.asked("GET", "/valid/"):
                time.sleep(0.01)
            with multiprocessing.get_context("fork").Pool(1) as pool:
                assert pool.apply_async(ask_inherited, ("worker",)).get(SECONDS) == []
            assert reading.result(SECONDS).any()


# Processes that share


def test_processes_share_a_cache(urls, tmp_path):
    """They write, read and evict the same objects at the same time."""
    options = {"cache_dir": tmp_path, "cache_disk_bytes": 20_000}
    stores = [opened(urls, kind, **options) for kind in ("http", "s3", "http")]
    with multiprocessing.get_context("fork").Pool(4) as pool:
        asked = [
            pool.apply_async(ask_and_compare, (stores[number % 3], PART, seeds(f"cached {number % 4}", 8)))
            for number in range(16)
        ]
        assert [each.get(SECONDS) for each in asked] == [[]] * 16
    assert list(tmp_path.glob("*/*"))
    assert list(tmp_path.rglob("*.partial")) == []


def test_errors_come_back_from_processes(site, tmp_path):
    """A typed error survives the way from a pool to its parent."""
    shutil.copytree(site / "a.zarr", tmp_path / "a.zarr")
    store = cop_zarr.open(tmp_path / "a.zarr")
    shutil.rmtree(tmp_path / "a.zarr/embedding/c")
    with multiprocessing.get_context("fork").Pool(1) as pool, pytest.raises(ChunkError):
        pool.apply_async(ask_and_compare, (store, PART, seeds("gone", 8))).get(SECONDS)
