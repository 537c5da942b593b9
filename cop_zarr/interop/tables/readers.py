"""What is known of a table in a file, whatever the file's format; and which format it has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from cop_zarr.errors import InputError, SourceError, SourceNotFoundError
from cop_zarr.interop.tables.csv import TextSource
from cop_zarr.interop.tables.parquet import ParquetSource
from cop_zarr.interop.tables.vector import VectorSource

FORMATS: dict[str, type[TextSource | ParquetSource | VectorSource]] = {
    ".csv": TextSource,
    ".tsv": TextSource,
    ".parquet": ParquetSource,
    ".geoparquet": ParquetSource,
    ".pq": ParquetSource,
    ".geojson": VectorSource,
    ".json": VectorSource,
    ".geojsonl": VectorSource,
    ".gpkg": VectorSource,
    ".fgb": VectorSource,
    ".shp": VectorSource,
}


class Source(Protocol):
    """A table in a file.

    Attributes
    ----------
    schema : pyarrow.Schema
        Its columns.
    rows : int
        How many rows it has.
    geometry : str or None
        The column that the file says is its geometry, as WKB.
    crs : object or None
        The CRS that the file says its coordinates are in.
    usual_crs : str or None
        The CRS that they are in if nobody says; None if that would be a guess.
    layer : str or None
        Which layer of the file it is, if that has any.
    """

    schema: pa.Schema
    rows: int
    geometry: str | None
    crs: object | None
    usual_crs: str | None
    layer: str | None

    def batches(self, first: int) -> Iterator[pa.RecordBatch]:
        """The rows from one on, a few at a time.

        Raises
        ------
        SourceError
            If the file cannot be read.
        """


def opened(path: Path, layer: str | None = None) -> Source:
    """Open a table by the ending of its name.

    Parameters
    ----------
    path : Path
        A file whose name ends as one of :data:`FORMATS`.
    layer : str, optional
        Which of several layers; for GeoPackages.

    Raises
    ------
    SourceNotFoundError
        If there is no such file.
    SourceError
        If it cannot be read.
    InputError
        If its name ends otherwise, or the layer is not to be told.
    """
    if not path.exists():
        raise SourceNotFoundError(f"there is no file {path}")
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"{path} must end in one of {', '.join(FORMATS)}")
    if not path.is_file():  # a pipe, which can be read but once, or a folder
        raise SourceError(f"{path} is not a file")
    if kind is VectorSource:
        return VectorSource(path, layer)
    if layer is not None:
        raise InputError(f"{path} has no layers; leave --layer (layer=) out")
    return kind(path)


def parts(source: Source, first: int, size: int) -> Iterator[pa.Table]:
    """The rows of a source from one on, so many at a time; the last part may have fewer.

    Raises
    ------
    SourceError
        If it has fewer or more rows than it said.
    """
    seen = first
    for part in _regrouped(source.batches(first), size):
        seen += len(part)
        yield part
    if seen != source.rows:
        raise SourceError(f"the table was changed while it was read: {source.rows:,} rows became {seen:,}")


def _regrouped(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        rest = batch
        while count + len(rest) >= size:
            waiting.append(rest.slice(0, size - count))
            yield pa.Table.from_batches(waiting)
            rest = rest.slice(size - count)
            waiting, count = [], 0
        if len(rest):
            waiting.append(rest)
            count += len(rest)
    if waiting:
        yield pa.Table.from_batches(waiting)
