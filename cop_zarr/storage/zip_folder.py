"""A folder in a ZIP file on a server: each object, or part of one, is a request for exactly its bytes."""

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
from cop_zarr.storage.web_file import MAX_WHOLE_BYTES

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
        self._first_bytes: dict[int, int] = {}  # of objects of which parts were read, by their headers

    def read(self, key: str, limit: int = SMALL_BYTES) -> bytes:
        """Read an object, or its first ``limit`` bytes."""
        info, where = self._find(key), f"cannot read {self.url}/{key}"
        name = len(info.filename.encode())
        size = (
            min(info.compress_size, limit)
            if info.compress_type == zipfile.ZIP_STORED
            else info.compress_size
        )
        if size > max(2 * limit, SMALL_BYTES):
            raise StorageError(f"{where}: it has {size:,} bytes in the ZIP file, more than it can have")
        data = self.read_archive(
            info.header_offset, HEADER_BYTES + name + len(info.extra) + SPARE_BYTES + size
        )
        first = self._after_header(info, data)
        if len(data) < first + size:
            data += self.read_archive(info.header_offset + len(data), first + size - len(data))
        body = data[first : first + size]
        if info.compress_type == zipfile.ZIP_STORED:
            return body
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, limit)
        except zlib.error as error:
            raise to_storage_error(where, error) from None

    def read_range(self, key: str, start: int, count: int) -> bytes:
        """Read a part of an object, shorter where that ends; StorageError for a large compressed one."""
        info = self._find(key)
        if info.compress_type != zipfile.ZIP_STORED:
            if info.file_size <= MAX_WHOLE_BYTES:
                return self.read(key, start + count)[start:]
            raise StorageError(
                f"cannot read a part of {self.url}/{key}: it is compressed in the ZIP file; unpack "
                "that, or make it without compression (zip -0)"
            )
        first = self._first_bytes.get(info.header_offset)
        if first is None:
            header = self.read_archive(info.header_offset, HEADER_BYTES + len(info.filename.encode()))
            first = info.header_offset + self._after_header(info, header)
            self._first_bytes[info.header_offset] = first
        count = min(count, info.file_size - start)
        return self.read_archive(first + start, count) if count > 0 else b""

    def size(self, key: str) -> int:
        """Return the number of bytes of an object."""
        return self._find(key).file_size

    def _find(self, key: str) -> zipfile.ZipInfo:
        """Where an object is in the archive; StorageError if it cannot be read."""
        info = self._list_files().get(self._inside + key)
        if info is None:
            raise FileNotFoundError(f"{self.url}/{key}")
        if info.flag_bits & 1 or info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            where = f"cannot read {self.url}/{key}"
            raise StorageError(f"{where}: it is encrypted or compressed as few are; unpack the ZIP file")
        return info

    def _after_header(self, info: zipfile.ZipInfo, data: bytes) -> int:
        """How far after its header an object begins; FileNotFoundError if the header is not its own."""
        name = info.filename.encode()
        if data[:4] != MAGIC or data[HEADER_BYTES : HEADER_BYTES + len(name)] != name:
            self._files = None  # the archive was replaced
            self._first_bytes.clear()
            raise FileNotFoundError(f"{self.url}/{info.filename.removeprefix(self._inside)}")
        return HEADER_BYTES + len(name) + int.from_bytes(data[28:30], "little")

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

    def archive_size(self) -> int:
        """Return the number of bytes of the ZIP file."""
        return super().size("")

    def read_archive(self, start: int, count: int) -> bytes:
        """Read a part of the ZIP file."""
        return super().read_range("", start, count)


class _Archive(io.RawIOBase):
    """The ZIP file as :mod:`zipfile` reads its list of files: a few parts, each in one request."""

    def __init__(self, folder: ZipFolder) -> None:
        self._folder = folder
        self._size = folder.archive_size()
        self._start = max(0, self._size - TAIL_BYTES)
        self._tail = folder.read_archive(self._start, TAIL_BYTES) if self._size else b""
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
            data = self._folder.read_archive(start, end - start) if end > start else b""
        self._position += len(data)
        return data
