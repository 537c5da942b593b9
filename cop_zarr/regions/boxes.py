"""Boxes in degrees, and boxes of another CRS turned into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cop_zarr.errors import RegionError
from cop_zarr.grid import Bounds
from cop_zarr.regions.footprints import Footprint, Origin, finite, provenance


@dataclass(frozen=True)
class BBox:
    """A box in EPSG:4326, edges in degrees.

    Longitudes may be given from -180 to 180 or from 0 to 360. ``minlon > maxlon`` means that the box
    crosses the antimeridian, as in GeoJSON (RFC 7946, section 5.2).

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
    origin: Origin | None = field(default=None, repr=False, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("minlon", "minlat", "maxlon", "maxlat"):
            object.__setattr__(self, name, finite(getattr(self, name), f"the box's {name}"))
        edges = (self.minlon, self.minlat, self.maxlon, self.maxlat)
        if max(abs(self.minlat), abs(self.maxlat)) > 90:
            swapped = max(abs(self.minlon), abs(self.maxlon)) <= 90
            hint = "; are latitude and longitude swapped?" if swapped else ""
            raise RegionError(
                f"latitudes must lie within -90 … 90, in the order (minlon, minlat, maxlon, maxlat); "
                f"got {edges}{hint}"
            )
        if self.minlat >= self.maxlat:
            raise RegionError(f"minlat must be less than maxlat; got {edges}")
        if not (-180 <= self.minlon <= 360 and -180 <= self.maxlon <= 360):
            raise RegionError(f"longitudes must lie within -180 … 360; got {edges}")
        if self.bounds.east == self.minlon or self.maxlon - self.minlon > 360:
            raise RegionError(
                "a box must be wider than 0° and no wider than the 360° of the globe (minlon > maxlon "
                f"means across the antimeridian); got {edges}"
            )

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
        from cop_zarr.regions.projections import (
            projection,
        )  # pyproj and shapely take 0.2 s; plain boxes need neither

        source = projection(crs)
        minx, miny, maxx, maxy = (
            finite(value, f"the box's {name}")
            for value, name in zip(four_numbers(bounds), ("minx", "miny", "maxx", "maxy"), strict=True)
        )
        given = Origin((minx, miny, maxx, maxy), source.name)
        if source.geographic:
            return cls(minx, miny, maxx, maxy, origin=given)
        if not (minx < maxx and miny < maxy):
            hint = " (across the antimeridian, go on past 180)" if source.degrees else ""
            raise RegionError(
                "minx must be less than maxx and miny less than maxy, in the order (minx, miny, maxx, "
                f"maxy){hint}; got {given.coordinates} in {source.name}"
            )
        west, south, east, north = source.box(*given.coordinates)
        return cls(west, south, east, north, origin=given)

    @property
    def bounds(self) -> Bounds:
        """The box unrolled: ``west < east``."""
        east = self.maxlon
        while east < self.minlon:  # twice where the edges are of both conventions: 350 to -170
            east += 360
        return Bounds(self.minlon, self.minlat, east, self.maxlat)

    @property
    def footprint(self) -> Footprint:
        """The box as queries see it."""
        west, south, east, north = bounds = self.bounds
        edges = {name: getattr(self, name) for name in ("minlon", "minlat", "maxlon", "maxlat")}
        return Footprint(
            bounds=bounds,
            centre=((west + east) / 2, (south + north) / 2),
            **provenance("BBox", edges, self.origin),
        )


def four_numbers(roi: object) -> list[Any]:
    """Take a sequence of four, or refuse what is no region at all."""
    accepted = (
        "a region is a BBox, a PointBuffer, four numbers (minlon, minlat, maxlon, maxlat), a GeoJSON "
        "mapping, or an object with __geo_interface__"
    )
    values = roi.tolist() if isinstance(roi, np.ndarray) else roi
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise RegionError(f"{accepted}; got {type(roi).__name__}: {roi!r}")
    if len(values) != 4:
        raise RegionError(f"{accepted}; got {len(values)} values: {roi!r}")
    return list(values)
