"""Polygons whose edges are great circles or geodesics, as polygons in degrees whose edges are straight."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from pyproj import Geod
from shapely.geometry.base import BaseGeometry

from cop_zarr.regions import densify
from cop_zarr.regions.projections import Projection, subtract_holes

SPHERE = Geod(a=6_371_000, b=6_371_000)

PIECE_M = 250_000.0
"""Edges are cut into pieces of about half of this before :func:`densify.trace`."""


def with_plane_edges(shape: BaseGeometry, source: Projection, geod: Geod) -> BaseGeometry:
    """The same region in unwrapped degrees, its edges densified; other shapes stay as they are.

    An enclosed pole is that of the hemisphere in which more of the outline is. RegionError for a vertex
    outside the map.
    """
    if isinstance(shape, shapely.Polygon) and not shape.is_empty:
        return _polygon(shape, source, geod)
    if not isinstance(shape, shapely.GeometryCollection | shapely.MultiPolygon):
        return shape
    kind = shapely.GeometryCollection if shape.geom_type == "GeometryCollection" else shapely.MultiPolygon
    members = [with_plane_edges(member, source, geod) for member in shape.geoms]
    return kind([part for member in members for part in _polygons(member)])


def _polygons(shape: BaseGeometry) -> list[Any]:
    """The parts of a MultiPolygon, which a polygon with holes may become; others as they are."""
    return list(shape.geoms) if isinstance(shape, shapely.MultiPolygon) else [shape]


def _polygon(polygon: shapely.Polygon, source: Projection, geod: Geod) -> BaseGeometry:
    rings = [_ring(ring, source, geod) for ring in (polygon.exterior, *polygon.interiors)]
    shell, *holes = map(shapely.Polygon, rings)
    if all(part.is_valid for part in (shell, *holes)):
        return subtract_holes(shell, holes)
    return shapely.Polygon(rings[0], rings[1:])  # which is refused, or repaired


def _ring(ring: shapely.LinearRing, source: Projection, geod: Geod) -> np.ndarray:
    """A closed ring in unwrapped degrees; along a pole, if it encloses that."""
    lons, lats = shapely.get_coordinates(ring).T
    if not source.is_product_crs:
        lons, lats = source.to_lonlat(lons, lats)
    azimuths, _, lengths = geod.inv(lons[:-1], lats[:-1], lons[1:], lats[1:])

    def curve(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        edge = np.minimum(at.astype(int), len(lengths) - 1)
        found = geod.fwd(lons[edge], lats[edge], azimuths[edge], lengths[edge] * (at - edge))
        return found[0], found[1]

    pieces = np.maximum(1, 2 * np.ceil(lengths / PIECE_M - 0.5).astype(int))  # an S has its chord's middle
    edge = np.repeat(np.arange(len(pieces)), pieces)
    within = np.arange(len(edge)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    traced = densify.trace(curve, np.append(edge + within / pieces[edge], len(pieces)))
    if not densify.winding_number(traced):
        return traced
    middle_lats = np.radians((traced[:-1, 1] + traced[1:, 1]) / 2)
    north = np.sum(np.sin(middle_lats) * np.diff(traced[:, 0])) * densify.winding_number(traced)
    return densify.close_over_pole(traced, 90.0 if north > 0 else -90.0)
