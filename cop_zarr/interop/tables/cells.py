"""Write cells as a table: GeoParquet, or a Zarr group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import shapely

from cop_zarr.interop.tables.answered import AnsweredTable
from cop_zarr.interop.tables.checkpoint import storage_errors
from cop_zarr.interop.tables.columns import CoordinateColumns
from cop_zarr.interop.tables.parquet_geometry import DEFAULT_CRS
from cop_zarr.interop.tables.writers import WRITERS, check_writable
from cop_zarr.querying.cells import Cells
from cop_zarr.querying.geodataframe import COLUMN
from cop_zarr.storage import replacing

GEOMETRY = "geometry"


def write_cell_table(
    path: Path, blocks: Callable[[], Iterator[Cells]], count: int, bands: int, *, overwrite: bool
) -> None:
    """Write ``lon``, ``lat``, ``row``, ``col`` and ``embedding``; and in Parquet, ``geometry``.

    ``blocks`` iterates over all cells, ``count``. Memory is that of a block.
    """
    with_points = path.suffix.lower() != ".zarr"
    schema = _schema(bands, with_points=with_points)
    points = CoordinateColumns("geometry", (GEOMETRY,))
    table = AnsweredTable(
        schema=schema,
        rows=count,
        parts=lambda: (_part(block, schema, with_points=with_points) for block in blocks()),
        coordinates=points if with_points else CoordinateColumns("point", ("lon", "lat")),
        crs=DEFAULT_CRS,
        geometry_column=None,
        geometries={},
    )
    check_writable(path, overwrite=overwrite)
    with storage_errors(path), replacing(path) as partial:
        WRITERS[path.suffix.lower()](partial, table)


def _schema(bands: int, *, with_points: bool) -> pa.Schema:
    fields = [
        pa.field("lon", pa.float64(), nullable=False),
        pa.field("lat", pa.float64(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("col", pa.int32(), nullable=False),
        pa.field(COLUMN, pa.list_(pa.float32(), bands)),
    ]
    return pa.schema([*fields, pa.field(GEOMETRY, pa.binary())] if with_points else fields)


def _part(cells: Cells, schema: pa.Schema, *, with_points: bool) -> pa.Table:
    """Some cells as a table."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(cells.vectors.ravel()), cells.vectors.shape[1])
    columns = [cells.lon, cells.lat, cells.rows, cells.cols, vectors]
    if with_points:
        columns.append(shapely.to_wkb(shapely.points(cells.lon, cells.lat)))
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)
