"""Places as they are given: a path, a URL, or what other libraries make of these."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from cop_zarr.errors import InputError

_OF_LINKS = ("fo", "target_protocol", "target_options")
"""Options in which a filesystem holds where the archive or the cached file is that it reads from."""


def place(given: object, options: Mapping[str, Any] | None) -> tuple[str, Mapping[str, Any] | None]:
    """Return the path or URL of a store or file, and its filesystem's options; the given ones go first.

    Besides text and paths, paths of universal_pathlib, fsspec mappers and zarr's LocalStore and FsspecStore
    are taken. Raises InputError for anything else.
    """
    if isinstance(given, str | bytes | os.PathLike):
        return os.fsdecode(given), options
    root, name = getattr(given, "root", None), type(given).__qualname__
    if isinstance(root, os.PathLike):  # a LocalStore
        return os.fsdecode(root), options
    filesystem = getattr(given, "fs", None)
    path = root if isinstance(root, str) and root else getattr(given, "path", None)
    if hasattr(given, "protocol") and hasattr(given, "storage_options"):  # of universal_pathlib
        url, own = str(given), given.storage_options
    elif filesystem is not None and isinstance(path, str):
        filesystem = getattr(filesystem, "sync_fs", filesystem)  # zarr's wrapper of one without async
        url, own = filesystem.unstrip_protocol(path), filesystem.storage_options
    else:
        known = getattr(given, "url", None)  # of an open store
        hint = f"; give its url, {known!r}" if isinstance(known, str) else ""
        raise InputError(
            "a store or a file is given by its path or URL, or by a path of universal_pathlib, an fsspec "
            f"mapper, or a LocalStore or FsspecStore of zarr; got {type(given).__module__}.{name}{hint}"
        )
    if any(own.get(key) for key in _OF_LINKS) and ("::" not in url or own.get("target_options")):
        raise InputError(f"{name} reads from a file in another place; give its URL as text")
    kept = {key: value for key, value in own.items() if key not in {*_OF_LINKS, "asynchronous"}}
    return url, {**kept, **(options or {})} or None
