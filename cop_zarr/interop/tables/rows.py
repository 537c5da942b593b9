"""Rows become what a store is asked: points to look up, and regions to pool."""

from __future__ import annotations

import reprlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from cop_zarr.errors import InputError, RegionError
from cop_zarr.interop.tables.columns import Where
from cop_zarr.regions import PointBuffer
from cop_zarr.regions.point_buffer import Shape
from cop_zarr.regions.projections import Projection, projection

Refused = Callable[[int, RegionError], None]
"""What is told of each row that has no answer: its number, and why."""

NO_GEOMETRY = RegionError("it has no geometry; take it out of the table, or pass over it: --on-error nan")


@dataclass(frozen=True)
class Buffer:
    """What is put around points: ``radius_m`` metres, as a box or as a disc."""

    radius_m: float
    shape: Shape


@dataclass(frozen=True)
class Places:
    """What the rows of a part ask.

    Attributes
    ----------
    points : ndarray
        int64: the rows that are points.
    lons, lats : ndarray
        float64: where they are, in degrees.
    areas : ndarray
        int64: the rows that are regions.
    rois : list
        The regions.
    crs : object or None
        The CRS of those.
    """

    points: np.ndarray
    lons: np.ndarray
    lats: np.ndarray
    areas: np.ndarray
    rois: list[Any]
    crs: object | None


def places(part: pa.Table, where: Where, crs: object, buffer: Buffer | None, refused: Refused) -> Places:
    """Find out what the rows of a part ask.

    Parameters
    ----------
    part : pyarrow.Table
        Some rows.
    where : Where
        The columns that say where they are.
    crs : object
        The CRS of their coordinates.
    buffer : Buffer or None
        What to put around points.
    refused : callable
        Told of each row that is nowhere, once or twice; it is then in none of the lists.

    Raises
    ------
    InputError
        If a column is of a type that holds no coordinates; or regions are to get a buffer.
    """
    source = projection(crs)
    if where.kind == "point":
        xs, ys = (_numbers(part, name, refused) for name in where.names)
        there = _there(np.isfinite(xs) & np.isfinite(ys), refused)
        return _of_points(there, xs[there], ys[there], source, buffer, refused)
    if where.kind == "box":
        edges = np.stack([_numbers(part, name, refused) for name in where.names], axis=1)
        there, none = _there(np.isfinite(edges).all(axis=1), refused), np.empty(0)
        _check_buffer(buffer)
        boxes = [tuple(box) for box in edges[there].tolist()]
        return Places(there[:0], none, none, there, boxes, _unless_native(source))
    shapes = _geometries(part, where.names[0], refused)
    empty = ~shapely.is_missing(shapes) & shapely.is_empty(shapes)
    for number in np.flatnonzero(
        empty & (shapely.get_type_id(shapes) == shapely.GeometryType.POINT)
    ).tolist():
        refused(number, NO_GEOMETRY)
        shapes[number] = None
    there = np.flatnonzero(~shapely.is_missing(shapes))
    is_point = shapely.get_type_id(shapes[there]) == shapely.GeometryType.POINT
    dots = there[is_point]
    found = _of_points(
        dots, shapely.get_x(shapes[dots]), shapely.get_y(shapes[dots]), source, buffer, refused
    )
    others = np.setdiff1d(there, dots)
    if not len(others):
        return found
    _check_buffer(buffer)
    return replace(found, areas=others, rois=list(shapes[others]), crs=_unless_native(source))


