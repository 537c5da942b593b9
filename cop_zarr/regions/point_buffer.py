"""Points with a geodesic radius around them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from cop_zarr.core.grid import Bounds
from cop_zarr.core.positions import MAX_LAT, MAX_LON, range_error, turn_offset
from cop_zarr.core.product import CRS
from cop_zarr.errors import RegionError
from cop_zarr.regions.footprints import Footprint, Origin, finite_number

MIN_BUFFER_M = 1e-3
"""A float64 longitude resolves 3 nm: the outline of a smaller circle would be rough."""

MAX_BUFFER_M = 20_003_931.0
"""Half a meridian of WGS84, from pole to pole: about the largest distance between two points on Earth."""

MAX_DISC_M = 10_001_965.0
"""A quarter of a meridian, rounded down: no disc encloses both poles."""

Shape = Literal["box", "circle"]


@dataclass(frozen=True)
class PointBuffer:
    """A point and a geodesic radius around it, on the WGS84 ellipsoid.

    Parameters
    ----------
    lon : float
        Longitude in degrees: any within three turns, -1080 to 1080.
    lat : float
        Latitude in degrees, -90 to 90; up to 0.125° more, the edge of the grid, is the pole.
    buffer_m : float
        Radius in metres, a millimetre or more.
    shape : {"box", "circle"}
        Whether the region is the box around the geodesic circle, or the disc itself. A box around a pole
        contains every longitude; a circle is at most a hemisphere.

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
    _origin: Origin | None = field(init=False, default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("lon", "lat", "buffer_m"):
            object.__setattr__(self, name, finite_number(getattr(self, name), name))
        if abs(self.lon) > MAX_LON or abs(self.lat) > MAX_LAT:
            given = f"lon={self.lon}, lat={self.lat}"
            raise range_error(self.lon, self.lat, self.lon, self.lat, given)
        if self.shape not in get_args(Shape):
            raise RegionError(f"shape must be 'box' or 'circle'; got {self.shape!r}")
        largest = MAX_BUFFER_M if self.shape == "box" else MAX_DISC_M
        if not MIN_BUFFER_M <= self.buffer_m <= largest:
            raise RegionError(
                f"buffer_m must be from {MIN_BUFFER_M:g} to {largest:,.0f} m for shape={self.shape!r}; "
                f"got {self.buffer_m:,.10g} m"
            )

    @classmethod
    def from_crs(
        cls, x: float, y: float, buffer_m: float, *, crs: object, shape: Shape = "box"
    ) -> PointBuffer:
        """Make a buffer around a point in another CRS; the radius stays in metres on the ground.

        Raises
        ------
        RegionError
            If the CRS is unknown, or the point outside the map of its projection.

        Examples
        --------
        >>> point = PointBuffer.from_crs(500_000, 0, 30_000, crs="EPSG:32633")
        >>> round(point.lon, 6), point.lat
        (15.0, 0.0)
        """
        from cop_zarr.regions.projections import projection

        source = projection(crs)
        x, y = finite_number(x, "x"), finite_number(y, "y")
        lon, lat = (x, y) if source.is_product_crs else source.point_to_lonlat(x, y)
        point = cls(lon, lat, buffer_m, shape)
        object.__setattr__(point, "_origin", ((x, y), source.name))
        return point

    @property
    def bounds(self) -> Bounds:
        """The box around the geodesic circle, with ``west < east``."""
        from cop_zarr.regions import geodesic

        return geodesic.circle_bounds(*self._centre, self.buffer_m)

    @property
    def _centre(self) -> tuple[float, float]:
        """The point, its longitude within -180 … 360 and its latitude within ±90."""
        return self.lon + turn_offset(self.lon), min(max(self.lat, -90.0), 90.0)

    @property
    def footprint(self) -> Footprint:
        """The region as queries use it."""
        roi: dict[str, Any] = {
            "type": "PointBuffer",
            "lon": self.lon,
            "lat": self.lat,
            "buffer_m": self.buffer_m,
            "shape": self.shape,
        }
        input_crs = CRS
        if self._origin is not None:
            coordinates, input_crs = self._origin
            roi["given"] = {"coordinates": list(coordinates), "crs": input_crs}
        centre = self._centre
        if self.shape == "box":
            return Footprint(self.bounds, centre, roi, input_crs)
        from cop_zarr.regions import geodesic

        disc = geodesic.disc(*centre, self.buffer_m)
        return Footprint(Bounds(*disc.bounds), centre, roi, input_crs, disc)
