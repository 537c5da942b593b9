"""Many regions at once: ordered by chunk, so that each chunk is decoded once.

Regions are planned, and what is left of a plan is a window and perhaps weights. Then the chunks are gone
through in the order in which they lie in the store, and each is pooled into every region that it touches. A
region's parts are merged in the order in which a query merges them, so its vector has the same bits as
a query's, whatever the other regions are and in whatever order they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cop_zarr.core.grid import Window
from cop_zarr.core.reducers import REDUCERS, Reducer, quiet
from cop_zarr.errors import InputError, RegionError
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.chunk_reader import ChunkIndex, ChunkReader
from cop_zarr.querying.options import CheckedOptions, OnError
from cop_zarr.querying.plan import plan
from cop_zarr.querying.pool_parts import effective_weights, empty_weight, pool_part, with_weight
from cop_zarr.regions import BBox, PointBuffer
from cop_zarr.regions.bbox import is_bbox_tuple

PLAN_BYTES = 512 << 20
"""What the plans of regions may take that are answered together: those of a million small boxes."""

WINDOW_BYTES, PAIR_BYTES = 200, 64
"""About what a plan takes beside its weights, and what each chunk under it adds while they are sorted."""

OPEN_REGIONS, OPEN_BYTES = 16_384, 256 << 20
"""Regions of several chunks that may be half done at the same time, and what their vectors may take: one or
two of float64 each, which with 768 bands makes 100 to 200 MB."""


def many(rois: Iterable[Any]) -> Sequence[Any]:
    """Regions that can be counted.

    Raises
    ------
    InputError
        If they are not several, but one mapping, box or geometry.
    """
    rois = rois.tolist() if isinstance(rois, np.ndarray) else rois
    if not isinstance(rois, Iterable) or isinstance(rois, str | bytes | Mapping | BBox | PointBuffer):
        raise InputError(
            f"rois must be many regions; got one {type(rois).__name__}. Ask for one with query(); of a "
            "feature collection give the features"
        )
    if isinstance(rois, list | tuple) and is_bbox_tuple(rois):
        raise InputError(
            f"rois must be many regions; got the four numbers of one: give [{rois!r}], or use query()"
        )
    return rois if isinstance(rois, list | tuple) else list(rois)


@dataclass
class _Planned:
    """Regions with their plans.

    Attributes
    ----------
    rows : list of int
        Which row each answers.
    windows : list of Window
        Their cells.
    weights : list of ndarray or None
        What those weigh.
    nbytes : int
        What all of it takes, about, with what answering it will take.
    """

    rows: list[int] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    weights: list[np.ndarray | None] = field(default_factory=list)
    nbytes: int = 0

    def clear(self) -> None:
        """Let go of all, before the next ones are planned."""
        self.rows, self.windows, self.weights = [], [], []

    def add(self, row: int, window: Window, weights: np.ndarray | None, layout: Layout) -> None:
        """Take a planned region."""
        self.rows.append(row)
        self.windows.append(window)
        self.weights.append(weights)
        height, width = (length // layout.chunk_cells + 2 for length in window.shape)
        held = 0 if weights is None else weights.nbytes
        self.nbytes += WINDOW_BYTES + PAIR_BYTES * height * width + held


@dataclass(frozen=True)
class Batch:
    """What is asked of many regions, and of whom.

    Attributes
    ----------
    reader : ChunkReader
        The store's.
    options : CheckedOptions
        How regions are read, and how cells become a vector.
    on_error : {"raise", "nan"} or callable
        What becomes of a region that is refused.
    mask : ndarray or None
        The cells with data, for ``empty="skip"``.
    done : callable
        Called with a number of rows whenever that many more are done.
    """

    reader: ChunkReader
    options: CheckedOptions
    on_error: OnError
    mask: np.ndarray | None
    done: Callable[[int], None]

    def answer(self, rois: Sequence[Any], first: int, out: np.ndarray) -> None:
        """Answer regions, each with one row.

        Parameters
        ----------
        first : int
            The number of the first region among all that the caller has, for messages.
        out : ndarray
            float32, ``(len(rois), bands)``; NaN for a region that is refused, if that is asked for.

        Raises
        ------
        RegionError
            If a region is refused: its number is named.
        """
        for planned in self._plans(rois, first, out):
            self._pool(planned, out)
            planned.clear()

    def check(self, rois: Sequence[Any], first: int) -> None:
        """Refuse what :meth:`answer` would refuse; nothing is read.

        Raises
        ------
        RegionError
            If a region is refused: its number is named.
        """
        for planned in self._plans(rois, first, np.empty((len(rois), 0), "f4")):
            planned.clear()

    def _plans(self, rois: Sequence[Any], first: int, out: np.ndarray) -> Iterator[_Planned]:
        """Plan regions, as many at a time as memory is meant for."""
        layout, planned = self.reader.layout, _Planned()
        for row, roi in enumerate(rois):
            try:
                found = plan(layout.grid, roi, self.options)
            except RegionError as error:
                if self.on_error == "raise":
                    raise type(error)(f"region {first + row}: {error}") from error
                if callable(self.on_error):
                    self.on_error(first + row, error)
                out[row] = np.nan
                self.done(1)
                continue
            planned.add(row, found.window, effective_weights(found, self.options, self.mask), layout)
            if planned.nbytes >= PLAN_BYTES:
                yield planned
                planned = _Planned()
        yield planned

    def _pool(self, planned: _Planned, out: np.ndarray) -> None:
        """Pool planned regions, in as many passes over the chunks as half-done ones make needed."""
        chunks, regions = _touched(self.reader, planned)
        left = np.bincount(regions, minlength=len(planned.rows))
        for region in np.flatnonzero(left == 0).tolist():  # open ocean, or no cell of any weight
            out[planned.rows[region]] = self._finished(self._reducer(), planned, region, 0)
        self.done(int((left == 0).sum()))
        most = max(1, min(OPEN_REGIONS, OPEN_BYTES // (16 * self.reader.layout.bands)))
        passes = -(-_most_open(chunks, regions, left) // most)
        turns = _turns(regions, left, passes)
        for turn in range(passes):
            chosen = turns[regions] == turn
            self._sweep(planned, chunks[chosen], regions[chosen], left.tolist(), out)

    @quiet
    def _sweep(
        self, planned: _Planned, chunks: np.ndarray, regions: np.ndarray, left: list[int], out: np.ndarray
    ) -> None:
        """Go through chunks in order, and pool each into every region that touches it.

        Parameters
        ----------
        chunks, regions : ndarray
            Pairs that touch, sorted by chunk.
        left : list of int
            How many chunks each region still waits for.
        """
        layout, opened = self.reader.layout, dict[int, tuple[Reducer, int]]()
        numbers, starts = np.unique(chunks, return_index=True)
        places = [divmod(number, layout.chunk_grid[1]) for number in numbers.tolist()]
        groups = np.split(regions, starts[1:])
        for place, group, chunk in zip(places, groups, self._chunks(places), strict=True):
            finished = 0
            for region in group.tolist():
                reducer, cells = opened.pop(region) if region in opened else (self._reducer(), 0)
                weights = planned.weights[region]
                for part in with_weight(layout.parts_in(planned.windows[region], place), weights):
                    cells += part.cells
                    reducer.merge(pool_part(reducer, part, chunk, weights))
                left[region] -= 1
                if left[region]:
                    opened[region] = reducer, cells
                else:
                    out[planned.rows[region]] = self._finished(reducer, planned, region, cells)
                    finished += 1
            self.done(finished)

    def _chunks(self, places: list[ChunkIndex]) -> Iterator[np.ndarray]:
        return self.reader.map_chunks(places, lambda _, chunk: chunk, reuse_buffers=False)

    def _finished(self, reducer: Reducer, planned: _Planned, region: int, cells: int) -> np.ndarray:
        """A region's vector, when all chunks with data are in, and so many cells with them."""
        window, weights = planned.windows[region], planned.weights[region]
        empty = window.cells - cells if weights is None else empty_weight(self.reader, window, weights)
        reducer.add_empty(empty)
        return reducer.result()

    def _reducer(self) -> Reducer:
        return REDUCERS[self.options.pooling](self.reader.layout.bands)


