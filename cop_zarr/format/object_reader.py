"""Read objects of a store, or parts of them, and check that they are as recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cop_zarr.core.threads import sleep
from cop_zarr.errors import DamageError, UnreachableError
from cop_zarr.format.codec import crc32c
from cop_zarr.format.document import ObjectRecord
from cop_zarr.storage import SMALL_BYTES, DiskCache, Folder

SHORT_PAUSES = (0.1, 0.5)
"""Seconds before a remote object that is shorter than recorded is read again: a server that announces no
length may have been cut off. One that stays short is damaged."""


class Part(NamedTuple):
    """Where a chunk is in a shard."""

    key: str
    offset: int


class ObjectReader:
    """Reads what a folder holds, from a disk cache if it is there, and checks it. Thread-safe.

    What is read has a name, an object's key or a chunk's, and a record: its length and CRC-32C.
    """

    def __init__(self, folder: Folder, cache: DiskCache | None = None) -> None:
        self._folder = folder
        self._cache = cache

    def read(
        self, name: str, record: ObjectRecord, max_bytes: int = SMALL_BYTES, part: Part | None = None
    ) -> bytes:
        """Read an object, or a part of one; DamageError if it is not what is recorded."""
        if record.length > max_bytes:
            raise DamageError(f"{record.length:,} bytes are recorded, more than it can have")
        data = self.cached(name, record)
        if data is None:
            if part is None:
                data = check(self.read_unchecked(name, record.length), record)
            else:
                data = self._read_part(part, record)
            self.keep(name, data)
        return data

    def cached(self, name: str, record: ObjectRecord) -> bytes | None:
        """What the disk cache holds, unless that is damaged."""
        if self._cache is None:
            return None
        data = self._cache.get(name, record.length + 1)
        if data is None:
            return None
        try:
            return check(data, record)
        except DamageError:
            self._cache.drop(name)
            return None

    def keep(self, name: str, data: bytes) -> None:
        """Keep what was read in the disk cache."""
        if self._cache is not None:
            self._cache.put(name, data)

    def read_unrecorded(self, key: str) -> bytes:
        """Read an object that nothing records, or what the disk cache has of it if no server answers.

        FileNotFoundError if there is none.
        """
        try:
            data = self._folder.read(key)
        except UnreachableError:
            if self._cache is None or (cached := self._cache.get(key)) is None:
                raise
            return cached
        if self._cache is not None and self._cache.get(key) != data:
            self._cache.put(key, data)
        return data

    def read_range(self, key: str, offset: int, count: int) -> bytes:
        """Read a range of an object, which is short only if the object is; DamageError if it is absent."""
        return self._until_long(lambda: self._folder.read_range(key, offset, count), count)

    def read_unchecked(self, key: str, length: int) -> bytes:
        """Read an object, at most one byte more than it should have; DamageError if it is absent."""
        return self._until_long(lambda: self._folder.read(key, length + 1), length)

    def _read_part(self, part: Part, record: ObjectRecord) -> bytes:
        try:
            return check(self.read_range(*part, record.length), record)
        except DamageError:
            if self._folder.remote:
                raise
            self._folder.forget(part.key)  # it may have been repaired since it was opened
            return check(self.read_range(*part, record.length), record)

    def _until_long(self, read: Callable[[], bytes], length: int) -> bytes:
        try:
            data = read()
            for pause in SHORT_PAUSES if self._folder.remote else ():
                if len(data) >= length:
                    break
                sleep(pause)
                data = read()
        except FileNotFoundError:
            raise DamageError("it is absent") from None
        return data


def check(data: bytes, record: ObjectRecord) -> bytes:
    """Return an object's bytes if they are as recorded."""
    if len(data) > record.length:
        raise DamageError(f"it has more than {record.length:,} bytes")
    if len(data) < record.length:
        raise DamageError(f"it has {len(data):,} bytes instead of {record.length:,}")
    if crc32c(data) != record.crc32c:
        raise DamageError("its CRC-32C is not the recorded one")
    return data
