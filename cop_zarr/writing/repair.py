"""Repair a damaged store: rewrite what is damaged, from the source that it was made from."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Unpack

import numpy as np

from cop_zarr.errors import (
    ComponentsError,
    FormatVersionError,
    InputError,
    StorageError,
    StoreBusyError,
    StoreError,
    StoreNotFoundError,
)
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.codec import crc32c
from cop_zarr.format.components import COMPONENTS_ROOT, read_kept
from cop_zarr.format.document import StoreDocument, parse
from cop_zarr.format.layout import (
    COMPONENT_KEYS,
    ROOT,
    ROOT_COPY,
    VALID_CHUNK,
    is_store_key,
)
from cop_zarr.format.opening import open_reader, read_document
from cop_zarr.source.geotiff import Block, GeoTiff
from cop_zarr.storage import Folder, read_if_there
from cop_zarr.writing.blockwise import map_blocks, plan_blocks
from cop_zarr.writing.checks import Problem, known_keys
from cop_zarr.writing.journal import IngestJob, Journal
from cop_zarr.writing.options import RunOptions, start_run
from cop_zarr.writing.verify import VerificationReport, check_same_grid, verify_folder
from cop_zarr.writing.writer import StoreWriter


@dataclass(frozen=True)
class RepairReport:
    """What a repair did."""

    store: str
    source: str
    rewritten: list[str]
    """Keys of the objects that were rewritten, and read back."""
    removed: list[str]
    """Keys of objects that were not part of the store, and might have been taken for it."""
    problems: list[Problem]
    """What is still wrong."""
    foreign: list[str]
    """Files that are not the store's, and were left alone."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong any more."""
        return not self.problems


def repair(
    store: str | os.PathLike[str] | None = None,
    source: str | os.PathLike[str] | None = None,
    *,
    break_lock: bool = False,
    **options: Unpack[RunOptions],
) -> RepairReport:
    """Rewrite what is damaged in a store, and nothing else.

    All objects are checked as :func:`cop_zarr.verify` does without a source. The damaged ones are made
    from the source again, written, and read back. A damaged ``zarr.json`` is restored from its copy in the
    store. It may be killed at any moment, and run again.

    Parameters
    ----------
    store : str or path, optional
        A path or an fsspec URL; by default what ``COP_ZARR_STORE`` names.
    source : str or path, optional
        The GeoTIFF that the store was made from, by its SHA-256; by default that in the folder that
        ``RS_EMBED_COP_DIR`` names, or the published file in the cache of huggingface_hub.
    break_lock : bool
        As for :func:`cop_zarr.ingest`.
    workers, memory, storage_options, source_options, timeout, progress
        As for :func:`cop_zarr.ingest`.

    Returns
    -------
    RepairReport

    Raises
    ------
    StoreNotFoundError
        If there is no store.
    StoreError
        If ``zarr.json`` and its copy are both damaged: nothing then says what the store was.
    StoreBusyError
        If an ingest into the store has not ended.
    InputError
        If the source is not the one that the store was made from, or the store can only be read.
    SourceError, StorageError
        If the source cannot be read, or the store not read or written.
    """
    with start_run("repair", options) as run:
        folder = run.folder(store)
        folder.check_writable()
        _check_no_ingest(folder)
        _read_document(folder)  # before a source is copied from a URL
        with run.open_source(source) as tiff, folder.locked(break_lock=break_lock):
            document, root_damaged = _read_document(folder)
            _check_source(tiff, folder, document)
            if root_damaged:
                _write_checked(folder, ROOT, folder.read(ROOT_COPY))
            found = verify_folder(folder, document, run)
            work = _Repair(folder, document, found, tiff.info.missing)
            plan = plan_blocks(tiff, document.layout, run)
            blocks = [block for block in plan.blocks if work.needs(block)]
            for keys in map_blocks(
                lambda block: work.rewrite_objects(block, tiff),
                blocks,
                document.layout,
                workers=plan.workers,
                progress=run.progress,
            ):
                work.rewritten.update(keys)
            tiff.check_unchanged()  # before anything records what was made of it
            work.rewrite_small_objects()
            work.remove_unknown_objects()
        repaired = work.rewritten | work.removed
        return RepairReport(
            store=folder.url,
            source=tiff.name,
            rewritten=sorted({*work.rewritten, *([ROOT] if root_damaged else [])}),
            removed=sorted(work.removed),
            problems=[problem for problem in found.problems if problem.key in work.known - repaired],
            foreign=sorted(work.foreign),
        )


