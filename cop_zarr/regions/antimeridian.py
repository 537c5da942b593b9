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
from cop_zarr.regions.polar import (
    LONG_EDGE_ADVICE,
    MAX_POLAR_STEP,
    ambiguous,
    check_long_edges,
    check_no_pole_vertex,
    check_not_broken,
    check_pole_vertices,
    edges_along_pole,
)
from cop_zarr.regions.validity import is_simple, polygon_parts, repaired, signed_area, usable

MIN_AREA_SHARE = 1e-6
"""A ring without its edges from -180 to 180 has no area if it has less than this of the ring as drawn."""

ANTIMERIDIAN_ADVICE = (
    "continue past 180 (190 instead of -170) or cut the polygon at 180; for the second, add a vertex to "
    "the edge, so that no step exceeds 180°; or give a box as four numbers"
)
POLE_ADVICE = (
    "For the first, add vertices to the edge; for the second, draw edges along that pole "
    "(…, [180, -90], [-180, -90], …)"
)


def unwrap_polygons(shape: BaseGeometry, *, repair: bool) -> list[shapely.Polygon]:
    """The polygons of a shape in degrees, valid or repaired, without jumps; RegionError if ambiguous."""
    _check_range(shape)
    drawn = parts = polygon_parts(shape)
    rings = [_rings(part) for part in parts]
    if not all(_is_plain(ring) for part in rings for ring in part):
        parts = [_unwrap_part(*part) for part in rings]
        shape = shapely.MultiPolygon(parts)
    check_pole_vertices(shape)
    sound = usable(shape)
    if sound is None:
        for before, after in zip(drawn, parts, strict=True):
            check_not_broken(before, after)
        sound = repaired(shape, allowed=repair)
    return polygon_parts(sound)


def _unwrap_part(shell: np.ndarray, *holes: np.ndarray) -> shapely.Polygon:
    shell = _unwrap_ring(shell, counterclockwise=True)
    unwrapped = [_unwrap_ring(hole, counterclockwise=False) for hole in holes]
    for ring in (shell, *unwrapped):
        check_long_edges(ring)
    return shapely.Polygon(shell, [_align_hole(hole, shell) for hole in unwrapped])


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


def _is_plain(ring: np.ndarray) -> bool:
    """Whether a ring can be read in one way only, wherever it is."""
    lons = ring[:, 0]
    return bool(np.abs(np.diff(lons)).max() <= MAX_POLAR_STEP and np.ptp(lons) <= MAX_WIDTH)


def _jumps(ring: np.ndarray) -> np.ndarray:
    return np.abs(np.diff(ring[:, 0])) > 180 + ROUNDING_DEG


def _unwrap_ring(ring: np.ndarray, *, counterclockwise: bool) -> np.ndarray:
    """Choose between a ring as drawn and the ring whose edges all go the shorter way around.

    The shorter ways are meant, valid or not: a defect does not make a ring span the globe. Exceptions:

    - All jumps span the whole globe (-180 to 180), and without them the ring has no area; or one spans more
      (the extent of a raster): it is as drawn.
    - The shorter ways run against the direction that RFC 7946 requires (outer rings counterclockwise), and
      the ring as drawn is simple: ambiguous.
    """
    west, east = ring[:, 0].min(), ring[:, 0].max()
    if east - west > MAX_WIDTH:
        raise RegionError(f"a ring must be at most 360° wide; got longitudes {west:g} … {east:g}")
    jumps = _jumps(ring)
    if not jumps.any():
        return ring
    short = _shorter_way(ring)
    if densify.winding_number(short):
        return _around_pole(ring, short)
    area = signed_area(short)
    steps = np.abs(np.diff(ring[:, 0]))[jumps]
    no_area = abs(area) < MIN_AREA_SHARE * abs(signed_area(ring))
    if steps.min() >= 360 - ROUNDING_DEG and (no_area or steps.max() > 360 + ROUNDING_DEG):
        return ring
    if (area > 0) != counterclockwise and is_simple(ring):
        readings = "across the antimeridian, or the longer way around the globe"
        way = "outer rings run counterclockwise" if counterclockwise else "holes run clockwise"
        advice = f"For the first, reverse the ring ({way}), {ANTIMERIDIAN_ADVICE}"
        raise ambiguous(ring, jumps, readings, advice)
    return short


def _shorter_way(ring: np.ndarray) -> np.ndarray:
    """The ring with every edge the shorter way around, and its west edge from -180 to 180."""
    turns = np.concatenate([[0], np.cumsum(np.round(np.diff(ring[:, 0]) / 360))])
    west = (ring[:, 0] - 360 * turns).min()
    turns += np.floor((west + 180) / 360)
    return np.column_stack([ring[:, 0] - 360 * turns, ring[:, 1]])  # one subtraction: rounded once


def _around_pole(ring: np.ndarray, short: np.ndarray) -> np.ndarray:
    """Close a ring that goes around the globe: by its edge along a pole, or along the pole nearer to it.

    It is ambiguous if its jumps span the whole globe, and if an edge that is not along a pole spans more
    than a quarter turn.
    """
    steps = np.abs(np.diff(ring[:, 0]))
    jumps, along_pole = _jumps(ring), edges_along_pole(ring)
    if (steps[jumps] >= 360 - ROUNDING_DEG).all() and not along_pole[jumps].any() and is_simple(ring):
        readings = "as drawn, or as no edge, so that the ring encloses a pole"
        raise ambiguous(ring, jumps, readings, POLE_ADVICE)
    if along_pole.any():
        opened = np.roll(ring[:-1], -1 - int(np.argmax(along_pole)), axis=0)
        path = np.column_stack([densify.unwrapped(opened[:, 0]), opened[:, 1]])
        return np.vstack([path, path[:1]])
    check_no_pole_vertex(ring)
    far = np.abs(np.diff(short[:, 0])) > MAX_POLAR_STEP
    if far.any():
        readings = "along a parallel around the pole, or past it on the other side"
        raise ambiguous(ring, far, readings, LONG_EDGE_ADVICE)
    return _close_over_nearer_pole(short)


def _close_over_nearer_pole(ring: np.ndarray) -> np.ndarray:
    """Close a ring that goes around the globe along the pole of its hemisphere."""
    south, north = ring[:, 1].min(), ring[:, 1].max()
    if south < 0 < north or south == north == 0:
        raise RegionError(
            "a ring goes around the globe on both sides of the equator, or on it, so that either pole may "
            "be inside; draw edges along the pole that is (…, [180, -90], [-180, -90], …)"
        )
    return densify.close_over_pole(ring, 90.0 if north > 0 else -90.0)


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
