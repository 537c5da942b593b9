"""Exact parts of cells inside a polygon, by exactextract: a raster and a feature to feed it, no files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import shapely
from exactextract import exact_extract
from exactextract.feature import Feature, FeatureSource
from exactextract.raster import NumPyRasterSource

from cop_zarr.core.grid import Bounds


class _Region(Feature):  # type: ignore[misc]  # exactextract has no types
    """A polygon as exactextract takes it: as WKB, ten times as fast as its own GeoJSON features."""

    def __init__(self, geometry: shapely.Geometry) -> None:
        super().__init__()
        self._geometry = geometry
        self.found: dict[str, np.ndarray] = {}

    def geometry(self) -> bytes:
        return bytes(shapely.to_wkb(self._geometry))

    def set_geometry_format(self) -> str:
        return "wkb"

    def set_geometry(self, wkb: bytes | None) -> None:
        """Results carry no geometry."""

    def get(self, name: str) -> Any:
        return self.found[name]

    def set(self, name: str, value: Any) -> None:
        self.found[name] = value

    def fields(self) -> list[str]:
        return list(self.found)


class _OneRegion(FeatureSource):  # type: ignore[misc]  # the same
    def __init__(self, region: _Region) -> None:
        super().__init__()
        self._region = region

    def __iter__(self) -> Iterator[_Region]:
        yield self._region

    def count(self) -> int:
        return 1

    def srs_wkt(self) -> None:
        return None


def cell_fractions(geometry: shapely.Geometry, frame: Bounds, shape: tuple[int, int]) -> np.ndarray:
    """Part of each of ``shape`` equal cells of a frame that lies inside a valid polygon.

    Returns
    -------
    ndarray
        float64, 0 to 1, from north to south; exactextract computes them to float32's precision, 3e-8.
    """
    cells = NumPyRasterSource(np.zeros(shape, "u1"), frame.west, frame.south, frame.east, frame.north)
    (answer,) = exact_extract(cells, _OneRegion(_Region(geometry)), ["cell_id", "coverage"])
    found = answer["properties"]
    parts = np.zeros(shape)
    parts.ravel()[found["cell_id"]] = found["coverage"]
    return parts
