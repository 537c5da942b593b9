"""Read, check and decode the chunks of a store.

Chunks are read as objects and decoded by numcodecs: zarr-python's array indexing takes several times as
long for one chunk. An object is decoded only if it has the length and the CRC-32C of the integrity table.
"""

from __future__ import annotations

import copy
import shlex
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Self, TypeVar

import numpy as np

from cop_zarr.core.lru_cache import ENTRY_BYTES, LRUCache
from cop_zarr.core.threads import ordered_map, sleep
from cop_zarr.errors import (
    ChunkError,
    DamageError,
    StorageError,
    StoreError,
    StoreReplacedError,
    UnreachableError,
)
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.codec import MAX_OVERHEAD, crc32c, decode
from cop_zarr.format.document import ObjectRecord, StoreDocument, parse
from cop_zarr.format.layout import INTEGRITY_CHUNK, ROOT, VALID_CHUNK
from cop_zarr.storage import JOB, SMALL_BYTES, DiskCache, Folder

T = TypeVar("T")

ChunkIndex = tuple[int, int]
"""Row and column of a chunk in the chunk grid."""

MIN_PARALLEL_CHUNKS = 2
"""Fewer chunks than this are read without threads."""

PREFETCH = 64
"""Chunks that threads may be ahead of the result that is taken next, if ``2 * workers`` is not more."""

PREFETCH_BYTES = 64 << 20
"""Decoded size of the chunks that threads may be ahead, unless ``workers`` chunks are larger."""

SHORT_PAUSES = (0.1, 0.5)
"""Seconds before a remote object that is shorter than recorded is read again: a server that announces no
length may have been cut off. One that stays short is damaged."""


