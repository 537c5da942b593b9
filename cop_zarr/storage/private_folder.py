"""A folder of files that only this user can have written.

A checksum guards against accidents; anybody who may write can forge one. So the folder and each file must
belong to this user and be writeable by nobody else. That is looked at through open descriptors, and no
link is followed: between a look and a use, nothing can be exchanged.
"""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

from cop_zarr import system
from cop_zarr.storage.files import read_start
from cop_zarr.storage.names import PARTIAL_SUFFIX

_READ = system.READ_FLAGS | system.NO_LINK
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | system.NO_LINK


class NotPrivateError(PermissionError):
    """A folder or file is not this user's alone; ``strerror`` says why."""


class PrivateFolder:
    """Files in one folder on a disk, by name. All methods raise OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make the folder unless it is there, and check that it is this user's alone."""
        with contextlib.suppress(FileExistsError):
            self.path.mkdir(0o700)
        with self._opened():
            pass

    def read(self, name: str, limit: int) -> bytes:
        """Read a file, or its first ``limit`` bytes, and mark it as used."""
        with self._opened() as folder:
            path = self._path(name, folder)
            descriptor = os.open(path, _READ, dir_fd=folder)
            try:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):
                    raise FileNotFoundError(name)
                check_private(found, name)
                data = read_start(descriptor, min(found.st_size, limit))
                system.mark_used(descriptor, path)
            finally:
                os.close(descriptor)
        return data

    def replace(self, name: str, data: bytes) -> None:
        """Write a file atomically."""
        with self._opened() as folder:
            partial = self._path(f"{uuid.uuid4().hex}{PARTIAL_SUFFIX}", folder)
            try:
                with open(os.open(partial, _CREATE, 0o600, dir_fd=folder), "wb") as file:  # noqa: PTH123
                    file.write(data)
                os.replace(partial, self._path(name, folder), src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(partial, dir_fd=folder)  # a Path knows no folder's descriptor
                raise

    def remove(self, name: str) -> None:
        """Remove a file."""
        with self._opened() as folder:
            os.unlink(self._path(name, folder), dir_fd=folder)

    def files(self) -> list[tuple[str, os.stat_result]]:
        """Names and facts of all regular files."""
        found = []
        with self._opened() as folder, os.scandir(self.path if folder is None else folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    if entry.is_file(follow_symlinks=False):
                        found.append((entry.name, entry.stat(follow_symlinks=False)))
        return found

    def _path(self, name: str, folder: int | None) -> str:
        return name if folder is not None else str(self.path / name)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int | None]:
        """A descriptor of the folder, which is this user's alone, where the system has them."""
        try:
            descriptor = system.open_folder(self.path)
        except NotADirectoryError:
            raise NotPrivateError(0, "it is a link or a file, not a folder", str(self.path)) from None
        try:
            check_private(self.path.stat() if descriptor is None else os.fstat(descriptor), str(self.path))
            yield descriptor
        finally:
            if descriptor is not None:
                os.close(descriptor)


def check_private(found: os.stat_result, name: str) -> None:
    """Raise NotPrivateError unless this user owns a file or folder, and nobody else may write to it.

    Nothing is looked at on Windows, where a user's folders are his own unless he opens them to others.
    """
    user = system.user_id()
    if user is None:
        return
    if found.st_uid != user:
        raise NotPrivateError(0, f"it belongs to another user ({found.st_uid})", name)
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NotPrivateError(0, f"others may write to it (mode {stat.S_IMODE(found.st_mode):04o})", name)


def check_shareable(found: os.stat_result, name: str) -> None:
    """As :func:`check_private`, but for a folder that holds such: one like ``/tmp`` will do.

    That belongs to root, and its sticky bit lets nobody remove or rename what is another's.
    """
    if found.st_uid == 0 and (found.st_mode & stat.S_ISVTX or not found.st_mode & 0o022):
        return
    check_private(found, name)
