"""From a region to its answer: cells and their weights, chunks under them, a grid or one vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from cop_zarr.chunks import ChunkReader
from cop_zarr.coverage import around, coverage
from cop_zarr.errors import InputError, RegionError, ResultTooLargeError, SubcellError, YearError
from cop_zarr.grid import TOUCH_TOLERANCE, Affine, Bounds, Grid, Window
from cop_zarr.pooling import REDUCERS, UNWEIGHTED
from cop_zarr.product import STEP_DEG, YEAR
from cop_zarr.roi import Footprint

Output = Literal["pooled", "grid"]
Pooling = Literal["mean", "max", "min", "std", "sum"]
Weights = Literal["auto", "coverage", "area"] | None
Empty = Literal["include", "skip"]
Subpixel = Literal["raise", "touch", "nearest", "bilinear"]

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
    weights : ndarray
        float32, ``(rows, cols)``: how much each cell of the window belongs to the region. 0 is not at all;
        1 is wholly, or if ``meta["weights"]`` is None, touched; areas are in m².
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


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is asked of a region, checked; the words are those of :meth:`cop_zarr.Store.query`.

    Raises
    ------
    YearError
        If the product does not have the year.
    InputError
        If no option takes a word, or two of them have no meaning together.
    """

    year: int = YEAR
    output: Output = "pooled"
    pooling: Pooling = "mean"
    weights: Weights = "auto"
    empty: Empty = "include"
    subpixel: Subpixel = "raise"
    max_bytes: int = MAX_BYTES

    def __post_init__(self) -> None:
        if self.year != YEAR:
            raise YearError(f"the product is of the year {YEAR} and no other; got year={self.year!r}")
        _one_of("output", self.output, get_args(Output))
        _one_of("pooling", self.pooling, tuple(REDUCERS))
        _one_of("weights", self.weights, ("auto", None, "coverage", "area"))
        _one_of("empty", self.empty, get_args(Empty))
        _one_of("subpixel", self.subpixel, get_args(Subpixel))
        self._refuse_meaningless()

    def _refuse_meaningless(self) -> None:
        if self.pooling in UNWEIGHTED and self.weights in {"coverage", "area"}:
            raise InputError(
                f"pooling={self.pooling!r} knows no weights: it takes every touched cell as it is; leave "
                f"weights={self.weights!r} out, or pool by mean, std or sum"
            )
        if self.subpixel == "bilinear" and self.pooling != "mean":
            raise InputError(
                "subpixel='bilinear' is a weighted mean of four cells, so it does not go with "
                f"pooling={self.pooling!r}; take pooling='mean', or subpixel='touch'"
            )
        if self.subpixel == "nearest" and self.pooling in {"std", "sum"}:
            raise InputError(
                f"subpixel='nearest' takes one cell whatever the region's size, of which pooling="
                f"{self.pooling!r} says nothing; take pooling='mean', or subpixel='touch'"
            )
        if self.output == "grid":
            for name, word, idle in (
                ("pooling", self.pooling, "mean"),
                ("empty", self.empty, "include"),
            ):
                if word != idle:
                    raise InputError(
                        f"{name}={word!r} is a rule for pooling, and output='grid' gives every cell as it "
                        "is; leave it out, and take .valid and .weights of the answer"
                    )
            if self.subpixel == "bilinear":
                raise InputError(
                    "subpixel='bilinear' makes one vector between the cells, and output='grid' gives the "
                    "cells; take output='pooled', or subpixel='nearest' or 'touch'"
                )


def _one_of(name: str, word: object, words: Sequence[object]) -> None:
    if not isinstance(word, str | None) or word not in words:
        raise InputError(f"{name} must be one of {', '.join(map(repr, words))}; got {word!r}")


@dataclass(frozen=True)
class Plan:
    """The cells that answer a query.

    Attributes
    ----------
    footprint : Footprint
        The region.
    window : Window
        The cells it touches, or those that ``subpixel`` took for it.
    weights : ndarray or None
        float64, the window's shape; None if every cell counts once.
    clipped : bool
        Whether the store ends before the region does.
    weighing : str or None
        What the weights are: None (touched cells count once), coverage, area or bilinear.
    subpixel : str or None
        Which rule answered, if the region is smaller than a cell.
    """

    footprint: Footprint
    window: Window
    weights: np.ndarray | None
    clipped: bool
    weighing: Literal["coverage", "area", "bilinear"] | None
    subpixel: Subpixel | None

    @property
    def members(self) -> np.ndarray:
        """The cells that belong to the region: bool, the window's shape."""
        if self.weights is None:
            return np.ones(self.window.shape, "?")
        return self.weights > 0


def plan(grid: Grid, footprint: Footprint, options: Options) -> Plan:
    """Find the cells that answer a query, and what they weigh; nothing is read.

    Raises
    ------
    SubcellError
        If the region is narrower or lower than one cell, and nobody said what to do then.
    RegionError
        If it lies outside the grid.
    """
    subpixel = _subpixel(footprint.bounds, options.subpixel)
    if subpixel == "nearest":
        return Plan(footprint, _nearest(grid, footprint), None, False, None, subpixel)
    if subpixel == "bilinear":
        window, weights, clipped = around(grid, *footprint.centre)
        if clipped:
            raise RegionError(
                f"the four cell centres around the region's centre {footprint.centre} are not all in the "
                f"store ({grid}); take subpixel='nearest' or 'touch'"
            )
        return Plan(footprint, window, weights, False, "bilinear", subpixel)
    window, clipped = grid.touched(footprint.bounds)
    weighing = options.weights
    if weighing == "auto":
        plain = footprint.geometry is None or options.pooling in UNWEIGHTED
        weighing = None if plain else "coverage"
    weights: np.ndarray | None = None
    if weighing or footprint.geometry is not None:
        weights = coverage(grid, window, footprint)
        if not weights.any():
            raise grid.outside(footprint.bounds)
        if weighing is None:
            weights = np.sign(weights)
        elif weighing == "area":
            weights *= grid.window_areas(window)[:, None]
    return Plan(footprint, window, weights, clipped, weighing, subpixel)


def _subpixel(bounds: Bounds, rule: Subpixel) -> Subpixel | None:
    """The rule for a region smaller than a cell; None if it is not."""
    width, height = bounds.east - bounds.west, bounds.north - bounds.south
    if min(width, height) >= STEP_DEG * (1 - TOUCH_TOLERANCE):
        return None
    if rule == "raise":
        raise SubcellError(
            f"the region is {width:g}° wide and {height:g}° high, less than one cell of {STEP_DEG}° x "
            f"{STEP_DEG}°; ask for a larger one, or say what to do: subpixel='touch' pools the cells that "
            "it touches, 'nearest' takes the cell at its centre, 'bilinear' interpolates between the four "
            "cell centres around it"
        )
    return rule


def _nearest(grid: Grid, footprint: Footprint) -> Window:
    """The cell at a region's centre."""
    lon, lat = footprint.centre
    row, col = (int(index[0]) for index in grid.cells_at(np.array([lon]), np.array([lat])))
    if row < 0:
        raise grid.outside(footprint.bounds)
    return Window(row, row + 1, col, col + 1)


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
    """Cut a window out of a whole-grid mask, around the antimeridian where it wraps."""
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
