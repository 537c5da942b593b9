"""Files of points or regions become files of vectors: ``cop_zarr.batch``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Unpack

import pyarrow as pa
import shapely

from cop_zarr.core import product
from cop_zarr.core.progress import Progress
from cop_zarr.core.progress_bar import progress_bar
from cop_zarr.errors import InputError, RegionError
from cop_zarr.interop.tables.answered import ERROR_COLUMN
from cop_zarr.interop.tables.columns import CoordinateColumns, find_coordinates
from cop_zarr.interop.tables.declared import Declared
from cop_zarr.interop.tables.geometry_text import UNKNOWN_SRID, srid_crs
from cop_zarr.interop.tables.readers import TableReader, open_table
from cop_zarr.interop.tables.rows import RowErrors, parse_geometries
from cop_zarr.interop.tables.runner import Batch, BatchReport, CheckedBatchOptions
from cop_zarr.interop.tables.writers import check_writable
from cop_zarr.querying.geodataframe import COLUMN
from cop_zarr.querying.options import QueryOptions
from cop_zarr.querying.points import Method
from cop_zarr.regions import check_crs, check_same_crs
from cop_zarr.regions.point_buffer import Shape
from cop_zarr.storage import expanded
from cop_zarr.store import Store
from cop_zarr.store import open as open_store


class BatchOptions(QueryOptions, total=False):
    """Keywords of :func:`batch` that say how a table is read and answered."""

    columns: Sequence[str] | None
    layer: str | None
    separator: str | None
    decimal: str | None
    encoding: str | None
    buffer_m: float | None
    shape: Shape
    method: Method
    on_error: Literal["raise", "nan"]
    client: Any


def batch(
    rois: str | os.PathLike[str],
    out: str | os.PathLike[str],
    store: Store | str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | bool | None = None,
    **options: Unpack[BatchOptions],
) -> BatchReport:
    r"""Read a file of points or regions, and write a file with a vector for each row.

    Points get the vector of the cell they lie in (:meth:`Store.sample`), unless ``buffer_m`` makes regions
    of them; regions are pooled (:meth:`Store.query_many`). Memory is bounded. Finished parts are kept
    beside the output until it is complete, so that ``resume`` can continue a batch that was interrupted.

    Parameters
    ----------
    rois : str or path
        A table: ``.geojson``, GeoJSON lines (``.geojsonl``, ``.geojsons``, ``.ndjson``), ``.gpkg``,
        ``.fgb``, ``.shp``, ``.gdb``, ``.kml``, ``.kmz``, or one of these in a ``.zip``; ``.parquet``,
        ``.geoparquet``; or text: ``.csv``, ``.tsv``, ``.txt``, and each of these with ``.gz``.
    out : str or path
        The file to write, its rows in the table's order. ``.parquet``: the table with a column
        ``embedding``, a fixed-size list of float32; GeoParquet, if the table has geometries.
        ``.geoparquet``: that in any case. ``.zarr``: a group of ``embedding`` (row, band) and the columns.
        ``.npy``: the vectors alone.
    store : Store, str or path, optional
        An open store, or its path or URL; by default as :func:`cop_zarr.open`.
    overwrite : bool
        Replace an output that exists, and discard the parts of an interrupted batch.
    resume : bool
        Continue an interrupted batch; start from the beginning if there is none.
    progress : callable or bool, optional
        True shows a bar. A function is called with the rows done and the rows in all.
    columns : sequence of str, optional
        The columns that hold the coordinates, if their names are not recognised: one of WKT, WKB or
        GeoJSON, two (longitude, latitude), or four (west, south, east, north).
    layer : str, optional
        Which layer of a file with several, or which file in a ZIP file with several.
    separator, decimal, encoding : str, optional
        How a file of text is written, if it is not recognised: the character between values, or ``"tab"``;
        ``"."`` or ``","``; the name of an encoding, such as ``"cp1252"``.
    crs : str, int or pyproj.CRS, optional
        The CRS of the coordinates; by default the one the file declares, and degrees for text, GeoJSON
        and Parquet without one.
    buffer_m : float, optional
        Radius around points, in metres on the ground.
    shape : {"box", "circle"}
        The region that the radius makes of a point.
    method : {"nearest", "bilinear"}
        As :meth:`Store.sample`, for points.
    pooling, weights, empty, subpixel, repair, year
        As :meth:`Store.query`, for regions; ``empty`` for points, too.
    on_error : {"raise", "nan"}
        What to do with a row without coordinates, or whose region is refused: raise, or give it no vector
        (null; NaN in NumPy and Zarr) and the reason in a column ``error``.
    client : distributed.Client or str, optional
        A Dask cluster, or its scheduler's address, to compute on.

    Returns
    -------
    BatchReport

    Raises
    ------
    SourceNotFoundError, SourceError
        If there is no table, or it cannot be read.
    InputError
        If the columns, the CRS or the layer are missing or ambiguous, or an option is invalid.
    RegionError
        If a row is refused: its line in a file of text is named, or its number, counted from 1.
    StoreExistsError, StoreBusyError
        If the output or an unfinished one exists; or another process is writing it.
    StorageError
        If it cannot be written.
    MissingDependencyError
        If pyarrow or pyogrio is not installed.
    ChunkError, StoreReplacedError, ClusterError
        As :meth:`Store.query_many`.

    Examples
    --------
    >>> import cop_zarr
    >>> from pathlib import Path
    >>> _ = Path("places.csv").write_text("name,lon,lat\nMunich,11.5,48.1\nShanghai,121.5,31.2\n")
    >>> cop_zarr.batch("places.csv", "places.parquet", overwrite=True).rows
    2
    """
    _check_paths(rois, out)
    path, target = expanded(rois).absolute(), expanded(out).absolute()  # the working directory may change
    checked = CheckedBatchOptions(**options)
    check_writable(target, overwrite=overwrite)
    reader = open_table(path, checked.layer, checked.text_options)
    if target.exists() and target.samefile(path):
        raise InputError(f"{target} is the table itself, and would be replaced; name another output")
    _check_columns(reader.schema, target)
    primary = [reader.geometry_column] if reader.geometry_column else list(reader.geometries)
    coordinates = find_coordinates(reader.schema.names, primary, checked.columns)
    declared = reader.geometries.get(coordinates.names[0]) if coordinates.kind == "geometry" else None
    edges = declared.edges if declared else "planar"
    coordinates = replace(coordinates, decimal=reader.decimal, edges=edges)
    crs = _coordinate_crs(reader, coordinates, declared, checked.crs)
    opened = store if isinstance(store, Store) else open_store(store)
    for_rows = replace(checked, crs=crs, columns=None, layer=None, client=None)
    job = Batch(reader, target, opened, coordinates, for_rows)
    with progress_bar(progress, "batch", "row") as advance:
        return job.run(overwrite=overwrite, resume=resume, client=checked.client, progress=advance)


def _check_paths(rois: object, out: object) -> None:
    """Check that both are files, and name the methods for what is in memory."""
    if not isinstance(rois, str | os.PathLike):
        raise InputError(
            f"rois must be the path of a file; got {type(rois).__name__}. For regions in memory there is "
            "store.query_many(regions), for points store.sample(points); a GeoDataFrame gets a column "
            f"{COLUMN!r} from both"
        )
    if not isinstance(out, str | os.PathLike):
        raise InputError(
            f"out must be the path of the file to write; got {type(out).__name__}. The order is "
            "batch(rois, out, store)"
        )


def _coordinate_crs(
    reader: TableReader, coordinates: CoordinateColumns, declared: Declared | None, given: object | None
) -> object:
    """The CRS of a table's coordinates: the one given, the one declared for its geometries, or degrees."""
    if given is not None:
        if declared is not None and declared.crs is not None and not declared.is_default:
            check_same_crs(given, declared.crs)
        return given
    if declared is None:
        stated = _first_crs(reader, *coordinates.names) if coordinates.kind == "geometry" else None
        return product.CRS if stated is None else stated
    if declared.crs is None:
        raise InputError(
            f"{reader.path} declares no CRS for its geometries; name it with crs=, such as "
            "EPSG:4326 for degrees of longitude and latitude"
        )
    try:
        check_crs(declared.crs)
    except RegionError as error:
        raise InputError(
            f"{reader.path} declares a CRS that cannot be used: {error}; if its coordinates are in "
            "another, name that with crs="
        ) from error
    return declared.crs


def _first_crs(reader: TableReader, column: str) -> str | None:
    """The CRS that the first rows of a column name, as EWKT does; None if they name none."""
    for batch in reader.read(0):
        srids = shapely.get_srid(parse_geometries(pa.Table.from_batches([batch]), column, RowErrors()))
        return next((srid_crs(srid) for srid in srids.tolist() if 0 < srid < UNKNOWN_SRID), None)
    return None


def _check_columns(schema: pa.Schema, out: Path) -> None:
    """Check that the column names are unique, differ from the output's own, and suit its format."""
    names = schema.names
    for name in names:
        invalid = name in {"", ".", "..", "zarr.json"} or "/" in name or name.startswith("__")
        if out.suffix.lower() == ".zarr" and invalid:
            raise InputError(
                f"the column {name!r} cannot be the name of a Zarr array; rename it, or write .parquet"
            )
        if names.count(name) > 1:
            raise InputError(f"the table has several columns {name!r}; rename them")
        if name in {COLUMN, ERROR_COLUMN}:
            raise InputError(f"the table has a column {name!r}, which the output adds; rename it")
