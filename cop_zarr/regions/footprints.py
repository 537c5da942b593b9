"""What queries see of a region, however it was given; and the checks that all of them share."""

from __future__ import annotations

import math
import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cop_zarr.core.grid import Bounds
from cop_zarr.core.product import CRS
from cop_zarr.errors import RegionError

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

Region = TypeVar("Region")


class Footprint(Protocol):
    """A region, checked: what a query needs to know of it. Nothing of it changes."""

    @property
    def bounds(self) -> Bounds:
        """The box around it in degrees, unrolled."""

    @property
    def centre(self) -> tuple[float, float]:
        """Longitude and latitude of its middle."""

    @property
    def input_crs(self) -> str:
        """The CRS in which the caller gave it."""

    @property
    def roi(self) -> dict[str, Any]:
        """The region as the caller gave it, JSON-ready."""

    @property
    def geometry(self) -> BaseGeometry | None:
        """The region itself in degrees, unrolled; without it, the region is its bounds."""


@dataclass(frozen=True)
class Outlined:
    """A footprint of which everything is known beforehand; its attributes are those of the protocol."""

    bounds: Bounds
    centre: tuple[float, float]
    input_crs: str
    roi: dict[str, Any]
    geometry: BaseGeometry | None = None


@dataclass(frozen=True)
class Origin:
    """The coordinates, and their CRS, that a region was converted from."""

    coordinates: tuple[float, ...]
    crs: str


def converted(region: Region, origin: Origin) -> Region:
    """Let a region that has just been made know what it was converted from."""
    object.__setattr__(region, "_origin", origin)
    return region


def provenance(kind: str, numbers: dict[str, Any], origin: Origin | None) -> dict[str, Any]:
    """What a footprint records of a region: its numbers, and those that they were converted from."""
    record = {"type": kind, **numbers}
    if origin is None:
        return {"input_crs": CRS, "roi": record}
    given = {"coordinates": list(origin.coordinates), "crs": origin.crs}
    return {"input_crs": origin.crs, "roi": {**record, "given": given}}


def finite(value: object, what: str) -> float:
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
