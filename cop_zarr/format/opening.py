"""What lies at a place: a store, something else, or nothing."""

from __future__ import annotations

import json
import os
import shlex
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
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.document import StoreDocument, is_store, parse
from cop_zarr.format.layout import INTEGRITY, ROOT, ROOT_COPY
from cop_zarr.storage import REQUESTS_AT_ONCE, DiskCache, Folder, StorageOptions

_V2_KEYS = {".zgroup": "store", ".zmetadata": "store", ".zarray": "array"}
_CALLS = {"store": "xarray.open_zarr", "array": "zarr.open_array"}


class StoreOptions(TypedDict, total=False):
    """Keywords of :func:`cop_zarr.open`: how a store is reached, and what is kept of it."""

    storage_options: StorageOptions | None
    """Passed to the fsspec filesystem of a URL."""

    workers: int | None
    """Chunks read at once, at most; by default ``COP_ZARR_WORKERS``, or from a disk as many as there are
    processors, up to 4, and over a network 64."""

    timeout: float
    """Seconds that one object may take over a network, retries included."""

    cache_bytes: int
    """Memory for decoded chunks and their totals; 0 keeps none."""

    cache_dir: str | os.PathLike[str] | None
    """A folder in which the objects that were read are kept; processes and stores may share it."""

    cache_disk_bytes: int
    """Size of that folder; the objects that were not used for the longest time are dropped first."""


def reader_of(
    where: Folder,
    document: StoreDocument,
    workers: int | None,
    cache: DiskCache | None = None,
    memory: LRUCache | None = None,
) -> ChunkReader:
    """Read the integrity table of a store, and be ready to read its chunks."""
    usual = REQUESTS_AT_ONCE if where.remote else min(4, os.cpu_count() or 1)
    return ChunkReader(where, document, settings.workers(workers, usual), cache, memory)


def read_document(where: Folder) -> StoreDocument:
    """Read a store's ``zarr.json``.

    Raises
    ------
    StoreNotFoundError, StoreError, FormatVersionError, AccessError, StorageError
        As :func:`open`.
    """
    try:
        root = where.read(ROOT)
    except FileNotFoundError:
        raise _no_store(where) from None
    try:
        return parse(root)
    except FormatVersionError as error:
        raise FormatVersionError(f"cannot open {where.url}: {error}") from error
    except StoreError as error:
        mending = _mending(where)
        if not mending and (node := _v3_node(root)):
            raise _another_writer(where, node) from error
        raise StoreError(f"cannot open {where.url}: {error}{mending}") from error


def _no_store(where: Folder) -> StoreError | StoreNotFoundError:
    """What to say of a place without ``zarr.json``."""
    mending = _mending(where)
    try:
        names = where.names()
    except AccessError:  # who may not list may still be told that there is no zarr.json
        names = []
    if not mending and (node := _v2_node(where)):
        return _another_writer(where, node)
    if mending or names:
        return StoreError(
            f"{where.url} is not a cop-zarr store: it has no {ROOT}, or an ingest into it has not ended"
            f"{mending}"
        )
    return StoreNotFoundError(
        f"there is no store at {where.url}; make one with: cop-zarr ingest SOURCE {shlex.quote(where.url)}"
    )


def _v3_node(root: bytes) -> str | None:
    """What a ``zarr.json`` is of, "store" or "array"; None if not of Zarr, or a damaged one of ours."""
    try:
        document = json.loads(root)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or "zarr_format" not in document or f'"{INTEGRITY}"'.encode() in root:
        return None
    return "array" if document.get("node_type") == "array" else "store"


def _v2_node(where: Folder) -> str | None:
    """What of Zarr v2 lies at a place, "store" or "array"; None if nothing does."""
    for key, node in _V2_KEYS.items():
        try:
            where.read(key, 1)
        except (FileNotFoundError, AccessError):  # who may not list is denied what is not there
            continue
        return node
    return None


def _another_writer(where: Folder, node: str) -> StoreError:
    """What to say of Zarr data that cop-zarr did not write."""
    return StoreError(
        f"{where.url} is a Zarr {node}, but not one that cop-zarr wrote; open it with "
        f"{_CALLS[node]}({where.url!r})"
    )


def _mending(where: Folder) -> str:
    """What to do about a ``zarr.json`` that is not as it was."""
    try:
        mendable = is_store(where.read(ROOT_COPY))
    except (FileNotFoundError, StorageError):
        mendable = False
    return f". Repair it with: cop-zarr repair {shlex.quote(where.url)} --source TIF" if mendable else ""
