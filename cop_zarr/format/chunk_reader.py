"""Read, check and decode the chunk objects of a store.

Chunks are read as objects and decoded by numcodecs, past zarr-python's array machinery, which takes
several times as long for one chunk. Nothing is believed: an object must have the length and the CRC-32C
that the store's integrity table records before it is decoded.
"""

from __future__ import annotations

import copy
import shlex
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self, TypeVar

import numpy as np

from cop_zarr.core.lru_cache import ENTRY_BYTES, LRUCache
from cop_zarr.core.threads import begin, share
from cop_zarr.errors import ChunkError, DamageError, StorageError, StoreError, StoreReplacedError
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.codec import MAX_OVERHEAD, crc32c, decode
from cop_zarr.format.document import ObjectRecord, StoreDocument, parse
from cop_zarr.format.layout import INTEGRITY_CHUNK, ROOT, VALID_CHUNK
from cop_zarr.storage import JOB, SMALL_BYTES, DiskCache, Folder

T = TypeVar("T")
Task = TypeVar("Task")

Place = tuple[int, int]
"""Row and column of a chunk in the chunk grid."""

PARALLEL_CHUNKS = 2
"""From this many chunks on, reading them is spread over threads."""

SHARED_CHUNKS = 128
"""Up to this many chunks, reading them from a disk is shared with threads that wait; more are streamed, so
that memory does not grow with their number."""

RUN = 16
"""Chunks that a thread takes at a time when they are streamed from a disk: handing each over alone costs
a fifth of decoding it."""

HELD_BYTES = 64 << 20
"""What decoded chunks may take that wait for their turn, where there are more than one a thread."""

SHORT_PAUSES = (0.1, 0.5)
"""Seconds before a remote object that is shorter than recorded is read again: a server that announces no
length may have been cut off, and nothing else tells. One that stays short is damaged."""


