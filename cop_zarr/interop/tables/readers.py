"""Read tables: one protocol for all formats, and the reader of each file ending.

To add a format, write a class like those in ``csv``, ``parquet`` and ``vector``, and a line in ``READERS``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

import pyarrow as pa

from cop_zarr.errors import InputError, SourceError, SourceNotFoundError
from cop_zarr.interop.tables.csv import CsvReader
from cop_zarr.interop.tables.declared import Declared
from cop_zarr.interop.tables.dialect import TextOptions
from cop_zarr.interop.tables.parquet import ParquetReader
from cop_zarr.interop.tables.vector import ENDINGS as VECTOR_ENDINGS
from cop_zarr.interop.tables.vector import VectorReader


class TableReader(Protocol):
    """A table in a file; creating one raises SourceError if the file cannot be read."""

    has_layers: ClassVar[bool]
    """Whether a file of this format may hold several tables."""
    path: Path
    layer: str | None
    """The layer that is read, and where."""
    schema: pa.Schema
    rows: int
    geometry_column: str | None
    """The column that the file declares as its geometry."""

    @property
    def geometries(self) -> dict[str, Declared]:
        """Every column of WKB or WKT that the file declares as geometries."""

    decimal: str
    """The decimal mark of numbers that are text."""
    dialect: str | None
    """How a file of text is written, in words, unless it is a plain CSV."""

    def __init__(self, path: Path, layer: str | None = None) -> None: ...

    def read(self, first: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows from ``first`` on, some thousands at a time; raises SourceError."""

    def places(self, rows: Sequence[int]) -> list[str]:
        """Where rows are in the file, in words: "line 3"."""


READERS: dict[str, type[TableReader]] = {
    ".csv": CsvReader,
    ".tsv": CsvReader,
    ".txt": CsvReader,
    ".csv.gz": CsvReader,
    ".tsv.gz": CsvReader,
    ".txt.gz": CsvReader,
    ".parquet": ParquetReader,
    ".geoparquet": ParquetReader,
    ".pq": ParquetReader,
    **dict.fromkeys(VECTOR_ENDINGS, VectorReader),
}

ADVICE = {
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), "; save the sheet as CSV UTF-8"),
    **dict.fromkeys((".feather", ".arrow"), "; write the table as Parquet"),
    **dict.fromkeys((".dbf", ".shx", ".prj", ".cpg"), "; of a Shapefile, name the .shp"),
}
"""What to do with other files."""


def open_table(path: Path, layer: str | None = None, text: TextOptions | None = None) -> TableReader:
    """Open a table with the reader of its ending; ``text`` says how a file of text is written."""
    if not path.exists():
        raise SourceNotFoundError(f"there is no file {path}")
    ending = max((each for each in READERS if path.name.lower().endswith(each)), key=len, default=None)
    if ending is None:
        advice = ADVICE.get(path.suffix.lower(), "")
        raise InputError(f"{path} must end in one of {', '.join(READERS)}{advice}")
    if not (path.is_file() or (path.is_dir() and ending == ".gdb")):  # a pipe can be read only once
        raise SourceError(f"{path} is not a file")
    reader = READERS[ending]
    if layer is not None and not reader.has_layers:
        raise InputError(f"{path} has no layers; omit layer=")
    if reader is CsvReader:
        return CsvReader(path, options=text)
    if text is not None and text.given():
        options = " and ".join(f"{name}=" for name in text.given())
        raise InputError(f"{path} is not a file of text values; omit {options}")
    return reader(path, layer)


def iter_parts(table: TableReader, first: int, size: int) -> Iterator[pa.Table]:
    """Yield the rows from ``first`` on in parts of ``size``; the last part may be smaller."""
    seen, rest = first, pa.Table.from_batches([], table.schema)
    for batch in table.read(first):
        seen += len(batch)
        rest = pa.concat_tables([rest, pa.Table.from_batches([batch])])
        while len(rest) >= size:
            yield rest.slice(0, size)
            rest = rest.slice(size)
    if len(rest):
        yield rest
    if seen != table.rows:
        raise SourceError(f"the table changed while it was read, from {table.rows:,} rows to {seen:,}")
