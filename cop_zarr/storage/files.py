"""Files on a disk: replace them atomically, sync them, recognise that they were changed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from cop_zarr import system
from cop_zarr.errors import AccessError, CopZarrError, StorageError, StoreExistsError
from cop_zarr.storage.exchange import exchange
from cop_zarr.storage.names import PARTIAL_SUFFIX, REPLACED

HASHED_BYTES = 1 << 20
"""Bytes of a file hashed at a time."""

_NO_FILE = frozenset({errno.ELOOP, errno.ENXIO})
"""What opening a link to itself, and a socket, fails with."""


def file_stamp(file: Path | int) -> tuple[int, ...]:
    """Size, times and inode of a file (path or descriptor): they change when it is written to or replaced.

    Its device is left out: its number may be another after a restart.
    """
    found = os.stat(file)  # noqa: PTH116  # a Path knows no descriptor
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def check_absent(path: Path, *, overwrite: bool) -> None:
    """Raise StoreExistsError if a file exists and may not be replaced, StorageError if it has no folder."""
    with disk_errors(f"cannot write {path}"):
        exists, has_folder = path.exists(), path.absolute().parent.is_dir()
    if not has_folder:
        raise StorageError(f"cannot write {path}: there is no folder {path.parent}; create it first")
    if exists and not overwrite:
        raise StoreExistsError(f"{path} exists; replace it with overwrite=True")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a new file that replaces ``path`` when the context is left without an exception.

    Its name is unique, so that two processes that write the same file each write a complete one. It is
    synced to the disk before it gets its final name. A new folder replaces a folder, with all that this
    one holds. Raises StorageError if it cannot be written.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{PARTIAL_SUFFIX}")
    try:
        with disk_errors(f"cannot write {path}"):
            yield partial
            _sync_all(partial)
            _take_place(partial, path)
            sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            remove(partial)


def _sync_all(path: Path) -> None:
    """Sync a file, or a folder and all that it holds."""
    for each in (*path.rglob("*"), path):
        sync(each)


def _take_place(new: Path, path: Path) -> None:
    """Rename a file or folder to ``path``; a folder that is there is left under the new one's name."""
    if not (new.is_dir() and path.is_dir()):
        new.replace(path)
    elif not exchange(new, path):
        aside = new.with_name(f"{new.name}.{REPLACED}")
        path.rename(aside)
        try:
            new.rename(path)
        except OSError:
            aside.rename(path)
            raise
        aside.rename(new)


def remove(path: Path) -> None:
    """Remove a file, or a folder and all that it holds; nothing may be there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder that is removed at the end; StorageError if there is no place for one."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="cop-zarr-")
    except OSError as error:
        raise StorageError(
            f"cannot create a folder for temporary files: {error.strerror or error}; set TMPDIR to a "
            "folder with room in which you may write"
        ) from error
    with folder as name:
        yield Path(name)


def sync(path: Path) -> None:
    """Have a file's bytes, or a folder's names, reach the disk; only now a full disk may report it."""
    with disk_errors(f"cannot write {path}"):
        try:
            system.sync(path)
        except OSError as error:
            if not (path.is_dir() and error.errno in {errno.EINVAL, errno.ENOTSUP}):
                raise  # some network disks cannot sync folders, and need not


def read_start(descriptor: int, count: int) -> bytes:
    """Read the first bytes of a file just opened; one call reads 2 GiB at most, and may read less."""
    data = os.read(descriptor, count)
    while len(data) < count and (more := os.read(descriptor, count - len(data))):
        data += more
    return data


def read_range(descriptor: int, offset: int, count: int) -> bytes:
    """Read a range of a file that several threads read, or up to its end."""
    data = system.read_at(descriptor, count, offset)
    while len(data) < count and (more := system.read_at(descriptor, count - len(data), offset + len(data))):
        data += more
    return data


def sha256_of(file: Path | int) -> str:
    """SHA-256 (hex) of a file: a path, or an open descriptor, whatever its name leads to by now."""
    if isinstance(file, Path):
        with file.open("rb", buffering=0) as opened:
            return sha256_of(opened.fileno())
    digest, offset = hashlib.sha256(), 0
    while data := read_range(file, offset, HASHED_BYTES):
        digest.update(data)
        offset += len(data)
    return digest.hexdigest()


def disk_error(what: str, error: OSError) -> StorageError:
    """Make the error to raise for a failed system call."""
    kind = AccessError if isinstance(error, PermissionError) else StorageError
    return kind(f"{what}: {error.strerror or error}")


def read_error(path: str, error: OSError) -> FileNotFoundError | StorageError:
    """Make the error to raise for a file that could not be read."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)) or error.errno in _NO_FILE:
        return FileNotFoundError(path)
    return disk_error(f"cannot read {path}", error)


@contextlib.contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn an OSError into a StorageError that says what could not be done."""
    try:
        yield
    except CopZarrError:  # some are OSErrors, too
        raise
    except OSError as error:
        raise disk_error(what, error) from error
