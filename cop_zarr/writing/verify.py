"""Prove a store right: its structure, every object's checksum, and every value against its source."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from cop_zarr.core import settings
from cop_zarr.core.grid import Bounds, Window
from cop_zarr.core.progress import Progress
from cop_zarr.errors import ChunkError, DamageError, InputError
from cop_zarr.format.chunk_grid import ChunkPart
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.codec import decode
from cop_zarr.format.document import StoreDocument
from cop_zarr.format.layout import (
    BAND,
    INTEGRITY_CHUNK,
    LATITUDE,
    LONGITUDE,
    ROOT,
    ROOT_COPY,
    VALID_CHUNK,
    is_unfinished,
)
from cop_zarr.format.opening import read_document, reader_of
from cop_zarr.source.geotiff import GeoTiff
from cop_zarr.source.locate import located
from cop_zarr.storage import (
    LOCK,
    REQUESTS_AT_ONCE,
    TIMEOUT_SECONDS,
    Folder,
    StorageOptions,
    folder,
)
from cop_zarr.writing.blockwise import MEMORY_BYTES, AnyWindow, cut, map_blocks, processors


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a store.

    Attributes
    ----------
    key : str
        The object concerned, within the store.
    message : str
        What is wrong with it.
    bbox : Bounds or None
        For a chunk of the embedding, where on Earth: (west, south, east, north) in degrees.
    """

    key: str
    message: str
    bbox: Bounds | None = None


@dataclass(frozen=True)
class VerificationReport:
    """What a verification found.

    Attributes
    ----------
    store : str
        The store that was verified.
    source : str or None
        The source that its values were compared with.
    objects_checked : int
        Objects whose length and checksum were compared with the record.
    chunks_checked : int
        Of these, chunks of the embedding; each was decoded too.
    values_compared : int
        Numbers compared with the source, bit for bit.
    valid_cells : int
        Cells with data.
    listed : bool
        Whether objects that do not belong to the store would have been noticed. A web server cannot be
        asked what it holds.
    problems : list of Problem
        What is wrong; empty if nothing is.
    """

    store: str
    source: str | None
    objects_checked: int
    chunks_checked: int
    values_compared: int
    valid_cells: int
    listed: bool
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def damaged_chunks(self) -> int:
        """Number of chunks of the embedding that something is wrong with."""
        return len({problem.key for problem in self.problems if problem.bbox is not None})


def verify(
    store: str | os.PathLike[str] | None = None,
    source: str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
    memory: int = MEMORY_BYTES,
    storage_options: StorageOptions | None = None,
    source_options: StorageOptions | None = None,
    timeout: float = TIMEOUT_SECONDS,
    progress: Progress | None = None,
) -> VerificationReport:
    """Check a store, all of it.

    Without a source: every object against its recorded length and CRC-32C, every chunk decoded,
    ``valid`` and the coordinates against the data, no object too many. With one: every value, too, bit
    for bit.

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
        If the source is of another grid or number of bands than the store.
    """
    where = folder(settings.store_url(store), storage_options, timeout)
    document = read_document(where)
    if source is None:
        return verify_folder(where, document, workers=workers, progress=progress)
    with (
        located(source, source_options, download=False, timeout=timeout) as (path, url),
        GeoTiff(path, url) as tiff,
    ):
        refuse_other(tiff, url, where, document)
        pieces = cut(tiff, document.layout, workers=workers, memory=memory)

        def compare(check: _Check) -> None:
            check.run(pieces.blocks, lambda block: check.window(block, tiff.read(block)), pieces.threads)
            tiff.check_unchanged()

        return _verified(where, document, compare, url, workers=workers, progress=progress)


def verify_folder(
    where: Folder, document: StoreDocument, *, workers: int | None, progress: Progress | None
) -> VerificationReport:
    """Check a store without a source; as :func:`verify`."""

    def check_rows(check: _Check) -> None:
        check.run(check.chunk_rows(), check.window, processors(workers))

    return _verified(where, document, check_rows, None, workers=workers, progress=progress)


