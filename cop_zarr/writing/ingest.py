"""From source to store: plan an ingest, then carry it out.

The source is cut into blocks; each worker takes one, decodes it, cuts it into chunks, encodes and writes
them. Memory is bounded by the blocks at work. What is written becomes a store only at the end: on a disk
the folder gets its name then, on an object store ``zarr.json`` is written then. Until then a journal says
what is finished, so that a run that was killed can be resumed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cop_zarr.core import product, settings
from cop_zarr.core.progress import Progress
from cop_zarr.errors import (
    SourceError,
    StorageError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
)
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.layout import ROOT
from cop_zarr.format.opening import read_document, reader_of
from cop_zarr.source.geotiff import Block, GeoTiff
from cop_zarr.source.locate import located, sha256_of
from cop_zarr.source.tags import GeoTiffInfo
from cop_zarr.storage import TIMEOUT_SECONDS, Folder, StorageOptions, folder
from cop_zarr.writing.blockwise import MEMORY_BYTES, cut, map_blocks
from cop_zarr.writing.destination import check_destination, check_only_store_objects, is_store_place
from cop_zarr.writing.journal import MADE_BY, Job, Journal
from cop_zarr.writing.writer import StoreWriter

STORED_RATIO = 0.91
"""Stored size of a cell with data against its decoded size: the table in docs/store-format.md."""

LAND_SHARE = 0.3
"""Share of the lattice's cells that have data in the published file: about 310,000 of 1,038,240."""


