"""A store as one array in memory whose cells are read on first use."""

from __future__ import annotations

import tempfile
import weakref

import numpy as np

from cop_zarr import system
from cop_zarr.core.grid import Window
from cop_zarr.format.chunk_grid import ChunkIndex
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.storage.files import disk_errors

WRITE_FAILED = "cannot write decoded cells to a temporary file; set TMPDIR to a folder with room for it"


class SparseRaster:
    """The cells of a store as an array; each chunk is read and decoded once.

    The array is an unnamed temporary file mapped into memory. It takes disk space only for the chunks that
    were read (not 3.2 GB, with 768 bands), and the system may write it out when memory is short. Safe to
    use from several threads and after a fork: two that read the same chunk write the same bytes.
    """

    def __init__(self, reader: ChunkReader) -> None:
        self._reader = reader
        self._unread = reader.lengths > 0
        self.shape = (*reader.layout.grid.shape, reader.layout.bands)
        with disk_errors(WRITE_FAILED):
            self._file = tempfile.TemporaryFile(prefix="cop-zarr-")  # noqa: SIM115  # closed by finalize
            weakref.finalize(self, self._file.close)
            self._file.truncate(4 * int(np.prod(self.shape, dtype="i8")))
            self._cells = np.asarray(np.memmap(self._file, "<f4", "r", shape=self.shape))

    def view(self, rows: slice, cols: slice) -> np.ndarray:
        """A read-only view of a window: float32, ``(rows, cols, bands)``; chunks are read as needed."""
        size = self._reader.layout.chunk_cells
        chunks = (
            slice(rows.start // size, -(-rows.stop // size)),
            slice(cols.start // size, -(-cols.stop // size)),
        )
        if self._unread[chunks].any():
            self._read(Window(rows.start, rows.stop, cols.start, cols.stop))
        return self._cells[rows, cols]

    def _read(self, window: Window) -> None:
        indices = [index for index, _ in self._reader.layout.chunks(window, self._unread)]

        def write(position: int, chunk: np.ndarray) -> None:
            self._write(indices[position], chunk)
            self._unread[indices[position]] = False

        for _ in self._reader.map_chunks(indices, write):
            pass

    def _write(self, index: ChunkIndex, chunk: np.ndarray) -> None:
        """Write a chunk, row by row, to the file: through the map, a full disk would kill the process."""
        window = self._reader.layout.chunk_window(*index)
        height, width = window.shape
        _, cols, bands = self.shape
        for row in range(height):
            data = chunk[:width, row].tobytes()
            offset = 4 * bands * ((window.row + row) * cols + window.col)
            with disk_errors(WRITE_FAILED):
                while data:
                    written = system.write_at(self._file.fileno(), data, offset)
                    data, offset = data[written:], offset + written
