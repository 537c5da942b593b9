"""Groups of regions, or of points, that are in the same chunks and of about one size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cop_zarr.core.grouping import group_by
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.regions import BBox, PointBuffer
from cop_zarr.regions.forms import reduce_form

GROUPS_PER_THREAD = 4
"""Groups made for each thread of the workers, so that all end at about the same time."""

MIN_MEMBERS = 256
"""Members of a group, at least: sending a group takes about as long as answering so many boxes."""

UNKNOWN = float("nan"), float("nan")


def centres(rois: Iterable[Any], crs: object | None) -> tuple[np.ndarray, np.ndarray]:
    """About where regions are: longitudes and latitudes in degrees, ``(n,)``, NaN where that is not plain.

    Nothing is checked: this decides who answers a region, and not what the answer is.
    """
    found = np.array([_centre_or_unknown(roi) for roi in rois], "f8").reshape(-1, 2)
    lons, lats = found[:, 0], found[:, 1]
    if crs is None:
        return lons, lats
    from pyproj import Transformer  # 0.1 s, which only other CRSs need

    lons, lats = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(lons, lats)
    return lons, lats


def chunk_keys(layout: Layout, lons: np.ndarray, lats: np.ndarray) -> np.ndarray:
    """Keys of the chunks that points are in: int64, ``(n,)``, close for chunks that are close.

    They are positions on a Morton curve, so that groups of successive chunks are compact, and a region of
    several chunks shares most of them with its own group. A point outside the store has the key -1.
    """
    known = np.isfinite(lons) & np.isfinite(lats)
    rows, cols = layout.grid.cells_at(np.where(known, lons, 0), np.where(known, lats, 0))
    known &= rows >= 0
    size = layout.chunk_cells
    keys = _spread_bits(cols // size) | _spread_bits(rows // size) << 1
    return np.where(known, keys, -1)


def groups(keys: np.ndarray, threads: int, most: int) -> list[np.ndarray]:
    """Cut positions in ``keys`` into groups of at most ``most``, a few for each thread, each ascending.

    A chunk is in one group unless it has more members than a group.
    """
    count = len(keys)
    size = min(most, max(MIN_MEMBERS, -(-count // (GROUPS_PER_THREAD * threads))))
    found: list[list[np.ndarray]] = []
    room = 0
    for _, members in group_by(keys, np.arange(count)):
        for part in np.array_split(members, -(-len(members) // size)):
            if len(part) > room:
                found.append([])
                room = size
            found[-1].append(part)
            room -= len(part)
    return [np.sort(np.concatenate(parts)) for parts in found]


def _spread_bits(values: np.ndarray) -> np.ndarray:
    """Numbers below 65,536 with a 0 between any two of their bits."""
    spread = values.astype("i8") & 0xFFFF
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        spread = (spread | spread << shift) & mask
    return spread


def _centre_or_unknown(roi: Any) -> tuple[float, float]:
    try:
        return _centre(roi)
    except Exception:  # noqa: BLE001  # an object may raise anything; the worker will refuse it
        return UNKNOWN


def _centre(roi: Any) -> tuple[float, float]:
    """About where a region is, in its own CRS."""
    if not isinstance(roi, BBox | PointBuffer):
        roi, _ = reduce_form(roi, None)
    if isinstance(roi, BBox | PointBuffer):
        return roi.footprint.centre
    if hasattr(type(roi), "geom_type"):  # a shapely geometry knows its bounds
        return _centre_of_box(roi.bounds)
    mapping = roi if isinstance(roi, Mapping) else getattr(roi, "__geo_interface__", None)
    return _first_position(mapping) if isinstance(mapping, Mapping) else _centre_of_box(roi)


def _centre_of_box(bounds: Any) -> tuple[float, float]:
    west, south, east, north = map(float, bounds)
    return (west + east + (360 if west > east else 0)) / 2, (south + north) / 2


def _first_position(mapping: Mapping[str, Any]) -> tuple[float, float]:
    """The first position of a GeoJSON mapping."""
    found: Any = mapping
    for name in ("features", "geometries"):
        while found.get(name):
            found = found[name][0]
    found = (found.get("geometry") or found)["coordinates"]
    while not isinstance(found[0], int | float):
        found = found[0]
    return float(found[0]), float(found[1])
