"""Coordinates of any CRS that PROJ knows, turned into degrees of longitude and latitude.

Axes are x, y (easting, northing; longitude, latitude) whatever order the CRS itself declares. What lies off
the map of a projection is refused: PROJ inverts some such points into places that were never meant.
"""

from __future__ import annotations

import math
import reprlib
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
import shapely
from pyproj import CRS, Transformer
from pyproj.enums import TransformDirection
from pyproj.exceptions import ProjError
from shapely.geometry.base import BaseGeometry

from cop_zarr.core import product
from cop_zarr.errors import RegionError
from cop_zarr.regions import densify
from cop_zarr.regions.validity import make_valid

ROUND_TRIP_TOLERANCE = 1e-3
"""Part of its size that a coordinate may change on its way to degrees and back: some km in a northing of
6,000,000. Datum shifts that PROJ chooses by place change it by up to some 100 m (NAD27, ED50); a point off
the map comes back from another part of the map, thousands of km away, or not at all."""

MIN_PIECES = 64
"""Pieces that the diagonal of a region is cut into at least, before curvature decides."""


def projection(crs: object) -> Projection:
    """Look a CRS up.

    Parameters
    ----------
    crs : str, int, pyproj.CRS or anything else that pyproj takes
        ``"EPSG:3857"``, WKT, a PROJ string, …

    Raises
    ------
    RegionError
        If PROJ does not know it, or it has no x and y on the Earth.
    """
    try:
        return _projection(CRS.from_user_input(crs))
    except (ProjError, TypeError, ValueError) as error:
        if isinstance(error, RegionError):
            raise
        given, reason = reprlib.repr(crs), str(error)[:300]
        if "celestial" in reason.lower():
            raise RegionError(f"crs={given} is not of the Earth") from error
        raise RegionError(
            f"PROJ makes no coordinate reference system of crs={given}; give an authority code such as "
            f"'EPSG:3857', WKT or a PROJ string ({reason})"
        ) from error


@lru_cache(maxsize=64)
def _projection(crs: CRS) -> Projection:
    return Projection(crs)


