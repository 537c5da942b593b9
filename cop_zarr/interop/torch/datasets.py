"""The datasets of points, of their patches, and of regions."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from cop_zarr.errors import InputError
from cop_zarr.interop.torch.items import VectorDataset, select
from cop_zarr.querying.geodataframe import points_and_crs, regions_and_crs
from cop_zarr.querying.many_regions import as_region_list, plan_or_report
from cop_zarr.querying.options import CheckedOptions, Empty, OnError, QueryOptions, check_on_error
from cop_zarr.querying.patches import check_size
from cop_zarr.querying.points import Method, check_options, check_points
from cop_zarr.regions import Roi
from cop_zarr.store import Store


class _OfPoints(VectorDataset):
    """Items that are made from points."""

    def _init_points(
        self,
        store: Store | str | os.PathLike[str],
        lon: Any,
        lat: ArrayLike | None,
        *,
        crs: object | None,
        labels: Any | None,
        method: Method,
        on_error: OnError,
    ) -> None:
        x, y, crs = points_and_crs(lon, lat, crs)
        VectorDataset.__init__(self, store, on_error)
        points = check_points(self.store.grid, x, y, method, on_error, crs=crs)
        if len(points.shape) != 1:
            raise InputError(f"lon and lat must be one-dimensional; got the shape {points.shape}")
        self._set_items(points.lons.size, labels)
        self.lon, self.lat = points.lons.copy(), points.lats.copy()
        if points.refused is not None:
            self.lon[points.refused] = self.lat[points.refused] = np.nan


class PointDataset(_OfPoints):
    """The vectors of points.

    Parameters
    ----------
    store : Store, str or path
        An open store, or a path or URL to open as :func:`cop_zarr.open` does by default. A store on a disk
        given by its path is read with fewer threads in each of a DataLoader's workers, so that together
        they have as many as there are processors, unless ``COP_ZARR_WORKERS`` is set.
    lon, lat : array_like
        Degrees, as :meth:`cop_zarr.Store.sample` takes them: ``(n,)``, or one number for all; or a
        geopandas GeoSeries or GeoDataFrame of points instead of both.
    crs : str, int or pyproj.CRS, optional
        The CRS of the points, as for :meth:`cop_zarr.Store.sample`.
    labels : sequence, optional
        A label for each point, in the same order: a tensor, an array, a column of a table, a list.
    method : {"nearest", "bilinear"}
        As :meth:`cop_zarr.Store.sample`: the cell that contains a point, or a mean of the four around it.
    empty : {"include", "skip"}
        Whether cells without data count, as the zeros they hold. If they do not, a point without data has
        a vector of NaN.
    on_error : {"raise", "nan"} or callable
        What to do with a point that is not finite, out of range or outside the store: raise now, or give it
        a vector of NaN. A callable is called now with its position and the RegionError.

    Attributes
    ----------
    store : Store
        The open store.
    lon, lat : ndarray
        Degrees, float64, ``(n,)``; NaN for points that are invalid.
    labels : sequence or None
        The labels.

    Raises
    ------
    RegionError
        If a point is invalid: its position is named.
    InputError
        If the points are not one-dimensional, the number of labels differs, or an option is invalid.
    StoreNotFoundError, StoreError, StorageError
        If ``store`` cannot be opened.

    Examples
    --------
    >>> from torch.utils.data import DataLoader
    >>> from cop_zarr.interop.torch import PointDataset
    >>> points = PointDataset("data/standin.zarr", [11.5, 121.5, -60], [48.1, 31.2, -3], labels=[0, 1, 1])
    >>> len(points)
    3
    >>> vector, label = points[1]
    >>> vector.shape, label
    (torch.Size([768]), 1)
    >>> for vectors, labels in DataLoader(points, batch_size=2):
    ...     print(vectors.shape, labels)
    torch.Size([2, 768]) tensor([0, 1])
    torch.Size([1, 768]) tensor([1])
    """

    kind = "points"

    def __init__(
        self,
        store: Store | str | os.PathLike[str],
        lon: Any,
        lat: ArrayLike | None = None,
        *,
        crs: object | None = None,
        labels: Any | None = None,
        method: Method = "nearest",
        empty: Empty = "include",
        on_error: OnError = "raise",
    ) -> None:
        check_options(method, empty, on_error)
        self._init_points(store, lon, lat, crs=crs, labels=labels, method=method, on_error=on_error)
        self._method, self._empty = method, empty

    def _answer(self, positions: np.ndarray) -> np.ndarray:
        lon, lat = self.lon[positions], self.lat[positions]
        vectors: np.ndarray = self._local_store().sample(
            lon, lat, method=self._method, empty=self._empty, on_error=self._on_error
        )
        return vectors


class PatchDataset(_OfPoints):
    """The patches of points: the square of cells around each.

    Parameters
    ----------
    store, lon, lat, crs, labels
        As for :class:`PointDataset`.
    size : int
        Rows and columns of a patch, as for :meth:`cop_zarr.Store.patches`.
    empty : {"include", "skip"}
        Whether cells without data are the zeros they hold, or NaN.
    on_error : {"raise", "nan"} or callable
        As for :class:`PointDataset`; an invalid point has a patch of NaN.

    Attributes
    ----------
    store, lon, lat, labels
        As of :class:`PointDataset`.
    size : int
        Rows and columns of a patch.

    Raises
    ------
    InputError
        If ``size`` is no odd number of cells. Other errors are those of :class:`PointDataset`.

    Examples
    --------
    >>> from torch.utils.data import DataLoader
    >>> from cop_zarr.interop.torch import PatchDataset
    >>> patches = PatchDataset("data/standin.zarr", [11.5, 121.5, -60], [48.1, 31.2, -3], size=3)
    >>> patches[0].shape
    torch.Size([768, 3, 3])
    >>> next(iter(DataLoader(patches, batch_size=2))).shape
    torch.Size([2, 768, 3, 3])
    """

    kind = "patches"

    def __init__(
        self,
        store: Store | str | os.PathLike[str],
        lon: Any,
        lat: ArrayLike | None = None,
        size: int = 5,
        *,
        crs: object | None = None,
        labels: Any | None = None,
        empty: Empty = "include",
        on_error: OnError = "raise",
    ) -> None:
        check_options("nearest", empty, on_error)
        self.size, self._empty = check_size(size), empty
        self._init_points(store, lon, lat, crs=crs, labels=labels, method="nearest", on_error=on_error)

    def _answer(self, positions: np.ndarray) -> np.ndarray:
        return self._local_store().patches(
            self.lon[positions],
            self.lat[positions],
            self.size,
            empty=self._empty,
            on_error=self._on_error,
            max_bytes=sys.maxsize,  # a batch has the size that it was given
        )


class RegionDataset(VectorDataset):
    """The vectors of regions, each pooled from its cells.

    A region is planned each time it is used: a box takes microseconds, a polygon about as long as reading a
    few chunks.

    Parameters
    ----------
    store, labels
        As for :class:`PointDataset`.
    rois : iterable
        Regions, each as :meth:`cop_zarr.Store.query` takes it; an array of ``(n, 4)`` is that many boxes;
        a geopandas GeoSeries or GeoDataFrame, with its CRS.
    on_error : {"raise", "nan"} or callable
        What to do with a region that :meth:`cop_zarr.Store.query` would refuse with a RegionError: raise
        now, or give it a vector of NaN. A callable is called now with its number, from 0, and the
        RegionError. Unless this is "nan", every region is planned once to find out.
    **options
        crs, repair, year, pooling, weights, empty and subpixel, as :meth:`cop_zarr.Store.query` takes them,
        for all regions.

    Attributes
    ----------
    rois : list or ndarray
        The regions as they were given; of a table, its geometries.
    store, labels
        As of :class:`PointDataset`.

    Raises
    ------
    SubcellError, MissingDependencyError
        As :meth:`cop_zarr.Store.query`. Other errors are those of :class:`PointDataset`; of an invalid
        region, the number is named, counted from 0.

    Examples
    --------
    >>> from cop_zarr import PointBuffer
    >>> from cop_zarr.interop.torch import RegionDataset
    >>> regions = RegionDataset("data/standin.zarr", [(120, 30, 122, 32), PointBuffer(11.5, 48.1, 50_000)])
    >>> regions[-1].shape
    torch.Size([768])
    >>> regions[[1, 0, 1]].shape
    torch.Size([3, 768])
    """

    kind = "regions"

    def __init__(
        self,
        store: Store | str | os.PathLike[str],
        rois: Iterable[Roi],
        *,
        labels: Any | None = None,
        on_error: OnError = "raise",
        **options: Unpack[QueryOptions],
    ) -> None:
        check_on_error(on_error)
        found, options["crs"] = regions_and_crs(rois, options.get("crs"))
        checked, regions = CheckedOptions(**options), as_region_list(found)
        super().__init__(store, on_error)
        self._set_items(len(regions), labels)
        if on_error != "nan":
            for number, roi in enumerate(regions):
                plan_or_report(self.store.grid, roi, number, checked, on_error)
        self.rois: list[Any] | np.ndarray = rois.copy() if isinstance(rois, np.ndarray) else list(regions)
        self._options = options

    def _answer(self, positions: np.ndarray) -> np.ndarray:
        rois = select(self.rois, positions)
        vectors: np.ndarray = self._local_store().query_many(rois, on_error=self._on_error, **self._options)
        return vectors
