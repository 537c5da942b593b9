"""A folder on an object store, or wherever else fsspec reaches."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from cop_zarr.core.threads import ordered_map
from cop_zarr.errors import InputError, StorageError
from cop_zarr.storage.async_calls import run_async
from cop_zarr.storage.filesystems import (
    READ_ONLY,
    REQUESTS_AT_ONCE,
    StorageOptions,
    open_filesystem,
    protocol_of,
    unknown_option,
)
from cop_zarr.storage.leases import Lease
from cop_zarr.storage.line import Attempt, line_to
from cop_zarr.storage.names import LOCK, SMALL_BYTES, WORK
from cop_zarr.storage.retries import with_retries
from cop_zarr.storage.transport_errors import http_status, to_storage_error, transport_errors
from cop_zarr.storage.urls import redact
from cop_zarr.storage.web_file import WebFile

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")

ENDING_SECONDS = 0.5
"""Time for a request that gives back a lock after an interrupt."""


class RemoteFolder:
    """A folder that fsspec reaches; see :class:`cop_zarr.storage.Folder`.

    Safe to use from several threads at once, after a fork, and in other processes that it is pickled to.
    """

    remote = True
    _client_ready: bool

    def __init__(self, url: str, storage_options: StorageOptions | None, timeout: float) -> None:
        self._address, self._options, self._timeout = url, storage_options, timeout
        self.url = redact(url)
        self._lease: Lease | None = None
        self._ending = False
        """Whether a lock is given back after an interrupt, for which nobody waits long."""
        self._open()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fs": None, "_line": None, "_process": None, "_lease": None}

    def read(self, key: str, limit: int = SMALL_BYTES) -> bytes:
        """Read an object, or its first ``limit`` bytes."""
        return self._read(key, limit, WebFile(limit))

    def read_range(self, key: str, start: int, count: int) -> bytes:
        """Read a part of an object, shorter where the object ends."""
        return self._read(key, count, WebFile(count, start), start)

    def _read(self, key: str, limit: int, file: WebFile, start: int = 0) -> bytes:
        def get(fs: AbstractFileSystem, path: str, attempt: Attempt) -> bytes:
            if "http" in fs.protocol:
                return self._run(fs, attempt, lambda: file.read(fs, path, attempt))
            try:
                return bytes(self._call(fs, "cat_file", attempt, path, start=start, end=start + limit))
            except transport_errors() as error:
                if http_status(error) == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    return b""  # an empty object has no first byte
                raise

        return self._request("cannot read", key, get)

    def size(self, key: str) -> int:
        """Return the number of bytes of an object."""
        if "http" in self._filesystem().protocol:
            file = WebFile(1, 0)
            self._read(key, 1, file)
            return file.size or 0
        info = self._request(
            "cannot read", key, lambda fs, path, attempt: self._call(fs, "info", attempt, path)
        )
        return int(info["size"])

    def write(self, key: str, data: bytes) -> None:
        """Write a whole object, or nothing of it."""
        self._check_lease()
        self._put(key, data)

    replace = write

    def create(self, key: str, data: bytes) -> None:
        """Write an object unless there is one; on servers without conditional writes, replace it."""
        self._put(key, data, mode="create")

    def make_room(self, key: str) -> None:
        """Do nothing: an object store has neither folders nor links."""

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects."""
        self._check_lease()

        def delete(key: str) -> None:
            with contextlib.suppress(FileNotFoundError):
                self._request(
                    "cannot remove", key, lambda fs, path, attempt: self._call(fs, "rm_file", attempt, path)
                )

        for _ in ordered_map(delete, keys, workers=REQUESTS_AT_ONCE):
            pass

    def listing(self) -> dict[str, int] | None:
        """Return every object's key and size; None over HTTP, which cannot list."""
        found = self._list("find", detail=True)
        if found is None:
            return None
        prefix = f"{self._root}/"
        return {
            path.removeprefix(prefix): int(each["size"] or 0)
            for path, each in found.items()
            if each["size"] or not path.endswith("/")  # the mark of a folder, as consoles create it
        }

    def names(self) -> list[str]:
        """List the names directly inside; none over HTTP."""
        found = self._list("ls", detail=False) or ()
        names = {path.rstrip("/").removeprefix(self._root).strip("/") for path in found}
        return sorted(names - {""})

    def _list(self, method: str, *, detail: bool) -> Any:
        """Call one of fsspec's methods that list; None over HTTP, empty if there is nothing."""
        if "http" in self._filesystem().protocol:
            return None

        def send(fs: AbstractFileSystem, path: str, attempt: Attempt) -> Any:
            fs.invalidate_cache()
            return self._call(fs, method, attempt, path.rstrip("/"), detail=detail)

        try:
            return self._request("cannot list", "", send)
        except FileNotFoundError:
            return {}

    def flush(self, keys: Iterable[str]) -> None:
        """Do nothing: an object store acknowledges a write when it is durable."""

    @property
    def staging(self) -> RemoteFolder:
        """The folder itself: object stores cannot rename a folder."""
        return self

    work = staging

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold a lease of the folder."""
        self.check_writable()
        self._lease = lease = Lease(self, LOCK)
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            self._ending = True
            raise
        finally:
            self._lease = None
            with contextlib.suppress(StorageError):  # a lease that cannot be removed becomes stale
                lease.release()
            self._ending = False

    def publish(self, *, replace: bool) -> None:
        """Do nothing: what is staged is in its final place."""

    def remove_work(self, is_ours: Callable[[str], bool]) -> None:  # noqa: ARG002  # a disk's folders do
        """Remove what an ingest needed for itself."""
        self.remove(key for key in self.listing() or () if key.startswith(WORK) and key != LOCK)

    def check_writable(self) -> None:
        """Raise InputError for a protocol that can only be read."""
        protocol = protocol_of(self._address)
        if protocol in READ_ONLY:
            raise InputError(f"{self.url} cannot be written: {protocol}:// URLs can only be read")

    def _check_lease(self) -> None:
        if self._lease:
            self._lease.check()

    def _put(self, key: str, data: bytes, **options: str) -> None:
        def put(fs: AbstractFileSystem, path: str, attempt: Attempt) -> None:
            with contextlib.suppress(FileExistsError):  # raised by mode="create"
                self._call(fs, "pipe_file", attempt, path, data, **options)

        try:
            self._request("cannot write", key, put)
        except FileNotFoundError:
            raise StorageError(f"cannot write {self.url}/{key}: there is no such bucket") from None

    def _request(self, what: str, key: str, send: Callable[[AbstractFileSystem, str, Attempt], T]) -> T:
        """Send a request with retries, and raise what it fails with as errors of ours."""
        place = f"{self.url}/{key}" if key else self.url

        def take_turn(attempt: Attempt) -> T:
            with turn:
                return send(fs, f"{self._root}/{key}" if key else self._root, attempt)

        try:
            fs = self._connected_filesystem()
            turn = getattr(fs, "turn", contextlib.nullcontext())
            return with_retries(take_turn, f"{what} {place}", self._patience, self._line)
        except FileNotFoundError:
            raise FileNotFoundError(place) from None
        except (TypeError, LookupError, AttributeError) as error:
            raise InputError(f"{what} {place} with these storage_options{unknown_option(error)}") from None
        except FileExistsError:  # gcsfs's name for status 412
            raise StorageError(f"{what} {place}: status 412") from None
        except NotImplementedError:
            raise StorageError(f"{what} {place}: its filesystem does not support this") from None

    def _call(
        self, fs: AbstractFileSystem, method: str, attempt: Attempt, *args: Any, **options: Any
    ) -> Any:
        """Call a filesystem's method."""
        if not getattr(fs, "async_impl", False):
            return getattr(fs, method)(*args, **options)
        return self._run(fs, attempt, lambda: getattr(fs, f"_{method}")(*args, **options))

    def _run(
        self,
        fs: AbstractFileSystem,
        attempt: Attempt,
        request: Callable[[], Coroutine[Any, Any, T]],
        seconds: float | None = None,
    ) -> T:
        """Await a request; one of a client that cannot tell silence gets a time for the whole of it."""
        import asyncio

        if self._ending or not fs.tells_silence:
            seconds = self._patience
        return run_async(
            fs.loop, lambda: self._line.carry(attempt, lambda: asyncio.wait_for(request(), seconds))
        )

    @property
    def _patience(self) -> float:
        return min(self._timeout, ENDING_SECONDS) if self._ending else self._timeout

    def _filesystem(self) -> AbstractFileSystem:
        """Return this process's filesystem: after a fork, the parent's would wait for a thread for ever."""
        if self._process != os.getpid():
            self._open()
        return self._fs

    def _connected_filesystem(self) -> AbstractFileSystem:
        """Set up the client first: that takes time, which is not to be taken from a request's."""
        fs = self._filesystem()
        if not self._client_ready:
            self._client_ready = True
            if hasattr(fs, "set_session"):
                try:
                    self._run(fs, Attempt(self._timeout), fs.set_session, self._timeout)
                except transport_errors() as error:
                    raise to_storage_error(f"cannot open {self.url}", error) from None
        return fs

    def _open(self) -> None:
        self._fs, root = open_filesystem(self._address, self._options, self._timeout)
        self._root = root.rstrip("/")
        self._line = line_to(self._fs, self._root)
        self._process: int | None = os.getpid()
        self._client_ready = False
