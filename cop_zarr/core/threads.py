"""Ordered work in threads: the one concurrency primitive of this package.

The threads belong to the process and wait for work: starting one takes about as long as decoding a chunk,
waking one a tenth of that. The caller does its share, so work is done even where no thread can be had, and
calls may be nested.

Threads share nothing but single calls into C (``SimpleQueue``, ``deque``, ``start_new_thread``). The locks,
events and futures of the standard library will not do: a KeyboardInterrupt that arrives inside
``Condition.__enter__`` leaves them locked, and whoever needs them next waits forever.
"""

from __future__ import annotations

import time
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar, copy_context
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from cop_zarr import system

T = TypeVar("T")
R = TypeVar("R")

MAX_THREADS = 256
"""Threads of the process, at most: those of four calls that each wait for 64 requests."""

MIN_POLL_SECONDS, MAX_POLL_SECONDS = 5e-5, 0.01
"""How often a call that ends early looks whether its threads have finished, at first and later."""

CANCEL_POLL_SECONDS = 0.1
"""How often what waits for long, such as a request, looks whether its call has ended early."""


class Cancelled(BaseException):
    """Raised in a thread whose call has ended early, by an interrupt or a failure elsewhere."""


class _Pool:
    """Threads that wait for work; more are started when more calls need them at once."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Start over: a forked child has none of its parent's threads."""
        self.tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.started = 0
        self.wanted = 0

    def reserve(self, count: int) -> None:
        """Have ``count`` more threads. Interrupts may leave more threads than are needed, never fewer."""
        self.wanted += count
        while self.started < min(self.wanted, MAX_THREADS):
            try:
                start_new_thread(_serve, (self.tasks,))
            except RuntimeError:  # too many threads, or the interpreter is ending: the caller works alone
                return
            self.started += 1

    def release(self, count: int) -> None:
        """Leave the threads to other calls."""
        self.wanted -= count


def _serve(tasks: SimpleQueue[Callable[[], None]]) -> None:
    while True:
        tasks.get()()


_pool = _Pool()

system.at_fork(after_in_child=_pool.clear)


class _Call(Generic[T, R]):
    """The items of one call, and their results."""

    def __init__(self, fn: Callable[[T], R], helpers: int) -> None:
        self.fn = fn
        self.outer = _current.get()
        self.closed = False
        self.context = copy_context()
        self.todo: deque[tuple[int, T]] = deque()
        self.ready: SimpleQueue[tuple[int, R | None, BaseException | None]] = SimpleQueue()
        self.helpers = helpers
        self.is_finished = False
        self.idle = deque(range(helpers))  # a token for each thread that may begin

    def add(self, number: int, item: T) -> None:
        """Add an item, and wake a thread for it unless enough are at work."""
        self.todo.append((number, item))
        if self.idle:
            _pool.tasks.put(self.help)

    def help(self) -> None:
        """Do items until none is left; called in threads of the pool."""
        try:
            token = self.idle.popleft()
        except IndexError:
            return
        try:
            self.context.copy().run(self._work)
        finally:
            self.idle.append(token)

    def _work(self) -> None:
        while (entry := self.take()) is not None:
            number, item = entry
            try:
                self.ready.put((number, self.do(item), None))
            except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
                self.ready.put((number, None, error))
                self.closed = True

    def do(self, item: T) -> R:
        """Do an item, in a context of its own that knows this call."""
        _current.set(self)
        return self.fn(item)

    def take(self) -> tuple[int, T] | None:
        """Claim the next item; None if there is none, or the call has ended."""
        try:
            return None if self.closed else self.todo.popleft()
        except IndexError:
            return None

    def next_result(self) -> tuple[int, R]:
        """A result that is ready; or else do an item in this thread; or else wait."""
        if self.ready.empty() and (entry := self.take()) is not None:
            number, item = entry
            try:
                return number, self.context.copy().run(self.do, item)
            except Cancelled:
                check_cancelled()  # otherwise another thread has failed, and its error is in the queue
        number, result, error = self.ready.get()
        if error is not None:
            raise error
        return number, result  # type: ignore[return-value]  # R may itself be optional

    def results(self, items: Iterable[T], ahead: int) -> Iterator[R]:
        """Add items, ``ahead`` at most before the next result, and yield the results in their order."""
        numbered, found = enumerate(items), dict[int, R]()
        taken = given = 0
        while True:
            while taken - given < ahead and (entry := next(numbered, None)) is not None:
                self.add(*entry)
                taken += 1
            if given == taken:
                self.is_finished = True
                return
            while given not in found:
                number, result = self.next_result()
                found[number] = result
            yield found.pop(given)
            given += 1

    def close(self) -> None:
        """Leave undone what has not begun, and wait for what has, cancelled where it can be."""
        self.closed = True
        self.todo.clear()
        pause = MIN_POLL_SECONDS
        while len(self.idle) < self.helpers:
            time.sleep(pause)  # SimpleQueue.get waits for ever if a signal comes when its timeout ends
            pause = min(2 * pause, MAX_POLL_SECONDS)


