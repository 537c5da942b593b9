"""Arrays in GeoArrow's native encodings, converted to WKB."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pyarrow as pa

KINDS = {
    name: code
    for code, name in enumerate(
        ("point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon"), start=1
    )
}
"""GeoArrow's encodings and their numbers in WKB."""

MULTIPLE = 3
"""What the number of a kind exceeds that of its members by, from multipoint on."""


def to_wkb(column: pa.Array, kind: str) -> pa.Array:
    """Lists of coordinates, which are structs of x and y or lists of them, as WKB without Z and M."""
    missing, levels = column.is_null(), list[np.ndarray]()
    while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        levels.append(column.offsets.to_numpy())
        column = column.values
    positions = _positions(column)
    encode = _encoder(KINDS[kind], levels, positions)
    present = zip(missing.to_pylist(), range(len(missing)), strict=True)
    return pa.array([None if is_missing else encode(row) for is_missing, row in present], pa.binary())


def _positions(column: pa.Array) -> np.ndarray:
    """Coordinates as float64, ``(n, 2)``."""
    if pa.types.is_struct(column.type):
        parts = [column.field(name).to_numpy(zero_copy_only=False) for name in ("x", "y")]
        return np.column_stack(parts).astype("<f8")
    values: np.ndarray = column.values.to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)
    return values[column.offset : column.offset + len(column), :2].astype("<f8")


def _encoder(code: int, levels: list[np.ndarray], positions: np.ndarray) -> Callable[[int], bytes]:
    """A function from a row to its WKB."""
    header = struct.pack("<BI", 1, code)
    if code == KINDS["point"]:
        return lambda row: header + positions[row].tobytes()
    offsets = levels[0]

    def counted(start: int, stop: int, members: bytes) -> bytes:
        return struct.pack("<I", stop - start) + members

    def line(row: int, ends: np.ndarray = offsets) -> bytes:
        start, stop = ends[row : row + 2]
        return counted(start, stop, positions[start:stop].tobytes())

    if code == KINDS["linestring"]:
        return lambda row: header + line(row)
    member = (
        (lambda row: line(row, levels[1]))
        if code == KINDS["polygon"]
        else _encoder(code - MULTIPLE, levels[1:], positions)
    )

    def several(row: int) -> bytes:
        start, stop = offsets[row : row + 2]
        return header + counted(start, stop, b"".join(map(member, range(start, stop))))

    return several
