"""Ingest a GeoTIFF into a store.

The source is cut into blocks; each worker decodes one, cuts it into chunks, encodes and writes them. Memory
is bounded by the blocks at work. What is written becomes a store only at the end: on a disk its folder is
renamed then, on an object store ``zarr.json`` is written then. Until then a journal records the finished
blocks, so that a run that was killed can be resumed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np

from cop_zarr.core import product, settings
from cop_zarr.core.progress import stage
from cop_zarr.core.threads import Background
from cop_zarr.errors import (
    EncodingError,
    SourceError,
    StorageError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
)
from cop_zarr.format.encodings import find_encoding
from cop_zarr.format.layout import ROOT, is_store_key
from cop_zarr.format.opening import open_reader, read_document
from cop_zarr.source.geotiff import Block, GeoTiff
from cop_zarr.storage import Folder
from cop_zarr.writing.blockwise import map_blocks, requests_at_once
from cop_zarr.writing.destination import check_destination, check_only_store_objects, holds_store
from cop_zarr.writing.journal import VERSIONS, IngestJob, Journal
from cop_zarr.writing.losses import LOSS_PASSES, Losses
from cop_zarr.writing.options import Run, RunOptions, start_run
from cop_zarr.writing.plan import IngestPlan, make_plan
from cop_zarr.writing.writer import BlockRecord, StoreWriter


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did."""

    store: str
    source: dict[str, Any]
    """Provenance as recorded in the store, with url, bytes, sha256, published, synthetic, container.

    And two counts: ``nan_cells``, without a value in any band (NaN, or what the nodata tag says), stored
    as cells without data; and ``non_finite_cells``, with data, and NaN or an infinity in some band, as the
    answers that they are part of can have.
    """
    valid_cells: int
    """Cells with data."""
    total_cells: int
    chunks_stored: int
    """Chunks with data."""
    chunks_total: int
    store_bytes: int
    """Size of all objects written."""


def plan_ingest(
    source: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    strict: bool = False,
    shards: bool = False,
    encoding: str = "float32",
    **options: Unpack[RunOptions],
) -> IngestPlan:
    """Check source and destination, and estimate what an ingest would take; nothing is written.

    Parameters and errors are those of :func:`ingest`. A source that is not on a disk is copied to a
    temporary file, as by an ingest; one that would have to be downloaded from its publisher is not, and an
    InputError says so.
    """
    with start_run("plan", options) as run:
        find_encoding(encoding)
        target = run.folder(store)
        check_destination(target, overwrite=overwrite, resume=resume)
        with run.open_source(source) as tiff:
            if strict:
                _check_published(tiff, tiff.sha256())
            return make_plan(tiff, target.url, run, shards=shards, encoding=encoding)[0]


