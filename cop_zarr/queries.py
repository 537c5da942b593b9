"""From a region to its answer: cells touched, chunks under them, a grid or one vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from cop_zarr.chunks import ChunkReader
from cop_zarr.errors import InputError, ResultTooLargeError, SubcellError, YearError
from cop_zarr.grid import TOUCH_TOLERANCE, Affine, Bounds, Window
from cop_zarr.pooling import REDUCERS, Reducer
from cop_zarr.product import STEP_DEG, YEAR
from cop_zarr.roi import Footprint

Output = Literal["pooled", "grid"]
Pooling = Literal["mean", "max"]

MAX_BYTES = 1 << 30
"""Largest grid that a query returns unless told otherwise: 1 GiB, a third of the globe."""


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
    meta : dict
        What was asked and answered, JSON-ready: model, year, region, window, CRS, source, store.
    """

    data: np.ndarray
    valid: np.ndarray
    meta: dict[str, Any]

    def __repr__(self) -> str:
        kind = self.meta["pooling"] or "grid"
        valid, total = self.meta["valid_cells"], self.meta["total_cells"]
        made_up = ", synthetic" if self.meta["synthetic"] else ""
        return f"<Embedding {kind} {self.data.shape}: {valid} of {total} cells with data{made_up}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The data, for ``np.asarray(embedding)``."""
        return np.array(self.data, dtype=dtype, copy=copy)


@dataclass(frozen=True)
class Plan:
    """The cells that answer a query."""

    footprint: Footprint
    window: Window
    clipped: bool


def check_options(year: object, output: object, pooling: object) -> None:
    """Refuse a year that the product does not have, and words that no option takes."""
    if year != YEAR:
        raise YearError(f"the product is of the year {YEAR} and no other; got year={year!r}")
    if output not in get_args(Output):
        raise InputError(f"output must be 'pooled' or 'grid'; got {output!r}")
    if not isinstance(pooling, str) or pooling not in REDUCERS:
        raise InputError(f"pooling must be one of {', '.join(map(repr, REDUCERS))}; got {pooling!r}")


def plan(reader: ChunkReader, footprint: Footprint) -> Plan:
    """Find the cells that answer a query; nothing is read.

    Raises
    ------
    SubcellError
        If the region is narrower or lower than one cell.
    RegionError
        If it lies outside the store.
    """
    bounds = footprint.bounds
    width, height = bounds.east - bounds.west, bounds.north - bounds.south
    if min(width, height) < STEP_DEG * (1 - TOUCH_TOLERANCE):
        raise SubcellError(
            f"the region is {width:g}° wide and {height:g}° high, less than one cell of {STEP_DEG}° x "
            f"{STEP_DEG}°; ask for a region of at least one cell"
        )
    window, clipped = reader.layout.grid.touched(bounds)
    return Plan(footprint, window, clipped)


def pooled(reader: ChunkReader, window: Window, pooling: str) -> np.ndarray:
    """Pool a window's cells, chunk by chunk, in memory that does not depend on the window's size.

    Returns
    -------
    ndarray
        float32, shape ``(bands,)``.
    """
    pool: Reducer = REDUCERS[pooling](reader.layout.bands)
    for part, cells in reader.read_parts(reader.layout.parts(window)):
        if cells is None:
            pool.add_empty(part.cells)
        else:
            pool.add(cells)
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
    """Cut a window out of a whole-grid mask, around the antimeridian where it wraps."""
    rows = mask[window.row : window.row_stop]
    if window.col_stop <= mask.shape[1]:
        return rows[:, window.col : window.col_stop].copy()
    return rows.take(range(window.col, window.col_stop), axis=1, mode="wrap")


def describe(plan: Plan, transform: Affine, shape: Sequence[int], valid: np.ndarray) -> dict[str, Any]:
    """The part of an answer's metadata that the region decides, JSON-ready."""
    window = plan.window
    return {
        "roi": plan.footprint.roi,
        "bbox_4326": _bbox(plan.footprint.bounds),
        "rows": [window.row, window.row_stop],
        "cols": [window.col, window.col_stop],
        "shape": list(shape),
        "valid_cells": int(valid.sum()),
        "total_cells": window.cells,
        "clipped": plan.clipped,
        "input_crs": plan.footprint.input_crs,
        "transform": list(transform),
    }


def _bbox(bounds: Bounds) -> list[float]:
    return [bounds.west, bounds.south, bounds.east, bounds.north]
