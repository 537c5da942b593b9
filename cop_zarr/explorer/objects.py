"""Hand out the objects of a store, whole or in part, and nothing else of the folder that they lie in."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import NamedTuple

from cop_zarr.errors import StorageError
from cop_zarr.format.layout import COMPONENT_KEYS, KEYS
from cop_zarr.storage import Folder, LocalFolder

_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")


class Part(NamedTuple):
    """An object, or a part of one, as HTTP answers with it."""

    status: HTTPStatus
    body: bytes = b""
    content_range: str | None = None


class Objects:
    """The objects that a store may have below a prefix of its keys; any other key is a FileNotFoundError.

    ``max_bytes`` is the size of the largest one. StorageError if one cannot be read, AccessError for a link
    that leads out of a folder on a disk.
    """

    def __init__(self, folder: Folder, max_bytes: int, prefix: str = "") -> None:
        self._files = folder.own_files() if isinstance(folder, LocalFolder) else folder
        self._max_bytes = max_bytes
        self._prefix = prefix

    def size(self, key: str) -> int:
        """Return the number of bytes of an object."""
        return self._files.size(self._checked(key))

    def read(self, key: str, asked_range: str | None = None) -> Part:
        """Read an object, or the part of it that a Range header asks for.

        As HTTP has it, a range that cannot be understood is passed over.
        """
        key = self._checked(key)
        found = _RANGE.fullmatch(asked_range or "")
        if found is None or not any(found.groups()):
            return self._read_whole(key)
        first, last = (int(number) if number else None for number in found.groups())
        if first is None:
            size = self._files.size(key)
            return self._read_part(key, max(0, size - (last or 0)), last or 0, str(size))
        if last is None:
            return self._read_part(key, first, self._max_bytes, "*")
        return self._read_whole(key) if last < first else self._read_part(key, first, last + 1 - first, "*")

    def _checked(self, key: str) -> str:
        key = self._prefix + key
        if not key.isascii() or not (KEYS.fullmatch(key) or COMPONENT_KEYS.fullmatch(key)):
            raise FileNotFoundError(key)
        return key

    def _read_whole(self, key: str) -> Part:
        data = self._files.read(key, self._max_bytes + 1)
        if len(data) > self._max_bytes:
            raise StorageError(
                f"{key} is larger than {self._max_bytes:,} bytes, as no object of a store is"
            )
        return Part(HTTPStatus.OK, data)

    def _read_part(self, key: str, start: int, count: int, size: str) -> Part:
        data = self._files.read_range(key, start, min(count, self._max_bytes))
        if not data:
            return Part(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
        return Part(HTTPStatus.PARTIAL_CONTENT, data, f"bytes {start}-{start + len(data) - 1}/{size}")
