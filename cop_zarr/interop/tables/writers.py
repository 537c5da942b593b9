"""Finished parts become one file: Parquet, GeoParquet, Zarr or NumPy, by its name."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
import zarr
from pyproj import CRS

from cop_zarr.errors import InputError, StorageError, StoreExistsError
from cop_zarr.interop.tables.columns import Where
from cop_zarr.interop.tables.parquet import CRS84, GEO
from cop_zarr.interop.tables.rows import geometries
from cop_zarr.querying.geodataframe import COLUMN
from cop_zarr.storage import check_absent

ERROR = "error"
"""The column that says why a row has no vector; where rows may lack one."""

PARQUET: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "column_encoding": {f"{COLUMN}.list.element": "BYTE_STREAM_SPLIT"},
}
"""The stand-in's vectors take 0.85 of their size so, and 0.93 without splitting bytes: docs/batch.md."""

ROWS_AT_ONCE = 16_384
"""Rows of a row group of Parquet: 50 MB of 768 bands. And of a chunk of Zarr, if bands are few."""

ZARR_CHUNK_BYTES = 4 << 20
"""Size of a chunk of vectors."""

MARK = "cop_zarr_batch"
"""The attribute that tells a Zarr group of ours from one that must not be replaced."""


Parts = Callable[[], Iterable[pa.Table]]
"""Gives all parts, in order, each time it is called."""


