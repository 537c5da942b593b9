"""Measure what an encoding loses, from the cells that are encoded.

Each cell decodes alone, so nothing that was written is read: cells are encoded and decoded once more. The
first pass compares them, and takes the vectors of some; the second searches for cells similar to these,
among all cells and among all as they come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import numpy as np

from cop_zarr.analysis.blas import single_threaded_blas
from cop_zarr.analysis.metrics import Cosine, unit, whole_products
from cop_zarr.analysis.search_many import BestOfMany, Pairs
from cop_zarr.core.grid import Window
from cop_zarr.core.progress import Progress, stage
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.writing.blockwise import map_blocks
from cop_zarr.writing.missing import clear_missing

LOSS_PASSES = 2
"""How often the cells are read."""

QUERIES = 1000
"""Cells that similar ones are searched for, evenly spread over those with data."""

NEIGHBOURS = 10
"""Similar cells of each, itself left out."""

AnyWindow = TypeVar("AnyWindow", bound=Window)


Read = Callable[[AnyWindow], AbstractContextManager[np.ndarray]]
"""Reads the cells of a window, float32 ``(rows, cols, bands)``, to be used inside the context."""


class Losses:
    """What the encoding of a store loses of its cells.

    ``valid`` is the mask of cells with data; ``nodata`` is that of :func:`clear_missing`, None if cells are
    as a float32 store holds them. Cells whose values are not all finite are left out.
    """

    def __init__(self, layout: Layout, valid: np.ndarray, nodata: float | None) -> None:
        self._layout, self._valid, self._nodata = layout, valid, nodata
        self._numbers = np.cumsum(valid).reshape(valid.shape) - 1
        total = int(np.count_nonzero(valid))
        self._chosen = np.unique(np.linspace(0, max(0, total - 1), min(QUERIES, total)).astype("i8"))
        self._vectors = np.full((2, len(self._chosen), layout.bands), np.nan, "f4")
        self._cosines = np.full(total, np.nan)
        self._errors = np.full((3, *layout.chunk_grid), np.nan)
        """Of each chunk: largest error of a number; error of its mean, and that by its length."""

    def measure(
        self,
        read: Read[AnyWindow],
        windows: Sequence[AnyWindow],
        *,
        workers: int,
        progress: Progress | None,
    ) -> dict[str, Any] | None:
        """Read the cells of windows, whose edges are those of chunks, and compare; None without a loss."""
        if self._layout.encoding.is_lossless:
            return None

        def compare(window: AnyWindow) -> None:
            with read(window) as cells:
                self._compare(window, cells)

        steps = [stage(progress, number, 1 + LOSS_PASSES) for number in (1, 2)]
        for _ in map_blocks(compare, windows, self._layout, workers=workers, progress=steps[0]):
            pass
        with single_threaded_blas():
            recall = self._recall(read, windows, workers, steps[1])
        return self._summary(recall)

    def _chunks(
        self, window: Window, cells: np.ndarray
    ) -> Iterator[tuple[tuple[int, int], np.ndarray, np.ndarray, np.ndarray]]:
        """Of each chunk with data: its index, and numbers, vectors and decoded vectors of its cells."""
        for part in self._layout.parts(window):
            where = self._layout.chunk_window(part.row, part.col).slices
            selected = self._valid[where]
            if selected.any():
                vectors = cells[part.target][selected]
                if self._nodata is not None:
                    clear_missing(vectors, self._nodata)
                decoded = self._layout.encoding.round_trip(vectors)
                finite = np.isfinite(vectors).all(axis=1)
                numbers = self._numbers[where][selected]
                yield (part.row, part.col), numbers[finite], vectors[finite], decoded[finite]

    def _compare(self, window: Window, cells: np.ndarray) -> None:
        """Compare the cells of a window; called in any thread."""
        for chunk, numbers, vectors, decoded in self._chunks(window, cells):
            if not len(numbers):
                continue
            _, places, found = np.intersect1d(self._chosen, numbers, return_indices=True)
            self._vectors[:, places] = vectors[found], decoded[found]
            before, after = vectors.astype("f8"), decoded.astype("f8")
            self._cosines[numbers] = (unit(before) * unit(after)).sum(axis=1)
            mean, change = before.mean(axis=0), (after - before).mean(axis=0)
            length = np.sqrt((mean * mean).sum())
            share = np.sqrt((change * change).sum()) / length if length else np.nan
            self._errors[:, *chunk] = np.abs(after - before).max(), np.abs(change).max(), share

    def _recall(
        self, read: Read[AnyWindow], windows: Sequence[AnyWindow], workers: int, progress: Progress | None
    ) -> np.ndarray:
        """The share of the most similar cells that remain, of each cell chosen: float64, ``(n,)``."""
        known = np.isfinite(self._vectors).all(axis=(0, 2))
        chosen = self._chosen[known]
        if len(self._cosines) < 2 or not len(chosen):
            return np.empty(0)
        queries = [Cosine(unit(vectors[known])) for vectors in self._vectors]
        best = [BestOfMany(each, NEIGHBOURS + 1, multiply=whole_products) for each in queries]
        for each, vectors in zip(best, self._vectors, strict=True):
            each.candidates(chosen, vectors[known])  # for the floor that these cells give all later ones

        def search(window: AnyWindow) -> list[Pairs]:
            with read(window) as cells:
                return self._search(window, cells, queries, best)

        for found in map_blocks(search, windows, self._layout, workers=workers, progress=progress):
            for all_found, pairs in zip(best, found, strict=True):
                all_found.add(pairs)
        before, after = (each.found() for each in best)
        kept = [
            _others(one, number) & _others(two, number)
            for (one, _), (two, _), number in zip(before, after, chosen.tolist(), strict=True)
        ]
        wanted = min(NEIGHBOURS, int(np.isfinite(self._cosines).sum()) - 1)
        return np.array([len(each) for each in kept]) / max(1, wanted)

    def _search(
        self, window: Window, cells: np.ndarray, queries: list[Cosine], best: list[BestOfMany]
    ) -> list[Pairs]:
        """The best cells of a window, for the cells chosen, and for these as they come back."""
        inside = [
            BestOfMany(each, NEIGHBOURS + 1, beside, whole_products)
            for each, beside in zip(queries, best, strict=True)
        ]
        for _, numbers, *both in self._chunks(window, cells):
            for found, vectors in zip(inside, both, strict=True):
                found.add(found.candidates(numbers, vectors))
        return [found.merge() for found in inside]

    def _summary(self, recall: np.ndarray) -> dict[str, Any]:
        """The figures, rounded, so that they are the same on every machine."""
        cosines = self._cosines[np.isfinite(self._cosines)]
        errors = self._errors[:, np.isfinite(self._errors[0])]
        if not len(cosines):
            return {"cells": 0}
        smallest, low, median = np.quantile(cosines, [0, 0.001, 0.5])
        return {
            "cells": len(cosines),
            "max_abs_error": _rounded(errors[0].max()),
            "cosine_min": round(float(smallest), 10),
            "cosine_p0.1": round(float(low), 10),
            "cosine_median": round(float(median), 10),
            "means": errors.shape[1],
            "mean_max_abs_error": _rounded(errors[1].max()),
            "mean_max_relative_error": _rounded(np.nanmax(errors[2], initial=0)),
            "similar_queries": len(recall),
            "similar_recall_at_10": _rounded(recall.mean()) if len(recall) else None,
        }


def _others(cells: np.ndarray, number: int) -> set[int]:
    """The most similar cells but the one itself."""
    return set(cells[cells != number][:NEIGHBOURS].tolist())


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
