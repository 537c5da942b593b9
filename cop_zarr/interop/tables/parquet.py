"""Tables in Parquet files, GeoParquet or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cop_zarr.core import product
from cop_zarr.errors import SourceError

BATCH_ROWS = 16_384
"""Rows that are read at once."""

GEO = b"geo"
"""The key of GeoParquet's metadata (its specification, version 1.1.0)."""

CRS84 = "OGC:CRS84"
"""The CRS of a GeoParquet column that names none."""


class ParquetSource:
    """A Parquet file; the attributes are those of :class:`cop_zarr.interop.tables.readers.Source`."""

    layer: str | None = None

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            file = pq.ParquetFile(path)
            self.schema, self.rows = file.schema_arrow, file.metadata.num_rows
        except (pa.ArrowInvalid, OSError) as error:
            raise SourceError(f"{path} is no Parquet file that can be read: {error}") from error
        column = self._geo_column()
        self.geometry: str | None = column and column[0]
        self.crs: object | None = column and column[1]
        self.usual_crs: str | None = None if column else product.CRS

    def batches(self, first: int) -> Iterator[pa.RecordBatch]:
        """The rows from one on."""
        try:
            with pq.ParquetFile(self._path) as file:
                groups, start = list(range(file.num_row_groups)), 0
                while groups and start + file.metadata.row_group(groups[0]).num_rows <= first:
                    start += file.metadata.row_group(groups.pop(0)).num_rows
                for batch in file.iter_batches(BATCH_ROWS, row_groups=groups):
                    yield batch.slice(min(len(batch), max(0, first - start)))
                    start += len(batch)
        except (pa.ArrowInvalid, OSError) as error:
            raise SourceError(f"cannot read {self._path}: {error}") from error

    def _geo_column(self) -> tuple[str, object | None] | None:
        """The column of geometries and its CRS, if it is GeoParquet; a CRS of None is an unknown one."""
        text = (self.schema.metadata or {}).get(GEO)
        if text is None:
            return None
        try:
            document: Any = json.loads(text)
            name: str = document["primary_column"]
            column = document["columns"][name]
            encoding = column["encoding"]
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(
                f"{self._path} has geo metadata that are not GeoParquet's: {error!r}"
            ) from error
        if encoding != "WKB" or name not in self.schema.names:
            raise SourceError(
                f"{self._path} holds its geometries in {name!r} as {encoding!r}; only WKB can be read: "
                "write it again, in geopandas with to_parquet(geometry_encoding='WKB')"
            )
        return name, column.get("crs", CRS84)
