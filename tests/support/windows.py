"""Make this process refuse what Windows refuses; there was no Windows machine to test on.

:func:`imitate` takes from ``os``, ``signal`` and ``time`` what Windows lacks. From then on folders
cannot be opened as files; files that are open or mapped, and folders that hold one, can be neither renamed
nor removed; nothing is renamed over what is there; and only a file that is open for writing can be synced.
What packages do inside C or C++ is as it is here.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import filelock  # noqa: F401  # which chooses its lock by the system, when it is imported
import numpy as np  # noqa: F401

O_BINARY = 1 << 30
real = {name: getattr(os, name) for name in ("open", "rename", "replace", "unlink", "rmdir")}


def refuse(number, path):
    raise OSError(number, os.strerror(number), str(path))


def check_closed(path):
    """Refuse a file that this process has open or mapped, and a folder that holds one."""
    full = str(Path(path).absolute())
    used = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor of this listing
            used.append(str(link.readlink()))
    if any(each.endswith(full) or f"{full}/" in each for each in used):
        refuse(errno.EACCES, path)


def open_(path, flags, mode=0o777, **options):
    if sys._getframe(1).f_globals["__name__"].startswith("cop_zarr"):
        assert flags & O_BINARY, "a text file: Windows would change its line ends"
    if Path(path).is_dir():
        refuse(errno.EACCES, path)
    return real["open"](path, flags & ~O_BINARY, mode, **options)


def fsync(file):
    descriptor = file if isinstance(file, int) else file.fileno()
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        refuse(errno.EBADF, descriptor)


def rename(source, target):
    check_closed(source)
    if os.path.lexists(target):
        refuse(errno.EEXIST, target)
    real["rename"](source, target)


def replace(source, target, **_options):
    check_closed(source)
    check_closed(target)
    if Path(target).is_dir():
        refuse(errno.EACCES, target)
    real["replace"](source, target)


def unlink(path, **options):
    if not options:
        check_closed(path)
    real["unlink"](path, **options)


def kill(pid, number):
    raise AssertionError(f"signal {number} would end process {pid}, or interrupt it")


def imitate():
    """Change this process, and have cop_zarr believe that it runs on Windows."""
    for name in ("fork", "register_at_fork", "pread", "pwrite", "getuid", "geteuid"):
        delattr(os, name)
    for name in ("O_NONBLOCK", "O_CLOEXEC", "O_NOFOLLOW", "O_DIRECTORY"):
        delattr(os, name)
    del signal.SIGHUP, time.clock_gettime
    sys.modules["fcntl"] = None
    shutil._use_fd_functions = False
    os.O_BINARY = O_BINARY
    os.open, os.fsync, os.kill = open_, fsync, kill
    os.rename, os.replace, os.unlink, os.remove = rename, replace, unlink, unlink
    os.name = "nt"
    import cop_zarr.system  # noqa: F401, PLC0415

    os.name = "posix"  # which pathlib goes by
