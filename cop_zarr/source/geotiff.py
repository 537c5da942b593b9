"""Read a GeoTIFF in blocks of cells.

Whatever the container (tiled or striped, pixel-interleaved or band-sequential, compressed or not), it is
read as :class:`Block` s: rectangles aligned to the store's chunks, each small enough for the memory
allowed. tifffile decodes; this module plans the blocks and assembles their segments.
"""

from __future__ import annotations

import math
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn, Self

import numpy as np
import tifffile

from cop_zarr import system
from cop_zarr.core.grid import Window
from cop_zarr.errors import MemoryLimitError, SourceError, SourceNotFoundError
from cop_zarr.source.preflight import check_lzw
from cop_zarr.source.tags import inspect
from cop_zarr.storage import file_stamp, sha256_of
from cop_zarr.storage.files import read_range

LZW = 5
"""A value of the Compression tag (TIFF 6.0, section 13)."""

DECODES_INTO_BUFFER = frozenset({8, 32946, 50000})
"""Deflate, under both its numbers, and Zstandard: their tiles are decoded into a buffer that is used again.
Fresh memory of 200 MB, which the kernel provides page by page, takes half as long as decoding into it."""

MAX_BLOCK_BYTES = 256 << 20
"""Largest block that is assembled from several segments, if the memory allowed is no less; at least one row
of chunks or shards."""


@dataclass(frozen=True)
class Block(Window):
    """A window of the image, and the indices of the segments (tiles or strips) that hold it."""

    segments: tuple[int, ...]


def _open(path: Path) -> BinaryIO:
    """Open a file for reading; of a pipe, do not wait for who writes to it."""
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | system.READ_FLAGS))


def _check_regular(file: BinaryIO, name: str) -> None:
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise SourceError(f"{name} is a pipe or a device; copy what it sends to a file, and name that")


