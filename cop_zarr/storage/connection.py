"""The client of a server, and requests through it: with retries, cancelled where their call ends early."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from cop_zarr.errors import InputError, StorageError, StoreBusyError
from cop_zarr.storage.async_calls import run_async
from cop_zarr.storage.filesystems import (
    StorageOptions,
    open_filesystem,
    protocol_of,
    server_settings,
    unknown_option,
)
from cop_zarr.storage.line import Attempt, line_to
from cop_zarr.storage.retries import with_retries
from cop_zarr.storage.transport_errors import is_transport_error, to_storage_error
from cop_zarr.storage.urls import redact

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")

ENDING_SECONDS = 0.5
"""Time for a request that gives back a lock after an interrupt."""


class Connection:
    """A filesystem of fsspec for a folder on a server, and the requests to it.

    Safe to use from several threads at once, after a fork, and in other processes that it is pickled to.
    """

    _client_ready: bool

    def __init__(self, address: str, options: StorageOptions | None, timeout: float) -> None:
        self._address, self._options, self._timeout = address, options, timeout
        self.is_ending = False
        """Whether a lock is given back after an interrupt, for which nobody waits long."""
        self._open()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fs": None, "_line": None, "_process": None}

    @property
    def protocol(self) -> str:
        """The protocol of its URL."""
        return protocol_of(self._address)

    @property
    def is_http(self) -> bool:
        """Whether it is a web server, which knows no folders."""
        return "http" in self.filesystem().protocol

    def digest(self, url: str) -> str | None:
        """SHA-256 (hex) of a URL and of all that says where it is; None if the options hold objects."""
        asked = server_settings(self._options)
        return asked and hashlib.sha256(f"{url} {self._address} {asked}".encode()).hexdigest()

    def request(
        self, what: str, place: str, key: str, send: Callable[[AbstractFileSystem, str, Attempt], T]
    ) -> T:
        """Send a request with retries, and raise what it fails with as errors of ours.

        ``what`` failed, and the ``place``, are for messages; ``send`` is called with the object's path.
        """

        def take_turn(attempt: Attempt) -> T:
            with turn:
                return send(fs, f"{self.root}/{key}" if key else self.root, attempt)

        try:
            fs = self._connected_filesystem()
            turn = getattr(fs, "turn", contextlib.nullcontext())
            return with_retries(take_turn, f"{what} {place}", self._patience, self._line)
        except FileNotFoundError:
            raise FileNotFoundError(place) from None
        except (TypeError, LookupError, AttributeError) as error:
            raise InputError(f"{what} {place} with these storage_options{unknown_option(error)}") from None
        except StoreBusyError:  # the lock was lost
            raise
        except FileExistsError:  # gcsfs's name for status 412
            raise StorageError(f"{what} {place}: status 412") from None
        except NotImplementedError:
            raise StorageError(f"{what} {place}: its filesystem does not support this") from None

    def call(
        self,
        fs: AbstractFileSystem,
        method: str,
        attempt: Attempt,
        *args: Any,
        guard: Callable[[], None] | None = None,
        **options: Any,
    ) -> Any:
        """Call ``guard`` and a filesystem's method, when it is its turn."""
        is_async = getattr(fs, "async_impl", False)
        call = getattr(fs, f"_{method}" if is_async else method)

        def request() -> Any:
            if guard:
                guard()
            return call(*args, **options)

        return self.run(fs, attempt, request) if is_async else request()

    def run(
        self,
        fs: AbstractFileSystem,
        attempt: Attempt,
        request: Callable[[], Coroutine[Any, Any, T]],
        seconds: float | None = None,
    ) -> T:
        """Await a request; one of a client that cannot tell silence gets a time for the whole of it."""
        import asyncio

        if self.is_ending or not fs.tells_silence:
            seconds = self._patience
        return run_async(
            fs.loop, lambda: self._line.carry(attempt, lambda: asyncio.wait_for(request(), seconds))
        )

    @property
    def _patience(self) -> float:
        return min(self._timeout, ENDING_SECONDS) if self.is_ending else self._timeout

    def filesystem(self) -> AbstractFileSystem:
        """Return this process's filesystem: after a fork, the parent's would wait for a thread for ever."""
        if self._process != os.getpid():
            self._open()
        return self._fs

    def _connected_filesystem(self) -> AbstractFileSystem:
        """Set up the client first: that takes time, which is not to be taken from a request's."""
        fs = self.filesystem()
        if not self._client_ready:
            self._client_ready = True
            if hasattr(fs, "set_session"):
                try:
                    self.run(fs, Attempt(self._timeout), fs.set_session, self._timeout)
                except Exception as error:
                    if not is_transport_error(error):
                        raise
                    raise to_storage_error(f"cannot open {redact(self._address)}", error) from None
        return fs

    def _open(self) -> None:
        self._fs, root = open_filesystem(self._address, self._options, self._timeout)
        self.root = root.rstrip("/")
        self._line = line_to(self._fs, self.root)
        self._process: int | None = os.getpid()
        self._client_ready = False
