"""What operating systems do differently; beside it, ``storage/exchange`` alone asks which one it is."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

WINDOWS = os.name == "nt"

_BINARY = getattr(os, "O_BINARY", 0)

READ_FLAGS = os.O_RDONLY | _BINARY | getattr(os, "O_NONBLOCK", 0)
"""How to open a file to read it, without waiting for a writer if it is a pipe."""

NO_LINK = getattr(os, "O_NOFOLLOW", 0) | _BINARY
"""Added to the flags of a file that may not be a link."""

LOCK_FLAGS = os.O_RDWR | os.O_CREAT | NO_LINK
"""How to open a lock file, which may not be a link."""

MOVES_OPEN_FILES = not WINDOWS
"""Whether a file, or a folder with it, can be moved and removed while it is open."""

MAX_DESCRIPTORS = 256
"""Open files that a process may have where the system does not tell."""

STOP_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that ask a process to end."""

_position = threading.Lock()
"""Held from a seek to what is read or written there, where one call cannot do both."""


def at_fork(**hooks: Callable[[], object]) -> None:
    """Call functions when this process forks, as os.register_at_fork does; Windows has no forks."""
    if not WINDOWS:
        os.register_at_fork(**hooks)


def max_descriptors() -> int:
    """Open files that this process may have."""
    return MAX_DESCRIPTORS if WINDOWS else max(MAX_DESCRIPTORS, os.sysconf("SC_OPEN_MAX"))


def read_at(descriptor: int, count: int, offset: int) -> bytes:
    """Read from a file that several threads read; the answer may be short."""
    if not WINDOWS:
        return os.pread(descriptor, count, offset)
    with _position:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, count)


def write_at(descriptor: int, data: bytes, offset: int) -> int:
    """Write to a file that several threads write to; return how many bytes were written."""
    if not WINDOWS:
        return os.pwrite(descriptor, data, offset)
    with _position:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)


def sync(path: Path) -> None:
    """Flush a file's bytes, or a folder's names, to the disk; Windows journals names itself."""
    if WINDOWS and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR | _BINARY if WINDOWS else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def allocate(path: Path, offset: int, count: int) -> None:
    """Set aside blocks of the disk for a range of a file, whose content stays; OSError without room.

    On Windows a file has its blocks as soon as it has its length.
    """
    if WINDOWS:
        return
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return  # it has been renamed or removed since it was mapped
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, offset, count)
            return
        disk, found = os.fstatvfs(descriptor), os.fstat(descriptor)
        if count - found.st_blocks * 512 > disk.f_bavail * disk.f_frsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)


def is_open_file(descriptor: int, path: Path) -> bool:
    """Whether a path is still that of an open file."""
    return os.path.samestat(path.stat(), os.fstat(descriptor))


def close_and_remove(descriptor: int, path: Path) -> None:
    """Close a lock file and remove it, before its lock ends if the system removes open files."""
    with contextlib.suppress(OSError):
        if not WINDOWS and is_open_file(descriptor, path):
            path.unlink()
    os.close(descriptor)
    with contextlib.suppress(OSError):  # another process has opened it
        if WINDOWS:
            path.unlink()


def open_folder(path: Path) -> int | None:
    """Return a descriptor of a folder, which may not be a link; None on Windows, which has none."""
    if WINDOWS:
        return None
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def mark_used(descriptor: int, path: str) -> None:
    """Set the time of a file's last use to now."""
    os.utime(path if WINDOWS else descriptor)


def user_id() -> int | None:
    """The user whose files are ours; None on Windows, where access is not a matter of owner and mode."""
    return None if WINDOWS else os.geteuid()


def path_in_url(path: str) -> Path:
    """Return the path in a ``file://`` URL: ``C:/x`` of ``/C:/x`` on Windows."""
    return Path(path[1:] if WINDOWS and re.match(r"/[A-Za-z]:", path) else path)


def clock() -> float:
    """Seconds, counted while the machine is suspended, too, where the system can tell."""
    if WINDOWS:
        return time.monotonic()
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def may_be_alive(pid: int) -> bool:
    """Whether there may be such a process on this machine; on Windows, asking would interrupt it."""
    try:
        if not WINDOWS:
            os.kill(pid, 0)
    except OSError as error:  # any other says that it may not be signalled
        return not isinstance(error, ProcessLookupError)
    return True