def refuse_other(tiff: GeoTiff, url: str, where: Folder, document: StoreDocument) -> None:
    """Refuse a source that cannot be a store's.

    Raises
    ------
    InputError
        If its grid or its bands are others.
    """
    info, layout = tiff.info, document.layout
    if (info.grid, info.bands) != (layout.grid, layout.bands):
        raise InputError(
            f"{url} is not this store's source: it has {info.bands} bands ({info.grid}), "
            f"{where.url} has {layout.bands} ({layout.grid})"
        )


def _verified(
    where: Folder,
    document: StoreDocument,
    check_chunks: Callable[[_Check], None],
    source: str | None,
    *,
    workers: int | None,
    progress: Progress | None,
) -> VerificationReport:
    try:
        reader = reader_of(where, document, workers)
    except ChunkError as error:  # without the integrity table, nothing can be said of the chunks
        problem = Problem(INTEGRITY_CHUNK, f"{error.__cause__}; no chunk can be checked without it")
        return VerificationReport(where.url, source, 1, 0, 0, 0, listed=False, problems=[problem])
    with ThreadPoolExecutor(REQUESTS_AT_ONCE, "cop-zarr-verify") as readers:
        check = _Check(reader, document, progress, readers if where.remote else None)
        check.small_objects()
        check.listing()
        check_chunks(check)
        return check.report(source)


