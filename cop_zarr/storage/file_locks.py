"""Exclusive locks on files, which end with their process, however it ends."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from cop_zarr import system
from cop_zarr.errors import StoreBusyError
from cop_zarr.storage.files import disk_errors
from cop_zarr.storage.locks import Lock

NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""What a disk answers that has no file locks, as Lustre and some NFS."""

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def file_lock(path: Path, busy: str, substitute: Callable[[], Lock]) -> Iterator[None]:
    """Hold the lock of a file that is created for this, and removed afterwards.

    Where the disk has no such locks, ``substitute`` takes another. Raises StoreBusyError with the message
    ``busy`` if another holds it, StorageError if it cannot be taken.
    """
    with disk_errors(f"cannot create {path}"):
        descriptor = os.open(path, system.LOCK_FLAGS, 0o644)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, descriptor)
        with disk_errors(f"cannot lock {path}"):
            try:
                locked = try_lock(descriptor) and _is_in_place(descriptor, path)
                lock = None
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                _say_once(path.parent)
                locked, lock = True, substitute()
        if not locked:
            raise StoreBusyError(busy)
        stack.pop_all()
        stack.callback(system.close_and_remove, descriptor, path)
        if lock:
            stack.callback(lock.release)
        yield


@cache
def _say_once(folder: Path) -> None:
    logger.warning("%s is on a disk without file locks; a lock file is used, which a kill leaves", folder)


def try_lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; return False if another has locked it."""
    from filelock import lock_descriptor  # takes as long to import as a store takes to open

    return lock_descriptor(descriptor, blocking=False)


def _is_in_place(descriptor: int, path: Path) -> bool:
    try:
        return system.is_open_file(descriptor, path)
    except FileNotFoundError:  # who held the lock has just removed it
        return False
