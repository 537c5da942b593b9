"""Conversion of any CRS that PROJ knows to degrees of longitude and latitude.

Axes are x, y (easting, northing; longitude, latitude), whatever order the CRS declares. Coordinates outside
the map of a projection are rejected: PROJ converts some of them to unrelated locations.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
import shapely
from pyproj import CRS, Transformer
from pyproj.enums import TransformDirection
from pyproj.exceptions import ProjError
from shapely.geometry.base import BaseGeometry

from cop_zarr.core import product
from cop_zarr.core.positions import MAX_LAT
from cop_zarr.errors import RegionError
from cop_zarr.regions import densify
from cop_zarr.regions.validity import make_valid

Edges = tuple[float, float, float, float]

ROUND_TRIP_TOLERANCE = 1e-3
"""Largest relative change of a coordinate that is converted to degrees and back: 6 km in a northing of
6,000,000. Datum shifts that PROJ chooses by location change it by up to 100 m (NAD27, ED50); a point
outside the map comes back thousands of km away, or not at all."""

MIN_PIECES = 64
"""Before :func:`densify.trace`, edges are cut into pieces of the bounds' diagonal over this."""


def projection(crs: object) -> Projection:
    """Look up a CRS in any form that pyproj accepts; RegionError if it has no x and y on the Earth."""
    try:
        return _cached_projection(CRS.from_user_input(crs))
    except RegionError:
        raise
    except (ProjError, TypeError, ValueError, RecursionError) as error:
        raise RegionError(
            f"crs={reprlib.repr(crs)} is not a known CRS of the Earth; use an authority code such as "
            f"'EPSG:3857', WKT or a PROJ string ({str(error)[:300]})"
        ) from error


def check_same(given: Projection, declared: Projection, owner: str) -> None:
    """Raise RegionError if the CRS given is not the one declared; axis order does not matter."""
    if not given.crs.equals(declared.crs, ignore_axis_order=True):
        raise RegionError(
            f"the {owner} declares the CRS {declared.name}, but crs={given.name!r} was given; omit crs=, "
            f"or convert the {owner}"
        )


