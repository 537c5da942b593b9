"""Look at WKB and text before a library parses it: GEOS recurses, and a deep nesting ends the process."""

from __future__ import annotations

import re
import struct
from itertools import pairwise
from typing import Literal

import numpy as np

MAX_NESTING = 32
"""Collections within collections, in WKB; the limit of GDAL. GEOS needs 0.4 KB of stack for each."""

MAX_BRACKETS = 100
"""Open brackets at once, in text: those of 32 collections of polygons, as WKT or as GeoJSON."""

POINT = 1
LINES = frozenset({2, 8})
POLYGONS = frozenset({3, 17})
COLLECTIONS = frozenset({4, 5, 6, 7, 9, 10, 11, 12, 15, 16})
"""Kinds of WKB that hold geometries (ISO 13249-3): any of them may hold any other, as far as GEOS cares."""

CURVED = frozenset({8, 9, 10, 11, 12})
CURVED_WORDS = re.compile(
    "CIRCULARSTRING|COMPOUNDCURVE|CURVEPOLYGON|MULTICURVE|MULTISURFACE", re.IGNORECASE
)

PLAIN_HEADERS = frozenset(struct.pack("<BI", 1, kind) for kind in (1, 2, 3))
"""How the WKB of points, lines and polygons begins, almost always."""

EWKB_Z, EWKB_M, EWKB_SRID = 0x8000_0000, 0x4000_0000, 0x2000_0000

MAX_BYTES = 200 << 20
"""Of one geometry: 13 million vertices in WKB. Parsing takes several times as much memory."""

Finding = Literal["plain", "curved", "deep", "large", "invalid"]


def inspect(value: bytes | str) -> Finding:
    """Whether a geometry may be parsed, has curves (which shapely refuses), or may not be parsed at all."""
    if len(value) > MAX_BYTES:
        return "large"
    if isinstance(value, bytes):
        try:
            return "plain" if value[:5] in PLAIN_HEADERS else _walk(value)[0]
        except (struct.error, IndexError):  # it ends before its counts say, or has no byte order
            return "invalid"
    if sum(map(value.count, "([{")) > MAX_BRACKETS and _open_brackets(value) > MAX_BRACKETS:
        return "deep"
    return "curved" if CURVED_WORDS.search(value) else "plain"


def members_of(wkb: bytes) -> list[bytes]:
    """The members of a collection that :func:`inspect` has passed."""
    return [wkb[start:stop] for start, stop in pairwise(_walk(wkb)[1])]


def _walk(wkb: bytes) -> tuple[Finding, list[int]]:
    """Walk through the headers of a WKB, or an EWKB; coordinates are skipped.

    Also returns where the members of the outermost collection begin, and its end.
    """
    curved, offset, starts = False, 0, list[int]()
    members = [1]  # still to come, of each collection that is open
    while members:
        if not members[-1]:
            members.pop()
            continue
        members[-1] -= 1
        if len(members) == 2:
            starts.append(offset)
        order = "><"[wkb[offset]]
        (code,) = struct.unpack_from(f"{order}I", wkb, offset + 1)
        dimensions, kind = divmod(code & 0xFFFF, 1000)
        has_z, has_m = code & EWKB_Z or dimensions in {1, 3}, code & EWKB_M or dimensions in {2, 3}
        position_bytes = 8 * (2 + bool(has_z) + bool(has_m))
        offset += 9 if code & EWKB_SRID else 5
        curved = curved or kind in CURVED
        if kind == POINT:
            offset += position_bytes
            continue
        (count,) = struct.unpack_from(f"{order}I", wkb, offset)
        offset += 4
        if kind in COLLECTIONS:
            members.append(count)
            if len(members) - 1 > MAX_NESTING:
                return "deep", []
        elif kind in LINES:
            offset += count * position_bytes
        elif kind in POLYGONS:
            for _ in range(count):
                (positions,) = struct.unpack_from(f"{order}I", wkb, offset)
                offset += 4 + positions * position_bytes
        else:
            return "invalid", []
    return "curved" if curved else "plain", [*starts, offset]


def _open_brackets(text: str) -> int:
    """The largest number of brackets that are open at once; those in quotes count, too."""
    codes = np.frombuffer(text.encode("utf-32-le", "replace"), "<u4")
    opening, closing = (np.isin(codes, [ord(bracket) for bracket in some]) for some in ("([{", ")]}"))
    return int(np.cumsum(opening.astype("i8") - closing).max(initial=0))
