"""Read text files of values, separated by commas, semicolons, tabs and others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from cop_zarr.errors import SourceError
from cop_zarr.interop.tables.declared import Declared
from cop_zarr.interop.tables.dialect import TextOptions, find_dialect, find_western, is_utf8, open_text
from cop_zarr.interop.tables.row_places import lines_of_csv, on_lines

BLOCK_BYTES, MAX_BLOCK_BYTES = 4 << 20, 1 << 30
"""Bytes parsed at once. A block must hold a whole row, so it grows for long ones, such as outlines."""

IDENTIFIERS = r"^\s*[+-]?(0\d|\d{16,}\s*$)"
"""Digits that are identifiers: with leading zeros (``007``), or too many for float64."""

TAB_AND_LINE_BREAK = r"(?s)\t.*\n|\n.*\t"

NUMBER_TYPES: list[pa.DataType] = [pa.int64(), pa.float64()]


class RowTooLongError(SourceError):
    """A row is longer than a block."""


class NotUtf8Error(SourceError):
    """A file is not UTF-8."""


class CsvReader:
    """A text file of values; see :class:`cop_zarr.interop.tables.readers.TableReader`.

    Columns of integers become int64, of other numbers float64; the rest stays text, and so do identifiers
    (``007``, twenty digits). One pass over the file finds the types.
    """

    has_layers: ClassVar[bool] = False
    geometry_column: str | None = None
    geometries: ClassVar[dict[str, Declared]] = {}

    def __init__(self, path: Path, layer: str | None = None, options: TextOptions | None = None) -> None:
        self.layer = layer
        self.path = path
        options = options or TextOptions()
        try:
            self._set_up(options, options.encoding)
        except NotUtf8Error:
            if options.encoding is not None:
                raise
            with self._errors():
                encoding = find_western(path)
            self._set_up(options, encoding)
        self.decimal, self.dialect = self._dialect.decimal, self._dialect.text

    def read(self, first: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows from ``first`` on."""
        to_skip = first
        with self._open(self.schema) as batches:
            for batch in batches:
                skipped = min(to_skip, len(batch))
                to_skip -= skipped
                yield batch.slice(skipped)

    def places(self, rows: Sequence[int]) -> list[str]:
        """The lines on which rows begin."""
        dialect = self._dialect
        with self._errors(), open_text(self.path, dialect.encoding) as stream:
            return on_lines(lines_of_csv(stream, dialect.separator, dialect.skip_rows), rows)

    def _set_up(self, options: TextOptions, encoding: str | None) -> None:
        with self._errors(is_utf8=options.encoding is None):
            self._dialect = find_dialect(self.path, options, encoding)
        names = self._dialect.names
        if len(set(names)) != len(names):
            raise SourceError(f"{self.path} has duplicate column names: {', '.join(names)}")
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

    def _scan(self) -> tuple[int, pa.Schema]:
        """Count the rows, and find each column's narrowest type."""
        rows, names, last = 0, self._dialect.names, None
        types, empty = dict.fromkeys(names, NUMBER_TYPES), set(self._dialect.unnamed)
        with self._open(pa.schema([(name, pa.string()) for name in names])) as batches:
            for batch in batches:
                rows, last = rows + len(batch), batch
                for name, column in zip(names, batch.columns, strict=True):
                    self._check_quotes(name, column)
                    types[name] = [
                        each for each in types[name] if _fits(column, each, self._dialect.decimal)
                    ]
                    if column.null_count < len(column):
                        empty.discard(name)
        self._check_last_quote(last)
        return rows, pa.schema(
            [(name, (types[name] or [pa.string()])[0]) for name in names if name not in empty]
        )

    @contextmanager
    def _open(self, schema: pa.Schema) -> Iterator[Iterable[pa.RecordBatch]]:
        """Open the file with the columns and types of a schema."""
        dialect = self._dialect
        if not dialect.has_rows:  # pyarrow wants at least one line after the header
            yield ()
            return
        read = csv.ReadOptions(
            block_size=self._block_bytes,
            column_names=dialect.names,
            skip_rows_after_names=dialect.skip_rows,
        )
        parse = csv.ParseOptions(delimiter=dialect.separator, newlines_in_values=True)
        convert = csv.ConvertOptions(
            column_types=schema,
            include_columns=schema.names,
            strings_can_be_null=True,
            null_values=[""],
            quoted_strings_can_be_null=False,
            decimal_point=dialect.decimal,
        )
        with (
            self._errors(is_utf8=is_utf8(dialect.encoding)),
            open_text(self.path, dialect.encoding) as stream,
            csv.open_csv(stream, read, parse, convert) as reader,
        ):
            yield reader

    def _check_quotes(self, name: str, column: pa.Array) -> None:
        """Check that no quote takes in the lines after it: many programs write tabs without quoting."""
        if self._dialect.separator == "\t":
            swallowed = pc.filter(column, pc.match_substring_regex(column, TAB_AND_LINE_BREAK))
            if len(swallowed):
                raise SourceError(
                    f'{self.path} has a value of several lines and tabs in {name!r}, so a quote (") is not '
                    f"closed: {swallowed[0].as_py()[:60]!r}; remove the quotes, for example with tr -d '\"'"
                )

    def _check_last_quote(self, batch: pa.RecordBatch | None) -> None:
        """Check that no quote takes in all lines to the end of the file."""
        last = batch.slice(len(batch) - 1).to_pylist() if batch else []
        if not any("\n" in (value or "") for row in last for value in row.values()):
            return
        quotes = 0
        with open_text(self.path, self._dialect.encoding) as stream:
            while block := stream.read(1 << 20):
                quotes += block.count(b'"')
        if quotes % 2:
            raise SourceError(f'{self.path} has a quote (") that is not closed, in or before its last row')

    @contextmanager
    def _errors(self, *, is_utf8: bool = False) -> Iterator[None]:
        """Convert errors of pyarrow and of decoding to SourceError."""
        try:
            yield
        except SourceError:
            raise
        except (pa.ArrowInvalid, UnicodeError, OSError) as error:
            raise self._error(str(error), is_utf8=is_utf8) from error

    def _error(self, reason: str, *, is_utf8: bool) -> SourceError:
        if "straddl" in reason:
            return RowTooLongError(
                f'{self.path} has a row of over {self._block_bytes >> 20} MiB, or a quote (") that is not '
                "closed; for long rows, use GeoParquet"
            )
        if is_utf8 and "utf" in reason.lower():
            return NotUtf8Error(f"cannot read {self.path}: {reason}; another encoding= may")
        return SourceError(f"cannot read {self.path}: {reason.strip()}")


def _fits(column: pa.Array, number_type: pa.DataType, decimal: str) -> bool:
    """Whether every text of a column can be a number of this type without a loss."""
    if decimal != "." and pa.types.is_floating(number_type):
        if pc.any(pc.match_substring(column, ".")).as_py():
            return False
        column = pc.replace_substring(column, decimal, ".")
    try:
        numbers = pc.cast(column, number_type)
    except pa.ArrowInvalid:
        return False
    if pa.types.is_integer(number_type):
        return bool(pc.all(pc.equal(pc.cast(numbers, pa.string()), column)).as_py() in {True, None})
    return not pc.any(pc.match_substring_regex(column, IDENTIFIERS)).as_py()
