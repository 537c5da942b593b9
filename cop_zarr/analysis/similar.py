"""Cells similar to places: what is asked, checked once, and the search for it."""

from __future__ import annotations

import logging
import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from cop_zarr.analysis.component_bounds import component_bounds
from cop_zarr.analysis.metrics import METRICS, Metric, Queries
from cop_zarr.analysis.nearby import cells_near
from cop_zarr.analysis.places import Place, PlaceReader, combine
from cop_zarr.analysis.search import Found, best_cells, product_bounds
from cop_zarr.analysis.search_many import best_of_many
from cop_zarr.core.grid import Grid
from cop_zarr.core.progress import Progress
from cop_zarr.errors import ComponentsError, InputError, RegionError
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.components import read_kept
from cop_zarr.querying.batch import answer_batch
from cop_zarr.querying.cells import CellSelection, map_cells, select_cells
from cop_zarr.querying.options import check_word
from cop_zarr.querying.points import PointBatch, check_points
from cop_zarr.querying.valid_mask import ValidMask
from cop_zarr.regions import Roi

logger = logging.getLogger(__name__)

MAX_TOGETHER = 1024
"""Queries answered in one pass: for the published product, what they leave out takes 44 MB."""

Positions = tuple[np.ndarray, np.ndarray]
"""Longitudes and latitudes."""


class Match(NamedTuple):
    """The cells found for a query, and where the places that it is made of are."""

    rows: np.ndarray
    cols: np.ndarray
    scores: np.ndarray
    vectors: np.ndarray
    positions: list[Positions]