def geometries(part: pa.Table, where: Where, crs: object) -> np.ndarray:
    """The rows of a part as shapely's geometries, in their own CRS; None for one that is nowhere.

    A box over the antimeridian is cut there, as GeoJSON wants it (RFC 7946, section 3.1.9).
    """

    def pass_over(number: int, error: RegionError) -> None:
        """It is told of elsewhere."""

    if where.kind == "geometry":
        return _geometries(part, where.names[0], pass_over)
    numbers = np.stack([_numbers(part, name, pass_over) for name in where.names])
    there = np.isfinite(numbers).all(axis=0)
    found = np.full(len(part), None, object)
    if where.kind == "point":
        found[there] = shapely.points(*numbers[:, there])
        return found
    found[there] = shapely.box(*numbers[:, there])
    if projection(crs).in_degrees:
        for row in np.flatnonzero(there & (numbers[0] > numbers[2])).tolist():
            west, south, east, north = numbers[:, row]
            halves = [shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)]
            found[row] = shapely.MultiPolygon(halves)
    return found


def _of_points(  # noqa: PLR0917  # called twice, right above
    rows: np.ndarray,
    xs: np.ndarray,
    ys: np.ndarray,
    source: Projection,
    buffer: Buffer | None,
    refused: Refused,
) -> Places:
    """Points, or what lies around them."""
    lons, lats = (xs, ys) if source.is_product_crs else source.to_lonlat_or_nan(xs, ys)
    on_map = np.isfinite(lons) & np.isfinite(lats)
    for number in np.flatnonzero(~on_map).tolist():
        refused(
            int(rows[number]),
            RegionError(f"x = {xs[number]:.10g}, y = {ys[number]:.10g} lies off the map of {source.name}"),
        )
    rows, lons, lats = rows[on_map], lons[on_map], lats[on_map]
    if buffer is None:
        return Places(rows, lons, lats, rows[:0], [], None)
    areas, rois = [], []
    for row, lon, lat in zip(rows.tolist(), lons.tolist(), lats.tolist(), strict=True):
        try:
            rois.append(PointBuffer(lon, lat, buffer.radius_m, buffer.shape))
            areas.append(row)
        except RegionError as error:
            refused(row, error)
    return Places(rows[:0], lons[:0], lats[:0], np.array(areas, "i8"), rois, None)


def _unless_native(source: Projection) -> object | None:
    return None if source.is_product_crs else source.crs


def _check_buffer(buffer: Buffer | None) -> None:
    if buffer is not None:
        raise InputError("--buffer (buffer_m=) goes with points, and the table holds regions; leave it out")


def _there(known: np.ndarray, refused: Refused) -> np.ndarray:
    """The rows that are somewhere; the others are told of."""
    for number in np.flatnonzero(~known).tolist():
        refused(number, NO_GEOMETRY)
    return np.flatnonzero(known)


def _numbers(part: pa.Table, name: str, refused: Refused) -> np.ndarray:
    """A column as float64; NaN for what is none."""
    column = part.column(name)
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        numbers: np.ndarray = column.cast(pa.float64()).to_numpy()
        return numbers
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise InputError(f"the column {name!r} must hold numbers; it holds {column.type}")
    found = np.full(len(column), np.nan)
    for row, text in enumerate(column.to_pylist()):
        try:
            found[row] = np.nan if text is None else float(text.replace("_", "?"))  # 1_1 is no 11
        except ValueError:
            refused(row, RegionError(f"its {name} is no number: {reprlib.repr(text)}"))
    return found


def _geometries(part: pa.Table, name: str, refused: Refused) -> np.ndarray:
    """A column of WKB or WKT as shapely's geometries; None for what is none."""
    column = part.column(name)
    binary = pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
    if not (binary or pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise InputError(f"the column {name!r} must hold WKB or WKT; it holds {column.type}")
    values = np.array([*column.to_pylist(), None], object)[:-1]  # the None: or equal lengths become text
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of shapely, for what is refused right below
        read = shapely.from_wkb if binary else shapely.from_wkt
        found: np.ndarray = read(values, on_invalid="ignore")
    for row in np.flatnonzero(shapely.is_missing(found)).tolist():
        given = values[row]
        kind = "WKB" if binary else "WKT"
        missing = given is None or not given.strip()
        refused(
            row, NO_GEOMETRY if missing else RegionError(f"its {name} is no {kind}: {reprlib.repr(given)}")
        )
    return found
