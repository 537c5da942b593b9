"""Which regions, and which points, go together: those of the same chunks, in groups of about one size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cop_zarr.format.chunk_grid import Layout
from cop_zarr.regions import BBox, PointBuffer
from cop_zarr.regions.bbox import is_bbox_tuple

GROUPS_A_THREAD = 4
"""So many groups are made for each thread of the workers, that all end at about the same time though some
groups take longer than others."""

LEAST = 256
"""Regions or points of a group, at least: sending a group takes about as long as so many boxes do."""

NOWHERE = float("nan"), float("nan")


def middles(rois: Iterable[Any], crs: object | None) -> tuple[np.ndarray, np.ndarray]:
    """About where regions lie: longitudes and latitudes in degrees, ``(n,)``, NaN where that is not plain.

    Nothing is checked: it decides who answers a region, and not what the answer is.
    """
    found = np.array([_middle(roi) for roi in rois], "f8").reshape(-1, 2)
    lons, lats = found[:, 0], found[:, 1]
    if crs is None:
        return lons, lats
    from pyproj import Transformer  # 0.1 s, which only other CRSs need

    lons, lats = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(lons, lats)
    return lons, lats


def keys(layout: Layout, lons: np.ndarray, lats: np.ndarray) -> np.ndarray:
    """The chunks that points lie in, by numbers that are close for chunks that are close: int64, ``(n,)``.

    The numbers run along a Morton curve, so that groups of successive chunks are compact, and a region of
    several chunks shares most of them with its own group. Points that lie nowhere have the number -1.
    """
    known = np.isfinite(lons) & np.isfinite(lats)
    rows, cols = layout.grid.cells_at(np.where(known, lons, 0), np.where(known, lats, 0))
    known &= rows >= 0
    size = layout.chunk_cells
    numbers = _spread(cols // size) | _spread(rows // size) << 1
    return np.where(known, numbers, -1)


def groups(numbers: np.ndarray, threads: int, most: int) -> list[np.ndarray]:
    """Cut what has keys into groups.

    Parameters
    ----------
    numbers : ndarray
        Keys, as :func:`keys` gives them.
    threads : int
        Threads that the groups are for.
    most : int
        Members of a group, at most.

    Returns
    -------
    list of ndarray
        Positions in ``numbers``, ascending; each is in one group. Groups begin where a chunk does, unless a
        chunk has more members than half a group.
    """
    count = len(numbers)
    if not count:
        return []
    size = min(most, max(LEAST, -(-count // (GROUPS_A_THREAD * threads))))
    order = np.argsort(numbers, kind="stable")
    begins = np.flatnonzero(np.diff(numbers[order])) + 1
    cuts = np.arange(size, count, size)
    if begins.size:  # move each cut back to where a chunk begins, if that is not far
        nearest = begins[np.maximum(np.searchsorted(begins, cuts, side="right") - 1, 0)]
        cuts = np.where((nearest <= cuts) & (cuts - nearest < size // 2), nearest, cuts)
    found = np.split(order, np.unique(cuts))
    return [np.sort(part) for whole in found for part in _at_most(whole, most)]


def _at_most(members: np.ndarray, most: int) -> list[np.ndarray]:
    return np.array_split(members, -(-len(members) // most))


def _spread(values: np.ndarray) -> np.ndarray:
    """Numbers below 65,536 with a 0 between any two of their bits."""
    spread = values.astype("i8") & 0xFFFF
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        spread = (spread | spread << shift) & mask
    return spread


def _middle(roi: Any) -> tuple[float, float]:
    """About where a region lies, in its own CRS."""
    if isinstance(roi, PointBuffer):
        return roi.lon, roi.lat
    if isinstance(roi, BBox):
        return _of_box(roi.bounds)
    if is_bbox_tuple(roi):
        return _of_box(roi)
    if hasattr(type(roi), "geom_type"):  # shapely's, which know their bounds without being spelled out
        bounds: Sequence[float] = roi.bounds
        return _of_box(bounds)
    given = roi if isinstance(roi, Mapping) else getattr(roi, "__geo_interface__", None)
    return _of_geojson(given) if isinstance(given, Mapping) else _of_numbers(roi)


def _of_box(bounds: Sequence[float]) -> tuple[float, float]:
    west, south, east, north = bounds
    return (west + east + (360 if west > east else 0)) / 2, (south + north) / 2


def _of_numbers(roi: Any) -> tuple[float, float]:
    try:
        return _of_box([float(number) for number in roi])
    except (TypeError, ValueError):
        return NOWHERE  # the worker that it comes to will say why it is none


def _of_geojson(given: Mapping[str, Any]) -> tuple[float, float]:
    """The first position of a mapping."""
    found: Any = given
    try:
        for name in ("features", "geometries"):
            while found.get(name):
                found = found[name][0]
        found = (found.get("geometry") or found)["coordinates"]
        while not isinstance(found[0], int | float):
            found = found[0]
        return float(found[0]), float(found[1])
    except (AttributeError, LookupError, TypeError, ValueError):
        return NOWHERE
