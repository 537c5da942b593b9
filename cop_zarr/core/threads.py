"""Threads that stay: they take a share of work that is too small to start a thread for.

Starting a thread takes about as long as decoding a chunk; handing work to one that waits takes a tenth of
that. Whoever has the work does its share, too, so if nobody has time it is done all the same.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")

MOST = 32
"""Threads that wait for work, at most; they are started when they are needed first."""

_pools: list[ThreadPoolExecutor] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)  # a fork takes no threads along


def begin(pool: ThreadPoolExecutor, work: Callable[..., T], *given: Any) -> Future[T]:
    """Hand work to a pool, in this thread's context; or do it here, if no thread will take it any more.

    While the interpreter ends, threads that are still at work cannot start others.
    """
    try:
        return pool.submit(copy_context().run, work, *given)
    except RuntimeError:
        done: Future[T] = Future()
        done.set_result(work(*given))
        return done


def share(count: int, work: Callable[[int], T], threads: int) -> list[T]:
    """Do numbered pieces of work in several threads, this one included.

    Parameters
    ----------
    count : int
        How many pieces.
    work : callable
        Does the piece of a number, in whichever thread has time. It runs in the caller's context.
    threads : int
        How many may be at work at once.

    Returns
    -------
    list
        What ``work`` returned, by number.

    Raises
    ------
    Exception
        The first that ``work`` raised, if it did; what has not begun by then is left undone.
    """
    numbers, found = deque(range(count)), dict[int, T]()

    def take() -> None:
        try:
            while True:
                try:
                    number = numbers.popleft()
                except IndexError:
                    return
                found[number] = work(number)
        finally:
            numbers.clear()

    others = [begin(_pool(), take) for _ in range(min(threads, count) - 1)]
    try:
        take()
    finally:
        for other in others:
            if not other.cancel():
                other.exception()  # wait for it, whatever it came to
    for other in others:
        if not other.cancelled():
            other.result()
    return [found[number] for number in range(count)]


def _pool() -> ThreadPoolExecutor:
    """The threads of this process."""
    if not _pools:
        _pools.append(ThreadPoolExecutor(MOST, "cop-zarr-share"))
    return _pools[0]
