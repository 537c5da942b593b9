"""Open a folder, on a disk or remote."""

from __future__ import annotations

import shlex

from cop_zarr.errors import InputError
from cop_zarr.storage.filesystems import EXTRAS, READ_ONLY, StorageOptions, protocol_of
from cop_zarr.storage.local import LocalFolder
from cop_zarr.storage.names import SMALL_BYTES
from cop_zarr.storage.places import place
from cop_zarr.storage.remote import RemoteFolder
from cop_zarr.storage.retries import TIMEOUT_SECONDS, check_timeout
from cop_zarr.storage.urls import links, local_path, redact
from cop_zarr.storage.zip_folder import ZipFolder

Folder = LocalFolder | RemoteFolder
"""A folder that holds objects under keys such as ``embedding/c/0/3/7``; both classes have the same methods.

A store is written to ``staging``, and its journal to ``work``, while the folder is ``locked()``; then it is
made visible by ``publish()``. All methods raise StorageError if the folder cannot be read or written,
AccessError if that is not permitted.
"""


def folder(
    given: object, storage_options: StorageOptions | None = None, timeout: float = TIMEOUT_SECONDS
) -> Folder:
    """Open a folder by a path, an fsspec URL or what :func:`place` takes; it need not exist.

    ``timeout`` is in seconds of silence, for one object over a network, with all pauses. Raises InputError,
    MissingDependencyError if the URL's protocol needs a package that is not installed, and StorageError if
    the URL points into an archive, such as a ZIP file, that cannot be read.
    """
    url, storage_options = place(given, storage_options)
    if not url:
        raise InputError("the path of a store is empty; name a path or a URL")
    check_timeout(timeout)
    path = local_path(url)
    if path is not None:
        return LocalFolder(path)
    if "?" in url and url.startswith(("http://", "https://")):
        raise InputError(
            "a store has many objects, and one signature or token in its URL cannot be that of each: leave "
            f"out what follows {redact(url)}, and pass storage_options={{'headers': …}} instead"
        )
    protocols = [protocol_of(link) for link in links(url)]
    kind = ZipFolder if protocols[0] == "zip" and protocols[1:] and protocols[1] in EXTRAS else RemoteFolder
    return kind(url, storage_options, float(timeout))


def read_if_there(folder: Folder, key: str, limit: int = SMALL_BYTES) -> bytes | None:
    """Read an object, or its first ``limit`` bytes; None if there is none."""
    try:
        return folder.read(key, limit)
    except FileNotFoundError:
        return None


def repair_advice(url: str) -> str:
    """How to repair a store at a (redacted) URL or path."""
    if "://" in url and protocol_of(url) in READ_ONLY:
        return (
            "It can only be read here: repair it where it was made (cop-zarr repair STORE --source TIF), "
            "and publish it again"
        )
    return f"Repair it with: cop-zarr repair {shlex.quote(url)} --source TIF"