def ingest(
    source: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    strict: bool = False,
    break_lock: bool = False,
    shards: bool = False,
    encoding: str = "float32",
    **options: Unpack[RunOptions],
) -> IngestReport:
    """Convert the Copernicus-Embed GeoTIFF into a store.

    Parameters
    ----------
    source : str or path, optional
        The GeoTIFF: a path, an fsspec URL, or a folder with one ``embed_map_*.tif``. By default the
        folder that ``RS_EMBED_COP_DIR`` names (``data/copernicus_embed``), or else the published file in
        the cache of huggingface_hub, or else that file is downloaded into the folder, unless
        ``HF_HUB_OFFLINE`` is set.
    store : str or path, optional
        The store to write: a path or an fsspec URL; by default what ``COP_ZARR_STORE`` names, or
        ``data/copernicus_embed.zarr``.
    overwrite : bool
        Replace a cop-zarr store that is there, finished or not. Anything else is never touched.
    resume : bool
        Continue an interrupted ingest of the same source; start from the beginning if there is none. A
        whole store of the same source stays as it is.
    strict : bool
        Refuse a source that is not the published file, by its SHA-256.
    break_lock : bool
        Take the lock of another process that is writing there, which then stops. For one that cannot end
        any more, on another machine; on a disk, locks end with their process.
    shards : bool
        Write shards: objects of 64 x 64 cells instead of 8 x 8, some 200 instead of 6,800 for the globe.
        They are for publishing: several chunks are read by one request. GDAL before 3.13 cannot read them.
    encoding : {"float32", "float16", "int8"}
        How numbers are stored. float32 keeps every bit. float16 takes half of the bytes, and int8, with a
        scale for each cell (its largest magnitude / 127), a quarter: both are for publishing, and what they
        lose is in ``info()["encoding"]``. int8 holds no NaN and no infinity.
    workers : int, optional
        Blocks at work at once, at most; by default ``COP_ZARR_WORKERS`` or 4, and no more than the
        machine has processors.
    memory : int
        Bytes of memory to stay within; 1 GiB by default.
    source_options, storage_options : mapping, optional
        Passed to the fsspec filesystem of the source's and of the store's URL.
    timeout : float
        Seconds that one object may take over a network, retries included; 60 by default.
    progress : callable or bool, optional
        True shows a bar. A function is called with the bytes done and the bytes in all: first those of a
        copy or download, where the source is not on a disk, then those of the decoded array.

    Returns
    -------
    IngestReport

    Raises
    ------
    SourceNotFoundError, DownloadError
        If there is no source, or it could not be downloaded.
    SourceError
        If the source is damaged, or is not a GeoTIFF that can be ingested.
    EncodingError
        If ``encoding`` cannot hold a number of the source.
    MemoryLimitError
        If its layout needs more memory than allowed.
    StoreExistsError
        If something is there already, an unfinished ingest included.
    StoreBusyError
        If another process is writing there, or has broken this one's lock.
    InputError
        If the store's URL can only be read, or the encoding is unknown.
    StorageError
        If the store cannot be written.

    Notes
    -----
    If this raises, nothing that opens as a store is left behind. If the source is at fault, nothing at all
    is left; after other failures, and if it is killed, what was finished stays for ``resume``. On a disk,
    a store that is to be replaced stays until the new one is whole; an object store cannot rename, and the
    ``zarr.json`` of the old one is removed first.
    """
    with start_run("ingest", options) as run:
        find_encoding(encoding)
        job = IngestJob(settings.timestamp(), overwrite, shards=shards, encoding=encoding)
        target = run.folder(store)
        check_destination(target, overwrite=overwrite, resume=resume)
        with (
            run.open_source(source, download=True) as tiff,
            closing(Background(tiff.sha256)) as sha256,
        ):
            plan, blocks = make_plan(tiff, target.url, run, shards=shards, encoding=encoding)
            if strict:
                _check_published(tiff, sha256.result())
            with target.locked(break_lock=break_lock):
                # Again: only now can no other process write there.
                may_resume = check_destination(target, overwrite=overwrite, resume=resume)
                journal = _start_or_resume(target, job, sha256, resume=may_resume)
                try:
                    if journal is not None:
                        _write(
                            tiff, target.staging, journal, plan=plan, blocks=blocks, sha256=sha256, run=run
                        )
                        _publish(target, journal)
                    target.remove_work(is_store_key)
                except (SourceError, EncodingError):
                    if journal is not None:
                        journal.discard()
                    raise
                except StorageError as error:
                    raise type(error)(
                        f"{error}. What is finished has been kept: resume with resume=True"
                    ) from error
        return _report(target)


def _start_or_resume(
    target: Folder, job: IngestJob, sha256: Background[str], *, resume: bool
) -> Journal | None:
    """The journal of a new or a resumed job; None if the store is complete already."""
    left = None
    if resume:
        left = IngestJob.read(target)
        if left is not None:
            left = replace(left, overwrite=job.overwrite or left.overwrite)
            journal = Journal(target, left)
            finished, published = journal.is_finished(), journal.is_published()
            if (finished or published) and _makes_the_same(left, job, sha256):
                if finished:
                    _publish(target, journal)
                return None
            if published:
                left = None  # another whole store; only its journal was left over
        if left is None and _is_complete(target, job, sha256.result()):
            return None
    if left is not None:
        if not _makes_the_same(left, job, sha256) and not job.overwrite:
            raise StoreExistsError(
                f"{target.work.url} holds an unfinished ingest of {_described(left)}; resume that one, or "
                "start again with overwrite=True"
            )
        if _makes_the_same(left, job, sha256) and left.made_by == VERSIONS:
            return Journal(target, left)
        job = replace(job, overwrite=left.overwrite)
    journal = Journal(target, job)
    journal.start()
    return journal


def _makes_the_same(left: IngestJob, job: IngestJob, sha256: Background[str]) -> bool:
    """Whether an unfinished job has the source and the layout of a new one."""
    same_layout = (left.shards, left.encoding) == (job.shards, job.encoding)
    return same_layout and left.source_sha256 in {None, sha256.result()}


def _described(left: IngestJob) -> str:
    shards = "with shards=True" if left.shards else "without shards"
    return f"the source with SHA-256 {left.source_sha256}, {shards}, with encoding={left.encoding!r}"


