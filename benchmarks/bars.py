"""What is demanded of the figures, and whether they meet it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.measure import Series, ratio

INGEST = "cop-zarr ingest"
FLOOR = "decode the tiles, no more"
RS_EMBED = "rs-embed first query"
QUERY = "cop-zarr first query"
RASTERIO = "rasterio first query"
GLOBE = "cop-zarr mean of the globe"
EQUALITY = "same answers as rs-embed"

MB = 1e6
INGEST_RATIO, INGEST_GOAL = 1.0, 0.7
INGEST_PEAK_MB = 1000
FASTER_THAN_RS_EMBED = 20
FASTER_THAN_RASTERIO = 3
GLOBE_PEAK_MB = 500
MEAN_TOLERANCE = 1e-6
SMALL_CELLS = 300
"""Boxes of up to so many cells (about 4° x 4°) are held against the tolerance. rs-embed's mean is computed
in float32, and for larger boxes its own rounding reaches it."""


@dataclass(frozen=True)
class Finding:
    """One figure held against its bar.

    Attributes
    ----------
    case : str
        The row of the table that it belongs to.
    text : str
        The figure, in words.
    value : float or None
        The figure; None if it was not measured.
    bar : str
        What is demanded; empty if nothing is.
    met : bool or None
        Whether the demand is met; None if there is none, or nothing was measured.
    """

    case: str
    text: str
    value: float | None
    bar: str = ""
    met: bool | None = None


def findings(series: Mapping[str, Series], equality: Mapping[str, Any] | str) -> list[Finding]:
    """Hold all figures against their bars.

    Parameters
    ----------
    series : mapping of str to Series
        The runs, by the titles above.
    equality : mapping or str
        What ``cases/compare_answers.py`` found, or why it could not.
    """
    return [*_ingest(series), *_queries(series), *_equality(equality)]


def _ingest(series: Mapping[str, Series]) -> list[Finding]:
    ingest = series[INGEST]
    to_peer, to_floor = ratio(ingest, series[RS_EMBED]), ratio(ingest, series[FLOOR])
    peak = ingest.peak_bytes / MB
    return [
        _at_most(INGEST, to_peer, "x rs-embed's first query", f"<= {INGEST_RATIO:g}", INGEST_RATIO),
        _at_most(INGEST, to_peer, "x rs-embed's first query", f"goal {INGEST_GOAL:g}", INGEST_GOAL),
        _below(INGEST, peak, INGEST_PEAK_MB),
        Finding(FLOOR, f"ingest takes {to_floor:.2f} x this", to_floor),
    ]


def _queries(series: Mapping[str, Series]) -> list[Finding]:
    query = series[QUERY]
    over_rs_embed = ratio(series[RS_EMBED], query)
    over_rasterio = ratio(series[RASTERIO], query)
    return [
        _at_least(QUERY, over_rs_embed, "rs-embed takes {:.1f} x as long", FASTER_THAN_RS_EMBED),
        _at_least(QUERY, over_rasterio, "rasterio takes {:.1f} x as long", FASTER_THAN_RASTERIO),
        _below(GLOBE, series[GLOBE].peak_bytes / MB, GLOBE_PEAK_MB),
    ]


def _equality(found: Mapping[str, Any] | str) -> list[Finding]:
    if isinstance(found, str):
        return [Finding(EQUALITY, f"not measured: {found}", None)]
    grid, maximum = found["grid_differing"], found["max_differing"]
    of_grid, of_max = found["grid_values"], found["max_values"]
    small = [one for one in found["means"].values() if one["cells"] <= SMALL_CELLS]
    large = [one for one in found["means"].values() if one["cells"] > SMALL_CELLS]
    mean = _largest(small, "difference")
    bar = f"<= {MEAN_TOLERANCE:.0e}"
    return [
        Finding(EQUALITY, f"grid: {grid} of {of_grid:,} differ", grid, "no bit", grid == 0),
        Finding(EQUALITY, f"max: {maximum} of {of_max:,} differ", maximum, "none", maximum == 0),
        Finding(EQUALITY, f"mean: differs by {mean:.1e}", mean, bar, mean <= MEAN_TOLERANCE),
        Finding(EQUALITY, f"  {_errors(small)}", None),
        Finding(EQUALITY, f"mean, larger boxes: by {_largest(large, 'difference'):.1e}", None),
        Finding(EQUALITY, f"  {_errors(large)}", None),
    ]


def _largest(means: Sequence[Mapping[str, float]], key: str) -> float:
    """The largest of a figure; NaN if one is."""
    values = [one[key] for one in means]
    return math.nan if any(map(math.isnan, values)) else max(values)


def _errors(means: Sequence[Mapping[str, float]]) -> str:
    mine, theirs = _largest(means, "error"), _largest(means, "rs_embed_error")
    return f"off the float64 mean by {mine:.1e}, rs-embed by {theirs:.1e}"


def _at_most(case: str, value: float | None, what: str, bar: str, limit: float) -> Finding:
    if value is None:
        return Finding(case, "not measured", None, bar)
    return Finding(case, f"{value:.2f} {what}", value, bar, value <= limit)


def _at_least(case: str, value: float | None, text: str, limit: float) -> Finding:
    bar = f">= {limit:g}"
    if value is None:
        return Finding(case, "not measured", None, bar)
    return Finding(case, text.format(value), value, bar, value >= limit)


def _below(case: str, peak_mb: float, limit_mb: float) -> Finding:
    return Finding(case, f"peak {peak_mb:.0f} MB", peak_mb, f"< {limit_mb:g} MB", peak_mb < limit_mb)
