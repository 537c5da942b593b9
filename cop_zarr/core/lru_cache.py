"""What is still in memory: decoded chunks and their totals, within so many bytes.

The least recently used go first. One lock serves all caches, because what is done under it takes less than
a microsecond; it is taken for every fork, so that no child begins with a lock that a thread of its parent
holds.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from cop_zarr.errors import InputError

CACHE_BYTES = 256 << 20
"""What an open store keeps unless told otherwise: 1,365 chunks of 768 bands, a fifth of all land."""

ENTRY_BYTES = 512
"""What an entry takes beside its arrays: key, objects, a share of the dictionary; to be added to them."""

_LOCK = threading.RLock()  # a signal's handler may ask, too, in the midst of it

if hasattr(os, "register_at_fork"):  # where there is a fork
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


class LRUCache:
    """Values of known size, the least recently used of which are dropped. Safe to use from threads.

    A pickle of it is empty, and of the same capacity.

    Parameters
    ----------
    capacity : int
        Bytes that the values may take together. One that is larger by itself is not kept.

    Raises
    ------
    InputError
        If the capacity is no whole number of bytes.
    """

    def __init__(self, capacity: int) -> None:
        if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 0:
            raise InputError(f"cache_bytes must be a whole number of bytes, or 0; got {capacity!r}")
        self.capacity = capacity
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def __reduce__(self) -> tuple[type[LRUCache], tuple[int]]:
        return LRUCache, (self.capacity,)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    @property
    def nbytes(self) -> int:
        """What the values take now."""
        return self._bytes

    def get(self, key: Hashable) -> Any | None:
        """A value, which thereby is the most recently used; None if it is not here."""
        if key not in self._values:
            return None
        with _LOCK:
            found = self._values.get(key)
            if found is None:
                return None
            self._values.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, value: Any, nbytes: int) -> None:
        """Keep a value of a size, and drop others until all fit."""
        if nbytes > self.capacity:
            return
        with _LOCK:
            before = self._values.pop(key, None)
            self._bytes += nbytes - (before[1] if before else 0)
            self._values[key] = value, nbytes
            while self._bytes > self.capacity:
                _, (_, dropped) = self._values.popitem(last=False)
                self._bytes -= dropped
