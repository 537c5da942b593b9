"""From source to store: plan an ingest, then carry it out.

The source is cut into blocks; each worker takes one, decodes it, cuts it into chunks, encodes and writes
them. Memory is bounded by the blocks at work. What is written becomes a store only at the end: on a disk
the folder gets its name then, on an object store ``zarr.json`` is written then.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cop_zarr import product, settings
from cop_zarr.errors import SourceError, StoreExistsError
from cop_zarr.geotags import GeoTiffInfo
from cop_zarr.geotiff import Block, GeoTiff
from cop_zarr.layout import ROOT, Layout, belongs, is_store
from cop_zarr.source import located, sha256_of
from cop_zarr.storage import Folder, Progress, StorageOptions, folder
from cop_zarr.store import default_store
from cop_zarr.traversal import MEMORY_BYTES, cut, work_through
from cop_zarr.writing import StoreWriter

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
    strict: bool = False,
    workers: int | None = None,
    memory: int = MEMORY_BYTES,
    source_options: StorageOptions | None = None,
    storage_options: StorageOptions | None = None,
) -> IngestPlan:
    """Look at source and target, and say what an ingest would take; nothing is written.

    Parameters and errors are those of :func:`ingest`. A source that is not on a disk is copied to a
    temporary file, as an ingest does; one that would have to be downloaded from its publisher is not,
    and an InputError says so.
    """
    target = folder(settings.store_url(store), storage_options)
    _refuse_taken(target, overwrite)
    with located(source, source_options, download=False) as (path, url), GeoTiff(path, url) as tiff:
        if strict:
            _refuse_unpublished(url, sha256_of(path))
        return _plan(tiff, path, url, target.url, workers=workers, memory=memory)[0]


def ingest(
    source: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    strict: bool = False,
    workers: int | None = None,
    memory: int = MEMORY_BYTES,
    source_options: StorageOptions | None = None,
    storage_options: StorageOptions | None = None,
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
        Replace a cop-zarr store that is there. Anything else is never touched.
    strict : bool
        Refuse a source that is not the published file, by its SHA-256.
    workers : int, optional
        Blocks at work at once, at most; by default ``COP_ZARR_WORKERS`` or 4, and no more than the
        machine has processors.
    memory : int
        Bytes of memory to stay within.
    source_options, storage_options : mapping, optional
        Passed to the fsspec filesystem of the source's and of the store's URL.
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
        If the source is not a GeoTIFF that can be ingested, or damaged; see :mod:`cop_zarr.geotiff`.
    MemoryLimitError
        If its layout needs more memory than allowed.
    StoreExistsError
        If the place is taken.
    StorageError
        If the store cannot be written.

    Nothing of the store is left behind in any of these cases. On a disk, a store that is to be replaced
    stays until the new one is whole; an object store cannot rename, and the old one is removed first.
    """
    created = settings.timestamp()
    target = folder(settings.store_url(store), storage_options)
    _refuse_taken(target, overwrite)
    with (
        located(source, source_options, download=True, progress=progress) as (path, url),
        GeoTiff(path, url) as tiff,
        _hashing(path) as sha256,
    ):
        plan, blocks = _plan(tiff, path, url, target.url, workers=workers, memory=memory)
        if strict:
            _refuse_unpublished(url, sha256.result())
        with target.staged() as staging:
            writer = StoreWriter(plan.layout, staging)
            work_through(
                blocks,
                lambda block: writer.write(block, tiff.read(block)),
                plan.layout,
                threads=plan.workers,
                progress=progress,
            )
            source_record = _provenance(plan, sha256.result())
            written = writer.finish(source_record, created)
    default_store.cache_clear()
    rows, cols = plan.layout.chunk_grid
    return IngestReport(
        store=target.url,
        source=source_record,
        valid_cells=written.valid_cells,
        total_cells=plan.layout.grid.whole.cells,
        chunks_stored=written.chunks_stored,
        chunks_total=rows * cols,
        store_bytes=written.store_bytes,
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


def _refuse_taken(target: Folder, overwrite: bool) -> None:
    """Refuse a place that holds anything but a store that may be replaced."""
    if not target.names():
        return
    try:
        ours = is_store(target.read(ROOT))
    except FileNotFoundError:
        ours = False
    if not ours:
        raise StoreExistsError(
            f"{target.url} exists and is not a cop-zarr store; name another place for the store"
        )
    foreign = sorted(key for key in target.listing() if not belongs(key))
    if foreign:
        raise StoreExistsError(
            f"{target.url} holds {', '.join(foreign[:3])}, which no store has, and which would be lost; "
            "move it elsewhere, or name another place for the store"
        )
    if not overwrite:
        raise StoreExistsError(
            f"{target.url} is a store already; replace it with --overwrite (overwrite=True)"
        )


def _refuse_unpublished(url: str, sha256: str) -> None:
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