class _Repair:
    """The steps of one repair, and what they have rewritten and removed."""

    def __init__(
        self, folder: Folder, document: StoreDocument, found: VerificationReport, nodata: float
    ) -> None:
        self._folder, self._document = folder, document
        self._damaged = {problem.key for problem in found.problems}
        missing = nodata if document.clears_missing else None
        self._writer = StoreWriter(document.layout, folder, nodata=missing)
        self._reader: ChunkReader | None = None
        self._table = self._writer.integrity  # as recorded, if that can be read
        self.rewritten: set[str] = set()
        self.removed: set[str] = set()
        self.foreign: set[str] = set()
        self.known: set[str] = set()
        if self._damaged.isdisjoint(document.layout.needed_keys):
            self._reader = open_reader(folder, document, workers=1)
            self._table = self._reader.encoded.table
            self._writer.integrity[:] = self._table
            if VALID_CHUNK not in self._damaged:
                self._writer.valid[:] = self._reader.read_valid()
            if document.layout.encoding.has_scale:
                self._writer.scale[:] = self._reader.read_scale()

    def needs(self, block: Block) -> bool:
        """Whether a block of the source holds objects that have to be made again."""
        layout = self._document.layout
        if not self._damaged.isdisjoint({*layout.needed_keys, VALID_CHUNK}):
            return True  # every chunk is needed to make these again
        return any(layout.object_key(*index) in self._damaged for index, _ in layout.objects(block))

    def rewrite_objects(self, block: Block, tiff: GeoTiff) -> list[str]:
        """Rewrite the damaged objects of a block; called in several threads. Returns their keys."""
        keys, layout = [], self._document.layout
        with tiff.buffer() as buffer:
            for index, data in self._writer.encode(block, tiff.read(block, buffer)):
                key = layout.object_key(*index)
                if key in self._damaged or (self._reader is None and not _is(self._folder, key, data)):
                    _write_checked(self._folder, key, data)
                    keys.append(key)
                elif self._reader is not None:  # the store's bytes stay, even if another version made them
                    chunks = layout.chunk_range(layout.object_window(*index))
                    self._writer.integrity[:, *chunks] = self._table[:, *chunks]
        return keys

    def rewrite_small_objects(self) -> None:
        """Rewrite the other objects that are damaged; all of them, if another version made this store."""
        record, known = self._document.record, self._document.objects
        layout = self._document.layout
        objects = self._writer.documents(record["source"], record["created"], self._document.losses)
        damaged = {key for key in layout.small_keys if not self._is_as_recorded(key)}
        mask = self._reader.read_valid() if self._reader and VALID_CHUNK not in damaged else None
        if mask is not None and not np.array_equal(self._writer.valid, mask):
            damaged.add(VALID_CHUNK)  # it is as recorded, but not what the chunks say
        wrong = self._damaged & (
            {ROOT} | known.keys() - damaged
        )  # as recorded, and not what they should be
        if wrong or any(_record_of(objects[key]) != known.get(key) for key in layout.needed_keys | damaged):
            damaged = set(objects)
        for key in [key for key in objects if key in damaged]:  # in the order of writing: zarr.json last
            _write_checked(self._folder, key, objects[key])
            self.rewritten.add(key)
        root = self._folder.read(ROOT)
        if not _is(self._folder, ROOT_COPY, root):
            _write_checked(self._folder, ROOT_COPY, root)
            self.rewritten.add(ROOT_COPY)

    def remove_unknown_objects(self) -> None:
        """Remove what is not recorded, and yet might be taken for a part of the store."""
        listing = self._folder.listing() or {}
        self.known = known_keys(self._document, self._writer.integrity[0], self._components(listing))
        unknown = listing.keys() - self.known
        self.removed = {key for key in unknown if is_store_key(key)}
        self._folder.remove(self.removed & {COMPONENTS_ROOT})  # without it, nobody believes the rest
        self._folder.remove(self.removed)
        self.foreign = unknown - self.removed

    def _components(self, listing: Collection[str]) -> set[str]:
        """Keys of the components that are kept: all, or none if one is damaged or they are another store's.

        They are not made again here: ``cop-zarr components`` does that.
        """
        try:
            kept = read_kept(open_reader(self._folder, read_document(self._folder), workers=1))
        except ComponentsError:
            return set()
        except FormatVersionError:  # a newer version's are none of our business
            return set(filter(COMPONENT_KEYS.fullmatch, listing))
        keys = {COMPONENTS_ROOT, *kept.objects} if kept else set()
        return keys if keys.isdisjoint(self._damaged) else set()

    def _is_as_recorded(self, key: str) -> bool:
        """Whether a small object is there, and is as ``zarr.json`` records it."""
        record = self._document.objects.get(key)
        data = read_if_there(self._folder, key, record.length + 1) if record else None
        return data is not None and _record_of(data) == record


