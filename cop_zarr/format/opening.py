"""Open the store in a folder, or say what is there instead."""

from __future__ import annotations

import json
import os
from typing import TypedDict

from cop_zarr.core import settings
from cop_zarr.core.lru_cache import LRUCache
from cop_zarr.errors import (
    AccessError,
    FormatVersionError,
    StorageError,
    StoreError,
    StoreNotFoundError,
)
from cop_zarr.format.absent import no_store, stores_beside
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.document import StoreDocument, is_store, parse
from cop_zarr.format.layout import INTEGRITY, ROOT, ROOT_COPY
from cop_zarr.storage import REQUESTS_AT_ONCE, DiskCache, Folder, StorageOptions, local_path, repair_advice

_V2_KEYS = {".zgroup": "store", ".zmetadata": "store", ".zarray": "array"}
_CALLS = {"store": "xarray.open_zarr", "array": "zarr.open_array"}


class StoreOptions(TypedDict, total=False):
    """Keywords of :func:`cop_zarr.open`, documented there."""

    storage_options: StorageOptions | None
    workers: int | None
    timeout: float
    cache_bytes: int
    cache_dir: str | os.PathLike[str] | None
    cache_disk_bytes: int


def open_reader(
    folder: Folder,
    document: StoreDocument,
    workers: int | None,
    cache: DiskCache | None = None,
    memory: LRUCache | None = None,
) -> ChunkReader:
    """Make a reader of a store's chunks; its integrity table is read."""
    default = REQUESTS_AT_ONCE if folder.remote else min(4, os.cpu_count() or 1)
    return ChunkReader(folder, document, settings.workers(workers, default), cache, memory)


def read_document(folder: Folder) -> StoreDocument:
    """Read a store's ``zarr.json``; errors are those of :func:`cop_zarr.open`."""
    try:
        root = folder.read(ROOT)
    except FileNotFoundError:
        raise _no_store(folder) from None
    try:
        return parse(root)
    except FormatVersionError as error:
        raise FormatVersionError(f"cannot open {folder.url}: {error}") from error
    except StoreError as error:
        hint = _repair_hint(folder)
        if not hint and (node := _v3_node(root)):
            raise _other_zarr(folder, node) from error
        raise StoreError(f"cannot open {folder.url}: {error}{hint}") from error


def _no_store(folder: Folder) -> StoreError | StoreNotFoundError:
    """The error for a folder without ``zarr.json``."""
    path = local_path(folder.url)
    if path is not None and path.is_file():
        return no_store(folder.url)
    hint = _repair_hint(folder)
    try:
        names = folder.names()
    except AccessError:  # who may not list may still be told that there is no zarr.json
        names = []
    if not hint and (node := _v2_node(folder)):
        return _other_zarr(folder, node)
    if hint or names:
        inside = stores_beside(path) if path is not None else []
        reason = f"but {', '.join(inside)}" if inside else "or an ingest into it has not ended"
        return StoreError(f"{folder.url} is not a cop-zarr store: it has no {ROOT}, {reason}{hint}")
    return no_store(folder.url)


def _v3_node(root: bytes) -> str | None:
    """The kind of a ``zarr.json``, "store" or "array"; None if it is neither, or ours and damaged."""
    try:
        document = json.loads(root)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or "zarr_format" not in document or f'"{INTEGRITY}"'.encode() in root:
        return None
    return "array" if document.get("node_type") == "array" else "store"


def _v2_node(folder: Folder) -> str | None:
    """The kind of Zarr v2 node in a folder, "store" or "array"; None if there is none."""
    for key, node in _V2_KEYS.items():
        try:
            folder.read(key, 1)
        except (FileNotFoundError, AccessError):  # who may not list is denied what is not there
            continue
        return node
    return None


def _other_zarr(folder: Folder, node: str) -> StoreError:
    """The error for Zarr data that cop-zarr did not write."""
    return StoreError(
        f"{folder.url} is a Zarr {node}, but not one that cop-zarr wrote; open it with "
        f"{_CALLS[node]}({folder.url!r})"
    )


def _repair_hint(folder: Folder) -> str:
    """The advice to repair, if there is a good copy of ``zarr.json`` to repair it from."""
    try:
        copy = folder.read(ROOT_COPY)
        parse(copy)
    except (FileNotFoundError, StorageError):
        return ""
    except StoreError:
        again = f". Its copy {ROOT_COPY} is not valid either: ingest the source again, elsewhere"
        return again if is_store(copy) else ""
    return f". {repair_advice(folder.url)}"
