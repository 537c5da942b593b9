"""Polygons in degrees that were drawn on a polar map, and that conversion broke at the pole.

On a polar map a pole is one point, in degrees a line. A polygon that was converted vertex by vertex has an
arbitrary longitude there, and edges that pass close to the pole go around it instead. Such polygons are not
repaired: what repair makes of them is another region.
"""

from __future__ import annotations

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from cop_zarr.errors import RegionError
from cop_zarr.regions import densify
from cop_zarr.regions.validity import make_valid

POLE_DEG = 1e-3
"""A vertex this close to a pole (100 m), with neighbours further away, is meant to be at the pole."""

MAX_AREA_CHANGE = 0.05
"""Of a repaired polygon, relative to the same vertices joined on a polar map. Small defects, of edges of a
few degrees, change it by less; the basins that conversion broke, by more."""

MAX_POLAR_STEP = 90.0
"""Degrees of longitude that an edge near or around a pole may span: with more, an edge that is straight in
degrees and one that is straight on a polar map enclose too different regions."""

NEAR_POLE = 60.0
"""From this latitude on, an edge is near a pole."""

OWN_CRS_ADVICE = "If it was drawn on a polar map, give it in the CRS of that map (crs=)"
LONG_EDGE_ADVICE = f"{OWN_CRS_ADVICE}; otherwise add vertices to the edge, at most 90° apart"


def check_pole_vertices(shape: BaseGeometry) -> None:
    """Raise RegionError if a ring without jumps is at a pole beside the longitudes of its neighbours.

    Between them, or at one of them, the longitude of the pole is as good as any.
    """
    if shape.bounds[1] > -90 + POLE_DEG and shape.bounds[3] < 90 - POLE_DEG:
        return
    for ring in shapely.get_rings(shapely.get_parts(shape)):
        corners, single = _single_at_pole(shapely.get_coordinates(ring))
        steps = np.diff(corners[:, 0], append=corners[:1, 0])
        _check_none(corners, single & (steps * np.roll(steps, 1) < 0))


def check_long_edges(ring: np.ndarray) -> None:
    """Raise RegionError if a ring without jumps has an edge of over 90°, aslant, near a pole."""
    spans, rises = np.abs(np.diff(ring, axis=0)).T
    lats = ring[:, 1]
    near = np.minimum(np.abs(lats[:-1]), np.abs(lats[1:])) > NEAR_POLE
    aslant = near & (lats[:-1] * lats[1:] > 0) & (rises > POLE_DEG) & (spans > MAX_POLAR_STEP)
    if aslant.any() and not edges_along_pole(ring).any():  # there are none on a polar map
        raise ambiguous(ring, aslant, "straight in degrees, or straight past the pole", LONG_EDGE_ADVICE)


def ambiguous(ring: np.ndarray, edges: np.ndarray, readings: str, advice: str) -> RegionError:
    """The error for a ring with edges, marked in ``edges``, that can be read in two ways."""
    first = int(np.argmax(edges))
    start, end = ring[first : first + 2, 0]
    return RegionError(
        f"the edge from longitude {start:g} to {end:g} can be read in two ways: {readings}. {advice}"
    )


def check_no_pole_vertex(ring: np.ndarray) -> None:
    """Raise RegionError if a ring, which goes around a pole, has a vertex there."""
    _check_none(*_single_at_pole(ring))


def edges_along_pole(ring: np.ndarray) -> np.ndarray:
    """Which edges of a closed ring are along a pole, bool."""
    at_pole = np.abs(ring[:, 1]) >= 90 - densify.POLE_TOLERANCE_DEG
    along: np.ndarray = at_pole[:-1] & at_pole[1:] & (np.diff(ring[:, 0]) != 0)
    return along


def _single_at_pole(ring: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The vertices of a closed ring, each once, and which of them alone are at a pole."""
    corners = ring[:-1][(np.diff(ring, axis=0) != 0).any(axis=1)]
    at_pole = np.abs(corners[:, 1]) >= 90 - POLE_DEG
    return corners, at_pole & ~np.roll(at_pole, 1) & ~np.roll(at_pole, -1)


def _check_none(vertices: np.ndarray, broken: np.ndarray) -> None:
    if broken.any():
        lon, lat = vertices[np.argmax(broken)]
        raise RegionError(
            f"the vertex ({lon:g}, {lat:g}) is at the pole, and its longitude, which is arbitrary there, "
            f"is not between those of its neighbours. {OWN_CRS_ADVICE}; otherwise draw an edge along the "
            "pole, from the longitude of the vertex before it to that of the vertex after it"
        )


def check_not_broken(drawn: shapely.Polygon, polygon: shapely.Polygon) -> None:
    """Raise RegionError if a polygon is invalid in degrees, but valid, and another, on a polar map.

    ``drawn`` are its vertices as given, ``polygon`` the reading of them without jumps.
    """
    lats = shapely.get_coordinates(drawn)[:, 1]
    if polygon.is_valid or lats.min() < 0 < lats.max():
        return
    on_map = shapely.transform(drawn, _polar_map)
    if not on_map.is_valid:
        return
    mended = shapely.transform(shapely.segmentize(make_valid(polygon), 0.5), _polar_map)
    if abs(mended.area - on_map.area) > MAX_AREA_CHANGE * on_map.area:
        raise RegionError(
            f"the geometry is not valid in degrees ({shapely.is_valid_reason(polygon)}), but it is on a "
            f"polar map, and repair would make another region of it. {OWN_CRS_ADVICE}; otherwise add "
            "vertices to its long edges, and draw an edge along a pole that it touches"
        )


def _polar_map(points: np.ndarray) -> np.ndarray:
    """Degrees of one hemisphere on the equal-area map of a unit sphere around its pole."""
    lons, lats = np.radians(points).T
    radius = 2 * np.sin((np.pi / 2 - np.abs(lats)) / 2)
    return np.column_stack([radius * np.cos(lons), radius * np.sin(lons)])
