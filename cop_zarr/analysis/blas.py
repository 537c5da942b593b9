"""Matrix products in threads of our own, each without threads of the BLAS library.

The library's threads would compete with those that decode chunks: the covariance of the globe took twice
the processor time. Results would also depend on how many of them there are.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MAX_WORKERS = 4
"""Products at once, at most: each holds a batch of cells."""

_LOCK = threading.RLock()
_users = 0
_limits: Any = None


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Have BLAS use one thread for each call of the process; the outermost of several users restores it."""
    _enter()
    try:
        yield
    finally:
        _leave()


def product_workers(workers: int) -> int:
    """How many products to compute at once, for somebody who allows so many threads."""
    return min(workers, os.cpu_count() or 1, MAX_WORKERS)


def _enter() -> None:
    from threadpoolctl import threadpool_limits  # which no query needs

    global _users, _limits  # noqa: PLW0603  # the library's setting is the process's, too
    with _LOCK:
        _users += 1
        if _limits is None:
            _limits = threadpool_limits(1, user_api="blas")


def _leave() -> None:
    global _users, _limits  # noqa: PLW0603
    with _LOCK:
        _users -= 1
        if not _users:
            _limits.restore_original_limits()
            _limits = None
