"""What lies at a place: a store, something else, or nothing."""

from __future__ import annotations

import os
import shlex

from cop_zarr import settings
from cop_zarr.chunks import ChunkReader
from cop_zarr.errors import AccessError, FormatVersionError, StorageError, StoreError, StoreNotFoundError
from cop_zarr.layout import ROOT, ROOT_COPY, StoreDocument, is_store, parse
from cop_zarr.memory import MemoryCache
from cop_zarr.storage import REQUESTS_AT_ONCE, DiskCache, Folder


def reader_of(
    where: Folder,
    document: StoreDocument,
    workers: int | None,
    cache: DiskCache | None = None,
    memory: MemoryCache | None = None,
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
        raise StoreError(f"cannot open {where.url}: {error}{_mending(where)}") from error


def _no_store(where: Folder) -> StoreError | StoreNotFoundError:
    """What to say of a place without ``zarr.json``."""
    mending = _mending(where)
    try:
        names = where.names()
    except AccessError:  # who may not list may still be told that there is no zarr.json
        names = []
    if mending or names:
        return StoreError(
            f"{where.url} is not a cop-zarr store: it has no {ROOT}, or an ingest into it has not ended"
            f"{mending}"
        )
    return StoreNotFoundError(
        f"there is no store at {where.url}; make one with: cop-zarr ingest SOURCE {shlex.quote(where.url)}"
    )


def _mending(where: Folder) -> str:
    """What to do about a ``zarr.json`` that is not as it was."""
    try:
        mendable = is_store(where.read(ROOT_COPY))
    except (FileNotFoundError, StorageError):
        mendable = False
    return f". Mend it with: cop-zarr repair {shlex.quote(where.url)} --source TIF" if mendable else ""