class Projection:
    """Converts between one CRS and degrees of longitude and latitude (OGC:CRS84)."""

    def __init__(self, crs: CRS) -> None:
        authority = crs.to_authority()
        self.name = ":".join(authority) if authority else crs.to_string()
        if not (crs.is_projected or crs.is_geographic):
            raise RegionError(f"crs={self.name!r} ({crs.type_name}) has no x and y on the Earth")
        self.crs = crs
        self.is_product_crs = crs.equals(CRS.from_user_input(product.CRS), ignore_axis_order=True)
        self.in_degrees = crs.is_geographic and all(
            axis.unit_name == "degree" for axis in crs.axis_info[:2]
        )
        self._is_geographic = crs.is_geographic
        self._unit = crs.axis_info[0].unit_conversion_factor  # in metres, or in radians
        self._degree = math.radians(1) / self._unit  # of a geographic CRS
        self._metre = 1 / self._unit if crs.is_projected and self._unit > 0.1 else 0.0  # no rotated pole
        self._transformer = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)

    def to_lonlat(self, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Convert to longitudes, -180 … 180, and latitudes; RegionError for a point outside the map."""
        ys = self._within_poles(ys)
        largest = max(1.0, float(np.abs(xs).max()), float(np.abs(ys).max()))
        lons, lats, on_map = self._round_trip(xs, ys, max(self._metre, ROUND_TRIP_TOLERANCE * largest))
        if not on_map.all():
            first = int(np.argmin(on_map))
            raise self.outside_error(xs[first], ys[first])
        return lons, lats

    def to_lonlat_or_nan(self, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Convert to longitudes and latitudes, NaN for a point outside the map."""
        ys = self._within_poles(ys)
        with np.errstate(invalid="ignore"):
            largest = np.maximum(1.0, np.maximum(np.abs(xs), np.abs(ys)))
            tolerance = np.maximum(self._metre, ROUND_TRIP_TOLERANCE * largest)
        lons, lats, on_map = self._round_trip(xs, ys, tolerance)
        return np.where(on_map, lons, np.nan), np.where(on_map, lats, np.nan)

    def _within_poles(self, ys: np.ndarray) -> np.ndarray:
        """The same latitudes, those past a pole by less than the grid is as that pole."""
        if not self._is_geographic:
            return ys
        past = (np.abs(ys) > 90 * self._degree) & (np.abs(ys) <= MAX_LAT * self._degree)
        return np.where(past, np.copysign(90 * self._degree, ys), ys)

    def outside_error(self, x: float, y: float) -> RegionError:
        """The error for a point outside the map."""
        return RegionError(f"x = {x:.10g}, y = {y:.10g} is outside the map of {self.name}")

    def _round_trip(
        self, xs: np.ndarray, ys: np.ndarray, tolerance: float | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Longitudes, latitudes, and whether they convert back to the same point."""
        lons, lats = self._transformer.transform(xs, ys)
        back_x, back_y = self.from_lonlat(lons, lats)
        with np.errstate(invalid="ignore"):  # infinite minus infinite
            gap_x, gap_y = np.abs(back_x - xs), np.abs(back_y - ys)
            if self._circumference:
                gap_x %= self._circumference
                gap_x = np.minimum(gap_x, self._circumference - gap_x)
            if self._is_geographic:  # at a pole, which is 100 m from that of another datum, it is arbitrary
                gap_x = gap_x * np.cos(ys * self._unit)
        return lons, lats, (gap_x <= tolerance) & (gap_y <= tolerance)

    def from_lonlat(self, lons: Any, lats: Any) -> tuple[np.ndarray, np.ndarray]:
        """Convert from degrees; infinite outside the map."""
        back = self._transformer.transform(lons, lats, direction=TransformDirection.INVERSE)
        return np.asarray(back[0]), np.asarray(back[1])

    @cached_property
    def _circumference(self) -> float:
        """Length in x of every parallel, if all have the same (a cylindrical map); else 0."""
        if self._is_geographic:
            return 2 * math.pi / self._unit
        lons = np.arange(-180.0, 180.0, 60.0)
        equator, north = self.from_lonlat(lons, np.zeros(6))[0], self.from_lonlat(lons, np.full(6, 45.0))[0]
        if not np.isfinite(equator + north).all():
            return 0.0
        step = float(np.abs(np.median(np.diff(equator))))
        return 6 * step if np.allclose(equator, north, rtol=0, atol=1e-9 * step) else 0.0

    @cached_property
    def _poles(self) -> list[tuple[float, float, float]]:
        """Latitude, x and y of each pole that is one point of the map, to a metre.

        PROJ's ellipsoidal laea spreads its far pole, by longitude, over almost a metre.
        """
        found = []
        for pole in (90.0, -90.0):
            xs, ys = self.from_lonlat(np.arange(-180.0, 180.0, 60.0), np.full(6, pole))
            if np.isfinite(xs + ys).all() and np.ptp(xs) + np.ptp(ys) < max(1e-3, 10 * self._metre):
                found.append((pole, float(np.median(xs)), float(np.median(ys))))
        return found

    def point_to_lonlat(self, x: float, y: float) -> tuple[float, float]:
        """Longitude and latitude of one point; RegionError outside the map."""
        lons, lats = self.to_lonlat(np.array([x]), np.array([y]))
        return float(lons[0]), float(lats[0])

    def bounds_to_lonlat(self, bounds: Edges) -> Edges:
        """West, south, east, north of a box, -180 … 180; west > east across the antimeridian."""
        west, south, east, north = self.polygon_to_lonlat(shapely.box(*bounds)).bounds
        if self._is_geographic:
            west, _, east, _ = self.polygon_to_lonlat(shapely.box(*self._beside_poles(bounds))).bounds
        if east - west > 360 - densify.TOLERANCE_DEG:
            return -180.0, south, 180.0, north
        west, east = (180 - (180 - edge) % 360 for edge in (west, east))
        return (-180.0 if west == 180 else west), south, east, north

    def _beside_poles(self, bounds: Edges) -> Edges:
        """A box of the same longitudes, which end a degree from a pole: the two datums' are 100 m apart."""
        west, south, east, north = bounds
        polar, thin = 89 * self._degree, 1e-3 * self._degree
        if north > polar:
            north = max(polar, south + thin)
        if south < -polar:
            south = min(-polar, north - thin)
        return west, south, east, north

    def polygon_to_lonlat(self, polygon: shapely.Polygon) -> BaseGeometry:
        """Convert a valid polygon; edges, straight on the map, are densified."""
        # check the vertices first: with absurd numbers densifying would not end
        self.to_lonlat(*shapely.get_coordinates(polygon).T)
        for _, x, y in self._poles:  # insert a vertex where an edge crosses a pole
            polygon = shapely.snap(polygon, shapely.Point(x, y), 1e-6)
        shell, *holes = [self._ring_interior(ring) for ring in (polygon.exterior, *polygon.interiors)]
        return subtract_holes(shell, holes)

    def _ring_interior(self, ring: shapely.LinearRing) -> BaseGeometry:
        """The interior of a ring in unwrapped degrees."""
        west, south, east, north = ring.bounds
        piece = float(np.hypot(east - west, north - south)) / MIN_PIECES
        xs, ys = shapely.get_coordinates(shapely.segmentize(ring, piece)).T
        ts = np.arange(len(xs), dtype="f8")

        def curve(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return self.to_lonlat(np.interp(at, ts, xs), np.interp(at, ts, ys))

        traced = densify.trace(curve, ts, tuple(pole for pole, _, _ in self._poles))
        poles = [pole for pole, x, y in self._poles if shapely.Polygon(ring).covers(shapely.Point(x, y))]
        if densify.winding_number(traced):
            pole = poles[0] if poles else np.copysign(90.0, traced[:, 1].mean())
            return _valid_polygon(densify.close_over_pole(traced, pole))
        inside = _valid_polygon(traced)
        if len(poles) < 2:
            return inside
        west, _, east, _ = inside.bounds  # around both poles the interior is the outside of the outline
        middle = (west + east) / 2
        return shapely.box(middle - 180, -90, middle + 180, 90).difference(inside)


_cached_projection = lru_cache(maxsize=64)(Projection)


def subtract_holes(shell: BaseGeometry, holes: Sequence[BaseGeometry]) -> BaseGeometry:
    """Subtract holes, which may be a multiple of 360° away from the shell."""
    west, _, east, _ = shell.bounds
    shifted = [
        shapely.transform(hole, partial(densify.shift_longitude, east_deg=360.0 * turn))
        for hole in holes
        for turn in range(
            math.ceil((west - hole.bounds[2]) / 360), math.floor((east - hole.bounds[0]) / 360) + 1
        )
    ]
    return shell.difference(shapely.union_all(shifted)) if shifted else shell


def _valid_polygon(ring: np.ndarray) -> BaseGeometry:
    """A ring's polygon, repaired where PROJ switches between datum shifts and the ring jumps by metres."""
    polygon = shapely.Polygon(ring)
    return polygon if polygon.is_valid else make_valid(polygon)
