"""Validity of polygons: check, and repair if wanted."""

from __future__ import annotations

import shapely
from shapely.geometry.base import BaseGeometry

from cop_zarr.errors import RegionError

MIN_AREA_DEG2 = 1e-20
"""Smallest area of a region: a square of 10 µm, about what degrees in float64 resolve."""


def check_valid(shape: BaseGeometry, *, repair: bool) -> BaseGeometry:
    """Return a valid shape as it is, and an invalid one repaired, or raise RegionError."""
    if shape.is_valid and shape.area > MIN_AREA_DEG2:
        return shape
    reason = shapely.is_valid_reason(shape) if not shape.is_valid else "it has no area"
    if not repair:
        raise RegionError(f"the geometry is not valid: {reason}; correct it, or use repair=True (--repair)")
    parts = [part for part in polygon_parts(make_valid(shape)) if part.area > MIN_AREA_DEG2]
    if not parts:
        raise RegionError(f"the geometry is not valid: {reason}; nothing is left of it after repair")
    return shapely.union_all(parts)


def make_valid(shape: BaseGeometry) -> BaseGeometry:
    """Repair ring by ring: the union of the outer rings minus that of the holes."""
    return shapely.make_valid(shape, method="structure", keep_collapsed=False)


def polygon_parts(shape: BaseGeometry) -> list[shapely.Polygon]:
    """The polygons of a shape, without its points and lines."""
    return [part for part in shapely.get_parts(shape) if isinstance(part, shapely.Polygon)]
