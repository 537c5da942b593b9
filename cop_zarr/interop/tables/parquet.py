"""Read and write Parquet files, GeoParquet or not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from cop_zarr.errors import SourceError
from cop_zarr.interop.tables.answered import AnsweredTable
from cop_zarr.interop.tables.columns import is_binary, plain_type
from cop_zarr.interop.tables.declared import Declared
from cop_zarr.interop.tables.parquet_geometry import (
    DEFAULT_CRS,
    GEO_KEY,
    declared_geometries,
    plain_batch,
)
from cop_zarr.interop.tables.row_places import numbered
from cop_zarr.interop.tables.rows import RowErrors, geometries, parse_geometries
from cop_zarr.querying.geodataframe import COLUMN

READ_ROWS = 16_384

ROW_GROUP_ROWS = 16_384
"""50 MB of 768 bands."""

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
            self.rows = file.metadata.num_rows
            self.geometry_column, self.geometries = declared_geometries(path, file)
            self.schema = plain_batch(_no_rows(file.schema_arrow), self.geometries).schema
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{path} is not a readable Parquet file: {error}") from error

    def places(self, rows: Sequence[int]) -> list[str]:
        """The numbers of rows."""
        return numbered("row", rows)

    def read(self, first: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows from ``first`` on."""
        try:
            with pq.ParquetFile(self.path) as file:
                groups, start = list(range(file.num_row_groups)), 0
                while groups and start + file.metadata.row_group(groups[0]).num_rows <= first:
                    start += file.metadata.row_group(groups.pop(0)).num_rows
                for batch in file.iter_batches(READ_ROWS, row_groups=groups):
                    rest = batch.slice(min(len(batch), max(0, first - start)))
                    yield plain_batch(rest, self.geometries)
                    start += len(batch)
        except pa.ArrowNotImplementedError as error:
            raise SourceError(
                f"{self.path} has columns that pyarrow cannot read, such as lists of dictionaries; leave "
                f"them out: {error}"
            ) from error
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"cannot read {self.path}: {error}") from error


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


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
        index = schema.get_field_index(column)
        schema = schema.set(index, pa.field(column, plain_type(schema.field(index).type)))
        metadata[GEO_KEY] = json.dumps(_geo_metadata(column, table))
    schema = schema.with_metadata(metadata)
    others = [name for name in schema.names if name != COLUMN]
    with pq.ParquetWriter(path, schema, use_dictionary=others, **COMPRESSION) as writer:
        for part in table.parts():
            rows = part if column is None else _with_geometries(part, column, table)
            writer.write_table(rows.replace_schema_metadata(metadata), ROW_GROUP_ROWS)


def _geometry_column(table: AnsweredTable) -> str | None:
    """The binary column of the table that becomes GeoParquet's primary one."""
    names = (*table.coordinates.names[:1], table.geometry_column, *table.geometries)
    if table.coordinates.kind != "geometry":
        names = names[1:]
    return next((name for name in names if name and is_binary(table.schema.field(name).type)), None)


def _geo_metadata(primary: str, table: AnsweredTable) -> dict[str, Any]:
    others = [
        name for name in table.geometries if name != primary and is_binary(table.schema.field(name).type)
    ]
    columns = {name: _described(table.declared(name)) for name in (primary, *others)}
    return {"version": "1.1.0", "primary_column": primary, "columns": columns}


def _described(declared: Declared) -> dict[str, Any]:
    crs = None if declared.crs is None else CRS.from_user_input(declared.crs)
    described: dict[str, Any] = {"encoding": "WKB", "geometry_types": []}
    if declared.edges != "planar":
        described["edges"] = "spherical"
    if crs != CRS.from_user_input(DEFAULT_CRS):
        described["crs"] = crs and crs.to_json_dict()
    return described


def _with_geometries(part: pa.Table, column: str, table: AnsweredTable) -> pa.Table:
    """Add the column of geometries, or replace it by ISO WKB, null where it is invalid."""
    if column not in part.schema.names:
        shapes = geometries(part, table.coordinates, table.crs)
        return part.append_column(column, pa.array(shapely.to_wkb(shapes), pa.binary()))
    index = part.schema.get_field_index(column)
    shapes = parse_geometries(part, column, RowErrors())
    kind = plain_type(part.schema.field(index).type)
    return part.set_column(index, column, pa.array(shapely.to_wkb(shapes, flavor="iso"), kind))