@dataclass(frozen=True)
class IngestPlan:
    """What an ingest would do.

    Attributes
    ----------
    source, store : str
        Where from and where to, without credentials.
    info : GeoTiffInfo
        What the source's tags say.
    source_bytes : int
        Size of the source file.
    layout : Layout
        Grid, bands and chunks of the store.
    blocks : int
        Pieces that the source is read in.
    workers : int
        Blocks at work at once: as many as asked for and as memory allows.
    memory_bytes : int
        Estimated peak.
    store_bytes : int
        Estimated size of the store, if as much of it holds data as of the published file.
    """

    source: str
    store: str
    info: GeoTiffInfo
    source_bytes: int
    layout: Layout
    blocks: int
    workers: int
    memory_bytes: int
    store_bytes: int


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did.

    Attributes
    ----------
    store : str
        Where the store is.
    source : dict
        Provenance as it is kept in the store: url, bytes, sha256, published, synthetic, container.
    valid_cells, total_cells : int
        Cells with data, and all cells.
    chunks_stored, chunks_total : int
        Chunks with data, and all chunks.
    store_bytes : int
        Size of all objects written.
    """

    store: str
    source: dict[str, Any]
    valid_cells: int
    total_cells: int
    chunks_stored: int
    chunks_total: int
    store_bytes: int


def plan_ingest(
    source: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    strict: bool = False,
    workers: int | None = None,
    memory: int = MEMORY_BYTES,
    source_options: StorageOptions | None = None,
    storage_options: StorageOptions | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> IngestPlan:
    """Look at source and target, and say what an ingest would take; nothing is written.

    Parameters and errors are those of :func:`ingest`. A source that is not on a disk is copied to a
    temporary file, as an ingest does; one that would have to be downloaded from its publisher is not,
    and an InputError says so.
    """
    target = folder(settings.store_url(store), storage_options, timeout)
    check_destination(target, overwrite=overwrite, resume=resume)
    with (
        located(source, source_options, download=False, timeout=timeout) as (path, url),
        GeoTiff(path, url) as tiff,
    ):
        if strict:
            _check_published(url, sha256_of(path))
        return _plan(tiff, path, url, target.url, workers=workers, memory=memory)[0]


def ingest(
    source: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    strict: bool = False,
    workers: int | None = None,
    memory: int = MEMORY_BYTES,
    source_options: StorageOptions | None = None,
    storage_options: StorageOptions | None = None,
    timeout: float = TIMEOUT_SECONDS,
    progress: Progress | None = None,
) -> IngestReport:
    """Convert the Copernicus-Embed GeoTIFF into a store.

    Parameters
    ----------
    source : str or path, optional
        The GeoTIFF: a path, an fsspec URL, or a folder with one ``embed_map_*.tif``. By default the
        folder that ``RS_EMBED_COP_DIR`` names (``data/copernicus_embed``), into which the published
        file is downloaded if it is not there.
    store : str or path, optional
        Where to: a path or an fsspec URL; by default what ``COP_ZARR_STORE`` names, or
        ``data/copernicus_embed.zarr``.
    overwrite : bool
        Replace a cop-zarr store that is there, finished or not. Anything else is never touched.
    resume : bool
        Go on with what an interrupted ingest of the same source has left; begin anew if there is
        nothing to go on with. A store of the same source that is whole stays as it is.
    strict : bool
        Refuse a source that is not the published file, by its SHA-256.
    workers : int, optional
        Blocks at work at once, at most; by default ``COP_ZARR_WORKERS`` or 4, and no more than the
        machine has processors.
    memory : int
        Bytes of memory to stay within.
    source_options, storage_options : mapping, optional
        Passed to the fsspec filesystem of the source's and of the store's URL.
    timeout : float
        Seconds that one object may take over a network, with all its tries.
    progress : callable, optional
        Called with the bytes done and the bytes in all: first those of a copy or download, where the
        source is not on a disk, then those of the decoded array.

    Returns
    -------
    IngestReport

    Raises
    ------
    SourceNotFoundError, DownloadError
        If there is no source, or it could not be had.
    SourceError
        If the source is not a GeoTIFF that can be ingested, or damaged; see ``cop_zarr.source.geotiff``.
    MemoryLimitError
        If its layout needs more memory than allowed.
    StoreExistsError
        If the place is taken, also by an unfinished ingest.
    StoreBusyError
        If another process is writing there.
    InputError
        If the place can only be read.
    StorageError
        If the store cannot be written.

    Notes
    -----
    If this raises, nothing that opens as a store is left behind. If the source is at fault, nothing at all
    is left; after other failures, and if it is killed, what was finished stays for ``resume``. On a disk,
    a store that is to be replaced stays until the new one is whole; an object store cannot rename, and the
    old one is removed first.
    """
    created = settings.timestamp()
    target = folder(settings.store_url(store), storage_options, timeout)
    check_destination(target, overwrite=overwrite, resume=resume)
    with (
        located(source, source_options, download=True, progress=progress, timeout=timeout) as (path, url),
        GeoTiff(path, url) as tiff,
        _hashing(path) as sha256,
    ):
        plan, blocks = _plan(tiff, path, url, target.url, workers=workers, memory=memory)
        if strict:
            _check_published(url, sha256.result())
        with target.claimed():
            check_destination(
                target, overwrite=overwrite, resume=resume
            )  # nobody else can have come between
            journal = _begun(target, Job(created, overwrite), sha256, resume=resume)
            with _kept(journal):
                if journal is not None:
                    _write(
                        tiff,
                        target.staging,
                        journal,
                        plan=plan,
                        blocks=blocks,
                        sha256=sha256,
                        progress=progress,
                    )
                    if journal.job.overwrite:
                        check_only_store_objects(target)  # what has come meanwhile must not be lost
                    target.publish(replace=journal.job.overwrite)
                target.sweep()
    return _report(target)


def _begun(target: Folder, job: Job, sha256: Future[str], *, resume: bool) -> Journal | None:
    """The journal of a new or an interrupted job; None if the store is whole already."""
    left = Job.read(target.staging) if resume else None
    if left is not None and Journal(target.staging, left).is_finished():
        if left.source_sha256 == sha256.result():
            target.publish(replace=job.overwrite or left.overwrite)
            return None
        if target.staging is target:
            left = None  # a whole store, of another source; only its journal was left over
    if left is None and resume and _holds(target, sha256, overwrite=job.overwrite):
        return None
    if left is not None and left.source_sha256 not in {None, sha256.result()} and not job.overwrite:
        raise StoreExistsError(
            f"{target.staging.url} holds an unfinished ingest of another source (SHA-256 "
            f"{left.source_sha256}); go on with that one, or begin anew with --overwrite (overwrite=True)"
        )
    if left is not None and left.source_sha256 in {None, sha256.result()}:
        if left.made_by == MADE_BY:
            return Journal(target.staging, replace(left, overwrite=job.overwrite or left.overwrite))
        job = replace(job, overwrite=job.overwrite or left.overwrite)
    journal = Journal(target.staging, job)
    journal.begin()
    return journal


def _holds(target: Folder, sha256: Future[str], *, overwrite: bool) -> bool:
    """Whether a place holds a whole store of this source; any other store may only be overwritten."""
    try:
        if read_document(target).record["source"]["sha256"] == sha256.result():
            return True
        what = "a store of another source"
    except StoreNotFoundError:
        return False
    except StoreError as error:
        what = f"no whole store ({error})"
    if not overwrite and is_store_place(target):
        raise StoreExistsError(f"{target.url} holds {what}; replace it with --overwrite (overwrite=True)")
    return False


def _write(
    tiff: GeoTiff,
    staging: Folder,
    journal: Journal,
    *,
    plan: IngestPlan,
    blocks: list[Block],
    sha256: Future[str],
    progress: Progress | None,
) -> None:
    """Write what is missing of a store, ``zarr.json`` last."""
    with StoreWriter(plan.layout, staging) as writer:
        for piece in journal.resume(plan.layout):
            writer.restore(piece)

        def work(block: Block) -> None:
            if not writer.has(block):
                journal.record(writer.write(block, tiff.read(block)))
            if sha256.done():
                journal.identify(sha256.result())

        map_blocks(blocks, work, plan.layout, threads=plan.workers, progress=progress)
        journal.identify(sha256.result())
        tiff.check_unchanged()
        objects = writer.documents(_provenance(plan, sha256.result()), journal.job.created)
        journal.finish(objects[ROOT])
        writer.finish(objects)


@contextmanager
def _kept(journal: Journal | None) -> Iterator[None]:
    """Keep what is finished for another run, unless the source is to blame."""
    try:
        yield
    except SourceError:
        if journal is not None:
            journal.discard()
        raise
    except StorageError as error:
        raise type(error)(
            f"{error}. What is finished has been kept: go on with --resume (resume=True)"
        ) from error


def _report(target: Folder) -> IngestReport:
    """What the store that is there now holds."""
    document = read_document(target)
    reader = reader_of(target, document, workers=1)
    root = len(target.read(ROOT))
    small = sum(record.length for record in document.objects.values())
    return IngestReport(
        store=target.url,
        source=document.record["source"],
        valid_cells=int(reader.read_valid().sum()),
        total_cells=document.layout.grid.whole.cells,
        chunks_stored=int((reader.lengths > 0).sum()),
        chunks_total=reader.lengths.size,
        store_bytes=int(reader.lengths.sum(dtype="i8")) + small + 2 * root,  # zarr.json and its copy
    )


def _plan(
    tiff: GeoTiff, path: Path, url: str, store: str, *, workers: int | None, memory: int
) -> tuple[IngestPlan, list[Block]]:
    info = tiff.info
    layout = Layout(info.grid, info.bands)
    pieces = cut(tiff, layout, workers=workers, memory=memory)
    plan = IngestPlan(
        source=url,
        store=store,
        info=info,
        source_bytes=path.stat().st_size,
        layout=layout,
        blocks=len(pieces.blocks),
        workers=pieces.threads,
        memory_bytes=pieces.memory_bytes,
        store_bytes=int(info.grid.whole.cells * LAND_SHARE * info.bands * 4 * STORED_RATIO),
    )
    return plan, pieces.blocks


def _check_published(url: str, sha256: str) -> None:
    if sha256 != product.SHA256:
        raise SourceError(
            f"{url} is not the published file: its SHA-256 is {sha256}, the published one "
            f"{product.SHA256}; without --strict (strict=True) it is ingested, and recorded as unpublished"
        )


@contextmanager
def _hashing(path: Path) -> Iterator[Future[str]]:
    """Hash a file beside the work in hand."""
    with ThreadPoolExecutor(1, "cop-zarr-hash") as pool:
        yield pool.submit(sha256_of, path)


def _provenance(plan: IngestPlan, sha256: str) -> dict[str, Any]:
    info = plan.info
    return {
        "url": plan.source,
        "bytes": plan.source_bytes,
        "sha256": sha256,
        "published": sha256 == product.SHA256,
        "synthetic": info.synthetic,
        "container": info.container,
    }