class Projection:
    """The way from one CRS to degrees of longitude and latitude (OGC:CRS84), and back.

    Attributes
    ----------
    crs : pyproj.CRS
        The CRS itself.
    name : str
        ``EPSG:3857``, or what else PROJ calls it.
    native : bool
        Whether it is the product's own CRS, so that coordinates need no conversion.
    degrees : bool
        Whether its coordinates are degrees, which may jump at the antimeridian.
    """

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
        self._metre = 1 / self._unit if crs.is_projected and self._unit > 0.1 else 0.0  # no rotated pole
        self._transformer = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)

    def same_as(self, other: Projection) -> bool:
        """Whether both are one CRS, whatever axis order they declare."""
        return self.crs.equals(other.crs, ignore_axis_order=True)

    def to_lonlat(self, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Degrees of longitude, -180 … 180, and of latitude.

        Raises
        ------
        RegionError
            If a point lies off the map, so that there is no way back to it.
        """
        largest = max(1.0, float(np.abs(xs).max()), float(np.abs(ys).max()))
        lons, lats, on_map = self._round_trip(xs, ys, max(self._metre, ROUND_TRIP_TOLERANCE * largest))
        if not on_map.all():
            first = int(np.argmin(on_map))
            raise RegionError(
                f"x = {xs[first]:.10g}, y = {ys[first]:.10g} lies off the map of {self.name}; a region "
                "must lie on it as a whole"
            )
        return lons, lats

    def to_lonlat_or_nan(self, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Longitudes and latitudes of points, each by itself; NaN for one that lies off the map."""
        with np.errstate(invalid="ignore"):
            largest = np.maximum(1.0, np.maximum(np.abs(xs), np.abs(ys)))
            tolerance = np.maximum(self._metre, ROUND_TRIP_TOLERANCE * largest)
        lons, lats, on_map = self._round_trip(xs, ys, tolerance)
        return np.where(on_map, lons, np.nan), np.where(on_map, lats, np.nan)

    def _round_trip(
        self, xs: np.ndarray, ys: np.ndarray, tolerance: float | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Longitudes, latitudes, and whether there is a way back from there."""
        lons, lats = self._transformer.transform(xs, ys)
        back_x, back_y = self.from_lonlat(lons, lats)
        with np.errstate(invalid="ignore"):  # infinities; they fit nowhere
            gap_x, gap_y = np.abs(back_x - xs), np.abs(back_y - ys)
            if self._circumference:
                gap_x %= self._circumference
                gap_x = np.minimum(gap_x, self._circumference - gap_x)
        if self._is_geographic:  # a pole has any longitude
            gap_x[np.abs(lats) > 90 - densify.POLE_TOLERANCE_DEG] = 0
        return lons, lats, (gap_x <= tolerance) & (gap_y <= tolerance)

    def from_lonlat(self, lons: Any, lats: Any) -> tuple[np.ndarray, np.ndarray]:
        """Back again; infinite where the projection has no such place."""
        back = self._transformer.transform(lons, lats, direction=TransformDirection.INVERSE)
        return np.asarray(back[0]), np.asarray(back[1])

    @cached_property
    def _circumference(self) -> float:
        """Length of every parallel in x, for a map that goes on around the Earth; 0 for others."""
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
        """Latitude, x and y of each pole that is a single point of the map.

        PROJ's ellipsoidal laea spreads its far pole over as much as a metre, by longitude.
        """
        found = []
        for pole in (90.0, -90.0):
            xs, ys = self.from_lonlat(np.arange(-180.0, 180.0, 60.0), np.full(6, pole))
            if np.isfinite(xs + ys).all() and np.ptp(xs) + np.ptp(ys) < max(1e-3, 10 * self._metre):
                found.append((pole, float(np.median(xs)), float(np.median(ys))))
        return found

    def point_to_lonlat(self, x: float, y: float) -> tuple[float, float]:
        """Longitude and latitude of one point."""
        lons, lats = self.to_lonlat(np.array([x]), np.array([y]))
        return float(lons[0]), float(lats[0])

    def bounds_to_lonlat(
        self, minx: float, miny: float, maxx: float, maxy: float
    ) -> tuple[float, float, float, float]:
        """West, south, east and north edges of a box, -180 … 180; west > east across the antimeridian."""
        west, south, east, north = self.polygon_to_lonlat(shapely.box(minx, miny, maxx, maxy)).bounds
        if east - west > 360 - densify.TOLERANCE_DEG:
            return -180.0, south, 180.0, north
        west, east = (180 - (180 - edge) % 360 for edge in (west, east))
        return (-180.0 if west == 180 else west), south, east, north

    def polygon_to_lonlat(self, polygon: shapely.Polygon) -> BaseGeometry:
        """Bring a valid polygon over; straight edges of the map become as curved as they are on Earth."""
        # refuse what is off the map before it is densified: absurd numbers make endless pieces
        self.to_lonlat(*shapely.get_coordinates(polygon).T)
        for _, x, y in self._poles:  # an edge through the pole gets a vertex there
            polygon = shapely.snap(polygon, shapely.Point(x, y), 1e-6)
        shell, *holes = [self._ring_interior(ring) for ring in (polygon.exterior, *polygon.interiors)]
        return _subtract_holes(shell, holes)

    def _ring_interior(self, ring: shapely.LinearRing) -> BaseGeometry:
        """What a ring of the map encloses, in unrolled degrees."""
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
        west, _, east, _ = inside.bounds  # around both poles: what looks like the inside is left out
        middle = (west + east) / 2
        return shapely.box(middle - 180, -90, middle + 180, 90).difference(inside)


def _subtract_holes(shell: BaseGeometry, holes: list[BaseGeometry]) -> BaseGeometry:
    """A shell less its holes, each of which may lie any number of turns from it."""
    west, _, east, _ = shell.bounds
    turned = [
        shapely.transform(hole, partial(densify.shift_longitude, east_deg=360.0 * turn))
        for hole in holes
        for turn in range(
            math.ceil((west - hole.bounds[2]) / 360), math.floor((east - hole.bounds[0]) / 360) + 1
        )
    ]
    return shell.difference(shapely.union_all(turned)) if turned else shell


def _valid_polygon(ring: np.ndarray) -> BaseGeometry:
    """A ring's polygon, valid even where PROJ changes its datum shift and the ring jumps by metres."""
    polygon = shapely.Polygon(ring)
    return polygon if polygon.is_valid else make_valid(polygon)
