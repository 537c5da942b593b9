"""Copy a store, with shards or without, or in another encoding.

Chunks move as they are stored, each checked on the way, unless their encoding changes.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from cop_zarr.core import settings
from cop_zarr.core.grid import Window
from cop_zarr.core.progress import stage
from cop_zarr.errors import AccessError, CopZarrError, InputError, StoreExistsError
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.document import StoreDocument
from cop_zarr.format.encodings import Encoding, find_encoding
from cop_zarr.format.layout import ROOT, SHARD_CELLS, is_store_key
from cop_zarr.format.opening import open_reader, read_document
from cop_zarr.querying.region import read_grid
from cop_zarr.storage import LOCK, REQUESTS_AT_ONCE, Folder, LocalFolder, read_if_there
from cop_zarr.writing.blockwise import cpu_workers, map_blocks
from cop_zarr.writing.copied_components import Carried, copy_components
from cop_zarr.writing.destination import State, check_destination, check_only_store_objects, classify
from cop_zarr.writing.journal import IngestJob, Journal
from cop_zarr.writing.losses import LOSS_PASSES, Losses
from cop_zarr.writing.options import Run, RunOptions, start_run
from cop_zarr.writing.writer import BlockRecord, StoreWriter


@dataclass(frozen=True)
class CopyReport:
    """What a copy did."""

    store: str
    """The store that was copied."""
    copy: str
    """The new store."""
    shards: bool
    """Whether the new store has shards."""
    encoding: str
    """How the new store's numbers are stored."""
    chunks_copied: int
    """Chunks with data, each checked."""
    objects_written: int
    """Objects that hold them, one each without shards."""
    sha256: str
    """Identity of the new store."""
    components: Carried
    """Whether the principal components that the old one keeps were copied, or none are kept."""


def copy(
    store: str | os.PathLike[str],
    other: str | os.PathLike[str],
    *,
    shards: bool | None = None,
    encoding: str | None = None,
    overwrite: bool = False,
    break_lock: bool = False,
    **options: Unpack[RunOptions],
) -> CopyReport:
    """Copy a store, with shards or without them, or in another encoding; the source is not needed.

    Every number keeps its bits, and chunks their bytes, unless they are encoded anew: each is compared with
    its recorded length and CRC-32C before it is written. The new store has the provenance of the old one,
    and the bytes that an ingest of its source would write. It has the components that the old one keeps, if
    its numbers are the same; those that are damaged have to be derived anew, as the report says.

    Parameters
    ----------
    store : str or path
        The store to copy: a path or an fsspec URL.
    other : str or path
        The store to write.
    shards : bool, optional
        Whether the new store has shards, as for :func:`cop_zarr.ingest`; by default if the old one has.
    encoding : {"float32", "float16", "int8"}, optional
        How the new store's numbers are stored, as for :func:`cop_zarr.ingest`; by default as the old one's.
        Only float32 can be encoded anew: of other stores, what was lost would be lost twice, or hidden.
    overwrite, break_lock
        As for :func:`cop_zarr.ingest`. A copy that was killed is not resumed: ``overwrite`` starts again.
    source_options, storage_options : mapping, optional
        Passed to the fsspec filesystem of the old store's and of the new store's URL.
    workers, timeout, progress
        As for :func:`cop_zarr.ingest`; ``memory`` is not used: a copy takes some 200 MB.

    Returns
    -------
    CopyReport

    Raises
    ------
    StoreNotFoundError, StoreError
        If the store is absent, or is damaged; nothing is left of the copy then.
    StoreExistsError, StoreBusyError
        If something is at the new place already, or another process is writing there.
    InputError
        If both places are the same or one is inside the other, or the new store's URL can only be read; if
        the encoding is unknown, or another one than that of a store that is not float32.
    EncodingError
        If ``encoding`` cannot hold a number of the store; nothing is left of the copy then.
    StorageError
        If one of them cannot be read or written.
    """
    with start_run("copy", options) as run:
        source = replace(run, storage_options=run.source_options).folder(store)
        target = run.folder(other)
        _check_apart(source, target)
        document = read_document(source)
        reader = open_reader(source, document, run.workers)
        has_shards = document.layout.shard_cells is not None if shards is None else shards
        layout = replace(
            document.layout,
            shard_cells=SHARD_CELLS if has_shards else None,
            encoding=_encoding(source, document, encoding),
        )
        _check_free(target, overwrite=overwrite)
        with target.locked(break_lock=break_lock):
            _check_not_locked_too(source, target)
            _check_free(target, overwrite=overwrite)
            journal = Journal(target, _job(document, layout, overwrite=overwrite))
            journal.start()
            try:
                writer = _write(reader, document, target.staging, layout, run)
                record = document.record
                same_numbers = layout.encoding == document.layout.encoding
                losses = document.losses if same_numbers else _measure(reader, writer.valid, layout, run)
                objects = writer.documents(record["source"], record["created"], losses)
                components, keys = copy_components(
                    reader, target.staging, objects[ROOT], same_numbers=same_numbers
                )
                journal.remove_strays(objects.keys() | writer.object_keys() | keys)
                journal.finish(objects[ROOT])
                writer.finish(objects)
            except CopZarrError:
                journal.discard()
                raise
            if overwrite:
                check_only_store_objects(target)
            journal.publish()
            target.remove_work(is_store_key)
        return CopyReport(
            store=source.url,
            copy=target.url,
            shards=has_shards,
            encoding=layout.encoding.name,
            chunks_copied=int((reader.lengths > 0).sum()),
            objects_written=len(writer.object_keys()),
            sha256=read_document(target).sha256,
            components=components,
        )


