"""Regions as people have them, turned into a footprint on the globe.

Whatever a caller names (a :class:`BBox`, four numbers, a :class:`PointBuffer`, a polygon), queries see one
thing: a :class:`Footprint`, checked and unrolled over the antimeridian. Nothing is read before this has
passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from cop_zarr.errors import RegionError
from cop_zarr.regions.bbox import BBox, four_numbers, has_geo_interface, is_bbox_tuple
from cop_zarr.regions.footprints import Footprint
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
    """What speaks GeoJSON: shapely, geopandas and others."""

    @property
    def __geo_interface__(self) -> Mapping[str, Any]:
        """The geometry, feature or feature collection as a GeoJSON mapping."""


Roi = BBox | PointBuffer | Sequence[float] | Mapping[str, Any] | GeoInterface
"""What queries take as a region; a sequence is (minlon, minlat, maxlon, maxlat), a mapping is GeoJSON."""


def footprint(roi: Roi, crs: object | None = None, *, repair: bool = False) -> Footprint:
    """Check a region and find its footprint.

    Parameters
    ----------
    roi : BBox, PointBuffer, sequence of four numbers, GeoJSON mapping or object with __geo_interface__
        The region.
    crs : optional
        The CRS of four numbers or of a polygon, if it is not EPSG:4326.
    repair : bool
        Mend an invalid polygon instead of refusing it.

    Raises
    ------
    RegionError
        If ``roi`` is none of the accepted kinds, or its numbers make no region.
    """
    if roi is None:  # as tables have it
        raise RegionError("there is no geometry (None); of a table, take the row out, or on_error='nan'")
    if crs is None and is_bbox_tuple(roi):
        return BBox(*roi).footprint  # type: ignore[misc]  # four numbers
    if isinstance(roi, BBox | PointBuffer):
        if crs is not None:
            kind = type(roi).__name__
            raise RegionError(
                f"a {kind} is in degrees already; for another CRS make it with {kind}.from_crs"
            )
        return roi.footprint
    if has_geo_interface(roi):
        from cop_zarr.regions.polygons import polygon_footprint

        return polygon_footprint(roi, crs, repair=repair)
    if crs is not None:
        return BBox.from_crs(four_numbers(roi), crs=crs).footprint
    return BBox(*four_numbers(roi)).footprint


def check_crs(crs: object | None) -> None:
    """Refuse a CRS that PROJ does not know, before any region is looked at.

    Raises
    ------
    RegionError
        If it is none.
    """
    if crs is not None:
        from cop_zarr.regions.projections import projection

        projection(crs)


def check_same_crs(crs: object, own: object) -> None:
    """Refuse a CRS that was given for a table of regions which says that it is in another.

    Raises
    ------
    RegionError
        If they are not the same, or one is none.
    """
    from cop_zarr.regions.projections import projection

    asked, found = projection(crs), projection(own)
    if not asked.same_as(found):
        raise RegionError(
            f"the table says that its CRS is {found.name}, and crs={asked.name} was given; leave crs= out, "
            "or convert the table"
        )
