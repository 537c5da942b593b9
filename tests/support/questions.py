"""Random queries of a store with :mod:`tests.support.factory`'s values, and their answers by brute force.

Nothing here uses cop_zarr but :meth:`Question.ask`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

import cop_zarr
from tests.support import factory

REDUCERS = {"mean": np.mean, "max": np.max, "min": np.min, "std": np.std, "sum": np.sum}


@dataclass(frozen=True)
class Question:
    """A query of a window (pooled or grid), or of the cells of points.

    Attributes
    ----------
    rows, cols : tuple of int
        Lattice rows and columns: the first and one past the last of a window, or one per point.
    shift : float
        Degrees from cell centres to points and to the edges of a window's box.
    """

    kind: Literal["pooled", "grid", "points"]
    bands: int
    rows: tuple[int, ...]
    cols: tuple[int, ...]
    pooling: str = "mean"
    shift: float = 0.0

    def ask(self, store: cop_zarr.Store) -> np.ndarray:
        """Query the store."""
        if self.kind == "points":
            return store.sample(
                [-180 + factory.STEP * col + self.shift for col in self.cols],
                [90 - factory.STEP * row + self.shift for row in self.rows],
            )
        (top, bottom), (left, right) = self.rows, self.cols
        west, east = (-180 + factory.STEP * col + self.shift for col in (left, right - 1))
        south, north = (90 - factory.STEP * row + self.shift for row in (bottom - 1, top))
        box = tuple(round(edge, 6) for edge in (west, south, east, north))
        return store.query(box, output=self.kind, pooling=self.pooling).data

    def answer(self) -> np.ndarray:
        """The answer by brute force."""
        if self.kind == "points":
            cells = [
                factory.truth((row, row + 1), (col, col + 1), self.bands)[:, 0, 0]
                for row, col in zip(self.rows, self.cols, strict=True)
            ]
            return np.array(cells)
        cells = factory.truth(self.rows, self.cols, self.bands)
        if self.kind == "grid":
            return cells
        return REDUCERS[self.pooling](cells.astype("f8"), axis=(1, 2))

    def answered_by(self, data: np.ndarray) -> bool:
        """Whether an answer is right: to the last bit, or to float32's last digit if computed."""
        expected = self.answer()
        if data.shape != expected.shape or data.dtype != np.float32:
            return False
        if self.kind != "pooled" or self.pooling in {"max", "min"}:
            return np.array_equal(data, expected)
        return np.allclose(data, expected, rtol=1e-5, atol=1e-3)


@dataclass(frozen=True)
class Part:
    """The part of the lattice that a store covers: rows and columns, first and one past the last."""

    rows: tuple[int, int]
    cols: tuple[int, int]
    bands: int = 5

    def write(self, path: Path) -> Path:
        """Write its GeoTIFF with GDAL."""
        return factory.write_geotiff(path, rows=self.rows, cols=self.cols, bands=self.bands)

    def all(self) -> Question:
        """The query of all its cells."""
        return Question("grid", self.bands, self.rows, self.cols)

    def draw(self, seed: str, longest: int = 12) -> Question:
        """A random query that depends on the seed alone."""
        draw = random.Random(seed)
        kind = draw.choice(("pooled", "pooled", "grid", "points"))
        shift = draw.uniform(-0.1, 0.1)
        if kind == "points":
            rows, cols = (tuple(draw.randrange(*span) for _ in range(3)) for span in (self.rows, self.cols))
        else:
            rows, cols = (self._run(draw, span, longest) for span in (self.rows, self.cols))
        pooling = draw.choice(tuple(REDUCERS)) if kind == "pooled" else "mean"
        return Question(kind, self.bands, rows, cols, pooling, shift)

    @staticmethod
    def _run(draw: random.Random, span: tuple[int, int], longest: int) -> tuple[int, int]:
        size = draw.randint(3, min(longest, span[1] - span[0]))
        start = draw.randint(span[0], span[1] - size)
        return start, start + size


def ask_and_compare(store: cop_zarr.Store, part: Part, seeds: list[str]) -> list[str]:
    """The seeds whose queries are answered wrongly; a function for pools of processes."""
    drawn = {seed: part.draw(seed) for seed in seeds}
    return [seed for seed, question in drawn.items() if not question.answered_by(question.ask(store))]
