"""Geometries in text that is not plain WKT: PostGIS's EWKT and hexadecimal WKB, and GeoJSON."""

from __future__ import annotations

import json
import re

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from cop_zarr.errors import RegionError
from cop_zarr.regions.geojson import declared_crs, read_polygons
from cop_zarr.regions.projections import projection

EWKT_SRID = re.compile(r"SRID\s*=\s*(\d+)\s*;", re.IGNORECASE)

DEGREES_SRID, UNKNOWN_SRID = 4326, 999_999
"""Of longitude and latitude on WGS84; and of a CRS without a number, which no table is in."""


def decode(value: bytes | str) -> tuple[bytes | str, int]:
    """Hexadecimal WKB as bytes, EWKT as WKT, others as they are; and the number of a CRS named, or 0."""
    if isinstance(value, bytes):
        return value, 0
    text = value.strip()
    if text.startswith(("00", "01", "\\x0")):
        try:
            return bytes.fromhex(text.removeprefix("\\x")), 0
        except ValueError:
            return text, 0
    named = EWKT_SRID.match(text)
    if named:
        return text[named.end() :], int(named[1])
    return text, _geojson_srid(text) if is_geojson(text) else 0


def is_geojson(text: str) -> bool:
    """Whether a text is GeoJSON rather than WKT."""
    return text.startswith("{")


def from_geojson(texts: np.ndarray, on_invalid: str) -> np.ndarray:
    """As shapely's functions for WKB and WKT, with their "ignore" and "fix": rings are closed."""
    shapes = np.full(len(texts), None, object)
    shapes[:] = (
        [_closed(text) for text in texts]
        if on_invalid == "fix"
        else shapely.from_geojson(texts, on_invalid="ignore")
    )
    return shapes


def _closed(text: str) -> BaseGeometry | None:
    try:
        polygons, _ = read_polygons(json.loads(text))
    except (ValueError, RecursionError):  # RegionError is a ValueError
        return None
    return polygons[0] if len(polygons) == 1 else shapely.GeometryCollection(polygons)


def _geojson_srid(text: str) -> int:
    """The number of the CRS in the ``crs`` member of old GeoJSON; 0 if there is none."""
    if '"crs"' not in text:
        return 0
    try:
        name = declared_crs(json.loads(text))
        stated = None if name is None else projection(name)
    except (ValueError, RecursionError):
        return UNKNOWN_SRID
    if stated is None:
        return 0
    return DEGREES_SRID if stated.is_product_crs else stated.crs.to_epsg() or UNKNOWN_SRID


def srid_crs(srid: int) -> str:
    """The CRS that a number of PostGIS stands for."""
    return f"EPSG:{srid}"


def check_srids(shapes: np.ndarray, crs: object) -> dict[int, RegionError]:
    """The rows whose geometry names another CRS than the table's, each with the error."""
    srids = np.maximum(shapely.get_srid(shapes), 0)  # -1 for None
    errors = dict[int, RegionError]()
    for srid in np.unique(srids[srids != 0]).tolist():
        try:
            stated = projection(srid_crs(srid))
        except RegionError:
            reason = RegionError(f"its geometry names a CRS that is unknown, SRID {srid}; convert it")
        else:
            if stated.crs.equals(projection(crs).crs, ignore_axis_order=True):
                continue
            reason = RegionError(
                f"its geometry is in {stated.name}, and the table is read as {projection(crs).name}: give "
                f"crs={stated.name!r}, or split the table, if it has several CRS"
            )
        errors |= dict.fromkeys(np.flatnonzero(srids == srid).tolist(), reason)
    return errors
