"""Tables in text files: values with commas, or with tabs, between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from cop_zarr.core import product
from cop_zarr.errors import SourceError

BLOCK_BYTES, MOST_BLOCK_BYTES = 4 << 20, 1 << 30
"""What is parsed at once; more if a row is longer, as the outline of a country may be, up to so much."""

_NAMES = r"^\s*[+-]?(0\d|\d{16,}\s*$)"
"""Numbers that are names: those that begin with zeros, ``007``, and whole ones that no float64 holds."""


class RowTooLongError(SourceError):
    """A row is longer than what is parsed at once."""


class TextSource:
    """A file of comma- or tab-separated values; attributes as :class:`cop_zarr.interop.tables.readers.Source`.

    Columns of whole numbers become int64, others of numbers float64; whatever else stays text, and so do
    numbers that are names (``007``, twenty digits). That is found out by going through the file once.
    """

    layer: str | None = None
    geometry: str | None = None
    crs: object | None = None
    usual_crs: str | None = product.CRS

    def __init__(self, path: Path) -> None:
        self._path = path
        self._separator = "\t" if path.suffix.lower() == ".tsv" else ","
        self._block = BLOCK_BYTES
        while True:
            try:
                self.rows, self.schema = self._looked_through()
            except RowTooLongError:
                if self._block >= MOST_BLOCK_BYTES:
                    raise
                self._block *= 4
            else:
                return

    def _looked_through(self) -> tuple[int, pa.Schema]:
        """How many rows there are, and of which types the columns can be."""
        rows, types = 0, dict[str, list[pa.DataType]]()
        with self._reading(None) as reader:
            names = reader.schema.names
            if len(set(names)) != len(names):
                raise SourceError(f"{self._path} has several columns of one name: {', '.join(names)}")
            for batch in reader:
                rows += len(batch)
                for name, column in zip(names, batch.columns, strict=True):
                    types[name] = [kind for kind in types.get(name, _NUMBERS) if _fits(column, kind)]
        chosen = {name: (types.get(name) or [pa.string()])[0] for name in names}
        return rows, pa.schema(list(chosen.items()))

    def batches(self, first: int) -> Iterator[pa.RecordBatch]:
        """The rows from one on."""
        left = first
        with self._reading(self.schema) as reader:
            for batch in reader:
                skipped = min(left, len(batch))
                left -= skipped
                yield batch.slice(skipped)

    def _reading(self, schema: pa.Schema | None) -> _Reading:
        return _Reading(self._path, self._separator, self._block, schema)


class _Reading:
    """A text file that is being read; Arrow's errors become ours."""

    def __init__(self, path: Path, separator: str, block: int, schema: pa.Schema | None) -> None:
        self._path, self._separator, self._block, self._schema = path, separator, block, schema

    def __enter__(self) -> Self:
        parse = csv.ParseOptions(delimiter=self._separator, newlines_in_values=True)
        read = csv.ReadOptions(block_size=self._block)
        try:
            if self._schema is None:
                with csv.open_csv(self._path, read, parse) as head:
                    self._schema = pa.schema([(name, pa.string()) for name in head.schema.names])
            convert = csv.ConvertOptions(
                column_types=self._schema,
                strings_can_be_null=True,
                null_values=[""],
                quoted_strings_can_be_null=False,
            )
            self._reader = csv.open_csv(self._path, read, parse, convert)
            self.schema: pa.Schema = self._reader.schema
            self.schema.names  # noqa: B018  # which is where a name that is no UTF-8 is found
        except (pa.ArrowInvalid, UnicodeDecodeError, OSError) as error:
            raise self._failure("is no table of text", error) from error
        return self

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._reader
        except (pa.ArrowInvalid, OSError) as error:
            raise self._failure("cannot be read", error) from error

    def _failure(self, what: str, error: Exception) -> SourceError:
        reason = str(error)
        if "straddl" in reason:
            return RowTooLongError(
                f"{self._path} has a row of over {self._block >> 20} MiB; take GeoPackage or GeoParquet"
            )
        if "utf" in reason.lower():
            reason += "; it is not in UTF-8: convert it, for example with iconv -f latin1 -t utf-8"
        return SourceError(f"{self._path} {what}: {reason}")

    def __exit__(self, *_: object) -> None:
        self._reader.close()


_NUMBERS: list[pa.DataType] = [pa.int64(), pa.float64()]


def _fits(column: pa.Array, kind: pa.DataType) -> bool:
    """Whether all texts of a column can be numbers of a type."""
    try:
        numbers = pc.cast(column, kind)
    except pa.ArrowInvalid:
        return False
    if pa.types.is_integer(kind):
        return bool(pc.all(pc.equal(pc.cast(numbers, pa.string()), column)).as_py() in {True, None})
    return not pc.any(pc.match_substring_regex(column, _NAMES)).as_py()
