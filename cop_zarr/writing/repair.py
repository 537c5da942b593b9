"""Mend a damaged store: rewrite what is damaged, from the source that it was made from."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cop_zarr.core import settings
from cop_zarr.core.progress import Progress
from cop_zarr.errors import (
    FormatVersionError,
    InputError,
    StorageError,
    StoreBusyError,
    StoreError,
    StoreNotFoundError,
)
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.codec import crc32c
from cop_zarr.format.document import StoreDocument, parse
from cop_zarr.format.layout import EMBEDDING, INTEGRITY_CHUNK, ROOT, ROOT_COPY, VALID_CHUNK, belongs
from cop_zarr.format.opening import read_document, reader_of
from cop_zarr.source.geotiff import Block, GeoTiff
from cop_zarr.source.locate import located, sha256_of
from cop_zarr.storage import LOCK, TIMEOUT_SECONDS, Folder, StorageOptions, folder
from cop_zarr.writing.blockwise import MEMORY_BYTES, cut, map_blocks
from cop_zarr.writing.journal import Job, Journal
from cop_zarr.writing.verify import Problem, VerificationReport, refuse_other, verify_folder
from cop_zarr.writing.writer import StoreWriter


@dataclass(frozen=True)
class RepairReport:
    """What a repair did.

    Attributes
    ----------
    store, source : str
        What was repaired, and from what.
    rewritten : list of str
        Keys of the objects that were written anew, and read back.
    removed : list of str
        Keys of objects that were not part of the store, and might have been taken for it.
    problems : list of Problem
        What is still wrong: objects that are none of a store's are left alone.
    """

    store: str
    source: str
    rewritten: list[str]
    removed: list[str]
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong any more."""
        return not self.problems


