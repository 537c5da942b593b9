"""How a file of text is written: its encoding, separator, header and decimal mark."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from cop_zarr.errors import InputError, SourceError
from cop_zarr.interop.tables.columns import known_columns
from cop_zarr.interop.tables.decimal_mark import find_decimal_mark, is_number

SAMPLE_BYTES = 256 << 10
"""Of the start of a file, from which its dialect is found."""

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}

GZIP = b"\x1f\x8b"

BOMS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"} | {
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""UTF-32's first: it begins as UTF-16's does."""

WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How ZIP files (.xlsx, .ods) and Excel's old workbooks begin."""

NOT_WESTERN = re.compile(
    rb"[^\x00-\x7f\xa0\xa7\xab\xb0\xb2\xb5\xb7\xbb-\xbe\xc0-\xcf\xd1-\xdc\xdf-\xef\xf1-\xfc\xff]"
)
"""Bytes that Western European text seldom has in Latin-1, and other encodings often do."""


@dataclass(frozen=True)
class Dialect:
    """Of one file."""

    encoding: str
    separator: str
    decimal: str
    names: tuple[str, ...]
    """Of all columns; those without a name in the header are called ``column_3``, by position."""
    unnamed: frozenset[str]
    has_rows: bool
    skip_rows: int
    """Rows before the first of values."""

    @property
    def text(self) -> str | None:
        """What is unusual about it, in words."""
        separator = f"separated by {SEPARATORS.get(self.separator, repr(self.separator))}"
        words = [separator] if self.separator != "," and len(self.names) > 1 else []
        words += ["decimal commas"] if self.decimal == "," else []
        words += [f"encoded as {self.encoding}"] if not is_utf8(self.encoding) else []
        return ", ".join(words) or None


@dataclass(frozen=True)
class TextOptions:
    """What is known of a file's dialect; what is None is found."""

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        if self.separator is not None and (len(self.separator) != 1 or self.separator in '"\r\n'):
            raise InputError(f"separator must be one character, or tab; got {self.separator!r}")
        if self.decimal not in {None, ".", ","}:
            raise InputError(f"decimal must be a point or a comma; got {self.decimal!r}")
        try:
            "x".encode(self.encoding or "utf-8")
        except (LookupError, UnicodeError) as error:
            raise InputError(
                f"encoding must be one that Python knows, such as cp1252 or gbk: {error}"
            ) from error

    def given(self) -> list[str]:
        """The names of those that are given."""
        return [name for name, value in vars(self).items() if value is not None]


def is_utf8(encoding: str) -> bool:
    """Whether a name is one of UTF-8's, which pyarrow reads as it is."""
    return codecs.lookup(encoding).name == "utf-8"


def open_text(path: Path, encoding: str) -> pa.NativeFile:
    """Open a file of text, perhaps compressed by gzip, as a stream of UTF-8."""
    with path.open("rb") as file:
        compression = "gzip" if file.read(2) == GZIP else None
    stream = pa.input_stream(str(path), compression=compression)
    return stream if is_utf8(encoding) else pa.transcoding_input_stream(stream, encoding, "utf-8")


def find_dialect(path: Path, options: TextOptions, encoding: str | None) -> Dialect:
    """Find the dialect from the start of a file; UnicodeDecodeError if it is not in this encoding."""
    encoding = encoding or _marked_encoding(path)
    with open_text(path, encoding) as stream:
        data = stream.read(SAMPLE_BYTES)
    text = codecs.getincrementaldecoder("utf-8-sig")().decode(data)
    is_whole = len(data) < SAMPLE_BYTES
    first, _, rest = text.partition("\n")
    declared = re.fullmatch(r'"?sep=(.)"?\r?', first)  # Excel's first line
    separator = options.separator or (declared[1] if declared else None)
    sample = {
        each: _rows(rest if declared else text, each, is_whole=is_whole)
        for each in ([separator] if separator else SEPARATORS)
    }
    if not any(sample.values()):
        raise SourceError(f"{path} has no header line")
    separator = separator or _find_separator(path, sample)
    header, *values = sample[separator]
    _check_first_line(path, header, sample)
    if len(header) > 1 and all(map(is_number, header)):
        raise SourceError(
            f"{path} has no header: its first line is {separator.join(header)[:80]!r}; add a line of names "
            "of columns, such as lon,lat"
        )
    if len(header) == 1 and len(header[0].split()) > 1 and known_columns(header[0].split()):
        raise InputError(f"{path} has one column, {header[0]!r}; if spaces separate it, use separator=' '")
    width = len(values[0]) if values and _fits(header, values) else len(header)
    names, unnamed = _column_names([*header, *[""] * width][:width])
    blank = next(
        number for number, line in enumerate((rest if declared else text).split("\n")) if line.strip("\r")
    )
    return Dialect(
        encoding=encoding,
        separator=separator,
        decimal=options.decimal or find_decimal_mark(path, separator, names, values),
        names=names,
        unnamed=unnamed,
        has_rows=bool(values) or not is_whole,
        skip_rows=bool(declared) + blank + 1,
    )


