"""Is it a polygon that has an inside? Taken, mended, or refused with the reason."""

from __future__ import annotations

import shapely
from shapely.geometry.base import BaseGeometry

from cop_zarr.errors import RegionError

MIN_AREA_DEG2 = 1e-20
"""Area that a region must have: a square of 10 µm, far below what degrees in float64 can draw well."""


def check_valid(shape: BaseGeometry, *, repair: bool) -> BaseGeometry:
    """A shape as it is, or :func:`make_valid`.

    Raises
    ------
    RegionError
        If it is not valid and is not to be mended, or nothing of it would be left.
    """
    if shape.is_valid and shape.area > MIN_AREA_DEG2:
        return shape
    reason = shapely.is_valid_reason(shape) if not shape.is_valid else "it has no area"
    if not repair:
        raise RegionError(
            f"the geometry is not valid: {reason}; mend it, or have it mended (repair=True, --repair)"
        )
    pieces = [part for part in polygon_parts(make_valid(shape)) if part.area > MIN_AREA_DEG2]
    if not pieces:
        raise RegionError(f"the geometry is not valid: {reason}; nothing of it is left after repair")
    return shapely.union_all(pieces)


def make_valid(shape: BaseGeometry) -> BaseGeometry:
    """A shape made valid ring by ring: what outer rings enclose, less what holes do."""
    return shapely.make_valid(shape, method="structure", keep_collapsed=False)


def polygon_parts(shape: BaseGeometry) -> list[shapely.Polygon]:
    """The polygons that a shape consists of; its points and lines are left out."""
    return [part for part in shapely.get_parts(shape) if isinstance(part, shapely.Polygon)]