def _write(
    reader: ChunkReader, document: StoreDocument, staging: Folder, layout: Layout, run: Run
) -> StoreWriter:
    """Write the objects that hold chunks, those of one shard's cells after another."""
    workers = settings.workers(run.workers)
    requests = max(1, REQUESTS_AT_ONCE // workers)
    writer = StoreWriter(layout, staging, requests if staging.remote else 1, nodata=None)
    writer.valid[:] = reader.read_valid()
    if reader.layout.encoding.has_scale:
        writer.scale[:] = reader.read_scale()
    anew = layout.encoding != document.layout.encoding

    def move(window: Window) -> BlockRecord:
        chunks = [(part.row, part.col) for part in layout.parts(window)]
        held = [index for index in chunks if reader.holds_data(*index)]
        if anew:
            return writer.write(window, read_window(reader, window))
        return writer.write_encoded(window, reader.read_encoded(held, requests))

    progress = stage(run.progress, 0, 1 + LOSS_PASSES * anew)
    for _ in map_blocks(move, _windows(layout), layout, workers=workers, progress=progress):
        pass
    return writer


def _windows(layout: Layout) -> list[Window]:
    """The cells of a grid in windows of a shard each, whether there are shards or not."""
    shards = replace(layout, shard_cells=SHARD_CELLS)
    rows, cols = shards.object_grid
    return [shards.object_window(row, col) for row in range(rows) for col in range(cols)]


def _measure(reader: ChunkReader, valid: np.ndarray, layout: Layout, run: Run) -> dict[str, Any] | None:
    """What the copy's encoding loses; the store is read again."""

    def read(window: Window) -> AbstractContextManager[np.ndarray]:
        return nullcontext(read_window(reader, window))

    losses = Losses(layout, valid, nodata=None)
    return losses.measure(read, _windows(layout), workers=cpu_workers(run.workers), progress=run.progress)


def read_window(reader: ChunkReader, window: Window) -> np.ndarray:
    """All cells of a window: float32, ``(rows, cols, bands)``."""
    return np.moveaxis(read_grid(reader, window), 0, -1)


def _job(document: StoreDocument, layout: Layout, *, overwrite: bool) -> IngestJob:
    """The job of writing a copy, which nothing resumes."""
    shards = layout.shard_cells is not None
    created, encoding = document.record["created"], layout.encoding.name
    return IngestJob(created, overwrite, document.sha256, shards=shards, encoding=encoding)


def _encoding(source: Folder, document: StoreDocument, name: str | None) -> Encoding:
    """The encoding of a copy; InputError unless it is the store's own, or that is float32."""
    own = document.layout.encoding
    found = own if name is None else find_encoding(name)
    if found != own and not own.is_lossless:
        raise InputError(
            f"{source.url} is stored as {own.name}, which has lost something of its source; it can be "
            f"copied as {own.name} only. For {found.name}, ingest the source, or copy a float32 store"
        )
    return found


def _check_apart(source: Folder, target: Folder) -> None:
    """Raise InputError unless two folders have nothing in common, as far as their addresses tell."""
    one, two = (f"{each.url.rstrip('/')}/" for each in (source, target))
    if isinstance(source, LocalFolder) and isinstance(target, LocalFolder):
        paths = [Path(os.path.realpath(place)) for place in (one, two)]
        same = any(_is_inside(*pair) for pair in (paths, paths[::-1]))
    else:
        same = one.startswith(two) or two.startswith(one)
    if same:
        raise _not_apart(source, target)


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether a path is a folder, by whatever name, or inside it."""
    return any(
        part == folder or (part.exists() and folder.exists() and part.samefile(folder))
        for part in (path, *path.parents)
    )


def _check_not_locked_too(source: Folder, target: Folder) -> None:
    """Raise InputError if the lock of the target is in the source: servers have several addresses."""
    with suppress(AccessError):  # of an object that is not there
        if target.remote and (lock := read_if_there(source, LOCK)) and lock == target.read(LOCK):
            raise _not_apart(source, target)


def _not_apart(source: Folder, target: Folder) -> InputError:
    return InputError(
        f"cannot copy {source.url} to {target.url}: one is the other, or inside it; name another place"
    )


def _check_free(target: Folder, *, overwrite: bool) -> None:
    """Raise as :func:`check_destination` does; what a killed run has left can only be replaced."""
    target.check_writable()
    if not overwrite and classify(target) in {State.UNFINISHED, State.UNFINISHED_BESIDE_STORE}:
        raise StoreExistsError(
            f"{target.work.url} holds an unfinished ingest or copy; replace it with overwrite=True"
        )
    check_destination(target, overwrite=overwrite, resume=False)
