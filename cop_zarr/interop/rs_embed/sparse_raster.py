"""A store as one array in memory, whose cells are read when they are first asked for.

It is for those who must compute on windows of an array as it lies in memory. The array is a temporary file
without a name, mapped into memory: it takes room on the disk for the chunks that were asked for, not for
the whole (3.2 GB with 768 bands), and the system may write any of it out when memory is short.
"""

from __future__ import annotations

import os
import tempfile
import weakref

import numpy as np

from cop_zarr.core.grid import Window
from cop_zarr.errors import StorageError
from cop_zarr.format.chunk_reader import ChunkIndex, ChunkReader


class Raster:
    """The cells of a store as an array; each chunk is read and decoded once.

    Safe to use from several threads and after a fork: two that want the same chunk at the same moment both
    read it, and write the same bytes.

    Parameters
    ----------
    reader : ChunkReader
        The store's. It need not keep chunks in memory.

    Attributes
    ----------
    shape : tuple of int
        Rows, columns and bands.

    Raises
    ------
    StorageError
        If no temporary file can be made.
    """

    def __init__(self, reader: ChunkReader) -> None:
        self._reader = reader
        self._missing = reader.lengths > 0
        self.shape = (*reader.layout.grid.shape, reader.layout.bands)
        try:
            self._file = tempfile.TemporaryFile(prefix="cop-zarr-")  # noqa: SIM115  # lives as long as this
            weakref.finalize(self, self._file.close)
            self._file.truncate(4 * int(np.prod(self.shape, dtype="i8")))
            self._cells = np.asarray(np.memmap(self._file, "<f4", "r", shape=self.shape))
        except OSError as error:
            raise _failure(error) from error

    def cut(self, rows: slice, cols: slice) -> np.ndarray:
        """Look at a window of cells, after reading the chunks under it that have not been read yet.

        Parameters
        ----------
        rows, cols : slice
            From the first to before the last, within the grid.

        Returns
        -------
        ndarray
            float32, shape ``(rows, cols, bands)``: a view, not writeable.

        Raises
        ------
        ChunkError, StoreReplacedError
            If a chunk is absent or damaged.
        StorageError
            If the store cannot be read, or the temporary file not be written.
        """
        size = self._reader.layout.chunk_cells
        under = self._missing[
            rows.start // size : -(-rows.stop // size), cols.start // size : -(-cols.stop // size)
        ]
        if np.count_nonzero(under):
            self._fill(Window(rows.start, rows.stop, cols.start, cols.stop))
        return self._cells[rows, cols]

    def _fill(self, window: Window) -> None:
        places = [place for place, _ in self._reader.layout.chunks(window, self._missing)]

        def work(number: int, chunk: np.ndarray) -> None:
            self._write(places[number], chunk)
            self._missing[places[number]] = False

        for _ in self._reader.map_chunks(places, work):
            pass

    def _write(self, place: ChunkIndex, chunk: np.ndarray) -> None:
        """Write a chunk's rows to their places.

        Not through the map: where a disk is full, that would kill the process (SIGBUS).
        """
        window = self._reader.layout.chunk_window(*place)
        height, width = window.shape
        _, cols, bands = self.shape
        for row in range(height):
            data = chunk[:width, row].tobytes()
            at = 4 * bands * ((window.row + row) * cols + window.col)
            try:
                while data:
                    done = os.pwrite(self._file.fileno(), data, at)
                    data, at = data[done:], at + done
            except OSError as error:
                raise _failure(error) from error


def _failure(error: OSError) -> StorageError:
    return StorageError(
        f"cannot keep decoded cells in a temporary file in {tempfile.gettempdir()}: {error.strerror}; "
        "TMPDIR names another folder"
    )
