"""Tables in text files: values with commas, or with tabs, between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from cop_zarr import product
from cop_zarr.errors import SourceError

BLOCK_BYTES = 4 << 20
"""What is parsed at once."""

_PADDED = r"^\s*[+-]?0\d"
"""A number that begins with zeros is a name: ``007``."""


class TextSource:
    """A file of comma- or tab-separated values; attributes as :class:`cop_zarr.tabular.sources.Source`.

    Columns of whole numbers become int64, others of numbers float64; whatever else, and whatever would not
    come back as it is written, stays text. That is found out by going through the file once.
    """

    geometry: str | None = None
    crs: object | None = None
    usual_crs: str | None = product.CRS

    def __init__(self, path: Path) -> None:
        self._path = path
        self._separator = "\t" if path.suffix.lower() == ".tsv" else ","
        self.rows, types = 0, dict[str, list[pa.DataType]]()
        with self._reading(None) as reader:
            names = reader.schema.names
            if len(set(names)) != len(names):
                raise SourceError(f"{path} has several columns of one name: {', '.join(names)}")
            for batch in reader:
                self.rows += len(batch)
                for name, column in zip(names, batch.columns, strict=True):
                    types[name] = [kind for kind in types.get(name, _NUMBERS) if _fits(column, kind)]
        chosen = {name: (types.get(name) or [pa.string()])[0] for name in names}
        self.schema = pa.schema(list(chosen.items()))

    def batches(self, first: int) -> Iterator[pa.RecordBatch]:
        """The rows from one on."""
        left = first
        with self._reading(self.schema) as reader:
            for batch in reader:
                skipped = min(left, len(batch))
                left -= skipped
                yield batch.slice(skipped)

    def _reading(self, schema: pa.Schema | None) -> _Reading:
        return _Reading(self._path, self._separator, schema)


class _Reading:
    """A text file that is being read; Arrow's errors become ours."""

    def __init__(self, path: Path, separator: str, schema: pa.Schema | None) -> None:
        self._path, self._separator, self._schema = path, separator, schema

    def __enter__(self) -> Self:
        parse = csv.ParseOptions(delimiter=self._separator, newlines_in_values=True)
        read = csv.ReadOptions(block_size=BLOCK_BYTES)
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
        except (pa.ArrowInvalid, OSError) as error:
            raise SourceError(f"{self._path} is no table of text: {error}") from error
        self.schema = self._reader.schema
        return self

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._reader
        except (pa.ArrowInvalid, OSError) as error:
            raise SourceError(f"cannot read {self._path}: {error}") from error

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
    return not pc.any(pc.match_substring_regex(column, _PADDED)).as_py()
