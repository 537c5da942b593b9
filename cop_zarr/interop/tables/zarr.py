"""Write Zarr groups."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
import zarr

from cop_zarr.interop.tables.answered import AnsweredTable, iter_vectors
from cop_zarr.interop.tables.columns import is_binary
from cop_zarr.interop.tables.geometries import parse
from cop_zarr.querying.geodataframe import COLUMN

VECTOR_CHUNK_BYTES = 4 << 20

MAX_CHUNK_ROWS = 16_384

MARK = "cop_zarr_batch"
"""An attribute of our groups: no other group is replaced."""


def is_batch_group(path: Path) -> bool:
    """Whether a folder is a Zarr group written by a batch."""
    try:
        return MARK in json.loads((path / "zarr.json").read_bytes())["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_zarr(path: Path, table: AnsweredTable) -> None:
    """Write a group of ``embedding`` (row, band) and each column (row); geometries become WKT."""
    group = zarr.create_group(str(path), zarr_format=3, attributes={MARK: 1})
    bands = table.bands
    chunk_rows = max(1, min(table.rows, MAX_CHUNK_ROWS, VECTOR_CHUNK_BYTES // (4 * bands)))
    embedding = group.create_array(
        COLUMN,
        shape=(table.rows, bands),
        chunks=(chunk_rows, bands),
        dtype="float32",
        fill_value=np.nan,
        dimension_names=("row", "band"),
        attributes={"long_name": "Copernicus-FM embedding", "units": "1"},
    )
    types = {field.name: _zarr_type(field, table) for field in table.schema if field.name != COLUMN}
    with warnings.catch_warnings():
        # neither text nor consolidated metadata is in the core of Zarr v3 yet; xarray reads both
        warnings.filterwarnings("ignore", "Consolidated metadata|The codec `vlen-utf8`", UserWarning)
        columns = {
            name: group.create_array(
                name,
                shape=(table.rows,),
                chunks=(max(1, min(table.rows, MAX_CHUNK_ROWS)),),
                dtype=dtype,
                dimension_names=("row",),
            )
            for name, dtype in types.items()
        }
        zarr.consolidate_metadata(group.store)
    wkb_columns = {*table.geometries, *table.coordinates.names}  # those of them that are binary
    first = 0
    for part in table.parts():
        for name, array in columns.items():
            values = _values(part.column(name), types[name], is_wkb=name in wkb_columns)
            array[first : first + len(part)] = values
        for vectors in iter_vectors(part):
            embedding[first : first + len(vectors)] = vectors
            first += len(vectors)


def _zarr_type(field: pa.Field, table: AnsweredTable) -> Any:
    """The data type of a column's array; text if it has nulls that no number can stand for."""
    kind = field.type
    if pa.types.is_floating(kind):
        return _numpy_type(kind)
    if not (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        return str
    if not (field.nullable and any(part.column(field.name).null_count for part in table.parts())):
        return _numpy_type(kind)
    return np.float64 if pa.types.is_integer(kind) and _fits_float64(field.name, table) else str


def _numpy_type(kind: pa.DataType) -> Any:
    """NumPy's type for numbers or bools; ``to_pandas_dtype`` needs pandas in pyarrow before 24."""
    return pa.array([], kind).to_numpy(zero_copy_only=False).dtype


def _fits_float64(name: str, table: AnsweredTable) -> bool:
    """Whether float64 holds all integers of a column."""
    ranges = [pc.min_max(part.column(name)).as_py() for part in table.parts()]
    return all(max(abs(each["min"] or 0), abs(each["max"] or 0)) <= 2**53 for each in ranges)


def _values(column: pa.ChunkedArray, dtype: Any, *, is_wkb: bool) -> np.ndarray:
    if dtype is not str:
        return np.asarray(column.to_numpy(), dtype)
    values = np.full(len(column), None, object)
    values[:] = column.to_pylist()
    if is_wkb and is_binary(column.type):
        shapes, _ = parse(values)
        values = np.where(shapely.is_missing(shapes), values, shapely.to_wkt(shapes, rounding_precision=-1))
    return np.array([_text(value) for value in values], object)


def _text(value: Any) -> str:
    """A value as text: bytes in hexadecimal, null as an empty text."""
    return "" if value is None else value.hex() if isinstance(value, bytes) else str(value)
