"""The one place where WKB and WKT become geometries: bounded, with closed rings, and without curves."""

from __future__ import annotations

import reprlib
import struct
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import shapely

from cop_zarr.interop.tables.nesting import EWKB_SRID, MAX_NESTING, inspect
from cop_zarr.interop.tables.vector import linearize

REFUSED = {
    "deep": f"nests collections more than {MAX_NESTING} deep; write its polygons as a MultiPolygon",
    "curved": "has curves that GDAL cannot read, or in a GEOMETRYCOLLECTION; use a MULTISURFACE, or lines",
}


UNREADABLE = frozenset({"deep", "invalid"})


def parse(values: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
    """Parse WKB or EWKB (bytes) and WKT (text); None and blanks give None.

    Returns shapely geometries, and what is wrong with the others, by row. Arcs become chords, and rings
    that are not closed are closed.
    """
    present = [row for row, value in enumerate(values) if value is not None and value.strip()]
    linear, findings = values.copy(), {row: inspect(values[row]) for row in present}
    curved = [row for row in present if findings[row] == "curved"]
    for row, wkb in zip(curved, linearize(values[curved]), strict=True):
        linear[row] = wkb if wkb is not None and inspect(wkb) == "plain" else None
    shapes = np.full(len(values), None, object)
    for kind, from_kind in ((bytes, shapely.from_wkb), (str, shapely.from_wkt)):
        rows = [
            row for row in present if findings[row] in {"plain", "curved"} and type(linear[row]) is kind
        ]
        shapes[rows] = _parse_closed(linear[rows], from_kind)
    wrong = {}
    for row in present:
        value = values[row]
        if shapes[row] is None:
            invalid = f"is not {'WKB' if isinstance(value, bytes) else 'WKT'}: {reprlib.repr(value)}"
            wrong[row] = REFUSED.get(findings[row], invalid)
    shapes[curved] = shapely.set_srid(shapes[curved], [_srid(value) for value in values[curved]])
    return shapes, wrong


def _srid(value: bytes | str) -> int:
    """The SRID that an EWKB names, which GDAL drops; 0 for none."""
    if isinstance(value, str):
        return 0
    _, code, srid = struct.unpack_from("<BII" if value[0] else ">BII", value)
    return int(srid) if code & EWKB_SRID else 0


def _parse_closed(values: np.ndarray, from_kind: Callable[..., Any]) -> np.ndarray:
    """Parse, and close rings that are not closed: GEOS refuses those, and mends nothing else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # from shapely, about invalid ones
            shapes: np.ndarray = from_kind(values, on_invalid="ignore")
            refused = shapely.is_missing(shapes)
            shapes[refused] = from_kind(values[refused], on_invalid="fix")
    except (NotImplementedError, shapely.errors.ShapelyError):  # about one of them
        if len(values) == 1:
            return np.array([None], object)
        return np.concatenate([_parse_closed(values[[row]], from_kind) for row in range(len(values))])
    return shapes
