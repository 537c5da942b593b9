"""Find the columns of a table that hold its coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import pyarrow as pa

from cop_zarr.errors import InputError

Kind = Literal["geometry", "point", "box"]

KNOWN_NAMES: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("point", ("lon", "lat")),
    ("point", ("longitude", "latitude")),
    ("point", ("lng", "lat")),
    ("point", ("lon", "latitude")),
    ("box", ("minlon", "minlat", "maxlon", "maxlat")),
    ("box", ("min_lon", "min_lat", "max_lon", "max_lat")),
    ("box", ("west", "south", "east", "north")),
    ("box", ("minx", "miny", "maxx", "maxy")),
    ("box", ("xmin", "ymin", "xmax", "ymax")),
    ("geometry", ("wkt",)),
    ("geometry", ("geometry",)),
    ("geometry", ("geom",)),
    ("geometry", ("wkb",)),
)
"""Column names that are recognised, in any case. ``x`` and ``y`` are not: their CRS is unknown."""

KIND_BY_COUNT: dict[int, Kind] = {1: "geometry", 2: "point", 4: "box"}


@dataclass(frozen=True)
class CoordinateColumns:
    """One column of WKB or WKT, two of points (x, y) or four of boxes (west, south, east, north)."""

    kind: Kind
    names: tuple[str, ...]


def find_coordinates(
    columns: Sequence[str], geometry_column: str | None, requested: Sequence[str] | None
) -> CoordinateColumns:
    """Find the coordinate columns: those requested, else the file's geometry column, else known names."""
    if requested is not None:
        return _requested(columns, tuple(requested))
    if geometry_column is not None:
        return CoordinateColumns("geometry", (geometry_column,))
    found = _with_known_names(columns)
    if not found:
        raise InputError(
            f"no coordinate columns found among {', '.join(columns) or 'none'}; name them with "
            "--columns (columns=): one of WKT or WKB, lon,lat, or west,south,east,north"
        )
    if len(found) > 1:
        candidates = " or ".join(",".join(each.names) for each in found)
        raise InputError(
            f"several columns could hold the coordinates, {candidates}; choose with --columns (columns=)"
        )
    return found[0]


def _with_known_names(columns: Sequence[str]) -> list[CoordinateColumns]:
    spellings: dict[str, list[str]] = {}
    for column in columns:
        spellings.setdefault(column.strip().lower(), []).append(column)
    return [
        CoordinateColumns(kind, spelled)
        for kind, names in KNOWN_NAMES
        for spelled in product(*(spellings.get(name, ()) for name in names))
    ]


def _requested(columns: Sequence[str], names: tuple[str, ...]) -> CoordinateColumns:
    missing = [name for name in names if name not in columns]
    if missing:
        raise InputError(
            f"there is no column {', '.join(map(repr, missing))}; the columns are {', '.join(columns)}"
        )
    if len(names) not in KIND_BY_COUNT or len(set(names)) != len(names):
        raise InputError(
            "columns must be one (WKT or WKB), two (lon,lat) or four (west,south,east,north), all "
            f"different; got {','.join(names)}"
        )
    return CoordinateColumns(KIND_BY_COUNT[len(names)], names)


def is_binary(kind: pa.DataType) -> bool:
    """Whether a column holds bytes, such as WKB."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text, such as WKT."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
