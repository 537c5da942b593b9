"""Read and write Parquet files, GeoParquet or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from cop_zarr.errors import SourceError
from cop_zarr.interop.tables.answered import AnsweredTable
from cop_zarr.interop.tables.columns import is_binary
from cop_zarr.interop.tables.rows import RowErrors, geometries, parse_geometries
from cop_zarr.querying.geodataframe import COLUMN

READ_ROWS = 16_384

ROW_GROUP_ROWS = 16_384
"""50 MB of 768 bands."""

GEO_KEY = b"geo"
"""The key of GeoParquet's metadata (its specification, version 1.1.0)."""

DEFAULT_CRS = "OGC:CRS84"
"""The CRS of a GeoParquet column that names none."""

COMPRESSION: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "column_encoding": {f"{COLUMN}.list.element": "BYTE_STREAM_SPLIT"},
}
"""Compresses the stand-in's vectors to 0.85 of their size, unsplit to 0.93 (docs/batch.md)."""


class ParquetReader:
    """A Parquet file; see :class:`cop_zarr.interop.tables.readers.TableReader`."""

    has_layers: ClassVar[bool] = False
    decimal: str = "."
    dialect: str | None = None

    def __init__(self, path: Path, layer: str | None = None) -> None:
        self.layer = layer
        self.path = path
        try:
            file = pq.ParquetFile(path)
            self.schema, self.rows = file.schema_arrow, file.metadata.num_rows
        except (pa.ArrowInvalid, OSError) as error:
            raise SourceError(f"{path} is not a readable Parquet file: {error}") from error
        self.geometry_column, self.geometry_crs = self._declared_geometry()

    def read(self, first: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows from ``first`` on."""
        try:
            with pq.ParquetFile(self.path) as file:
                groups, start = list(range(file.num_row_groups)), 0
                while groups and start + file.metadata.row_group(groups[0]).num_rows <= first:
                    start += file.metadata.row_group(groups.pop(0)).num_rows
                for batch in file.iter_batches(READ_ROWS, row_groups=groups):
                    yield batch.slice(min(len(batch), max(0, first - start)))
                    start += len(batch)
        except (pa.ArrowInvalid, OSError) as error:
            raise SourceError(f"cannot read {self.path}: {error}") from error

    def _declared_geometry(self) -> tuple[str | None, object | None]:
        """GeoParquet's primary column and its CRS, each None if unknown."""
        text = (self.schema.metadata or {}).get(GEO_KEY)
        if text is None:
            return None, None
        try:
            document: Any = json.loads(text)
            name: str = document["primary_column"]
            column = document["columns"][name]
            encoding = column["encoding"]
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(f"{self.path} has invalid GeoParquet metadata: {error!r}") from error
        if encoding != "WKB" or name not in self.schema.names:
            raise SourceError(
                f"{self.path} holds its geometries in {name!r} as {encoding!r}; only WKB can be read: "
                "write it again, in geopandas with to_parquet(geometry_encoding='WKB')"
            )
        return name, column.get("crs", DEFAULT_CRS)


def write_parquet(path: Path, table: AnsweredTable) -> None:
    """Write Parquet; GeoParquet if there is a column of geometries, or the name ends in .geoparquet."""
    schema = table.schema
    column = _geometry_column(table)
    if column is None and path.suffix.lower() == ".geoparquet":
        column = next(
            name for name in ("geometry", "geom", "cop_zarr_geometry") if name not in schema.names
        )
        schema = schema.append(pa.field(column, pa.binary()))
    metadata = {}
    if column is not None:
        metadata[GEO_KEY] = json.dumps(_geo_metadata(column, table.crs_of(column)))
    schema = schema.with_metadata(metadata)
    others = [name for name in schema.names if name != COLUMN]
    with pq.ParquetWriter(path, schema, use_dictionary=others, **COMPRESSION) as writer:
        for part in table.parts():
            rows = part if column is None else _with_geometries(part, column, table)
            writer.write_table(rows.replace_schema_metadata(metadata), ROW_GROUP_ROWS)


def _geometry_column(table: AnsweredTable) -> str | None:
    """The binary column of the table that becomes GeoParquet's primary one."""
    name = table.coordinates.names[0]
    if table.coordinates.kind == "geometry" and is_binary(table.schema.field(name).type):
        return name
    return table.geometry_column


def _geo_metadata(column: str, crs_given: object | None) -> dict[str, Any]:
    crs = None if crs_given is None else CRS.from_user_input(crs_given)
    described: dict[str, Any] = {"encoding": "WKB", "geometry_types": []}
    if crs != CRS.from_user_input(DEFAULT_CRS):
        described["crs"] = crs and crs.to_json_dict()
    return {"version": "1.1.0", "primary_column": column, "columns": {column: described}}


def _with_geometries(part: pa.Table, column: str, table: AnsweredTable) -> pa.Table:
    """Add the column of geometries, or replace it by ISO WKB, null where it is invalid."""
    if column not in part.schema.names:
        shapes = geometries(part, table.coordinates, table.crs)
        return part.append_column(column, pa.array(shapely.to_wkb(shapes), pa.binary()))
    index = part.schema.get_field_index(column)
    shapes = parse_geometries(part, column, RowErrors())
    wkb = pa.array(shapely.to_wkb(shapes, flavor="iso"), part.schema.field(index).type)
    return part.set_column(index, part.schema.field(index), wkb)
