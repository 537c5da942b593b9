"""What a query asks and what answers it: options, and the cells of a region with their weights. No I/O."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal, NamedTuple, get_args

import numpy as np

from cop_zarr.core.grid import TOUCH_TOLERANCE, Bounds, Grid, Window
from cop_zarr.core.product import STEP_DEG, YEAR
from cop_zarr.core.reducers import REDUCERS, UNWEIGHTED
from cop_zarr.errors import InputError, RegionError, SubcellError, YearError
from cop_zarr.querying.coverage import coverage
from cop_zarr.regions import Footprint

Output = Literal["pooled", "grid"]
Pooling = Literal["mean", "max", "min", "std", "sum"]
Weights = Literal["auto", "coverage", "area"] | None
Empty = Literal["include", "skip"]
OnError = Literal["raise", "nan"] | Callable[[int, RegionError], None]
Subpixel = Literal["raise", "touch", "nearest", "bilinear"]

Weighing = Literal["coverage", "area", "bilinear"] | None
"""What the weights of an answer are."""

SMALLEST_DEG2 = 1e-100
"""Square degrees below which the part of a cell that lies in a region loses digits as a float64."""

MAX_BYTES = 1 << 30
"""Largest grid that a query returns unless told otherwise: 1 GiB, a third of the globe."""


@dataclass(frozen=True)
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
        if not isinstance(self.year, Real) or self.year != YEAR:
            raise YearError(f"the product is of the year {YEAR} and no other; got year={self.year!r}")
        one_of("output", self.output, get_args(Output))
        one_of("pooling", self.pooling, tuple(REDUCERS))
        one_of("weights", self.weights, ("auto", None, "coverage", "area"))
        one_of("empty", self.empty, get_args(Empty))
        one_of("subpixel", self.subpixel, get_args(Subpixel))
        if not isinstance(self.max_bytes, Real) or not self.max_bytes >= 0:
            raise InputError(f"max_bytes must be a number of bytes; got {self.max_bytes!r}")
        self._check_combinations()

    def _check_combinations(self) -> None:
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
            for name, word in (("pooling", self.pooling), ("empty", self.empty)):
                if word not in {"mean", "include"}:
                    raise InputError(
                        f"{name}={word!r} is a rule for pooling, and output='grid' gives every cell as it "
                        "is; leave it out, and take .valid and .weights of the answer"
                    )
            if self.subpixel == "bilinear":
                raise InputError(
                    "subpixel='bilinear' makes one vector between the cells, and output='grid' gives the "
                    "cells; take output='pooled', or subpixel='nearest' or 'touch'"
                )


def check_on_error(on_error: object) -> None:
    """Refuse what does not say what becomes of a region that has no answer."""
    if not callable(on_error):
        one_of("on_error", on_error, ("raise", "nan"))


def one_of(name: str, word: object, words: Sequence[object]) -> None:
    """Refuse a word that an option does not take."""
    if not isinstance(word, str | None) or word not in words:
        raise InputError(f"{name} must be one of {', '.join(map(repr, words))}; got {reprlib.repr(word)}")


class Plan(NamedTuple):
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
    weighing: Weighing
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
    MissingDependencyError
        If it is a polygon or a circle, and exactextract is not installed.
    """
    bounds = footprint.bounds
    rule = _subpixel(bounds, options.subpixel)
    window, clipped = grid.touched(bounds)
    weights, weighing = None, _weighing(footprint, options)
    if weighing or footprint.geometry is not None:
        weights = _weights(grid, window, footprint, weighing)  # refuses what is outside, for every rule
    if rule == "nearest":
        window, weights, weighing = _nearest(grid, footprint), None, None
    elif rule == "bilinear":
        (window, weights), weighing = _bilinear(grid, footprint), "bilinear"
    return Plan(footprint, window, weights, clipped, weighing, rule)


def _weighing(footprint: Footprint, options: Options) -> Weighing:
    """The word for the weights: what "auto" stands for, or the one that was given."""
    if options.weights != "auto":
        return options.weights
    return None if footprint.geometry is None or options.pooling in UNWEIGHTED else "coverage"


def _weights(grid: Grid, window: Window, footprint: Footprint, weighing: Weighing) -> np.ndarray:
    """What each cell of a window weighs."""
    parts = coverage(grid, window, footprint)
    west, south, east, north = footprint.bounds
    if (east - west) * (north - south) < SMALLEST_DEG2:
        raise RegionError(
            f"the region, {east - west:g}° by {north - south:g}°, is too small for its parts of cells to "
            "be numbers; ask with subpixel='nearest' and weights=None"
        )
    if not parts.any():
        raise grid.outside(footprint.bounds)
    if weighing is None:
        return (parts > 0).astype("f8")
    if weighing == "area":
        parts *= grid.window_areas(window)[:, None]
    return parts


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
        raise RegionError(
            f"the region's centre {footprint.centre} is not in the store ({grid}); take subpixel='touch'"
        )
    return Window(row, row + 1, col, col + 1)


def _bilinear(grid: Grid, footprint: Footprint) -> tuple[Window, np.ndarray]:
    """The cells whose centres are around a region's centre, and their weights.

    A row or column that weighs less than ``TOUCH_TOLERANCE`` is left out.
    """
    lon, lat = footprint.centre
    found = grid.cells_around(np.array([lon]), np.array([lat]))
    rows, cols, weights = (values.reshape(2, 2) for values in found)
    used = np.ix_(weights.sum(axis=1) > TOUCH_TOLERANCE, weights.sum(axis=0) > TOUCH_TOLERANCE)
    rows, cols, weights = rows[used], cols[used], weights[used]
    if rows.min() < 0:
        raise RegionError(
            f"the four cell centres around the region's centre {footprint.centre} are not all in the store "
            f"({grid}); take subpixel='nearest' or 'touch'"
        )
    row, col = int(rows[0, 0]), int(cols[0, 0])
    return Window(row, row + weights.shape[0], col, col + weights.shape[1]), weights