class _Check:
    """One verification under way. Thread-safe."""

    def __init__(
        self,
        reader: ChunkReader,
        document: StoreDocument,
        progress: Progress | None,
        readers: ThreadPoolExecutor | None,
    ) -> None:
        self.layout = reader.layout
        self._readers = readers
        self._reader = reader
        self._document = document
        self._progress = progress
        self._lock = threading.Lock()
        self._problems: list[Problem] = []
        self._valid: np.ndarray | None = None
        self._listed = False
        self._objects = self._chunks = self._values = 0

    def small_objects(self) -> None:
        """Every object but the chunks against its record, and what is in them against the grid."""
        grid = self.layout.grid
        coordinates = {
            f"{LATITUDE}/c/0": grid.latitudes,
            f"{LONGITUDE}/c/0": grid.longitudes,
            f"{BAND}/c/0": np.arange(self.layout.bands, dtype="<i4"),
        }
        for key, record in self._document.objects.items():
            self._objects += 1
            try:
                data = self._reader.read_checked(key, record)
                if key == VALID_CHUNK:
                    self._valid = decode(data, np.empty(grid.shape, "?"))
                elif key in coordinates:
                    self._coordinate(key, data, coordinates[key])
                elif key.endswith(f"/{ROOT}"):
                    self._metadata(key, data)
            except DamageError as damage:
                self._problem(key, str(damage))
        self._root_copy()

    def _metadata(self, key: str, data: bytes) -> None:
        """An array's or group's own document must be what the root says of it: readers believe either."""
        document, consolidated = (
            json.loads(data),
            self._document.consolidated.get(key.removesuffix(f"/{ROOT}")),
        )
        if {**document, "consolidated_metadata": None} != {
            **(consolidated or {}),
            "consolidated_metadata": None,
        }:
            self._problem(key, f"it is not what {ROOT} says of it")

    def _coordinate(self, key: str, data: bytes, values: np.ndarray) -> None:
        found = decode(data, np.empty_like(values))
        if not np.array_equal(found, values):
            self._problem(key, f"its values are not the grid's: {found[:2]} … instead of {values[:2]} …")

    def _root_copy(self) -> None:
        self._objects += 1
        where = self._reader.folder
        try:
            if where.read(ROOT_COPY) != where.read(ROOT):
                self._problem(ROOT_COPY, f"it is not equal to {ROOT}")
        except FileNotFoundError:
            self._problem(ROOT_COPY, "it is absent")

    def listing(self) -> None:
        """No object too many: other readers would take an unrecorded chunk for data."""
        rows, cols = self.layout.chunk_grid
        known = {ROOT, ROOT_COPY, *self._document.objects}
        known |= {
            self.layout.chunk_key(row, col)
            for row in range(rows)
            for col in range(cols)
            if self._reader.holds_data(row, col)
        }
        found = self._reader.folder.listing()
        self._listed = found is not None
        for key in sorted(set(found or ()) - known - {LOCK}):  # that of whoever repairs it just now
            interrupted = "it is left from an interrupted ingest or repair"
            strange = "it does not belong to the store: nothing records it"
            self._problem(key, interrupted if is_unfinished(key) else strange)

    def run(self, windows: Iterable[AnyWindow], work: Callable[[AnyWindow], None], threads: int) -> None:
        """Do the work on every window, several at once; the first exception is raised."""
        map_blocks(windows, work, self.layout, threads=threads, progress=self._progress)

    def chunk_rows(self) -> Iterator[Window]:
        """The windows of the rows of chunks."""
        size, (rows, cols) = self.layout.chunk_cells, self.layout.grid.shape
        for row in range(0, rows, size):
            yield Window(row, min(row + size, rows), 0, cols)

    def window(self, window: Window, expected: np.ndarray | None = None) -> None:
        """Check the chunks of a window whose edges are chunk edges.

        ``expected`` are the window's cells in the source: float32, ``(rows, cols, bands)``.
        """
        pairs = [
            (part, None if expected is None else expected[part.target])
            for part in self.layout.parts(window)
        ]
        if self._readers is None:
            for part, cells in pairs:
                self._chunk(part, cells)
        else:
            list(self._readers.map(self._chunk, *zip(*pairs, strict=True)))

    def _chunk(self, part: ChunkPart, expected: np.ndarray | None) -> None:
        """Check a chunk against its record, against ``valid``, and against the source's cells."""
        key, window = (
            self.layout.chunk_key(part.row, part.col),
            self.layout.chunk_window(part.row, part.col),
        )
        held = self._reader.holds_data(part.row, part.col)
        with self._lock:
            self._objects += held
            self._chunks += held
        try:
            chunk = (
                self._reader.read(part.row, part.col) if held else np.zeros(self.layout.stored_shape, "f4")
            )
        except ChunkError as error:
            self._problem(key, str(error.__cause__), window)
            return
        height, width = window.shape
        cells = chunk[:width, :height].transpose(1, 0, 2)
        if self._valid is not None:
            wrong = int((np.any(cells != 0, axis=2) != self._valid[window.slices]).sum())
            if wrong:
                self._problem(key, f"'valid' is wrong about {wrong} of its cells", window)
        bits = chunk.view("u4")
        if bits[width:].any() or bits[:, height:].any():
            self._problem(key, "it holds values beyond the grid's edge", window)
        if expected is not None:
            self._compare(key, window, cells, expected)

    def _compare(self, key: str, window: Window, cells: np.ndarray, expected: np.ndarray) -> None:
        wrong = cells.view("u4") != expected.view("u4")
        with self._lock:
            self._values += wrong.size
        if wrong.any():
            row, col, band = np.argwhere(wrong)[0]
            self._problem(
                key,
                f"{int(wrong.sum()):,} of its values differ from the source's, the first at row "
                f"{window.row + row}, column {window.col + col}, band {band}: "
                f"{cells[row, col, band]!r} instead of {expected[row, col, band]!r}",
                window,
            )

    def report(self, source: str | None) -> VerificationReport:
        """What has been found."""
        return VerificationReport(
            store=self._reader.folder.url,
            source=source,
            objects_checked=self._objects + 1,  # and zarr.json, which was checked when it was read
            chunks_checked=self._chunks,
            values_compared=self._values,
            valid_cells=0 if self._valid is None else int(self._valid.sum()),
            listed=self._listed,
            problems=sorted(self._problems, key=lambda problem: problem.key),
        )

    def _problem(self, key: str, message: str, window: Window | None = None) -> None:
        bbox = None if window is None else self.layout.grid.window_bounds(window)
        with self._lock:
            self._problems.append(Problem(key, message, bbox))