class GeoTiff:
    """An open, checked GeoTIFF on the product's lattice. Safe to read from several threads at once.

    Messages call it ``name``, by default its path. Raises SourceNotFoundError if there is no such file, and
    SourceError if it is not a GeoTIFF that can be ingested.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.path = path
        self.name = name or str(path)
        try:
            self._file = _open(path)
        except FileNotFoundError:
            raise SourceNotFoundError(f"there is no file {self.name}") from None
        except OSError as error:
            raise SourceError(f"cannot read {self.name}: {error.strerror}") from error
        self._stamp = file_stamp(self._file.fileno())
        try:
            _check_regular(self._file, self.name)
            self._page, self.info = inspect(self._file, self.name)
        except BaseException:
            self._file.close()
            raise
        self._buffers: deque[np.ndarray] = deque()  # not in use; as many in all as blocks are read at once
        self._offsets = self._page.dataoffsets
        self._lengths = self._page.databytecounts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._buffers.clear()

    @property
    def size_bytes(self) -> int:
        """Size of the file when it was opened."""
        return self._stamp[0]

    def sha256(self) -> str:
        """SHA-256 (hex) of the open file, whatever its name leads to by now."""
        return sha256_of(self._file.fileno())

    def check_unchanged(self) -> None:
        """Raise SourceError if the file has changed since it was opened: its digest would be wrong."""
        if self._stamp != file_stamp(self._file.fileno()):
            self._fail("it was changed while it was read")

    def blocks(self, edge_cells: int, memory: int, *, reserve: int = 0) -> list[Block]:
        """Cut the image into blocks whose edges are those of chunks or shards, largest encoded size first.

        These have ``edge_cells`` rows and columns. A block is one segment's rectangle where segments are
        aligned to them (GDAL's tiles always are to chunks: their sides are multiples of 16), otherwise the
        smallest aligned rectangle of whole segments that fits; where none fits, segments on a block's edge
        are decoded once for each block. A block takes at most ``memory - reserve`` bytes.

        Raises MemoryLimitError if one segment alone, or one row of chunks or shards, needs more.
        """
        height, width = self._block_shape(edge_cells, memory, reserve)
        rows, cols = self.info.grid.shape
        blocks = [
            self._block(row, min(row + height, rows), col, min(col + width, cols))
            for row in range(0, rows, height)
            for col in range(0, cols, width)
        ]
        largest = max(map(self.block_memory, blocks))
        if largest > memory - reserve:
            self._fail_for_memory(largest + reserve, memory)
        return sorted(blocks, key=lambda block: -sum(self._lengths[index] for index in block.segments))

    def block_memory(self, block: Block) -> int:
        """Bytes that reading a block takes at most: encoded and decoded segment, and the block itself."""
        segment: int = self._segment_bytes + max(self._lengths[index] for index in block.segments)
        if self._decoding_copies:
            segment += self._segment_bytes * max(1, 4 // int(self._page.dtype.itemsize))
        if self._is_one_segment(block):
            return segment  # the block is a view of it
        return segment + block.cells * self.info.bands * 4

    @contextmanager
    def buffer(self) -> Iterator[np.ndarray | None]:
        """Lend a buffer for :meth:`read`, used again later; None if this file's segments need none."""
        if not self._decodes_into_buffer:
            yield None
            return
        try:
            buffer = self._buffers.pop()
        except IndexError:  # all are lent
            buffer = np.empty(self._segment_bytes, "u1")
        try:
            yield buffer
        finally:
            self._buffers.append(buffer)

    def read(self, block: Block, buffer: np.ndarray | None = None) -> np.ndarray:
        """Decode a block: float32, ``(rows, cols, bands)``, not always contiguous, or a view of ``buffer``.

        Raises SourceError if a segment cannot be decoded.
        """
        height, width = block.shape
        if self._is_one_segment(block):
            data, row, col, _ = self._segment(block.segments[0], buffer)
            if data is not None:
                rows = slice(block.row - row, block.row - row + height)
                return data[rows, block.col - col : block.col - col + width]
        by_band = self._page.planarconfig == 2
        shape = (self.info.bands, height, width) if by_band else (height, width, self.info.bands)
        out = np.zeros(shape, "f4")
        if self.info.fills_nodata:
            out.fill(np.nan)
        cells = np.moveaxis(out, 0, -1) if by_band else out
        for index in block.segments:
            data, row, col, band = self._segment(index, buffer)
            if data is None:
                continue
            rows, source_rows = _overlap(block.row, block.row_stop, row, data.shape[0])
            cols, source_cols = _overlap(block.col, block.col_stop, col, data.shape[1])
            bands = slice(band, band + data.shape[2])
            cells[rows, cols, bands] = data[source_rows, source_cols]
        return cells

    def _is_one_segment(self, block: Block) -> bool:
        return len(block.segments) == 1 and bool(self._page.planarconfig == 1)

    @property
    def _segment_shape(self) -> tuple[int, int]:
        """Rows and columns of a full segment."""
        page = self._page
        if page.is_tiled:
            return int(page.tilelength), int(page.tilewidth)
        return int(min(page.rowsperstrip, page.imagelength)), int(page.imagewidth)

    @property
    def _segment_bytes(self) -> int:
        """Size of a decoded segment."""
        samples = self.info.bands if self._page.planarconfig == 1 else 1
        return math.prod(self._segment_shape) * samples * int(self._page.dtype.itemsize)

    @property
    def _decoding_copies(self) -> bool:
        """Whether decoding holds a segment twice: to undo a predictor, or to change width or byte order."""
        swapped = self._page.parent.byteorder == ">"
        return bool(self._page.predictor != 1 or self._page.dtype.itemsize != 4 or swapped)

    @property
    def _decodes_into_buffer(self) -> bool:
        """Whether segments are pixel-interleaved tiles of float32 numbers, ready when decompressed."""
        page = self._page
        plain = page.is_tiled and page.planarconfig == 1 and not self._decoding_copies
        return bool(plain and page.compression in DECODES_INTO_BUFFER and page.fillorder == 1)

    def _block_shape(self, edge_cells: int, memory: int, reserve: int) -> tuple[int, int]:
        """Rows and columns of a block: whole segments if they fit, whole chunks or shards in any case."""
        rows, cols = self.info.grid.shape
        seg_rows, seg_cols = map(min, self._segment_shape, (rows, cols))
        width = min(math.lcm(seg_cols, edge_cells), cols) if seg_cols < cols else cols
        height = min(math.lcm(seg_rows, edge_cells), rows) if seg_rows < rows else rows
        if (height, width) == (seg_rows, seg_cols) and self._page.planarconfig == 1:
            return height, width
        segments = 3 * self._segment_bytes  # encoded, decoded, and a copy
        row_bytes = width * self.info.bands * 4
        spare = min(max(MAX_BLOCK_BYTES, edge_cells * row_bytes), memory - reserve - segments)
        fitting = spare // row_bytes // edge_cells * edge_cells
        if fitting < 1:
            self._fail_for_memory(reserve + segments + edge_cells * row_bytes, memory)
        return min(height, fitting), width

    def _block(self, row: int, row_stop: int, col: int, col_stop: int) -> Block:
        """A rectangle with the indices of the segments that it needs, in file order."""
        seg_rows, seg_cols = self._segment_shape
        rows, cols = self.info.grid.shape
        across = -(-cols // seg_cols)
        area = across * -(-rows // seg_rows)
        planes = self.info.bands if self._page.planarconfig == 2 else 1
        segments = (
            plane * area + y * across + x
            for plane in range(planes)
            for y in range(row // seg_rows, -(-row_stop // seg_rows))
            for x in range(col // seg_cols, -(-col_stop // seg_cols))
        )
        return Block(row, row_stop, col, col_stop, tuple(segments))

    def _segment(self, index: int, buffer: np.ndarray | None) -> tuple[np.ndarray | None, int, int, int]:
        """Decode one segment: (rows, cols, samples) or None if sparse, its row, column and first band."""
        encoded = read_range(self._file.fileno(), self._offsets[index], self._lengths[index])
        if len(encoded) != self._lengths[index]:
            self._fail(f"segment {index} was cut short while it was read; has the file changed?")
        try:
            if self._page.compression == LZW and encoded:
                check_lzw(encoded)
            decompress = tifffile.TIFF.DECOMPRESSORS[self._page.compression]
            if buffer is not None and encoded and len(decompress(encoded, out=buffer)) == len(buffer):
                row, col = divmod(index, -(-self.info.grid.cols // self._page.tilewidth))
                tile = buffer.view("f4").reshape(*self._segment_shape, self.info.bands)
                return tile, row * self._page.tilelength, col * self._page.tilewidth, 0
            data, (band, _, row, col, _), _ = self._page.decode(encoded or None, index)
            if data is not None:
                with np.errstate(over="raise"):
                    data = data[0].astype("f4", copy=False)
        except FloatingPointError as error:
            self._fail(f"segment {index} holds {self.info.dtype} values beyond float32", error)
        except (RuntimeError, ValueError, tifffile.TiffFileError) as error:
            self._fail(f"segment {index} is damaged: it does not decode ({error})", error)
        return data, row, col, band

    def _fail(self, why: str, cause: BaseException | None = None) -> NoReturn:
        raise SourceError(f"cannot ingest {self.name}: {why}") from cause

    def _fail_for_memory(self, needed: int, allowed: int) -> NoReturn:
        raise MemoryLimitError(
            f"cannot read {self.name} within {allowed / 2**20:,.0f} MiB of memory: its {self.info.layout} "
            f"layout needs {-(-needed // 2**20):,} MiB at once. Allow as much (memory=), or "
            "rewrite it in smaller tiles (gdal_translate -co TILED=YES -co BLOCKXSIZE=64 -co BLOCKYSIZE=64)"
        )


def _overlap(first: int, stop: int, at: int, size: int) -> tuple[slice, slice]:
    """Where a run of ``size`` from ``at`` meets ``[first, stop)``: slice there, slice in the run."""
    low, high = max(first, at), min(stop, at + size)
    return slice(low - first, high - first), slice(low - at, high - at)
