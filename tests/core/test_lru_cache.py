"""The LRU cache by itself, also with threads and interrupts."""

import pickle
import threading
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cop_zarr.core.lru_cache import LRUCache
from cop_zarr.errors import InputError
from tests.support.interrupts import interrupted
from tests.support.patience import STUCK_SECONDS


def modelled(capacity, operations):
    """What a list of (key, value, size), least recently used first, would hold, and what gets return."""
    held, answers = [], []
    for key, value, size in operations:
        found = [entry for entry in held if entry[0] == key]
        if value is None:
            answers.append(found[0][1] if found else None)
            held = [entry for entry in held if entry[0] != key] + found
        elif size <= capacity:
            held = [entry for entry in held if entry[0] != key] + [(key, value, size)]
            while sum(entry[2] for entry in held) > capacity:
                del held[0]
    return held, answers


OPERATIONS = st.lists(st.tuples(st.integers(0, 7), st.booleans(), st.integers(0, 14)), max_size=60)


@given(st.integers(0, 40), OPERATIONS)
def test_any_puts_and_gets_leave_what_a_list_would_hold(capacity, operations):
    """``in`` is no use of a key; a value larger than the capacity is not kept and drops nothing."""
    cache, answers = LRUCache(capacity), []
    numbered = [
        (key, number if is_put else None, size) for number, (key, is_put, size) in enumerate(operations)
    ]
    for done, (key, value, size) in enumerate(numbered, 1):
        if value is None:
            answers.append(cache.get(key))
        else:
            cache.put(key, value, size)
        held, expected = modelled(capacity, numbered[:done])
        assert cache.nbytes == sum(entry[2] for entry in held) <= capacity
        assert {key for key in range(8) if key in cache} == {entry[0] for entry in held}
        assert answers == expected


@pytest.mark.parametrize("capacity", [-1, 2.0, True, "256 MiB", None, float("inf")])
def test_capacity_must_be_a_number_of_bytes(capacity):
    with pytest.raises(InputError, match="cache_bytes"):
        LRUCache(capacity)


def test_pickle_is_empty_and_has_the_same_capacity():
    cache = LRUCache(100)
    cache.put("a", np.ones(5), 40)
    copy = pickle.loads(pickle.dumps(cache))
    assert (copy.capacity, copy.nbytes, "a" in copy) == (100, 0, False)
    assert (cache.nbytes, "a" in cache) == (40, True)


def in_threads(count, work):
    """Call this in so many threads at once, each with its number; return what they raised."""
    raised, barrier = [], threading.Barrier(count)

    def run(number):
        barrier.wait()
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001  # for the thread that waits
            raised.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(STUCK_SECONDS)
    assert not any(thread.is_alive() for thread in threads)
    return raised


def test_it_may_be_used_by_the_thread_that_is_using_it():
    """As a signal handler does, or the finalizer of a value that is dropped."""
    cache, found = LRUCache(2), []

    class Finalized:
        def __del__(self):
            found.append(cache.get("b"))
            cache.put("d", 4, 0)

    def work(_):
        cache.put("a", Finalized(), 1)
        cache.put("b", 2, 1)
        cache.put("c", 3, 1)

    assert not in_threads(1, work)
    assert found == [2]
    assert (cache.nbytes, cache.get("c"), cache.get("d")) == (2, 3, 4)


def puts_and_gets():
    """Uses of a small cache, and what must hold after they have been interrupted."""
    cache, rng = LRUCache(100), Random(0)

    def attempt():
        for _ in range(500):
            cache.put(rng.randrange(30), 0, rng.randrange(1, 20))
            cache.get(rng.randrange(30))

    def check():
        attempt()
        assert cache.nbytes == sum(size for _, size in cache._values.values()) <= 100
        cache.put("last", 1, 100)
        assert (cache.nbytes, len(cache._values), cache.get("last")) == (100, 1, 1)

    return attempt, check


@pytest.mark.parametrize("seconds", [1, pytest.param(15, marks=pytest.mark.slow)])
def test_interrupts_leave_an_exact_count(seconds):
    """A sum that one of them leaves wrong ends in ``KeyError: 'dictionary is empty'``."""
    interrupted(puts_and_gets, seconds)
