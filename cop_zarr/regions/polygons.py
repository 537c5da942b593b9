"""Polygons as people have them, turned into one valid polygon in unrolled degrees.

GeoJSON (RFC 7946) draws straight lines in the plane of longitude and latitude and cuts what crosses the
antimeridian in two. Data in the wild also goes on past 180, or jumps from 179 to -179 and means the short
way. All three are taken; a ring that can be read two ways is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from cop_zarr import product
from cop_zarr.errors import RegionError
from cop_zarr.regions import curves
from cop_zarr.regions.projections import Projection, projection, subtract_holes

ACCEPTED = (
    "a region is a Polygon, a MultiPolygon, or a Feature, FeatureCollection or GeometryCollection of them"
)

HALF_TURN = 180.0
TURN = 360.0

SMALLEST_DEG2 = 1e-20
"""Area that a region must have: a square of 10 µm, far below what degrees in float64 can draw well."""


@dataclass(frozen=True)
class Outline:
    """A polygonal region.

    Attributes
    ----------
    geometry : shapely.Polygon or shapely.MultiPolygon
        Valid, in degrees, unrolled: over the antimeridian it goes on past 180.
    crs : str
        The CRS that it was given in.
    record : dict
        What it was, JSON-ready: type, counts, and the SHA-256 of the WKB of what was given.
    """

    geometry: BaseGeometry
    crs: str
    record: dict[str, Any]


def outline(given: object, crs: object | None = None, *, repair: bool = False) -> Outline:
    """Read a region's polygons.

    Parameters
    ----------
    given : mapping or object with ``__geo_interface__``
        GeoJSON, or what speaks it: shapely, geopandas, …
    crs : optional
        The CRS of its coordinates; by default what the object says itself (``.crs`` of geopandas, the
        ``crs`` member of old GeoJSON), or EPSG:4326.
    repair : bool
        Mend invalid rings (shapely's ``make_valid``, method "structure") instead of refusing them.

    Raises
    ------
    RegionError
        If it is no polygon, empty, invalid, out of range, or ambiguous; or the CRS is unknown.
    """
    source = _declared_crs(given, crs)
    shapes = [_checked(shape) for shape in _shapes(given)]
    if not shapes:
        raise RegionError(f"the geometry is empty; {ACCEPTED}")
    flat = shapely.force_2d(shapes)
    if source is None:
        parts = [part for shape in flat for part in _unrolled(shape, repair)]
    else:
        parts = [
            piece
            for shape in flat
            for part in _polygons(_valid(shape, repair))
            for piece in _polygons(source.polygon(part))
        ]
    return Outline(
        geometry=_framed(parts, overlaps=len(shapes) > 1),
        crs=source.name if source else product.CRS,
        record=_record(shapes),
    )


def _record(shapes: list[BaseGeometry]) -> dict[str, Any]:
    kinds = {shape.geom_type for shape in shapes}
    digest = hashlib.sha256(b"".join(shapely.to_wkb(shape, byte_order=1) for shape in shapes))
    return {
        "type": kinds.pop() if len(shapes) == 1 else "GeometryCollection",
        "polygons": int(sum(shapely.get_num_geometries(shapes))),
        "vertices": int(sum(shapely.get_num_coordinates(shapes))),
        "wkb_sha256": digest.hexdigest(),
    }


# From what was given to shapes


def _declared_crs(given: object, crs: object | None) -> Projection | None:
    """The CRS to convert from; None if the coordinates are degrees already."""
    own = getattr(given, "crs", None)
    if own is None and isinstance(given, Mapping):
        member = given.get("crs")
        if member is not None:
            try:
                own = member["properties"]["name"]
            except (KeyError, TypeError):
                raise RegionError(f"the geometry's crs member is not understood: {member!r}") from None
    found = [None if each is None else projection(each) for each in (crs, own)]
    if found[0] and found[1] and not found[0].same_as(found[1]):
        raise RegionError(
            f"the geometry says that its CRS is {found[1].name}, and crs={found[0].name} was given; "
            "leave crs= out, or convert the geometry"
        )
    source = found[0] or found[1]
    return None if source is None or source.geographic else source


def _shapes(given: object) -> Iterator[BaseGeometry]:
    if isinstance(given, BaseGeometry):
        yield from _members(given)
        return
    document = given if isinstance(given, Mapping) else getattr(given, "__geo_interface__", None)
    if not isinstance(document, Mapping):
        raise RegionError(f"{ACCEPTED}; got {type(given).__name__}")
    yield from _from_geojson(document)


def _from_geojson(document: Mapping[str, Any]) -> Iterator[BaseGeometry]:
    features = document.get("features") if document.get("type") == "FeatureCollection" else [document]
    for feature in _list(features, "features"):
        if not isinstance(feature, Mapping):
            raise RegionError(f"a feature must be a mapping; got {type(feature).__name__}")
        geometry = feature.get("geometry") if feature.get("type") == "Feature" else feature
        if geometry is None:
            continue  # RFC 7946, section 3.2: a feature without a place
        if not isinstance(geometry, Mapping):
            raise RegionError(f"a feature's geometry must be a mapping; got {type(geometry).__name__}")
        nested = geometry.get("type") == "GeometryCollection"
        for member in _list(geometry.get("geometries"), "geometries") if nested else [geometry]:
            yield from _members(_shape(member))


def _list(members: object, what: str) -> list[Any]:
    if not isinstance(members, list | tuple):
        raise RegionError(f"the collection's {what} must be a list; got {type(members).__name__}")
    return list(members)


def _shape(geometry: object) -> BaseGeometry:
    """One GeoJSON polygon; its rings go through NumPy, three times as fast as position by position."""
    kind = geometry.get("type") if isinstance(geometry, Mapping) else None
    if not isinstance(geometry, Mapping) or kind not in ("Polygon", "MultiPolygon"):
        raise RegionError(f"{ACCEPTED}; got a GeoJSON type {kind!r}")
    coordinates: Any = geometry.get("coordinates")
    try:
        polygons = [
            _polygon([np.asarray(ring, "f8") for ring in rings])
            for rings in ([coordinates] if kind == "Polygon" else coordinates or [])
        ]
    except (TypeError, ValueError, LookupError, shapely.errors.ShapelyError) as error:
        raise RegionError(
            f"the {kind}'s coordinates must be rings of at least four positions [lon, lat]: {error}"
        ) from error
    return polygons[0] if kind == "Polygon" else shapely.MultiPolygon(polygons)


def _polygon(rings: list[np.ndarray]) -> shapely.Polygon:
    return shapely.Polygon(rings[0], rings[1:]) if rings else shapely.Polygon()


def _members(shape: BaseGeometry) -> Iterator[BaseGeometry]:
    """The polygons of a shape; empty ones are left out."""
    if isinstance(shape, shapely.GeometryCollection):
        for member in shape.geoms:
            yield from _members(member)
    elif not isinstance(shape, shapely.Polygon | shapely.MultiPolygon):
        raise RegionError(f"{ACCEPTED}; got a {shape.geom_type}")
    elif not shape.is_empty:
        yield shape


def _checked(shape: BaseGeometry) -> BaseGeometry:
    coordinates = shapely.get_coordinates(shape)
    finite = np.isfinite(coordinates).all(axis=1)
    if not finite.all():
        index = int(np.argmin(finite))
        x, y = coordinates[index]
        raise RegionError(f"vertex {index} of the geometry must have finite coordinates; got ({x}, {y})")
    return shape


def _valid(shape: BaseGeometry, repair: bool) -> BaseGeometry:
    if shape.is_valid and shape.area > SMALLEST_DEG2:
        return shape
    reason = shapely.is_valid_reason(shape) if not shape.is_valid else "it has no area"
    if not repair:
        raise RegionError(
            f"the geometry is not valid: {reason}; mend it, or have it mended (repair=True, --repair)"
        )
    mended = shapely.make_valid(shape, method="structure", keep_collapsed=False)
    pieces = [part for part in _polygons(mended) if part.area > SMALLEST_DEG2]
    if not pieces:
        raise RegionError(f"the geometry is not valid: {reason}; nothing of it is left after repair")
    return shapely.union_all(pieces)


def _polygons(shape: BaseGeometry) -> list[shapely.Polygon]:
    """The polygons that a shape consists of; its points and lines are left out."""
    return [part for part in shapely.get_parts(shape) if isinstance(part, shapely.Polygon)]


# Over the antimeridian


def _unrolled(shape: BaseGeometry, repair: bool) -> list[shapely.Polygon]:
    """Polygons in degrees, without jumps."""
    west, south, east, north = shape.bounds
    if max(-south, north) > 90:
        hint = "; are latitude and longitude swapped?" if max(-west, east) <= 90 else ""
        hint = hint or "; if it is in another CRS, name it (crs=, --crs)"
        raise RegionError(
            f"latitudes must lie within -90 … 90; the geometry's go from {south:g} to {north:g}{hint}"
        )
    if west < -180 or east > 360:
        raise RegionError(
            f"longitudes must lie within -180 … 360; the geometry's go from {west:g} to {east:g}"
        )
    parts = _polygons(shape)
    if not any(_jumps(ring).any() for part in parts for ring in _rings(part)):
        return _polygons(_valid(shape, repair))
    pieces: list[shapely.Polygon] = []
    for part in parts:
        shell, *holes = [
            _unrolled_ring(ring, counterclockwise=not number) for number, ring in enumerate(_rings(part))
        ]
        for ring in (shell, *holes):
            _valid(shapely.Polygon(ring), repair)
        pieces.extend(_polygons(_valid(subtract_holes(shell, holes), repair)))
    return pieces


def _rings(polygon: shapely.Polygon) -> list[np.ndarray]:
    return [shapely.get_coordinates(ring) for ring in (polygon.exterior, *polygon.interiors)]


def _jumps(ring: np.ndarray) -> np.ndarray:
    return np.abs(np.diff(ring[:, 0])) > HALF_TURN


def _unrolled_ring(ring: np.ndarray, *, counterclockwise: bool) -> np.ndarray:
    """Choose between a ring as it is drawn and the same ring with each edge going the shorter way around.

    Edges that span the whole globe (-180 to 180, as along a pole) are drawn on purpose where the ring as it
    is makes sense. A ring that jumps and goes around the globe encloses the nearer pole. Otherwise the
    reading that is valid counts; and if both are, that by shorter ways if it runs as RFC 7946 wants rings
    to run (outer ones counterclockwise), because the other one then does not.
    """
    jumps = _jumps(ring)
    drawn = shapely.Polygon(ring)
    if not jumps.any() or (drawn.is_valid and (np.abs(np.diff(ring[:, 0]))[jumps] == TURN).all()):
        return ring
    short = np.column_stack([np.unwrap(ring[:, 0], period=TURN), ring[:, 1]])
    if curves.turns(short):
        if short[:, 1].min() < 0 < short[:, 1].max():
            raise RegionError(
                "a ring goes around the globe on both sides of the equator, so that the pole it encloses "
                "cannot be told; draw its edges along that pole (…, [180, -90], [-180, -90], …)"
            )
        return curves.over_pole(short, np.copysign(90.0, short[:, 1].sum()))
    runs_right = shapely.is_ccw(shapely.LinearRing(short)) == counterclockwise
    if runs_right or not drawn.is_valid:
        return short
    if not shapely.Polygon(short).is_valid:
        return ring
    first = int(np.argmax(jumps))
    raise RegionError(
        f"the edge from longitude {ring[first, 0]:g} to {ring[first + 1, 0]:g} can be read two ways: "
        "across the antimeridian, or the long way around the globe. For the first, go on past 180 (190 "
        "instead of -170) or cut the polygon at 180; for the second, give the edge a vertex in between, "
        "so that no step exceeds 180°; or give a box as its four edges instead of as a polygon"
    )


def _framed(parts: list[shapely.Polygon], *, overlaps: bool) -> BaseGeometry:
    """Put all parts into one frame of at most 360°, that begins after the widest gap between them."""
    if len(parts) == 1 and -HALF_TURN <= parts[0].bounds[0] <= TURN:
        return parts[0]
    spans = np.array([part.bounds for part in parts])[:, [0, 2]]
    start = _frame_start(spans)
    shifts = np.floor((spans[:, 0] - start) / TURN + 1e-12) * -TURN
    framed = [
        shapely.transform(part, partial(curves.moved, east_deg=shift)) if shift else part
        for part, shift in zip(parts, shifts, strict=True)
    ]
    whole = shapely.union_all(framed) if overlaps or shifts.any() else shapely.MultiPolygon(framed)
    if whole.bounds[2] - start > TURN + 1e-9:
        whole = _folded(whole, start)
    return whole


def _frame_start(spans: np.ndarray) -> float:
    """The west edge, -180 … 180, after the widest gap that spans of longitude leave; -180 if none."""
    wests = (spans[:, 0] + HALF_TURN) % TURN - HALF_TURN
    order = np.argsort(wests)
    wests, easts = wests[order], (wests + np.diff(spans)[:, 0])[order]
    reached = np.maximum.accumulate(np.concatenate([[easts.max() - TURN], easts[:-1]]))
    gaps = wests - reached
    widest = int(np.argmax(gaps))
    return float(wests[widest]) if gaps[widest] > 0 else -HALF_TURN


def _folded(whole: BaseGeometry, start: float) -> BaseGeometry:
    """What lies beyond a frame of 360° put back into it, a turn to the west."""
    frame = shapely.box(start, -90, start + TURN, 90)
    beyond = shapely.transform(shapely.difference(whole, frame), partial(curves.moved, east_deg=-TURN))
    folded = shapely.union_all([shapely.intersection(whole, frame), beyond])
    return shapely.MultiPolygon(_polygons(folded))
