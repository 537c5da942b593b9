"""Densify closed curves on the globe, and unwrap them over the antimeridian and the poles.

A curve is a function from a parameter *t* to longitudes and latitudes. Its ring is a polyline in degrees
without jumps at the antimeridian: ``(n, 2)`` float64, whose last point equals the first, or is 360° away
from it if the ring encloses a pole.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Curve = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

TOLERANCE_DEG = 1e-6
"""Largest distance of a chord from its arc: 0.1 m, four millionths of a cell."""

MAX_HALVINGS = 60
"""Per interval of *t*: after 52, float64 has no midpoint left, and what remains is a jump (a pole, or a
change of datum shift) that more points cannot smooth."""

POLE_TOLERANCE_DEG = 1e-9
"""A point this close to a pole (0.1 mm) is the pole, and its longitude arbitrary."""


def trace(curve: Curve, ts: np.ndarray, point_poles: tuple[float, ...] = (90.0, -90.0)) -> np.ndarray:
    """Approximate a closed curve by a ring whose longitudes differ by at most 180, except along a pole.

    Each interval of ``ts`` is halved until the midpoint of the chord is within ``TOLERANCE_DEG`` of the
    curve, in longitude and in latitude. Close to a pole, where a metre is many degrees, that takes very
    many points. The curve is at the same point at the first and the last of ``ts``, which increase. Of the
    poles (90, -90), ``point_poles`` are one point of the curve's map; on other maps a pole is a line.
    """
    lons, lats = curve(ts)
    points = np.column_stack([ts, unwrapped(lons), lats])
    rough = np.ones(len(ts) - 1, bool)
    for _ in range(MAX_HALVINGS):
        starts = np.flatnonzero(rough)
        if not starts.size:
            break
        middle = (points[starts] + points[starts + 1]) / 2
        lons, lats = curve(middle[:, 0])
        offset_lon = (lons - middle[:, 1] + 180) % 360 - 180
        off = np.maximum(np.abs(offset_lon), np.abs(lats - middle[:, 2])) > TOLERANCE_DEG
        middle[:, 1] += offset_lon
        middle[:, 2] = lats
        rough[starts] = off
        inserted = starts[off] + 1
        points = np.insert(points, inserted, middle[off], axis=0)
        rough = np.insert(rough, inserted, True)
    ring = points[:, 1:]
    ring[-1] = ring[0] + [360 * round((ring[-1, 0] - ring[0, 0]) / 360), 0]  # without rounding errors
    return _follow_poles(ring, point_poles)


def unwrapped(lons: np.ndarray) -> np.ndarray:
    """Longitudes without jumps: each step goes the shorter way around.

    Multiples of 360° are added, so that closed rings stay closed; ``np.unwrap`` adds up steps, and a ring
    ends beside its beginning by their rounding.
    """
    return np.asarray(lons - 360 * np.concatenate([[0], np.cumsum(np.round(np.diff(lons) / 360))]))


def winding_number(ring: np.ndarray) -> int:
    """How often a ring goes around the globe, eastward: ±1 if it encloses one pole, else 0."""
    return round(float(ring[-1, 0] - ring[0, 0]) / 360)


def close_over_pole(ring: np.ndarray, pole: float) -> np.ndarray:
    """Close a ring that goes once around the globe along the pole (latitude 90 or -90) that it encloses."""
    eastward = ring if ring[-1, 0] > ring[0, 0] else ring[::-1]
    corners = np.array([[eastward[-1, 0], pole], [eastward[0, 0], pole], eastward[0]])
    return np.vstack([eastward, corners])


def _follow_poles(ring: np.ndarray, point_poles: tuple[float, ...]) -> np.ndarray:
    """Have a ring that touches a pole follow it, from the longitude where it arrives to where it leaves.

    A ring that touches no pole is returned as it is.
    """
    if not point_poles:
        return ring
    away = ~np.any([np.abs(ring[:, 1] - pole) < POLE_TOLERANCE_DEG for pole in point_poles], axis=0)
    if away.all() or not away.any():
        return ring
    open_ring, away = ring[:-1], away[:-1]
    departure = np.flatnonzero(away & ~np.roll(away, 1))[0]  # the first point after a pole
    open_ring, away = np.roll(open_ring, -departure, axis=0), np.roll(away, -departure)
    kept = open_ring[away]
    lons = unwrapped(kept[:, 0])
    path = np.column_stack([lons, kept[:, 1]])
    arrivals = np.flatnonzero(away & ~np.roll(away, -1))  # the last points before a pole
    poles = np.copysign(90.0, np.roll(open_ring, -1, axis=0)[arrivals, 1])
    last = np.searchsorted(np.flatnonzero(away), arrivals)  # their indices in the path
    pole_lons = np.column_stack([lons[last], np.roll(lons, -1)[last]]).ravel()
    passages = np.column_stack([pole_lons, np.repeat(poles, 2)])
    path = np.insert(path, np.repeat(last + 1, 2), passages, axis=0)
    return np.vstack([path, path[:1]])


def shift_longitude(points: np.ndarray, east_deg: float) -> np.ndarray:
    """Shift points, ``(n, 2)``, to the east."""
    return np.asarray(points + np.array([east_deg, 0.0]))
