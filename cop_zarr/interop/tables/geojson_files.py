"""Look at files of GeoJSON, of which GDAL leaves out the lines and the CRS that it cannot read."""

from __future__ import annotations

import json
import re
import reprlib
from codecs import BOM_UTF8
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import IO

from cop_zarr.errors import SourceError
from cop_zarr.interop.tables.archive import FeatureFile
from cop_zarr.regions.forms import GEOJSON_TYPES
from cop_zarr.regions.geojson import declared_crs
from cop_zarr.regions.projections import projection

RECORD_SEPARATOR = b"\x1e"
"""Before each object of a GeoJSON text sequence (RFC 8142), which may go over several lines."""

JSON_TOKENS = re.compile(rb'"crs"\s*:|"(?:[^"\\]|\\.)*+"|[\[\]{}]')
"""A key ``crs``, other strings, and brackets."""

MARKS = RECORD_SEPARATOR + BOM_UTF8

PIECE_BYTES = 1 << 16

MAX_LINE_BYTES = 64 << 20

MAX_OBJECT_BYTES = 256 << 20
"""GDAL reads no feature of over 200 MB."""

FEATURES = GEOJSON_TYPES - {"FeatureCollection"}
"""Types of what a line may hold."""


def is_lines(file: IO[bytes], *, named_so: bool) -> bool:
    """Whether a file of GeoJSON has an object on its first line, and more lines.

    In a file that isn't named as one, the next line must begin with another object. Memory is bounded.
    """
    lines = _ends_of_lines(file)
    (start, end), (next_start, _) = next(lines, (b"", b"")), next(lines, (b"", b""))
    if named_so:
        return next_start != b""
    begins = all(each.lstrip(MARKS).startswith(b"{") for each in (start, next_start))
    return begins and end.endswith(b"}")


def count_features(path: Path, file: IO[bytes]) -> int:
    """Count the objects; raises SourceError for a line that isn't a feature or a geometry."""
    return sum(1 for _ in lines_of_features(file, path))


def lines_of_features(file: IO[bytes], checked: Path | None = None) -> Iterator[int]:
    """The lines on which objects begin; raises SourceError for one that isn't, if the file is checked."""
    is_sequence = False
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), 1):
        is_sequence = is_sequence or line.startswith(RECORD_SEPARATOR)
        if is_sequence:
            if line.startswith(RECORD_SEPARATOR):
                yield number
        elif line.strip() or len(line) == MAX_LINE_BYTES:
            if checked is not None:
                _check_line(checked, number, line)
            yield number


def _check_line(path: Path, number: int, line: bytes) -> None:
    try:
        document = json.loads(line if len(line) < MAX_LINE_BYTES else b"")
        is_feature = document["type"] in FEATURES
    except (ValueError, RecursionError, KeyError, TypeError):
        is_feature = False
    if not is_feature:
        raise SourceError(
            f"{path} has no feature in line {number}, but {reprlib.repr(line)}; each line must be a whole "
            "feature, and a FeatureCollection belongs in a .geojson"
        )
    name = declared_crs(document)
    if name is not None and not projection(name).is_product_crs:
        raise SourceError(
            f"{path} names the CRS {name} in line {number}, and lines of GeoJSON are read as degrees; "
            "write it again, as .gpkg or in degrees"
        )


def check_single(path: Path, file: IO[bytes]) -> None:
    """Check that a file of GeoJSON is one object; raises SourceError if something follows it."""
    try:
        json.loads(file.read(MAX_OBJECT_BYTES))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} is not one GeoJSON object: {error}; use a FeatureCollection") from None


def names_crs(file: FeatureFile) -> bool:
    """Whether a GeoJSON file has a ``crs`` member; GDAL says EPSG:4326 of one that has none."""
    if file.gdal_name.startswith("/vsizip/"):  # "crs" anywhere in it
        with file.open() as content:
            tail = b""
            while block := content.read(PIECE_BYTES):
                if b'"crs"' in tail + block:
                    return True
                tail = block[-4:]
            return False
    with file.open() as opened, mmap(opened.fileno(), 0, access=ACCESS_READ) as content:
        if content.find(b'"crs"') < 0:
            return False
        depth = 0
        for found in JSON_TOKENS.finditer(content):
            token = found[0]
            if depth == 1 and token[-1:] == b":":
                return True
            depth += (token in b"[{") - (token in b"]}")
    return False


def _ends_of_lines(file: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The start and the end of each line that isn't blank."""
    start = end = b""
    while piece := file.readline(PIECE_BYTES):
        start, end = start or piece.strip(), (end + piece)[-PIECE_BYTES:]
        if piece.endswith(b"\n"):
            if start:
                yield start, end.strip()
            start = end = b""
    if start:
        yield start, end.strip()
