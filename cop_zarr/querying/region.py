"""From a plan to its answer: the chunks under its cells, put into a grid or pooled into one vector."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cop_zarr.core import product
from cop_zarr.core.grid import Grid, Window
from cop_zarr.core.lru_cache import ENTRY_BYTES
from cop_zarr.core.reducers import REDUCERS, Partial, Reducer, nbytes, quiet
from cop_zarr.core.version import __version__
from cop_zarr.errors import ResultTooLargeError
from cop_zarr.format.chunk_reader import ChunkReader, Place
from cop_zarr.format.layout import ChunkPart
from cop_zarr.querying.plan import Options, Plan

if TYPE_CHECKING:
    import xarray as xr


class Embedding:
    """The answer to a query. What tells about the data is put together when it is first asked for.

    Attributes
    ----------
    data : ndarray
        float32: ``(bands,)`` if pooled, ``(bands, rows, cols)`` with north up if a grid. A grid's memory
        order is pixel-interleaved, as it is stored; ``np.ascontiguousarray`` makes it band-sequential.
    valid : ndarray
        bool, ``(rows, cols)``: False for cells without data, which are 0 in every band.
    weights : ndarray
        float32, ``(rows, cols)``: how much each cell of the window belongs to the region, whether it has
        data or not. 0 is not at all; 1 is wholly, or if ``meta["weights"]`` is None, touched; areas are in
        m²; those of ``subpixel="bilinear"`` add up to 1.
    meta : dict
        What was asked and answered, JSON-ready: model, year, region, window, CRS, source, store.
    """

    __slots__ = ("_facts", "_grid", "_mask", "_meta", "_options", "_plan", "_valid", "_weights", "data")

    def __init__(
        self,
        data: np.ndarray,
        *,
        plan: Plan,
        options: Options,
        grid: Grid,
        mask: np.ndarray | None,
        facts: Mapping[str, Any],
    ) -> None:
        self.data = data
        self._plan, self._options, self._grid, self._mask, self._facts = plan, options, grid, mask, facts
        self._valid: np.ndarray | None = None
        self._weights: np.ndarray | None = None
        self._meta: dict[str, Any] | None = None

    @property
    def valid(self) -> np.ndarray:
        """Which cells of the window have data."""
        if self._valid is None:
            self._valid = self._held()
        return self._valid

    def _held(self) -> np.ndarray:
        window = self._plan.window
        return np.zeros(window.shape, "?") if self._mask is None else _cut(self._mask, window)

    @property
    def weights(self) -> np.ndarray:
        """How much each cell of the window belongs to the region."""
        if self._weights is None:
            weights = self._plan.weights
            self._weights = (self._plan.members if weights is None else weights).astype("f4")
        return self._weights

    @property
    def meta(self) -> dict[str, Any]:
        """What was asked and answered."""
        if self._meta is None:
            self._meta = self._described()
        return self._meta

    def _described(self) -> dict[str, Any]:
        plan, options = self._plan, self._options
        window, members, pools = plan.window, plan.members, options.output == "pooled"
        return {
            "model": product.MODEL,
            "year": product.YEAR,
            "roi": plan.footprint.roi,
            "bbox_4326": list(plan.footprint.bounds),
            "rows": [window.row, window.row_stop],
            "cols": [window.col, window.col_stop],
            "shape": list(self.data.shape),
            "valid_cells": int((self._held() & members).sum()),
            "total_cells": int(members.sum()),
            "weights": plan.weighing,
            "subpixel": plan.subpixel,
            "clipped": plan.clipped,
            "input_crs": plan.footprint.input_crs,
            "transform": list(self._grid.transform(window)),
            "output": options.output,
            "pooling": options.pooling if pools else None,
            "empty": options.empty,
            "output_crs": product.CRS,
            "product_resolution_deg": [product.STEP_DEG, product.STEP_DEG],
            **self._facts,
            "cop_zarr_version": __version__,
        }

    def to_xarray(self) -> xr.Dataset:
        """The answer as a Dataset of xarray.

        Returns
        -------
        xarray.Dataset
            ``embedding``: (band,) if pooled, (band, latitude, longitude) if a grid; ``valid`` and
            ``weights`` (latitude, longitude); coordinates are cell centres, whose longitudes run on past
            180 where the window crosses the antimeridian; ``spatial_ref`` has the CRS and the window's
            ``GeoTransform``. Attributes are :attr:`meta`, as netCDF can hold them: None is left out, a
            truth value is 0 or 1, and what is nested is JSON text.

        Raises
        ------
        MissingDependencyError
            If xarray is not installed.

        Examples
        --------
        >>> import cop_zarr
        >>> answer = cop_zarr.open("copernicus.zarr").query((120, 30, 122, 32), output="grid")
        >>> dict(answer.to_xarray().embedding.sizes)
        {'band': 16, 'latitude': 9, 'longitude': 9}
        """
        from cop_zarr.outputs import xarray  # optional, and takes half a second

        return xarray.answer_dataset(self.data, self.valid, self.weights, self.meta)

    def __getstate__(self) -> tuple[Any, ...]:
        return self.data, self.valid, self.weights, self.meta

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.data, self._valid, self._weights, self._meta = state

    def __repr__(self) -> str:
        kind = self.meta["pooling"] or "grid"
        valid, total = self.meta["valid_cells"], self.meta["total_cells"]
        made_up = ", synthetic" if self.meta["synthetic"] else ""
        return f"<Embedding {kind} {self.data.shape}: {valid} of {total} cells with data{made_up}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The data, for ``np.asarray(embedding)``."""
        return np.array(self.data, dtype=dtype, copy=copy)


