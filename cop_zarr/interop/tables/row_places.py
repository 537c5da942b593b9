"""Where a row is in its file, for messages: its line in a file of text, or its number, counted from 1."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import IO, Any

MAX_FIELD = 2**31 - 1
"""Outlines as text are longer than what Python's csv reads by default; Windows has no larger number."""


def numbered(word: str, rows: Sequence[int]) -> list[str]:
    """Such as "feature 3 (counted from 1)", of rows counted from 0."""
    return [f"{word} {row + 1} (counted from 1)" for row in rows]


def on_lines(lines: Iterable[int], rows: Sequence[int]) -> list[str]:
    """Such as "line 3", of rows counted from 0; ``lines`` are those on which rows begin, in order."""
    found = dict(zip(range(max(rows, default=-1) + 1), lines, strict=False))
    return [f"line {found[row]}" if row in found else numbered("row", [row])[0] for row in rows]


def lines_of_csv(stream: IO[bytes], separator: str, skip_rows: int) -> Iterator[int]:
    """The lines on which rows begin: a quoted value may have several, and empty lines are no rows."""
    text: Any = io.TextIOWrapper(stream, "utf-8", errors="replace", newline="")
    previous = csv.field_size_limit(MAX_FIELD)
    try:
        reader, begin = csv.reader(text, delimiter=separator), 1
        for _ in islice(reader, skip_rows):
            begin = reader.line_num + 1
        for row in reader:
            if row:
                yield begin
            begin = reader.line_num + 1
    except csv.Error:
        return  # rows are numbered then
    finally:
        csv.field_size_limit(previous)
