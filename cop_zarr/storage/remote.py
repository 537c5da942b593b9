"""A folder wherever fsspec reaches, and copies of remote files."""

from __future__ import annotations

import contextlib
import fcntl
import sys
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from cop_zarr.errors import InputError, MissingDependencyError, SourceNotFoundError, StorageError
from cop_zarr.storage.urls import redact

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

StorageOptions = Mapping[str, Any]
Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""

COPY_BYTES = 8 << 20
"""How much of a remote file is copied at a time."""

_CLIENT_ERRORS = (
    ("aiohttp", "ClientError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("httpx", "HTTPError"),
    ("httpx2", "HTTPError"),
)
"""Errors that filesystems for HTTP, S3, Google and Hugging Face let through, and that are no OSError."""

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "http": "http", "https": "http"}
"""The extra of this package that installs what a URL's protocol needs."""


class RemoteFolder:
    """A folder on an object store, in memory, or wherever else fsspec reaches."""

    def __init__(self, fs: AbstractFileSystem, root: str, url: str) -> None:
        self._fs = fs
        self._root = root.rstrip("/")
        self._url = url
        self._written: list[str] = []

    @property
    def url(self) -> str:
        """The URL without credentials and query string."""
        return self._url

    def read(self, key: str) -> bytes:
        """Read a whole object."""
        try:
            return bytes(self._fs.cat_file(f"{self._root}/{key}"))
        except FileNotFoundError:
            raise FileNotFoundError(f"{self._url}/{key}") from None
        except _transport_errors() as error:
            raise StorageError(f"cannot read {self._url}/{key}: {_kind(error)}") from error

    def write(self, key: str, data: bytes) -> None:
        """Write a whole object."""
        self._written.append(key)
        try:
            self._fs.pipe_file(f"{self._root}/{key}", data)
        except _transport_errors() as error:
            raise StorageError(f"cannot write {self._url}/{key}: {_kind(error)}") from error

    def listing(self) -> Iterator[str]:
        """List every object's key."""
        prefix = f"{self._root}/"
        try:
            found = self._fs.find(self._root)
        except FileNotFoundError:
            return
        except _transport_errors() as error:
            raise StorageError(f"cannot list {self._url}: {_kind(error)}") from error
        yield from (path.removeprefix(prefix) for path in found)

    def names(self) -> list[str]:
        """List the names directly inside."""
        return sorted({key.partition("/")[0] for key in self.listing()})

    @contextlib.contextmanager
    def staged(self) -> Iterator[RemoteFolder]:
        """Write in place: object stores cannot rename a folder.

        What was here is removed first, its ``zarr.json`` before anything else. Until the writer adds a
        new one, which it does last, nothing here opens as a store. After an exception, what was written
        is removed, and nothing else is touched.
        """
        for key in sorted(self.listing(), key=lambda key: key != "zarr.json"):
            self._remove(key)
        self._written.clear()
        try:
            yield self
        except BaseException:
            for key in self._written:
                with contextlib.suppress(FileNotFoundError, StorageError, NotImplementedError):
                    self._remove(key)
            raise

    def _remove(self, key: str) -> None:
        try:
            self._fs.rm_file(f"{self._root}/{key}")
        except FileNotFoundError:
            raise
        except _transport_errors() as error:
            raise StorageError(f"cannot remove {self._url}/{key}: {_kind(error)}") from error


def fetch(
    url: str,
    path: Path,
    storage_options: StorageOptions | None = None,
    progress: Progress | None = None,
) -> None:
    """Copy a remote file to a path; if a part of it is there already, only the rest is asked for.

    What has arrived stays when the copy fails, so that the next call goes on there.

    Raises
    ------
    SourceNotFoundError
        If there is no such file.
    StorageError
        If it cannot be read, ends early, or the disk cannot take it.
    """
    fs, remote = filesystem(url, storage_options)
    try:
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
                raise StorageError(f"it ended after {target.tell():,} of {size:,} bytes")
    except FileNotFoundError as error:
        cause = error.__cause__  # fsspec says "not found" of any failure to learn a file's size over HTTP
        if (
            isinstance(cause, _transport_errors())
            and getattr(cause, "status", None) != HTTPStatus.NOT_FOUND
        ):
            raise StorageError(f"cannot copy {redact(url)} to {path}: {_kind(cause)}") from error
        raise SourceNotFoundError(f"there is no file {redact(url)}") from None
    except _transport_errors() as error:
        known = str(error) if isinstance(error, StorageError) else getattr(error, "strerror", None)
        raise StorageError(f"cannot copy {redact(url)} to {path}: {known or _kind(error)}") from error


def _claim(file: BinaryIO) -> None:
    """Have a file to oneself until it is closed; two processes must not both append to it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StorageError("another process is copying into it; wait for that to end") from None


def filesystem(url: str, storage_options: StorageOptions | None) -> tuple[AbstractFileSystem, str]:
    """Open the filesystem of a URL, and find the path in it."""
    from fsspec.core import url_to_fs  # 0.05 s to import, and local stores do not need it

    protocol = url.partition("::")[0].partition("://")[0]
    try:
        urlsplit(url.rpartition("::")[2])  # refuses an address that is none, such as https://[x
        fs, path = url_to_fs(url, **(storage_options or {}))
    except ImportError as error:
        extra = EXTRAS.get(protocol)
        advice = f'pip install "cop-zarr[{extra}]"' if extra else str(error)
        raise MissingDependencyError(
            f"{protocol}:// URLs need a package that is not installed: {advice}"
        ) from error
    except ValueError as error:
        raise InputError(f"cannot open {redact(url)}: {error}") from error
    except OSError as error:  # a chained URL, such as that of a ZIP file, is read to open it
        raise StorageError(f"cannot open {redact(url)}: {_kind(error)}") from error
    return fs, path


def _transport_errors() -> tuple[type[Exception], ...]:
    """What a failing connection raises: OSError, and what the clients that fsspec has imported raise."""
    loaded = [(sys.modules.get(module), name) for module, name in _CLIENT_ERRORS]
    return OSError, *(getattr(module, name) for module, name in loaded if module)


def _kind(error: Exception) -> str:
    """An error's type and HTTP status; its text may hold a signed URL or a key."""
    status = getattr(error, "status", None)
    return type(error).__name__ if status is None else f"{type(error).__name__}, status {status}"
