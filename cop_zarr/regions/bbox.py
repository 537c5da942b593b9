"""Boxes in degrees, and boxes of another CRS turned into them."""

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
        The box unrolled: ``west < east``.

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
        west, south = (
            finite_number(self.minlon, "the box's minlon"),
            finite_number(self.minlat, "the box's minlat"),
        )
        east, north = (
            finite_number(self.maxlon, "the box's maxlon"),
            finite_number(self.maxlat, "the box's maxlat"),
        )
        if not (-180 <= west <= 360 and -180 <= east <= 360):
            raise _box_error(west, south, east, north)
        unrolled = east
        while unrolled < west:  # twice where the edges are of both conventions: 350 to -170
            unrolled += 360
        if not (-90 <= south < north <= 90 and west < unrolled <= west + 360):
            raise _box_error(west, south, east, north)
        bounds = Bounds(west, south, unrolled, north)
        # at once, and past the dataclass's own setters: boxes are made by the million
        self.__dict__.update(minlon=west, minlat=south, maxlon=east, maxlat=north, bounds=bounds)

    @classmethod
    def from_crs(cls, bounds: Sequence[float], *, crs: object) -> BBox:
        """Make the box around a box in another CRS.

        Its edges are densified until no part of them strays by more than 1e-6°; a box around a pole, in a
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
            If the CRS is unknown, the box empty, or a part of it off the map of its projection.

        Examples
        --------
        >>> box = BBox.from_crs((13358338, 3503549, 13580977, 3763310), crs="EPSG:3857")
        >>> [round(edge, 4) for edge in box.bounds]
        [120.0, 30.0, 122.0, 32.0]
        """
        from cop_zarr.regions.projections import projection  # 0.1 s, which plain boxes do not need

        source = projection(crs)
        minx, miny, maxx, maxy = (
            finite_number(value, f"the box's {name}")
            for value, name in zip(four_numbers(bounds), ("minx", "miny", "maxx", "maxy"), strict=True)
        )
        given = (minx, miny, maxx, maxy)
        if not source.is_product_crs and not (minx < maxx and miny < maxy):
            hint = " (across the antimeridian, go on past 180)" if source.in_degrees else ""
            raise RegionError(
                "minx must be less than maxx and miny less than maxy, in the order (minx, miny, maxx, "
                f"maxy){hint}; got {given} in {source.name}"
            )
        box = cls(*(given if source.is_product_crs else source.bounds_to_lonlat(*given)))
        object.__setattr__(box, "_origin", Origin(given, source.name))
        return box

    @property
    def footprint(self) -> Footprint:
        """The region as queries see it."""
        roi = {
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
        return Footprint(self.bounds, centre, {**roi, "given": self._origin.record()}, self._origin.crs)


def is_bbox_tuple(roi: object) -> bool:
    """Whether it is four numbers and cannot be anything else; telling is quick."""
    if type(roi) is not tuple and type(roi) is not list:
        return False
    return len(roi) == 4 and NUMBER_TYPES.issuperset(map(type, roi))


def _box_error(west: float, south: float, east: float, north: float) -> RegionError:
    """What is wrong with a box's edges."""
    edges = (west, south, east, north)
    if max(abs(south), abs(north)) > 90:
        hint = range_hint(max(abs(west), abs(east)), max(abs(south), abs(north)))
        return RegionError(
            f"latitudes must lie within -90 … 90, in the order (minlon, minlat, maxlon, maxlat); "
            f"got {edges}{hint}"
        )
    if south >= north:
        return RegionError(f"minlat must be less than maxlat; got {edges}")
    if not (-180 <= west <= 360 and -180 <= east <= 360):
        return RegionError(f"longitudes must lie within -180 … 360; got {edges}")
    return RegionError(
        "a box must be wider than 0° and no wider than the 360° of the globe (minlon > maxlon "
        f"means across the antimeridian); got {edges}"
    )


def four_numbers(roi: object) -> list[Any]:
    """Take a sequence of four, or refuse what is no region at all."""
    accepted = (
        "a region is a BBox, a PointBuffer, four numbers (minlon, minlat, maxlon, maxlat), a GeoJSON "
        "mapping, or an object with __geo_interface__"
    )
    values = roi.tolist() if isinstance(roi, np.ndarray) else roi
    if isinstance(values, str | os.PathLike):
        raise RegionError(f"{accepted}; got {type(roi).__name__}: {reprlib.repr(roi)}; read a file first")
    if not isinstance(values, Sequence) or isinstance(values, bytes):
        raise RegionError(f"{accepted}; got {type(roi).__name__}: {reprlib.repr(roi)}")
    if any(has_geo_interface(value) or isinstance(value, BBox | list | tuple) for value in values):
        raise RegionError(f"{accepted}; got {len(values)} of them: ask for one at a time")
    if len(values) != 4:
        raise RegionError(f"{accepted}; got {len(values)} values: {reprlib.repr(roi)}")
    return list(values)


def has_geo_interface(roi: object) -> bool:
    """Whether it is a GeoJSON mapping or has one, which may be slow to ask for."""
    return isinstance(roi, Mapping) or getattr_static(roi, "__geo_interface__", None) is not None
