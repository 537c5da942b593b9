"""Clear away what is in the place of a folder's objects and their folders: links, folders, sockets."""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from cop_zarr.errors import StorageError

DISPLACED_SUFFIX = ".displaced"
"""A file or folder that is in the way gets a unique name that ends so, in the same folder."""

_turn = Lock()  # or a thread would clear away the folder that another has just created


def make_room(root: Path, path: Path) -> None:
    """Have nothing keep a file from being written at a path below ``root``; no data is removed.

    Links that lead nowhere, or into ``root``, and sockets are removed. Raises StorageError for a link in a
    folder's place that leads elsewhere, because somebody may have put the folder there.
    """
    with _turn:
        for place in reversed(path.relative_to(root).parents[:-1]):
            _clear(root, root / place, stat.S_ISDIR)
        _clear(root, path, stat.S_ISREG)


def _clear(root: Path, place: Path, is_right: Callable[[int], bool]) -> None:
    """Clear a place unless what is there has the right type, as a function of :mod:`stat` says."""
    try:
        mode = place.lstat().st_mode
    except FileNotFoundError:
        return
    if is_right(mode):
        return
    if is_right is stat.S_ISDIR and stat.S_ISLNK(mode) and leads_out(root, place):
        raise StorageError(
            f"{place} is a link that leads out of {root}: remove the link, or put a folder in its place"
        )
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        place.unlink()
        return
    with contextlib.suppress(OSError):
        place.rmdir()  # an empty folder
        return
    place.rename(place.with_name(f"{place.name[:200]}.{uuid.uuid4().hex[:8]}{DISPLACED_SUFFIX}"))


def leads_out(root: Path, link: Path) -> bool:
    """Whether a link leads to something outside a folder."""
    return os.path.exists(link) and not _real(link).is_relative_to(_real(root))  # noqa: PTH110  # of a loop, too


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve() raises for a loop
