"""Map-style datasets for PyTorch: the vectors of points and of regions, a batch at a time.

An item is a float32 tensor ``(bands,)``, or that and its label. A :class:`torch.utils.data.DataLoader` asks
for the items of a whole batch at once, so each chunk under the batch is read and decoded once. Vectors are
those that :meth:`cop_zarr.Store.sample` and :meth:`cop_zarr.Store.query_many` give.

Points, regions and options are checked when a dataset is created. A dataset may be forked, or pickled to
workers that are spawned: a pickle holds the open store (about 140 KB of the published size, without cached
chunks), the points or regions, and the labels.
"""

from __future__ import annotations

import operator
import os
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from cop_zarr.core.settings import WORKERS_VARIABLE
from cop_zarr.errors import InputError, MissingDependencyError
from cop_zarr.querying.geodataframe import points_and_crs, regions_and_crs
from cop_zarr.querying.many_regions import as_region_list, plan_or_report
from cop_zarr.querying.options import CheckedOptions, Empty, OnError, QueryOptions, check_on_error
from cop_zarr.querying.points import Method, check_options, check_points
from cop_zarr.regions import Roi
from cop_zarr.storage import local_path
from cop_zarr.store import Store
from cop_zarr.store import open as open_store

try:
    import torch
    from torch.utils.data import Dataset, get_worker_info
except ImportError as error:
    raise MissingDependencyError(
        "cop_zarr.interop.torch needs PyTorch, which cannot be imported: pip install 'cop-zarr[torch]'"
    ) from error


