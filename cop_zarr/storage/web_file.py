"""Read a file from a web server, continuing where a connection broke."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from cop_zarr.errors import StorageError
from cop_zarr.storage.line import Attempt
from cop_zarr.storage.transport_errors import OtherPartError, TruncatedError

MIN_KEPT_BYTES = 1024
"""A try that brings fewer does not give the next ones new time."""


MAX_WHOLE_BYTES = 1 << 20
"""Largest file that is read as a whole for the sake of a part."""

NO_PARTS = (
    "sends no parts of a file, and this one is too large to be read for each of them; download it, and "
    "name the copy"
)
"""What is said of a server that ignores ranges."""


class WebFile:
    """The first ``limit`` bytes of a file, or those after ``start``, however much more the server sends.

    Of a server that sends no parts, a small file is read as a whole.

    What has arrived is kept between tries if the server names the file's version (a strong ETag), so that
    two versions are never mixed.
    """

    def __init__(self, limit: int, start: int | None = None) -> None:
        self._limit, self._start = limit, start
        self._data = bytearray()
        self._version = ""
        self._skipped = 0  # bytes before the part, where the whole file is sent
        self.size: int | None = None
        """Bytes of the whole file, if the server has said so beside a part of it."""

    async def read(self, fs: Any, url: str, attempt: Attempt) -> bytes:
        """Read what is still missing; FileNotFoundError if there is no such file."""
        session = await fs.set_session()
        options = dict(fs.kwargs)
        headers = self._asked_range()
        if headers:
            options["headers"] = {**options.get("headers", {}), **headers}
        async with session.get(fs.encode_url(url), **options) as response:
            if response.status == HTTPStatus.NOT_FOUND:
                raise FileNotFoundError
            if self._is_other(response):
                self._data.clear()
                raise OtherPartError
            response.raise_for_status()
            self._version = _version(response.headers)
            size = response.headers.get("Content-Range", "").rpartition("/")[2]
            self.size = int(size) if size.isascii() and size.isdigit() else None
            self._skipped = 0
            if response.status != HTTPStatus.PARTIAL_CONTENT:
                self._take_whole(response.content_length)
            return await self._receive(response, attempt)

    async def _receive(self, response: Any, attempt: Attempt) -> bytes:
        before, stop = len(self._data), self._stop()
        try:
            async for part in response.content.iter_any():
                self._data += part
                attempt.kept = bool(self._version) and len(self._data) - before >= MIN_KEPT_BYTES
                if len(self._data) >= self._skipped + self._limit:
                    break
        finally:
            data = bytes(self._data[self._skipped : self._skipped + self._limit])
            if not self._version:
                self._data.clear()
        if len(data) < stop:  # servers may send less of a part than was asked for
            raise TruncatedError
        return data

    def _stop(self) -> int:
        """Bytes that there are to read, as far as the server has said so."""
        if self.size is None or self._start is None:
            return 0
        return min(self._limit, self.size - self._start)

    @property
    def _position(self) -> int:
        return (self._start or 0) + len(self._data)

    def _asked_range(self) -> dict[str, str]:
        if self._start is None and not self._data:
            return {}
        asked = {
            "Range": f"bytes={self._position}-{(self._start or 0) + self._limit - 1}",
            "Accept-Encoding": "identity",  # a part of a compressed file is none of the file
        }
        return {**asked, "If-Range": self._version} if self._data else asked

    def _is_other(self, response: Any) -> bool:
        """Whether this is the rest of another version: not every server heeds If-Range."""
        if not self._data and self._start is None:
            return False
        if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return bool(self._data)
        return response.status == HTTPStatus.PARTIAL_CONTENT and (
            bool(self._data and _version(response.headers) != self._version)
            or not response.headers.get("Content-Range", "").startswith(f"bytes {self._position}-")
        )

    def _take_whole(self, size: int | None) -> None:
        """Begin anew with a whole file that is sent instead of a part; None if its size is not said."""
        self._data.clear()
        if self._start is None:
            return
        if size is None or size > MAX_WHOLE_BYTES:
            raise StorageError(f"the server {NO_PARTS}")
        self._skipped, self._version, self.size = self._start, "", size


def _version(headers: Mapping[str, str]) -> str:
    """Return what tells a file's versions apart, byte for byte; empty if nothing does."""
    tag = headers.get("ETag", "")
    return "" if tag.startswith("W/") or "Content-Encoding" in headers else tag
