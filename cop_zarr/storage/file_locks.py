"""Exclusive locks on files, which end with their process, however it ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from cop_zarr import system
from cop_zarr.errors import StoreBusyError
from cop_zarr.storage.files import disk_errors


@contextlib.contextmanager
def file_lock(path: Path, busy: str) -> Iterator[None]:
    """Hold the lock of a file that is created for this, and removed afterwards.

    Raises StoreBusyError with the message ``busy`` if another holds it, StorageError if it cannot be taken.
    """
    with disk_errors(f"cannot create {path}"):
        descriptor = os.open(path, system.LOCK_FLAGS, 0o644)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, descriptor)
        with disk_errors(f"cannot lock {path}"):
            locked = try_lock(descriptor) and _is_in_place(descriptor, path)
        if not locked:
            raise StoreBusyError(busy)
        stack.pop_all()
        stack.callback(system.close_and_remove, descriptor, path)
        yield


def try_lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; return False if another has locked it."""
    from filelock import lock_descriptor  # takes as long to import as a store takes to open

    return lock_descriptor(descriptor, blocking=False)


def _is_in_place(descriptor: int, path: Path) -> bool:
    try:
        return system.is_open_file(descriptor, path)
    except FileNotFoundError:  # who held the lock has just removed it
        return False
