"""Polygons in any form, converted to one valid geometry in unwrapped degrees."""

from __future__ import annotations

import hashlib
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from cop_zarr.core import product
from cop_zarr.core.grid import Bounds
from cop_zarr.errors import RegionError
from cop_zarr.regions.antimeridian import clip_at_poles, combine_parts, unwrap_polygons
from cop_zarr.regions.footprints import Footprint
from cop_zarr.regions.geojson import read_polygons, source_projection
from cop_zarr.regions.projections import Projection
from cop_zarr.regions.validity import check_valid, polygon_parts


def polygon_footprint(given: object, crs: object | None = None, *, repair: bool = False) -> Footprint:
    """Compute the footprint of GeoJSON, or of an object with ``__geo_interface__``.

    The CRS is ``crs``, or else what the object declares (``.crs`` of geopandas, the ``crs`` member of old
    GeoJSON), or else EPSG:4326.
    """
    source = source_projection(given, crs)
    found, left_out = read_polygons(given)
    parts = [part for shape in shapely.force_2d(found) for part in _lonlat_parts(shape, source, repair)]
    if not parts:
        raise RegionError(
            "the geometry is empty after conversion to degrees: too small, or outside the map"
        )
    drawn = combine_parts(parts, overlaps=len(found) > 1)
    geometry = clip_at_poles(drawn)
    if geometry.is_empty:
        raise RegionError("the geometry is beyond the pole; latitudes must be within -90 … 90")
    centroid = geometry.centroid
    return Footprint(
        bounds=Bounds(*drawn.bounds),
        centre=(centroid.x, centroid.y),
        roi=_roi_record(found) | ({"dropped": left_out} if left_out else {}),
        input_crs=source.name if source else product.CRS,
        geometry=geometry,
    )


def _lonlat_parts(shape: BaseGeometry, source: Projection | None, repair: bool) -> list[shapely.Polygon]:
    """The polygons of a shape, valid, in unwrapped degrees."""
    if source is None:
        return unwrap_polygons(shape, repair=repair)
    if source.in_degrees:
        parts = polygon_parts(clip_at_poles(shapely.MultiPolygon(unwrap_polygons(shape, repair=repair))))
    else:
        parts = polygon_parts(check_valid(shape, repair=repair))
    return [piece for part in parts for piece in polygon_parts(source.polygon_to_lonlat(part))]


def _roi_record(found: list[BaseGeometry]) -> dict[str, Any]:
    """Type, counts, and the SHA-256 of all x and y in order, as little-endian float64."""
    coordinates = shapely.get_coordinates(found).astype("<f8", copy=False)
    return {
        "type": found[0].geom_type if len(found) == 1 else "GeometryCollection",
        "polygons": int(sum(shapely.get_num_geometries(found))),
        "vertices": int(sum(shapely.get_num_coordinates(found))),
        "coordinates_sha256": hashlib.sha256(coordinates.tobytes()).hexdigest(),
    }
