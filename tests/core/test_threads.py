"""Ordered work in threads: order, look-ahead, failures, context, forks and interrupts."""

import contextvars
import os
import threading
import time
from itertools import count

import numpy as np
import pytest

import cop_zarr
from cop_zarr.core.threads import Background, ordered_map, sleep
from tests.support.interrupts import interrupted
from tests.support.patience import STUCK_SECONDS


def after_turns(number):
    """Take longer for early items, so that later ones are ready first."""
    time.sleep((7 - number % 8) * 1e-3)
    return number


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_results_come_in_the_order_of_the_items(workers):
    assert list(ordered_map(after_turns, range(40), workers=workers)) == list(range(40))
    assert list(ordered_map(after_turns, [], workers=workers)) == []


def test_as_many_items_at_once_as_workers():
    """Three items wait for one another; a fourth would not come."""
    meeting = threading.Barrier(3, timeout=STUCK_SECONDS)
    lock, at_work, most = threading.Lock(), 0, 0

    def meet(_):
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        meeting.wait()
        with lock:
            at_work -= 1

    list(ordered_map(meet, range(12), workers=3))
    assert most == 3


@pytest.mark.parametrize(("ahead", "expected"), [(None, 6), (3, 3), (10, 10)])
def test_look_ahead_is_bounded(ahead, expected):
    """Of an endless iterable, items are taken only as results are."""
    items = count()
    results = ordered_map(lambda item: item, items, workers=3, ahead=ahead)
    for number in range(5):
        assert next(results) == number
    results.close()
    assert next(items) == expected + 4


def test_one_worker_takes_no_thread_and_no_item_ahead():
    items = count()
    results = ordered_map(lambda item: (item, threading.get_ident()), items, workers=1)
    assert [next(results) for _ in range(3)] == [(number, threading.get_ident()) for number in range(3)]
    assert next(items) == 3


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_first_failure_is_raised_and_nothing_runs_after_it(workers):
    begun, finished = [], []

    def work(number):
        begun.append(number)
        if number == 5:
            raise LookupError(number)
        time.sleep(1e-3)
        finished.append(number)

    with pytest.raises(LookupError, match="5"):
        list(ordered_map(work, range(100), workers=workers))
    there = len(begun)
    assert there < 100
    assert set(begun) == {5, *finished}, "what has begun is waited for"
    time.sleep(0.02)
    assert len(begun) == there


def test_a_failing_iterable_ends_the_call():
    def items():
        yield from range(3)
        raise LookupError

    done = []
    with pytest.raises(LookupError):
        list(ordered_map(done.append, items(), workers=2))
    assert sorted(done) == list(range(len(done)))
    assert list(ordered_map(abs, [-1, -2], workers=2)) == [1, 2]


def test_a_call_that_is_left_early_ends_its_work():
    begun = []
    results = ordered_map(begun.append, count(), workers=3, ahead=10)
    next(results)
    results.close()
    there = len(begun)
    time.sleep(0.02)
    assert len(begun) == there <= 11


@pytest.mark.parametrize("nested", [False, True])
def test_what_waits_is_cancelled_when_the_call_ends_early(nested):
    """A failure ends the waiting of the other threads, of calls within the call, too."""
    begun = threading.Semaphore(0)

    def work(number):
        if number:
            begun.release()
            waits = ordered_map(sleep, [STUCK_SECONDS] * 2, workers=2) if nested else [sleep(STUCK_SECONDS)]
            return list(waits)
        for _ in range(2):
            begun.acquire()
        raise LookupError

    began = time.monotonic()
    with pytest.raises(LookupError):
        list(ordered_map(work, [1, 2, 0], workers=4))
    assert time.monotonic() - began < STUCK_SECONDS / 10
    sleep(0)  # outside of any call nothing is cancelled


def test_the_callers_context_is_kept():
    number = contextvars.ContextVar("number", default=0)
    number.set(7)
    meeting = threading.Barrier(2, timeout=STUCK_SECONDS)

    def work(_):
        meeting.wait()
        with pytest.raises(FloatingPointError):
            np.float32(1) / np.float32(0)
        return number.get(), threading.get_ident()

    with np.errstate(divide="raise"):
        found = list(ordered_map(work, range(2), workers=2))
    assert [value for value, _ in found] == [7, 7]
    assert len({thread for _, thread in found}) == 2


def test_calls_may_be_nested():
    def inner(number):
        return sum(ordered_map(lambda item: item * number, range(20), workers=4))

    assert list(ordered_map(inner, range(20), workers=4)) == [190 * number for number in range(20)]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    list(ordered_map(after_turns, range(8), workers=4))
    child = os.fork()
    if child == 0:
        meeting = threading.Barrier(3, timeout=STUCK_SECONDS)
        try:
            list(ordered_map(lambda _: meeting.wait(), range(3), workers=3))
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_background_runs_beside_its_caller():
    begin = threading.Event()
    task = Background(lambda: begin.wait(STUCK_SECONDS) and threading.get_ident())
    assert not task.done()
    begin.set()
    found = task.result()
    assert task.done()
    assert task.result() == found
    task.close()


def test_background_raises_what_its_function_raised_each_time():
    task = Background(lambda: 1 // 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            task.result()
    assert task.done()
    task.close()


def test_background_that_is_closed_has_ended():
    ended = []

    def work():
        time.sleep(0.01)
        ended.append(True)

    task = Background(work)
    task.close()
    there = len(ended)
    time.sleep(0.05)
    assert len(ended) == there


BOX = (60, 40, 66, 46)
"""Several chunks, all with data."""


def queries(store_path, cache_bytes):
    """Queries of several chunks in two threads, and what must hold after they have been interrupted."""
    store = cop_zarr.open(store_path, workers=2, cache_bytes=int(cache_bytes))
    boxes = [BOX, (60, 40, 63, 43), (61, 41, 66, 44)]
    calm = cop_zarr.open(store_path, workers=1, cache_bytes=0)
    expected = calm.query(BOX).data, calm.query(BOX, output="grid").data, calm.query_many(boxes)

    def attempt():
        store.query(BOX)
        store.query(BOX, output="grid")
        store.query_many(boxes)

    def check():
        found = store.query(BOX).data, store.query(BOX, output="grid").data, store.query_many(boxes)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours.view("u4"), theirs.view("u4"))
        memory = store._reader.memory
        assert memory.nbytes == sum(size for _, size in memory._values.values()) <= memory.capacity

    return attempt, check


@pytest.mark.parametrize("cache_bytes", [pytest.param(0, marks=pytest.mark.slow), 50_000])
@pytest.mark.parametrize("seconds", [2.5, pytest.param(30, marks=pytest.mark.slow)])
def test_queries_stand_interrupts_at_any_moment(store_path, cache_bytes, seconds):
    """A thread pool of the standard library stays locked: every later query would block for good."""
    interrupted(queries, seconds, store_path, cache_bytes)
