"""What a file declares about its columns of geometries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

Edges = Literal["planar", "spherical", "vincenty", "thomas", "andoyer", "karney"]
"""How edges run: straight in the plane, as great circles, or as geodesics, however these are computed."""


@dataclass(frozen=True)
class Declared:
    """What a file declares about one column of geometries."""

    crs: object | None
    """None if it is unknown."""
    is_default: bool = False
    """Whether the format says so, and not the file: another CRS may be given."""
    edges: Edges = "planar"
    encoding: str = "wkb"
    """Also wkt, and GeoArrow's: point, polygon and others."""


def edges_of(value: object) -> Edges:
    """How edges run; ValueError for an unknown word."""
    if value is None:
        return "planar"
    if value not in get_args(Edges):
        raise ValueError(f"unknown edges {value!r}")
    return cast("Edges", value)
