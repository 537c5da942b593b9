"""The way to one server: how many requests are sent at once, and when none is sent."""

from __future__ import annotations

import math
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from cop_zarr import system
from cop_zarr.core.threads import MAX_THREADS, sleep
from cop_zarr.storage.transport_errors import is_overload

if TYPE_CHECKING:
    import asyncio

    from fsspec import AbstractFileSystem

T = TypeVar("T")

SLOW_SHARE = 1 / 4
"""A try that takes longer than this share of the silence that is allowed has too many others beside it."""

MAX_ASKED_SECONDS = 3600
"""Longest pause that a server may ask for."""


@dataclass
class Attempt:
    """One try of a request."""

    silence: float
    """Seconds without a byte after which it is given up."""

    number: int = 0
    """How many tries of the request there were before."""

    began: float = field(default_factory=time.monotonic)
    """When it was sent, after it had waited for its turn."""

    kept: bool = False
    """Whether what it brought is kept for the next try."""


class Line:
    """The requests of this process to one server. Thread-safe.

    All of them are sent at once until one is slow: then half as many are, and one more after each that is
    quick. A request that failed goes before those that have not been sent: if a server is silent, its time
    is over soon, however many wait. Turns are given in the event loop's thread, which no interrupt reaches.
    """

    def __init__(self) -> None:
        self.heard = -math.inf
        """When the server last answered a request as asked."""
        self._answered = True  # since the last pause began
        self._not_before = -math.inf
        self._limit = math.inf
        self._lowered = -math.inf
        self._running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def answered(self) -> None:
        """Note that a request was answered as asked."""
        self.heard, self._answered = time.monotonic(), True

    @property
    def reached(self) -> bool:
        """Whether the server has ever answered."""
        return self.heard > -math.inf

    def wait(self) -> None:
        """Wait until a pause is over that the server has asked for; or raise Cancelled."""
        while (left := self._not_before - time.monotonic()) > 0:
            sleep(left)

    def pause(self, seconds: float) -> bool:
        """Have all threads wait; return whether this is a new pause, of which nobody was told yet."""
        end = time.monotonic() + seconds
        is_new = end > self._not_before + 1
        if is_new:
            self._not_before, self._answered = end, False
        return is_new

    def may_pause(self, seconds: float) -> bool:
        """Whether a pause that the server asks for is granted: not for long, and not if none has helped."""
        return seconds <= MAX_ASKED_SECONDS and (self._answered or self._not_before > time.monotonic())

    async def carry(self, attempt: Attempt, request: Callable[[], Awaitable[T]]) -> T:
        """Await a request when it is its turn, and learn from it how many the line carries."""
        await self._turn(attempt)
        attempt.began = time.monotonic()
        try:
            result = await request()
        except Exception as error:
            # what is silent while others are answered has too many beside it; otherwise the server is away
            busy = self.heard > attempt.began and self._share(attempt) > SLOW_SHARE
            if busy or is_overload(error):
                self._send_fewer(attempt)
            raise
        else:
            if self._share(attempt) > SLOW_SHARE:
                self._send_fewer(attempt)
            elif self._share(attempt) < SLOW_SHARE / 2:
                self._limit = self._limit + 1 if self._limit < MAX_THREADS else math.inf
            return result
        finally:
            self._running -= 1
            self._wake()

    def _share(self, attempt: Attempt) -> float:
        """Return how long a try has taken, as a share of the silence that is allowed."""
        return (time.monotonic() - attempt.began) / attempt.silence

    def _send_fewer(self, attempt: Attempt) -> None:
        """Halve the number of requests at once, unless this one was sent before it was last halved."""
        if attempt.began >= self._lowered:
            self._limit = max(1, min(self._limit, self._running) // 2)
            self._lowered = time.monotonic()

    async def _turn(self, attempt: Attempt) -> None:
        import asyncio

        line_up = self._waiting.appendleft if attempt.number else self._waiting.append
        while self._running >= self._limit:
            waiter = asyncio.get_running_loop().create_future()
            line_up(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                self._wake()  # somebody else, if it was this one's turn
                raise
        self._running += 1

    def _wake(self) -> None:
        free = self._limit - self._running
        while self._waiting and free > 0:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1


_lines: weakref.WeakValueDictionary[tuple[int, str], Line] = weakref.WeakValueDictionary()


def line_to(fs: AbstractFileSystem, root: str) -> Line:
    """Return the line that all folders share that one client reaches on one server, or in one bucket."""
    address = root.partition("://")[2] or root
    return _lines.setdefault((hash(fs), address.partition("/")[0]), Line())


system.at_fork(after_in_child=_lines.clear)  # the parent's turns do not end in the child