def _is(folder: Folder, key: str, data: bytes) -> bool:
    """Whether an object is there, and has these bytes."""
    return read_if_there(folder, key, len(data) + 1) == data


def _record_of(data: bytes) -> tuple[int, int]:
    """What ``zarr.json`` records of an object with these bytes."""
    return len(data), crc32c(data)


def _write_checked(folder: Folder, key: str, data: bytes) -> None:
    """Write an object, whatever is in its place, and read it back."""
    folder.make_room(key)
    folder.replace(key, data)
    if not _is(folder, key, data):
        raise StorageError(f"{folder.url}/{key} was written, and does not come back as it was")


def _read_document(folder: Folder) -> tuple[StoreDocument, bool]:
    """What ``zarr.json`` says, or its copy if that is damaged; and whether it is."""
    try:
        return read_document(folder), False
    except (StoreError, StoreNotFoundError) as error:
        try:
            return parse(folder.read(ROOT_COPY)), True
        except (FileNotFoundError, FormatVersionError):
            raise error from None
        except StoreError as copy_error:
            if isinstance(error, FormatVersionError):
                raise error from None
            raise StoreError(
                f"cannot repair {folder.url}: its {ROOT} and the copy of it are both damaged "
                f"({copy_error}); move it elsewhere, and run: cop-zarr ingest SOURCE {folder.url}"
            ) from None


def _check_no_ingest(folder: Folder) -> None:
    """Raise StoreBusyError if an ingest into the folder has not ended: only that can finish the store."""
    job = IngestJob.read(folder) if folder.staging is folder else None
    if job is not None and not Journal(folder, job).is_finished():
        raise StoreBusyError(
            f"an ingest into {folder.url} has not ended: finish it with 'cop-zarr ingest SOURCE "
            f"{folder.url} --resume' instead"
        )


def _check_source(tiff: GeoTiff, folder: Folder, document: StoreDocument) -> None:
    """Raise InputError if a source is not the one that the store was made from."""
    check_same_grid(tiff, folder, document)
    recorded, found = document.record["source"]["sha256"], tiff.sha256()
    if recorded != found:
        raise InputError(
            f"{tiff.name} is not the file that {folder.url} was made from: its SHA-256 is {found}, "
            f"{recorded} is expected (from {document.record['source']['url']})"
        )
