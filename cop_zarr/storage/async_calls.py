"""Call the asynchronous clients of object stores from threads, so that an interrupt ends the request."""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from cop_zarr.core.threads import CANCEL_POLL_SECONDS, check_cancelled

if TYPE_CHECKING:
    import asyncio  # 0.04 s to import, and local stores do not need it

T = TypeVar("T")


def run_async(loop: asyncio.AbstractEventLoop, call: Callable[[], Awaitable[T]]) -> T:
    """Await what ``call`` returns in a client's event loop, which runs in another thread.

    It is cancelled there if this thread is interrupted, or if the work that this thread does a share of has
    ended early. (fsspec's own ``sync`` leaves it running, and has nobody notice for a second.) An interrupt
    can leave nothing locked that others need: the lock is this call's. ``SimpleQueue.get`` would not do: if
    a signal comes when its timeout ends, it waits without one (CPython 3.11).
    """
    answers: list[tuple[Any, BaseException | None]] = []
    unanswered = allocate_lock()
    unanswered.acquire()
    tasks: list[asyncio.Task[None]] = []

    async def work() -> None:
        try:
            answers.append((await call(), None))
        except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
            answers.append((None, error))
        unanswered.release()

    def start() -> None:
        tasks.append(loop.create_task(work()))

    def cancel() -> None:
        for task in tasks:
            task.cancel()

    try:
        loop.call_soon_threadsafe(start)
        while not unanswered.acquire(timeout=CANCEL_POLL_SECONDS):
            check_cancelled()
    except BaseException:
        loop.call_soon_threadsafe(cancel)
        raise
    result, error = answers[0]
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]  # what the coroutine returned
