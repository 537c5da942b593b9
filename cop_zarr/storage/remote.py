"""A folder on an object store, or wherever else fsspec reaches."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from cop_zarr.core.threads import ordered_map
from cop_zarr.errors import InputError, StorageError
from cop_zarr.storage.connection import Connection
from cop_zarr.storage.filesystems import EXTRAS, READ_ONLY, REQUESTS_AT_ONCE, StorageOptions
from cop_zarr.storage.line import Attempt
from cop_zarr.storage.locks import Lock
from cop_zarr.storage.names import LOCK, SMALL_BYTES, WORK
from cop_zarr.storage.transport_errors import http_status, transport_errors
from cop_zarr.storage.urls import redact
from cop_zarr.storage.web_file import NO_PARTS, WebFile

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")

EXACTLY: dict[str, dict[str, Any]] = {"hf": {"cache_type": "none"}}
"""Options with which a protocol's filesystem reads what it is asked for, and not five megabytes more."""

UNMET = frozenset({HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT})
"""What a server answers if the condition of a write is not met."""


class RemoteFolder:
    """A folder that fsspec reaches; see :class:`cop_zarr.storage.Folder`.

    Safe to use from several threads at once, after a fork, and in other processes that it is pickled to.
    """

    remote = True

    def __init__(self, url: str, storage_options: StorageOptions | None, timeout: float) -> None:
        self._connection = Connection(url, storage_options, timeout)
        self.url = redact(url)
        self._lock: Lock | None = None
        self._listed: dict[str, str] | None = None  # versions, as first listed under the lock
        self._conditional = True  # until the server says that it does not know conditions

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None}

    def read(self, key: str, limit: int = SMALL_BYTES) -> bytes:
        """Read an object, or its first ``limit`` bytes."""
        return self._read(key, limit, WebFile(limit))

    def read_range(self, key: str, start: int, count: int) -> bytes:
        """Read a part of an object, shorter where the object ends."""
        data = self._read(key, count, WebFile(count, start), start)
        if len(data) > count:
            raise StorageError(f"cannot read {self.url}/{key}: the server {NO_PARTS}")
        return data

    def forget(self, key: str) -> None:
        """Do nothing: no object is kept open."""

    def _read(self, key: str, limit: int, file: WebFile, start: int = 0) -> bytes:
        def get(fs: AbstractFileSystem, path: str, attempt: Attempt) -> bytes:
            try:
                if "http" in fs.protocol:
                    return self._connection.run(fs, attempt, lambda: file.read(fs, path, attempt))
                options = EXACTLY.get(self._connection.protocol, {})
                call = partial(self._connection.call, fs, "cat_file", attempt, path)
                return bytes(call(start=start, end=start + limit, **options))
            except transport_errors() as error:
                if http_status(error) == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    return b""  # an empty object has no first byte; one that was replaced may be shorter
                raise

        return self._request("cannot read", key, get)

    def address_digest(self) -> str | None:
        """SHA-256 (hex) of all that says where this folder is; None if the storage options hold objects."""
        return self._connection.digest(self.url)

    def size(self, key: str) -> int:
        """Return the number of bytes of an object."""
        if self._connection.is_http:
            file = WebFile(1, 0)
            self._read(key, 1, file)
            return file.size or 0
        info = self._request(
            "cannot read", key, lambda fs, path, attempt: self._connection.call(fs, "info", attempt, path)
        )
        return int(info["size"])

    def write(self, key: str, data: bytes) -> None:
        """Write a whole object, or nothing of it."""
        if not self._change("cannot write", key, "pipe_file", data, **self._condition(key)) and self._lock:
            self._lock.look()  # it is still held: the answer to a first try was lost, or others write late
            self._change("cannot write", key, "pipe_file", data)
        if self._listed is not None:
            self._listed[key] = self._version(data)

    replace = write

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless there is one; return whether it was written.

        On servers without conditional writes, one that is there is replaced.
        """
        return self._change("cannot write", key, "pipe_file", data, mode="create")

    def make_room(self, key: str) -> None:
        """Do nothing: an object store has neither folders nor links."""

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects."""

        def delete(key: str) -> None:
            condition = {} if key not in (self._listed or ()) else self._condition(key)
            with contextlib.suppress(FileNotFoundError):
                if not self._change("cannot remove", key, "rm_file", **condition) and self._lock:
                    self._lock.look()  # as in write
                    self._change("cannot remove", key, "rm_file")
            if self._listed is not None:
                self._listed.pop(key, None)

        for _ in ordered_map(delete, keys, workers=REQUESTS_AT_ONCE):
            pass

    def listing(self) -> dict[str, int] | None:
        """Return every object's key and size; None over HTTP, which cannot list."""
        found = self._list("find", detail=True)
        if found is None:
            return None
        prefix = f"{self._connection.root}/"
        objects = {
            path.removeprefix(prefix): each
            for path, each in found.items()
            if each["size"] or not path.endswith("/")  # the mark of a folder, as consoles create it
        }
        if self._lock and self._listed is None:
            self._listed = {key: each.get("ETag", "") for key, each in objects.items()}
        return {key: int(each["size"] or 0) for key, each in objects.items()}

    def names(self) -> list[str]:
        """List the names directly inside; none over HTTP."""
        found = self._list("ls", detail=False) or ()
        names = {path.rstrip("/").removeprefix(self._connection.root).strip("/") for path in found}
        return sorted(names - {""})

    def _list(self, method: str, *, detail: bool) -> Any:
        """Call one of fsspec's methods that list; None over HTTP, empty if there is nothing."""
        if self._connection.is_http:
            return None

        def send(fs: AbstractFileSystem, path: str, attempt: Attempt) -> Any:
            fs.invalidate_cache()
            return self._connection.call(fs, method, attempt, path.rstrip("/"), detail=detail)

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

    work = group_staging = staging

    @contextlib.contextmanager
    def locked(self, *, break_lock: bool = False) -> Iterator[None]:
        """Lock the folder by an object in it; without it, nothing is written or removed any more."""
        self.check_writable()
        self._lock = lock = Lock(self, LOCK, break_lock=break_lock)
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            self._connection.is_ending = True
            raise
        finally:
            lock.release()
            self._lock = self._listed = None
            self._connection.is_ending = False

    def publish(self, *, replace: bool) -> None:
        """Do nothing: what is staged is in its final place."""

    def publish_group(self, name: str) -> None:
        """Do nothing: what is staged is in its final place."""

    def remove_work(self, is_ours: Callable[[str], bool]) -> None:  # noqa: ARG002  # a disk's folders do
        """Remove what an ingest needed for itself."""
        self.remove(key for key in self.listing() or () if key.startswith(WORK) and key != LOCK)

    def check_writable(self) -> None:
        """Raise InputError for a protocol that can only be read."""
        protocol = self._connection.protocol
        if protocol in READ_ONLY:
            how = "; write it to a disk, and upload it: hf upload" if protocol == "hf" else ""
            raise InputError(f"{self.url} cannot be written: {protocol}:// URLs can only be read{how}")

    def _change(self, what: str, key: str, method: str, *args: bytes, **options: str) -> bool:
        """Write or remove an object, if the lock is still held; return False if a condition is not met."""
        lock, request = self._lock, self._connection.call
        guard = lock.guard if lock else None

        def send(fs: AbstractFileSystem, path: str, attempt: Attempt) -> bool:
            if lock:
                lock.check()
            conditions = options if self._conditional else {}
            try:
                if conditions and method == "rm_file":  # s3fs's own takes no condition
                    bucket, name, _ = fs.split_path(path)
                    call = partial(
                        request, fs, "call_s3", attempt, "delete_object", Bucket=bucket, Key=name
                    )
                else:
                    call = partial(request, fs, method, attempt, path, *args)
                call(guard=guard, **conditions)
            except FileExistsError:  # raised by mode="create"
                return False
            except transport_errors() as error:
                status = http_status(error)
                if conditions and status == HTTPStatus.NOT_IMPLEMENTED:
                    self._conditional = False
                    return send(fs, path, attempt)
                if status in UNMET or ("IfMatch" in conditions and status == HTTPStatus.NOT_FOUND):
                    return False
                raise
            return True

        try:
            return self._request(what, key, send)
        except FileNotFoundError:
            if not args:
                raise
            raise StorageError(f"cannot write {self.url}/{key}: there is no such bucket") from None

    def _version(self, data: bytes) -> str:
        """The version that S3 gives an object, unless it is encrypted with a key of the caller's."""
        is_s3 = EXTRAS.get(self._connection.protocol) == "s3"
        return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"' if is_s3 else ""

    def _condition(self, key: str) -> dict[str, str]:
        """Have the server refuse to write over what others have written since the folder was locked.

        It is the server that decides, so a request that was on its way when this process was paused is
        refused, too. S3 compares versions; others only know whether an object is there.
        """
        if self._listed is None or not self._conditional:
            return {}
        if key not in self._listed:
            return {"mode": "create"}
        return {"IfMatch": self._listed[key]} if self._listed[key] else {}

    def _request(self, what: str, key: str, send: Callable[[AbstractFileSystem, str, Attempt], T]) -> T:
        """Send a request for an object, or for the folder, as :meth:`Connection.request`."""
        return self._connection.request(what, f"{self.url}/{key}" if key else self.url, key, send)
