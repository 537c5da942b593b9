"""Regions as people have them, turned into a footprint on the globe.

Whatever a caller names (a :class:`BBox`, four numbers, a :class:`PointBuffer`), queries see one thing: a
:class:`Footprint`, checked and unrolled over the antimeridian. Nothing is read before this has passed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cop_zarr.errors import RegionError
from cop_zarr.grid import Bounds
from cop_zarr.product import CRS

MAX_BUFFER_M = 20_003_931.0
"""Half a meridian of WGS84 (pole to pole): no place on Earth is farther away than about this."""


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

    @property
    def bounds(self) -> Bounds:
        """The box unrolled: ``west < east``."""
        east = self.maxlon
        while east < self.minlon:  # twice where the edges are of both conventions: 350 to -170
            east += 360
        return Bounds(self.minlon, self.minlat, east, self.maxlat)


@dataclass(frozen=True)
class PointBuffer:
    """A point and a geodesic radius around it, on the WGS84 ellipsoid.

    Its region is the box around the geodesic circle. A circle around a pole takes in every longitude.

    Parameters
    ----------
    lon : float
        Longitude in degrees, -180 to 360.
    lat : float
        Latitude in degrees, -90 to 90.
    buffer_m : float
        Radius in metres, greater than 0.

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

    def __post_init__(self) -> None:
        for name in ("lon", "lat", "buffer_m"):
            object.__setattr__(self, name, _finite(getattr(self, name), f"the point's {name}"))
        if abs(self.lat) > 90:
            hint = "; are latitude and longitude swapped?" if abs(self.lon) <= 90 else ""
            raise RegionError(f"lat must lie within -90 … 90; got lon={self.lon}, lat={self.lat}{hint}")
        if not -180 <= self.lon <= 360:
            raise RegionError(f"lon must lie within -180 … 360; got {self.lon}")
        if not 0 < self.buffer_m <= MAX_BUFFER_M:
            raise RegionError(
                f"buffer_m must be more than 0 m and at most {MAX_BUFFER_M:,.0f} m, the way from pole to "
                f"pole; got {self.buffer_m:,g} m"
            )

    @property
    def bounds(self) -> Bounds:
        """The box around the geodesic circle, unrolled: ``west < east``."""
        return _circle_bounds(self.lon, self.lat, self.buffer_m)


Roi = BBox | PointBuffer | Sequence[float]
"""What queries take as a region; a sequence is (minlon, minlat, maxlon, maxlat)."""


@dataclass(frozen=True)
class Footprint:
    """A region, checked: what a query needs to know of it.

    Attributes
    ----------
    bounds : Bounds
        The box around it in degrees, unrolled.
    input_crs : str
        The CRS in which the caller gave it.
    roi : dict
        The region as the caller gave it, JSON-ready.
    """

    bounds: Bounds
    input_crs: str
    roi: dict[str, Any]


def footprint(roi: Roi) -> Footprint:
    """Check a region and find its footprint.

    Raises
    ------
    RegionError
        If ``roi`` is none of the accepted kinds, or its numbers make no region.
    """
    region = roi if isinstance(roi, BBox | PointBuffer) else BBox(*_four_numbers(roi))
    record = {"type": type(region).__name__, **asdict(region)}
    return Footprint(bounds=region.bounds, input_crs=CRS, roi=record)


def _four_numbers(roi: object) -> list[Any]:
    accepted = "a region is a BBox, a PointBuffer, or four numbers (minlon, minlat, maxlon, maxlat)"
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


def _circle_bounds(lon: float, lat: float, radius_m: float) -> Bounds:
    """Box around a geodesic circle.

    A circle's northernmost and southernmost points lie on the centre's meridian; its easternmost point
    is searched for by azimuth, in three rounds that end at steps of 0.0002° (where the longitude, flat
    at its maximum, is off by less than 1e-10°).
    """
    from pyproj import Geod  # 0.1 s to import, and boxes do not need it

    geod = Geod(ellps="WGS84")
    to_north, to_south = (geod.inv(lon, lat, lon, pole)[2] for pole in (90, -90))
    north = 90.0 if to_north <= radius_m else geod.fwd(lon, lat, 0, radius_m)[1]
    south = -90.0 if to_south <= radius_m else geod.fwd(lon, lat, 180, radius_m)[1]
    if min(to_north, to_south) <= radius_m:
        return Bounds(-180.0, south, 180.0, north)
    best, reach = 90.0, 90.0
    for _ in range(3):
        azimuths = np.clip(np.linspace(best - reach, best + reach, 181), 0, 180)
        size = azimuths.size
        lons = geod.fwd(np.zeros(size), np.full(size, lat), azimuths, np.full(size, radius_m))[0]
        best = float(azimuths[np.argmax(lons)])
        reach /= 60
    half_width = float(lons.max())
    west = lon - half_width
    if west < -180:
        west += 360
    return Bounds(west, south, west + 2 * half_width, north)
