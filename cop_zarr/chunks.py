"""Read, check and decode the chunk objects of a store.

Chunks are read as objects and decoded by numcodecs, past zarr-python's array machinery, which takes
several times as long for one chunk. Nothing is believed: an object must have the length and the CRC-32C
that the store's integrity table records before it is decoded.
"""

from __future__ import annotations

import shlex
import struct
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from operator import attrgetter

import google_crc32c
import numpy as np
from numcodecs import blosc

from cop_zarr.errors import ChunkError, StorageError, StoreError, StoreReplacedError
from cop_zarr.layout import (
    BLOSC,
    INTEGRITY_CHUNK,
    ROOT,
    VALID_CHUNK,
    ChunkPart,
    Layout,
    ObjectRecord,
    StoreDocument,
    parse,
)
from cop_zarr.storage import JOB, DiskCache, Folder

blosc.use_threads = False
"""Blosc's own threads write blocks in the order they finish, so that the same chunk gets other bytes each
time; they speed up nothing at this chunk size, and they do not survive a fork. Work is spread over chunks
instead."""

PARALLEL_CHUNKS = 16
"""From this many chunks on, reading from a disk is spread over threads (starting them costs as much as 4
chunks). Over a network, two are enough."""

SHORT_PAUSES = (0.1, 0.5)
"""Seconds before a remote object that is shorter than recorded is read again: a server that announces no
length may have been cut off, and nothing else tells. One that stays short is damaged."""

MAX_OVERHEAD = 16
"""Bytes by which Blosc data may be longer than what they hold: their header (BLOSC_MAX_OVERHEAD)."""

_BLOSC_HEADER = struct.Struct("<4xI4xI")
"""A Blosc 1 header: flags, decoded size, block size, encoded size with the header; little endian."""


class DamageError(Exception):
    """An object is not what its record says; becomes a ChunkError that names it."""


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of bytes."""
    return int(google_crc32c.value(data))


def encode(cells: np.ndarray) -> bytes:
    """Compress an array as this format's chunks are: the same bytes every time."""
    shuffle = blosc.BITSHUFFLE
    encoded = blosc.compress(
        cells, BLOSC["cname"].encode(), BLOSC["clevel"], shuffle, BLOSC["blocksize"], cells.itemsize
    )
    return bytes(encoded)


