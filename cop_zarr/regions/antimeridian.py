"""Polygons in degrees that cross the antimeridian or enclose a pole.

GeoJSON (RFC 7946) draws edges straight in the plane of longitude and latitude, and cuts polygons that cross
the antimeridian in two. Others continue past 180, or jump from 179 to -179 and mean the shorter way. All
three are accepted; a ring that can be read in two ways is rejected.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from cop_zarr.core.positions import MAX_LAT, MAX_LON, MAX_WIDTH, ROUNDING_DEG, range_error, turn_offset
from cop_zarr.errors import RegionError
from cop_zarr.regions import densify
from cop_zarr.regions.validity import check_valid, polygon_parts

UNAMBIGUOUS_JUMP_DEG = 270.0
"""From this length on, an edge of a ring around a pole means the shorter way, which is at most a third."""

ANTIMERIDIAN_ADVICE = (
    "For the first, continue past 180 (190 instead of -170) or cut the polygon at 180; for the second, add "
    "a vertex to the edge, so that no step exceeds 180°; or give a box as four numbers"
)
POLE_ADVICE = (
    "For the first, add vertices to the edge; for the second, draw edges along that pole "
    "(…, [180, -90], [-180, -90], …)"
)


def unwrap_polygons(shape: BaseGeometry, *, repair: bool) -> list[shapely.Polygon]:
    """The polygons of a shape in degrees, valid or repaired, without jumps; RegionError if ambiguous."""
    _check_range(shape)
    parts = polygon_parts(shape)
    if all(
        np.ptp(ring[:, 0]) <= MAX_WIDTH and not _jumps(ring).any()
        for part in parts
        for ring in _rings(part)
    ):
        return polygon_parts(check_valid(shape, repair=repair))
    unwrapped: list[shapely.Polygon] = []
    for part in parts:
        shell, *holes = [
            _unwrap_ring(ring, counterclockwise=not number) for number, ring in enumerate(_rings(part))
        ]
        unwrapped.append(shapely.Polygon(shell, [_align_hole(hole, shell) for hole in holes]))
    return polygon_parts(check_valid(shapely.MultiPolygon(unwrapped), repair=repair))


def _check_range(shape: BaseGeometry) -> None:
    west, south, east, north = shape.bounds
    if max(-west, east) > MAX_LON or max(-south, north) > MAX_LAT:
        given = f"a geometry of lon {west:.10g} … {east:.10g}, lat {south:.10g} … {north:.10g}"
        raise range_error(west, south, east, north, given)


def clip_at_poles(shape: BaseGeometry) -> BaseGeometry:
    """A valid shape without what is beyond a pole."""
    west, south, east, north = shape.bounds
    if south >= -90 and north <= 90:
        return shape
    clipped = shapely.intersection(shape, shapely.box(west - 1, -90, east + 1, 90))
    return shapely.MultiPolygon(polygon_parts(clipped))


def _align_hole(hole: np.ndarray, shell: np.ndarray) -> np.ndarray:
    """Shift a hole by a multiple of 360° to its shell."""
    middle = (shell[:, 0].min() + shell[:, 0].max() - hole[:, 0].min() - hole[:, 0].max()) / 2
    return densify.shift_longitude(hole, 360.0 * round(middle / 360.0))


def _rings(polygon: shapely.Polygon) -> list[np.ndarray]:
    return [shapely.get_coordinates(ring) for ring in (polygon.exterior, *polygon.interiors)]


def _jumps(ring: np.ndarray) -> np.ndarray:
    return np.abs(np.diff(ring[:, 0])) > 180


def _unwrap_ring(ring: np.ndarray, *, counterclockwise: bool) -> np.ndarray:
    """Choose between a ring as drawn and the ring whose edges all go the shorter way around.

    Edges that span the whole globe (-180 to 180, as along a pole) are kept if the ring as drawn is valid.
    Otherwise, if only one reading is valid, it is that one. If both are:

    - The shorter ways go around the globe: the ring encloses the nearer pole. It is ambiguous if an edge is
      only a little shorter one way than the other (180° to 270° as drawn).
    - They do not: the ring crosses the antimeridian if it then has the direction that RFC 7946 requires
      (outer rings counterclockwise); as drawn it has the other. If not, it is ambiguous.
    """
    west, east = ring[:, 0].min(), ring[:, 0].max()
    if east - west > MAX_WIDTH:
        raise RegionError(f"a ring must be at most 360° wide; got longitudes {west:g} … {east:g}")
    jumps = _jumps(ring)
    if not jumps.any():
        return ring
    steps = np.abs(np.diff(ring[:, 0]))[jumps]
    short = np.column_stack([densify.unwrapped(ring[:, 0]), ring[:, 1]])
    encloses_pole = densify.winding_number(short) != 0
    drawn_valid = shapely.Polygon(ring).is_valid
    if drawn_valid and (steps >= 360 - ROUNDING_DEG).all():
        if encloses_pole and np.abs(ring[1:][jumps, 1]).max() < 90:
            raise _ambiguous(ring, "as drawn, or as no edge, so that the ring encloses a pole", POLE_ADVICE)
        return ring
    if encloses_pole:
        short = _close_over_nearer_pole(short)
    if not drawn_valid:
        return short
    if not shapely.Polygon(short).is_valid:
        return ring
    if encloses_pole and steps.min() < UNAMBIGUOUS_JUMP_DEG:
        raise _ambiguous(
            ring, "as drawn, or the shorter way, so that the ring encloses a pole", POLE_ADVICE
        )
    if not encloses_pole and shapely.is_ccw(shapely.LinearRing(short)) != counterclockwise:
        readings = "across the antimeridian, or the longer way around the globe"
        raise _ambiguous(ring, readings, ANTIMERIDIAN_ADVICE)
    return short


def _close_over_nearer_pole(ring: np.ndarray) -> np.ndarray:
    """Close a ring that goes around the globe along the pole of its hemisphere."""
    south, north = ring[:, 1].min(), ring[:, 1].max()
    if south < 0 < north or south == north == 0:
        raise RegionError(
            "a ring goes around the globe on both sides of the equator, or on it, so that either pole may "
            "be inside; draw edges along the pole that is (…, [180, -90], [-180, -90], …)"
        )
    return densify.close_over_pole(ring, 90.0 if north > 0 else -90.0)


def _ambiguous(ring: np.ndarray, readings: str, advice: str) -> RegionError:
    first = int(np.argmax(_jumps(ring)))
    start, end = ring[first : first + 2, 0]
    return RegionError(
        f"the edge from longitude {start:g} to {end:g} can be read in two ways: {readings}. {advice}"
    )


def combine_parts(parts: list[shapely.Polygon], *, overlaps: bool) -> BaseGeometry:
    """Combine parts into one geometry at most 360° wide, that begins after the widest gap between them."""
    spans = np.array([part.bounds for part in parts])[:, [0, 2]]
    if len(parts) == 1 and not turn_offset(spans[0, 0]) and np.ptp(spans) <= 360 + ROUNDING_DEG:
        return parts[0]
    start = _western_edge(spans)
    shifts = np.floor((spans[:, 0] - start) / 360 + 1e-12) * -360.0  # start may have a rounding error
    shifted = [
        shapely.transform(part, partial(densify.shift_longitude, east_deg=shift)) if shift else part
        for part, shift in zip(parts, shifts, strict=True)
    ]
    whole = shapely.union_all(shifted) if overlaps or shifts.any() else shapely.MultiPolygon(shifted)
    if whole.bounds[2] - start > 360 + 1e-9:
        whole = _wrap_into_frame(whole, start)
    return whole


def _western_edge(spans: np.ndarray) -> float:
    """The west edge, -180 … 180, after the widest gap between spans of longitude; -180 without a gap."""
    wests = (spans[:, 0] + 180) % 360 - 180
    order = np.argsort(wests)
    wests, easts = wests[order], (wests + np.diff(spans)[:, 0])[order]
    reached = np.maximum.accumulate(np.concatenate([[easts.max() - 360], easts[:-1]]))
    gaps = wests - reached
    widest = int(np.argmax(gaps))
    return float(wests[widest]) if gaps[widest] > 0 else -180.0


def _wrap_into_frame(whole: BaseGeometry, start: float) -> BaseGeometry:
    """Shift what is more than 360° east of ``start`` to the west."""
    frame = shapely.box(start, -MAX_LAT, start + 360, MAX_LAT)
    beyond = shapely.difference(whole, frame)
    beyond = shapely.transform(beyond, partial(densify.shift_longitude, east_deg=-360.0))
    wrapped = shapely.union_all([shapely.intersection(whole, frame), beyond])
    return shapely.MultiPolygon(polygon_parts(wrapped))
