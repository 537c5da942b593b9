"""Turn rows of a table into points to look up and regions to pool."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from shapely.geometry.base import BaseGeometry

from cop_zarr.errors import InputError, RegionError
from cop_zarr.interop.tables.columns import CoordinateColumns, is_binary, is_text, plain_type
from cop_zarr.interop.tables.declared import Edges
from cop_zarr.interop.tables.geometries import TEXT_FORMATS, parse
from cop_zarr.interop.tables.geometry_text import check_srids
from cop_zarr.querying.geodataframe import take_single_points
from cop_zarr.regions import BBox, PointBuffer
from cop_zarr.regions.geodesic_edges import SPHERE, with_plane_edges
from cop_zarr.regions.point_buffer import Shape
from cop_zarr.regions.projections import Projection, projection

NO_GEOMETRY = RegionError("it has no geometry; remove it from the table, or skip it with on_error='nan'")


MAX_STEP_DEG = 120.0
"""Longest edge of a box that is written: one of over 180° may be read as the shorter way around."""

DECIMALS = {".": "points", ",": "commas"}

RowErrors = dict[int, RegionError]
"""Why rows of a part have no vector: the first error of each, by the row's number in the part."""


@dataclass(frozen=True)
class Locations:
    """The rows of a part that are points, in degrees, and those that are regions, in ``crs``."""

    point_rows: np.ndarray
    lons: np.ndarray
    lats: np.ndarray
    region_rows: np.ndarray
    regions: list[Any]
    crs: object | None


def locate(
    part: pa.Table,
    columns: CoordinateColumns,
    crs: object,
    buffer: tuple[float, Shape] | None,
    errors: RowErrors,
) -> Locations:
    """Find the points and regions of a part; rows without a location are recorded in ``errors``."""
    points = rows = np.empty(0, "i8")
    xys, regions = np.empty((2, 0)), list[Any]()
    if columns.kind == "geometry":
        shapes = parse_geometries(part, columns.names[0], errors)
        for row, error in check_srids(shapes, crs).items():
            errors.setdefault(row, error)
            shapes[row] = None
        take_single_points(shapes)
        is_point = shapely.get_type_id(shapes) == shapely.GeometryType.POINT
        is_empty = shapely.is_empty(shapes)
        for row in np.flatnonzero(is_point & is_empty).tolist():
            errors.setdefault(row, NO_GEOMETRY)
        points = np.flatnonzero(is_point & ~is_empty)
        xys = np.stack([shapely.get_x(shapes[points]), shapely.get_y(shapes[points])])
        rows = np.flatnonzero(~shapely.is_missing(shapes) & ~is_point)
        regions = list(shapes[rows])
    else:
        numbers = _finite_numbers(part, columns, errors)
        complete = np.flatnonzero(np.isfinite(numbers[0]))
        if columns.kind == "point":
            points, xys = complete, numbers[:, complete]
        else:
            rows, regions = complete, [tuple(box) for box in numbers[:, complete].T.tolist()]
    source = projection(crs)
    found = _locate_points(points, xys, source, buffer, errors)
    if not len(rows):
        return found
    if buffer is not None:
        raise InputError("buffer_m applies to points, and the table has regions; omit it")
    if columns.edges != "planar":
        rows, regions = _in_plane(rows, regions, source, columns.edges, errors)
        return replace(found, region_rows=rows, regions=regions)
    region_crs = None if source.is_product_crs else source.crs
    return replace(found, region_rows=rows, regions=regions, crs=region_crs)


def geometries(part: pa.Table, columns: CoordinateColumns, crs: object) -> np.ndarray:
    """The rows of a part as shapely geometries in their own CRS; None for those without a location.

    A box over the antimeridian is cut there, as GeoJSON wants it (RFC 7946, section 3.1.9).
    """
    errors = RowErrors()  # recorded before, by locate()
    if columns.kind == "geometry":
        return parse_geometries(part, columns.names[0], errors)
    numbers = _finite_numbers(part, columns, errors)
    rows = np.flatnonzero(np.isfinite(numbers[0]))
    found = np.full(len(part), None, object)
    if columns.kind == "point":
        found[rows] = shapely.points(*numbers[:, rows])
        return found
    found[rows] = shapely.box(*numbers[:, rows])
    if projection(crs).in_degrees:
        drawn = (numbers[0] >= -180) & (numbers[0] < numbers[2]) & (numbers[2] <= 180)
        for row in rows[~drawn[rows]].tolist():
            found[row] = _cut_box(*numbers[:, row].tolist()) or found[row]
        found[rows] = shapely.segmentize(found[rows], MAX_STEP_DEG)
    return found


