"""Regions as people have them, turned into a footprint on the globe.

Whatever a caller names (a :class:`BBox`, four numbers, a :class:`PointBuffer`, a polygon), queries see one
thing: a :class:`Footprint`, checked and unrolled over the antimeridian. Nothing is read before this has
passed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import getattr_static
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np

from cop_zarr.errors import RegionError
from cop_zarr.grid import Bounds
from cop_zarr.product import CRS

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

MIN_BUFFER_M = 1e-3
"""Smaller circles cannot be drawn well in degrees: a float64 longitude is good for 3 nm."""

MAX_BUFFER_M = 20_003_931.0
"""Half a meridian of WGS84 (pole to pole): no place on Earth is farther away than about this."""

Shape = Literal["box", "circle"]


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
            object.__setattr__(self, name, _finite(getattr(self, name), f"the box's {name}"))
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
        from cop_zarr.projections import (
            projection,
        )  # pyproj and shapely take 0.2 s; plain boxes need neither

        source = projection(crs)
        minx, miny, maxx, maxy = (
            _finite(value, f"the box's {name}")
            for value, name in zip(_four_numbers(bounds), ("minx", "miny", "maxx", "maxy"), strict=True)
        )
        given = Origin((minx, miny, maxx, maxy), source.name)
        if source.geographic:
            return cls(minx, miny, maxx, maxy, origin=given)
        if not (minx < maxx and miny < maxy):
            raise RegionError(
                "minx must be less than maxx and miny less than maxy, in the order (minx, miny, maxx, "
                f"maxy); got {given.coordinates} in {source.name}"
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
            **_provenance("BBox", edges, self.origin),
        )


@dataclass(frozen=True)
class PointBuffer:
    """A point and a geodesic radius around it, on the WGS84 ellipsoid.

    Parameters
    ----------
    lon : float
        Longitude in degrees, -180 to 360.
    lat : float
        Latitude in degrees, -90 to 90.
    buffer_m : float
        Radius in metres, a millimetre or more.
    shape : {"box", "circle"}
        Whether the region is the box around the geodesic circle, or the disc itself. A box around a pole
        takes in every longitude; a circle is no larger than a hemisphere.

    Raises
    ------
    RegionError
        If a number is not finite or out of range.

    Examples
    --------
    >>> [round(edge, 3) for edge in PointBuffer(lon=121.5, lat=31.2, buffer_m=30_000).bounds]
    [121.185, 30.929, 121.815, 31.471]
    """

    lon: float
    lat: float
    buffer_m: float
    shape: Shape = "box"
    origin: Origin | None = field(default=None, repr=False, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("lon", "lat", "buffer_m"):
            object.__setattr__(self, name, _finite(getattr(self, name), f"the point's {name}"))
        if abs(self.lat) > 90:
            hint = "; are latitude and longitude swapped?" if abs(self.lon) <= 90 else ""
            raise RegionError(f"lat must lie within -90 … 90; got lon={self.lon}, lat={self.lat}{hint}")
        if not -180 <= self.lon <= 360:
            raise RegionError(f"lon must lie within -180 … 360; got {self.lon}")
        if self.shape not in get_args(Shape):
            raise RegionError(f"shape must be 'box' or 'circle'; got {self.shape!r}")
        largest, what = (
            (MAX_BUFFER_M, "the way from pole to pole")
            if self.shape == "box"
            else (MAX_BUFFER_M / 2, "a hemisphere (shape='box' takes twice that)")
        )
        if not MIN_BUFFER_M <= self.buffer_m <= largest:
            raise RegionError(
                f"buffer_m must be at least {MIN_BUFFER_M:g} m and at most {largest:,.0f} m, {what}; "
                f"got {self.buffer_m:,g} m"
            )

    @classmethod
    def from_crs(
        cls, x: float, y: float, buffer_m: float, *, crs: object, shape: Shape = "box"
    ) -> PointBuffer:
        """Put the radius around a point in another CRS; the radius stays in metres on the ground.

        Raises
        ------
        RegionError
            If the CRS is unknown, or the point off the map of its projection.

        Examples
        --------
        >>> point = PointBuffer.from_crs(500_000, 0, 30_000, crs="EPSG:32633")
        >>> round(point.lon, 6), point.lat
        (15.0, 0.0)
        """
        from cop_zarr.projections import projection

        source = projection(crs)
        x, y = _finite(x, "the point's x"), _finite(y, "the point's y")
        given = Origin((x, y), source.name)
        lon, lat = (x, y) if source.geographic else source.point(x, y)
        return cls(lon, lat, buffer_m, shape, origin=given)

    @property
    def bounds(self) -> Bounds:
        """The box around the geodesic circle, unrolled: ``west < east``."""
        from cop_zarr import circles

        return circles.bounds(self.lon, self.lat, self.buffer_m)

    @property
    def footprint(self) -> Footprint:
        """The region as queries see it."""
        numbers = {
            "lon": self.lon, "lat": self.lat, "buffer_m": self.buffer_m, "shape": self.shape
        }  # fmt: skip
        provenance = _provenance("PointBuffer", numbers, self.origin)
        centre = (self.lon, self.lat)
        if self.shape == "box":
            return Footprint(bounds=self.bounds, centre=centre, **provenance)
        from cop_zarr import circles

        disc = circles.disc(self.lon, self.lat, self.buffer_m)
        return Footprint(bounds=Bounds(*disc.bounds), centre=centre, geometry=disc, **provenance)


@dataclass(frozen=True)
class Origin:
    """The coordinates, and their CRS, that a region was converted from."""

    coordinates: tuple[float, ...]
    crs: str


class GeoInterface(Protocol):
    """What speaks GeoJSON: shapely, geopandas and others."""

    @property
    def __geo_interface__(self) -> Mapping[str, Any]:
        """The geometry, feature or feature collection as a GeoJSON mapping."""


Roi = BBox | PointBuffer | Sequence[float] | Mapping[str, Any] | GeoInterface
"""What queries take as a region; a sequence is (minlon, minlat, maxlon, maxlat), a mapping is GeoJSON."""


@dataclass(frozen=True)
class Footprint:
    """A region, checked: what a query needs to know of it.

    Attributes
    ----------
    bounds : Bounds
        The box around it in degrees, unrolled.
    centre : tuple of float
        Longitude and latitude of its middle.
    input_crs : str
        The CRS in which the caller gave it.
    roi : dict
        The region as the caller gave it, JSON-ready.
    geometry : shapely.Polygon or shapely.MultiPolygon, optional
        The region itself in degrees, unrolled; without it, the region is its bounds.
    """

    bounds: Bounds
    centre: tuple[float, float]
    input_crs: str
    roi: dict[str, Any]
    geometry: BaseGeometry | None = None


def footprint(roi: Roi, crs: object | None = None, *, repair: bool = False) -> Footprint:
    """Check a region and find its footprint.

    Parameters
    ----------
    roi : BBox, PointBuffer, sequence of four numbers, GeoJSON mapping or object with __geo_interface__
        The region.
    crs : optional
        The CRS of four numbers or of a polygon, if it is not EPSG:4326.
    repair : bool
        Mend an invalid polygon instead of refusing it.

    Raises
    ------
    RegionError
        If ``roi`` is none of the accepted kinds, or its numbers make no region.
    """
    if isinstance(roi, BBox | PointBuffer):
        if crs is not None:
            kind = type(roi).__name__
            raise RegionError(
                f"a {kind} is in degrees already; for another CRS make it with {kind}.from_crs"
            )
        return roi.footprint
    if isinstance(roi, Mapping) or getattr_static(roi, "__geo_interface__", None) is not None:
        return _of_polygons(roi, crs, repair)
    if crs is not None:
        return BBox.from_crs(_four_numbers(roi), crs=crs).footprint
    return BBox(*_four_numbers(roi)).footprint


def _of_polygons(roi: object, crs: object | None, repair: bool) -> Footprint:
    from cop_zarr.polygons import outline

    found = outline(roi, crs, repair=repair)
    middle = found.geometry.centroid
    return Footprint(
        bounds=Bounds(*found.geometry.bounds),
        centre=(middle.x, middle.y),
        input_crs=found.crs,
        roi=found.record,
        geometry=found.geometry,
    )


def _provenance(kind: str, numbers: dict[str, Any], origin: Origin | None) -> dict[str, Any]:
    """What a footprint records of a region: its numbers, and those that they were converted from."""
    record = {"type": kind, **numbers}
    if origin is None:
        return {"input_crs": CRS, "roi": record}
    given = {"coordinates": list(origin.coordinates), "crs": origin.crs}
    return {"input_crs": origin.crs, "roi": {**record, "given": given}}


def _four_numbers(roi: object) -> list[Any]:
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


def _finite(value: object, what: str) -> float:
    refusal = f"{what} must be a number of degrees or metres; got {value!r}"
    if isinstance(value, str | bytes):  # float("120") would do, and so would float("1_2_0")
        raise RegionError(refusal)
    try:
        number = float(value)  # type: ignore[arg-type]  # anything with __float__, NumPy scalars included
    except (TypeError, ValueError, OverflowError):
        raise RegionError(refusal) from None
    if not math.isfinite(number):
        raise RegionError(f"{what} must be a finite number; got {number}")
    return number
