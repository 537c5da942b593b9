"""Geodesic circles on the WGS84 ellipsoid: the box around one, and the disc itself."""

from __future__ import annotations

import numpy as np
import shapely
from pyproj import Geod

from cop_zarr.core.grid import Bounds
from cop_zarr.regions import densify

GEOD = Geod(ellps="WGS84")


def circle_bounds(lon: float, lat: float, radius_m: float) -> Bounds:
    """Box around a geodesic circle, with ``west < east``.

    A circle's northernmost and southernmost points are on the centre's meridian. The azimuth of its
    easternmost point is searched in four rounds, down to steps of 0.000005°: the longitude is then off by
    less than 1e-10°, or about 1e-6° if the circle passes close to a pole. A circle around a pole contains
    every longitude.
    """
    to_north, to_south = (float(GEOD.inv(0, lat, 0, pole)[2]) for pole in (90, -90))
    north = 90.0 if to_north <= radius_m else GEOD.fwd(lon, lat, 0, radius_m)[1]
    south = -90.0 if to_south <= radius_m else GEOD.fwd(lon, lat, 180, radius_m)[1]
    if min(to_north, to_south) <= radius_m:
        return Bounds(-180.0, south, 180.0, north)
    best, reach = 90.0, 90.0
    for _ in range(4):
        azimuths = np.clip(np.linspace(best - reach, best + reach, 181), 0, 180)
        lons = _circle_points(lat, radius_m, azimuths)[0]
        best = float(azimuths[np.argmax(lons)])
        reach /= 60
    half_width = float(lons.max())
    west = lon - half_width
    if west < -180:
        west += 360
    return Bounds(west, south, west + 2 * half_width, north)


def disc(lon: float, lat: float, radius_m: float) -> shapely.Polygon:
    """The disc as a polygon in unwrapped degrees, with an edge along a pole that it encloses.

    The radius is at most a quarter meridian, so that it encloses one pole at most.
    """
    azimuths = np.linspace(0, 360, 721)  # the area of a disc smaller than the tolerance is exact to 1e-5
    ring = densify.trace(lambda at: _circle_points(lat, radius_m, at), azimuths)
    if densify.winding_number(ring):
        ring = densify.close_over_pole(ring, np.copysign(90.0, lat))
    west, east = ring[:, 0].min(), ring[:, 0].max()
    centred = lon - 360 * round((west + east) / 720)
    return shapely.Polygon(densify.shift_longitude(ring, centred + 360 * (centred + west < -180)))


def _circle_points(lat: float, radius_m: float, azimuths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Longitudes and latitudes of points of a circle around longitude 0."""
    ones = np.ones(azimuths.size)
    lons, lats, _ = GEOD.fwd(0 * ones, lat * ones, azimuths, radius_m * ones)
    return np.asarray(lons), np.asarray(lats)
