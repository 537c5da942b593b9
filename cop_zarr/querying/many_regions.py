"""Many regions at once, ordered by chunk, so that each chunk is decoded once.

Regions are planned; of a plan, a window and perhaps weights remain. Then the chunks are read in the order
of the store, and each is pooled into every region that touches it. The parts of a region are merged in the
order in which a query merges them, so its vector has the same bits, whatever the other regions are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Number
from os import PathLike
from typing import Any

import numpy as np

from cop_zarr.core.grid import Grid, Window
from cop_zarr.core.grouping import group_by
from cop_zarr.core.reducers import REDUCERS, Reducer
from cop_zarr.errors import InputError, RegionError
from cop_zarr.format.chunk_grid import ChunkIndex, Layout
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.querying.options import CheckedOptions, OnError
from cop_zarr.querying.passes import passes, touching_pairs
from cop_zarr.querying.plan import Plan, plan
from cop_zarr.querying.pool_parts import effective_weights, empty_weight, pool_part, with_weight
from cop_zarr.querying.valid_mask import ValidMask
from cop_zarr.regions.forms import is_one_region, is_point

PLAN_BYTES = 512 << 20
"""Memory for the plans of regions that are answered together: those of a million small boxes."""

WINDOW_BYTES, PAIR_BYTES = 200, 64
"""Estimated memory of a plan without its weights, and of each chunk under it while they are sorted."""


def as_region_list(rois: Iterable[Any]) -> Sequence[Any]:
    """Regions as a list or tuple; one mapping, row, box or geometry is refused, and so are points."""
    if isinstance(rois, str | bytes | PathLike):
        raise InputError(f"rois must be regions; got {rois!r}: read the file first, or use batch() for one")
    rois = rois.tolist() if isinstance(rois, np.ndarray) else rois
    several = isinstance(rois, Iterable) and not is_one_region(rois)
    regions = [] if not several else rois if isinstance(rois, list | tuple) else list(rois)
    if not several or (regions and isinstance(regions[0], Number)):
        raise InputError(
            f"rois must be several regions; got one {type(rois).__name__}: give a list of one, or use "
            "query(); of a feature collection, give the features"
        )
    if all(roi is None or is_point(roi) for roi in regions) and any(map(is_point, regions)):
        raise InputError(
            f"rois must be regions, and these are {len(regions):,} points: use sample() for the cell of "
            "each, or give a PointBuffer around each"
        )
    return regions


def plan_or_report(
    grid: Grid, roi: Any, number: int, options: CheckedOptions, on_error: OnError
) -> Plan | None:
    """Plan one of many regions; None if it is refused and ``on_error`` allows that."""
    try:
        return plan(grid, roi, options)
    except RegionError as error:
        if on_error == "raise":
            raise type(error)(f"region {number}: {error}") from error
        if callable(on_error):
            on_error(number, error)
        return None


@dataclass
class _Portion:
    """Regions that are answered together."""

    stop: int
    """The region after the last one."""

    rows: list[int] = field(default_factory=list)
    """Position of each planned region in the portion."""

    windows: list[Window] = field(default_factory=list)
    weights: list[np.ndarray | None] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    nbytes: int = 0

    def add(self, row: int, window: Window, weights: np.ndarray | None, layout: Layout) -> None:
        """Add a planned region."""
        self.rows.append(row)
        self.windows.append(window)
        self.weights.append(weights)
        height, width = (length // layout.chunk_cells + 2 for length in window.shape)
        self.nbytes += (
            WINDOW_BYTES + PAIR_BYTES * height * width + (0 if weights is None else weights.nbytes)
        )


@dataclass(frozen=True)
class RegionBatch:
    """Many regions, and how each is pooled into one row."""

    reader: ChunkReader
    regions: Sequence[Any]
    options: CheckedOptions
    on_error: OnError
    valid: ValidMask

    def __len__(self) -> int:
        return len(self.regions)

    def fill(self, first: int, stop: int, out: np.ndarray) -> Iterator[int]:
        """Answer regions ``first`` to ``stop`` into ``out``, float32; yield how many more are done.

        The row of a refused region is NaN, unless ``on_error`` is "raise".
        """
        start = first
        while start < stop:
            portion = self._plan(start, stop)
            rows = out[start - first : portion.stop - first]
            rows[portion.refused] = np.nan
            yield len(portion.refused)
            yield from self._pool(portion, rows)
            start = portion.stop
            del portion  # before the next one is planned

    def _plan(self, first: int, stop: int) -> _Portion:
        """Plan as many regions as fit into the memory for plans."""
        layout = self.reader.layout
        mask = self.valid.read() if self.options.empty == "skip" else None
        portion = _Portion(stop)
        for number in range(first, stop):
            found = plan_or_report(layout.grid, self.regions[number], number, self.options, self.on_error)
            if found is None:
                portion.refused.append(number - first)
                continue
            portion.add(number - first, found.window, effective_weights(found, self.options, mask), layout)
            if portion.nbytes >= PLAN_BYTES:
                portion.stop = number + 1
                break
        return portion

    def _pool(self, portion: _Portion, out: np.ndarray) -> Iterator[int]:
        """Pool planned regions, in as many passes over the chunks as are needed."""
        chunk_cols = self.reader.layout.chunk_grid[1]
        chunks, regions = touching_pairs(self.reader, portion.windows, portion.weights)
        pending = np.bincount(regions, minlength=len(portion.rows))
        sweep = _Sweep(self.reader, self.options.pooling, portion, out, pending.tolist())
        yield sweep.finish_untouched()
        for selected in passes(chunks, regions, pending, self.reader.layout.bands):
            groups = group_by(chunks[selected], regions[selected])
            indices = [divmod(number, chunk_cols) for number, _ in groups]
            decoded = self.reader.map_chunks(indices, lambda _, chunk: chunk, reuse_buffers=False)
            for index, (_, touching), chunk in zip(indices, groups, decoded, strict=True):
                yield sweep.add(index, chunk, touching.tolist())


class _Sweep:
    """Pools chunks, in the order of the store, into the regions that touch them."""

    def __init__(
        self,
        reader: ChunkReader,
        pooling: str,
        portion: _Portion,
        out: np.ndarray,
        pending: list[int],
    ) -> None:
        self._reader, self._portion, self._out = reader, portion, out
        self._make_reducer = REDUCERS[pooling]
        self._pending = pending  # chunks that each region still needs
        self._unfinished: dict[int, tuple[Reducer, int]] = {}  # and its cells in chunks with data

    def finish_untouched(self) -> int:
        """Finish the regions that need no chunk: without data, or without any weight."""
        untouched = [region for region, count in enumerate(self._pending) if not count]
        for region in untouched:
            self._finish(region, *self._begin())
        return len(untouched)

    def add(self, index: ChunkIndex, chunk: np.ndarray, regions: list[int]) -> int:
        """Pool a chunk into regions; return how many of them are finished by it."""
        windows, all_weights, pending = self._portion.windows, self._portion.weights, self._pending
        parts_in, finished = self._reader.layout.parts_in, 0
        for region in regions:
            unfinished = self._unfinished.pop(region, None)
            reducer, cells = unfinished or self._begin()
            weights = all_weights[region]
            for part in with_weight(parts_in(windows[region], index), weights):
                cells += part.cells
                reducer.merge(pool_part(reducer, part, chunk, weights))
            pending[region] -= 1
            if pending[region]:
                self._unfinished[region] = reducer, cells
            else:
                self._finish(region, reducer, cells)
                finished += 1
        return finished

    def _begin(self) -> tuple[Reducer, int]:
        return self._make_reducer(self._reader.layout.bands), 0

    def _finish(self, region: int, reducer: Reducer, cells: int) -> None:
        """Write a region's vector."""
        window, weights = self._portion.windows[region], self._portion.weights[region]
        empty = window.cells - cells if weights is None else empty_weight(self._reader, window, weights)
        reducer.add_empty(empty)
        self._out[self._portion.rows[region]] = reducer.result()
