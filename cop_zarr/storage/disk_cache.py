"""Objects of remote stores, kept on a disk.

A cache folder may serve many processes and many stores at once::

    <cache_dir>/<identity of the store>.cop-zarr-cache/embedding.c.0.3.7
    <cache_dir>/size        bytes in all, locked while it changes

An object lies under the identity of its store (the SHA-256 of its ``zarr.json``), so that a store that
has been replaced is never answered from the old one's. Who reads an object checks it all the same: one that
a crash or a disk has damaged counts as absent.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from cop_zarr.errors import InputError, StorageError
from cop_zarr.storage.local import LocalFolder
from cop_zarr.storage.names import PARTIAL_SUFFIX, SMALL_BYTES

CACHE_DISK_BYTES = 4 << 30
"""Size of a cache unless told otherwise: four stores of the whole globe."""

EVICT_TO = 0.9
"""What is left of a full cache, so that it is not full again at once."""

SIZE = "size"

LOCK_TRIES = 200
"""How often the lock of a cache is tried for, every 10 ms; without it, an object is just not kept."""

OURS = ".cop-zarr-cache"
"""What the names of our folders and half-written files end in; nothing else there is ever touched."""

logger = logging.getLogger(__name__)


class DiskCache:
    """The objects of one store in a cache folder. Safe to share between threads and processes.

    Parameters
    ----------
    folder : Path
        The cache folder; it is made if need be.
    limit : int
        Bytes that all of it may take.
    identity : str
        What the store is known by.

    Raises
    ------
    InputError
        If the limit is no positive number.
    StorageError
        If the folder cannot be written.
    """

    def __init__(self, folder: Path, limit: int, identity: str) -> None:
        if limit < 1:
            raise InputError(f"cache_disk_bytes must be at least 1; got {limit}")
        self._folder, self._limit = folder.expanduser().absolute(), limit
        self._own = self._folder / f"{identity}{OURS}"
        try:
            self._own.mkdir(parents=True, exist_ok=True)
            (self._folder / SIZE).touch()
        except OSError as error:
            raise StorageError(f"cannot keep a cache in {folder}: {error.strerror}") from error

    def get(self, key: str, limit: int = SMALL_BYTES) -> bytes | None:
        """An object, or its first ``limit`` bytes, or None. It may be damaged."""
        path = self._path(key)
        try:
            data = LocalFolder(self._own).read(path.name, limit)
            os.utime(path)  # the least recently used go first
        except OSError:
            return None
        return data

    def put(self, key: str, data: bytes) -> None:
        """Keep an object; the oldest make room for it. A disk that cannot take it is no failure."""
        if len(data) > self._limit:
            return
        partial = self._folder / f"{uuid.uuid4().hex}{OURS}{PARTIAL_SUFFIX}"
        try:
            partial.write_bytes(data)
            with self._locked() as size:
                old = self._path(key).stat().st_size if self._path(key).exists() else 0
                total = self._size(size) + len(data) - old
                if total > self._limit:
                    total = self._evict(int(self._limit * EVICT_TO) - len(data)) + len(data)
                os.pwrite(
                    size, b"%20d" % total, 0
                )  # before the file: a kill may leave it too high, not too low
                self._own.mkdir(exist_ok=True)
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

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """The open size file, for one process and thread at a time."""
        size = os.open(self._folder / SIZE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            for _ in range(LOCK_TRIES):  # whoever holds it may have been stopped
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(size, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(0.01)
            else:
                raise OSError(errno.EAGAIN, "another process keeps it locked")
            yield size
        finally:
            os.close(size)

    def _size(self, size: int) -> int:
        """Bytes in all, as recorded; the whole limit if that makes no sense, so that they are counted."""
        try:
            found = int(os.pread(size, 20, 0))
        except ValueError:
            return self._limit
        return found if found >= 0 else self._limit

    def _evict(self, room: int) -> int:
        """Remove the objects not used for the longest time, down to ``room`` bytes; gives what is left."""
        kept = []
        stores = [own for own in self._folder.iterdir() if own.name.endswith(OURS)]
        for path in (path for own in stores if not own.is_symlink() for path in own.iterdir()):
            with contextlib.suppress(OSError):
                found = path.lstat()
                kept.append((found.st_mtime_ns, found.st_size, path))
        total = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total <= room:
                break
            path.unlink(missing_ok=True)
            total -= size
        for left in self._folder.iterdir():
            with contextlib.suppress(OSError):
                if (
                    left.name.endswith(f"{OURS}{PARTIAL_SUFFIX}")
                    and left.lstat().st_mtime < time.time() - ABANDONED_SECONDS
                ):
                    left.unlink()
        return total


ABANDONED_SECONDS = 3600
"""Half-written files of processes that were killed are removed after so long."""
