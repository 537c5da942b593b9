"""Read a file from a web server, continuing where a connection broke."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from cop_zarr.storage.line import Attempt
from cop_zarr.storage.transport_errors import TruncatedError


class WebFile:
    """The first ``limit`` bytes of a file, however much more the server sends.

    What has arrived is kept between tries if the server names the file's version (a strong ETag), so that
    two versions are never mixed.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()
        self._version = ""

    async def read(self, fs: Any, url: str, attempt: Attempt) -> bytes:
        """Read what is still missing; FileNotFoundError if there is no such file."""
        session = await fs.set_session()
        options = dict(fs.kwargs)
        if self._data:
            rest = {"Range": f"bytes={len(self._data)}-{self._limit - 1}", "If-Range": self._version}
            options["headers"] = {**options.get("headers", {}), **rest}
        async with session.get(fs.encode_url(url), **options) as response:
            if response.status == HTTPStatus.NOT_FOUND:
                raise FileNotFoundError
            if self._is_other(response):
                self._data.clear()
                raise TruncatedError
            response.raise_for_status()
            if response.status != HTTPStatus.PARTIAL_CONTENT:
                self._data.clear()
            self._version = _version(response.headers)
            try:
                async for part in response.content.iter_any():
                    self._data += part
                    attempt.kept = bool(self._version)
                    if len(self._data) >= self._limit:
                        break
            finally:
                data = bytes(self._data[: self._limit])
                if not self._version:
                    self._data.clear()
        return data

    def _is_other(self, response: Any) -> bool:
        """Whether this is the rest of another version: not every server heeds If-Range."""
        if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return bool(self._data)
        return response.status == HTTPStatus.PARTIAL_CONTENT and (
            _version(response.headers) != self._version
            or not response.headers.get("Content-Range", "").startswith(f"bytes {len(self._data)}-")
        )


def _version(headers: Mapping[str, str]) -> str:
    """Return what tells a file's versions apart, byte for byte; empty if nothing does."""
    tag = headers.get("ETag", "")
    return "" if tag.startswith("W/") or "Content-Encoding" in headers else tag
