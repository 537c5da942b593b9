"""How does zarr-python see a folder? As a store that can only be read, through cop_zarr.storage.

So retries, deadlines, messages without credentials and survival of a fork are those of
:mod:`cop_zarr.storage`, for stores of other layouts, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, NoReturn

import numpy as np
import zarr
from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype

from cop_zarr.core.lru_cache import LRUCache
from cop_zarr.storage import Folder


class _Gate:
    """Lets any number read, and a fork wait until nobody does.

    zarr-python reads in an event loop and threads of its own; a child forked in the midst of that may find
    their locks held for ever.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers, self._closing = 0, False

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Read, or wait for a fork to be over."""
        with self._changed:
            self._changed.wait_for(lambda: not self._closing)
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Wait for all who read, and let no other begin."""
        self._changed.acquire()
        self._closing = True
        self._changed.wait_for(lambda: not self._readers)

    def open(self) -> None:
        """Let them read again."""
        self._closing = False
        self._changed.notify_all()
        self._changed.release()


_GATE = _Gate()

# Hooks before a fork run last come first: this one before that of cop_zarr.core.lru_cache, whose lock readers take.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_GATE.close, after_in_parent=_GATE.open, after_in_child=_GATE.open)


class ZarrFolder(Store):
    """A folder's objects, for zarr-python to read.

    Parameters
    ----------
    folder : Folder
        Where they lie.
    documents : mapping of str to bytes
        All metadata: none is read again, and none that is not here is looked for.
    limits : mapping of str to int
        By the name of an array, how many bytes an object of it may have; no more of it is read.
    shards : LRUCache
        Where objects are kept that are asked for in pieces: each is read as a whole, not once a piece.
    """

    def __init__(
        self, folder: Folder, documents: Mapping[str, bytes], limits: Mapping[str, int], shards: LRUCache
    ) -> None:
        super().__init__(read_only=True)
        self._folder, self._documents, self._limits, self._shards = folder, documents, limits, shards

    def __eq__(self, value: object) -> bool:
        return self is value

    __hash__ = None  # type: ignore[assignment]  # as Python has it beside __eq__

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read an object, or a part of it; None if it is absent."""
        name, _, place = key.partition("/")
        if key in self._documents:
            data: bytes | None = self._documents[key]
        elif name not in self._limits or place.startswith(".") or place == "zarr.json":
            return None
        else:
            data = await asyncio.to_thread(self._read, key, self._limits[name], byte_range is not None)
        if data is None:
            return None
        prototype = default_buffer_prototype() if prototype is None else prototype
        return prototype.buffer.from_bytes(_part(data, byte_range))

    def _read(self, key: str, limit: int, in_pieces: bool) -> bytes | None:
        if in_pieces and (kept := self._shards.get(key)) is not None:
            return bytes(kept)
        try:
            data = self._folder.read(key, limit)
        except FileNotFoundError:
            return None
        if in_pieces:
            self._shards.put(key, data, len(data))
        return data

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read parts of objects."""
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Whether there is an object."""
        return await self.get(key) is not None

    @property
    def supports_writes(self) -> bool:
        """It does not."""
        return False

    @property
    def supports_deletes(self) -> bool:
        """It does not."""
        return False

    @property
    def supports_listing(self) -> bool:
        """It does not: over HTTP, nothing can be listed."""
        return False

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse."""
        _refuse(key, value)

    async def delete(self, key: str) -> None:
        """Refuse."""
        _refuse(key)

    def list(self) -> AsyncIterator[str]:
        """Refuse."""
        _refuse()

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Refuse."""
        _refuse(prefix)

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Refuse."""
        _refuse(prefix)


def open_arrays(store: ZarrFolder, names: Iterable[str], version: int) -> dict[str, Any]:
    """Open arrays with zarr-python, each of which is read by indexing."""
    zarr_format: Any = version
    return {name: zarr.open_array(store, path=name, mode="r", zarr_format=zarr_format) for name in names}


def read(array: Any, selection: Any) -> np.ndarray:
    """Read a part of an array."""
    with _GATE.reading():
        return np.asarray(array[selection])


def _part(data: bytes, part: ByteRequest | None) -> bytes:
    """Cut out what was asked for."""
    match part:
        case RangeByteRequest():
            return data[part.start : part.end]
        case OffsetByteRequest():
            return data[part.offset :]
        case SuffixByteRequest():
            return data[-part.suffix :]
    return data


def _refuse(*_: object) -> NoReturn:
    raise NotImplementedError("a folder of another layout is read by the names that its metadata give")