@dataclass(frozen=True)
class SimilarOptions:
    """What :meth:`cop_zarr.Store.similar` takes beside places; InputError for what it does not accept."""

    k: int = 10
    metric: Metric = "cosine"
    within: Roi | None = None
    crs: object | None = None
    exclude_km: float = 0
    spacing_km: float = 0

    def __post_init__(self) -> None:
        check_word("metric", self.metric, tuple(METRICS))
        for name in ("exclude_km", "spacing_km"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < math.inf:
                raise InputError(f"{name} must be a distance in km, 0 or more; got {value!r}")
        try:
            k = operator.index(self.k)
        except TypeError:
            k = 0
        if k < 1 or isinstance(self.k, bool):
            raise InputError(f"k must be a whole number of cells, at least 1; got {self.k!r}")
        object.__setattr__(self, "k", k)  # of uint8, -k is no negative number


@dataclass(frozen=True)
class Search:
    """Searches in one open store."""

    reader: ChunkReader
    valid: ValidMask
    progress: Progress | None = None

    def similar(self, places: Any, negatives: Any, options: SimilarOptions) -> Match:
        """The cells most similar to places, and unlike negatives."""
        given, queries = self._queries(places, negatives, options)
        positions = [place.position for place in given if place.position]
        selected = self._selected(options)
        if options.exclude_km:
            selected &= ~self._near(positions, options.exclude_km)
        check_k(options.k, int(np.count_nonzero(selected)), options)
        bounds = self._kept_bounds(selected, queries)
        if bounds is None:
            bounds = product_bounds(self.reader, selected, queries, self.progress)
        found = best_cells(self.reader, bounds, queries, options.k, options.spacing_km)
        return self._match(found, queries, positions)

    def similar_many(self, places: Any, options: SimilarOptions) -> Iterator[Match]:
        """The cells most similar to each of some places."""
        given = PlaceReader(self.reader, self.valid).read(places, "places", options.crs)
        selected = self._selected(options)
        for first in range(0, len(given), MAX_TOGETHER):
            yield from self._together(given[first : first + MAX_TOGETHER], selected, options)

    def similarity(
        self, places: Any, negatives: Any, options: SimilarOptions
    ) -> tuple[np.ndarray, np.ndarray]:
        """Exact scores of cells, NaN where there is none, and which cells they are of.

        float64, ``(n,)``, row by row; bool, the grid's shape.
        """
        _, queries = self._queries(places, negatives, options)
        selected, done = self._selected(options), 0
        selection = CellSelection(self._grid, self._grid.whole, selected)
        scores, total = np.empty(selection.size), selection.size

        def score(numbers: np.ndarray, cells: np.ndarray) -> int:
            scores[numbers] = queries.scores(queries.keys(cells, 0))
            return len(numbers)

        for count in map_cells(self.reader, selection, score):
            done += count
            if self.progress is not None:
                self.progress(done, total)
        return scores, selected

    @property
    def _grid(self) -> Grid:
        return self.reader.layout.grid

    def _queries(self, places: Any, negatives: Any, options: SimilarOptions) -> tuple[list[Place], Queries]:
        """The places, and the one query that they make with the negatives."""
        metric, crs = options.metric, options.crs
        if metric == "l2" and negatives is not None:
            raise InputError(
                "negatives, places to be unlike, cannot be combined with metric='l2': the difference of "
                "two vectors is not a place to be near to; use metric='cosine'"
            )
        source = PlaceReader(self.reader, self.valid)
        given = source.read(places, "places", crs)
        others = [] if negatives is None else source.read(negatives, "negatives", crs)
        if metric == "cosine":
            vector = combine(given, others)
        else:
            vector = np.mean([place.vector for place in given], axis=0)
        return given, METRICS[metric](vector[None])

    def _kept_bounds(self, selected: np.ndarray, queries: Queries) -> np.ndarray | None:
        """Upper bounds from components that the store keeps: float64, the grid's shape; None without."""
        valid = self.valid.read()
        try:
            kept = read_kept(self.reader)
            if kept is None:
                return None
            found = component_bounds(kept, valid, queries)
        except ComponentsError as error:
            logger.warning("All chunks are read instead: %s", error)
            return None
        bounds = np.full(selected.shape, -np.inf)
        bounds[valid] = found
        bounds[~selected] = -np.inf
        return bounds

    def _selected(self, options: SimilarOptions) -> np.ndarray:
        """The cells to search: bool, the grid's shape."""
        within, crs = options.within, options.crs
        selection = select_cells(self._grid, self.valid.read(), within, None if within is None else crs)
        selected = np.zeros(self._grid.shape, "?")
        selected[selection.indices()] = True
        if not selected.any() and within is not None:
            raise RegionError("the region to search (within) has no cell with data; name one with land")
        if not selected.any():
            raise InputError(f"{self.reader.folder.url} has no cell with data, so that nothing is similar")
        return selected

    def _near(self, positions: list[Positions], km: float) -> np.ndarray:
        """The cells near places: bool, the grid's shape."""
        if not positions:
            raise InputError(
                "exclude_km needs a place that is somewhere, and a vector is not; leave it out, or name a "
                "region or a point"
            )
        lons, lats = (np.concatenate(values) for values in zip(*positions, strict=True))
        return cells_near(self._grid, lons, lats, km)

    def _together(
        self, given: list[Place], selected: np.ndarray, options: SimilarOptions
    ) -> Iterator[Match]:
        """Answer for places in one pass."""
        vectors = [combine([place], []) if options.metric == "cosine" else place.vector for place in given]
        queries = METRICS[options.metric](np.array(vectors))
        positions = [[place.position] if place.position else [] for place in given]
        excluded = self._excluded(positions, selected, options) if options.exclude_km else None
        if excluded is None:
            check_k(options.k, int(np.count_nonzero(selected)), options)
        selection = CellSelection(self._grid, self._grid.whole, selected)
        rows, cols = selection.indices()
        best = best_of_many(
            self.reader, selection, queries, options.k, excluded=excluded, progress=self.progress
        )
        for (cells, keys), where in zip(best, positions, strict=True):
            yield self._match(Found(rows[cells], cols[cells], keys), queries, where)

    def _excluded(
        self, positions: list[list[Positions]], selected: np.ndarray, options: SimilarOptions
    ) -> np.ndarray:
        """What each place leaves out of the cells selected: bits of uint8, ``(cells, places / 8)``."""
        cells = int(np.count_nonzero(selected))
        bits = np.zeros((cells, -(-len(positions) // 8)), "u1")
        for number, where in enumerate(positions):
            near = self._near(where, options.exclude_km)[selected]
            check_k(options.k, cells - int(np.count_nonzero(near)), options)
            bits[near, number // 8] |= 128 >> number % 8
        return bits

    def _match(self, found: Found, queries: Queries, positions: list[Positions]) -> Match:
        """Add the cells' vectors."""
        lons, lats = self._grid.cell_centres(found.rows, found.cols)
        points = check_points(self._grid, lons, lats, "nearest", "raise")
        batch = PointBatch(self.reader, points, "include", self.valid)
        vectors = answer_batch(batch, None, progress=None, client=None)
        return Match(found.rows, found.cols, queries.scores(found.keys), vectors, positions)


def check_k(k: int, cells: int, options: SimilarOptions) -> None:
    """Check that there are as many cells as asked for."""
    if k > cells:
        left = " outside exclude_km" if options.exclude_km else ""
        where = " within the region" if options.within is not None else ""
        raise InputError(
            f"k must be at most the number of cells with data{where}{left}, {cells:,}; got {k:,}"
        )
