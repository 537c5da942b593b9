"""Geometries in Parquet: its types GEOMETRY and GEOGRAPHY, GeoParquet's metadata, GeoArrow's extensions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cop_zarr.core.packages import pip_install
from cop_zarr.errors import RegionError, SourceError
from cop_zarr.interop.tables.columns import is_binary, is_text
from cop_zarr.interop.tables.declared import Declared, edges_of
from cop_zarr.interop.tables.geoarrow import KINDS, to_wkb
from cop_zarr.interop.tables.geometry_text import srid_crs
from cop_zarr.regions import check_same_crs

GEO_KEY = b"geo"
"""The key of GeoParquet's metadata (its specification, version 1.1.0)."""

DEFAULT_CRS = "OGC:CRS84"
"""The CRS of a column that names none, in GeoParquet and in Parquet's own types."""

EXTENSION_NAME, EXTENSION_METADATA = b"ARROW:extension:name", b"ARROW:extension:metadata"

INVALID = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What malformed metadata raise."""


def declared_geometries(path: Path, file: pq.ParquetFile) -> tuple[str | None, dict[str, Declared]]:
    """GeoParquet's primary column, or None; and what is declared of each column of geometries."""
    found = _of_types(path, file)
    primary, columns = _of_geoparquet(path, file.schema_arrow)
    for name, declared in (*_of_fields(path, file).items(), *columns.items()):
        found[name] = _merged(path, name, declared, found.get(name))
    unknown = [name for name, kind in _logical_types(file) if kind["Type"] == "Undefined"]
    if unknown and primary is None:
        raise SourceError(
            f"{path} holds {unknown[0]!r} in a type that pyarrow {pa.__version__} does not know, "
            f"such as GEOMETRY before 21; {pip_install('--upgrade', 'pyarrow')}"
        )
    return primary, found


def plain_batch(batch: pa.RecordBatch, geometries: dict[str, Declared]) -> pa.RecordBatch:
    """The same rows with geometries as WKB or WKT, without extension types and their metadata."""
    arrays, fields = [], []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        array, kept = column, field
        if field.name in geometries:
            array = _plain_column(column, geometries[field.name].encoding)
            kept = pa.field(field.name, array.type)
        arrays.append(array)
        fields.append(kept)
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields, batch.schema.metadata))


def _plain_column(column: pa.Array, encoding: str) -> pa.Array:
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    if encoding in KINDS:
        return to_wkb(storage, encoding)
    if is_binary(storage.type) or is_text(storage.type):
        return storage
    return storage.cast(pa.binary() if encoding == "wkb" else pa.string())


def _of_geoparquet(path: Path, schema: pa.Schema) -> tuple[str | None, dict[str, Declared]]:
    text = (schema.metadata or {}).get(GEO_KEY)
    if text is None:
        return None, {}
    found: dict[str, Declared] = {}
    try:
        document: Any = json.loads(text)
        primary: str = document["primary_column"]
        for name, column in document["columns"].items():
            encoding = column["encoding"]
            if name in schema.names and encoding.lower() in {"wkb", *KINDS}:
                crs, edges = column.get("crs", DEFAULT_CRS), edges_of(column.get("edges"))
                found[name] = Declared(crs, "crs" not in column, edges, encoding.lower())
        encoding = document["columns"][primary]["encoding"]
    except INVALID as error:
        raise SourceError(f"{path} has invalid GeoParquet metadata: {error!r}") from error
    if primary not in found:
        raise SourceError(
            f"{path} holds its geometries in {primary!r} as {encoding!r}, which cannot be read; write it "
            "again, in geopandas with to_parquet(geometry_encoding='WKB')"
        )
    return primary, found


def _logical_types(file: pq.ParquetFile) -> Iterator[tuple[str, dict[str, Any]]]:
    """The columns of bytes, and the type that each has beyond that."""
    for column in map(file.schema.column, range(len(file.schema))):
        if column.physical_type == "BYTE_ARRAY" and column.path in file.schema_arrow.names:
            yield column.path, json.loads(column.logical_type.to_json(), strict=False)


def _of_types(path: Path, file: pq.ParquetFile) -> dict[str, Declared]:
    """The columns of the types GEOMETRY and GEOGRAPHY (parquet-format 2.11)."""
    found, metadata = {}, file.schema_arrow.metadata or {}
    for name, described in _logical_types(file):
        kind, text = described["Type"], described.get("crs")
        if kind not in {"Geometry", "Geography"}:
            continue
        try:
            crs = DEFAULT_CRS if text is None else _crs(text, metadata)
            edges = edges_of(described.get("algorithm", "spherical") if kind == "Geography" else None)
        except INVALID as error:
            raise SourceError(f"{path} declares its {name!r} wrongly: {error!r}") from error
        found[name] = Declared(crs, text is None, edges)
    return found


def _of_fields(path: Path, file: pq.ParquetFile) -> dict[str, Declared]:
    """The columns of GeoArrow's extension types, registered with pyarrow or not."""
    found = {}
    for field in file.schema_arrow:
        if isinstance(field.type, pa.ExtensionType):
            name, text = field.type.extension_name.encode(), field.type.__arrow_ext_serialize__()
        else:
            metadata = field.metadata or {}
            name, text = metadata.get(EXTENSION_NAME, b""), metadata.get(EXTENSION_METADATA, b"")
        package, _, encoding = name.decode("utf-8", "replace").partition(".")
        if package not in {"geoarrow", "ogc"} or encoding not in {"wkb", "wkt", *KINDS}:
            continue
        try:
            described = json.loads(text or "{}")
            crs, edges = _crs(described.get("crs"), {}), edges_of(described.get("edges"))
        except INVALID as error:
            raise SourceError(f"{path} declares its {field.name!r} wrongly: {error!r}") from error
        found[field.name] = Declared(crs, edges=edges, encoding=encoding)
    return found


def _crs(value: Any, metadata: dict[bytes, bytes]) -> object | None:
    """A CRS as Parquet and GeoArrow write it, in a form that pyproj accepts; None if there is none."""
    if not isinstance(value, str | int):
        return value  # type: ignore[no-any-return]  # PROJJSON
    text = str(value).strip()
    prefix, _, rest = text.partition(":")
    if prefix.lower() == "projjson":
        return metadata[rest.encode()].decode()
    number = rest if prefix.lower() == "srid" else text
    if number.isdecimal():
        return srid_crs(int(number)) if int(number) else None
    return text or None


def _merged(path: Path, name: str, declared: Declared, other: Declared | None) -> Declared:
    """What two places declare of one column; what is written counts before a default, or nothing."""
    if other is None:
        return declared
    if None not in (declared.crs, other.crs) and not declared.is_default and not other.is_default:
        try:
            check_same_crs(declared.crs, other.crs)
        except RegionError as error:
            raise SourceError(f"{path} contradicts itself about its {name!r}: {error}") from error
    best = min((declared, other), key=lambda each: (each.crs is None, each.is_default))
    edges = other.edges if declared.edges == "planar" else declared.edges
    return replace(best, edges=edges, encoding=declared.encoding)
