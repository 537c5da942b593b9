"""The options of a query: their words, and the one place that checks them."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from numbers import Real
from typing import Any, Literal, TypedDict, get_args

from cop_zarr.core.product import YEAR
from cop_zarr.core.reducers import UNWEIGHTED
from cop_zarr.errors import InputError, RegionError, YearError
from cop_zarr.regions import check_crs

Output = Literal["pooled", "grid"]
Pooling = Literal["mean", "max", "min", "std", "sum"]
Weights = Literal["auto", "coverage", "area"] | None
Empty = Literal["include", "skip"]
Subpixel = Literal["raise", "touch", "nearest", "bilinear"]
POOLINGS, EMPTIES, SUBPIXELS = get_args(Pooling), get_args(Empty), get_args(Subpixel)
OnError = Literal["raise", "nan"] | Callable[[int, RegionError], None]

MAX_BYTES = 1 << 30
"""Default limit of a grid: 1 GiB, a third of the globe."""


class QueryOptions(TypedDict, total=False):
    """Keywords that every query of regions takes, documented at :meth:`cop_zarr.Store.query`."""

    crs: object | None
    repair: bool
    year: int
    pooling: Pooling
    weights: Weights
    empty: Empty
    subpixel: Subpixel


@dataclass(frozen=True)
class CheckedOptions:
    """:class:`QueryOptions` with defaults; raises YearError, RegionError (the CRS) or InputError."""

    crs: object | None = None
    repair: bool = False
    year: int = YEAR
    pooling: Pooling = "mean"
    weights: Weights = "auto"
    empty: Empty = "include"
    subpixel: Subpixel = "raise"

    def __post_init__(self) -> None:
        if not isinstance(self.year, Real) or self.year != YEAR:
            raise YearError(f"the product is of the year {YEAR} and no other; got year={self.year!r}")
        check_word("pooling", self.pooling, POOLINGS)
        check_word("weights", self.weights, ("auto", None, "coverage", "area"))
        check_word("empty", self.empty, EMPTIES)
        check_word("subpixel", self.subpixel, SUBPIXELS)
        self._check_combinations()
        check_crs(self.crs)

    def _check_combinations(self) -> None:
        if self.pooling in UNWEIGHTED and self.weights in {"coverage", "area"}:
            raise InputError(
                f"weights={self.weights!r} cannot be combined with pooling={self.pooling!r}, which takes "
                "every touched cell as it is; leave it out, or pool by mean, std or sum"
            )
        if self.subpixel == "bilinear" and self.pooling != "mean":
            raise InputError(
                "subpixel='bilinear' is a weighted mean of four cells and cannot be combined with "
                f"pooling={self.pooling!r}; use pooling='mean', or subpixel='touch'"
            )
        if self.subpixel == "nearest" and self.pooling in {"std", "sum"}:
            raise InputError(
                "subpixel='nearest' takes one cell whatever the region's size and cannot be combined with "
                f"pooling={self.pooling!r}; use pooling='mean', or subpixel='touch'"
            )


def check_query(output: Output, max_bytes: int, *options: Any) -> CheckedOptions:
    """Check the options of a single query, in the order of the fields of :class:`CheckedOptions`.

    Each combination is checked once: a query in memory takes little longer than its check.
    """
    try:
        return _check_query(output, max_bytes, *options)
    except TypeError:  # not hashable
        return _check_query.__wrapped__(output, max_bytes, *options)


@lru_cache(maxsize=64)
def _check_query(output: Output, max_bytes: int, *options: Any) -> CheckedOptions:
    checked = CheckedOptions(*options)
    check_output(output, max_bytes, checked)
    return checked


def check_output(output: Output, max_bytes: int, options: CheckedOptions) -> None:
    """Check the two options that only a single query has, and what cannot be combined with a grid."""
    check_word("output", output, get_args(Output))
    check_max_bytes(max_bytes)
    if output == "pooled":
        return
    for name, word, default in (("pooling", options.pooling, "mean"), ("empty", options.empty, "include")):
        if word != default:
            raise InputError(
                f"{name}={word!r} is a rule for pooling and cannot be combined with output='grid', which "
                "gives every cell as it is; leave it out, and use .valid and .weights of the answer"
            )
    if options.subpixel == "bilinear":
        raise InputError(
            "subpixel='bilinear' gives one vector between the cells and cannot be combined with "
            "output='grid', which gives the cells; use output='pooled', or subpixel='nearest' or 'touch'"
        )


def check_max_bytes(max_bytes: float) -> None:
    """Check the limit of a result in memory."""
    if not isinstance(max_bytes, Real) or not max_bytes >= 0:
        raise InputError(f"max_bytes must be a number of bytes; got {max_bytes!r}")


def check_on_error(on_error: object) -> None:
    """Check what to do with refused regions or points."""
    if not callable(on_error):
        check_word("on_error", on_error, ("raise", "nan"))


def check_word(name: str, word: object, words: Sequence[object]) -> None:
    """Check that an option accepts a word."""
    if not isinstance(word, str | None) or word not in words:
        raise InputError(f"{name} must be one of {', '.join(map(repr, words))}; got {reprlib.repr(word)}")
