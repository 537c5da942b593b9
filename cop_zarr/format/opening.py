"""What lies at a place: a store, something else, or nothing."""

from __future__ import annotations

import os
import shlex

from cop_zarr.core import settings
from cop_zarr.core.lru_cache import LRUCache
from cop_zarr.errors import (
    AccessError,
    ChunkError,
    CopZarrError,
    FormatVersionError,
    InputError,
    StorageError,
    StoreError,
    StoreNotFoundError,
)
from cop_zarr.foreign import ForeignDocument, ForeignReader, is_candidate, read_foreign
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.document import StoreDocument, is_store, parse
from cop_zarr.format.layout import ROOT, ROOT_COPY
from cop_zarr.storage import REQUESTS_AT_ONCE, DiskCache, Folder


def reader_of(
    where: Folder,
    document: StoreDocument,
    workers: int | None,
    cache: DiskCache | None = None,
    memory: LRUCache | None = None,
) -> ChunkReader:
    """Read the integrity table of a store, and be ready to read its chunks."""
    usual = REQUESTS_AT_ONCE if where.remote else min(4, os.cpu_count() or 1)
    count = settings.workers(workers, usual)
    if isinstance(document, ForeignDocument):
        return ForeignReader(where, document, count, LRUCache(0) if memory is None else memory)
    return ChunkReader(where, document, count, cache, memory)


def read_document(where: Folder, *, other_layouts: bool = False) -> StoreDocument:
    """Read a store's ``zarr.json``.

    Parameters
    ----------
    other_layouts : bool
        Whether a store of another layout will do: a :class:`ForeignDocument` then.

    Raises
    ------
    StoreNotFoundError, StoreError, FormatVersionError, AccessError, StorageError
        As :func:`open`.
    """
    try:
        root: bytes | None = where.read(ROOT)
    except FileNotFoundError:
        root = None
    try:
        if root is not None:
            return parse(root)
    except FormatVersionError as error:
        raise FormatVersionError(f"cannot open {where.url}: {error}") from error
    except StoreError as error:
        refusal: CopZarrError = StoreError(f"cannot open {where.url}: {error}{_mending(where)}")
        refusal.__cause__ = error
    else:
        refusal = _no_store(where)
    if not is_candidate(where, root):
        raise refusal
    if not other_layouts:
        raise StoreError(
            f"{where.url} is not a cop-zarr store of this project's own layout: it has no integrity table, "
            "so there is nothing to check its chunks against, or to restore them by. It can be asked "
            "(cop-zarr info shows what it is); for checksums, make a store of the source: cop-zarr "
            "ingest SOURCE STORE"
        )
    return _of_another_layout(where, root)


def refuse_uncacheable(where: Folder, document: StoreDocument) -> None:
    """Refuse to keep objects of a store that has no checksums on a disk.

    Raises
    ------
    InputError
        If it is of another layout: nothing would tell whether what is kept is what is there.
    """
    if isinstance(document, ForeignDocument):
        raise InputError(
            f"cache_dir needs the checksums of cop-zarr's own layout, which {where.url} does not have; "
            "leave it out"
        )


def _of_another_layout(where: Folder, root: bytes | None) -> ForeignDocument:
    """Read the metadata of a store of another layout, or say what it lacks."""
    try:
        return read_foreign(where, root)
    except ChunkError:
        raise
    except StoreError as error:
        raise StoreError(
            f"cannot open {where.url}: its metadata is not that of a cop-zarr store, and as a store of "
            f"another layout it is refused: {error}"
        ) from error


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