def _touched(reader: ChunkReader, planned: _Planned) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a chunk with data, by its number, and a region with some weight in it, sorted by both."""
    layout = reader.layout
    plain = [region for region, weights in enumerate(planned.weights) if weights is None]
    windows = (planned.windows[region] for region in plain)
    numbers = [(window.row, window.row_stop, window.col, window.col_stop) for window in windows]
    chunks, owners = layout.under(np.array(numbers, "i8").reshape(-1, 4))
    pairs = [(chunks, np.array(plain, "i8")[owners])]
    for region, weights in enumerate(planned.weights):
        if weights is not None:
            parts = with_weight(layout.parts(planned.windows[region]), weights)
            chunks = np.array([part.row * layout.chunk_grid[1] + part.col for part in parts], "i8")
            pairs.append((chunks, np.full(len(parts), region)))
    chunks, regions = (np.concatenate(each) for each in zip(*pairs, strict=True))
    held = reader.lengths.ravel()[chunks] > 0
    chunks, regions = chunks[held], regions[held]
    count = max(1, len(planned.rows))
    found = np.unique(chunks * count + regions)  # a window around the globe may meet a chunk twice
    return found // count, found % count


def _turns(regions: np.ndarray, left: np.ndarray, passes: int) -> np.ndarray:
    """In which pass each region has its turn: those of several chunks, in the order in which they begin."""
    several, first = np.unique(regions[left[regions] > 1], return_index=True)
    turns = np.zeros(len(left), "i8")
    turns[several[np.argsort(first)]] = np.arange(several.size) % max(1, passes)
    return turns


def _most_open(chunks: np.ndarray, regions: np.ndarray, left: np.ndarray) -> int:
    """How many regions are half done at once, at most, when chunks are gone through in order; or 1."""
    if not chunks.size:
        return 0
    order = np.argsort(regions, kind="stable")  # each region's chunks together, still in their order
    stops = np.cumsum(left)
    several = left > 1
    first, last = chunks[order[(stops - left)[several]]], chunks[order[stops[several] - 1]]
    length = int(chunks[-1]) + 1
    change = np.bincount(first, minlength=length) - np.bincount(last, minlength=length)
    return max(1, int(np.cumsum(change).max()))
