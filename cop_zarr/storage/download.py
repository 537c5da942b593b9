"""Copies of remote files."""

from __future__ import annotations

import fcntl
import time
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from cop_zarr.core.progress import Progress
from cop_zarr.errors import InputError, SourceNotFoundError, StorageError
from cop_zarr.storage.filesystems import StorageOptions, filesystem
from cop_zarr.storage.retries import (
    TIMEOUT_SECONDS,
    asked_pause,
    failure,
    is_transient,
    kind,
    pauses,
    status_of,
    transport_errors,
)
from cop_zarr.storage.urls import redact

COPY_BYTES = 8 << 20
"""How much of a remote file is copied at a time."""


class _CutShortError(OSError):
    """A file ended before its size."""


def fetch(
    url: str,
    path: Path,
    storage_options: StorageOptions | None = None,
    progress: Progress | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> None:
    """Copy a remote file to a path; if a part of it is there already, only the rest is asked for.

    A connection that breaks is taken up again. What has arrived stays when the copy fails, so that the
    next call goes on there.

    Parameters
    ----------
    url, storage_options
        The file, and what its fsspec filesystem is told.
    path : Path
        Where to.
    progress : callable, optional
        Called with the bytes copied and the bytes in all.
    timeout : float
        It is given up when nothing has come for so many seconds.

    Raises
    ------
    SourceNotFoundError
        If there is no such file.
    StorageError
        If it cannot be read, ends early, or the disk cannot take it.
    """
    what = f"cannot copy {redact(url)} to {path}"
    if not path.parent.is_dir():
        raise StorageError(f"{what}: there is no folder {path.parent}")
    end, waits, most = time.monotonic() + timeout, pauses(), _bytes_of(path)
    while True:
        try:
            return _copy(url, path, storage_options, progress, timeout)
        except InputError:
            raise
        except StorageError as error:
            raise StorageError(f"{what}: {error}") from None
        except transport_errors() as error:
            # fsspec says "not found" of any failure to learn a file's size over HTTP
            fault = error.__cause__ if isinstance(error, FileNotFoundError) else error
            if not isinstance(fault, transport_errors()) or status_of(fault) == HTTPStatus.NOT_FOUND:
                raise SourceNotFoundError(f"there is no file {redact(url)}") from None
            if _bytes_of(path) > most:
                end, waits, most = time.monotonic() + timeout, pauses(), _bytes_of(path)
            wait = max(next(waits), asked_pause(fault))
            passing = is_transient(fault) or isinstance(fault, _CutShortError)
            if not passing or time.monotonic() + wait >= end:
                raise _told(what, fault) from None
        time.sleep(wait)


def _told(what: str, fault: BaseException) -> StorageError:
    """The error to raise: in the words of this disk and of this module, but of no client."""
    if isinstance(fault, _CutShortError):
        return StorageError(f"{what}: {fault}")
    if isinstance(fault, OSError) and type(fault).__module__ == "builtins" and fault.__cause__ is None:
        return StorageError(f"{what}: {fault.strerror or kind(fault)}")
    return failure(what, fault)


def _copy(
    url: str, path: Path, storage_options: StorageOptions | None, progress: Progress | None, timeout: float
) -> None:
    fs, remote = filesystem(url, storage_options, timeout)
    size = fs.size(remote) or 0
    with fs.open(remote, "rb", block_size=COPY_BYTES) as source, path.open("ab") as target:
        _claim(target)
        try:
            source.seek(target.tell())
            usable = target.tell() <= size
        except ValueError:  # the server knows no ranges, and sends all of it again
            usable = False
        if not usable:
            target.truncate(0)
            target.seek(0)
        while piece := source.read(COPY_BYTES):
            target.write(piece)
            if progress:
                progress(target.tell(), size)
        if target.tell() < size:
            raise _CutShortError(f"it ended after {target.tell():,} of {size:,} bytes")


def _claim(file: BinaryIO) -> None:
    """Have a file to oneself until it is closed; two processes must not both append to it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StorageError("another process is copying into it; wait for that to end") from None


def _bytes_of(path: Path) -> int:
    """Size of a file; 0 if it is not there."""
    return path.stat().st_size if path.exists() else 0
