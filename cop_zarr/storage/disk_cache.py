"""Cache of remote objects on a local disk.

A cache folder may serve many processes and many stores at once::

    <cache_dir>/<identity of the store>.cop-zarr-cache/embedding.c.0.3.7

Objects are kept under the identity of their store (the SHA-256 of its ``zarr.json``), so that a store that
was replaced is never answered with objects of the old one. Readers check what they get: an object that a
crash or a disk has damaged counts as absent. Against forgery a checksum does not help, so the folder must
belong to its user alone (:mod:`cop_zarr.storage.private_folder`).

The size is accounted for approximately, without locks. A process sweeps the folder before it writes its
first object, and again whenever it has written :data:`SWEEP_SHARE` of the limit: it measures all objects
and deletes the least recently used if they leave no room for what it may write until its next sweep.
The cache may therefore exceed its limit by 5 % of the limit per process that writes to it, and by the
objects that are being written at that moment.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import logging
import shlex
import time
from pathlib import Path
from typing import Self

from cop_zarr.errors import InputError, StorageError
from cop_zarr.storage.names import PARTIAL_SUFFIX, SMALL_BYTES
from cop_zarr.storage.private_folder import NotPrivateError, PrivateFolder, check_shareable
from cop_zarr.storage.urls import expanded

CACHE_DISK_BYTES = 4 << 30
"""Default limit of a cache: four stores of the whole globe."""

SWEEP_SHARE = 0.05
"""Share of the limit that a process writes between two sweeps."""

EVICT_TO = 0.9
"""Share of the limit that a sweep of a full cache leaves."""

SUFFIX = ".cop-zarr-cache"
"""Ending of the names of our folders. Nothing else in a cache folder is ever touched."""

ABANDONED_SECONDS = 3600
"""Age at which half-written files, left by processes that were killed, are deleted."""

_LEFT_OUT = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT})
"""Why a folder cannot be made that is no mistake of the caller's: queries then do without a cache."""

logger = logging.getLogger(__name__)

_bytes_since_sweep: dict[Path, int] = {}
"""What this process has written to each cache folder. Threads may lose an update; a sweep measures anew."""


class DiskCache:
    """The objects of one store in a cache folder. Safe to share between threads and processes.

    ``limit`` is in bytes, for all stores in the folder; ``identity`` names this store's part of it. If the
    disk is full or cannot be written, a warning is logged once, and nothing more is kept. Raises InputError
    if the limit is not positive or the folder not this user's alone, StorageError if it cannot be one.
    """

    def __init__(self, folder: Path, limit: int, identity: str) -> None:
        if limit < 1:
            raise InputError(f"cache_disk_bytes must be at least 1; got {limit}")
        self._folder, self._limit = expanded(folder).absolute(), limit
        self._keeps = True
        self._create(identity)

    def part(self, identity: str) -> Self:
        """Another part of the same folder; it keeps nothing if this one has given up."""
        other = copy.copy(self)
        other._create(identity)  # noqa: SLF001  # of a copy of this cache
        return other

    def _create(self, identity: str) -> None:
        """Make the folder of a store's objects, unless it is there."""
        self._own = PrivateFolder(self._folder / f"{identity}{SUFFIX}")
        try:
            self._folder.mkdir(0o700, parents=True, exist_ok=True)
            check_shareable(self._folder.stat(), str(self._folder))
            self._own.create()
        except NotPrivateError as error:
            raise InputError(
                f"cache_dir {error.filename} cannot be trusted: {error.strerror}, and who may write to a "
                "cache may forge answers. Name a folder of your own, such as ~/.cache/cop-zarr, or remove "
                f"this one, or, if you trust what is in it: chmod -R go-w {shlex.quote(error.filename)}"
            ) from error
        except OSError as error:
            if error.errno not in _LEFT_OUT:
                raise StorageError(
                    f"cannot keep a cache in {self._folder}: {error.strerror}; name a folder of your own"
                ) from error
            self._give_up(error)

    def get(self, key: str, limit: int = SMALL_BYTES) -> bytes | None:
        """Return an object, or its first ``limit`` bytes, or None. It may be damaged."""
        try:
            return self._own.read(_name(key), limit)
        except OSError:
            return None

    def put(self, key: str, data: bytes) -> None:
        """Keep an object; the least recently used are deleted first."""
        if len(data) > self._limit or not self._keeps:
            return
        try:
            self._make_room(len(data))
            try:
                self._own.replace(_name(key), data)
            except FileNotFoundError:  # somebody has cleared the cache
                self._own.create()
                self._own.replace(_name(key), data)
        except OSError as error:
            self._give_up(error)

    def drop(self, key: str) -> None:
        """Forget an object."""
        with contextlib.suppress(OSError):
            self._own.remove(_name(key))

    def _give_up(self, error: OSError) -> None:
        """Keep nothing more; warn the first time."""
        if self._keeps:
            self._keeps = False
            logger.warning("nothing is kept in the cache %s: %s", self._folder, error.strerror)

    def _make_room(self, size: int) -> None:
        """Count an object that is about to be written, and sweep if this process has written enough."""
        period = int(self._limit * SWEEP_SHARE)
        written = _bytes_since_sweep.get(self._folder, period) + size
        if written <= period:
            _bytes_since_sweep[self._folder] = written
            return
        _bytes_since_sweep[self._folder] = 0  # before the sweep, so that no other thread sweeps, too
        self._sweep(self._limit - size - period, int(self._limit * EVICT_TO) - size)

    def _sweep(self, full: int, target: int) -> None:
        """Delete the least recently used objects down to ``target`` bytes if there are more than ``full``.

        Other processes may write and sweep at the same time: what has gone meanwhile is passed over.
        """
        files = self._files()
        total = sum(size for _, size, _, _ in files)
        if total <= full:
            return
        for _, size, name, store in sorted(files, key=lambda file: file[:3]):
            if total <= target:
                break
            with contextlib.suppress(OSError):
                store.remove(name)
                total -= size

    def _files(self) -> list[tuple[int, int, str, PrivateFolder]]:
        """Time of last use, size, name and folder of every object; abandoned files are deleted."""
        files = []
        abandoned = time.time() - ABANDONED_SECONDS
        for store in map(PrivateFolder, self._folder.glob(f"*{SUFFIX}")):
            with contextlib.suppress(OSError):  # a link, another user's
                for name, found in store.files():
                    if not name.endswith(PARTIAL_SUFFIX):
                        files.append((found.st_mtime_ns, found.st_size, name, store))
                    elif found.st_mtime < abandoned:
                        store.remove(name)
        return files


def _name(key: str) -> str:
    return key.replace("/", ".")
