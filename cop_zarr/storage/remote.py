"""A folder wherever fsspec reaches."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from cop_zarr.errors import InputError, StorageError
from cop_zarr.storage.filesystems import (
    READ_ONLY,
    REQUESTS_AT_ONCE,
    StorageOptions,
    filesystem,
    protocol_of,
    what_option,
)
from cop_zarr.storage.leases import Lease
from cop_zarr.storage.names import LOCK, SMALL_BYTES, WORK
from cop_zarr.storage.retries import failure, status_of, transport_errors, with_retries
from cop_zarr.storage.urls import redact

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")


class RemoteFolder:
    """A folder on an object store, in memory, or wherever else fsspec reaches.

    Safe to use from several threads at once, after a fork, and in other processes that it is pickled to.
    """

    remote = True
    _set_up: bool

    def __init__(self, url: str, storage_options: StorageOptions | None, timeout: float) -> None:
        self._address, self._options, self._timeout = url, storage_options, timeout
        self._lease: Lease | None = None
        self._connect()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fs": None, "_process": None, "_lease": None}

    @property
    def url(self) -> str:
        """The URL without credentials and query string."""
        return redact(self._address)

    def read(self, key: str, limit: int = SMALL_BYTES) -> bytes:
        """Read an object, or its first ``limit`` bytes."""

        def get(fs: AbstractFileSystem, path: str, seconds: float) -> bytes:
            if "http" in fs.protocol:
                return bytes(_await(fs, _body, seconds, fs, path, limit))
            try:
                return bytes(_call(fs, "cat_file", seconds, path, start=0, end=limit))
            except transport_errors() as error:
                if status_of(error) == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    return b""  # an object without any bytes has no first one
                raise

        return self._ask("cannot read", key, get)

    def write(self, key: str, data: bytes) -> None:
        """Write a whole object, or nothing of it."""
        self._check_lease()
        self._put(key, data)

    replace = write

    def create(self, key: str, data: bytes) -> None:
        """Write an object unless there is one, as far as the object store can tell."""
        self._put(key, data, mode="create")

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are gone already."""
        self._check_lease()

        def delete(key: str) -> None:
            with contextlib.suppress(FileNotFoundError):
                self._ask("cannot remove", key, lambda fs, path, left: _call(fs, "rm_file", left, path))

        with ThreadPoolExecutor(REQUESTS_AT_ONCE, "cop-zarr-remove") as pool:
            list(pool.map(delete, keys))

    def listing(self) -> dict[str, int] | None:
        """Every object's key and size; None if the place cannot be listed, as over HTTP."""
        if "http" in self._here().protocol:
            return None

        def find(fs: AbstractFileSystem, path: str, seconds: float) -> dict[str, dict[str, Any]]:
            fs.invalidate_cache()
            return dict(_call(fs, "find", seconds * _LISTING_PATIENCE, path.rstrip("/"), detail=True))

        try:
            found = self._ask("cannot list", "", find)
        except FileNotFoundError:
            return {}
        prefix = f"{self._root}/"
        return {
            path.removeprefix(prefix): int(each["size"] or 0)
            for path, each in found.items()
            if each["size"] or not path.endswith("/")  # the mark of a folder, as consoles make it
        }

    def names(self) -> list[str]:
        """List the names directly inside; none if the place cannot be listed."""
        if "http" in self._here().protocol:
            return []

        def ls(fs: AbstractFileSystem, path: str, seconds: float) -> list[str]:
            fs.invalidate_cache()
            return list(_call(fs, "ls", seconds, path.rstrip("/"), detail=False))

        try:
            found = self._ask("cannot list", "", ls)
        except FileNotFoundError:
            return []
        names = {path.rstrip("/").removeprefix(self._root).strip("/") for path in found}
        return sorted(names - {""})

    def flush(self, keys: Iterable[str]) -> None:
        """Nothing is left to do: an object store has what it said it has."""

    @property
    def staging(self) -> RemoteFolder:
        """The place itself: object stores cannot rename a folder."""
        return self

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Have the place to oneself."""
        self.check_writable()
        self._lease = lease = Lease(self, LOCK)
        try:
            yield
        finally:
            self._lease = None
            with contextlib.suppress(StorageError):  # it is gone, or goes stale
                lease.release()

    def publish(self, *, replace: bool) -> None:
        """Nothing is left to do: what is staged is in its place."""

    def sweep(self) -> None:
        """Remove what an ingest needed for itself."""
        self.remove(key for key in self.listing() or () if key.startswith(WORK) and key != LOCK)

    def check_writable(self) -> None:
        """Refuse a place that nobody can write to.

        Raises
        ------
        InputError
            If it is one.
        """
        protocol = protocol_of(self._address)
        if protocol in READ_ONLY:
            raise InputError(f"{self.url} cannot be written: {protocol}:// places can only be read")

    def _check_lease(self) -> None:
        """Refuse to go on where somebody else is at work now."""
        if self._lease:
            self._lease.check()

    def _put(self, key: str, data: bytes, **options: str) -> None:
        def put(fs: AbstractFileSystem, path: str, seconds: float) -> None:
            with contextlib.suppress(FileExistsError):  # "create" is content with that
                _call(fs, "pipe_file", seconds, path, data, **options)

        try:
            self._ask("cannot write", key, put)
        except FileNotFoundError:
            raise StorageError(f"cannot write {self.url}/{key}: there is no such bucket") from None

    def _ask(self, what: str, key: str, request: Callable[[AbstractFileSystem, str, float], T]) -> T:
        """Make a request of the filesystem, as often as it takes."""
        place = f"{self.url}/{key}" if key else self.url
        try:
            fs = self._ready()
            return with_retries(
                lambda seconds: request(fs, f"{self._root}/{key}", seconds),
                f"{what} {place}",
                self._timeout,
            )
        except FileNotFoundError:
            raise FileNotFoundError(place) from None
        except (TypeError, LookupError, AttributeError) as error:
            raise InputError(f"{what} {place} with these storage_options{what_option(error)}") from None
        except FileExistsError:  # gcsfs's word for status 412
            raise StorageError(f"{what} {place}: status 412") from None
        except NotImplementedError:
            raise StorageError(f"{what} {place}: its filesystem does not know how") from None

    def _here(self) -> AbstractFileSystem:
        """The filesystem of this process: after a fork, the parent's would wait for a thread for ever."""
        if self._process != os.getpid():
            self._connect()
        return self._fs

    def _ready(self) -> AbstractFileSystem:
        """The filesystem, its client set up: that takes time of its own, and not from that of a request."""
        fs = self._here()
        if not self._set_up:
            self._set_up = True
            if hasattr(fs, "set_session"):
                try:
                    _await(fs, fs.set_session, self._timeout)
                except transport_errors() as error:
                    raise failure(f"cannot open {self.url}", error) from None
        return fs

    def _connect(self) -> None:
        self._fs, root = filesystem(self._address, self._options, self._timeout)
        self._root = root.rstrip("/")
        self._process: int | None = os.getpid()
        self._set_up = False


_LISTING_PATIENCE = 1.5
"""A listing is many requests: a try may take half of the timeout."""


def _call(fs: AbstractFileSystem, method: str, seconds: float, *args: Any, **options: Any) -> Any:
    """Call a filesystem's method; one that waits for a network gets so many seconds."""
    if getattr(fs, "async_impl", False):
        return _await(fs, getattr(fs, f"_{method}"), seconds, *args, **options)
    return getattr(fs, method)(*args, **options)


def _await(fs: AbstractFileSystem, coroutine: Any, seconds: float, *args: Any, **options: Any) -> Any:
    from fsspec.asyn import sync

    return sync(fs.loop, coroutine, *args, timeout=seconds, **options)


async def _body(fs: Any, url: str, limit: int) -> bytes:
    """The first ``limit`` bytes of what a web server answers, however much more it sends."""
    session = await fs.set_session()
    async with session.get(fs.encode_url(url), **fs.kwargs) as response:
        if response.status == HTTPStatus.NOT_FOUND:
            raise FileNotFoundError
        response.raise_for_status()
        data = bytearray()
        async for piece in response.content.iter_any():
            data += piece
            if len(data) > limit:
                break
        return bytes(data[:limit])
