"""Ask rasterio, on the GeoTIFF, see ``asking.py``.

A block of the GeoTIFF decodes to 201 MB, of which GDAL's cache (5 % of the memory) holds a few. So it is
asked at the first places only, and what is warm is what that cache makes of it.
"""

from __future__ import annotations

import numpy as np
import rasterio
from asking import Box, Case, always, boxes, serve, setting, window
from rasterio.windows import Window

SETTING = setting()
PLACES = np.load(SETTING["places"])
SOURCE = rasterio.open(SETTING["source"])
FEW = {"1": 4, "2": 4, "20": 1}
"""Places it is asked at."""


def grid(box: Box) -> np.ndarray:
    """Ask for every cell."""
    return SOURCE.read(window=Window.from_slices(*window(box)))


def pooled(box: Box) -> np.ndarray:
    """Ask for the mean."""
    return grid(box).mean(axis=(1, 2))


def sample(points: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Ask for the vectors of points, from a file opened anew."""
    with rasterio.open(SETTING["source"]) as source:
        return np.stack(list(source.sample(zip(*points, strict=True))))


def case(name: str) -> Case | None:
    """The case of a name."""
    group, _, what = name.partition("/")
    if name == "points/1":
        return always(sample, [(PLACES["lon"][:1], PLACES["lat"][:1])])
    if group in {"warm", "warm-grid"} and what in FEW:
        return always(
            grid if group == "warm-grid" else pooled, boxes(PLACES, what)[: FEW[what]], moving=what
        )
    return None


serve(case)
