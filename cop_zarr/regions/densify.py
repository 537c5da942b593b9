"""Closed curves on the globe, in degrees of longitude and latitude: fine enough, unrolled, over the poles.

A curve here is a function of a parameter *t* that gives longitudes and latitudes. Its ring is a polyline in
the plane of longitude and latitude, without jumps at the antimeridian: ``(n, 2)`` float64, with the last
point in the place of the first, perhaps 360° further on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Curve = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

TOLERANCE_DEG = 1e-6
"""How far a chord may stray from its arc: 0.1 m, and four millionths of a cell."""

MAX_HALVINGS = 60
"""Halvings of an interval of *t*, at most: past 52 a float64 has no middle left, and what remains is a jump
(a change of datum shift, a pole) that no number of points would smooth."""

POLE_TOLERANCE_DEG = 1e-9
"""A point this near to a pole is the pole, where longitudes mean nothing (0.1 mm)."""


def trace(curve: Curve, ts: np.ndarray, point_poles: tuple[float, ...] = (90.0, -90.0)) -> np.ndarray:
    """Follow a closed curve so finely that no chord strays from it.

    Each interval of ``ts`` is halved until the curve's middle lies within :data:`TOLERANCE_DEG` of the
    chord's, in longitude and latitude both. Where a curve passes a pole closely, that makes for very many
    points, and has to: there a metre is many degrees.

    Parameters
    ----------
    curve : callable
        Longitudes and latitudes of an array of *t*.
    ts : ndarray
        Increasing; the first and the last are the same place.
    point_poles : tuple of float
        Which poles (90, -90) are one point of the curve's map, where longitudes mean nothing. On a map that
        draws a pole as a line they do.

    Returns
    -------
    ndarray
        ``(n, 2)``, unrolled: consecutive longitudes differ by no more than 180, save where the curve meets
        a pole and runs along it from one longitude to another.
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
        stray_lon = _wrap_180(lons - middle[:, 1])
        off = np.maximum(np.abs(stray_lon), np.abs(lats - middle[:, 2])) > TOLERANCE_DEG
        middle[:, 1] += stray_lon
        middle[:, 2] = lats
        rough[starts] = off
        places = starts[off] + 1
        points = np.insert(points, places, middle[off], axis=0)
        rough = np.insert(rough, places, True)
    ring = points[:, 1:]
    ring[-1] = ring[0] + [360 * round((ring[-1, 0] - ring[0, 0]) / 360), 0]  # to the last bit
    return _follow_poles(ring, point_poles)


def unwrapped(lons: np.ndarray) -> np.ndarray:
    """Longitudes without jumps: each step takes the shorter way around.

    By whole turns, so that what returns to a longitude has it to the last bit; ``np.unwrap`` adds up steps
    instead, and leaves a ring open by their rounding.
    """
    return np.asarray(lons - 360 * np.concatenate([[0], np.cumsum(np.round(np.diff(lons) / 360))]))


def winding_number(ring: np.ndarray) -> int:
    """How often a ring goes around the globe, eastward; ±1 if it encloses one pole."""
    return round(float(ring[-1, 0] - ring[0, 0]) / 360)


def close_over_pole(ring: np.ndarray, pole: float) -> np.ndarray:
    """Close a ring that goes once around the globe along the pole that it encloses.

    Returns
    -------
    ndarray
        ``(n + 3, 2)``: a ring 360° wide, from the curve to latitude ``pole`` (90 or -90).
    """
    eastward = ring if ring[-1, 0] > ring[0, 0] else ring[::-1]
    corners = np.array([[eastward[-1, 0], pole], [eastward[0, 0], pole], eastward[0]])
    return np.vstack([eastward, corners])


def _follow_poles(ring: np.ndarray, point_poles: tuple[float, ...]) -> np.ndarray:
    """Let a ring that meets a pole run along it, from the longitude it comes with to that it leaves with.

    Returns
    -------
    ndarray
        ``(n, 2)``, closed; the ring as it is if no point of it lies at a pole.
    """
    away = ~np.any(
        [np.abs(ring[:, 1] - pole) < POLE_TOLERANCE_DEG for pole in point_poles or (np.inf,)], axis=0
    )
    if away.all() or not away.any():
        return ring
    open_ring, away = ring[:-1], away[:-1]
    departure = np.flatnonzero(away & ~np.roll(away, 1))[0]  # the first point after a pole
    open_ring, away = np.roll(open_ring, -departure, axis=0), np.roll(away, -departure)
    kept = open_ring[away]
    lons = unwrapped(kept[:, 0])
    path = np.column_stack([lons, kept[:, 1]])
    arrivals = np.flatnonzero(away & ~np.roll(away, -1))  # the last points before a pole
    passages = [
        [[lons[last], pole], [lons[last + 1 - len(lons)], pole]]
        for last, pole in zip(
            np.searchsorted(np.flatnonzero(away), arrivals),
            np.copysign(90.0, np.roll(open_ring, -1, axis=0)[arrivals, 1]),
            strict=True,
        )
    ]
    after = np.repeat(np.searchsorted(np.flatnonzero(away), arrivals) + 1, 2)
    path = np.insert(path, after, np.concatenate(passages), axis=0)
    return np.vstack([path, path[:1]])


def shift_longitude(points: np.ndarray, east_deg: float) -> np.ndarray:
    """Points, ``(n, 2)``, moved along their parallels."""
    return np.asarray(points + np.array([east_deg, 0.0]))


def _wrap_180(lons: np.ndarray) -> np.ndarray:
    """Differences of longitude, to within -180 … 180."""
    return np.asarray(np.remainder(lons + 180, 360) - 180)