class ChunkReader:
    """Reads the objects of one open store, and checks each. Thread-safe.

    ``cache`` keeps objects on a disk, and ``memory`` decoded chunks and what others compute from them; by
    default neither is kept. Without the integrity table, as if no chunk held data, the other objects can be
    read although the table is damaged.
    """

    def __init__(
        self,
        folder: Folder,
        document: StoreDocument,
        workers: int,
        cache: DiskCache | None = None,
        memory: LRUCache | None = None,
        *,
        with_table: bool = True,
    ) -> None:
        self.folder = folder
        self.memory = LRUCache(0) if memory is None else memory
        self.layout: Layout = document.layout
        self.sha256: str = document.sha256
        """Digest of ``zarr.json``: tells this store from another one in its place."""
        self.workers = workers
        """Objects read at once, at most."""
        self._cache = cache
        self._objects = document.objects
        shape = (2, *self.layout.chunk_grid)
        self.lengths, self.crcs = np.zeros(shape, "<u4")
        if with_table:
            self.lengths, self.crcs = self.read_small(INTEGRITY_CHUNK, shape, "<u4")

    def with_workers(self, workers: int) -> Self:
        """Copy this reader, its cached chunks included, with at most as many workers as it has."""
        reader = copy.copy(self)
        reader.workers = min(workers, self.workers)
        return reader

    def holds_data(self, row: int, col: int) -> bool:
        """Whether a chunk has an object; all cells of the others are 0 in every band."""
        return bool(self.lengths.item(row, col))

    def read_valid(self) -> np.ndarray:
        """Read the mask of cells with data: bool, ``(rows, cols)``."""
        return self.read_small(VALID_CHUNK, self.layout.grid.shape, "?")

    def read(self, row: int, col: int, out: np.ndarray | None = None) -> np.ndarray:
        """Read a chunk that holds data, from memory if it is there.

        float32, ``(longitude, latitude, band)``: a full chunk even at the edges, not writeable if it is
        cached. With ``out``, it is decoded into that array and not cached. ChunkError if the object is
        absent or damaged; StoreReplacedError if that is because another store has taken this one's place.
        """
        chunk: np.ndarray | None = self.memory.get((row, col))
        if chunk is not None:
            return chunk
        chunk = self._decode(row, col, np.empty(self.layout.stored_shape, "<f4") if out is None else out)
        if out is None and self.memory.capacity:
            chunk.flags.writeable = False
            self.memory.put((row, col), chunk, chunk.nbytes + ENTRY_BYTES)
        return chunk

    def map_chunks(
        self,
        chunks: Sequence[ChunkIndex],
        fn: Callable[[int, np.ndarray], T],
        *,
        reuse_buffers: bool = True,
    ) -> Iterator[T]:
        """Read chunks in several threads, apply a function to each, and yield the results in order.

        The chunks are cached if memory has room for all that are not there yet. Otherwise those there stay,
        and others are decoded into buffers that are used again, unless ``reuse_buffers`` is False, as it
        must be if ``fn`` returns the chunk or a view of it.

        ``chunks`` hold data, each once. ``fn`` is called with a chunk's position among them and the chunk,
        in the thread that decoded it. Errors are those of :meth:`read`.
        """
        uncached = sum(index not in self.memory for index in chunks)
        keep = uncached * self.layout.chunk_bytes <= self.memory.capacity
        buffers: deque[np.ndarray] = deque()

        def read(position: int) -> T:
            if keep:
                return fn(position, self.read(*chunks[position]))
            try:
                buffer = buffers.pop()
            except IndexError:
                buffer = np.empty(self.layout.stored_shape, "<f4")
            result = fn(position, self.read(*chunks[position], buffer))
            if reuse_buffers:
                buffers.append(buffer)
            return result

        workers = self.workers if uncached >= MIN_PARALLEL_CHUNKS else 1
        prefetch = min(max(PREFETCH, 2 * workers), PREFETCH_BYTES // self.layout.chunk_bytes)
        return ordered_map(read, range(len(chunks)), workers=workers, ahead=max(workers, prefetch))

    def _decode(self, row: int, col: int, out: np.ndarray) -> np.ndarray:
        """Read a chunk's object and decode it."""
        key = self.layout.chunk_key(row, col)
        record = ObjectRecord(self.lengths.item(row, col), self.crcs.item(row, col))
        try:
            return decode(self.read_checked(key, record, self.layout.chunk_bytes + MAX_OVERHEAD), out)
        except DamageError as damage:
            raise self._chunk_error(key, damage, self._extent(row, col)) from damage

    def read_checked(self, key: str, record: ObjectRecord, max_bytes: int = SMALL_BYTES) -> bytes:
        """Read an object, from the disk cache if it is there; DamageError if it is not what is recorded."""
        if record.length > max_bytes:
            raise DamageError(f"{record.length:,} bytes are recorded, more than it can have")
        if self._cache is None:
            return self._read_object(key, record)
        cached = self._cache.get(key, record.length + 1)
        if cached is not None:
            try:
                return _check(cached, record)
            except DamageError:
                self._cache.drop(key)
        data = self._read_object(key, record)
        self._cache.put(key, data)
        return data

    def read_unrecorded(self, key: str) -> bytes:
        """Read an object that nothing records, or what the disk cache has of it if no server answers.

        FileNotFoundError if there is none.
        """
        try:
            data = self.folder.read(key)
        except UnreachableError:
            if self._cache is None or (cached := self._cache.get(key)) is None:
                raise
            return cached
        if self._cache is not None and self._cache.get(key) != data:
            self._cache.put(key, data)
        return data

    def _read_object(self, key: str, record: ObjectRecord) -> bytes:
        """Read an object from the store, at most one byte more than is recorded, and check it."""
        try:
            data = self.folder.read(key, record.length + 1)
            for pause in SHORT_PAUSES if self.folder.remote else ():
                if len(data) >= record.length:
                    break
                sleep(pause)
                data = self.folder.read(key, record.length + 1)
        except FileNotFoundError:
            raise DamageError("it is absent") from None
        return _check(data, record)

    def read_small(self, key: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """Read a small array that is stored in one object."""
        if key not in self._objects:
            damage = DamageError("zarr.json does not record it")
            raise self._chunk_error(key, damage) from damage
        try:
            return decode(self.read_checked(key, self._objects[key]), np.empty(shape, dtype))
        except DamageError as damage:
            raise self._chunk_error(key, damage) from damage

    def _chunk_error(self, key: str, damage: DamageError, extent: str = "") -> StoreError:
        url = self.folder.url
        if self.is_replaced():
            return self.replaced_error()
        return ChunkError(
            f"{url}/{key}{extent} is damaged: {damage}. Repair it with: cop-zarr repair {shlex.quote(url)} "
            "--source TIF"
        )

    def replaced_error(self) -> StoreReplacedError:
        """The error to raise if :meth:`is_replaced`."""
        return StoreReplacedError(
            f"{self.folder.url} was replaced, or is being replaced, since it was opened; open it again"
        )

    def is_replaced(self) -> bool:
        """Whether another store has taken this one's place, or an ingest is writing one there."""
        try:
            return parse(self.folder.read(ROOT)).sha256 != self.sha256
        except FileNotFoundError:
            try:
                return bool(self.folder.read(JOB))  # an ingest writes to this place, as on object storage
            except (StorageError, FileNotFoundError):
                return False
        except (StoreError, StorageError):
            return False

    def _extent(self, row: int, col: int) -> str:
        window = self.layout.chunk_window(row, col)
        lats = self.layout.grid.window_latitudes(window)
        lons = self.layout.grid.window_longitudes(window)
        return f" (lat {lats[-1]:g} … {lats[0]:g}, lon {lons[0]:g} … {lons[-1]:g})"


def _check(data: bytes, record: ObjectRecord) -> bytes:
    """Return an object's bytes if they are as recorded."""
    if len(data) > record.length:
        raise DamageError(f"it has more than {record.length:,} bytes")
    if len(data) < record.length:
        raise DamageError(f"it has {len(data):,} bytes instead of {record.length:,}")
    if crc32c(data) != record.crc32c:
        raise DamageError("its CRC-32C is not the recorded one")
    return data
