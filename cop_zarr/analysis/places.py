"""What places look like, and where they are: from regions, points, vectors and answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from cop_zarr.analysis.metrics import unit
from cop_zarr.core.arrays import as_array
from cop_zarr.core.grid import Affine, Grid, Window
from cop_zarr.core.positions import normalised
from cop_zarr.errors import InputError, RegionError
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.querying.batch import answer_batch
from cop_zarr.querying.geodataframe import regions_and_crs
from cop_zarr.querying.many_regions import RegionBatch
from cop_zarr.querying.options import CheckedOptions
from cop_zarr.querying.plan import plan
from cop_zarr.querying.points import PointBatch, check_points
from cop_zarr.querying.valid_mask import ValidMask
from cop_zarr.regions.forms import has_geo_interface, is_one_region, is_point

if TYPE_CHECKING:
    from cop_zarr.regions.projections import Projection

ACCEPTED = (
    "a place is a region, a point (lon, lat), a vector as a NumPy array, or a pooled answer; several are a "
    "list of them, or an array of (n, bands)"
)


class Place(NamedTuple):
    """What one place looks like, and where it is."""

    vector: np.ndarray
    """float64, ``(bands,)``, finite."""

    position: tuple[np.ndarray, np.ndarray] | None
    """Longitudes and latitudes of a point, or of the centres of a region's cells; None for a vector."""


class PlaceReader:
    """Reads what places look like in one store."""

    def __init__(self, reader: ChunkReader, valid: ValidMask) -> None:
        self._reader, self._valid = reader, valid
        self._grid: Grid = reader.layout.grid

    def read(self, given: Any, name: str, crs: object | None) -> list[Place]:
        """Read one or several places; ``name`` is that of the argument, ``crs`` that of regions and points.

        RegionError if one is outside the store or has no data; InputError if one is none.
        """
        items, crs = place_list(given, name, crs)
        points, regions, rows = list[int](), list[int](), dict[int, Place]()
        for number, item in enumerate(items):
            if isinstance(item, np.ndarray) or _is_answer(item):
                rows[number] = self._from_vector(item, _label(name, items, number))
            else:
                (points if _is_point(item) else regions).append(number)
        self._read_points(items, points, crs, rows)
        self._read_regions(
            [(number, items[number], _label(name, items, number)) for number in regions], crs, rows
        )
        for number in range(len(items)):
            check_place(rows[number], _label(name, items, number))
        return [rows[number] for number in range(len(items))]

    def _from_vector(self, item: Any, label: str) -> Place:
        vector, bands = np.asarray(item.data if _is_answer(item) else item), self._reader.layout.bands
        if vector.shape != (bands,) or vector.dtype.kind not in "fiu":
            hint = "; of a grid, use a pooled answer" if vector.ndim == 3 else ""
            hint = "; a point is a tuple, (lon, lat)" if vector.shape == (2,) else hint
            raise InputError(
                f"{label} must be a vector of {bands} numbers, as this store has; got {vector.dtype} "
                f"values of the shape {vector.shape}{hint}"
            )
        position = _answer_cells(item) if _is_answer(item) else None
        return Place(vector.astype("f8"), position)

    def _read_points(self, items: list[Any], points: list[int], crs: Any, rows: dict[int, Place]) -> None:
        by_source: dict[Projection | None, list[int]] = {}
        for number in points:
            by_source.setdefault(_declared_source(items[number], crs), []).append(number)
        for source, numbers in by_source.items():
            lons, lats = np.array([_coordinates(items[number]) for number in numbers], "f8").T
            given = check_points(
                self._grid, lons, lats, "nearest", "raise", crs=source.crs if source else crs
            )
            batch = PointBatch(self._reader, given, "skip", self._valid)
            found = answer_batch(batch, None, progress=None, client=None)
            for number, lon, lat, vector in zip(numbers, given.lons, given.lats, found, strict=True):
                rows[number] = Place(vector.astype("f8"), (lon[None], lat[None]))

    def _read_regions(self, regions: list[tuple[int, Any, str]], crs: Any, rows: dict[int, Place]) -> None:
        """Read regions, each of which has a number and a label."""
        if not regions:
            return
        options = CheckedOptions(crs=crs, empty="skip", subpixel="touch")
        positions = [self._region_cells(roi, options, label) for _, roi, label in regions]
        batch = RegionBatch(self._reader, [roi for _, roi, _ in regions], options, "raise", self._valid)
        found = answer_batch(batch, None, progress=None, client=None)
        for (number, *_), position, vector in zip(regions, positions, found, strict=True):
            rows[number] = Place(vector.astype("f8"), position)

    def _region_cells(self, roi: Any, options: CheckedOptions, label: str) -> tuple[np.ndarray, np.ndarray]:
        """Centres of the cells that a region touches, with data or without."""
        if roi is None:
            raise RegionError(f"{label} is None; leave it out")
        try:
            found = plan(self._grid, roi, options)
        except RegionError as error:
            raise type(error)(f"{label}: {error}") from error
        rows, cols = np.nonzero(found.members)
        lats, lons = self._grid.window_latitudes(found.window), self._grid.window_longitudes(found.window)
        return normalised(lons[cols], lats[rows])