_current: ContextVar[_Call[Any, Any] | None] = ContextVar("cop_zarr_call", default=None)
"""The call that a thread of the pool works for."""


def check_cancelled() -> None:
    """Raise Cancelled if the call that this thread works for, or one around it, has ended early."""
    call = _current.get()
    while call is not None:
        if call.closed:
            raise Cancelled
        call = call.outer


def sleep(seconds: float) -> None:
    """Sleep, or raise Cancelled."""
    end = time.monotonic() + seconds
    check_cancelled()
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, CANCEL_POLL_SECONDS))
        check_cancelled()


def ordered_map(
    fn: Callable[[T], R], items: Iterable[T], *, workers: int, ahead: int | None = None
) -> Iterator[R]:
    """Apply a function to items in several threads, and yield the results in the order of the items.

    Parameters
    ----------
    fn : callable
        Called with one item, in any thread, in the caller's context (``contextvars``; so ``np.errstate``).
    items : iterable
        Consumed in the caller's thread, at most ``ahead`` items before the result that is yielded next.
    workers : int
        Items at work at once, at most; the caller's thread is one of them. With 1, no thread is used.
    ahead : int, optional
        By default ``2 * workers``.

    Raises
    ------
    Exception
        The first that ``fn`` raised. Items that have not begun are left undone; those that have are waited
        for, after a KeyboardInterrupt, too. Who stops iterating early has the same by closing the iterator.

    Examples
    --------
    >>> list(ordered_map(abs, [-3, 2, -1], workers=2))
    [3, 2, 1]
    """
    if workers <= 1:
        yield from map(fn, items)
        return
    ahead = 2 * workers if ahead is None else ahead
    call = _Call(fn, workers - 1)
    _pool.reserve(call.helpers)
    try:
        yield from call.results(items, ahead)  # a loop here would be left past the rest, as in lru_cache
    finally:
        if not call.is_finished:
            call.close()
        _pool.release(call.helpers)


class Background(Generic[R]):
    """A function called beside its caller, in a thread of the pool if one is free.

    Examples
    --------
    >>> task = Background(lambda: sum(range(10)))
    >>> task.result()
    45
    """

    def __init__(self, fn: Callable[[], R]) -> None:
        self._call: _Call[None, R] = _Call(lambda _: fn(), 1)
        self._found: list[tuple[R | None, BaseException | None]] = []
        _pool.reserve(1)
        self._call.add(0, None)

    def done(self) -> bool:
        """Whether :meth:`result` would answer at once."""
        return bool(self._found) or not self._call.ready.empty()

    def result(self) -> R:
        """What the function returned, or raise what it raised; called here if no thread has begun it."""
        if not self._found:
            try:
                self._found.append((self._call.next_result()[1], None))
            except Exception as error:
                self._found.append((None, error))
                raise
        value, failure = self._found[0]
        if failure is not None:
            raise failure
        return value  # type: ignore[return-value]  # R may itself be optional

    def close(self) -> None:
        """Wait for the function if it has begun; otherwise it is not called."""
        self._call.close()
        _pool.release(1)
