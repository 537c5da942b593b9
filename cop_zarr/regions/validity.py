"""Validity of polygons: check, and repair if wanted."""

from __future__ import annotations

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from cop_zarr.errors import RegionError

MIN_AREA_DEG2 = 1e-20
"""Smallest area of a region: a square of 10 µm, about what degrees in float64 resolve."""

ROUNDING = 1e-11
"""Vertices this close together, relative to the largest coordinate, may be one (0.2 mm in degrees)."""

DEFECT_SHARE = 1e-9
"""Of a ring's area, what a spike or a crossing of its edges changes at most, if it is a small defect."""


def check_valid(shape: BaseGeometry, *, repair: bool) -> BaseGeometry:
    """Return a valid shape as it is, and an invalid one repaired, or raise RegionError."""
    sound = usable(shape)
    return repaired(shape, allowed=repair) if sound is None else sound


def usable(shape: BaseGeometry) -> BaseGeometry | None:
    """A shape that is valid and has an area, perhaps without vertices that rounding doubled; else None."""
    if shape.is_valid and shape.area > MIN_AREA_DEG2:
        return shape
    tolerance = ROUNDING * float(np.abs(shape.bounds).max())
    try:
        merged = shapely.remove_repeated_points(shape, tolerance)
    except shapely.errors.GEOSException:  # nothing is left of a ring
        return None
    return merged if merged.is_valid and merged.area > MIN_AREA_DEG2 else None


def repaired(shape: BaseGeometry, *, allowed: bool) -> BaseGeometry:
    """Repair an invalid shape; RegionError if that is not allowed, or nothing is left."""
    reason = shapely.is_valid_reason(shape) if not shape.is_valid else "it has no area"
    if not allowed:
        raise RegionError(f"the geometry is not valid: {reason}; correct it, or use repair=True")
    parts = [part for part in polygon_parts(make_valid(shape)) if part.area > MIN_AREA_DEG2]
    if not parts:
        raise RegionError(f"the geometry is not valid: {reason}; nothing is left of it after repair")
    return shapely.union_all(parts)


def is_simple(ring: np.ndarray) -> bool:
    """Whether a ring has no defect, or only a small one: repair keeps the area that it runs around."""
    polygon = shapely.Polygon(ring)
    if polygon.is_valid:
        return True
    area = make_valid(polygon).area
    return area > 0 and abs(abs(signed_area(ring)) - area) <= DEFECT_SHARE * area


def make_valid(shape: BaseGeometry) -> BaseGeometry:
    """Repair ring by ring: the union of the outer rings minus that of the holes."""
    return shapely.make_valid(shape, method="structure", keep_collapsed=False)


def polygon_parts(shape: BaseGeometry) -> list[shapely.Polygon]:
    """The polygons of a shape, without its points and lines."""
    return [part for part in shapely.get_parts(shape) if isinstance(part, shapely.Polygon)]


def signed_area(ring: np.ndarray) -> float:
    """Area of a closed ring in square degrees, negative if it runs clockwise."""
    xs, ys = (ring - ring[0]).T
    return float(xs[:-1] @ ys[1:] - xs[1:] @ ys[:-1]) / 2