def data(reader: ChunkReader, plan: Plan, options: Options, mask: np.ndarray | None) -> np.ndarray:
    """Read what a plan asks for.

    Parameters
    ----------
    mask : ndarray or None
        The store's mask of cells with data, for ``empty="skip"``; None where none has.

    Returns
    -------
    ndarray
        As :attr:`Embedding.data`.
    """
    if options.output == "grid":
        return grid(reader, plan.window)
    return pooled(reader, plan.window, options.pooling, weighed(plan, options, mask))


def weighed(plan: Plan, options: Options, mask: np.ndarray | None) -> np.ndarray | None:
    """What a plan's cells weigh, once it is known which have data; None if each counts once."""
    if options.empty == "include":
        return plan.weights
    counts = np.zeros(plan.window.shape) if mask is None else _cut(mask, plan.window).astype("f8")
    return counts if plan.weights is None else plan.weights * counts


@quiet
def pooled(reader: ChunkReader, window: Window, pooling: str, weights: np.ndarray | None) -> np.ndarray:
    """Pool a window's cells, chunk by chunk, in memory that does not depend on the window's size.

    Without weights, the vector is kept in the reader's memory for the next time, and so is what each whole
    chunk was pooled to: another large window then needs the chunks at its edges only.

    Parameters
    ----------
    weights : ndarray or None
        float64, the window's shape; a chunk without any weight is not read. None: every cell counts once.

    Returns
    -------
    ndarray
        float32, shape ``(bands,)``; NaN if no cell has any weight.
    """
    memory = reader.memory
    if weights is not None or not memory.capacity:
        return _pooled(reader, window, pooling, weights)
    key = pooling, window.row, window.row_stop, window.col, window.col_stop
    vector: np.ndarray | None = memory.get(key)
    if vector is None:
        vector = _pooled(reader, window, pooling, None)
        memory.put(key, vector, vector.nbytes + ENTRY_BYTES)
    return vector.copy()


