"""Colours made of principal components: red, green and blue are the scores along the first three."""

from __future__ import annotations

import numpy as np

from cop_zarr.analysis.components import ScoredCells

CHANNELS = 3
"""Red, green, blue."""

PERCENTILES = (2.0, 98.0)
"""Scores outside these are clipped, so that a few outliers do not take all the contrast."""

MIN_VARIANCE = 1e-12
"""Variance, relative to the largest, below which a component may be the rounding of float64 sums."""


def components_to_rgba(found: ScoredCells) -> np.ndarray:
    """Colours of cells by their first three components: uint8, ``(cells, 4)``, as :func:`scores_to_rgba`.

    A component without variance, or that does not exist, is 128 in all cells.
    """
    variances = found.components.explained_variance[:CHANNELS]
    channels = np.zeros((len(found.scores), CHANNELS))
    channels[:, : variances.size] = found.scores[:, : variances.size]
    varies = variances > MIN_VARIANCE * variances.max(initial=0.0)
    known = np.isfinite(channels).all(axis=1, keepdims=True)
    channels[:, ~np.pad(varies, (0, CHANNELS - varies.size))] = 0.0
    return scores_to_rgba(np.where(known, channels, np.nan))


def scores_to_rgba(values: np.ndarray) -> np.ndarray:
    """Convert scores to colours, each component scaled by its own percentiles: uint8, ``(…, 4)``.

    ``values`` are float64, ``(…, 3)``. NaN becomes transparent black, and a component that is the same in
    all cells 128.
    """
    known = np.isfinite(values).all(axis=-1)
    out = np.zeros((*known.shape, 4), "u1")
    if known.any():
        cells = values[known]
        low, high = np.percentile(cells, PERCENTILES, axis=0)
        span = np.where(high > low, high - low, 1.0)
        parts = np.where(high > low, np.clip((cells - low) / span, 0.0, 1.0), 0.5)
        out[known] = np.concatenate([np.rint(parts * 255), np.full((len(cells), 1), 255)], axis=1)
    return out
