"""Read comma- and tab-separated text files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from cop_zarr.errors import SourceError

BLOCK_BYTES, MAX_BLOCK_BYTES = 4 << 20, 1 << 30
"""Bytes parsed at once. A block must hold a whole row, so it grows for long ones, such as outlines."""

IDENTIFIERS = r"^\s*[+-]?(0\d|\d{16,}\s*$)"
"""Digits that are identifiers: with leading zeros (``007``), or too many for float64."""

NUMBER_TYPES: list[pa.DataType] = [pa.int64(), pa.float64()]


class RowTooLongError(SourceError):
    """A row is longer than a block."""


class CsvReader:
    """A text file of values; see :class:`cop_zarr.interop.tables.readers.TableReader`.

    Columns of integers become int64, of other numbers float64; the rest stays text, and so do identifiers
    (``007``, twenty digits). One pass over the file finds the types.
    """

    has_layers: ClassVar[bool] = False
    geometry_column: str | None = None
    geometry_crs: object | None = None

    def __init__(self, path: Path, layer: str | None = None) -> None:
        self.layer = layer
        self.path = path
        self._delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        self._block_bytes = BLOCK_BYTES
        while True:
            try:
                self.rows, self.schema = self._scan()
            except RowTooLongError:
                if self._block_bytes >= MAX_BLOCK_BYTES:
                    raise
                self._block_bytes *= 4
            else:
                return

    def read(self, first: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows from ``first`` on."""
        to_skip = first
        with self._open(self.schema) as reader:
            for batch in reader:
                skipped = min(to_skip, len(batch))
                to_skip -= skipped
                yield batch.slice(skipped)

    def _scan(self) -> tuple[int, pa.Schema]:
        """Count the rows, and find each column's narrowest type."""
        rows, types = 0, dict[str, list[pa.DataType]]()
        with self._open(None) as reader:
            names = reader.schema.names
            if len(set(names)) != len(names):
                raise SourceError(f"{self.path} has duplicate column names: {', '.join(names)}")
            for batch in reader:
                rows += len(batch)
                for name, column in zip(names, batch.columns, strict=True):
                    types[name] = [each for each in types.get(name, NUMBER_TYPES) if _fits(column, each)]
        return rows, pa.schema([(name, (types.get(name) or [pa.string()])[0]) for name in names])

    @contextmanager
    def _open(self, schema: pa.Schema | None) -> Iterator[csv.CSVStreamingReader]:
        """Open the file with these column types, by default all text."""
        parse = csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True)
        read = csv.ReadOptions(block_size=self._block_bytes)
        try:
            if schema is None:
                with csv.open_csv(self.path, read, parse) as header:
                    schema = pa.schema([(name, pa.string()) for name in header.schema.names])
            convert = csv.ConvertOptions(
                column_types=schema,
                strings_can_be_null=True,
                null_values=[""],
                quoted_strings_can_be_null=False,
            )
            with csv.open_csv(self.path, read, parse, convert) as reader:
                reader.schema.names  # noqa: B018  # raises UnicodeDecodeError if a name is not UTF-8
                yield reader
        except (pa.ArrowInvalid, UnicodeDecodeError, OSError) as error:
            raise self._error(str(error)) from error

    def _error(self, reason: str) -> SourceError:
        if "straddl" in reason:
            return RowTooLongError(
                f"{self.path} has a row of over {self._block_bytes >> 20} MiB; use GeoParquet"
            )
        if "utf" in reason.lower():
            reason += "; it is not UTF-8: convert it, for example with iconv -f latin1 -t utf-8"
        return SourceError(f"cannot read {self.path}: {reason}")


def _fits(column: pa.Array, number_type: pa.DataType) -> bool:
    """Whether every text of a column can be a number of this type without a loss."""
    try:
        numbers = pc.cast(column, number_type)
    except pa.ArrowInvalid:
        return False
    if pa.types.is_integer(number_type):
        return bool(pc.all(pc.equal(pc.cast(numbers, pa.string()), column)).as_py() in {True, None})
    return not pc.any(pc.match_substring_regex(column, IDENTIFIERS)).as_py()