class _VectorDataset(Dataset):
    """Maps indices to vectors, and perhaps labels."""

    kind: str  # what the items are made from, for messages

    def __init__(self, store: Store | str | os.PathLike[str], on_error: OnError) -> None:
        self.store: Store = store if isinstance(store, Store) else open_store(store)
        workers_given = isinstance(store, Store) or bool(os.environ.get(WORKERS_VARIABLE))
        self._share_processors = not workers_given and local_path(self.store.url) is not None
        # a callable has been called when the items were checked, and need not be pickled
        self._on_error: OnError = "raise" if on_error == "raise" else "nan"

    def _set_items(self, count: int, labels: Any | None) -> None:
        self._count = count
        self.labels = None if labels is None else _check_labels(labels, count, self.kind)

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        labels = "" if self.labels is None else ", labelled"
        return f"<{type(self).__name__} of {self._count:,} {self.kind}{labels}: {self.store!r}>"

    def __getitem__(self, index: int | slice | Sequence[int] | Sequence[bool]) -> Any:
        """One item; or, for a list of indices, a slice or a mask, one tensor of them, and their labels.

        A mask has a bool for each item, and selects those where it is True. A DataLoader with
        ``batch_size=None`` and a BatchSampler as its sampler asks for lists of indices. Raises IndexError
        if there is no such item, InputError if this is no index, and what :meth:`cop_zarr.Store.query`
        raises.
        """
        if not (isinstance(index, slice) or _is_several(index)):
            return self.__getitems__([index])[0]
        positions = self._selected(index)
        vectors = torch.from_numpy(self._answer(positions))
        return vectors if self.labels is None else (vectors, _select(self.labels, positions))

    def __getitems__(self, indices: Iterable[Any]) -> list[Any]:
        """The items of a batch; a DataLoader calls this."""
        positions = self._positions(indices)
        vectors = torch.from_numpy(self._answer(positions)).unbind()
        if self.labels is None:
            return list(vectors)
        labels = (self.labels[position] for position in positions.tolist())
        return list(zip(vectors, labels, strict=True))

    def _selected(self, index: Any) -> np.ndarray:
        """What a slice, a mask or a list of indices selects, as positions: int64, ``(n,)``."""
        if isinstance(index, slice):
            return np.arange(self._count)[index]
        mask = _as_mask(index)
        if mask is None:
            return self._positions(index)
        if mask.shape != (self._count,):
            raise InputError(
                f"a mask must have one entry for each of the {self._count:,} {self.kind}; got the shape "
                f"{mask.shape}"
            )
        return np.flatnonzero(mask)

    def _positions(self, indices: Iterable[Any]) -> np.ndarray:
        """Indices, which may be negative, as positions from 0 on: int64, ``(n,)``."""
        given = [_as_integer(index) for index in indices]
        for index in given:
            if not -self._count <= index < self._count:
                raise IndexError(f"index {index} is out of range for {self._count:,} {self.kind}")
        positions = np.array(given, "i8")
        return np.where(positions < 0, positions + self._count, positions)

    def _local_store(self) -> Store:
        """The store, with this worker's share of the processors as threads.

        On two processors, two workers of one thread each answer a quarter more than two of two threads do.
        Over a network, threads wait rather than compute, and keep the number they were opened with.
        """
        worker = get_worker_info()
        if self._share_processors and worker is not None:
            self.store = self.store.with_workers(max(1, (os.cpu_count() or 1) // worker.num_workers))
            self._share_processors = False
        return self.store

    @abstractmethod
    def _answer(self, positions: np.ndarray) -> np.ndarray:
        """The vectors of some items: float32, ``(len(positions), bands)``, a new array."""


class PointDataset(_VectorDataset):
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
    >>> points = PointDataset("copernicus.zarr", [11.5, 121.5, -60], [48.1, 31.2, -3], labels=[0, 1, 1])
    >>> points
    <PointDataset of 3 points, labelled: <cop_zarr.Store copernicus.zarr: 16 bands, 721 x 1440 cells>>
    >>> vector, label = points[1]
    >>> vector.shape, label
    (torch.Size([16]), 1)
    >>> for vectors, labels in DataLoader(points, batch_size=2):
    ...     print(vectors.shape, labels)
    torch.Size([2, 16]) tensor([0, 1])
    torch.Size([1, 16]) tensor([1])
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
        x, y, crs = points_and_crs(lon, lat, crs)
        super().__init__(store, on_error)
        points = check_points(self.store.grid, x, y, method, on_error, crs=crs)
        if len(points.shape) != 1:
            raise InputError(f"lon and lat must be one-dimensional; got the shape {points.shape}")
        self._set_items(points.lons.size, labels)
        self.lon, self.lat = points.lons.copy(), points.lats.copy()
        if points.refused is not None:
            self.lon[points.refused] = self.lat[points.refused] = np.nan
        self._method, self._empty = method, empty

    def _answer(self, positions: np.ndarray) -> np.ndarray:
        lon, lat = self.lon[positions], self.lat[positions]
        vectors: np.ndarray = self._local_store().sample(
            lon, lat, method=self._method, empty=self._empty, on_error=self._on_error
        )
        return vectors


class RegionDataset(_VectorDataset):
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
    >>> regions = RegionDataset("copernicus.zarr", [(120, 30, 122, 32), PointBuffer(11.5, 48.1, 50_000)])
    >>> regions[-1].shape
    torch.Size([16])
    >>> regions[[1, 0, 1]].shape
    torch.Size([3, 16])
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
        rois = _select(self.rois, positions)
        vectors: np.ndarray = self._local_store().query_many(rois, on_error=self._on_error, **self._options)
        return vectors


def _check_labels(labels: Any, count: int, kind: str) -> Any:
    """Labels indexed by position; a column of a table, which is not, becomes an array."""
    if np.ma.is_masked(labels):
        raise InputError("labels must not be masked; leave out the items without one")
    found = labels if isinstance(labels, list | tuple | torch.Tensor) else np.asarray(labels)
    size = len(found) if isinstance(found, list | tuple) or found.ndim else None
    if size != count:
        got = f"one {type(labels).__name__}" if size is None else f"{size:,}"
        raise InputError(f"labels must have one entry for each of the {count:,} {kind}; got {got}")
    return found


def _select(values: Any, positions: np.ndarray) -> Any:
    """Values at some positions: an array or tensor of them, or a list."""
    if isinstance(values, list | tuple):
        return [values[position] for position in positions.tolist()]
    return values[positions]


def _is_several(index: Any) -> bool:
    """Whether an index has a length: no scalar, nor an array or a tensor without dimensions."""
    return isinstance(index, Iterable) and not isinstance(index, str) and getattr(index, "ndim", 1) > 0


def _as_mask(index: Any) -> np.ndarray | None:
    """A list of bools, or an array, tensor or column of them, as an array; None for anything else."""
    if isinstance(index, list | tuple):
        return np.array(index) if index and all(isinstance(entry, bool) for entry in index) else None
    if str(getattr(index, "dtype", "")) not in {"bool", "boolean", "torch.bool"}:
        return None
    try:
        return np.asarray(index.cpu() if isinstance(index, torch.Tensor) else index, bool)
    except (TypeError, ValueError):
        raise InputError("a mask must be True or False for each item; some entries are missing") from None


def _as_integer(index: Any) -> int:
    """One index; a bool is none, though Python takes it for 0 or 1."""
    is_bool = isinstance(index, bool) or str(getattr(index, "dtype", "")) in {"bool", "torch.bool"}
    try:
        return operator.index(None if is_bool else index)  # type: ignore[arg-type]  # raises TypeError
    except (TypeError, ValueError):
        raise InputError(
            f"an index must be an integer; got {index!r}. Of a mask, give the whole, as in dataset[mask], "
            "and the indices to what selects one by one: Subset(dataset, np.flatnonzero(mask))"
        ) from None
