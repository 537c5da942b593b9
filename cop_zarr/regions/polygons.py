"""Polygons as people have them, turned into one valid polygon in unrolled degrees."""

from __future__ import annotations

import hashlib
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from cop_zarr.core import product
from cop_zarr.core.grid import Bounds
from cop_zarr.errors import RegionError
from cop_zarr.regions.antimeridian import combine_parts, unwrap_polygons
from cop_zarr.regions.footprints import Footprint
from cop_zarr.regions.geojson import declared_crs, read_polygons
from cop_zarr.regions.projections import Projection, projection
from cop_zarr.regions.validity import check_valid, polygon_parts


def polygon_footprint(given: object, crs: object | None = None, *, repair: bool = False) -> Footprint:
    """Read a region's polygons.

    Parameters
    ----------
    given : mapping or object with ``__geo_interface__``
        GeoJSON, or what speaks it: shapely, geopandas, …
    crs : optional
        The CRS of its coordinates; by default what the object says itself (``.crs`` of geopandas, the
        ``crs`` member of old GeoJSON), or EPSG:4326.
    repair : bool
        Mend invalid rings instead of refusing them.

    Raises
    ------
    RegionError
        If it is no polygon, empty, invalid, out of range, or ambiguous; or the CRS is unknown.
    """
    source = _source_crs(given, crs)
    found = read_polygons(given)
    parts = [part for shape in shapely.force_2d(found) for part in _lonlat_parts(shape, source, repair)]
    if not parts:
        raise RegionError("nothing is left of the geometry in degrees: it is too small, or off the map")
    geometry = combine_parts(parts, overlaps=len(found) > 1)
    middle = geometry.centroid
    return Footprint(
        bounds=Bounds(*geometry.bounds),
        centre=(middle.x, middle.y),
        roi=_roi_record(found),
        input_crs=source.name if source else product.CRS,
        geometry=geometry,
    )


def _source_crs(given: object, crs: object | None) -> Projection | None:
    """The CRS to convert from; None if the coordinates are degrees of the product's own CRS."""
    asked, own = (None if each is None else projection(each) for each in (crs, declared_crs(given)))
    if asked and own and not asked.same_as(own):
        raise RegionError(
            f"the geometry says that its CRS is {own.name}, and crs={asked.name} was given; leave crs= "
            "out, or convert the geometry"
        )
    source = asked or own
    return None if source is None or source.is_product_crs else source


def _lonlat_parts(shape: BaseGeometry, source: Projection | None, repair: bool) -> list[shapely.Polygon]:
    """The polygons of a shape, valid, in unrolled degrees."""
    if source is None:
        return unwrap_polygons(shape, repair=repair)
    straight = (
        unwrap_polygons(shape, repair=repair)
        if source.in_degrees
        else polygon_parts(check_valid(shape, repair=repair))
    )
    return [piece for part in straight for piece in polygon_parts(source.polygon_to_lonlat(part))]


def _roi_record(found: list[BaseGeometry]) -> dict[str, Any]:
    coordinates = shapely.get_coordinates(found).astype("<f8", copy=False)
    return {
        "type": found[0].geom_type if len(found) == 1 else "GeometryCollection",
        "polygons": int(sum(shapely.get_num_geometries(found))),
        "vertices": int(sum(shapely.get_num_coordinates(found))),
        "coordinates_sha256": hashlib.sha256(coordinates.tobytes()).hexdigest(),
    }
