"""The forms that a region is given in: each is reduced to a box, a point with a radius, or a geometry.

Fields are found by their names, wherever they are: keys of a mapping or of a row of pandas, fields of a
namedtuple, attributes of any object. Numbers without names are the edges of a box, in order.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Mapping, Sequence
from inspect import getattr_static
from numbers import Real
from pathlib import PurePath
from typing import Any, cast

import numpy as np

from cop_zarr.errors import RegionError
from cop_zarr.regions.point_buffer import PointBuffer

ACCEPTED = (
    "a region is a BBox, a PointBuffer, four numbers (minlon, minlat, maxlon, maxlat) or the same by name, "
    "a GeoJSON mapping, an object with __geo_interface__, or a row of a table with one"
)

NUMBER_TYPES = frozenset({int, float, np.float64, np.float32, np.int64, np.int32})
"""Types that are numbers and nothing else: what a box of them is needs no other look."""

TABLE_ENDINGS = frozenset(
    {".csv", ".tsv", ".txt", ".parquet", ".geoparquet", ".gpkg", ".fgb", ".shp", ".kml"}
)
"""Of files that a batch reads."""

POINT_TYPES = frozenset({"Point", "MultiPoint"})

GEOJSON_TYPES = POINT_TYPES | {
    "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection",
    "Feature", "FeatureCollection",
}  # fmt: skip

EDGES = (
    ("minlon", "minlat", "maxlon", "maxlat"),  # BBox, rs-embed
    ("minx", "miny", "maxx", "maxy"),  # geopandas
    ("xmin", "ymin", "xmax", "ymax"),  # Esri, GeoParquet
    ("west", "south", "east", "north"),  # mercantile, KML
    ("left", "bottom", "right", "top"),  # rasterio
    ("lon_min", "lat_min", "lon_max", "lat_max"),
    ("min_lon", "min_lat", "max_lon", "max_lat"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("min_x", "min_y", "max_x", "max_y"),
)
"""Names of the west, south, east and north edge."""

CIRCLE = ("lon", "lat", "buffer_m")

ATTRIBUTES = frozenset({name for names in EDGES for name in names} | {*CIRCLE, "shape", "crs", "geometry"})


def is_bbox_tuple(roi: object) -> bool:
    """Whether it is a tuple or list of four plain numbers."""
    if type(roi) is not tuple and type(roi) is not list:
        return False
    return len(roi) == 4 and NUMBER_TYPES.issuperset(map(type, roi))


def has_geo_interface(roi: object) -> bool:
    """Whether it is a GeoJSON mapping or has ``__geo_interface__``, which is not computed."""
    if isinstance(roi, Mapping):
        return isinstance(roi.get("type"), str) and roi["type"] in GEOJSON_TYPES
    return getattr_static(roi, "__geo_interface__", None) is not None


def is_point(roi: object) -> bool:
    """Whether it is one point and no region: a geometry, a feature or two numbers."""
    if isinstance(roi, list | tuple):
        return len(roi) == 2 and NUMBER_TYPES.issuperset(map(type, roi))
    if not isinstance(roi, Mapping):
        kind, members = getattr(roi, "geom_type", None), getattr(roi, "geoms", ())
    else:
        geometry = roi.get("geometry") if roi.get("type") == "Feature" else roi
        found = geometry if isinstance(geometry, Mapping) else {}
        kind, members = found.get("type"), found.get("coordinates")
        members = members if isinstance(members, list | tuple) else ()
    return kind == "Point" or (kind == "MultiPoint" and len(members) == 1)


def is_one_region(roi: object) -> bool:
    """Whether what may be several regions has the fields of one, and is no list of them."""
    fields = _fields(roi)
    names = box_names(fields) or CIRCLE
    return isinstance(roi, Mapping) or "geometry" in fields or all(name in fields for name in names)


def box_names(fields: object) -> tuple[str, str, str, str] | None:
    """The names of a box's edges among the names of fields; None if it has none, or not all four."""
    found = [names for names in EDGES if all(name in fields for name in names)]  # type: ignore[operator]
    if len(found) > 1:
        raise RegionError(f"it has the edges of {len(found)} boxes, {found}; give one as four numbers")
    return found[0] if found else None


