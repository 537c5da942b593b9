"""Exchange two names on a disk in one step, where the system can."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from cop_zarr import system

SWAP = 2
"""``RENAME_EXCHANGE`` of Linux, ``RENAME_SWAP`` of macOS."""

AT_FDCWD = -100
"""Linux: paths are relative to the working directory."""

_CANNOT = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV})
"""What the system answers where it, or the file system, has no such call."""


def exchange(one: Path, other: Path) -> bool:
    """Exchange two files or folders of one file system; return False if that cannot be done here.

    Raises OSError if it could be done, and fails.
    """
    call = _system_call()
    if call is None:
        return False
    paths = os.fsencode(one), os.fsencode(other)
    arguments = (AT_FDCWD, paths[0], AT_FDCWD, paths[1]) if sys.platform == "linux" else paths
    if call(*arguments, SWAP) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


@cache
def _system_call() -> Any:
    """``renameat2`` or ``renamex_np`` of the C library; None without."""
    name = None if system.WINDOWS else {"linux": "renameat2", "darwin": "renamex_np"}.get(sys.platform)
    return getattr(ctypes.CDLL(None, use_errno=True), name, None) if name else None