def _pooled(reader: ChunkReader, window: Window, pooling: str, weights: np.ndarray | None) -> np.ndarray:
    reducer = REDUCERS[pooling](reader.layout.bands)
    chunks = reader.layout.chunks(window, reader.lengths)
    if weights is None:
        keys = _keys(reader, reducer, window, chunks)
        reducer.add_empty(window.cells - sum(part.cells for _, parts in chunks for part in parts))
    else:
        keys = {}
        counted = ((place, with_weight(parts, weights)) for place, parts in chunks)
        chunks = [(place, parts) for place, parts in counted if parts]
        reducer.add_empty(empty_weight(reader, window, weights))
    known: dict[Place, list[Partial]] = {
        place: found for place, key in keys.items() if (found := reader.memory.get(key)) is not None
    }
    unknown = [(place, parts) for place, parts in chunks if place not in known] if known else chunks

    def work(number: int, chunk: np.ndarray | None) -> list[Partial]:
        place, parts = unknown[number]
        if chunk is None:  # of another layout: that it is empty was not known before
            return []
        found = [pool_part(reducer, part, chunk, weights) for part in parts]
        if (key := keys.get(place)) is not None:
            reader.memory.put(key, found, sum(map(nbytes, found)) + ENTRY_BYTES)
        return found

    read = reader.each([place for place, _ in unknown], work)
    for place, parts in chunks:
        found = known.get(place) or next(read)
        for partial in found:
            reducer.merge(partial)
        if not found:
            for part in parts:
                reducer.add_empty(weight_of([part], weights))
    return reducer.result()


def _keys(
    reader: ChunkReader, reducer: Reducer, window: Window, chunks: list[tuple[Place, list[ChunkPart]]]
) -> dict[Place, Hashable]:
    """By what names to keep what those chunks are pooled to that are pooled whole."""
    size = reader.layout.chunk_cells
    if min(window.shape) < size or not reader.memory.capacity:
        return {}
    whole = [place for place, parts in chunks if len(parts) == 1 and parts[0].cells == size**2]
    return {place: (reducer.kind, *place) for place in whole}


def with_weight(parts: Iterable[ChunkPart], weights: np.ndarray | None) -> list[ChunkPart]:
    """Those parts of a window in which a cell has any weight."""
    return [part for part in parts if weights is None or weights[part.target].any()]


def weight_of(parts: Iterable[ChunkPart], weights: np.ndarray | None) -> float:
    """What the cells of parts of a window weigh."""
    return sum(float(part.cells if weights is None else weights[part.target].sum()) for part in parts)


def empty_weight(reader: ChunkReader, window: Window, weights: np.ndarray) -> float:
    """What the cells of those chunks weigh that are known to hold no data."""
    empty = reader.layout.chunks(window, reader.lengths == 0)
    return weight_of((part for _, parts in empty for part in parts), weights)


def pool_part(reducer: Reducer, part: ChunkPart, chunk: np.ndarray, weights: np.ndarray | None) -> Partial:
    """Pool the part of a window that lies in one chunk; ``weights`` are the window's, not all 0 there."""
    if weights is None:
        return reducer.pool(part.of(chunk))
    cells, weight = part.of(chunk), weights[part.target].T  # cells are (longitude, latitude, band)
    counts = weight > 0
    if counts.all():
        return reducer.pool(cells, weight)
    return reducer.pool(cells[counts], weight[counts])  # a cell outside must not count even if it is NaN


def refuse_too_large(window: Window, bands: int, max_bytes: int) -> None:
    """Refuse a grid of more than so many bytes."""
    rows, cols = window.shape
    size = rows * cols * bands * 4
    if size > max_bytes:
        raise ResultTooLargeError(
            f"a grid of {bands} x {rows} x {cols} float32 numbers takes {size:,} bytes, more than "
            f"max_bytes={max_bytes:,}; ask for a smaller region, for output='pooled', which is never "
            "limited, or allow more"
        )


def grid(reader: ChunkReader, window: Window) -> np.ndarray:
    """Read a window's cells: float32, shape ``(bands, rows, cols)``, north up."""
    out = np.zeros((*window.shape, reader.layout.bands), "f4")
    chunks = reader.layout.chunks(window, reader.lengths)

    def work(number: int, chunk: np.ndarray | None) -> None:
        if chunk is not None:
            for part in chunks[number][1]:
                out[part.target] = part.of(chunk).transpose(1, 0, 2)

    for _ in reader.each([place for place, _ in chunks], work):
        pass
    return np.moveaxis(out, -1, 0)


def _cut(mask: np.ndarray, window: Window) -> np.ndarray:
    """Cut a window out of a whole-grid mask: ``(rows, cols)`` of either, around the seam where it wraps."""
    rows = mask[window.row : window.row_stop]
    if window.col_stop <= mask.shape[1]:
        return rows[:, window.col : window.col_stop].copy()
    return rows.take(range(window.col, window.col_stop), axis=1, mode="wrap")