def reduce_form(roi: object, crs: object | None) -> tuple[Any, object | None]:
    """What has fields as a geometry, PointBuffer or four numbers; all else as it is; and its CRS.

    The CRS is ``crs``, or what the fields declare; RegionError if the two differ.
    """
    if has_geo_interface(roi):
        return roi, crs
    fields = _fields(roi)
    geometries = _geometry_names(fields)
    if len(geometries) > 1:
        raise RegionError(f"it has several geometries, {geometries}; give one of them, or use query_many")
    edges = None if geometries else box_names(fields)
    if geometries or edges:
        return [fields[name] for name in edges] if edges else fields[geometries[0]], _crs(fields, crs)
    if all(name in fields for name in CIRCLE):
        shape, crs = fields.get("shape", "box"), _crs(fields, crs)
        x, y, buffer_m = (fields[name] for name in CIRCLE)
        if crs is None:
            return PointBuffer(x, y, buffer_m, shape), None
        return PointBuffer.from_crs(x, y, buffer_m, crs=crs, shape=shape), None
    return roi, crs


def four_numbers(roi: object) -> list[Any]:
    """The four values of a sequence, of six without the two heights; RegionError for anything else."""
    values: Any = roi.tolist() if hasattr(roi, "tolist") else roi
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise RegionError(f"{ACCEPTED}; got {type(roi).__name__}: {reprlib.repr(roi)}{_hint(roi)}")
    if any(_is_region(value) for value in values):
        raise RegionError(f"{ACCEPTED}; got {len(values)} regions: query one at a time, or use query_many")
    if len(values) == 6:  # (minlon, minlat, lowest, maxlon, maxlat, highest): RFC 7946, section 5
        return [*values[:2], *values[3:5]]
    if len(values) != 4:
        hint = "; for points, use Store.sample or PointBuffer" if is_point(values) else ""
        raise RegionError(f"{ACCEPTED}; got {len(values)} values: {reprlib.repr(roi)}{hint}")
    return list(values)


def _fields(roi: Any) -> Mapping[Any, Any]:
    """The fields of a mapping, a namedtuple, a row of pandas or an object; empty for other sequences."""
    if isinstance(roi, Mapping) or (hasattr(roi, "iloc") and not hasattr(roi, "columns")):
        return cast("Mapping[Any, Any]", roi)  # a Series has what is used of one
    if hasattr(roi, "_asdict"):
        return dict(roi._asdict())
    if isinstance(roi, Sequence) or hasattr(roi, "tolist") or hasattr(roi, "columns"):
        return {}
    return {name: getattr(roi, name) for name in ATTRIBUTES if hasattr(roi, name)}


def _geometry_names(fields: Mapping[Any, Any]) -> list[str]:
    """The field named geometry, or else those that are geometries: the name is a matter of taste."""
    if "geometry" in fields:
        return ["geometry"]
    return [name for name, value in fields.items() if getattr_static(value, "__geo_interface__", None)]


def _crs(fields: Mapping[Any, Any], crs: object | None) -> object | None:
    """The CRS given, or that of the fields; None for the product's own."""
    own = fields.get("crs")
    if fields.get("spatialReference") is not None and crs is None:
        raise RegionError("the region has a spatialReference; name its CRS with crs=, such as 'EPSG:3857'")
    if own is None or isinstance(own, float):  # NaN, in a table
        return crs
    from cop_zarr.regions.geojson import declared_crs
    from cop_zarr.regions.projections import check_same, projection

    is_member = isinstance(own, Mapping) and "properties" in own  # of old GeoJSON
    declared = projection(declared_crs({"crs": own}) if is_member else own)
    if crs is not None:
        check_same(projection(crs), declared, "region")
    return None if declared.is_product_crs else declared.crs


def _is_region(value: object) -> bool:
    return (
        has_geo_interface(value) or isinstance(value, list | tuple | Mapping) or hasattr(value, "footprint")
    )


def _hint(roi: object) -> str:
    """What to do with something that is no sequence."""
    if isinstance(roi, str | os.PathLike):
        return _file_hint(os.fsdecode(roi), is_text=isinstance(roi, str))
    if isinstance(roi, Real):
        return "; give numbers together: a box (minlon, minlat, maxlon, maxlat), a point (lon, lat)"
    if isinstance(roi, bytes):
        return "; parse WKB with shapely.from_wkb"
    if hasattr(roi, "columns"):
        return "; for the rows of a table, use query_many"
    return "; give its edges as four numbers, and its CRS with crs=" if hasattr(roi, "bounds") else ""


def _file_hint(name: str, *, is_text: bool) -> str:
    """How to have the regions of a file, or of a text that may be its name."""
    ending = PurePath(name).suffix.lower()
    if ending in {".geojson", ".json"}:
        return f"; read the file first: json.load(open({name!r})), or use batch() for a vector each"
    if ending in TABLE_ENDINGS:
        return "; use batch() for the rows of a file, or geopandas.read_file() and query_many"
    return (
        "; read a file first, and parse WKT with shapely.from_wkt" if is_text else "; read the file first"
    )
