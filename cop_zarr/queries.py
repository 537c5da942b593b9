"""From a plan to its answer: the chunks under its cells, put into a grid or pooled into one vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cop_zarr.chunks import ChunkReader
from cop_zarr.errors import ResultTooLargeError
from cop_zarr.grid import Affine, Window
from cop_zarr.plans import Plan
from cop_zarr.pooling import REDUCERS


@dataclass(frozen=True, repr=False, eq=False)
class Embedding:
    """The answer to a query.

    Attributes
    ----------
    data : ndarray
        float32: ``(bands,)`` if pooled, ``(bands, rows, cols)`` with north up if a grid. A grid's memory
        order is pixel-interleaved, as it is stored; ``np.ascontiguousarray`` makes it band-sequential.
    valid : ndarray
        bool, ``(rows, cols)``: False for cells without data, which are 0 in every band.
    weights : ndarray
        float32, ``(rows, cols)``: how much each cell of the window belongs to the region, whether it has
        data or not. 0 is not at all; 1 is wholly, or if ``meta["weights"]`` is None, touched; areas are in
        m²; those of ``subpixel="bilinear"`` add up to 1.
    meta : dict
        What was asked and answered, JSON-ready: model, year, region, window, CRS, source, store.
    """

    data: np.ndarray
    valid: np.ndarray
    weights: np.ndarray
    meta: dict[str, Any]

    def __repr__(self) -> str:
        kind = self.meta["pooling"] or "grid"
        valid, total = self.meta["valid_cells"], self.meta["total_cells"]
        made_up = ", synthetic" if self.meta["synthetic"] else ""
        return f"<Embedding {kind} {self.data.shape}: {valid} of {total} cells with data{made_up}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The data, for ``np.asarray(embedding)``."""
        return np.array(self.data, dtype=dtype, copy=copy)


def pooled(reader: ChunkReader, window: Window, pooling: str, weights: np.ndarray | None) -> np.ndarray:
    """Pool a window's cells, chunk by chunk, in memory that does not depend on the window's size.

    Parameters
    ----------
    weights : ndarray or None
        float64, the window's shape; a chunk without any weight is not read. None: every cell counts once.

    Returns
    -------
    ndarray
        float32, shape ``(bands,)``; NaN if no cell has any weight.
    """
    pool = REDUCERS[pooling](reader.layout.bands)
    parts = reader.layout.parts(window)
    if weights is None:
        for part, cells in reader.read_parts(parts):
            if cells is None:
                pool.add_empty(part.cells)
            else:
                pool.add(cells.reshape(part.cells, -1))
        return pool.result()
    for part, cells in reader.read_parts(part for part in parts if weights[part.target].any()):
        weight = weights[part.target].T  # cells are (longitude, latitude, band)
        if cells is None:
            pool.add_empty(float(weight.sum()))
        else:
            counts = weight > 0  # a cell outside must not count even if it is NaN
            if counts.all():
                pool.add(cells.reshape(part.cells, -1), weight.reshape(-1))
            else:
                pool.add(cells[counts], weight[counts])
    return pool.result()


def grid(reader: ChunkReader, window: Window, max_bytes: int) -> np.ndarray:
    """Read a window's cells.

    Returns
    -------
    ndarray
        float32, shape ``(bands, rows, cols)``, north up.

    Raises
    ------
    ResultTooLargeError
        If it would take more than ``max_bytes``; nothing has been read.
    """
    (rows, cols), bands = window.shape, reader.layout.bands
    size = rows * cols * bands * 4
    if size > max_bytes:
        raise ResultTooLargeError(
            f"a grid of {bands} x {rows} x {cols} float32 numbers takes {size:,} bytes, more than "
            f"max_bytes={max_bytes:,}; ask for a smaller region, for output='pooled', which is never "
            "limited, or allow more"
        )
    out = np.zeros((rows, cols, bands), "f4")
    for part, cells in reader.read_parts(reader.layout.parts(window)):
        if cells is not None:
            out[part.target] = cells.transpose(1, 0, 2)
    return np.moveaxis(out, -1, 0)


def window_of(mask: np.ndarray, window: Window) -> np.ndarray:
    """Cut a window out of a whole-grid mask: ``(rows, cols)`` of either, around the seam where it wraps."""
    rows = mask[window.row : window.row_stop]
    if window.col_stop <= mask.shape[1]:
        return rows[:, window.col : window.col_stop].copy()
    return rows.take(range(window.col, window.col_stop), axis=1, mode="wrap")


def describe(plan: Plan, transform: Affine, shape: Sequence[int], valid: np.ndarray) -> dict[str, Any]:
    """The part of an answer's metadata that the region decides, JSON-ready."""
    window, members = plan.window, plan.members
    return {
        "roi": plan.footprint.roi,
        "bbox_4326": list(plan.footprint.bounds),
        "rows": [window.row, window.row_stop],
        "cols": [window.col, window.col_stop],
        "shape": list(shape),
        "valid_cells": int((valid & members).sum()),
        "total_cells": int(members.sum()),
        "weights": plan.weighing,
        "subpixel": plan.subpixel,
        "clipped": plan.clipped,
        "input_crs": plan.footprint.input_crs,
        "transform": list(transform),
    }
