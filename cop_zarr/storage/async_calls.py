"""Call the asynchronous clients of object stores from threads, so that an interrupt ends the request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from cop_zarr.core.threads import CANCEL_POLL_SECONDS, check_cancelled

if TYPE_CHECKING:
    import asyncio  # 0.04 s to import, and local stores do not need it

T = TypeVar("T")


def run_async(loop: asyncio.AbstractEventLoop, call: Callable[[], Awaitable[T]]) -> T:
    """Await what ``call`` returns in a client's event loop, which runs in another thread.

    It is cancelled there if this thread is interrupted, or if the work that this thread does a share of has
    ended early. (fsspec's own ``sync`` leaves it running, and has nobody notice for a second.) As in
    :mod:`cop_zarr.core.threads`, nothing is shared that an interrupt could leave locked.
    """
    answer: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
    tasks: list[asyncio.Task[None]] = []

    async def work() -> None:
        try:
            answer.put((await call(), None))
        except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
            answer.put((None, error))

    def start() -> None:
        tasks.append(loop.create_task(work()))

    def cancel() -> None:
        for task in tasks:
            task.cancel()

    try:
        loop.call_soon_threadsafe(start)
        while True:
            try:
                result, error = answer.get(timeout=CANCEL_POLL_SECONDS)
                break
            except Empty:
                check_cancelled()
    except BaseException:
        loop.call_soon_threadsafe(cancel)
        raise
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]  # what the coroutine returned