def find_western(path: Path) -> str:
    """Latin-1, if that is what a file that isn't UTF-8 must be in; otherwise SourceError."""
    with open_text(path, "utf-8") as stream:
        while block := stream.read(1 << 20):
            other = NOT_WESTERN.search(block) or re.search(rb"[\x80-\xff]{3}", block)
            if other:
                near = block[max(0, other.start() - 20) : other.end() + 20]
                raise SourceError(
                    f"{path} is neither UTF-8 nor surely Latin-1, at {near!r}; name its encoding with "
                    "encoding=, such as cp1252, cp1250, cp1251, gbk or shift_jis"
                )
    return "latin-1"


def _marked_encoding(path: Path) -> str:
    """The encoding that a byte order mark tells; UTF-8 without one."""
    with open_text(path, "utf-8") as stream:
        start = stream.read(4096)
    for mark, encoding in BOMS.items():
        if start.startswith(mark):
            return encoding
    if start.startswith(WORKBOOKS):
        raise SourceError(f"{path} is a workbook or a ZIP file, not text; save its table as CSV")
    if b"\0" in start:
        order = "be" if start[:1] == b"\0" else "le"
        raise SourceError(
            f"{path} holds zero bytes, as UTF-16 does; if it is that, use encoding='utf-16-{order}'"
        )
    return "utf-8"


def _rows(text: str, separator: str, *, is_whole: bool) -> list[list[str]]:
    """The rows of a sample, without blank ones and without the last, which may be cut."""
    rows = list[list[str]]()
    try:
        rows += (row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row)
    except csv.Error:  # a field is longer than Python's limit
        return rows[:-1] or rows
    return rows if is_whole else rows[:-1] or rows


def _check_first_line(path: Path, header: list[str], sample: dict[str, list[list[str]]]) -> None:
    """Check that no title or comment is before the header: a later row with names of coordinates."""
    if known_columns(header):
        return
    for row in (row for rows in sample.values() for row in rows[1:10]):
        names = [name for columns in known_columns(row) if len(columns.names) > 1 for name in columns.names]
        if names and min(map(len, names)) > 1:  # x and y may be values
            raise SourceError(
                f"{path} has its header, {', '.join(row)[:80]!r}, below {header[0]!r}; remove what is above"
            )


def _fits(header: list[str], values: list[list[str]]) -> bool:
    """Whether all rows are as wide as the header, give or take columns that have no name or no value."""
    width = len(values[0]) if values else len(header)
    return (
        all(len(row) == width for row in values)
        and not any(name.strip() for name in header[width:])
        and not any(value.strip() for row in values for value in row[len(header) :])
    )


def _find_separator(path: Path, sample: dict[str, list[list[str]]]) -> str:
    """The only separator that gives several columns, all rows of the same width."""
    split = [each for each, (header, *_) in sample.items() if len(header) > 1]
    fitting = [each for each in split if _fits(sample[each][0], sample[each][1:])]
    known = [each for each in fitting if known_columns(sample[each][0])]
    for found in (fitting, known):
        if len(found) == 1:
            return found[0]
    if fitting:
        readings = " or ".join(f"{SEPARATORS[each]} ({len(sample[each][0])} columns)" for each in fitting)
        raise InputError(f"{path} could be separated by {readings}; choose with separator=")
    if split:  # the header is split, and a row does not fit: reading will say which
        return max(split, key=lambda each: len(sample[each][0]))
    single = [each for each, (header, *values) in sample.items() if _fits(header, values)]
    return single[0] if single else ","


def _column_names(header: Sequence[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """The header's names, with others for columns that have none; and those others."""
    taken, unnamed = set(header), []
    names = list(header)
    for index, name in enumerate(header):
        if not name.strip():
            names[index] = f"column_{index + 1}"
            while names[index] in taken:
                names[index] += "_"
            unnamed.append(names[index])
    return tuple(names), frozenset(unnamed)
