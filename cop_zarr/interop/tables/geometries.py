"""The one place where WKB and text become geometries: bounded, with closed rings, and without curves."""

from __future__ import annotations

import reprlib
import struct
import warnings
from collections.abc import Callable

import numpy as np
import shapely

from cop_zarr.interop.tables.geometry_text import decode, from_geojson, is_geojson
from cop_zarr.interop.tables.nesting import EWKB_SRID, MAX_BYTES, MAX_NESTING, inspect, members_of
from cop_zarr.interop.tables.vector import linearize

REFUSED = {
    "deep": f"nests collections more than {MAX_NESTING} deep; write its polygons as a MultiPolygon",
    "large": f"takes more than {MAX_BYTES >> 20} MiB; simplify it, or cut it into several rows",
    "curved": "has curves that GDAL cannot read; draw them as lines",
}

TEXT_FORMATS = "WKT, WKB in hexadecimal or GeoJSON"

Parser = Callable[..., np.ndarray]

PARSERS: tuple[Parser, ...] = (shapely.from_wkb, shapely.from_wkt, from_geojson)


def parse(values: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
    """Parse WKB or EWKB (bytes, or hexadecimal), WKT or EWKT, and GeoJSON; None and blanks give None.

    Returns shapely geometries, and what is wrong with the others, by row. Arcs become chords, and rings
    that are not closed are closed. A CRS that a geometry names becomes its SRID.
    """
    present = [row for row, value in enumerate(values) if value is not None and value.strip()]
    plain, srids = values.copy(), np.zeros(len(values), "i4")
    for row in present:
        plain[row], srids[row] = decode(values[row])
    findings = {row: inspect(plain[row]) for row in present}
    curved = [row for row in present if findings[row] == "curved"]
    for row, wkb in zip(curved, _without_curves(plain[curved]), strict=True):
        srids[row] = srids[row] or _srid(plain[row])
        plain[row] = wkb
    shapes = np.full(len(values), None, object)
    parsable = [row for row in present if findings[row] in {"plain", "curved"} and plain[row] is not None]
    parsers = np.array([_parser(plain[row]) for row in parsable], object)
    for parser in PARSERS:
        rows = np.array(parsable, "i8")[parsers == parser]
        shapes[rows] = _parse_closed(plain[rows], parser)
    named = np.flatnonzero(srids)
    shapes[named] = shapely.set_srid(shapes[named], srids[named])
    wrong = {}
    for row in present:
        if shapes[row] is None:
            kind = "WKB" if isinstance(values[row], bytes) else TEXT_FORMATS
            wrong[row] = REFUSED.get(findings[row], f"is not {kind}: {reprlib.repr(values[row])}")
    return shapes, wrong


def _parser(value: bytes | str) -> Parser:
    if isinstance(value, bytes):
        return shapely.from_wkb
    return from_geojson if is_geojson(value) else shapely.from_wkt


def _without_curves(values: np.ndarray) -> np.ndarray:
    """WKB whose arcs are chords, of WKB and WKT; None where GDAL cannot read it."""
    found = linearize(values)
    for row, wkb in enumerate(found):
        finding = "plain" if wkb is None else inspect(wkb)
        if finding == "curved":  # a collection: GDAL leaves its members as they are
            members = np.array([None, *members_of(wkb)], object)[1:]
            curved = [number for number, member in enumerate(members) if inspect(member) == "curved"]
            members[curved] = _without_curves(members[curved])
            whole = not any(member is None for member in members)
            found[row] = wkb[:9] + b"".join(members) if whole else None
        elif finding != "plain":
            found[row] = None
    return found


def _srid(value: bytes | str) -> int:
    """The SRID that an EWKB names, which GDAL drops; 0 for none."""
    if isinstance(value, str):
        return 0
    _, code, srid = struct.unpack_from("<BII" if value[0] else ">BII", value)
    return int(srid) if code & EWKB_SRID else 0


def _parse_closed(values: np.ndarray, from_kind: Parser) -> np.ndarray:
    """Parse, and close rings that are not closed: GEOS refuses those, and mends nothing else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # from shapely, about invalid ones
            shapes: np.ndarray = from_kind(values, on_invalid="ignore")
            refused = shapely.is_missing(shapes)
            shapes[refused] = from_kind(values[refused], on_invalid="fix")
    except (NotImplementedError, shapely.errors.ShapelyError):  # about one of them
        if len(values) == 1:
            return np.array([None], object)
        return np.concatenate([_parse_closed(values[[row]], from_kind) for row in range(len(values))])
    return shapes
