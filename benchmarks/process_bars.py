"""What is demanded of whole processes, and of answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.bars import Finding, at_least, at_most, peak_below
from benchmarks.measure import Series, ratio

INGEST = "cop-zarr ingest"
FLOOR = "decode the tiles, no more"
RIOXARRAY = "rioxarray to_zarr"
RS_EMBED = "rs-embed first query"
QUERY = "cop-zarr first query"
ZARR = "zarr-python first query"
TENSORSTORE = "TensorStore first query"
XARRAY = "xarray first query"
RASTERIO = "rasterio first query"
IMPORTS = "import NumPy, no more"
GLOBE = "cop-zarr mean of the globe"
EQUALITY = "same answers as rs-embed"

INGEST_RATIO = 0.7
INGEST_TO_FLOOR = 2.5
INGEST_PEAK_MB = 1000
FASTER_THAN_RS_EMBED = 20
FASTER_THAN_RASTERIO = 3
TO_ZARR = 1.1
GLOBE_PEAK_MB = 400
MEAN_TOLERANCE = 1e-6
SMALL_CELLS = 300
"""Boxes of up to so many cells (about 4° x 4°) are held against the tolerance. rs-embed's mean is computed
in float32, and for larger boxes its own rounding reaches it."""


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
    return [
        at_most(INGEST, ratio(ingest, series[RS_EMBED]), "x rs-embed's first query", INGEST_RATIO),
        at_most(INGEST, ratio(ingest, series[FLOOR]), "x decoding the tiles", INGEST_TO_FLOOR),
        peak_below(INGEST, ingest.peak_bytes, INGEST_PEAK_MB),
    ]


def _queries(series: Mapping[str, Series]) -> list[Finding]:
    query = series[QUERY]
    over_rs_embed = ratio(series[RS_EMBED], query)
    over_rasterio = ratio(series[RASTERIO], query)
    to_tensorstore = ratio(query, series[TENSORSTORE])
    return [
        at_least(QUERY, over_rs_embed, "rs-embed takes {:.1f} x as long", FASTER_THAN_RS_EMBED),
        at_least(QUERY, over_rasterio, "rasterio takes {:.1f} x as long", FASTER_THAN_RASTERIO),
        at_most(QUERY, ratio(query, series[ZARR]), "x zarr-python's", TO_ZARR),
        Finding(QUERY, f"{to_tensorstore or math.nan:.2f} x TensorStore's", to_tensorstore),
        peak_below(GLOBE, series[GLOBE].peak_bytes, GLOBE_PEAK_MB),
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
