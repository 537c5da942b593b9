"""Find the columns of a table that hold its coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import pyarrow as pa

from cop_zarr.errors import InputError
from cop_zarr.interop.tables.declared import Edges

Kind = Literal["geometry", "point", "box"]

LON_NAMES = ("lon", "long", "lng", "longitude", "decimallongitude")
LAT_NAMES = ("lat", "latitude", "decimallatitude")
"""With Darwin Core's terms, as in the tables of GBIF."""

BOX_NAMES = (
    ("minlon", "minlat", "maxlon", "maxlat"),
    ("min_lon", "min_lat", "max_lon", "max_lat"),
    ("west", "south", "east", "north"),
    ("minx", "miny", "maxx", "maxy"),
    ("xmin", "ymin", "xmax", "ymax"),
)
GEOMETRY_NAMES = (
    *("wkt", "wkb", "geojson", "geometry", "geom"),
    *("the_geom", "wkb_geometry", "wkt_geom", ".geo"),  # of PostGIS, GDAL, QGIS and Earth Engine
)

KNOWN_NAMES: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    *(("point", names) for names in product(LON_NAMES, LAT_NAMES)),
    *(("box", names) for names in BOX_NAMES),
    *(("geometry", (name,)) for name in GEOMETRY_NAMES),
)
"""Column names that are recognised, in any case."""

FALLBACK_NAMES: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("point", ("x", "y")),
    ("point", ("point_x", "point_y")),
)
"""Names that are recognised if there are none of the above: beside a longitude, x is something else."""

KIND_BY_COUNT: dict[int, Kind] = {1: "geometry", 2: "point", 4: "box"}


@dataclass(frozen=True)
class CoordinateColumns:
    """One column of geometries, two of points (x, y) or four of boxes (west, south, east, north)."""

    kind: Kind
    names: tuple[str, ...]
    decimal: str = "."
    """The decimal mark of numbers that are text."""
    edges: Edges = "planar"


def find_coordinates(
    columns: Sequence[str], geometries: Sequence[str], requested: Sequence[str] | None
) -> CoordinateColumns:
    """Find the coordinate columns: those requested, else the file's geometries, else known names."""
    if requested is not None:
        return _requested(columns, tuple(requested))
    found = [CoordinateColumns("geometry", (name,)) for name in geometries] or known_columns(columns)
    if not found:
        raise InputError(
            f"no coordinate columns found among {', '.join(columns) or 'none'}; name them with "
            "columns=: one of WKT, WKB or GeoJSON, lon,lat, or west,south,east,north"
        )
    if len(found) > 1:
        candidates = " or ".join(",".join(each.names) for each in found)
        raise InputError(f"several columns could hold the coordinates, {candidates}; choose with columns=")
    return found[0]


def known_columns(columns: Sequence[str]) -> list[CoordinateColumns]:
    """Every set of columns whose names are those of coordinates."""
    spellings: dict[str, list[str]] = {}
    for column in columns:
        spellings.setdefault(column.strip().lower(), []).append(column)

    def with_names(known: Sequence[tuple[Kind, tuple[str, ...]]]) -> list[CoordinateColumns]:
        return [
            CoordinateColumns(kind, spelled)
            for kind, names in known
            for spelled in product(*(spellings.get(name, ()) for name in names))
        ]

    return with_names(KNOWN_NAMES) or with_names(FALLBACK_NAMES)


def _requested(columns: Sequence[str], names: tuple[str, ...]) -> CoordinateColumns:
    missing = [name for name in names if name not in columns]
    if missing:
        raise InputError(
            f"there is no column {', '.join(map(repr, missing))}; the columns are {', '.join(columns)}"
        )
    if len(names) not in KIND_BY_COUNT or len(set(names)) != len(names):
        raise InputError(
            "columns must be one (WKT, WKB or GeoJSON), two (lon,lat) or four (west,south,east,north), all "
            f"different; got {','.join(names)}"
        )
    return CoordinateColumns(KIND_BY_COUNT[len(names)], names)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of a column's values, however they are laid out; of decimals, float64."""
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if pa.types.is_decimal(kind):
        return pa.float64()
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    return kind


def is_binary(kind: pa.DataType) -> bool:
    """Whether a column holds bytes, such as WKB."""
    kind = plain_type(kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text, such as WKT."""
    kind = plain_type(kind)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
