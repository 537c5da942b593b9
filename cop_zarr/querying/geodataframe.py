"""Regions from a GeoDataFrame or GeoSeries, and vectors as a column of one.

geopandas is not imported: its types are known by their attributes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cop_zarr.errors import InputError
from cop_zarr.regions import check_same_crs
from cop_zarr.regions.forms import box_names

COLUMN = "embedding"
"""Name of the column of vectors, in tables and in files."""


def regions_and_crs(rois: Any, crs: object | None) -> tuple[Any, object | None]:
    """The regions of a table and their CRS; anything else is returned as it is."""
    if hasattr(rois, "columns"):
        rois = _geometry(rois)
    has_crs = hasattr(rois, "crs") and (hasattr(rois, "geometry") or hasattr(rois, "geom_type"))
    if not has_crs or not hasattr(rois, "__len__"):  # no GeoSeries, and no array of one
        return rois, crs
    if rois.crs is None and crs is None:
        raise InputError(
            "the table does not say which CRS its geometries are in: name it with crs=, such as "
            "crs='EPSG:4326' for degrees of longitude and latitude, or set it with set_crs()"
        )
    if rois.crs is not None and crs is not None:
        check_same_crs(crs, rois.crs)
    return list(rois), rois.crs if crs is None else crs


def points_and_crs(x: Any, y: Any, crs: object | None) -> tuple[Any, Any, object | None]:
    """The x, y and CRS of points, which a table of points has; NaN for a row without a point."""
    if y is not None:
        return x, y, crs
    shapes, crs = regions_and_crs(x, crs)
    if shapes is x:
        raise InputError(
            f"points are lon and lat, or a GeoSeries or GeoDataFrame of points; got one {type(x).__name__}"
        )
    import shapely

    found = np.full(len(shapes), None, object)
    found[:] = shapes
    take_single_points(found)
    others = np.flatnonzero(~np.isin(shapely.get_type_id(found), [-1, shapely.GeometryType.POINT]))
    if len(others):
        raise InputError(
            f"the geometry at position {others[0]} is a {found[others[0]].geom_type}, and no point: use "
            "query_many for regions"
        )
    found[shapely.is_empty(found)] = None  # GEOS knows no x of an empty point
    return shapely.get_x(found), shapely.get_y(found), crs


def take_single_points(shapes: np.ndarray) -> None:
    """Replace each MultiPoint of one point by that point, in place."""
    import shapely

    single = shapely.get_type_id(shapes) == shapely.GeometryType.MULTIPOINT
    single &= shapely.get_num_geometries(shapes) == 1
    shapes[single] = shapely.get_geometry(shapes[single], 0)


def with_vectors(rois: Any, rows: np.ndarray) -> Any:
    """A copy of the table with a column of vectors; of anything else, the vectors."""
    return rois.assign(**{COLUMN: list(rows)}) if hasattr(rois, "columns") else rows


def _geometry(table: Any) -> Any:
    if COLUMN in table.columns:
        raise InputError(
            f"the table already has a column {COLUMN!r}, which the vectors would replace; rename or drop it"
        )
    try:
        return table.geometry
    except AttributeError:
        if edges := box_names(table.columns):  # as of GeoDataFrame.bounds
            return table[list(edges)].to_numpy()
        raise InputError(
            f"the table has no column of geometries; its columns are {', '.join(map(str, table.columns))}. "
            "Make a GeoDataFrame of it with geometries (set_geometry), or give a list of regions"
        ) from None