def repair(
    store: str | os.PathLike[str] | None = None,
    source: str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
    memory: int = MEMORY_BYTES,
    storage_options: StorageOptions | None = None,
    source_options: StorageOptions | None = None,
    timeout: float = TIMEOUT_SECONDS,
    progress: Progress | None = None,
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
        ``RS_EMBED_COP_DIR`` names.
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
    where = folder(settings.store_url(store), storage_options, timeout)
    where.check_writable()
    _refuse_unfinished(where)
    _document(where)  # before a source is fetched from afar
    with (
        located(source, source_options, download=False, timeout=timeout) as (path, url),
        GeoTiff(path, url) as tiff,
        where.claimed(),
    ):
        document, restored = _document(where)
        _refuse_other(tiff, path, url, where, document)
        if restored:
            _restore_root(where)
        found = verify_folder(where, document, workers=workers, progress=progress)
        mending = _Mending(where, document, found)
        blocks = cut(tiff, document.layout, workers=workers, memory=memory)
        map_blocks(
            [block for block in blocks.blocks if mending.needs(block)],
            lambda block: mending.chunks(block, tiff),
            document.layout,
            threads=blocks.threads,
            progress=progress,
        )
        mending.small_objects()
        mending.strays()
    return RepairReport(
        store=where.url,
        source=url,
        rewritten=sorted({*mending.rewritten, *([ROOT] if restored else [])}),
        removed=sorted(mending.removed),
        problems=[
            *(problem for problem in found.problems if problem.key not in mending.mended),
            *mending.foreign,
        ],
    )


class _Mending:
    """One repair under way. Thread-safe."""

    def __init__(self, where: Folder, document: StoreDocument, found: VerificationReport) -> None:
        self._where, self._document, self._found = where, document, found
        self._damaged = {problem.key for problem in found.problems}
        self._writer = StoreWriter(document.layout, where)
        self._reader: ChunkReader | None = None
        self.rewritten: set[str] = set()
        self.removed: set[str] = set()
        self.foreign: list[Problem] = []
        if INTEGRITY_CHUNK not in self._damaged:
            self._reader = reader_of(where, document, workers=1)
            self._writer.integrity[:] = self._reader.lengths, self._reader.crcs
        if not self._all and self._reader is not None:
            self._writer.valid[:] = self._reader.read_valid()

    @property
    def mended(self) -> set[str]:
        """Keys of objects that are right now."""
        return self.rewritten | self.removed

    @property
    def _all(self) -> bool:
        """Whether every chunk must be made again, to know what the small arrays said of it."""
        return not self._damaged.isdisjoint({INTEGRITY_CHUNK, VALID_CHUNK})

    def needs(self, block: Block) -> bool:
        """Whether a block of the source holds chunks that have to be made again."""
        layout = self._document.layout
        return self._all or any(
            layout.chunk_key(part.row, part.col) in self._damaged for part in layout.parts(block)
        )

    def chunks(self, block: Block, tiff: GeoTiff) -> None:
        """Rewrite the damaged chunks of a block."""
        for part, data in self._writer.encoded(block, tiff.read(block)):
            key = self._document.layout.chunk_key(part.row, part.col)
            if key in self._damaged or (self._reader is None and not self._is(key, data)):
                self._rewrite(key, data)
            elif self._reader is not None:  # the store's bytes stay, even if another version made them
                record = self._reader.lengths[part.row, part.col], self._reader.crcs[part.row, part.col]
                self._writer.integrity[:, part.row, part.col] = record

    def small_objects(self) -> None:
        """Rewrite the other objects that are damaged; all of them, if other versions made this store."""
        record = self._document.record
        objects = self._writer.documents(record["source"], record["created"])
        known = self._document.objects
        damaged = {key for key in known if not self._is_recorded(key)}
        if self._is_wrong_mask(damaged):
            damaged.add(VALID_CHUNK)
        if self._changed(objects, INTEGRITY_CHUNK) or any(self._changed(objects, key) for key in damaged):
            for key, data in objects.items():
                self._rewrite(key, data)
            return
        for key in sorted(damaged):
            self._rewrite(key, objects[key])
        root = self._where.read(ROOT)
        if not self._is(ROOT_COPY, root):
            self._rewrite(ROOT_COPY, root)

    def strays(self) -> None:
        """Remove what is not recorded, and yet might be taken for a part of the store."""
        known = {ROOT, ROOT_COPY, LOCK, *self._document.objects}
        for key in self._where.listing() or ():
            recorded = key in known or self._is_chunk(key)
            if recorded:
                continue
            if belongs(key):
                self._where.remove([key])
                self.removed.add(key)
            elif key not in self._damaged:  # without the integrity table, it was not looked for
                self.foreign.append(Problem(key, "it does not belong to the store: nothing records it"))

    def _is_wrong_mask(self, damaged: set[str]) -> bool:
        """Whether ``valid`` is as recorded, and yet not what the chunks say: wrong from the start."""
        if self._reader is None or VALID_CHUNK in damaged:
            return False
        return not np.array_equal(self._writer.valid, self._reader.read_valid())

    def _rewrite(self, key: str, data: bytes) -> None:
        """Write an object, and read it back."""
        self._where.replace(key, data)
        if not self._is(key, data):
            raise StorageError(f"{self._where.url}/{key} was written, and does not come back as it was")
        self.rewritten.add(key)

    def _is(self, key: str, data: bytes) -> bool:
        """Whether an object is there, and has these bytes."""
        try:
            return self._where.read(key, len(data) + 1) == data
        except FileNotFoundError:
            return False

    def _is_recorded(self, key: str) -> bool:
        """Whether a small object is there, and is as ``zarr.json`` says."""
        record = self._document.objects[key]
        try:
            data = self._where.read(key, record.length + 1)
        except FileNotFoundError:
            return False
        return len(data) == record.length and crc32c(data) == record.crc32c

    def _changed(self, objects: dict[str, bytes], key: str) -> bool:
        """Whether a small object is no longer what ``zarr.json`` says, when it is made again."""
        record = self._document.objects[key]
        return (len(objects[key]), crc32c(objects[key])) != (record.length, record.crc32c)

    def _is_chunk(self, key: str) -> bool:
        """Whether a key is that of a chunk with data."""
        name, _, place = key.rpartition("/c/0/")
        if name != EMBEDDING or not re.fullmatch(r"\d+/\d+", place):
            return False
        row, col = map(int, place.split("/"))
        rows, cols = self._document.layout.chunk_grid
        return (
            row < rows
            and col < cols
            and key == self._document.layout.chunk_key(row, col)
            and bool(self._writer.integrity[0, row, col])
        )


def _document(where: Folder) -> tuple[StoreDocument, bool]:
    """What ``zarr.json`` says, or its copy if that is damaged; and whether it is the copy."""
    try:
        return read_document(where), False
    except (StoreError, StoreNotFoundError) as error:
        try:
            return parse(where.read(ROOT_COPY)), True
        except (FileNotFoundError, FormatVersionError):
            raise error from None
        except StoreError as copy:
            if isinstance(error, FormatVersionError):
                raise error from None
            raise StoreError(
                f"cannot repair {where.url}: its {ROOT} and the copy of it are both damaged ({copy}); move "
                f"it elsewhere, and write it anew with: cop-zarr ingest SOURCE {where.url}"
            ) from None


def _restore_root(where: Folder) -> None:
    """Write ``zarr.json`` as its copy has it, and read it back before anything else is made from it."""
    copy = where.read(ROOT_COPY)
    where.replace(ROOT, copy)
    if where.read(ROOT) != copy:
        raise StorageError(f"{where.url}/{ROOT} was written, and does not come back as it was")


def _refuse_unfinished(where: Folder) -> None:
    """Refuse a place that an ingest has begun to write to, and that only that can finish."""
    job = Job.read(where) if where.staging is where else None
    if job is not None and not Journal(where, job).is_finished():
        raise StoreBusyError(
            f"an ingest into {where.url} has not ended: finish it with 'cop-zarr ingest SOURCE {where.url} "
            "--resume' instead"
        )


def _refuse_other(tiff: GeoTiff, path: Path, url: str, where: Folder, document: StoreDocument) -> None:
    """Refuse a source that is not the one that the store was made from."""
    refuse_other(tiff, url, where, document)
    recorded, found = document.record["source"]["sha256"], sha256_of(path)
    if recorded != found:
        raise InputError(
            f"{url} is not the file that {where.url} was made from: its SHA-256 is {found}, {recorded} is "
            f"expected (from {document.record['source']['url']})"
        )
