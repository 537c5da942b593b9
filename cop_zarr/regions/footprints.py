"""What queries see of a region, however it was given; and the checks that all of them share."""

from __future__ import annotations

import math
import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cop_zarr.core.grid import Bounds
from cop_zarr.core.product import CRS
from cop_zarr.errors import RegionError

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True)
class Footprint:
    """A region, checked: what a query needs to know of it.

    Attributes
    ----------
    bounds : Bounds
        The box around it in degrees, unrolled.
    centre : tuple of float
        Longitude and latitude of its middle.
    roi : dict
        The region as the caller gave it, JSON-ready.
    input_crs : str
        The CRS in which the caller gave it.
    geometry : shapely.Polygon or shapely.MultiPolygon, optional
        The region itself in degrees, unrolled; without it, the region is its bounds.
    """

    bounds: Bounds
    centre: tuple[float, float]
    roi: dict[str, Any]
    input_crs: str = CRS
    geometry: BaseGeometry | None = None


@dataclass(frozen=True)
class Origin:
    """The coordinates, and their CRS, that a region was converted from."""

    coordinates: tuple[float, ...]
    crs: str

    def record(self) -> dict[str, Any]:
        """What a footprint's ``roi`` says of it."""
        return {"coordinates": list(self.coordinates), "crs": self.crs}


def finite_number(value: object, what: str) -> float:
    """Take a number as a float; refuse what is none, and what is not finite."""
    if type(value) is float and math.isfinite(value):
        return value
    text = isinstance(value, str | bytes)  # float("120") would do, and so would float("1_2_0")
    try:
        number = float("" if text else value)  # type: ignore[arg-type]  # or anything with __float__
    except (TypeError, ValueError, ArithmeticError):
        told = reprlib.repr(value) if not isinstance(value, int) else "a number of too many digits"
        raise RegionError(f"{what} must be a number of degrees or metres; got {told}") from None
    if not math.isfinite(number):
        raise RegionError(f"{what} must be a finite number; got {number}")
    return number
