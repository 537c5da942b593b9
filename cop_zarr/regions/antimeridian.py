"""Polygons in degrees over the antimeridian and around the poles.

GeoJSON (RFC 7946) draws straight lines in the plane of longitude and latitude and cuts what crosses the
antimeridian in two. Data in the wild also goes on past 180, or jumps from 179 to -179 and means the short
way. All three are taken; a ring that can be read two ways is refused.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from cop_zarr.core.grid import range_hint
from cop_zarr.errors import RegionError
from cop_zarr.regions import densify
from cop_zarr.regions.validity import check_valid, polygon_parts

HALF_TURN_DEG = 180.0
TURN_DEG = 360.0

UNAMBIGUOUS_JUMP_DEG = 270.0
"""A ring around a pole may jump by this and more: the other way is at most a third as long."""

ANTIMERIDIAN_ADVICE = (
    "For the first, go on past 180 (190 instead of -170) or cut the polygon at 180; for the second, give "
    "the edge a vertex in between, so that no step exceeds 180°; or give a box as its four edges instead "
    "of as a polygon"
)
POLE_ADVICE = (
    "For the first, give the edge vertices in between; for the second, draw edges along that pole "
    "(…, [180, -90], [-180, -90], …)"
)


def unwrap_polygons(shape: BaseGeometry, *, repair: bool) -> list[shapely.Polygon]:
    """Polygons in degrees, without jumps, valid or mended.

    Raises
    ------
    RegionError
        If they leave the globe, are not valid, or can be read two ways.
    """
    west, south, east, north = shape.bounds
    if max(-south, north) > 90:
        hint = range_hint(max(-west, east), max(-south, north))
        raise RegionError(
            f"latitudes must lie within -90 … 90; the geometry's go from {south:g} to {north:g}{hint}"
        )
    if west < -180 or east > 360:
        raise RegionError(
            f"longitudes must lie within -180 … 360; the geometry's go from {west:g} to {east:g}"
        )
    parts = polygon_parts(shape)
    if all(
        np.ptp(ring[:, 0]) <= TURN_DEG and not _jumps(ring).any() for part in parts for ring in _rings(part)
    ):
        return polygon_parts(check_valid(shape, repair=repair))
    pieces: list[shapely.Polygon] = []
    for part in parts:
        shell, *holes = [
            _unwrap_ring(ring, counterclockwise=not number) for number, ring in enumerate(_rings(part))
        ]
        pieces.append(shapely.Polygon(shell, [_align_hole(hole, shell) for hole in holes]))
    return polygon_parts(check_valid(shapely.MultiPolygon(pieces), repair=repair))


def _align_hole(hole: np.ndarray, shell: np.ndarray) -> np.ndarray:
    """A hole on the same turn as its shell."""
    middle = (shell[:, 0].min() + shell[:, 0].max() - hole[:, 0].min() - hole[:, 0].max()) / 2
    return densify.shift_longitude(hole, TURN_DEG * round(middle / TURN_DEG))


def _rings(polygon: shapely.Polygon) -> list[np.ndarray]:
    return [shapely.get_coordinates(ring) for ring in (polygon.exterior, *polygon.interiors)]


def _jumps(ring: np.ndarray) -> np.ndarray:
    return np.abs(np.diff(ring[:, 0])) > HALF_TURN_DEG


def _unwrap_ring(ring: np.ndarray, *, counterclockwise: bool) -> np.ndarray:
    """Choose between a ring as it is drawn and the same ring with each edge going the shorter way around.

    Edges that span the whole globe (-180 to 180, as along a pole) are drawn on purpose where the ring as it
    is makes sense. Otherwise the reading that is valid counts, and if both are:

    - by shorter ways the ring goes around the globe: it encloses the nearer pole, if no edge that is drawn
      long is so by a small margin (180° to 270°);
    - it does not: it crosses the antimeridian, if by shorter ways it runs as RFC 7946 wants rings to run
      (outer ones counterclockwise), because as drawn it then does not.
    """
    west, east = ring[:, 0].min(), ring[:, 0].max()
    if east - west > TURN_DEG:
        raise RegionError(
            f"a ring goes from longitude {west:g} to {east:g}: more than the 360° of the globe"
        )
    jumps = _jumps(ring)
    if not jumps.any():
        return ring
    steps = np.abs(np.diff(ring[:, 0]))[jumps]
    short = np.column_stack([densify.unwrapped(ring[:, 0]), ring[:, 1]])
    around = densify.winding_number(short) != 0
    drawn_valid = shapely.Polygon(ring).is_valid
    if drawn_valid and (steps == TURN_DEG).all():
        if around and np.abs(ring[1:][jumps, 1]).max() < 90:
            raise _ambiguous(
                ring, "as it is drawn, or as none, so that the ring encloses a pole", POLE_ADVICE
            )
        return ring
    if around:
        short = _close_over_nearer_pole(short)
    if not drawn_valid:
        return short
    if not shapely.Polygon(short).is_valid:
        return ring
    if around and steps.min() < UNAMBIGUOUS_JUMP_DEG:
        raise _ambiguous(
            ring, "as it is drawn, or the shorter way, so that the ring encloses a pole", POLE_ADVICE
        )
    if not around and shapely.is_ccw(shapely.LinearRing(short)) != counterclockwise:
        raise _ambiguous(
            ring, "across the antimeridian, or the long way around the globe", ANTIMERIDIAN_ADVICE
        )
    return short


def _close_over_nearer_pole(ring: np.ndarray) -> np.ndarray:
    """Close a ring that goes around the globe along the pole of the hemisphere in which it lies."""
    south, north = ring[:, 1].min(), ring[:, 1].max()
    if south < 0 < north or south == north == 0:
        raise RegionError(
            "a ring goes around the globe on both sides of the equator, or on it, so that the pole it "
            "encloses cannot be told; draw its edges along that pole (…, [180, -90], [-180, -90], …)"
        )
    return densify.close_over_pole(ring, 90.0 if north > 0 else -90.0)


def _ambiguous(ring: np.ndarray, readings: str, advice: str) -> RegionError:
    first = int(np.argmax(_jumps(ring)))
    start, end = ring[first : first + 2, 0]
    return RegionError(
        f"the edge from longitude {start:g} to {end:g} can be read two ways: {readings}. {advice}"
    )


def combine_parts(parts: list[shapely.Polygon], *, overlaps: bool) -> BaseGeometry:
    """Put all parts into one frame of at most 360°, that begins after the widest gap between them."""
    if len(parts) == 1 and -HALF_TURN_DEG <= parts[0].bounds[0] <= TURN_DEG:
        return parts[0]
    spans = np.array([part.bounds for part in parts])[:, [0, 2]]
    start = _frame_start(spans)
    shifts = np.floor((spans[:, 0] - start) / TURN_DEG + 1e-12) * -TURN_DEG  # start itself may be rounded
    turned = [
        shapely.transform(part, partial(densify.shift_longitude, east_deg=shift)) if shift else part
        for part, shift in zip(parts, shifts, strict=True)
    ]
    whole = shapely.union_all(turned) if overlaps or shifts.any() else shapely.MultiPolygon(turned)
    if whole.bounds[2] - start > TURN_DEG + 1e-9:
        whole = _wrap_into_frame(whole, start)
    return whole


def _frame_start(spans: np.ndarray) -> float:
    """The west edge, -180 … 180, after the widest gap that spans of longitude leave; -180 if none."""
    wests = (spans[:, 0] + HALF_TURN_DEG) % TURN_DEG - HALF_TURN_DEG
    order = np.argsort(wests)
    wests, easts = wests[order], (wests + np.diff(spans)[:, 0])[order]
    reached = np.maximum.accumulate(np.concatenate([[easts.max() - TURN_DEG], easts[:-1]]))
    gaps = wests - reached
    widest = int(np.argmax(gaps))
    return float(wests[widest]) if gaps[widest] > 0 else -HALF_TURN_DEG


def _wrap_into_frame(whole: BaseGeometry, start: float) -> BaseGeometry:
    """What lies beyond a frame of 360° put back into it, a turn to the west."""
    frame = shapely.box(start, -90, start + TURN_DEG, 90)
    beyond = shapely.transform(
        shapely.difference(whole, frame), partial(densify.shift_longitude, east_deg=-TURN_DEG)
    )
    folded = shapely.union_all([shapely.intersection(whole, frame), beyond])
    return shapely.MultiPolygon(polygon_parts(folded))
