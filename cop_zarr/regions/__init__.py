"""Regions: what a caller gives (box, point, polygon) is checked and becomes a :class:`Footprint`.

Modules that need pyproj or shapely are imported where a region needs them: a box does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from cop_zarr.errors import RegionError
from cop_zarr.regions.bbox import BBox
from cop_zarr.regions.footprints import Footprint
from cop_zarr.regions.forms import four_numbers, has_geo_interface, is_bbox_tuple, reduce_form
from cop_zarr.regions.point_buffer import PointBuffer

__all__ = [
    "BBox",
    "Footprint",
    "GeoInterface",
    "PointBuffer",
    "Roi",
    "check_crs",
    "check_same_crs",
    "footprint",
]


class GeoInterface(Protocol):
    """Objects of shapely, geopandas and others."""

    @property
    def __geo_interface__(self) -> Mapping[str, Any]:
        """The geometry, feature or feature collection as a GeoJSON mapping."""


Roi = BBox | PointBuffer | Sequence[float] | Mapping[str, Any] | GeoInterface
"""A region of a query; ``docs/regions.md`` has a table of the forms, which also names rows and objects."""


def footprint(roi: Roi, crs: object | None = None, *, repair: bool = False) -> Footprint:
    """Check a region and compute its footprint; RegionError if it is not a valid region.

    ``crs`` is that of four numbers or of a polygon, if it is not EPSG:4326. ``repair`` repairs an invalid
    polygon instead of raising.
    """
    if crs is None and is_bbox_tuple(roi):
        return BBox(*roi).footprint  # type: ignore[misc]  # four numbers
    if not isinstance(roi, BBox | PointBuffer):
        roi, crs = reduce_form(roi, crs)
    if roi is None:  # a row of a table without a geometry
        raise RegionError("the region is None; remove the row from the table, or use on_error='nan'")
    if isinstance(roi, BBox | PointBuffer):
        if crs is not None:
            kind = type(roi).__name__
            raise RegionError(f"a {kind} is in degrees already; for another CRS, use {kind}.from_crs")
        return roi.footprint
    if has_geo_interface(roi):
        from cop_zarr.regions.polygons import polygon_footprint

        return polygon_footprint(roi, crs, repair=repair)
    if crs is not None:
        return BBox.from_crs(four_numbers(roi), crs=crs).footprint
    return BBox(*four_numbers(roi)).footprint


def check_crs(crs: object | None) -> None:
    """Raise RegionError if PROJ does not know a CRS."""
    if crs is not None:
        from cop_zarr.regions.projections import projection

        projection(crs)


def check_same_crs(crs: object, declared: object) -> None:
    """Raise RegionError if a CRS that the caller gave is not the one that a table of regions declares.

    A declared one that is not of the Earth, such as a local grid, contradicts none.
    """
    from cop_zarr.regions.projections import check_same, projection

    given = projection(crs)
    try:
        own = projection(declared)
    except RegionError:
        return
    check_same(given, own, "table")
