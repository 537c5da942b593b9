"""Copy remote files to a disk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

from cop_zarr.core.progress import Progress
from cop_zarr.errors import InputError, SourceNotFoundError, StorageError
from cop_zarr.storage.file_locks import NO_LOCKS, try_lock
from cop_zarr.storage.files import disk_errors, temporary_folder
from cop_zarr.storage.filesystems import StorageOptions, open_filesystem, unknown_option
from cop_zarr.storage.line import Attempt, line_to
from cop_zarr.storage.retries import TIMEOUT_SECONDS, with_retries
from cop_zarr.storage.transport_errors import TruncatedError, http_status, is_transient, transport_errors
from cop_zarr.storage.urls import local_path, redact

COPY_BYTES = 8 << 20
"""Bytes copied at a time."""


def fetch(
    url: str,
    path: Path,
    storage_options: StorageOptions | None = None,
    progress: Progress | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> None:
    """Copy a remote file to a path, resuming after what is there already.

    A broken connection is opened again; the copy fails if nothing has arrived for ``timeout`` seconds. What
    has arrived stays, so that the next call resumes there.

    Raises SourceNotFoundError if there is no such file, StorageError if it cannot be read or written.
    """
    what = f"cannot copy {redact(url)} to {path}"
    fs, remote = open_filesystem(url, storage_options, timeout)
    line = line_to(fs, remote)
    try:
        size = with_retries(lambda _: _size(fs, remote), what, timeout, line)
        with disk_errors(what), path.open("ab") as target:
            if not _may_write(target.fileno()):
                raise StorageError(f"{what}: another process is copying into it; wait for that")

            def copy(_: Attempt) -> bool:
                return _copy(fs, remote, target, size, progress)

            while not with_retries(copy, what, timeout, line):
                pass  # something has arrived: pauses and timeout begin anew
    except FileNotFoundError:
        raise SourceNotFoundError(f"there is no file {redact(url)}") from None
    except (TypeError, LookupError, AttributeError) as error:
        raise InputError(f"{what} with these source_options{unknown_option(error)}") from None


def _may_write(descriptor: int) -> bool:
    """Lock a file; where the disk has no locks, two at once are found by the digest of what they wrote."""
    try:
        return try_lock(descriptor)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return True


@contextlib.contextmanager
def local_file(
    url: str,
    storage_options: StorageOptions | None = None,
    progress: Progress | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> Iterator[Path]:
    """Yield the path of a file; a remote one is copied to a temporary file first, as :func:`fetch` does.

    Reading a GeoTIFF's tiles over a network and hashing it would transfer it twice. Whether a local file
    exists is not checked.
    """
    path = local_path(url)
    if path is not None:
        yield path
        return
    with temporary_folder() as scratch:
        copy = scratch / "source.tif"
        fetch(url, copy, storage_options, progress, timeout)
        yield copy


def _size(fs: Any, remote: str) -> int:
    """Return a file's size; 0 if the server does not tell."""
    with _unwrapped_errors():
        return fs.size(remote) or 0


def _copy(fs: Any, remote: str, target: BinaryIO, size: int, progress: Progress | None) -> bool:
    """Copy the rest of a file; return False if the connection broke after some of it arrived."""
    before = target.tell()
    try:
        _copy_rest(fs, remote, target, size, progress)
    except transport_errors() as error:
        if target.tell() > before and is_transient(error):
            return False
        raise
    return True


def _copy_rest(fs: Any, remote: str, target: BinaryIO, size: int, progress: Progress | None) -> None:
    with _unwrapped_errors(), fs.open(remote, "rb", block_size=COPY_BYTES) as source:
        try:
            source.seek(target.tell())
            resumable = target.tell() <= size
        except ValueError:  # the server does not support ranges, and sends the whole file again
            resumable = False
        if not resumable:
            target.truncate(0)
            target.seek(0)
        while data := source.read(COPY_BYTES):
            with disk_errors(f"cannot write {target.name}"):
                target.write(data)
            if progress:
                progress(target.tell(), size)
        if target.tell() < size:
            raise TruncatedError


@contextlib.contextmanager
def _unwrapped_errors() -> Iterator[None]:
    """Raise the cause of a FileNotFoundError: fsspec calls any failure to learn a size so over HTTP."""
    try:
        yield
    except FileNotFoundError as error:
        cause = error.__cause__
        if isinstance(cause, transport_errors()) and http_status(cause) != HTTPStatus.NOT_FOUND:
            raise cause from cause.__cause__  # which says more, such as that there is no such host
        raise
