"""Boxes in degrees, and boxes of another CRS converted to degrees."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import getattr_static
from typing import Any

import numpy as np

from cop_zarr.core.grid import Bounds, range_hint
from cop_zarr.errors import RegionError
from cop_zarr.regions.footprints import Footprint, Origin, finite_number

NUMBER_TYPES = frozenset({int, float})

ACCEPTED = (
    "a region is a BBox, a PointBuffer, four numbers (minlon, minlat, maxlon, maxlat), a GeoJSON mapping, "
    "or an object with __geo_interface__"
)


@dataclass(frozen=True)
class BBox:
    """A box in EPSG:4326, edges in degrees.

    Longitudes may be given from -180 to 180 or from 0 to 360. ``minlon > maxlon`` means that the box
    crosses the antimeridian, as in GeoJSON (RFC 7946, section 5.2).

    Parameters
    ----------
    minlon, minlat, maxlon, maxlat : float
        West, south, east and north edge: longitudes -180 to 360, latitudes -90 to 90.

    Attributes
    ----------
    bounds : Bounds
        The box with ``west < east``: across the antimeridian, ``east`` is greater than 180.

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
        if not (-180 <= west <= 360 and -180 <= east <= 360):
            raise _box_error(west, south, east, north)
        unwrapped = east
        while unwrapped < west:  # twice from 350 to -170
            unwrapped += 360
        if not (-90 <= south < north <= 90 and west < unwrapped <= west + 360):
            raise _box_error(west, south, east, north)
        bounds = Bounds(west, south, unwrapped, north)
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
        if not source.is_product_crs and not (minx < maxx and miny < maxy):
            hint = "; across the antimeridian, use x > 180" if source.in_degrees else ""
            raise RegionError(
                f"minx must be less than maxx and miny less than maxy; got {given} in {source.name}{hint}"
            )
        box = cls(*(given if source.is_product_crs else source.bounds_to_lonlat(given)))
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
        west, south, east, north = self.bounds
        centre = (west + east) / 2, (south + north) / 2
        if self._origin is None:
            return Footprint(self.bounds, centre, roi)
        coordinates, crs = self._origin
        roi["given"] = {"coordinates": list(coordinates), "crs": crs}
        return Footprint(self.bounds, centre, roi, crs)


def is_bbox_tuple(roi: object) -> bool:
    """Whether it is a tuple or list of four plain numbers."""
    if type(roi) is not tuple and type(roi) is not list:
        return False
    return len(roi) == 4 and NUMBER_TYPES.issuperset(map(type, roi))


def has_geo_interface(roi: object) -> bool:
    """Whether it is a mapping or has ``__geo_interface__``, which is not computed."""
    return isinstance(roi, Mapping) or getattr_static(roi, "__geo_interface__", None) is not None


def four_numbers(roi: object) -> list[Any]:
    """The four values of a sequence; RegionError for anything else."""
    values = roi.tolist() if isinstance(roi, np.ndarray) else roi
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        hint = "; read the file first" if isinstance(values, str | os.PathLike) else ""
        raise RegionError(f"{ACCEPTED}; got {type(roi).__name__}: {reprlib.repr(roi)}{hint}")
    if any(has_geo_interface(value) or isinstance(value, BBox | list | tuple) for value in values):
        raise RegionError(f"{ACCEPTED}; got {len(values)} regions: query one at a time, or use query_many")
    if len(values) != 4:
        raise RegionError(f"{ACCEPTED}; got {len(values)} values: {reprlib.repr(roi)}")
    return list(values)


def _box_error(west: float, south: float, east: float, north: float) -> RegionError:
    edges = (west, south, east, north)
    largest_lat = max(abs(south), abs(north))
    if largest_lat > 90:
        hint = range_hint(max(abs(west), abs(east)), largest_lat)
        return RegionError(
            "latitudes must be within -90 … 90, in the order (minlon, minlat, maxlon, maxlat); "
            f"got {edges}{hint}"
        )
    if south >= north:
        return RegionError(f"minlat must be less than maxlat; got {edges}")
    if not (-180 <= west <= 360 and -180 <= east <= 360):
        return RegionError(f"longitudes must be within -180 … 360; got {edges}")
    return RegionError(
        "a box must be wider than 0° and at most 360° wide (minlon > maxlon means across the "
        f"antimeridian); got {edges}"
    )
