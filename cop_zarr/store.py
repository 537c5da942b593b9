"""``Store``, ``open`` and ``query``: what users call."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from cop_zarr.analysis.components import find_components
from cop_zarr.analysis.metrics import Metric
from cop_zarr.analysis.similar import Search, SimilarOptions
from cop_zarr.core import product, settings
from cop_zarr.core.grid import Grid
from cop_zarr.core.lru_cache import CACHE_BYTES, LRUCache
from cop_zarr.core.progress import Progress
from cop_zarr.core.progress_bar import progress_bar
from cop_zarr.errors import InputError, StoreReplacedError
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.document import StoreDocument
from cop_zarr.format.layout import ROOT
from cop_zarr.format.offline import read_through_cache
from cop_zarr.format.opening import open_reader, read_document
from cop_zarr.outputs.cell_map import CellMap
from cop_zarr.outputs.components import Components, make_components
from cop_zarr.outputs.embedding import Embedding
from cop_zarr.outputs.info import encoding_info, store_info
from cop_zarr.outputs.matches import Matches
from cop_zarr.querying import cells as cells_of
from cop_zarr.querying import patches as patches_of
from cop_zarr.querying import points, region
from cop_zarr.querying.batch import answer_batch
from cop_zarr.querying.cells import BLOCK_CELLS, Cells
from cop_zarr.querying.geodataframe import points_and_crs, regions_and_crs, with_vectors
from cop_zarr.querying.many_regions import RegionBatch, as_region_list
from cop_zarr.querying.options import (
    MAX_BYTES,
    CheckedOptions,
    Empty,
    OnError,
    Output,
    Pooling,
    QueryOptions,
    Subpixel,
    Weights,
    check_max_bytes,
    check_on_error,
    check_query,
)
from cop_zarr.querying.out_array import ArrayLike2D
from cop_zarr.querying.plan import plan
from cop_zarr.querying.valid_mask import ValidMask
from cop_zarr.regions import BBox, Roi
from cop_zarr.storage import (
    CACHE_DISK_BYTES,
    TIMEOUT_SECONDS,
    StorageOptions,
    file_stamp,
    folder,
    local_path,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from cop_zarr.explorer.notebook import Explorer
    from cop_zarr.outputs.plotting.pca_map import ColoursOf


class Store:
    """An open store; make one with :func:`open`.

    A store is immutable: its metadata is read once, and every chunk is checked against it. Thread-safe.

    Attributes
    ----------
    grid : Grid
        Where its cells are.
    bands : int
        Length of one embedding: 768 for the published product.
    """

    def __init__(self, reader: ChunkReader, document: StoreDocument, *, offline: bool = False) -> None:
        self._reader = reader
        self._document = document
        self._mask = ValidMask(reader)
        self.grid: Grid = document.layout.grid
        self.bands: int = document.layout.bands
        source = document.record["source"]
        self._facts = {
            "source": source["url"],
            "source_sha256": source["sha256"],
            "synthetic": source["synthetic"],
            "encoding": encoding_info(document),
            "store": self.url,
            "offline": offline,
        }

    def __repr__(self) -> str:
        rows, cols = self.grid.shape
        synthetic = ", synthetic" if self.source["synthetic"] else ""
        return f"<cop_zarr.Store {self.url}: {self.bands} bands, {rows} x {cols} cells{synthetic}>"

    def with_workers(self, workers: int) -> Store:
        """The same open store, its memory included, with fewer threads: for processes that share a machine.

        Parameters
        ----------
        workers : int
            Chunks read at once, at most; no more than the store was opened with.

        Raises
        ------
        InputError
            If it is not a whole number of at least 1.

        Examples
        --------
        >>> import cop_zarr
        >>> cop_zarr.open().with_workers(1)
        <cop_zarr.Store data/standin.zarr: 768 bands, 721 x 1440 cells, synthetic>
        """
        store = copy.copy(self)
        reader = self._reader.with_workers(settings.workers(workers))
        store._reader = reader  # noqa: SLF001  # of a copy of this store
        return store

    @property
    def url(self) -> str:
        """Where the store is, without credentials."""
        return self._reader.folder.url

    @property
    def sha256(self) -> str:
        """Identity of the store, a digest of its metadata and of every object's checksum."""
        return self._document.sha256

    @property
    def source(self) -> dict[str, Any]:
        """Origin of the values, with url, bytes, sha256, published, synthetic and container."""
        return dict(self._document.record["source"])

    @property
    def valid(self) -> np.ndarray:
        """The mask of cells with data, bool, of shape ``(rows, cols)``, not writeable."""
        return self._mask.read()

    def query(
        self,
        roi: Roi,
        *,
        crs: object | None = None,
        repair: bool = False,
        year: int = product.YEAR,
        output: Output = "pooled",
        pooling: Pooling = "mean",
        weights: Weights = "auto",
        empty: Empty = "include",
        subpixel: Subpixel = "raise",
        max_bytes: int = MAX_BYTES,
    ) -> Embedding:
        """Answer for a region with one pooled vector, or with the grid of its cells.

        ``docs/regions.md`` shows what each rule gives for the same region.

        Parameters
        ----------
        roi : BBox, PointBuffer, sequence of float, GeoJSON mapping or object with ``__geo_interface__``
            The region; four numbers are (minlon, minlat, maxlon, maxlat) in degrees. Polygons may have
            holes and several parts; a collection is one region. Also rows of tables and edges by name:
            ``docs/regions.md`` has a table of the forms.
        crs : str, int or pyproj.CRS, optional
            The CRS of four numbers or of a polygon; by default what a polygon says itself, or EPSG:4326.
        repair : bool
            Repair an invalid polygon instead of refusing it.
        year : int
            2021, the only year of the product.
        output : {"pooled", "grid"}
            One vector; or every cell of the window as it is, cells outside a polygon included.
        pooling : {"mean", "max", "min", "std", "sum"}
            How cells become one vector; ``std`` is that of the population.
        weights : {"auto", None, "coverage", "area"}
            How much a cell counts: None is 1 for each touched cell; coverage the part of it inside the
            region; area that part in m² on the ellipsoid. Auto is None for boxes and for ``max`` and
            ``min``, and coverage for polygons and circles.
        empty : {"include", "skip"}
            Whether cells without data count, as the zeros they hold. If they do not, a region without any
            data gives NaN, and ``meta["valid_cells"]`` is 0.
        subpixel : {"raise", "touch", "nearest", "bilinear"}
            What to do with a region narrower or lower than one cell: refuse it, pool the cells it touches,
            take the cell at its centre, or interpolate between the four cell centres around that.
        max_bytes : int
            Largest grid to return. Pooling is not limited: it streams.

        Returns
        -------
        Embedding
            ``data`` is float32: ``(bands,)`` if pooled, ``(bands, rows, cols)`` with north up if a grid.

        Raises
        ------
        RegionError
            If the region is malformed, or wholly outside the store.
        SubcellError
            If it is narrower or lower than one cell of 0.25°, and ``subpixel`` is "raise".
        YearError, InputError
            If another argument is not accepted, or two of them cannot be combined.
        ResultTooLargeError
            If a grid would take more than ``max_bytes``.
        MissingDependencyError
            If the region is a polygon or a circle, and exactextract is not installed.
        ChunkError
            If a chunk under the region is absent or damaged.
        StoreReplacedError
            If another store has taken the place of this one.
        StorageError
            If the store cannot be read.

        Examples
        --------
        >>> import cop_zarr
        >>> store = cop_zarr.open()
        >>> store.query((120, 30, 122, 32))
        <Embedding mean (768,): 56 of 81 cells with data, synthetic>
        >>> store.query((120, 30, 122, 32), output="grid").data.shape
        (768, 9, 9)
        >>> triangle = {"type": "Polygon", "coordinates": [[[120, 30], [122, 30], [121, 32], [120, 30]]]}
        >>> store.query(triangle, empty="skip")
        <Embedding mean (768,): 36 of 49 cells with data, synthetic>
        """
        options = check_query(output, max_bytes, crs, repair, year, pooling, weights, empty, subpixel)
        found = plan(self.grid, roi, options)
        if output == "grid":
            region.check_grid_size(found.window, self.bands, max_bytes)
        data, mask = region.answer(self._reader, self._mask, found, options, output)
        return Embedding(data, plan=found, options=options, grid=self.grid, mask=mask, facts=self._facts)

    def sample(
        self,
        lon: Any,
        lat: ArrayLike | None = None,
        *,
        crs: object | None = None,
        method: points.Method = "nearest",
        empty: Empty = "include",
        out: ArrayLike2D | None = None,
        on_error: OnError = "raise",
        progress: Progress | bool | None = None,
        client: Any = None,
    ) -> Any:
        """Look up the vectors of points, millions of them if need be.

        Points are ordered by chunk, so that each chunk is decoded once for each million of them.

        Parameters
        ----------
        lon, lat : array_like
            Degrees, -180 to 180 or any within three turns (-1080 to 1080), and -90 to 90 (or up to 0.125°
            more), of any one shape, or shapes that broadcast to one. Instead of both, a geopandas
            GeoSeries or GeoDataFrame of points, with its CRS.
        crs : str, int or pyproj.CRS, optional
            The CRS of the points, if they are not in degrees: ``lon`` is x (easting, longitude) and ``lat``
            y, whatever axis order it declares.
        method : {"nearest", "bilinear"}
            The cell that a point is in (on an edge: the one south or east of it), or the mean of the four
            cells whose centres are around it, weighted by nearness.
        empty : {"include", "skip"}
            Whether cells without data count, as the zeros they hold. If they do not, a point in such a cell
            gets NaN; between centres, those with data make up the mean, and NaN is for none.
        out : array_like, optional
            Where to write the vectors: ``(n, bands)``, a NumPy array, a memory map, a Zarr array. If an
            error is raised, its contents are undefined.
        on_error : {"raise", "nan"} or callable
            What to do with a point that is not finite, out of range or outside the store: refuse all, or
            give it a row of NaN. A callable is called with the point's position and the RegionError, and
            the point gets a row of NaN.
        progress : callable or bool, optional
            True shows a bar. A function is called with the points done and the points in all.
        client : distributed.Client or str, optional
            A Dask cluster, or its scheduler's address, whose workers do the work; see ``docs/scaling.md``.

        Returns
        -------
        ndarray
            float32, the points' shape and ``(bands,)``: ``(n, bands)`` for ``n`` points; or ``out``. Of a
            GeoDataFrame: a copy with a column ``embedding``, as :meth:`query_many` adds it.

        Raises
        ------
        RegionError
            If a point is not finite, out of range or outside the store: its position is named; or if the
            CRS is unknown, or not the one that a table declares.
        InputError
            If an option does not accept its value, ``out`` has another shape, or a table has no CRS, or
            other geometries than points.
        ResultTooLargeError
            If memory has no room for the vectors, and there is no ``out``.
        ChunkError, StoreReplacedError, StorageError
            As :meth:`query`.
        ClusterError
            If there is a ``client``, and its cluster cannot be reached, or fails.

        Examples
        --------
        >>> import cop_zarr
        >>> store = cop_zarr.open()
        >>> store.sample([11.5, 121.5], [48.1, 31.2]).shape
        (2, 768)
        >>> store.sample(1_280_174, 6_124_696, crs="EPSG:3857").shape
        (768,)
        """
        points.check_options(method, empty, on_error)
        x, y, crs = points_and_crs(lon, lat, crs)
        given = points.check_points(self.grid, x, y, method, on_error, crs=crs)
        if out is not None and len(given.shape) != 1:
            raise InputError(f"out needs points of one dimension; got points of the shape {given.shape}")
        batch = points.PointBatch(self._reader, given, empty, self._mask)
        with progress_bar(progress, "sample", "point") as advance:
            rows = answer_batch(batch, out, progress=advance, client=client)
        if len(given.shape) != 1:
            return rows.reshape(*given.shape, self.bands)
        return rows if out is not None else with_vectors(lon, rows)

    def query_many(
        self,
        rois: Iterable[Roi],
        *,
        out: ArrayLike2D | None = None,
        on_error: OnError = "raise",
        progress: Progress | bool | None = None,
        client: Any = None,
        **options: Unpack[QueryOptions],
    ) -> Any:
        """Pool many regions, each into one vector, with one pass over the chunks under all of them.

        Each chunk is decoded once for each million of small regions, and pooled into all that touch it at
        once. Vectors are those of :meth:`query` to one unit in the last place of float32, but where large
        values cancel; of ``max`` and ``min`` they are equal. Memory is bounded, apart from that of the
        regions and the vectors themselves.

        Parameters
        ----------
        rois : iterable
            Regions, each as :meth:`query` takes it; an array of ``(n, 4)`` is that many boxes; a geopandas
            GeoSeries or GeoDataFrame, with its CRS; a DataFrame of edges (minx, miny, maxx, maxy).
        out : array_like, optional
            Where to write the vectors: ``(n, bands)``, a NumPy array, a memory map, a Zarr array. One
            not in memory is written in blocks of whole chunks, of 256 MiB at most. If an error is raised,
            its contents are undefined.
        on_error : {"raise", "nan"} or callable
            What to do with a region that :meth:`query` would refuse with a RegionError: refuse all, or give
            it a row of NaN. A callable is called with the region's number, from 0, and the RegionError, and
            the region gets a row of NaN. A store that is damaged or cannot be read always raises.
        progress : callable or bool, optional
            True shows a bar. A function is called with the regions done and the regions in all.
        client : distributed.Client or str, optional
            As :meth:`sample`.
        **options
            crs, repair, year, pooling, weights, empty and subpixel, as :meth:`query` takes them, for all
            regions.

        Returns
        -------
        ndarray
            float32, ``(n, bands)``, in the order given; or ``out``. Of a GeoDataFrame: a copy with a column
            ``embedding``, an array of ``(bands,)`` in each row (``np.stack`` makes them one).

        Raises
        ------
        RegionError, SubcellError
            If a region is refused: its number, counted from 0, is named.
        InputError, YearError, ResultTooLargeError, MissingDependencyError
            As :meth:`query` and :meth:`sample`.
        ChunkError, StoreReplacedError, StorageError
            As :meth:`query`.
        ClusterError
            If there is a ``client``, and its cluster cannot be reached, or fails.

        Examples
        --------
        >>> import cop_zarr
        >>> store = cop_zarr.open()
        >>> store.query_many([(120, 30, 122, 32), cop_zarr.PointBuffer(11.5, 48.1, 50_000)]).shape
        (2, 768)
        """
        check_on_error(on_error)
        regions, options["crs"] = regions_and_crs(rois, options.get("crs"))
        given = CheckedOptions(**options)
        batch = RegionBatch(self._reader, as_region_list(regions), given, on_error, self._mask)
        with progress_bar(progress, "query_many", "region") as advance:
            rows = answer_batch(batch, out, progress=advance, client=client)
        return rows if out is not None else with_vectors(rois, rows)

    def to_xarray(self, chunks: Any = None) -> xr.Dataset:
        """The store as a lazy Dataset of xarray: values are read, and checked, when they are needed.

        Coordinates are cell centres; ``spatial_ref`` has the CRS, where rioxarray finds it.

        Parameters
        ----------
        chunks : dict, int, "auto" or None
            As of ``xarray.open_dataset``: None for no Dask; otherwise Dask arrays, cut at chunk edges by
            "auto", in blocks of Dask's usual size, and by ``{}``, in one block a chunk.

        Returns
        -------
        xarray.Dataset
            ``embedding`` (band, latitude, longitude), float32; ``valid`` (latitude, longitude), bool, in
            memory: False for cells without data, which are 0 in every band.

        Raises
        ------
        MissingDependencyError
            If xarray is not installed.
        ChunkError, StoreReplacedError, StorageError
            As :meth:`query`; also whenever values are read later.

        Examples
        --------
        >>> import cop_zarr
        >>> dataset = cop_zarr.open().to_xarray()
        >>> dataset.embedding.sel(latitude=48, longitude=11.5, method="nearest").shape
        (768,)
        >>> dataset.embedding.sel(latitude=slice(50, 45), longitude=slice(5, 15)).sizes["latitude"]
        21
        """
        from cop_zarr.outputs import xarray  # noqa: PLC0415  # optional, and takes half a second

        return xarray.store_dataset(xarray.Contents(self._reader, self._document, self.valid), chunks)

    def plot(
        self,
        bbox: BBox | Sequence[float] | None = None,
        *,
        region: Roi | None = None,
        colours_of: ColoursOf = "store",
        ax: Axes | None = None,
        progress: Progress | bool | None = None,
        **options: Unpack[QueryOptions],
    ) -> Axes:
        """Plot the embeddings as colours, or the cells and weights of a query.

        Red, green and blue are the first three principal components of all cells of the store, each from
        the 2nd to the 98th percentile of all cells: colours of two plots of a store can be compared, and
        those of two stores cannot. Where the store keeps its components, only a part of these is read (13
        MB of the published size); otherwise every chunk is read twice for the first plot, and
        ``cop-zarr components`` keeps them. Less than 400 MB of memory are needed.

        Parameters
        ----------
        bbox : BBox or sequence of float, optional
            The extent: (minlon, minlat, maxlon, maxlat) in degrees; by default the whole store, or the
            region and a margin.
        region : optional
            As ``roi`` of :meth:`query`: plot the cells of a query, their weights and the region's outline,
            instead of embeddings. No embedding is read then.
        colours_of : {"store", "shown"}
            Whose components and percentiles the colours are: of all cells of the store, or of the cells
            shown, which alone are read then, and show more contrast; such plots cannot be compared.
        ax : matplotlib.axes.Axes, optional
            By default the Axes of a new pyplot figure, which a notebook displays.
        progress : callable or bool, optional
            True shows a bar. A function is called with the bytes done and those in all.
        **options
            crs, repair, year, pooling, weights, empty and subpixel, as :meth:`query` takes them, for
            ``region``.

        Returns
        -------
        matplotlib.axes.Axes
            In degrees; longitudes continue past 180 over the antimeridian. Nothing is saved:
            ``ax.figure.savefig("map.png")`` does that.

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.
        RegionError, InputError, SubcellError
            As :meth:`query`, of either region; or if options are given without ``region``.
        ComponentsError
            If the components kept are damaged, or another store's.
        ChunkError, StoreReplacedError, StorageError
            As :meth:`query`.

        Examples
        --------
        >>> import cop_zarr
        >>> from matplotlib.figure import Figure
        >>> store = cop_zarr.open()
        >>> ax = store.plot((-10, 35, 30, 60), ax=Figure().add_subplot())
        >>> ax.get_xlim()
        (np.float64(-10.125), np.float64(30.125))
        >>> ax = store.plot(region=(120, 30, 122, 32), weights="coverage", ax=Figure().add_subplot())
        """
        from cop_zarr.outputs import plotting  # noqa: PLC0415  # needs matplotlib

        given, synthetic = CheckedOptions(**options), self._facts["synthetic"]
        if region is not None:
            found = plan(self.grid, region, given)
            return plotting.plot_query(
                self.grid, self.valid, synthetic=synthetic, plan=found, options=given, bbox=bbox, ax=ax
            )
        if given != CheckedOptions():
            raise InputError(f"{', '.join(options)} cannot be given without region=")
        with progress_bar(progress, "plot") as advance:
            return plotting.plot_store(
                self._reader,
                self.valid,
                synthetic=synthetic,
                bbox=bbox,
                colours_of=colours_of,
                ax=ax,
                progress=advance,
            )

    def info(self) -> dict[str, Any]:
        """What the store says about itself, JSON-ready: grid, chunks, sizes, components, source, licence.

        Raises
        ------
        ComponentsError
            If the components kept are damaged, or another store's.
        """
        return store_info(self._reader, self._document, int(self.valid.sum()))

    def cells(
        self,
        region: Roi | None = None,
        *,
        crs: object | None = None,
        max_bytes: int = MAX_BYTES,
        progress: Progress | bool | None = None,
    ) -> Cells:
        """Every cell with data, or those that a region touches: places and vectors, as arrays.

        Parameters
        ----------
        region : optional
            As ``roi`` of :meth:`query`, of any size; by default the whole store.
        crs : str, int or pyproj.CRS, optional
            The region's CRS, as for :meth:`query`.
        max_bytes : int
            Largest array of vectors to return. The 310,000 cells of the published product take 0.95 GB.
        progress : callable or bool, optional
            True shows a bar. A function is called with the cells done and the cells in all.

        Returns
        -------
        Cells
            ``lon``, ``lat``, ``rows``, ``cols``, ``(n,)`` each, and ``vectors``, ``(n, bands)``: from north
            to south, and from west to east within a row. None if the region has no cell with data. A value
            that is NaN or infinite in the store is so here.

        Raises
        ------
        RegionError
            If the region is malformed, or wholly outside the store.
        InputError
            If another argument is not accepted, or there is a CRS and no region.
        ResultTooLargeError
            If the vectors would take more than ``max_bytes``.
        MissingDependencyError
            If the region is a polygon or a circle, and exactextract is not installed.
        ChunkError, StoreReplacedError, StorageError
            As :meth:`query`.

        Examples
        --------
        >>> import cop_zarr
        >>> store = cop_zarr.open()
        >>> cells = store.cells((120, 30, 122, 32))
        >>> cells
        <Cells: 56 of 768 bands>
        >>> cells.lon[0], cells.lat[0], cells.vectors.shape
        (np.float64(120.0), np.float64(32.0), (56, 768))
        """
        selection = cells_of.select_cells(self.grid, self.valid, region, crs)
        with progress_bar(progress, "cells", "cell") as advance:
            return cells_of.read_cells(self._reader, selection, max_bytes, advance)

    def iter_cells(
        self,
        region: Roi | None = None,
        *,
        crs: object | None = None,
        cells: int = BLOCK_CELLS,
        progress: Progress | bool | None = None,
    ) -> Iterator[Cells]:
        """The cells of ``cells()`` in blocks, in the same order, so that they need not fit into memory.

        Each chunk is read once, whatever the size of a block. Parameters that are not named here are those
        of :meth:`cells`, and so are the errors; arguments are checked at once.

        Parameters
        ----------
        cells : int
            Cells of a block; the last one may have fewer. Memory is needed for two blocks, and for up to
            two rows of chunks (35 MB each of the published size).

        Yields
        ------
        Cells
            The next ones.

        Examples
        --------
        >>> import cop_zarr
        >>> store = cop_zarr.open()
        >>> [len(block) for block in store.iter_cells((120, 30, 122, 32), cells=25)]
        [25, 25, 6]
        """
        selection = cells_of.select_cells(self.grid, self.valid, region, crs)
        return cells_of.iter_blocks(self._reader, selection, cells, progress)

    def map(self, values: ArrayLike, *, name: str = "value") -> CellMap:
        """Make a map of one number, or several, for each cell with data: a picture, a GeoTIFF, a Dataset.

        Parameters
        ----------
        values : array_like
            ``(n,)`` or ``(n, k)``, one row for each cell with data, in the order of :meth:`cells`; or
            ``(rows, cols)`` or ``(rows, cols, k)``, the shape of the grid, of which only cells with data
            are used. Bools, integers (within ±2**53) or floats; they are copied.
        name : str
            What the numbers are, a word of letters, digits and underscores.

        Returns
        -------
        CellMap

        Raises
        ------
        InputError
            If an argument is not accepted.
        ChunkError, StoreReplacedError, StorageError
            If the mask of cells with data cannot be read.

        Examples
        --------
        >>> import cop_zarr
        >>> store = cop_zarr.open()
        >>> rows, cols = store.valid.nonzero()
        >>> store.map(rows // 100, name="zone")
        <CellMap zone (344662,) int64, synthetic>
        >>> store.map([1, 2, 3])
        Traceback (most recent call last):
        cop_zarr.errors.InputError: values must have one row for each of the 344,662 cells with data, ...
        """
        return CellMap(values, grid=self.grid, valid=self.valid, name=name, facts=self._facts)

    def patches(
        self,
        lon: Any,
        lat: ArrayLike | None = None,
        size: int = 5,
        *,
        crs: object | None = None,
        empty: Empty = "include",
        on_error: OnError = "raise",
        max_bytes: int = MAX_BYTES,
        progress: Progress | bool | None = None,
    ) -> np.ndarray:
        """The square of cells around each point, as images of many bands.

        Columns follow their meridians. Over a pole, they continue on the opposite meridian, 180° away: the
        cell *k* rows beyond the row of the pole is the one *k* rows before it there. Cells become narrower
        towards the poles, and a patch with them.

        Parameters
        ----------
        lon, lat, crs
            As :meth:`sample`. The cell that a point is in is the middle of its patch.
        size : int
            Rows and columns of a patch: an odd number from 1 to 721.
        empty : {"include", "skip"}
            Whether cells without data are the zeros they hold, or NaN.
        on_error : {"raise", "nan"} or callable
            As :meth:`sample`, of a point whose own cell is not in the store, too: its patch is NaN.
        max_bytes : int
            Largest array to return.
        progress : callable or bool, optional
            True shows a bar. A function is called with the points done and the points in all.

        Returns
        -------
        ndarray
            float32, the points' shape and ``(bands, size, size)``, north up; NaN for cells outside a store
            of a part of the globe. As in a grid, the numbers of a cell lie beside each other in memory.

        Raises
        ------
        ResultTooLargeError
            If the patches would take more than ``max_bytes``.
        RegionError, InputError, ChunkError, StoreReplacedError, StorageError
            As :meth:`sample`; InputError also for another ``size``.

        Examples
        --------
        >>> import cop_zarr
        >>> store = cop_zarr.open()
        >>> patches = store.patches([11.5, 179.9], [48.1, -16.5], size=3)
        >>> patches.shape
        (2, 768, 3, 3)
        >>> bool((patches[:, :, 1, 1] == store.sample([11.5, 179.9], [48.1, -16.5])).all())
        True
        """
        size = patches_of.check_size(size)
        points.check_options("nearest", empty, on_error)
        check_max_bytes(max_bytes)
        x, y, crs = points_and_crs(lon, lat, crs)
        given = points.check_points(self.grid, x, y, "nearest", on_error, crs=crs)
        patches_of.check_patch_bytes(given.lons.size, self.bands, size, max_bytes)
        with progress_bar(progress, "patches", "point") as advance:
            found = patches_of.read_patches(
                self._reader, self._mask, given, size, empty=empty, progress=advance
            )
        return found.reshape(*given.shape, *found.shape[1:])

    def components(
        self,
        count: int | None = None,
        *,
        recompute: bool = False,
        progress: Progress | bool | None = None,
    ) -> Components:
        """The principal components of all cells with data: axes, scores, what is left over.

        A store that keeps them (``cop-zarr components``, :func:`cop_zarr.keep_components`) has them read.
        Otherwise they are derived, which reads every chunk twice, and a warning in the log says how to keep
        them; they stay in the store's memory, if ``cache_bytes`` has room.

        They are exact (float64 sums over all cells whose values are all finite, each counted once), and the
        same bits each time on one machine, with any number of workers.

        Parameters
        ----------
        count : int, optional
            How many, at most the number of bands; by default all that are kept, or else 64.
        recompute : bool
            Derive them in any case, where those kept are damaged, too.
        progress : callable or bool, optional
            True shows a bar. A function is called with the bytes done and those in all, if they are
            derived.

        Returns
        -------
        Components

        Raises
        ------
        InputError
            If ``count`` is not accepted, or no cell with data has only finite values.
        ComponentsError
            If the components kept are damaged, or another store's; FormatVersionError if a newer cop-zarr
            kept them.
        ResultTooLargeError
            If the covariance of the bands would take more than a gigabyte.
        ChunkError, StoreReplacedError, StorageError
            As :meth:`query`.

        Examples
        --------
        >>> import cop_zarr
        >>> store = cop_zarr.open()
        >>> components = store.components(4)
        >>> components
        <Components: 4 of 768 bands, 40% of the variance of 344,662 cells>
        >>> components.scores.shape
        (344662, 4)
        >>> store.map(components.scores[:, :3], name="component")
        <CellMap component (344662, 3) float32, synthetic>
        """
        with progress_bar(progress, "components") as advance:
            scored = find_components(self._reader, self.valid, count, recompute=recompute, progress=advance)
        return make_components(scored, self._reader, self.valid, self._document.record)

    def explore(
        self, *, height: int = 640, port: int = 0, progress: Progress | bool | None = None
    ) -> Explorer:
        """Show the store as a page in a notebook: a map in colours, similar places, vectors of regions.

        A small server in this process serves page and store, to this machine's browsers only, until
        :meth:`Explorer.close` or the end of the process. ``cop-zarr explore`` does the same outside of
        notebooks; ``docs/explorer.md`` describes the page.

        The page needs the store's components. If it keeps none, they are derived once, which reads every
        chunk twice, and kept in the store, or if it cannot be written, in the user's cache folder.

        Parameters
        ----------
        height : int
            Of the page in the notebook, in pixels.
        port : int
            Where to serve; 0 is any port that is free.
        progress : callable or bool, optional
            True shows a bar. A function is called with the bytes done and those in all, if components are
            derived.

        Returns
        -------
        Explorer
            A notebook displays it as the page. The same for the same store, as long as it is open.

        Raises
        ------
        InputError
            If an argument is not accepted, or the port is taken.
        ComponentsError
            If the components kept are damaged, or another store's.
        ChunkError, StoreReplacedError, StorageError
            As :meth:`query`.

        Examples
        --------
        >>> import cop_zarr
        >>> store = cop_zarr.open()
        >>> explorer = store.explore()  # doctest: +SKIP
        >>> explorer.close()  # doctest: +SKIP
        """
        from cop_zarr.explorer.notebook import show  # noqa: PLC0415  # loads zarr and a web server

        with progress_bar(progress, "components") as advance:
            return show(self._reader, self._document, height, port, advance)

    def similar(
        self,
        places: Any,
        negatives: Any = None,
        *,
        k: int = 10,
        metric: Metric = "cosine",
        within: Roi | None = None,
        crs: object | None = None,
        exclude_km: float = 0,
        spacing_km: float = 0,
        progress: Progress | bool | None = None,
    ) -> Matches:
        """Find the cells most like some places, and unlike others.

        The answer is exact: scores are sums in float64 of the stored values, and equal scores are in the
        order of row and column. Without an option, a place's own cells come first. Vectors are read chunk
        by chunk, and not kept.

        Parameters
        ----------
        places
            One or several: regions, as ``roi`` of :meth:`query`, whose vector is the mean of their cells
            with data; points (lon, lat) or of GeoJSON, which have that of their cell; vectors, as a NumPy
            array of ``(bands,)`` or ``(n, bands)``; pooled answers; a GeoDataFrame or GeoSeries. Of a list,
            each element is a place.
        negatives : optional
            Places that matches should be unlike, in the same forms; only for cosines.
        k : int
            How many cells to find.
        metric : {"cosine", "l2"}
            Cosine of the angle: the query is the mean of the unit vectors of ``places``, minus that of
            ``negatives``, made a unit vector again. Or distance from the mean of the vectors as they are.
        within : optional
            A region: only cells that it touches.
        crs : str, int or pyproj.CRS, optional
            The CRS of places, negatives and ``within``, as for :meth:`query`. Vectors have none.
        exclude_km : float
            Leave out cells whose centre is nearer than this to a place: to a point itself, or to the centre
            of any cell that a region touches. Vectors are nowhere.
        spacing_km : float
            Leave out cells whose centre is nearer than this to that of a better match. Distances are
            geodesic, on the WGS84 ellipsoid.
        progress : callable or bool, optional
            True shows a bar. A function is called with the chunks read and those in all.

        Returns
        -------
        Matches
            ``k`` cells, the best first. Cells that have a value that is not finite never match; there are
            fewer than ``k`` if there are too few others, or none is ``spacing_km`` away.

        Raises
        ------
        RegionError
            If a place is malformed, outside the store or without data, or ``within`` has no cell with data.
        InputError
            If there are fewer than ``k`` cells with data; if a vector has another length, or values that
            are not finite; if places and negatives cancel each other; or if an option is not accepted.
        ChunkError, StoreReplacedError, StorageError
            As :meth:`query`.

        Examples
        --------
        >>> import cop_zarr
        >>> store = cop_zarr.open()
        >>> store.similar((11.5, 48.1), k=3, exclude_km=200)
        <Matches: 3 by cosine, from 0.9508 to 0.9446>
        >>> len(store.similar([(11.5, 48.1), (120, 30, 122, 32)], negatives=(23.5, 38), k=2))
        2
        """
        options = SimilarOptions(k, metric, within, crs, exclude_km, spacing_km)
        with progress_bar(progress, "similar", "chunk") as advance:
            found = Search(self._reader, self._mask, advance).similar(places, negatives, options)
        return Matches.of(found, metric, self.grid, self.valid, synthetic=self._facts["synthetic"])

    def similarity(
        self,
        places: Any,
        negatives: Any = None,
        *,
        metric: Metric = "cosine",
        within: Roi | None = None,
        crs: object | None = None,
        progress: Progress | bool | None = None,
    ) -> CellMap:
        """Map how similar each cell is to some places: the scores by which a search orders them.

        Parameters
        ----------
        places, negatives, metric, within, crs
            As :meth:`similar`.
        progress : callable or bool, optional
            True shows a bar. A function is called with the cells read and those in all.

        Returns
        -------
        CellMap
            float64, one score for each cell with data, or for those that ``within`` touches; NaN for cells
            that have a value that is not finite. Cosines are -1 to 1; small distances are similar.

        Raises
        ------
        RegionError, InputError, ChunkError, StoreReplacedError, StorageError
            As :meth:`similar`.

        Examples
        --------
        >>> import cop_zarr
        >>> store = cop_zarr.open()
        >>> store.similarity((11.5, 48.1))
        <CellMap cosine (344662,) float64, synthetic>
        """
        options = SimilarOptions(metric=metric, within=within, crs=crs)
        with progress_bar(progress, "similarity", "cell") as advance:
            search = Search(self._reader, self._mask, advance)
            scores, selected = search.similarity(places, negatives, options)
        return CellMap(scores, grid=self.grid, valid=selected, name=metric, facts=self._facts)

    def similar_many(
        self,
        places: Any,
        *,
        k: int = 10,
        metric: Metric = "cosine",
        within: Roi | None = None,
        crs: object | None = None,
        exclude_km: float = 0,
        progress: Progress | bool | None = None,
    ) -> list[Matches]:
        """Find the cells most like each of many places, with the same bits as one search for each.

        All chunks are read once for each thousand of places: a thousand take some ten times as long as one.

        Parameters
        ----------
        places
            Several, as :meth:`similar` takes them; each is a question by itself.
        k, metric, within, crs, exclude_km
            As :meth:`similar`, for all places.
        progress : callable or bool, optional
            True shows a bar. A function is called with the cells read and those in all, for each thousand
            of places.

        Returns
        -------
        list of Matches
            One for each place, in the order given.

        Raises
        ------
        RegionError, InputError, ChunkError, StoreReplacedError, StorageError
            As :meth:`similar`.

        Examples
        --------
        >>> import cop_zarr
        >>> store = cop_zarr.open()
        >>> [len(matches) for matches in store.similar_many([(11.5, 48.1), (121.5, 31.2)], k=3)]
        [3, 3]
        """
        options = SimilarOptions(k, metric, within, crs, exclude_km)
        with progress_bar(progress, "similar_many", "cell") as advance:
            found = Search(self._reader, self._mask, advance).similar_many(places, options)
        synthetic = self._facts["synthetic"]
        return [Matches.of(match, metric, self.grid, self.valid, synthetic=synthetic) for match in found]


