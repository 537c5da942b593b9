"""GeoJSON, and objects with ``__geo_interface__``, converted to polygons of shapely."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from cop_zarr.errors import RegionError, RegionWarning
from cop_zarr.regions.forms import POINT_TYPES
from cop_zarr.regions.projections import Projection, check_same, projection

ACCEPTED = (
    "a region is a Polygon, a MultiPolygon, or a Feature, FeatureCollection or GeometryCollection of them"
)

NO_AREA = POINT_TYPES | {"LineString", "MultiLineString"}
"""GeoJSON types that are left out of a region."""


def declared_crs(given: object) -> object | None:
    """The CRS that a geometry declares: ``.crs`` of geopandas, or the ``crs`` member of old GeoJSON."""
    own: object | None = getattr(given, "crs", None)
    member = given.get("crs") if isinstance(given, Mapping) else None
    if own is not None or member is None:
        return own
    try:
        name: object = member["properties"]["name"]
    except (KeyError, TypeError):
        raise RegionError(f"the geometry's crs member must have properties.name; got {member!r}") from None
    return name


def source_projection(given: object, crs: object | None) -> Projection | None:
    """The CRS given, or what a geometry declares; None if coordinates are in the product's CRS."""
    asked, own = (None if each is None else projection(each) for each in (crs, declared_crs(given)))
    if asked and own:
        check_same(asked, own, "geometry")
    source = asked or own
    return None if source is None or source.is_product_crs else source


def read_polygons(given: object) -> tuple[list[BaseGeometry], dict[str, int]]:
    """The Polygons and MultiPolygons of a region, none empty, and how many of each other type are left out.

    A RegionWarning says what is left out; RegionError if nothing else is there.
    """
    others = Counter[str]()
    found = list(_iter_polygons(given, others))
    names = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
    if not found and not others:
        raise RegionError(f"the geometry is empty; {ACCEPTED}")
    if not found:
        raise RegionError(f"{ACCEPTED}; got {names}{_advice(others)}")
    if others:
        warnings.warn(f"a region is its polygons; left out: {names}", RegionWarning, stacklevel=2)
    return found, dict(others)


def _iter_polygons(given: object, others: Counter[str]) -> Iterator[BaseGeometry]:
    if isinstance(given, BaseGeometry):
        for shape in _polygon_members(given, others):
            _check_finite(shapely.get_coordinates(shape))
            yield shape
        return
    document = given if isinstance(given, Mapping) else getattr(given, "__geo_interface__", None)
    if not isinstance(document, Mapping):
        raise RegionError(f"{ACCEPTED}; got {type(given).__name__}")
    if document is not given and document.get("crs") is not None and declared_crs(given) is None:
        raise RegionError("the object's __geo_interface__ has a crs member; pass that mapping instead")
    yield from _from_geojson(document, others)


def _from_geojson(document: Mapping[str, Any], others: Counter[str]) -> Iterator[BaseGeometry]:
    features = document.get("features") if document.get("type") == "FeatureCollection" else [document]
    for feature in _check_list(features, "features"):
        if not isinstance(feature, Mapping):
            raise RegionError(f"a feature must be a mapping; got {type(feature).__name__}")
        geometry = feature.get("geometry") if feature.get("type") == "Feature" else feature
        if geometry is None:
            continue  # a feature without a geometry (RFC 7946, section 3.2)
        if not isinstance(geometry, Mapping):
            raise RegionError(f"a feature's geometry must be a mapping; got {type(geometry).__name__}")
        for member in _leaves(geometry):
            for inner in (feature, geometry, member):
                if inner is not document and isinstance(inner, Mapping) and inner.get("crs") is not None:
                    raise RegionError("a crs member must be at the top level of the GeoJSON")
            if isinstance(member, Mapping) and member.get("type") in NO_AREA:
                others[member["type"]] += 1
            else:
                yield from _polygon_members(_parse_geometry(member), others)


def _leaves(geometry: object) -> Iterator[object]:
    """The geometries of a GeometryCollection and of those in it; or the geometry itself."""
    if not isinstance(geometry, Mapping) or geometry.get("type") != "GeometryCollection":
        yield geometry
        return
    for member in _check_list(geometry.get("geometries"), "geometries"):
        yield from _leaves(member)


def _check_list(members: object, what: str) -> list[Any]:
    if not isinstance(members, list | tuple):
        raise RegionError(f"the collection's {what} must be a list; got {type(members).__name__}")
    return list(members)


def _parse_geometry(geometry: object) -> BaseGeometry:
    """Convert a GeoJSON geometry. Rings become arrays: three times as fast as position by position."""
    kind = geometry.get("type") if isinstance(geometry, Mapping) else None
    if not isinstance(geometry, Mapping) or kind not in ("Polygon", "MultiPolygon"):
        raise RegionError(f"{ACCEPTED}; got a GeoJSON type {kind!r}")
    coordinates: Any = geometry.get("coordinates", [])
    try:
        if kind == "Polygon":
            return _parse_polygon(coordinates)
        return shapely.MultiPolygon([_parse_polygon(rings) for rings in coordinates])
    except RegionError:
        raise
    except (TypeError, ValueError, LookupError, shapely.errors.ShapelyError) as error:
        raise RegionError(
            f"the {kind}'s coordinates must be rings of at least four positions [lon, lat]: {error}"
        ) from error


def _parse_polygon(rings: Any) -> shapely.Polygon:
    shell, *holes = [_parse_ring(ring) for ring in rings] or [np.empty((0, 2))]
    return shapely.Polygon(shell, holes)


def _parse_ring(ring: object) -> np.ndarray:
    """Convert a ring to float64, ``(n, 2)``, without heights."""
    masked = np.ma.isMA(ring) or (
        isinstance(ring, list | tuple) and np.ma.MaskedArray in set(map(type, ring))
    )
    positions = np.ma.array(ring) if masked else np.asarray(ring)
    if positions.dtype.kind not in "fiu":
        raise TypeError(f"got {positions.dtype} values")
    if positions.ndim != 2 or positions.shape[1] < 2:
        raise TypeError(f"got a ring of shape {positions.shape} instead of (positions, 2)")
    positions = np.ma.filled(positions[:, :2].astype("f8", copy=False), np.nan)
    _check_finite(positions)  # before shapely, which warns
    return positions


def _polygon_members(shape: BaseGeometry, others: Counter[str]) -> Iterator[BaseGeometry]:
    """The polygons of a shape that are not empty; other members are counted."""
    if isinstance(shape, shapely.GeometryCollection):
        for member in shape.geoms:
            yield from _polygon_members(member, others)
    elif shape.is_empty:
        return
    elif isinstance(shape, shapely.Polygon | shapely.MultiPolygon):
        yield shape
    else:
        others[shape.geom_type] += 1


def _advice(others: Counter[str]) -> str:
    """What to do with geometries that have no area."""
    if POINT_TYPES.issuperset(others):
        return "; for points, use Store.sample or PointBuffer"
    if set(others) == {"LinearRing"}:
        return "; make it a polygon: shapely.Polygon(ring)"
    return (
        "; a line has no area: buffer it in metres, with geopandas: lines = GeoSeries([line], crs=4326); "
        "lines.to_crs(lines.estimate_utm_crs()).buffer(500)"
    )


def _check_finite(coordinates: np.ndarray) -> None:
    finite = np.isfinite(coordinates).all(axis=1)
    if not finite.all():
        index = int(np.argmin(finite))
        x, y = coordinates[index]
        raise RegionError(f"vertex {index} of the geometry must have finite coordinates; got ({x}, {y})")
