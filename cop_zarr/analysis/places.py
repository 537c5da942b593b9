"""What places look like, and where they are: from regions, points, vectors and answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple, cast

import numpy as np

from cop_zarr.analysis.metrics import unit
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

    def read(self, given: Any, name: str) -> list[Place]:
        """Read one or several places; ``name`` is that of the argument.

        RegionError if one is outside the store or has no data; InputError if one is none.
        """
        items, crs = place_list(given, name)
        points, regions, rows = list[int](), list[int](), dict[int, Place]()
        for number, item in enumerate(items):
            if isinstance(item, np.ndarray) or _is_answer(item):
                rows[number] = self._from_vector(item, _label(name, items, number))
            else:
                (points if _is_point(item) else regions).append(number)
        self._read_points(items, points, crs, rows)
        self._read_regions(items, regions, crs, rows)
        for number in range(len(items)):
            check_vector(rows[number].vector, _label(name, items, number))
        return [rows[number] for number in range(len(items))]

    def _from_vector(self, item: Any, label: str) -> Place:
        vector, bands = np.asarray(item.data if _is_answer(item) else item), self._reader.layout.bands
        if vector.shape != (bands,) or vector.dtype.kind not in "fiu":
            hint = "; of a grid, use a pooled answer" if vector.ndim == 3 else ""
            raise InputError(
                f"{label} must be a vector of {bands} numbers, as this store has; got {vector.dtype} "
                f"values of the shape {vector.shape}{hint}"
            )
        position = _answer_cells(item) if _is_answer(item) else None
        return Place(vector.astype("f8"), position)

    def _read_points(self, items: list[Any], points: list[int], crs: Any, rows: dict[int, Place]) -> None:
        if not points:
            return
        lons, lats = np.array([_coordinates(items[number]) for number in points], "f8").T
        given = check_points(self._grid, lons, lats, "nearest", "raise", crs=crs)
        batch = PointBatch(self._reader, given, "skip", self._valid)
        found = answer_batch(batch, None, progress=None, client=None)
        for number, lon, lat, vector in zip(points, given.lons, given.lats, found, strict=True):
            rows[number] = Place(vector.astype("f8"), (lon[None], lat[None]))

    def _read_regions(self, items: list[Any], regions: list[int], crs: Any, rows: dict[int, Place]) -> None:
        if not regions:
            return
        options = CheckedOptions(crs=crs, empty="skip", subpixel="touch")
        rois = [items[number] for number in regions]
        batch = RegionBatch(self._reader, rois, options, "raise", self._valid)
        found = answer_batch(batch, None, progress=None, client=None)
        for number, vector in zip(regions, found, strict=True):
            rows[number] = Place(vector.astype("f8"), self._region_cells(items[number], options))

    def _region_cells(self, roi: Any, options: CheckedOptions) -> tuple[np.ndarray, np.ndarray]:
        """Centres of the cells that a region touches, with data or without."""
        found = plan(self._grid, roi, options)
        rows, cols = np.nonzero(found.members)
        lats, lons = self._grid.window_latitudes(found.window), self._grid.window_longitudes(found.window)
        return normalised(lons[cols], lats[rows])


def place_list(given: Any, name: str) -> tuple[list[Any], object | None]:
    """Places as a list, and the CRS that a table of them declares."""
    if isinstance(given, np.ndarray):
        items, crs = (list(given) if given.ndim == 2 else [given]), None
    elif _is_answer(given) or _is_numbers(given) or isinstance(given, str | bytes):
        items, crs = [given], None
    else:
        table, crs = regions_and_crs(given, None)
        several = isinstance(table, Iterable) and not has_geo_interface(table) and not is_one_region(table)
        items = list(table) if several else [table]
    items = [_as_vector(item) for item in items]
    if not items:
        raise InputError(f"{name} must hold at least one place: {ACCEPTED}")
    return items, crs


def check_vector(vector: np.ndarray, label: str) -> None:
    """Check that there is something to be like."""
    if np.isnan(vector).all():
        raise RegionError(
            f"{label} has no data, so there is nothing there to be like; name a place on land (Store.valid "
            "is the mask of cells with data)"
        )
    if not np.isfinite(vector).all():
        raise InputError(f"{label} has values that are not finite; leave it out, or name another place")


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


def _as_vector(item: Any) -> Any:
    """A sequence of numbers too long for a point or a box as an array; anything else as it is."""
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
    coordinates = shapely.get_coordinates(shapely.geometry.shape(document))
    if len(coordinates) != 1:
        raise RegionError("the point is empty; leave it out")
    return tuple(coordinates[0])


def _answer_cells(answer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the cells that an answer was pooled from."""
    window = Window(*answer.meta["rows"], *answer.meta["cols"])
    lats, lons = Affine(*answer.meta["transform"]).centres(window.shape)
    rows, cols = np.nonzero(answer.weights > 0)
    return normalised(lons[cols], lats[rows])


def _label(name: str, items: list[Any], number: int) -> str:
    """What to call a place in a message."""
    return f"{name}[{number}]" if len(items) > 1 else f"the place in {name}"