def decode(data: bytes, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Undo :func:`encode`.

    Raises
    ------
    DamageError
        If the data claim another size than the shape needs or than they have (Blosc would read past
        their end), or do not decode. No more memory is taken than the shape needs.
    """
    out = np.empty(shape, dtype)
    if len(data) < _BLOSC_HEADER.size:
        raise DamageError(f"it has {len(data)} bytes, less than a Blosc header")
    claimed, encoded = _BLOSC_HEADER.unpack_from(data)
    if claimed != out.nbytes:
        raise DamageError(f"it claims to hold {claimed:,} bytes; {out.nbytes:,} are expected")
    if encoded != len(data):
        raise DamageError(f"it claims to have {encoded:,} bytes; it has {len(data):,}")
    try:
        blosc.decompress(data, out)
    except (RuntimeError, ValueError) as error:
        raise DamageError(f"it does not decode: {error}") from error
    return out


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
    """

    def __init__(
        self, folder: Folder, document: StoreDocument, workers: int, cache: DiskCache | None = None
    ) -> None:
        self.folder = folder
        self._cache = cache
        self.layout: Layout = document.layout
        self._objects = document.objects
        self._identity = document.sha256
        self._workers = workers
        shape = (2, *self.layout.chunk_grid)
        self.lengths, self.crcs = self.small(INTEGRITY_CHUNK, shape, "<u4")

    def holds_data(self, row: int, col: int) -> bool:
        """Whether a chunk has an object of its own; the cells of others are 0 in every band."""
        return bool(self.lengths[row, col])

    def valid(self) -> np.ndarray:
        """The mask of cells with data: bool, shape ``(rows, cols)``."""
        return self.small(VALID_CHUNK, self.layout.grid.shape, "?")

    def read(self, row: int, col: int) -> np.ndarray | None:
        """Read one chunk.

        Returns
        -------
        ndarray or None
            float32, shape ``(longitude, latitude, band)`` of full chunk size, as it is stored; None if
            no cell of the chunk has data.

        Raises
        ------
        ChunkError
            If the object is absent, short, long or damaged.
        StoreReplacedError
            If that is because another store lies here now.
        StorageError
            If it could not be read.
        """
        if not self.holds_data(row, col):
            return None
        key = self.layout.chunk_key(row, col)
        record = ObjectRecord(int(self.lengths[row, col]), int(self.crcs[row, col]))
        try:
            _refuse_absurd(record, self.layout)
            return decode(self.checked(key, record), self.layout.stored_shape, "<f4")
        except DamageError as damage:
            raise self._chunk_error(key, damage, self._place(row, col)) from damage

    def read_parts(self, parts: Iterable[ChunkPart]) -> Iterator[tuple[ChunkPart, np.ndarray | None]]:
        """Read the chunks of many parts as :meth:`read_many` does, each once, and give the parts.

        A window all around the globe has two parts in the chunk that it begins and ends in; those come
        one after the other.

        Yields
        ------
        part : ChunkPart
        cells : ndarray or None
            The part's cells: float32, ``(longitude, latitude, band)``; None if the chunk is empty.
        """
        place = attrgetter("row", "col")
        groups = [(key, list(group)) for key, group in groupby(sorted(parts, key=place), key=place)]
        chunks = self.read_many([key for key, _ in groups])
        for (_, group), chunk in zip(groups, chunks, strict=True):
            for part in group:
                yield part, _inside(chunk, part)

    def read_many(self, places: Sequence[tuple[int, int]]) -> Iterator[np.ndarray | None]:
        """Read chunks, several at a time, and give them in the order of their places.

        At most ``2 * workers`` decoded chunks wait, however many there are.

        Yields
        ------
        ndarray or None
            As :meth:`read`.
        """
        full = sum(self.holds_data(*place) for place in places)
        if self._workers == 1 or full < (2 if self.folder.remote else PARALLEL_CHUNKS):
            yield from (self.read(*place) for place in places)
            return
        with ThreadPoolExecutor(self._workers, "cop-zarr-read") as pool:
            waiting: deque[Future[np.ndarray | None]] = deque()
            try:
                for place in places:
                    waiting.append(pool.submit(self.read, *place))
                    if len(waiting) >= 2 * self._workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def checked(self, key: str, record: ObjectRecord) -> bytes:
        """Read an object, from the cache if it is there, and hold it against its record.

        Raises
        ------
        DamageError
            If it is absent, short, long or damaged.
        StorageError
            If it could not be read.
        """
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
            return decode(self.checked(key, self._objects[key]), shape, dtype)
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
            return parse(self.folder.read(ROOT)).sha256 != self._identity
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


def _refuse_absurd(record: ObjectRecord, layout: Layout) -> None:
    """Refuse a record that would have more memory taken than any chunk needs."""
    if record.length > layout.chunk_bytes + MAX_OVERHEAD:
        raise DamageError(f"{record.length:,} bytes are recorded, more than a chunk can have")


def _matching(data: bytes, record: ObjectRecord) -> bytes:
    """An object's bytes, if they are as recorded."""
    if len(data) > record.length:
        raise DamageError(f"it has more than {record.length:,} bytes")
    if len(data) < record.length:
        raise DamageError(f"it has {len(data):,} bytes instead of {record.length:,}")
    if crc32c(data) != record.crc32c:
        raise DamageError("its CRC-32C is not the recorded one")
    return data


def _inside(chunk: np.ndarray | None, part: ChunkPart) -> np.ndarray | None:
    """The cells of a part, out of its whole chunk."""
    rows, cols = part.inside
    return None if chunk is None else chunk[cols, rows]
