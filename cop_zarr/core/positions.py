"""Which pairs of numbers are positions on the globe.

Longitude is cyclic: every number of degrees within three turns names a meridian. Latitudes end at the
poles. The first and the last row of the grid reach half a cell past them, so that the extent of a raster on
this grid does too: such a latitude is the pole.
"""

from __future__ import annotations

import math

import numpy as np

from cop_zarr.core.product import LATTICE_NORTH, STEP_DEG
from cop_zarr.errors import RegionError

MAX_LON = 3 * 360.0
"""Largest longitude, and the smallest is its negative: three turns."""

ROUNDING_DEG = 1e-10
"""Degrees (0.01 mm) by which an edge that was computed may miss what was meant."""

MAX_LAT = LATTICE_NORTH + ROUNDING_DEG
"""Largest latitude, and the smallest is its negative: the edge of the grid."""

MAX_WIDTH = 360 + STEP_DEG + ROUNDING_DEG
"""Largest width of a region: all longitudes, and half a cell at either end, as latitudes have."""


def on_globe(lons: np.ndarray, lats: np.ndarray) -> np.ndarray:
    """Whether points are positions on the globe, bool; False for NaN."""
    return np.asarray((np.abs(lons) <= MAX_LON) & (np.abs(lats) <= MAX_LAT))


def normalised(lons: np.ndarray, lats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same positions with longitudes from -180 to 180 and latitudes within ±90."""
    far = np.abs(lons) > 180
    if far.any():
        lons = np.where(far, lons - 360 * np.round(lons / 360), lons)
    return lons, np.clip(lats, -90, 90) if (np.abs(lats) > 90).any() else lats


def turn_offset(west: float, first: float = -180.0) -> float:
    """Multiple of 360° to add to a region whose west edge is ``west``, to have it within ``first`` … 360.

    The sum is exact: an edge that is moved has no digit that its place in the frame lacks.

    >>> turn_offset(120), turn_offset(350), turn_offset(-186.6), turn_offset(370)
    (0.0, 0.0, 360.0, -360.0)
    """
    if first - ROUNDING_DEG <= west <= 360:
        return 0.0
    return -360.0 * math.floor((west + 180) / 360)


def range_error(west: float, south: float, east: float, north: float, given: str) -> RegionError:
    """The error for a box, or a point, that is not on the globe; ``given`` are its numbers as text."""
    if not max(-south, north) <= MAX_LAT:  # true of NaN
        accepted = "latitudes must be within -90 … 90"
    else:
        accepted = "longitudes must be within three turns, -1080 … 1080"
    return RegionError(f"{accepted}; got {given}{_hint(west, south, east, north)}")


def _hint(west: float, south: float, east: float, north: float) -> str:
    """What may be wrong: swapped axes, if swapping gives a position, or another CRS."""
    largest_lon, largest_lat = max(abs(west), abs(east)), max(abs(south), abs(north))
    if largest_lon <= 90 < largest_lat <= 360 and west <= east:
        return "; are latitude and longitude swapped?"
    if max(largest_lon, largest_lat) > 360:
        return "; if it is in another CRS, name it (crs=)"
    return ""
