"""A folder in a ZIP file on a server: each object is one request, for exactly its bytes."""

from __future__ import annotations

import io
import zipfile
import zlib

from cop_zarr.errors import InputError, StorageError
from cop_zarr.storage.filesystems import StorageOptions, protocol_of
from cop_zarr.storage.names import SMALL_BYTES
from cop_zarr.storage.remote import RemoteFolder
from cop_zarr.storage.transport_errors import to_storage_error
from cop_zarr.storage.urls import links, redact

TAIL_BYTES = 64 << 10
"""Read first: the end of the list of files, and all of a short one."""

MAX_LIST_BYTES = 256 << 20
"""Largest list of files: of two million."""

HEADER_BYTES, MAGIC = 30, b"PK\3\4"
"""What precedes each file, before its name."""

SPARE_BYTES = 64
"""Read beside an object, since what follows its name may be longer than the list says."""


class ZipFolder(RemoteFolder):
    """A folder in a ZIP file that fsspec reaches over a network; see :class:`cop_zarr.storage.Folder`.

    fsspec's own reads five megabytes ahead for each object, one object at a time, and does not retry.
    """

    def __init__(self, url: str, storage_options: StorageOptions | None, timeout: float) -> None:
        inside, archive = links(url)
        options = dict(storage_options or {})
        own = options.pop(protocol_of(archive), None)
        unknown = sorted(set(options) - {"zip"})
        if unknown:
            raise InputError(
                f"cannot open {redact(url)} with the storage option {unknown[0]!r}: options of the server "
                f"belong under its protocol: {{{protocol_of(archive)!r}: {{{unknown[0]!r}: …}}}}"
            )
        super().__init__(archive, own, timeout)
        self.url = redact(url)
        path = inside.partition("://")[2].strip("/")
        self._inside = f"{path}/" if path else ""
        self._files: dict[str, zipfile.ZipInfo] | None = None

    def read(self, key: str, limit: int = SMALL_BYTES) -> bytes:
        """Read an object, or its first ``limit`` bytes."""
        info = self._list_files().get(self._inside + key)
        if info is None:
            raise FileNotFoundError(f"{self.url}/{key}")
        where = f"cannot read {self.url}/{key}"
        if info.flag_bits & 1 or info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise StorageError(f"{where}: it is encrypted or compressed as few are; unpack the ZIP file")
        name = len(info.filename.encode())
        size = (
            min(info.compress_size, limit)
            if info.compress_type == zipfile.ZIP_STORED
            else info.compress_size
        )
        if size > max(2 * limit, SMALL_BYTES):
            raise StorageError(f"{where}: it has {size:,} bytes in the ZIP file, more than it can have")
        data = self._read_range(
            info.header_offset, HEADER_BYTES + name + len(info.extra) + SPARE_BYTES + size
        )
        first = HEADER_BYTES + name + int.from_bytes(data[28:30], "little")
        if data[:4] != MAGIC or data[HEADER_BYTES : HEADER_BYTES + name] != info.filename.encode():
            self._files = None  # the archive was replaced
            raise FileNotFoundError(f"{self.url}/{key}")
        if len(data) < first + size:
            data += self._read_range(info.header_offset + len(data), first + size - len(data))
        body = data[first : first + size]
        if info.compress_type == zipfile.ZIP_STORED:
            return body
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, limit)
        except zlib.error as error:
            raise to_storage_error(where, error) from None

    def listing(self) -> dict[str, int]:
        """Return every object's key and size; none if there is no such ZIP file."""
        try:
            files = self._list_files()
        except FileNotFoundError:
            return {}
        return {
            name.removeprefix(self._inside): info.file_size
            for name, info in files.items()
            if name.startswith(self._inside) and not name.endswith("/")
        }

    def names(self) -> list[str]:
        """List the names directly inside."""
        return sorted({key.partition("/")[0] for key in self.listing()})

    def check_writable(self) -> None:
        """Raise InputError: an archive can only be read."""
        raise InputError(f"{self.url} cannot be written: zip:// URLs can only be read")

    def _list_files(self) -> dict[str, zipfile.ZipInfo]:
        if self._files is None:
            try:
                with zipfile.ZipFile(_Archive(self)) as archive:
                    self._files = {info.filename: info for info in archive.infolist()}
            except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
                raise to_storage_error(f"cannot open {self.url}", error) from None
        return self._files

    def _read_range(self, start: int, count: int) -> bytes:
        return self.read_range("", start, count)


class _Archive(io.RawIOBase):
    """The ZIP file as :mod:`zipfile` reads its list of files: a few parts, each in one request."""

    def __init__(self, folder: ZipFolder) -> None:
        self._folder = folder
        self._size = folder.size("")
        self._start = max(0, self._size - TAIL_BYTES)
        self._tail = folder.read_range("", self._start, TAIL_BYTES) if self._size else b""
        self._position = 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        start = self._position
        end = self._size if size is None or size < 0 else min(self._size, start + size)
        if end - start > MAX_LIST_BYTES:
            raise zipfile.BadZipFile
        if start >= self._start:
            data = self._tail[start - self._start : end - self._start]
        else:
            data = self._folder.read_range("", start, end - start) if end > start else b""
        self._position += len(data)
        return data
