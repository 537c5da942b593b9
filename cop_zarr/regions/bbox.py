"""Boxes in degrees, and boxes of another CRS converted to degrees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cop_zarr.core.grid import Bounds
from cop_zarr.core.positions import (
    MAX_LAT,
    MAX_LON,
    MAX_WIDTH,
    ROUNDING_DEG,
    range_error,
    turn_offset,
)
from cop_zarr.core.product import LATTICE_WEST
from cop_zarr.errors import RegionError
from cop_zarr.regions.footprints import Footprint, Origin, finite_number
from cop_zarr.regions.forms import four_numbers


@dataclass(frozen=True)
class BBox:
    """A box in EPSG:4326, edges in degrees.

    Longitude is cyclic: -170, 190 and 550 are one meridian. ``minlon > maxlon`` means that the box crosses
    the antimeridian, as in GeoJSON (RFC 7946, section 5.2). What the extent of a raster on the product's
    grid reaches past a pole, half a cell, is clipped.

    Parameters
    ----------
    minlon, minlat, maxlon, maxlat : float
        West, south, east and north edge: longitudes within three turns, -1080 to 1080; latitudes -90 to 90,
        or up to 0.125° more. A box may be 360° wide; up to 0.25° more, as of a raster that repeats its
        first column, is all longitudes as well.

    Attributes
    ----------
    bounds : Bounds
        The box with ``west < east``, ``west`` from -180 to 360, or -180.125 of the product's extent. Across
        the antimeridian, ``east`` is greater than 180.

    Raises
    ------
    RegionError
        If an edge is not a finite number or out of range, or the box is empty.

    Examples
    --------
    >>> BBox(120, 30, 122, 32)
    BBox(minlon=120.0, minlat=30.0, maxlon=122.0, maxlat=32.0)
    >>> BBox(170, -20, -170, -10).bounds  # Fiji
    Bounds(west=170.0, south=-20.0, east=190.0, north=-10.0)
    >>> BBox(-180.125, -90.125, 179.875, 90.125).bounds  # the product's extent
    Bounds(west=-180.125, south=-90.0, east=179.875, north=90.0)
    """

    minlon: float
    minlat: float
    maxlon: float
    maxlat: float
    bounds: Bounds = field(init=False, repr=False, compare=False)
    _origin: Origin | None = field(init=False, default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        west, south = finite_number(self.minlon, "minlon"), finite_number(self.minlat, "minlat")
        east, north = finite_number(self.maxlon, "maxlon"), finite_number(self.maxlat, "maxlat")
        if -180 <= west < east <= 180 and -90 <= south < north <= 90:
            bounds = Bounds(west, south, east, north)
        else:
            bounds = _unwrap(west, south, east, north)
        # one update instead of five object.__setattr__: queries of many regions make millions of boxes
        self.__dict__.update(minlon=west, minlat=south, maxlon=east, maxlat=north, bounds=bounds)

    @classmethod
    def from_crs(cls, bounds: Sequence[float], *, crs: object) -> BBox:
        """Make the box around a box in another CRS.

        Its edges are densified until no part of them is off by more than 1e-6°; a box around a pole, in a
        polar projection, becomes one of all longitudes.

        Parameters
        ----------
        bounds : sequence of float
            (minx, miny, maxx, maxy): x is easting or longitude, whatever axis order the CRS declares.
        crs : str, int or pyproj.CRS
            Any that pyproj knows.

        Raises
        ------
        RegionError
            If the CRS is unknown, the box empty, or a part of it outside the map of its projection.

        Examples
        --------
        >>> box = BBox.from_crs((13358338, 3503549, 13580977, 3763310), crs="EPSG:3857")
        >>> [round(edge, 4) for edge in box.bounds]
        [120.0, 30.0, 122.0, 32.0]
        """
        from cop_zarr.regions.projections import projection  # imports pyproj, which takes 0.1 s

        source = projection(crs)
        names = ("minx", "miny", "maxx", "maxy")
        minx, miny, maxx, maxy = map(finite_number, four_numbers(bounds), names)
        given = (minx, miny, maxx, maxy)
        if source.is_product_crs:
            box = cls(*given)
        elif source.in_degrees:
            box = cls(*source.bounds_to_lonlat(cls(*given).bounds))
        elif minx < maxx and miny < maxy:
            box = cls(*source.bounds_to_lonlat(given))
        else:
            raise RegionError(
                f"minx must be less than maxx and miny less than maxy; got {given} in {source.name}"
            )
        object.__setattr__(box, "_origin", (given, source.name))
        return box

    @property
    def footprint(self) -> Footprint:
        """The region as queries use it."""
        roi: dict[str, Any] = {
            "type": "BBox",
            "minlon": self.minlon,
            "minlat": self.minlat,
            "maxlon": self.maxlon,
            "maxlat": self.maxlat,
        }
        bounds = self.bounds
        west, south, east, north = bounds
        centre = (west + east) / 2, (south + north) / 2
        if self.maxlat > 90 or self.minlat < -90:  # the cells of the first and the last row are that high
            bounds = Bounds(west, self.minlat, east, self.maxlat)
        if self._origin is None:
            return Footprint(bounds, centre, roi)
        coordinates, crs = self._origin
        roi["given"] = {"coordinates": list(coordinates), "crs": crs}
        return Footprint(bounds, centre, roi, crs)


def _unwrap(west: float, south: float, east: float, north: float) -> Bounds:
    """The bounds of a box whose edges are any number of turns apart; RegionError if it is not a box."""
    given = (west, south, east, north)
    if max(abs(west), abs(east)) > MAX_LON or max(abs(south), abs(north)) > MAX_LAT:
        raise range_error(*given, f"(minlon, minlat, maxlon, maxlat) = {given}")
    south, north = max(south, -90.0), min(north, 90.0)
    if south >= north:
        raise RegionError(f"minlat must be less than maxlat, and some of it within -90 … 90; got {given}")
    if east < west:
        east += 360 * math.ceil((west - east) / 360 - ROUNDING_DEG / 360)  # 360 by rounding is one turn
    if not west < east <= west + MAX_WIDTH:
        raise RegionError(
            "a box must be wider than 0° and at most 360° wide (minlon > maxlon means across the "
            f"antimeridian); got {given}"
        )
    offset = turn_offset(west, LATTICE_WEST if east - west >= 360 else -180.0)
    return Bounds(west + offset, south, min(east, west + 360) + offset, north)
