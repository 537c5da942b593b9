"""Read, check and decode the chunks of a store.

Chunks are read as objects, or as ranges of shards, and decoded by numcodecs: zarr-python's array indexing
takes several times as long for one chunk. One is decoded only if it has the length and the CRC-32C of the
integrity table. From a disk, each is read by itself; over a network, those that lie close in a shard come
together.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Self, TypeVar

import numpy as np

from cop_zarr.core.lru_cache import ENTRY_BYTES, LRUCache
from cop_zarr.core.threads import ordered_map
from cop_zarr.errors import ChunkError, DamageError, StorageError, StoreError, StoreReplacedError
from cop_zarr.format.chunk_grid import ChunkIndex, Layout
from cop_zarr.format.codec import decode
from cop_zarr.format.document import StoreDocument, parse
from cop_zarr.format.encoded_chunks import Encoded, EncodedChunks
from cop_zarr.format.encodings import check_scale
from cop_zarr.format.layout import INTEGRITY_CHUNK, ROOT, SCALE_CHUNK, VALID_CHUNK
from cop_zarr.format.object_reader import ObjectReader
from cop_zarr.storage import JOB, DiskCache, Folder, repair_advice

T = TypeVar("T")

MIN_PARALLEL_CHUNKS = 2
"""Fewer chunks than this are read without threads."""

PREFETCH = 64
"""Chunks that threads may be ahead of the result that is taken next, if ``2 * workers`` is not more."""

PREFETCH_BYTES = 64 << 20
"""Decoded size of the chunks that threads may be ahead, unless ``workers`` chunks are larger. The ranges of
shards that are read at once are no larger either, unless one alone is."""


class ChunkReader:
    """Reads the objects of one open store, and checks each. Thread-safe.

    ``cache`` keeps objects on a disk, and ``memory`` decoded chunks and what others compute from them; by
    default neither is kept. Without the integrity table, as if no chunk held data, and without the scales,
    the other objects can be read although these are damaged.
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
        self.objects = ObjectReader(folder, cache)
        self._records = document.objects
        table = np.zeros(self.layout.table_shape, "<u4")
        if with_table:
            table = self.read_small(INTEGRITY_CHUNK, self.layout.table_shape, "<u4")
        try:
            self.encoded = EncodedChunks(self.layout, table, self.objects)
        except DamageError as damage:
            raise self._chunk_error(INTEGRITY_CHUNK, damage) from damage
        self.scales: np.ndarray | None = None
        """Scales of the cells of each chunk, as :meth:`Layout.by_chunk`; None without such an encoding."""
        if with_table and self.layout.encoding.has_scale:
            self.scales = self.layout.by_chunk(self.read_scale())
        self.lengths = self.encoded.lengths
        """Stored size of each chunk: uint32, 0 for one without data."""

    def with_workers(self, workers: int) -> Self:
        """Copy this reader, its cached chunks included, with at most as many workers as it has."""
        reader = copy.copy(self)
        reader.workers = min(workers, self.workers)
        return reader

    def for_quick_work(self) -> Self:
        """Copy this reader, if one thread is faster where little is done with each chunk.

        One of int8 from a disk is decoded in 38 µs, so that threads would wait for Python's lock: the mean
        of the globe takes 0.47 s in one, 0.6 in two.
        """
        is_quick = self.layout.encoding.has_scale and not self.folder.remote
        return self.with_workers(1) if is_quick else self

    def holds_data(self, row: int, col: int) -> bool:
        """Whether a chunk has an object; all cells of the others are 0 in every band."""
        return bool(self.lengths.item(row, col))

    def read_valid(self) -> np.ndarray:
        """Read the mask of cells with data: bool, ``(rows, cols)``."""
        return self.read_small(VALID_CHUNK, self.layout.grid.shape, "?")

    def read_scale(self) -> np.ndarray:
        """Read the scales of cells, of an encoding that has some: float32, ``(rows, cols)``."""
        scale = self.read_small(SCALE_CHUNK, self.layout.grid.shape, "<f4")
        try:
            return check_scale(scale)
        except DamageError as damage:
            raise self._chunk_error(SCALE_CHUNK, damage) from damage

    def read(
        self, row: int, col: int, out: np.ndarray | None = None, encoded: Encoded | None = None
    ) -> np.ndarray:
        """Read a chunk that holds data, from memory if it is there.

        float32, ``(longitude, latitude, band)``: a full chunk even at the edges, not writeable if it is
        cached. With ``out``, it is decoded into that array and not cached; with ``encoded``, it was read
        already. ChunkError if it is absent or damaged; StoreReplacedError if that is because another store
        has taken this one's place.
        """
        chunk: np.ndarray | None = self.memory.get((row, col))
        if chunk is not None:
            return chunk
        chunk = np.empty(self.layout.stored_shape, "<f4") if out is None else out
        self._decode(row, col, chunk, encoded)
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
        in the thread that decoded it. Its results wait for their turn: with remote shards, those of a row
        of shards, so they should be small. Errors are those of :meth:`read`.
        """
        uncached = self.memory.count_absent(chunks)
        if not uncached:
            return (fn(position, self.read(*index)) for position, index in enumerate(chunks))
        keep = uncached * self.layout.chunk_bytes <= self.memory.capacity
        buffers: deque[np.ndarray] = deque()

        def read(position: int, encoded: Encoded | None = None) -> T:
            if keep:
                return fn(position, self.read(*chunks[position], None, encoded))
            try:
                buffer = buffers.pop()
            except IndexError:
                buffer = np.empty(self.layout.stored_shape, "<f4")
            result = fn(position, self.read(*chunks[position], buffer, encoded))
            if reuse_buffers:
                buffers.append(buffer)
            return result

        if uncached >= MIN_PARALLEL_CHUNKS and self.layout.shard_cells and self.folder.remote:
            together = len(chunks) if reuse_buffers else PREFETCH_BYTES // self.layout.chunk_bytes
            return self._map_spans(chunks, read, max(1, together))
        workers = self.workers if uncached >= MIN_PARALLEL_CHUNKS else 1
        prefetch = min(max(PREFETCH, 2 * workers), PREFETCH_BYTES // self.layout.chunk_bytes)
        return ordered_map(read, range(len(chunks)), workers=workers, ahead=max(workers, prefetch))

    def _map_spans(
        self, chunks: Sequence[ChunkIndex], read: Callable[[int, Encoded | None], T], together: int
    ) -> Iterator[T]:
        """Read chunks of remote shards, several by one request; yield results in the order of the chunks.

        One request brings chunks out of ``together`` that follow one another.
        """
        groups: list[list[int]] = []
        for first in range(0, len(chunks), together):
            positions = range(first, min(first + together, len(chunks)))
            absent = [position for position in positions if chunks[position] not in self.memory]
            groups += ([position] for position in positions if chunks[position] in self.memory)
            spans = self.encoded.spans([chunks[position] for position in absent])
            groups += ([absent[number] for number in span] for span in spans)
        groups.sort(key=min)

        def read_group(positions: list[int]) -> list[tuple[int, T]]:
            absent = [chunks[position] for position in positions if chunks[position] not in self.memory]
            found = self.encoded.read_together(absent)
            return [(position, read(position, found.get(chunks[position]))) for position in positions]

        largest = max(sum(self.lengths.item(*chunks[each]) for each in group) for group in groups)
        ahead = max(1, min(max(PREFETCH, 2 * self.workers), PREFETCH_BYTES // largest))
        return _in_order(ordered_map(read_group, groups, workers=min(self.workers, ahead), ahead=ahead))

    def _decode(self, row: int, col: int, out: np.ndarray, encoded: Encoded | None) -> None:
        """Decode a chunk, which is read first unless it was."""
        try:
            data = self.encoded.read(row, col) if encoded is None else encoded
            if isinstance(data, DamageError):
                raise data
            encoding = self.layout.encoding
            if encoding.is_lossless:
                decode(data, out)
                return
            stored = decode(data, np.empty(out.shape, encoding.dtype))
        except DamageError as damage:
            raise self._damaged(row, col, damage) from damage
        encoding.decode(stored, stored if self.scales is None else self.scales[row, col], out)

    def read_encoded(self, chunks: Sequence[ChunkIndex], requests: int) -> dict[ChunkIndex, bytes]:
        """Read chunks that hold data as they are stored, those of one shard together.

        Without shards, ``requests`` remote ones are read at once. Errors are those of :meth:`read`.
        """

        def read(index: ChunkIndex) -> Encoded:
            try:
                return self.encoded.read(*index)
            except DamageError as damage:
                return damage

        if self.layout.shard_cells:
            found = self.encoded.read_together(chunks)
        else:
            workers = requests if self.folder.remote else 1
            found = dict(zip(chunks, ordered_map(read, chunks, workers=workers), strict=True))
        for index, data in found.items():
            if isinstance(data, DamageError):
                raise self._damaged(*index, data)
        return found  # type: ignore[return-value]  # none of them is damaged

    def read_checked(self, key: str) -> bytes:
        """Read a small object; DamageError if it is not what is recorded."""
        return self.objects.read(key, self._records[key])

    def read_small(self, key: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """Read a small array that is stored in one object."""
        if key not in self._records:
            damage = DamageError("zarr.json does not record it")
            raise self._chunk_error(key, damage) from damage
        try:
            return decode(self.read_checked(key), np.empty(shape, dtype))
        except DamageError as damage:
            raise self._chunk_error(key, damage) from damage

    def _damaged(self, row: int, col: int, damage: DamageError) -> StoreError:
        return self._chunk_error(self.layout.key_of_chunk(row, col), damage, self._extent(row, col))

    def _chunk_error(self, key: str, damage: DamageError, extent: str = "") -> StoreError:
        url = self.folder.url
        if self.is_replaced():
            return self.replaced_error()
        return ChunkError(f"{url}/{key}{extent} is damaged: {damage}. {repair_advice(url)}")

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


def _in_order(found: Iterable[list[tuple[int, T]]]) -> Iterator[T]:
    """Yield results by their positions, which are 0, 1, 2 …, as soon as all before them are there."""
    waiting: dict[int, T] = {}
    position = 0
    for results in found:
        waiting.update(results)
        while position in waiting:
            yield waiting.pop(position)
            position += 1