def _publish(target: Folder, journal: Journal) -> None:
    """Have a finished store appear, unless something was put into the old one meanwhile."""
    if journal.job.overwrite:
        check_only_store_objects(target)
    journal.publish()


def _is_complete(target: Folder, job: IngestJob, sha256: str) -> bool:
    """Whether a folder holds the whole store that a job makes; any other store may only be overwritten."""
    try:
        document = read_document(target)
        has_shards, encoding = document.layout.shard_cells is not None, document.layout.encoding.name
        if document.record["source"]["sha256"] != sha256:
            found = "a store of another source"
        elif has_shards != job.shards:
            found = f"a store of this source {'with' if has_shards else 'without'} shards"
        elif encoding != job.encoding:
            found = f"a store of this source with the encoding {encoding}"
        else:
            return True
    except StoreNotFoundError:
        return False
    except StoreError as error:
        found = f"no whole store ({error})"
    if not job.overwrite and holds_store(target):
        raise StoreExistsError(f"{target.url} holds {found}; replace it with overwrite=True")
    return False


def _write(
    tiff: GeoTiff,
    staging: Folder,
    journal: Journal,
    *,
    plan: IngestPlan,
    blocks: list[Block],
    sha256: Background[str],
    run: Run,
) -> None:
    """Write what is missing of a store, ``zarr.json`` last."""
    stages = 1 if plan.layout.encoding.is_lossless else 1 + LOSS_PASSES
    requests = requests_at_once(staging, plan.layout, plan.workers)
    writer = StoreWriter(plan.layout, staging, requests, plan.info.missing)
    for record in journal.resume(plan.layout):
        writer.restore(record)

    def write(block: Block) -> BlockRecord | None:
        if writer.is_restored(block):
            return None
        with tiff.buffer() as buffer:
            return writer.write(block, tiff.read(block, buffer))

    progress = stage(run.progress, 0, stages)
    for written in map_blocks(write, blocks, plan.layout, workers=plan.workers, progress=progress):
        if sha256.done():
            journal.set_source(sha256.result())
        if written is not None:
            journal.record(written)
    journal.set_source(sha256.result())
    losses = _measure(tiff, blocks, plan, writer.valid, run)
    tiff.check_unchanged()
    provenance = _provenance(plan, sha256.result(), writer.missing)
    objects = writer.documents(provenance, journal.job.created, losses)
    journal.remove_strays(objects.keys() | writer.object_keys())
    journal.finish(objects[ROOT])
    writer.finish(objects)


def _measure(
    tiff: GeoTiff, blocks: list[Block], plan: IngestPlan, valid: np.ndarray, run: Run
) -> dict[str, Any] | None:
    """What the store's encoding loses; the source is read again."""

    @contextmanager
    def read(block: Block) -> Iterator[np.ndarray]:
        with tiff.buffer() as buffer:
            yield tiff.read(block, buffer)

    losses = Losses(plan.layout, valid, plan.info.missing)
    return losses.measure(read, blocks, workers=plan.workers, progress=run.progress)


def _report(target: Folder) -> IngestReport:
    document = read_document(target)
    reader = open_reader(target, document, workers=1)
    root_bytes = len(target.read(ROOT))
    small_bytes = sum(record.length for record in document.objects.values())
    return IngestReport(
        store=target.url,
        source=document.record["source"],
        valid_cells=int(reader.read_valid().sum()),
        total_cells=document.layout.grid.whole.cells,
        chunks_stored=int((reader.lengths > 0).sum()),
        chunks_total=reader.lengths.size,
        store_bytes=reader.encoded.stored_bytes + small_bytes + 2 * root_bytes,  # with its copy
    )


def _check_published(tiff: GeoTiff, sha256: str) -> None:
    if sha256 != product.SHA256:
        raise SourceError(
            f"{tiff.name} is not the published file: its SHA-256 is {sha256}, the published one "
            f"{product.SHA256}; without strict=True it is ingested, and recorded as unpublished"
        )


def _provenance(plan: IngestPlan, sha256: str, missing: np.ndarray) -> dict[str, Any]:
    cleared, not_finite = missing.sum(axis=(1, 2)).tolist()
    return {
        "url": plan.source,
        "bytes": plan.source_bytes,
        "sha256": sha256,
        "published": sha256 == product.SHA256,
        "synthetic": plan.info.synthetic,
        "container": plan.info.container,
        "nan_cells": cleared,
        "non_finite_cells": not_finite,
    }
