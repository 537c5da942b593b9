"""The one door to disks and object stores.

A :class:`Folder` is a place that holds objects under slash-separated keys. :func:`folder` opens one from a
path or any fsspec URL: a :class:`LocalFolder` speaks to the operating system itself (an object of 140 KB
is read in a fraction of the time that a general filesystem layer takes, and a folder can be renamed into
place), a :class:`RemoteFolder` goes through fsspec.

Messages and metadata show :func:`redact`-ed URLs only.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from cop_zarr.errors import InputError
from cop_zarr.storage.local import PARTIAL_SUFFIX, LocalFolder, refuse_existing, replacing
from cop_zarr.storage.remote import Progress, RemoteFolder, StorageOptions, fetch, filesystem
from cop_zarr.storage.urls import local_path, redact

__all__ = [
    "PARTIAL_SUFFIX",
    "Folder",
    "LocalFolder",
    "Progress",
    "RemoteFolder",
    "StorageOptions",
    "fetch",
    "folder",
    "local_file",
    "local_path",
    "redact",
    "refuse_existing",
    "replacing",
]


class Folder(Protocol):
    """A place that holds objects under keys such as ``embedding/c/0/3/7``."""

    @property
    def url(self) -> str:
        """The place, for people: credentials and query string cut out."""

    def read(self, key: str) -> bytes:
        """Read a whole object; raises FileNotFoundError if absent, StorageError if unreadable."""

    def write(self, key: str, data: bytes) -> None:
        """Write a whole object; raises StorageError."""

    def listing(self) -> Iterator[str]:
        """List every object's key, in no particular order."""

    def names(self) -> list[str]:
        """List the names directly inside, sorted; empty if the place does not exist."""

    def staged(self) -> contextlib.AbstractContextManager[Folder]:
        """Write a new content as a whole.

        What is written to the folder that the context gives appears here when the context is left,
        in place of what was here before; if it is left by an exception, nothing has happened.
        """


def folder(url: str, storage_options: StorageOptions | None = None) -> Folder:
    """Open the place that a path or an fsspec URL names. Nothing is read, and it need not exist.

    Raises
    ------
    InputError
        If the URL's protocol is unknown, or the URL has a query string.
    MissingDependencyError
        If the protocol needs a package that is not installed.
    StorageError
        If the URL is that of a place within a file, such as a ZIP file, and that cannot be read.
    """
    if not url:
        raise InputError("the place of a store is an empty text; name a path or a URL")
    path = local_path(url)
    if path is not None:
        return LocalFolder(path)
    if "?" in url and url.startswith(("http://", "https://")):
        raise InputError(
            "a store has many objects, and one signature or token in its URL cannot be that of each: leave "
            f"out what follows {redact(url)}, and pass storage_options={{'headers': …}} instead"
        )
    fs, root = filesystem(url, storage_options)
    return RemoteFolder(fs, root, redact(url))


@contextlib.contextmanager
def local_file(
    url: str, storage_options: StorageOptions | None = None, progress: Progress | None = None
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
        fetch(url, copy, storage_options, progress)
        yield copy
