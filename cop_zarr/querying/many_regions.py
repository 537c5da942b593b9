"""Many regions at once, ordered by chunk, so that each chunk is decoded once.

Regions are planned; of a plan, a window and perhaps weights remain. Then the chunks are read in the order
of the store, and each is pooled into every region that touches it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from numbers import Number
from os import PathLike
from typing import Any

import numpy as np

from cop_zarr.core.grid import Grid, Window, cut_window
from cop_zarr.errors import InputError, RegionError
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.querying.options import CheckedOptions, OnError
from cop_zarr.querying.plan import Plan, plan
from cop_zarr.querying.plan_boxes import plan_boxes
from cop_zarr.querying.pool_batch import PlannedRegions, pool_regions
from cop_zarr.querying.valid_mask import ValidMask
from cop_zarr.regions.forms import is_one_region, is_point

PLAN_BYTES = 512 << 20
"""Memory for the plans of regions that are answered together: those of a million small boxes."""

MAX_REGIONS = 1 << 20
"""Regions that are answered together, at most."""

WINDOW_BYTES, PAIR_BYTES = 200, 128
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
            planned, count = self._plan(start, stop)
            rows = out[start - first : start - first + count]
            refused = np.ones(count, "?")
            refused[planned.rows] = False
            rows[refused] = np.nan
            yield int(refused.sum())
            yield from pool_regions(self.reader, planned, self.options.pooling, rows)
            start += count
            del planned  # before the next ones are planned

    def _plan(self, start: int, stop: int) -> tuple[PlannedRegions, int]:
        """Plan as many regions as fit into the memory for plans; and their number, with those refused."""
        regions, grid = self.regions[start : min(stop, start + MAX_REGIONS)], self.reader.layout.grid
        windows, planned = plan_boxes(grid, regions, self.options)
        weights: dict[int, np.ndarray] = {}
        nbytes = np.cumsum(np.where(planned, self._plan_bytes(windows), 0))
        count, more = min(len(regions), 1 + int(np.searchsorted(nbytes, PLAN_BYTES))), 0
        for number in np.flatnonzero(~planned[:count]).tolist():
            found = plan_or_report(grid, regions[number], start + number, self.options, self.on_error)
            if found is None:
                continue
            planned[number], windows[number] = True, astuple(found.window)
            if found.weights is not None:
                weights[number] = found.weights
                more += found.weights.nbytes
            more += int(self._plan_bytes(windows[number]))
            if nbytes[number] + more >= PLAN_BYTES:
                count = number + 1
                break
        rows = np.flatnonzero(planned[:count])
        if self.options.empty == "skip":
            weights = self._weigh_valid(windows, rows, weights)
        positions = {number: position for position, number in enumerate(rows.tolist())} if weights else {}
        by_position = {positions[number]: some for number, some in weights.items()}
        return PlannedRegions(rows, windows[rows], by_position), count

    def _weigh_valid(
        self, windows: np.ndarray, rows: np.ndarray, weights: dict[int, np.ndarray]
    ) -> dict[int, np.ndarray]:
        """The weights of planned regions without those of cells that have no data."""
        mask = self.valid.read()
        return {
            number: cut_window(mask, Window(*windows[number].tolist())) * weights.get(number, 1.0)
            for number in rows.tolist()
        }

    def _plan_bytes(self, windows: np.ndarray) -> np.ndarray:
        """Estimated memory of plans, apart from the weights that they have."""
        heights, widths = windows[..., 1] - windows[..., 0], windows[..., 3] - windows[..., 2]
        size = self.reader.layout.chunk_cells
        nbytes: np.ndarray = WINDOW_BYTES + PAIR_BYTES * (heights // size + 2) * (widths // size + 2)
        return nbytes + 8 * heights * widths if self.options.empty == "skip" else nbytes
