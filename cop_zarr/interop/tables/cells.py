"""Write cells as a table: GeoParquet, or a Zarr group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import shapely

from cop_zarr.interop.tables.answered import AnsweredTable
from cop_zarr.interop.tables.checkpoint import storage_errors
from cop_zarr.interop.tables.columns import CoordinateColumns
from cop_zarr.interop.tables.parquet_geometry import DEFAULT_CRS
from cop_zarr.interop.tables.writers import WRITERS
from cop_zarr.outputs.matches import Matches
from cop_zarr.querying.cells import Cells
from cop_zarr.querying.geodataframe import COLUMN
from cop_zarr.storage import replacing

GEOMETRY = "geometry"


def write_cell_table(path: Path, blocks: Callable[[], Iterator[Cells]], count: int, bands: int) -> None:
    """Write ``lon``, ``lat``, ``row``, ``col`` and ``embedding``; and in Parquet, ``geometry``.

    ``blocks`` iterates over all cells, ``count``. Memory is that of a block. What is there is replaced.
    """
    with_points = path.suffix.lower() != ".zarr"
    schema = _schema(bands, with_points=with_points)

    def parts() -> Iterator[pa.Table]:
        return (_part(block, schema, with_points=with_points) for block in blocks())

    _write(path, schema, count, parts)


def write_match_table(path: Path, matches: Matches) -> None:
    """Write the columns of cells and ``score`` as Parquet, the best match first; a file is replaced."""
    schema = _schema(matches.vectors.shape[1], with_points=True)
    cells = Cells(matches.lon, matches.lat, matches.rows, matches.cols, matches.vectors)
    table = _part(cells, schema, with_points=True).append_column("score", pa.array(matches.score))
    _write(path, table.schema, len(matches), lambda: [table])


def _write(path: Path, schema: pa.Schema, count: int, parts: Callable[[], Iterable[pa.Table]]) -> None:
    with_points = GEOMETRY in schema.names
    points = CoordinateColumns("geometry", (GEOMETRY,))
    table = AnsweredTable(
        schema=schema,
        rows=count,
        parts=parts,
        coordinates=points if with_points else CoordinateColumns("point", ("lon", "lat")),
        crs=DEFAULT_CRS,
        geometry_column=None,
        geometries={},
    )
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
