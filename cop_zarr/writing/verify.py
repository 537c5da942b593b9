"""Verify a store: its structure, every object's checksum, and every value against its source."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Unpack

from cop_zarr.core.grid import Window
from cop_zarr.errors import ChunkError, InputError
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.document import StoreDocument
from cop_zarr.format.layout import INTEGRITY_CHUNK
from cop_zarr.format.opening import open_reader, read_document
from cop_zarr.source.geotiff import Block, GeoTiff
from cop_zarr.storage import Folder
from cop_zarr.writing.blockwise import cpu_workers, map_blocks, plan_blocks, requests_at_once
from cop_zarr.writing.checks import Problem, StoreChecks
from cop_zarr.writing.options import Run, RunOptions, start_run


@dataclass(frozen=True)
class VerificationReport:
    """What a verification found."""

    store: str
    source: str | None
    """The source that the store's values were compared with."""
    objects_checked: int
    """Objects whose length and checksum were compared with the record."""
    chunks_checked: int
    """Of these, chunks of the embedding; each was decoded too."""
    values_compared: int
    """Numbers compared with the source, bit for bit."""
    valid_cells: int
    """Cells with data."""
    listed: bool
    """Whether objects that do not belong to the store would have been noticed; no web server lists them."""
    problems: list[Problem]
    """What is wrong; empty if nothing is."""
    foreign: list[str]
    """Files that are not the store's and harmless to it, such as ``.DS_Store`` or ``README.md``."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def damaged_chunks(self) -> int:
        """Number of chunks of the embedding that something is wrong with."""
        return len({(problem.key, problem.bbox) for problem in self.problems if problem.bbox is not None})


def verify(
    store: str | os.PathLike[str] | None = None,
    source: str | os.PathLike[str] | None = None,
    **options: Unpack[RunOptions],
) -> VerificationReport:
    """Check all of a store.

    Without a source: every object against its recorded length and CRC-32C, every chunk decoded,
    ``valid`` and the coordinates against the data, no unknown object that other readers would take for
    data. With a source: every value, too, bit for bit.

    Parameters
    ----------
    store : str or path, optional
        A path or an fsspec URL; by default what ``COP_ZARR_STORE`` names.
    source : str or path, optional
        The GeoTIFF that the store was made from.
    workers, memory, storage_options, source_options, timeout, progress
        As for :func:`cop_zarr.ingest`.

    Returns
    -------
    VerificationReport

    Raises
    ------
    StoreNotFoundError, StoreError, StorageError
        If the store's ``zarr.json`` is absent or damaged, or cannot be read. All other damage is
        reported, not raised.
    StoreReplacedError
        If another store takes the place of this one meanwhile.
    SourceError
        If the source cannot be read.
    InputError
        If the source has another grid or number of bands than the store.
    """
    with start_run("verify", options) as run:
        folder = run.folder(store)
        document = read_document(folder)
        if source is None:
            return verify_folder(folder, document, run)
        with run.open_source(source) as tiff:
            check_same_grid(tiff, folder, document)
            return verify_folder(folder, document, run, tiff)


def verify_folder(
    folder: Folder, document: StoreDocument, run: Run, tiff: GeoTiff | None = None
) -> VerificationReport:
    """Check an open store, against its source if there is one; as :func:`verify`."""
    source = tiff.name if tiff else None
    plan = plan_blocks(tiff, document.layout, run) if tiff else None
    try:
        reader = open_reader(folder, document, run.workers)
    except ChunkError as error:
        return _verify_without_chunks(folder, document, source, error)
    checks = StoreChecks(reader, document)
    problems, compared = checks.small_objects(), 0
    components = checks.components()
    unknown, foreign = checks.unknown_objects(components) or (None, [])
    problems += [Problem(key, message) for key, message in components.problems.items()]
    workers = plan.workers if plan else cpu_workers(run.workers)
    requests = requests_at_once(folder, document.layout, workers)

    def check(window: Window) -> tuple[list[Problem], int]:
        if not isinstance(window, Block) or tiff is None:
            return checks.chunks(window, None, requests)
        with tiff.buffer() as buffer:
            return checks.chunks(window, tiff.read(window, buffer), requests, tiff.info.missing)

    windows: list[Window] = [*(plan.blocks if plan else checks.object_rows())]
    for found, values in map_blocks(
        check, windows, document.layout, workers=workers, progress=run.progress
    ):
        problems += found
        compared += values
    if tiff is not None:
        tiff.check_unchanged()
    if (problems or unknown) and reader.is_replaced():
        raise reader.replaced_error()  # what was found is no damage: it is in another store
    chunks = int((reader.lengths > 0).sum())
    return VerificationReport(
        store=folder.url,
        source=source,
        objects_checked=len(document.objects) + components.objects + chunks + 2,  # zarr.json and its copy
        chunks_checked=chunks,
        values_compared=compared,
        valid_cells=0 if checks.valid is None else int(checks.valid.sum()),
        listed=unknown is not None,
        problems=sorted([*problems, *(unknown or ())], key=lambda problem: problem.key),
        foreign=foreign,
    )


def _verify_without_chunks(
    folder: Folder, document: StoreDocument, source: str | None, error: ChunkError
) -> VerificationReport:
    """Check the small objects of a store whose integrity table, or whose scales, are damaged."""
    checks = StoreChecks(ChunkReader(folder, document, 1, with_table=False), document)
    problems = checks.small_objects()
    if document.layout.needed_keys.isdisjoint(problem.key for problem in problems):  # its offsets are wrong
        problems.append(Problem(INTEGRITY_CHUNK, str(error.__cause__)))
    problems = [
        replace(problem, message=f"{problem.message}; no chunk can be checked without it")
        if problem.key in document.layout.needed_keys
        else problem
        for problem in problems
    ]
    return VerificationReport(
        store=folder.url,
        source=source,
        objects_checked=len(document.objects) + 2,
        chunks_checked=0,
        values_compared=0,
        valid_cells=0,
        listed=False,
        problems=sorted(problems, key=lambda problem: problem.key),
        foreign=[],
    )


def check_same_grid(tiff: GeoTiff, folder: Folder, document: StoreDocument) -> None:
    """Raise InputError if a source's grid or number of bands is not the store's."""
    info, layout = tiff.info, document.layout
    if (info.grid, info.bands) != (layout.grid, layout.bands):
        raise InputError(
            f"{tiff.name} is not this store's source: it has {info.bands} bands ({info.grid}), "
            f"{folder.url} has {layout.bands} ({layout.grid})"
        )
