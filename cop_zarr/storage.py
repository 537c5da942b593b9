"""The one door to disks and object stores.

A :class:`Folder` is a place that holds objects under slash-separated keys. :func:`folder` opens one from a
path or any fsspec URL: a :class:`LocalFolder` speaks to the operating system itself (an object of 140 KB
is read in a fraction of the time that a general filesystem layer takes, and a folder can be renamed into
place), a :class:`RemoteFolder` goes through fsspec.

Messages and metadata show :func:`redact`-ed URLs only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from cop_zarr.errors import (
    InputError,
    MissingDependencyError,
    SourceNotFoundError,
    StorageError,
    StoreExistsError,
)

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

StorageOptions = Mapping[str, Any]
Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""

COPY_BYTES = 8 << 20
"""How much of a remote file is copied at a time."""

PARTIAL_SUFFIX = ".partial"

_CLIENT_ERRORS = (
    ("aiohttp", "ClientError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
)
"""Errors that fsspec's filesystems for HTTP, S3 and Google let through, and that are no OSError."""

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "http": "http", "https": "http"}
"""The extra of this package that installs what a URL's protocol needs."""


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


def redact(url: str) -> str:
    """Cut user name, password and query string out of a URL; a plain path stays as it is.

    Examples
    --------
    >>> redact("https://me:secret@example.org/a.zarr?X-Amz-Signature=abc")
    'https://example.org/a.zarr'
    """
    if "://" not in url:
        return url
    *chain, last = url.split("::")
    try:
        parts = urlsplit(last)
    except ValueError:  # an address that is none, such as https://[x
        return f"{url.partition('://')[0]}://…"
    host = parts.netloc.rpartition("@")[2]
    return "::".join([*chain, urlunsplit((parts.scheme, host, parts.path, "", ""))])


def local_path(url: str) -> Path | None:
    """The path that a plain path or a ``file://`` URL names; None for any other URL."""
    if url.startswith(("file://", "local://")):
        return Path(url.partition("://")[2])
    return None if "://" in url or "::" in url else Path(url)


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
    path = local_path(url)
    if path is not None:
        return LocalFolder(path)
    if "?" in url and url.startswith(("http://", "https://")):
        raise InputError(
            "a store has many objects, and one signature or token in its URL cannot be that of each: leave "
            f"out what follows {redact(url)}, and pass storage_options={{'headers': …}} instead"
        )
    fs, root = _filesystem(url, storage_options)
    return RemoteFolder(fs, root, redact(url))


class LocalFolder:
    """A folder on a disk."""

    def __init__(self, path: Path) -> None:
        self._url = str(path)
        self._root = path.absolute()  # it stays this place when the working directory changes
        self._made: set[Path] = set()  # folders known to exist, so that each is made once

    @property
    def url(self) -> str:
        """The path as it was given."""
        return self._url

    def read(self, key: str) -> bytes:
        """Read a whole object."""
        try:
            # A text, not a Path: joining one takes 3 µs, a fifth of what reading the file takes.
            with open(f"{self._root}/{key}", "rb", buffering=0) as file:  # noqa: PTH123
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(f"{self._root}/{key}") from None
        except OSError as error:
            raise StorageError(f"cannot read {self._root}/{key}: {error.strerror}") from error

    def write(self, key: str, data: bytes) -> None:
        """Write a whole object."""
        path = self._root / key
        try:
            if path.parent not in self._made:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._made.add(path.parent)
            path.write_bytes(data)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}") from error

    def listing(self) -> Iterator[str]:
        """List every object's key."""
        for parent, _, names in os.walk(self._root):
            for name in names:
                yield Path(parent, name).relative_to(self._root).as_posix()

    def names(self) -> list[str]:
        """List the names directly inside."""
        try:
            return sorted(path.name for path in self._root.iterdir())
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            raise StorageError(f"{self._root} is not a folder, so it holds no store") from None
        except OSError as error:
            raise StorageError(f"cannot list {self._root}: {error.strerror}") from error

    @contextlib.contextmanager
    def staged(self) -> Iterator[Folder]:
        """Write into ``<name>.partial`` beside this folder, and rename it when it is whole."""
        final = self._root.resolve()
        partial = final.with_name(final.name + PARTIAL_SUFFIX)
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            partial.mkdir()
        except FileExistsError as error:
            raise StoreExistsError(
                f"{partial} exists: another ingest is writing there, or one was killed. If none is "
                f"running, remove it and start again: rm -r '{partial}'"
            ) from error
        except OSError as error:
            raise StorageError(f"cannot create {partial}: {error.strerror}") from error
        try:
            yield LocalFolder(partial)
            _replace(partial, final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


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
    def staged(self) -> Iterator[Folder]:
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
                with contextlib.suppress(FileNotFoundError, StorageError):
                    self._remove(key)
            raise

    def _remove(self, key: str) -> None:
        try:
            self._fs.rm_file(f"{self._root}/{key}")
        except FileNotFoundError:
            raise
        except _transport_errors() as error:
            raise StorageError(f"cannot remove {self._url}/{key}: {_kind(error)}") from error


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
    fs, remote = _filesystem(url, storage_options)
    try:
        size = fs.size(remote) or 0
        with fs.open(remote, "rb", block_size=COPY_BYTES) as source, path.open("ab") as target:
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


def _transport_errors() -> tuple[type[Exception], ...]:
    """What a failing connection raises: OSError, and what the clients that fsspec has imported raise."""
    loaded = [(sys.modules.get(module), name) for module, name in _CLIENT_ERRORS]
    return OSError, *(getattr(module, name) for module, name in loaded if module)


def _kind(error: Exception) -> str:
    """An error's type and HTTP status; its text may hold a signed URL or a key."""
    status = getattr(error, "status", None)
    return type(error).__name__ if status is None else f"{type(error).__name__}, status {status}"


def _replace(partial: Path, final: Path) -> None:
    """Move a finished folder to its name; one that is there is moved aside, then removed."""
    try:
        if not final.exists():
            partial.rename(final)
            return
        aside = Path(tempfile.mkdtemp(prefix=f"{final.name}.old-", dir=final.parent))
        final.rename(aside)  # onto an empty folder, whose name is nobody else's
        try:
            partial.rename(final)
        except OSError:
            aside.rename(final)
            raise
        shutil.rmtree(aside)
    except OSError as error:
        raise StorageError(f"cannot move {partial} to {final}: {error.strerror}") from error


def _filesystem(url: str, storage_options: StorageOptions | None) -> tuple[AbstractFileSystem, str]:
    from fsspec.core import url_to_fs  # 0.05 s to import, and local stores do not need it

    protocol = url.partition("::")[0].partition("://")[0]
    try:
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
