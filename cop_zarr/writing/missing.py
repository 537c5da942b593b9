"""Cells that have no data in the source, though they are not 0: the rule of ingest, verify and repair."""

from __future__ import annotations

import numpy as np


def clear_missing(cells: np.ndarray, nodata: float) -> tuple[int, int]:
    """Set cells that are NaN in every band to 0, in place: so are those of the product without data.

    ``cells`` is float32, ``(..., bands)``. Before, values equal to ``nodata`` become NaN; it is NaN itself
    if no other value stands for no data. Returns how many cells were cleared, and how many others hold NaN
    or an infinity in some band: they stay as they are.
    """
    if not np.isnan(nodata):
        cells[cells == np.float32(nodata)] = np.nan
    finite = np.isfinite(cells)
    if finite.all():
        return 0, 0
    missing = np.isnan(cells).all(axis=-1)
    cells[missing] = 0
    return int(missing.sum()), int((~finite.all(axis=-1) & ~missing).sum())
