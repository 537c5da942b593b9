"""Cache of remote objects on a local disk.

A cache folder may serve many processes and many stores at once::

    <cache_dir>/<identity of the store>.cop-zarr-cache/embedding.c.0.3.7

Objects are kept under the identity of their store (the SHA-256 of its ``zarr.json``), so that a store that
was replaced is never answered with objects of the old one. Readers check what they get: an object that a
crash or a disk has damaged counts as absent.

The size is accounted for approximately, without locks. A process sweeps the folder before it writes its
first object, and again whenever it has written :data:`SWEEP_SHARE` of the limit: it measures all objects
and deletes the least recently used if they leave no room for what it may write until its next sweep.
The cache may therefore exceed its limit by 5 % of the limit per process that writes to it, and by the
objects that are being written at that moment.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
import uuid
from pathlib import Path

from cop_zarr.errors import InputError, StorageError
from cop_zarr.storage.local import LocalFolder
from cop_zarr.storage.names import PARTIAL_SUFFIX, SMALL_BYTES
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

logger = logging.getLogger(__name__)

_bytes_since_sweep: dict[Path, int] = {}
"""What this process has written to each cache folder. Threads may lose an update; a sweep measures anew."""


class DiskCache:
    """The objects of one store in a cache folder. Safe to share between threads and processes.

    ``limit`` is in bytes, for all stores in the folder; ``identity`` names this store's part of it. Raises
    InputError if the limit is not positive, StorageError if the folder cannot be created.
    """

    def __init__(self, folder: Path, limit: int, identity: str) -> None:
        if limit < 1:
            raise InputError(f"cache_disk_bytes must be at least 1; got {limit}")
        self._folder, self._limit = expanded(folder).absolute(), limit
        self._own = self._folder / f"{identity}{SUFFIX}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot keep a cache in {folder}: {error.strerror}") from error

    def get(self, key: str, limit: int = SMALL_BYTES) -> bytes | None:
        """Return an object, or its first ``limit`` bytes, or None. It may be damaged."""
        path = self._path(key)
        try:
            data = LocalFolder(self._own).read(path.name, limit)
            os.utime(path)  # the least recently used are deleted first
        except OSError:
            return None
        return data

    def put(self, key: str, data: bytes) -> None:
        """Keep an object. If the disk is full or cannot be written, a warning is logged."""
        if len(data) > self._limit:
            return
        partial = self._own / f"{uuid.uuid4().hex}{PARTIAL_SUFFIX}"
        try:
            self._make_room(len(data))
            self._own.mkdir(exist_ok=True)
            partial.write_bytes(data)
            partial.replace(self._path(key))
        except OSError as error:
            logger.warning("cannot keep an object in the cache %s: %s", self._folder, error.strerror)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    def drop(self, key: str) -> None:
        """Forget an object."""
        with contextlib.suppress(OSError):
            self._path(key).unlink()

    def _path(self, key: str) -> Path:
        return self._own / key.replace("/", ".")

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
        total = sum(size for _, size, _ in files)
        if total <= full:
            return
        for _, size, path in sorted(files):
            if total <= target:
                break
            with contextlib.suppress(OSError):
                Path(path).unlink(missing_ok=True)
                total -= size

    def _files(self) -> list[tuple[int, int, str]]:
        """Time of last use, size and path of every object; abandoned half-written files are deleted."""
        files = []
        abandoned = time.time() - ABANDONED_SECONDS
        for store in self._folder.glob(f"*{SUFFIX}"):
            with contextlib.suppress(OSError), os.scandir(store) as entries:
                for entry in () if store.is_symlink() else entries:
                    with contextlib.suppress(OSError):
                        found = entry.stat(follow_symlinks=False)
                        if not entry.name.endswith(PARTIAL_SUFFIX):
                            files.append((found.st_mtime_ns, found.st_size, entry.path))
                        elif found.st_mtime < abandoned:
                            Path(entry.path).unlink()
        return files