def place_list(given: Any, name: str, crs: object | None) -> tuple[list[Any], object | None]:
    """Places as a list, and their CRS: the one given, or what a table of them declares."""
    given = _as_vector(given, name)
    if isinstance(given, np.ndarray) and given.dtype.kind != "O":
        items = list(given) if given.ndim == 2 else [given]
    elif _is_answer(given) or _is_numbers(given) or isinstance(given, str | bytes):
        items = [given]
    else:
        table, crs = regions_and_crs(given, crs)
        table = table.tolist() if isinstance(table, np.ndarray) else table  # edges of boxes, or geometries
        several = isinstance(table, Iterable) and not has_geo_interface(table) and not is_one_region(table)
        items = list(table) if several else [table]
    items = [_as_vector(item, name) for item in items]
    if not items:
        raise InputError(f"{name} must hold at least one place: {ACCEPTED}")
    return items, crs


def check_place(place: Place, label: str) -> None:
    """Check that there is something to be like."""
    if place.position is not None and np.isnan(place.vector).all():
        raise RegionError(
            f"{label} has no data, so there is nothing there to be like; name a place on land"
        )
    if not (np.abs(place.vector) <= np.finfo("f4").max).all():
        raise InputError(
            f"{label} has values that are not finite, or beyond float32; leave it out, or change it"
        )


def combine(places: list[Place], negatives: list[Place]) -> np.ndarray:
    """The query for cosines: the mean unit vector of places minus that of negatives, made a unit vector."""
    for group in (places, negatives):
        for place in group:
            if not place.vector.any():
                raise InputError("a vector of zeros has no direction; leave it out, or use metric='l2'")
    query = np.mean([unit(place.vector[None])[0] for place in places], axis=0)
    if negatives:
        query = query - np.mean([unit(place.vector[None])[0] for place in negatives], axis=0)
    if not np.abs(query).max() > 1e-12:
        raise InputError("places and negatives cancel each other, so that no direction is left; change one")
    return np.asarray(unit(query[None])[0])


def _as_vector(item: Any, name: str) -> Any:
    """Arrays of any library, and numbers too many for a point or a box, as an array; others as they are."""
    region = hasattr(item, "columns") or has_geo_interface(item) or is_one_region(item)
    if hasattr(item, "__array__") and hasattr(item, "dtype") and not (region or _is_answer(item)):
        array = as_array(item, name)
        return item if array.dtype.kind == "O" else array
    return np.asarray(item) if _is_numbers(item) and len(item) not in (2, 4, 6) else item


def _is_numbers(item: Any) -> bool:
    return isinstance(item, list | tuple) and bool(item) and all(isinstance(value, Real) for value in item)


def _is_answer(item: Any) -> bool:
    """Whether it is an :class:`cop_zarr.Embedding`, which this layer cannot import."""
    return all(hasattr(type(item), name) for name in ("meta", "weights", "valid"))


def _is_point(item: Any) -> bool:
    return (_is_numbers(item) and len(item) == 2) or (not isinstance(item, np.ndarray) and is_point(item))


def _coordinates(item: Any) -> Sequence[float]:
    """The x and y of a point."""
    if isinstance(item, list | tuple):
        return item
    import shapely

    document = item if isinstance(item, Mapping) else item.__geo_interface__
    document = cast("dict[str, Any]", document.get("geometry", document))
    try:
        coordinates = shapely.get_coordinates(shapely.geometry.shape(document))
    except (LookupError, TypeError, ValueError, shapely.errors.ShapelyError) as error:
        raise RegionError(f"the point's coordinates must be [lon, lat]: {error}") from error
    if len(coordinates) != 1:
        raise RegionError("the point is empty; leave it out")
    return tuple(coordinates[0])


def _declared_source(point: Any, crs: object | None) -> Projection | None:
    """The CRS that a point of GeoJSON declares; None if it declares none, or degrees."""
    if isinstance(point, list | tuple):
        return None
    from cop_zarr.regions.geojson import declared_crs, source_projection

    return None if declared_crs(point) is None else source_projection(point, crs)


def _answer_cells(answer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the cells that an answer was pooled from."""
    window = Window(*answer.meta["rows"], *answer.meta["cols"])
    lats, lons = Affine(*answer.meta["transform"]).centres(window.shape)
    rows, cols = np.nonzero(answer.weights > 0)
    return normalised(lons[cols], lats[rows])


def _label(name: str, items: list[Any], number: int) -> str:
    """What to call a place in a message."""
    return f"{name}[{number}]" if len(items) > 1 else f"the place in {name}"