def open(
    url: str | os.PathLike[str] | None = None,
    *,
    storage_options: StorageOptions | None = None,
    workers: int | None = None,
    timeout: float = TIMEOUT_SECONDS,
    cache_bytes: int = CACHE_BYTES,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_disk_bytes: int = CACHE_DISK_BYTES,
) -> Store:
    """Open a store.

    Parameters
    ----------
    url : str or path, optional
        A path or any fsspec URL; by default that of ``COP_ZARR_STORE``, or
        ``data/copernicus_embed.zarr``. Paths of universal_pathlib, fsspec mappers, and zarr's LocalStore
        and FsspecStore are taken, too, with the options that they hold.
    storage_options : mapping, optional
        Passed to the fsspec filesystem of a URL.
    workers : int, optional
        Chunks read at once, at most; by default ``COP_ZARR_WORKERS``, or from a disk as many as there are
        processors, up to 4, and over a network 64.
    timeout : float
        Seconds that one object may be silent over a network, in all: transient faults (timeouts, resets,
        failures to connect, status 429 and 5xx, bodies cut short) are retried, with growing pauses, until
        then. Slow is not silent, and a pause that the server asks for does not count.
    cache_bytes : int
        Memory for decoded chunks and for the totals of whole chunks; the least recently used are dropped
        first. 0 keeps none.
    cache_dir : str or path, optional
        A folder in which the objects that were read are kept; processes and stores may share it. It must be
        the user's own, and writeable by nobody else: who writes to a cache can forge answers. If no server
        answers when the store is opened, that is logged as a warning, and queries are answered from what
        this folder holds of the store that was opened last, with ``meta["offline"]`` True. What it does not
        hold is an UnreachableError.
    cache_disk_bytes : int
        Limit of that folder; the least recently used objects are deleted first. Each process that writes to
        it may exceed the limit by 5 % of it.

    Returns
    -------
    Store

    Raises
    ------
    InputError
        If an argument is not accepted.
    StoreNotFoundError
        If nothing is there.
    StoreError
        If what is there is not a whole cop-zarr store, is damaged, or of a newer format.
    StorageError
        If it cannot be read; UnreachableError if that is because no server answers.
    """
    memory = LRUCache(cache_bytes)
    place = folder(settings.store_url(url), storage_options, timeout)
    if cache_dir is None:
        if cache_disk_bytes != CACHE_DISK_BYTES:
            raise InputError("cache_disk_bytes cannot be given without cache_dir")
        document = read_document(place)
        return Store(open_reader(place, document, workers, None, memory), document)
    document, cache, offline = read_through_cache(place, Path(cache_dir), cache_disk_bytes)
    return Store(open_reader(place, document, workers, cache, memory), document, offline=offline)


def query(
    roi: Roi, *, output: Output = "pooled", max_bytes: int = MAX_BYTES, **options: Unpack[QueryOptions]
) -> Embedding:
    """Query the default store: :meth:`Store.query` on that of ``COP_ZARR_STORE``, opened once.

    Parameters and errors are those of :meth:`Store.query` and :func:`open`.

    The store is opened again when the variable changes, or when another store has taken its place: on a
    disk that is noticed at once, over a network when something is read.
    """
    try:
        return _default_store().query(roi, output=output, max_bytes=max_bytes, **options)
    except StoreReplacedError:
        _open_default.cache_clear()
        return _default_store().query(roi, output=output, max_bytes=max_bytes, **options)


def _default_store() -> Store:
    url = settings.store_url()
    path = local_path(url)
    try:
        stamp = file_stamp(path / ROOT) if path else None
    except OSError:
        stamp = None
    return _open_default(url, Path.cwd(), stamp)


@lru_cache(maxsize=1)
def _open_default(url: str, folder: Path, stamp: object) -> Store:  # noqa: ARG001  # keys of the cache
    return open(url)
