"""Files of points or regions become files of vectors: ``cop_zarr.batch``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack, get_args

import pyarrow as pa

from cop_zarr.core import product
from cop_zarr.core.progress import Progress
from cop_zarr.errors import InputError
from cop_zarr.interop.tables.columns import Where, find
from cop_zarr.interop.tables.readers import Source, opened
from cop_zarr.interop.tables.rows import Buffer
from cop_zarr.interop.tables.runner import BatchReport, Job, Question
from cop_zarr.interop.tables.writers import ERROR, check_writable
from cop_zarr.querying.geodataframe import COLUMN
from cop_zarr.querying.options import CheckedOptions, QueryOptions, check_word
from cop_zarr.querying.points import Method, check_words
from cop_zarr.regions import PointBuffer, check_same_crs
from cop_zarr.regions.point_buffer import Shape
from cop_zarr.store import Store
from cop_zarr.store import open as open_store


def batch(
    rois: str | os.PathLike[str],
    out: str | os.PathLike[str],
    store: Store | str | os.PathLike[str] | None = None,
    *,
    columns: Sequence[str] | None = None,
    layer: str | None = None,
    buffer_m: float | None = None,
    shape: Shape = "box",
    method: Method = "nearest",
    on_error: str = "raise",
    overwrite: bool = False,
    resume: bool = False,
    client: Any = None,
    progress: Progress | None = None,
    **options: Unpack[QueryOptions],
) -> BatchReport:
    r"""Answer a file of points or regions into a file of vectors.

    Rows that are points get the vector of the cell they lie in (:meth:`Store.sample`), unless ``buffer_m``
    makes regions of them; regions are pooled (:meth:`Store.query_many`). Memory is bounded, and what is
    finished is kept beside the output until all is, so that a run that was killed goes on with ``resume``.

    Parameters
    ----------
    rois : str or path
        A table: ``.geojson``, ``.gpkg``, ``.fgb``, ``.shp``, ``.parquet``, ``.geoparquet``, ``.csv`` or
        ``.tsv``.
    out : str or path
        What to write. ``.parquet``: the table with a column ``embedding``, a fixed-size list of float32;
        GeoParquet, if the table has geometries; ``.geoparquet``: that in any case; ``.zarr``: a
        group of ``embedding`` (row, band) and the columns; ``.npy``: the vectors alone. Rows are in the
        table's order.
    store : Store, str or path, optional
        The store, or where it is; by default as :func:`cop_zarr.open`.
    columns : sequence of str, optional
        The columns that say where rows are, if their names do not: one of WKT or WKB, two (longitude,
        latitude), or four (west, south, east, north).
    layer : str, optional
        Which layer, of a file with several.
    buffer_m : float, optional
        Put a radius around points, in metres on the ground.
    shape : {"box", "circle"}
        What that radius makes.
    method : {"nearest", "bilinear"}
        As :meth:`Store.sample`, for points.
    on_error : {"raise", "nan"}
        What to do with a row without a place, or whose region is refused: stop, or leave it without a
        vector (null, in NumPy and Zarr NaN) and say why in a column ``error``.
    overwrite : bool
        Replace an output that is there, or what an interrupted run has left.
    resume : bool
        Go on with what an interrupted run has left; begin anew if there is nothing.
    client : distributed.Client or str, optional
        A Dask cluster, or its scheduler's address, whose workers do the work.
    progress : callable, optional
        Called with the rows done and the rows in all.
    **options
        pooling, weights, empty, subpixel, repair and year, as :meth:`Store.query` takes them, for regions;
        ``empty`` for points, too; and ``crs``, that of the coordinates: by default what the file says, and
        degrees for text and plain Parquet.

    Returns
    -------
    BatchReport

    Raises
    ------
    SourceNotFoundError, SourceError
        If there is no table, or it cannot be read.
    InputError
        If the columns, the CRS or the layer are not to be told, or an option is not one of those above.
    RegionError
        If a row is refused: its number is named, counted from 0.
    StoreExistsError, StoreBusyError
        If there is such an output, or an unfinished one; or another process is writing it.
    StorageError
        If it cannot be written.
    MissingDependencyError
        If pyarrow or pyogrio is not installed.
    ChunkError, StoreReplacedError, ClusterError
        As :meth:`Store.query_many`.

    Examples
    --------
    >>> import cop_zarr
    >>> from dataclasses import replace
    from pathlib import Path
    >>> _ = Path("places.csv").write_text("name,lon,lat\nMunich,11.5,48.1\nShanghai,121.5,31.2\n")
    >>> cop_zarr.batch("places.csv", "places.parquet", "copernicus.zarr", overwrite=True).rows
    2
    """
    table, target = (
        Path(rois).absolute(),
        Path(out).absolute(),
    )  # whatever folder the caller goes to meanwhile
    checked = CheckedOptions(**options)
    check_word("on_error", on_error, ("raise", "nan"))
    check_word("shape", shape, get_args(Shape))
    check_words(method, checked.empty, on_error)
    if buffer_m is not None:
        PointBuffer(0, 0, buffer_m, shape)  # which refuses what no point could have around it
    if isinstance(columns, str):
        raise InputError(f"columns must be a sequence of names; got {columns!r}: give {columns.split(',')}")
    check_writable(target, overwrite=overwrite)
    source = opened(table, layer)
    if target.exists() and target.samefile(table):
        raise InputError(f"{target} is the table itself, which would be replaced; name another output")
    _refuse_columns(source.schema, target)
    where = find(source.schema.names, source.geometry, columns)
    asked = Question(
        where=where,
        options=replace(checked, crs=_crs(source, where, checked.crs, table)),
        buffer=None if buffer_m is None else Buffer(buffer_m, shape),
        on_error=on_error,
        method=method,
        client=client,
    )
    held = store if isinstance(store, Store) else open_store(store)
    job = Job(table, target, source, held, asked)
    return job.run(overwrite=overwrite, resume=resume, progress=progress)


def _crs(source: Source, where: Where, given: object | None, table: Path) -> object:
    """The CRS of a table's coordinates: the one given, the one of the file's geometries, or degrees."""
    own, usual = source.crs, source.usual_crs
    if where.names != (source.geometry,):  # of other columns the file says nothing
        own, usual = None, product.CRS
    if given is not None and own is not None:
        check_same_crs(given, own)
    crs = next((each for each in (given, own, usual) if each is not None), None)
    if crs is None:
        raise InputError(
            f"{table} does not say which CRS its geometries are in; name it with --crs (crs=), such as "
            "EPSG:4326 for degrees of longitude and latitude"
        )
    return crs


def _refuse_columns(schema: pa.Schema, out: Path) -> None:
    """Refuse columns that the output's own would be confused with, or that it cannot name."""
    names = schema.names
    if out.suffix.lower() == ".zarr":
        for name in names:
            if name in {"", ".", "..", "zarr.json"} or "/" in name or name.startswith("__"):
                raise InputError(
                    f"the column {name!r} cannot be the name of a Zarr array; rename it, or write .parquet"
                )
    several = sorted({name for name in names if names.count(name) > 1})
    taken = [name for name in (COLUMN, ERROR) if name in names]
    if several or taken:
        what = (
            f"several columns {several[0]!r}"
            if several
            else f"a column {taken[0]!r}, which the output adds"
        )
        raise InputError(f"the table has {what}; rename it")