class ChunkReader:
    """The objects of one open store, each checked before it is believed.

    Safe to use from several threads at once.

    Parameters
    ----------
    folder : Folder
        Where the objects lie.
    document : StoreDocument
        What the store's ``zarr.json`` says.
    workers : int
        Objects read at once, at most.
    cache : DiskCache, optional
        Where objects of this store are kept on a disk.
    memory : LRUCache, optional
        Where decoded chunks are kept, and what others compute of them; by default, none is.
    """

    def __init__(
        self,
        folder: Folder,
        document: StoreDocument,
        workers: int,
        cache: DiskCache | None = None,
        memory: LRUCache | None = None,
    ) -> None:
        self.folder = folder
        self._cache = cache
        self.memory = LRUCache(0) if memory is None else memory
        self.layout: Layout = document.layout
        self._objects = document.objects
        self._sha256 = document.sha256
        self._workers = workers
        self._most = self.layout.chunk_bytes + MAX_OVERHEAD
        shape = (2, *self.layout.chunk_grid)
        self.lengths, self.crcs = self.small(INTEGRITY_CHUNK, shape, "<u4")

    @property
    def workers(self) -> int:
        """Chunks read at once, at most."""
        return self._workers

    @property
    def sha256(self) -> str:
        """Digest of the store's ``zarr.json``, by which another store in its place is known."""
        return self._sha256

    def with_workers(self, workers: int) -> Self:
        """The same reader, what it keeps in memory included, but with fewer threads."""
        reader = copy.copy(self)
        fewer = min(workers, self._workers)  # more might take more memory than is meant for them
        reader._workers = fewer  # noqa: SLF001  # a copy of this one
        return reader

    def holds_data(self, row: int, col: int) -> bool:
        """Whether a chunk has an object of its own; the cells of others are 0 in every band."""
        return bool(self.lengths.item(row, col))

    def valid(self) -> np.ndarray:
        """The mask of cells with data: bool, shape ``(rows, cols)``."""
        return self.small(VALID_CHUNK, self.layout.grid.shape, "?")

    def read(self, row: int, col: int, out: np.ndarray | None = None) -> np.ndarray:
        """Read one chunk that holds data, from memory if it is there.

        Parameters
        ----------
        out : ndarray, optional
            Where to decode it to, for a chunk that need not be kept.

        Returns
        -------
        ndarray
            float32, shape ``(longitude, latitude, band)`` of full chunk size, as it is stored, not
            writeable if it is kept.

        Raises
        ------
        ChunkError
            If the object is absent, short, long or damaged.
        StoreReplacedError
            If that is because another store lies here now.
        StorageError
            If it could not be read.
        """
        chunk: np.ndarray | None = self.memory.get((row, col))
        if chunk is not None:
            return chunk
        chunk = self._decoded(row, col, np.empty(self.layout.stored_shape, "<f4") if out is None else out)
        if out is None and self.memory.capacity:
            chunk.flags.writeable = False
            self.memory.put((row, col), chunk, chunk.nbytes + ENTRY_BYTES)
        return chunk

    def each(
        self, places: Sequence[Place], work: Callable[[int, np.ndarray], T], *, lend: bool = True
    ) -> Iterator[T]:
        """Read chunks, several at a time, and have something done with each in the thread that read it.

        Chunks that memory has room for are kept there, unless these are more than fit: then those that are
        there stay, and each chunk is decoded to where another was before.

        Parameters
        ----------
        places : sequence of tuple of int
            The chunks, each once; all of them hold data.
        work : callable
            Given a place's number and its chunk, as :meth:`read` gives it.
        lend : bool
            Whether the chunk is ``work``'s until that returns, and not to keep: its memory may then serve
            for the next.

        Yields
        ------
        T
            What ``work`` returned, in the order of the places, whatever the order of the work.

        Raises
        ------
        ChunkError, StoreReplacedError, StorageError
            As :meth:`read`.
        """
        lacking = sum(place not in self.memory for place in places)
        if lacking < PARALLEL_CHUNKS:
            for number, place in enumerate(places):
                yield work(number, self.read(*place))
            return
        keep = lacking * self.layout.chunk_bytes <= self.memory.capacity

        def run(numbers: range) -> list[T]:
            found, out = [], None
            for number in numbers:
                if not keep and (out is None or not lend):
                    out = np.empty(self.layout.stored_shape, "<f4")
                found.append(work(number, self.read(*places[number], out)))
            return found

        ahead = HELD_BYTES // self.layout.chunk_bytes
        if self._workers > 1 and not self.folder.remote and len(places) <= min(SHARED_CHUNKS, ahead):
            yield from share(len(places), lambda number: run(range(number, number + 1))[0], self._workers)
            return
        size = 1 if self.folder.remote else max(1, min(RUN, ahead // (2 * self._workers)))
        runs = [range(first, min(first + size, len(places))) for first in range(0, len(places), size)]
        if self._workers > 1:
            yield from self._in_threads(run, runs)
        else:
            for numbers in runs:
                yield from run(numbers)

    def _in_threads(self, run: Callable[[Task], list[T]], runs: Sequence[Task]) -> Iterator[T]:
        """Do runs of work in threads, at most two a thread ahead, and give their results in order."""
        with ThreadPoolExecutor(self._workers, "cop-zarr-read") as pool:
            waiting: deque[Future[list[T]]] = deque()
            try:
                for task in runs:
                    waiting.append(begin(pool, run, task))
                    if len(waiting) >= 2 * self._workers:
                        yield from waiting.popleft().result()
                while waiting:
                    yield from waiting.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def read_many(self, places: Sequence[Place]) -> Iterator[np.ndarray]:
        """Read chunks as :meth:`each` does, and give them to keep, in the order of their places."""
        return self.each(places, lambda _, chunk: chunk, lend=False)

    def _decoded(self, row: int, col: int, out: np.ndarray) -> np.ndarray:
        """Read a chunk's object and decode it."""
        key = self.layout.chunk_key(row, col)
        record = ObjectRecord(self.lengths.item(row, col), self.crcs.item(row, col))
        try:
            return decode(self.checked(key, record, self._most), out)
        except DamageError as damage:
            raise self._chunk_error(key, damage, self._place(row, col)) from damage

    def checked(self, key: str, record: ObjectRecord, most: int = SMALL_BYTES) -> bytes:
        """Read an object, from the cache if it is there, and hold it against its record.

        A record of more bytes than the object can have is damage: no more memory is taken than that.

        Raises
        ------
        DamageError
            If it is absent, short, long or damaged.
        StorageError
            If it could not be read.
        """
        if record.length > most:
            raise DamageError(f"{record.length:,} bytes are recorded, more than it can have")
        if self._cache is None:
            return self._read(key, record)
        kept = self._cache.get(key, record.length + 1)
        if kept is not None:
            try:
                return _matching(kept, record)
            except DamageError:
                self._cache.drop(key)
        data = self._read(key, record)
        self._cache.put(key, data)
        return data

    def _read(self, key: str, record: ObjectRecord) -> bytes:
        """Read an object from the store; no more of it than it should have, and one byte to tell."""
        try:
            data = self.folder.read(key, record.length + 1)
            for pause in SHORT_PAUSES if self.folder.remote else ():
                if len(data) >= record.length:
                    break
                time.sleep(pause)
                data = self.folder.read(key, record.length + 1)
        except FileNotFoundError:
            raise DamageError("it is absent") from None
        return _matching(data, record)

    def small(self, key: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """Read one of the small arrays that lie in a single object."""
        if key not in self._objects:
            raise self._chunk_error(key, DamageError("zarr.json does not list it"))
        try:
            data = self.checked(key, self._objects[key])
            return decode(data, np.empty(shape, dtype))
        except DamageError as damage:
            raise self._chunk_error(key, damage) from damage

    def _chunk_error(self, key: str, damage: DamageError, place: str = "") -> StoreError:
        url = self.folder.url
        if self._replaced():
            return StoreReplacedError(
                f"{url} was replaced, or is being replaced, since it was opened; open it again"
            )
        return ChunkError(
            f"{url}/{key}{place} is damaged: {damage}. Mend it with: cop-zarr repair {shlex.quote(url)} "
            "--source TIF"
        )

    def _replaced(self) -> bool:
        """Whether what lies at this place now is another whole store."""
        try:
            return parse(self.folder.read(ROOT)).sha256 != self._sha256
        except FileNotFoundError:
            return self._is_begun_anew()
        except (StoreError, StorageError):
            return False

    def _is_begun_anew(self) -> bool:
        """Whether an ingest is writing another store into this place, as on an object store."""
        try:
            return bool(self.folder.read(JOB))
        except (StorageError, FileNotFoundError):
            return False

    def _place(self, row: int, col: int) -> str:
        window = self.layout.chunk_window(row, col)
        lats, lons = (
            self.layout.grid.window_latitudes(window),
            self.layout.grid.window_longitudes(window),
        )
        return f" (lat {lats[-1]:g} … {lats[0]:g}, lon {lons[0]:g} … {lons[-1]:g})"


def _matching(data: bytes, record: ObjectRecord) -> bytes:
    """An object's bytes, if they are as recorded."""
    if len(data) > record.length:
        raise DamageError(f"it has more than {record.length:,} bytes")
    if len(data) < record.length:
        raise DamageError(f"it has {len(data):,} bytes instead of {record.length:,}")
    if crc32c(data) != record.crc32c:
        raise DamageError("its CRC-32C is not the recorded one")
    return data
