"""LRU cache bounded in bytes: decoded chunks, and what whole chunks were pooled to.

One lock serves all caches, because an operation takes less than a microsecond. It is held during a fork, so
that no child starts with a lock that a thread of its parent holds.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Any

from cop_zarr import system
from cop_zarr.errors import InputError

CACHE_BYTES = 256 << 20
"""Default capacity of an open store's cache: 1,365 chunks of 768 bands, a fifth of all land."""

ENTRY_BYTES = 512
"""Estimated size of an entry beside its arrays (key, objects, dictionary slot); callers add it."""

_LOCK = threading.RLock()  # reentrant: a signal handler may interrupt its holder and use a cache, too

system.at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


class LRUCache:
    """Values of known size; the least recently used are dropped. Thread-safe, and whole after an interrupt.

    All values together take at most ``capacity`` bytes; a single larger one is not kept. A pickle of it is
    empty and has the same capacity.
    """

    def __init__(self, capacity: int) -> None:
        if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 0:
            raise InputError(f"cache_bytes must be a whole number of bytes, or 0; got {capacity!r}")
        self.capacity = capacity
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._total: int | None = 0
        """Bytes of all values; None while they change, so that an interrupt has them counted again."""

    def __reduce__(self) -> tuple[type[LRUCache], tuple[int]]:
        return LRUCache, (self.capacity,)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def count_absent(self, keys: Iterable[Hashable]) -> int:
        """How many of some keys are absent."""
        return sum([key not in self._values for key in keys])

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        with _LOCK:
            return self._counted()

    def get(self, key: Hashable) -> Any | None:
        """Return a value and mark it as the most recently used; None if it is absent."""
        if key not in self._values:
            return None
        with _LOCK:
            entry = self._values.get(key)
            if entry is None:
                return None
            self._values.move_to_end(key)
            return entry[0]

    def put(self, key: Hashable, value: Any, nbytes: int) -> None:
        """Keep a value of ``nbytes`` bytes, and drop the least recently used until all fit."""
        if nbytes <= self.capacity:
            with _LOCK:  # and no loop: from its jump back, Python 3.13 would let an interrupt keep the lock
                self._put(key, value, nbytes)

    def _put(self, key: Hashable, value: Any, nbytes: int) -> None:
        total = self._counted() + nbytes
        self._total = None
        previous = self._values.pop(key, None)
        if previous is not None:
            total -= previous[1]
        self._values[key] = value, nbytes
        while total > self.capacity:
            _, (_, dropped) = self._values.popitem(last=False)
            total -= dropped
        self._total = total

    def _counted(self) -> int:
        if self._total is None:
            self._total = sum(size for _, size in self._values.values())
        return self._total