class Output:
    """What a batch becomes.

    Parameters
    ----------
    path : Path
        Its name says how it is written.
    where : Where
        The columns that say where the rows are.
    crs : object
        What their coordinates are in.
    geometry : str or None
        The column that the table says is its geometry, whether it was asked or not.
    geometry_crs : object or None
        What that is in, if the table says so.
    """

    def __init__(
        self, path: Path, where: Where, crs: object, geometry: str | None, geometry_crs: object | None
    ) -> None:
        self._path, self._where, self._crs = path, where, crs
        self._asked = where.names == (geometry,)
        self._geometry, self._geometry_crs = geometry, crs if self._asked else geometry_crs
        self._write = WRITERS[path.suffix.lower()]

    def write(self, result: Path, parts: Parts, schema: pa.Schema, rows: int) -> None:
        """Write parts, in order, as one file, or for Zarr as a folder."""
        self._write(self, result, parts, schema, rows)

    def parquet(self, result: Path, parts: Parts, schema: pa.Schema, rows: int) -> None:  # noqa: ARG002  # as the others
        """Parquet; with GeoParquet's metadata if there is a column of geometries."""
        column = self._geometry_column(schema)
        added = column is not None and column not in schema.names
        if added:
            schema = schema.append(pa.field(column, pa.binary()))
        metadata = {} if column is None else {GEO: json.dumps(self._geo(column)).encode()}
        others = [name for name in schema.names if name != COLUMN]
        with pq.ParquetWriter(
            result, schema.with_metadata(metadata), use_dictionary=others, **PARQUET
        ) as writer:
            for part in parts():
                rows_here = part
                if added:
                    shapes = geometries(part, self._where, self._crs)
                    rows_here = part.append_column(column, pa.array(shapely.to_wkb(shapes), pa.binary()))
                elif column is not None:
                    rows_here = _readable(part, column)
                writer.write_table(rows_here.replace_schema_metadata(metadata), ROWS_AT_ONCE)

    def numpy(self, result: Path, parts: Parts, schema: pa.Schema, rows: int) -> None:
        """NumPy's own format: the vectors alone, NaN for rows without one."""
        bands = schema.field(COLUMN).type.list_size
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, bands)}
        with result.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for part in parts():
                for vectors in _vectors(part):
                    vectors.astype("<f4", copy=False).tofile(file)

    def zarr(self, result: Path, parts: Parts, schema: pa.Schema, rows: int) -> None:
        """A Zarr group: ``embedding`` (row, band), and the columns, (row)."""
        bands = schema.field(COLUMN).type.list_size
        group = zarr.create_group(str(result), zarr_format=3, attributes={MARK: 1})
        step = max(1, min(rows or 1, ROWS_AT_ONCE, ZARR_CHUNK_BYTES // (4 * bands)))
        target = group.create_array(
            COLUMN,
            shape=(rows, bands),
            chunks=(step, bands),
            dtype="float32",
            fill_value=np.nan,
            dimension_names=("row", "band"),
            attributes={"long_name": "Copernicus-FM embedding", "units": "1"},
        )
        with warnings.catch_warnings():
            # neither text nor consolidated metadata is in the core of Zarr v3 yet; xarray reads both
            warnings.filterwarnings("ignore", "Consolidated metadata|The codec `vlen-utf8`", UserWarning)
            columns = {
                name: _column(group, schema.field(name), rows, parts, name in self._wkb())
                for name in schema.names
                if name != COLUMN
            }
            zarr.consolidate_metadata(group.store)
        first = 0
        for part in parts():
            stop = first + len(part)
            for vectors in _vectors(part):
                target[first : first + len(vectors)] = vectors
                first += len(vectors)
            for name, (array, values) in columns.items():
                array[stop - len(part) : stop] = values(part.column(name))

    def _wkb(self) -> set[str | None]:
        """The columns that hold geometries, if they are binary."""
        return {self._geometry, self._where.names[0] if self._where.kind == "geometry" else None}

    def _geometry_column(self, schema: pa.Schema) -> str | None:
        """The column of geometries in Parquet: the table's own, a new one if that is asked for, or none."""
        name = self._where.names[0]
        if self._where.kind == "geometry" and _is_binary(schema.field(name).type):
            return name
        if self._geometry is not None:
            return self._geometry
        if self._path.suffix.lower() != ".geoparquet":
            return None
        return next(name for name in ("geometry", "geom", "cop_zarr_geometry") if name not in schema.names)

    def _geo(self, column: str) -> dict[str, Any]:
        """GeoParquet's metadata, version 1.1.0; a column that names no CRS is in OGC:CRS84."""
        given = self._geometry_crs if column == self._geometry else self._crs
        crs = None if given is None else CRS.from_user_input(given)
        described: dict[str, Any] = {"encoding": "WKB", "geometry_types": []}
        if crs != CRS.from_user_input(CRS84):
            described["crs"] = crs and crs.to_json_dict()
        return {"version": "1.1.0", "primary_column": column, "columns": {column: described}}


WRITERS: dict[str, Callable[..., None]] = {
    ".parquet": Output.parquet,
    ".geoparquet": Output.parquet,
    ".zarr": Output.zarr,
    ".npy": Output.numpy,
}


def check_writable(path: Path, *, overwrite: bool) -> None:
    """Refuse an output whose kind is unknown, that exists, or that has no folder to be in.

    Raises
    ------
    InputError
        If the name ends in none of the known ways.
    StoreExistsError
        If it exists, and ``overwrite`` is not set; or is not what this name stands for.
    StorageError
        If there is no such folder.
    """
    if path.suffix.lower() not in WRITERS:
        raise InputError(f"{path} must end in one of {', '.join(WRITERS)}")
    if not path.absolute().parent.is_dir():
        raise StorageError(f"there is no folder {path.parent}; make it first")
    check_absent(path, overwrite=overwrite)
    folder = path.suffix.lower() == ".zarr"
    if path.exists() and (path.is_dir() != folder or (folder and not _is_ours(path))):
        raise StoreExistsError(f"{path} is something else than a batch's output; name another output")


def _is_ours(path: Path) -> bool:
    """Whether a folder is a Zarr group that a batch wrote."""
    try:
        return MARK in json.loads((path / "zarr.json").read_bytes())["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _vectors(part: pa.Table) -> Iterator[np.ndarray]:
    """The vectors of a part: float32, ``(rows, bands)``, NaN where there is none."""
    for chunk in part.column(COLUMN).chunks:
        bands = chunk.type.list_size
        values = chunk.values.to_numpy().reshape(-1, bands)
        yield values[chunk.offset : chunk.offset + len(chunk)]


def _readable(part: pa.Table, column: str) -> pa.Table:
    """A part whose geometries can all be read; those that cannot become null, and "error" quotes them."""
    given = np.array([*part.column(column).to_pylist(), None], object)[:-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of shapely, for those
        bad = shapely.is_missing(shapely.from_wkb(given, on_invalid="ignore"))
    if not bad.any():
        return part
    given[bad] = None
    place = part.schema.get_field_index(column)
    return part.set_column(place, column, pa.array(given, part.schema.field(column).type))


def _column(
    group: zarr.Group, field: pa.Field, rows: int, parts: Parts, wkb: bool
) -> tuple[zarr.Array[Any], Callable[[pa.ChunkedArray], np.ndarray]]:
    """An array for a column of the table, and what makes its values: numbers, or text."""
    kind = field.type
    nulls = sum(part.column(field.name).null_count for part in parts())
    if pa.types.is_floating(kind) or (pa.types.is_integer(kind) and not nulls):
        dtype: Any = kind.to_pandas_dtype()
        values: Callable[[pa.ChunkedArray], np.ndarray] = partial(_numbers, dtype=dtype)
    elif pa.types.is_integer(kind) and _fit_floats(field.name, parts):  # no whole number is missing
        dtype, values = np.float64, partial(_numbers, dtype=np.float64)
    elif pa.types.is_boolean(kind) and not nulls:
        dtype, values = np.bool_, partial(_numbers, dtype=np.bool_)
    else:
        dtype, values = str, partial(_texts, wkb=wkb)
    array = group.create_array(
        field.name,
        shape=(rows,),
        chunks=(max(1, min(rows, ROWS_AT_ONCE)),),
        dtype=dtype,
        dimension_names=("row",),
    )
    return array, values


def _numbers(column: pa.ChunkedArray, dtype: Any) -> np.ndarray:
    return np.asarray(column.to_numpy(), dtype)


def _fit_floats(name: str, parts: Parts) -> bool:
    """Whether float64 holds all whole numbers of a column."""
    ranges = [pc.min_max(part.column(name)).as_py() for part in parts()]
    return all(max(abs(each["min"] or 0), abs(each["max"] or 0)) <= 2**53 for each in ranges)


def _texts(column: pa.ChunkedArray, wkb: bool) -> np.ndarray:
    """A column as text: geometries as WKT, other bytes in hexadecimal, what is missing as an empty text."""
    return np.array([_text(value, wkb) for value in column.to_pylist()], object)


def _text(value: Any, wkb: bool) -> str:
    if value is None:
        return ""
    if not isinstance(value, bytes):
        return str(value)
    shape = shapely.from_wkb(value, on_invalid="ignore") if wkb else None
    return value.hex() if shape is None else shapely.to_wkt(shape, rounding_precision=-1)
