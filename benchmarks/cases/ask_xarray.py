"""Ask xarray, on cop-zarr's store, see ``asking.py``."""

from __future__ import annotations

import numpy as np
import xarray as xr
from asking import Box, Case, always, boxes, serve, setting, window

SETTING = setting()
PLACES = np.load(SETTING["places"])
EMBEDDING = xr.open_zarr(SETTING["store"], chunks=None).embedding
MOST_POINTS = 1000
"""More take minutes."""


def grid(box: Box) -> np.ndarray:
    """Ask for every cell."""
    rows, cols = window(box)
    return EMBEDDING.isel(latitude=rows, longitude=cols).values


def pooled(box: Box) -> np.ndarray:
    """Ask for the mean."""
    rows, cols = window(box)
    return EMBEDDING.isel(latitude=rows, longitude=cols).mean(("latitude", "longitude")).values


def sample(points: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Ask for the vectors of points: opening is timed, as everybody's is."""
    lon, lat = (xr.DataArray(values, dims="point") for values in points)
    vectors = xr.open_zarr(SETTING["store"], chunks=None).embedding
    return vectors.sel(latitude=lat, longitude=lon, method="nearest").values.T


def case(name: str) -> Case | None:
    """The case of a name."""
    group, _, what = name.partition("/")
    if group == "points" and int(what) <= MOST_POINTS:
        return always(sample, [(PLACES["lon"][: int(what)], PLACES["lat"][: int(what)])])
    moving = what if group.startswith("warm") else ""
    if group in {"warm", "uncached"} and what != "globe":  # all of it is zarr-python's read
        return always(pooled, boxes(PLACES, what), moving=moving)
    if group in {"grid", "warm-grid"}:
        return always(grid, boxes(PLACES, what), moving=moving)
    return None


serve(case)