def _cut_box(west: float, south: float, east: float, north: float) -> BaseGeometry | None:
    """A box with longitudes from -180 to 180, in two parts over the antimeridian; None if it is refused."""
    try:
        west, south, east, north = BBox(west, south, east, north).bounds
    except RegionError:
        return None
    if east - west == 360:
        return shapely.box(-180, south, 180, north)
    halves = [
        shapely.box(max(west + turn, -180), south, min(east + turn, 180), north)
        for turn in (0, -360)
        if west + turn < 180 and east + turn > -180
    ]
    return halves[0] if len(halves) == 1 else shapely.MultiPolygon(halves)


def _locate_points(
    rows: np.ndarray,
    xys: np.ndarray,
    source: Projection,
    buffer: tuple[float, Shape] | None,
    errors: RowErrors,
) -> Locations:
    """Convert points to degrees, and to regions if there is a buffer."""
    lons, lats = xys if source.is_product_crs else source.to_lonlat_or_nan(*xys)
    on_map = np.isfinite(lons) & np.isfinite(lats)
    for row, x, y in zip(rows[~on_map].tolist(), *xys[:, ~on_map].tolist(), strict=True):
        errors.setdefault(row, source.outside_error(x, y))
    rows, lons, lats = rows[on_map], lons[on_map], lats[on_map]
    if buffer is None:
        return Locations(rows, lons, lats, rows[:0], [], None)
    region_rows, regions = [], []
    for row, lon, lat in zip(rows.tolist(), lons.tolist(), lats.tolist(), strict=True):
        try:
            regions.append(PointBuffer(lon, lat, *buffer))
            region_rows.append(row)
        except RegionError as error:
            errors.setdefault(row, error)
    return Locations(rows[:0], lons[:0], lats[:0], np.array(region_rows, "i8"), regions, None)


def _in_plane(
    rows: np.ndarray, regions: list[Any], source: Projection, edges: Edges, errors: RowErrors
) -> tuple[np.ndarray, list[Any]]:
    """Convert regions whose edges are great circles or geodesics to polygons in degrees."""
    if not source.crs.is_geographic:
        raise InputError(f"the table declares {edges} edges, and the CRS {source.name} is not of the globe")
    geod = (edges != "spherical" and source.crs.get_geod()) or SPHERE
    kept, converted = [], []
    for row, region in zip(rows.tolist(), regions, strict=True):
        try:
            converted.append(with_plane_edges(region, source, geod))
            kept.append(row)
        except RegionError as error:
            errors.setdefault(row, error)
    return np.array(kept, "i8"), converted


def _finite_numbers(part: pa.Table, columns: CoordinateColumns, errors: RowErrors) -> np.ndarray:
    """Coordinate columns as float64, ``(columns, rows)``; a row that lacks one is NaN, and an error."""
    numbers = np.stack([_parse_numbers(part, name, columns.decimal, errors) for name in columns.names])
    incomplete = ~np.isfinite(numbers).all(axis=0)
    for row in np.flatnonzero(incomplete).tolist():
        errors.setdefault(row, NO_GEOMETRY)
    numbers[:, incomplete] = np.nan
    return numbers


def _parse_numbers(part: pa.Table, name: str, decimal: str, errors: RowErrors) -> np.ndarray:
    """A column as float64; NaN for null and for text that is not a number."""
    column = part.column(name)
    kind = plain_type(column.type)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers: np.ndarray = column.cast(kind).cast(pa.float64()).to_numpy()
        return numbers
    if not is_text(column.type):
        raise InputError(f"the column {name!r} must hold numbers; it holds {column.type}")
    numbers = np.full(len(column), np.nan)
    marks = str.maketrans({"_": "?", ".": "?", decimal: "."})  # Python reads 1_1 as 11
    for row, text in enumerate(column.to_pylist()):
        try:
            if text is not None:
                numbers[row] = float(text.translate(marks))
        except ValueError:
            other = "," if decimal == "." else "."
            hint = f" (decimal={other!r} reads decimal {DECIMALS[other]})" if other in text else ""
            errors.setdefault(row, RegionError(f"its {name} is not a number: {reprlib.repr(text)}{hint}"))
    return numbers


def parse_geometries(part: pa.Table, name: str, errors: RowErrors) -> np.ndarray:
    """A column of WKB or WKT as shapely geometries; None for null and for invalid ones."""
    column = part.column(name)
    if not (is_binary(column.type) or is_text(column.type)):
        raise InputError(f"the column {name!r} must hold WKB, {TEXT_FORMATS}; it holds {column.type}")
    values = np.full(len(column), None, object)
    values[:] = column.to_pylist()
    shapes, wrong = parse(values)
    for row in np.flatnonzero(shapely.is_missing(shapes)).tolist():
        errors.setdefault(row, RegionError(f"its {name} {wrong[row]}") if row in wrong else NO_GEOMETRY)
    return shapes
