"""The footprint of a region: all that a query needs to know of it."""

from __future__ import annotations

import math
import reprlib
from typing import TYPE_CHECKING, Any, NamedTuple

from cop_zarr.core.grid import Bounds
from cop_zarr.core.product import CRS
from cop_zarr.errors import RegionError

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


class Footprint(NamedTuple):  # created in a third of the time of a frozen dataclass, once for each region
    """A checked region, in degrees; its bounds and its geometry are unwrapped."""

    bounds: Bounds

    centre: tuple[float, float]
    """Longitude and latitude."""

    roi: dict[str, Any]
    """The region as the caller gave it, JSON-ready."""

    input_crs: str = CRS

    geometry: BaseGeometry | None = None
    """A Polygon or MultiPolygon; None if the region is its bounds."""


Origin = tuple[tuple[float, ...], str]
"""The coordinates, and their CRS, that a region was converted from."""


def finite_number(value: object, name: str) -> float:
    """Convert a number to a finite float; strings are rejected, although ``float`` accepts some."""
    if type(value) is float and math.isfinite(value):
        return value
    try:
        number = float("" if isinstance(value, str | bytes) else value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ArithmeticError):
        given = "an integer too large for a float" if isinstance(value, int) else reprlib.repr(value)
        raise RegionError(f"{name} must be a number of degrees or metres; got {given}") from None
    if not math.isfinite(number):
        raise RegionError(f"{name} must be a finite number; got {number}")
    return number
