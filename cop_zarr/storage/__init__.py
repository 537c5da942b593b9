"""Disks and object stores, with one interface.

A :class:`Folder` is a place that holds objects under slash-separated keys. :func:`folder` opens one from a
path or any fsspec URL: a :class:`LocalFolder` speaks to the operating system itself (an object of 140 KB
is read in a fraction of the time that a general filesystem layer takes, and a folder can be renamed into
place), a :class:`RemoteFolder` goes through fsspec.

Messages and metadata show :func:`redact`-ed URLs only.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from cop_zarr.core.progress import Progress
from cop_zarr.errors import InputError
from cop_zarr.storage.disk_cache import CACHE_DISK_BYTES, DiskCache
from cop_zarr.storage.download import fetch
from cop_zarr.storage.filesystems import REQUESTS_AT_ONCE, StorageOptions
from cop_zarr.storage.local import LocalFolder, check_absent, file_stamp, replacing
from cop_zarr.storage.names import JOB, LOCK, PARTIAL_SUFFIX, REPLACED, SMALL_BYTES, WORK
from cop_zarr.storage.remote import RemoteFolder
from cop_zarr.storage.retries import TIMEOUT_SECONDS, checked_timeout
from cop_zarr.storage.urls import local_path, redact

__all__ = [
    "CACHE_DISK_BYTES",
    "JOB",
    "LOCK",
    "PARTIAL_SUFFIX",
    "REPLACED",
    "REQUESTS_AT_ONCE",
    "SMALL_BYTES",
    "TIMEOUT_SECONDS",
    "WORK",
    "DiskCache",
    "Folder",
    "LocalFolder",
    "RemoteFolder",
    "StorageOptions",
    "check_absent",
    "fetch",
    "file_stamp",
    "folder",
    "local_file",
    "local_path",
    "redact",
    "replacing",
]


class Folder(Protocol):
    """A place that holds objects under keys such as ``embedding/c/0/3/7``.

    A store is written in :attr:`staging` while the place is :meth:`claimed`, then :meth:`publish` ed.
    """

    @property
    def remote(self) -> bool:
        """Whether reading is waiting for a network, so that many requests at once pay."""

    @property
    def url(self) -> str:
        """The place, for people: credentials and query string cut out."""

    def read(self, key: str, limit: int = SMALL_BYTES) -> bytes:
        """Read an object, or its first ``limit`` bytes if it has more: no more memory is taken.

        Raises FileNotFoundError if it is absent, AccessError if it may not be read, StorageError if it
        cannot be.
        """

    def write(self, key: str, data: bytes) -> None:
        """Write a whole object; raises StorageError."""

    def replace(self, key: str, data: bytes) -> None:
        """Write an object that others may be reading, and have it reach the disk."""

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are gone already."""

    def listing(self) -> dict[str, int] | None:
        """Every object's key and size in bytes; None if the place cannot be listed."""

    def names(self) -> list[str]:
        """List the names directly inside, sorted; empty if the place does not exist."""

    def flush(self, keys: Iterable[str]) -> None:
        """Have objects that were written reach the disk."""

    @property
    def staging(self) -> Folder:
        """Where a new content of this place is written."""

    def claimed(self) -> contextlib.AbstractContextManager[None]:
        """Have the place to oneself while a new content is written; raises StoreBusyError."""

    def publish(self, *, replace: bool) -> None:
        """Have what is staged appear here; raises StoreExistsError if something else has, meanwhile."""

    def sweep(self) -> None:
        """Remove what an ingest needed for itself."""

    def check_writable(self) -> None:
        """Raise InputError or StorageError if a store cannot be written here."""


def folder(
    url: str, storage_options: StorageOptions | None = None, timeout: float = TIMEOUT_SECONDS
) -> Folder:
    """Open the place that a path or an fsspec URL names. Nothing is read, and it need not exist.

    Parameters
    ----------
    url : str
        The place.
    storage_options : mapping, optional
        Passed to the URL's filesystem.
    timeout : float
        Seconds that one object may take, tries and pauses together, over a network.

    Raises
    ------
    InputError
        If the URL's protocol is unknown, the URL has a query string, or the timeout is none.
    MissingDependencyError
        If the protocol needs a package that is not installed.
    StorageError
        If the URL is that of a place within a file, such as a ZIP file, and that cannot be read.
    """
    if not url:
        raise InputError("the place of a store is an empty text; name a path or a URL")
    seconds = checked_timeout(timeout)
    path = local_path(url)
    if path is not None:
        return LocalFolder(path)
    if "?" in url and url.startswith(("http://", "https://")):
        raise InputError(
            "a store has many objects, and one signature or token in its URL cannot be that of each: leave "
            f"out what follows {redact(url)}, and pass storage_options={{'headers': …}} instead"
        )
    return RemoteFolder(url, storage_options, seconds)


@contextlib.contextmanager
def local_file(
    url: str,
    storage_options: StorageOptions | None = None,
    progress: Progress | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> Iterator[Path]:
    """Give the path of a file; one that is not on a disk is copied to a temporary file first.

    Reading a GeoTIFF's tiles over a network and hashing it would move it twice, so it is moved once.
    A path is not looked at.

    Raises
    ------
    SourceNotFoundError, StorageError
        As :func:`fetch`.
    """
    path = local_path(url)
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="cop-zarr-") as scratch:
        copy = Path(scratch, "source.tif")
        fetch(url, copy, storage_options, progress, timeout)
        yield copy
