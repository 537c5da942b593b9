"""Blocks of cells become the objects of a store: cut, encode, write, and record what was written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cop_zarr.chunks import crc32c, encode
from cop_zarr.grid import Window
from cop_zarr.layout import ChunkPart, Layout
from cop_zarr.metadata import documents
from cop_zarr.storage import Folder


@dataclass(frozen=True)
class Written:
    """What a finished store holds: cells with data, chunks with data, bytes of all its objects."""

    valid_cells: int
    chunks_stored: int
    store_bytes: int


class StoreWriter:
    """Encodes and writes chunks, and keeps what the store must know of them. Thread-safe.

    Parameters
    ----------
    layout : Layout
        Grid, bands and chunks of the store.
    target : Folder
        Where to.
    """

    def __init__(self, layout: Layout, target: Folder) -> None:
        self._layout = layout
        self._target = target
        self._valid = np.zeros(layout.grid.shape, bool)
        self._integrity = np.zeros((2, *layout.chunk_grid), "<u4")

    def write(self, window: Window, cells: np.ndarray) -> None:
        """Write the chunks of a window whose edges are chunk edges.

        Parameters
        ----------
        window : Window
            Where the cells lie in the grid. No two windows share a chunk.
        cells : ndarray
            float32, ``(rows, cols, bands)``.
        """
        # A chunk is stored if any bit of it is set: a lone -0.0 is no data, and yet comes back as it was.
        held = np.any(cells.view("u4"), axis=2)
        for part in self._layout.parts(window):
            if held[part.target].any():
                self._write_chunk(part, cells[part.target])

    def _write_chunk(self, part: ChunkPart, cells: np.ndarray) -> None:
        """Write one chunk; at the grid's edge it is filled up with zeros."""
        chunk = np.zeros(self._layout.stored_shape, "<f4")
        rows, cols = part.inside
        chunk[cols, rows] = cells.transpose(1, 0, 2)
        data = encode(chunk)
        self._target.write(self._layout.chunk_key(part.row, part.col), data)
        window = self._layout.chunk_window(part.row, part.col)
        # "!= 0" and not any() alone, which warns of a signalling NaN
        self._valid[window.slices] = np.any(chunk[cols, rows] != 0, axis=2).T
        self._integrity[:, part.row, part.col] = len(data), crc32c(data)

    def finish(self, source: dict[str, Any], created: str) -> Written:
        """Write everything else, ``zarr.json`` last.

        Parameters
        ----------
        source : dict
            Provenance of the values, JSON-ready.
        created : str
            When, ISO 8601.
        """
        objects = documents(self._layout, source, created, self._valid, self._integrity)
        for key, data in objects.items():
            self._target.write(key, data)
        lengths = self._integrity[0]
        return Written(
            valid_cells=int(self._valid.sum()),
            chunks_stored=int((lengths > 0).sum()),
            store_bytes=int(lengths.sum(dtype="i8")) + sum(map(len, objects.values())),
        )
