"""The answer to a query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cop_zarr.core import product
from cop_zarr.core.grid import Grid, cut_window
from cop_zarr.core.version import __version__
from cop_zarr.querying.options import CheckedOptions
from cop_zarr.querying.plan import Plan

if TYPE_CHECKING:
    import xarray as xr


class Embedding:
    """The answer to a query. All but ``data`` is computed when it is used first.

    Attributes
    ----------
    data : ndarray
        float32: ``(bands,)`` if pooled, ``(bands, rows, cols)`` with north up if a grid. A grid's memory
        order is pixel-interleaved, as it is stored; ``np.ascontiguousarray`` makes it band-sequential.
    valid : ndarray
        bool, ``(rows, cols)``: False for cells without data, which are 0 in every band.
    weights : ndarray
        float32, ``(rows, cols)``: how much each cell of the window belongs to the region, whether it has
        data or not: the part of it inside the region; 1 if it is touched and ``meta["weights"]`` is None;
        areas in m²; those of ``subpixel="bilinear"`` sum to 1.
    meta : dict
        Query and provenance, JSON-ready: model, year, region, window, CRS, source, store.
    """

    __slots__ = ("_facts", "_grid", "_mask", "_meta", "_options", "_plan", "_valid", "_weights", "data")

    def __init__(
        self,
        data: np.ndarray,
        *,
        plan: Plan,
        options: CheckedOptions,
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
            self._valid = self._cut_mask()
        return self._valid

    def _cut_mask(self) -> np.ndarray:
        window = self._plan.window
        return np.zeros(window.shape, "?") if self._mask is None else cut_window(self._mask, window)

    @property
    def weights(self) -> np.ndarray:
        """How much each cell of the window belongs to the region."""
        if self._weights is None:
            weights = self._plan.weights
            self._weights = (self._plan.members if weights is None else weights).astype("f4")
        return self._weights

    @property
    def meta(self) -> dict[str, Any]:
        """Query and provenance."""
        if self._meta is None:
            self._meta = self._build_meta()
        return self._meta

    def _build_meta(self) -> dict[str, Any]:
        plan, options = self._plan, self._options
        window, members, pooled = plan.window, plan.members, self.data.ndim == 1
        return {
            "model": product.MODEL,
            "year": product.YEAR,
            "roi": plan.footprint.roi,
            "bbox_4326": list(plan.footprint.bounds.on_earth),
            "rows": [window.row, window.row_stop],
            "cols": [window.col, window.col_stop],
            "shape": list(self.data.shape),
            "valid_cells": int((self._cut_mask() & members).sum()),
            "total_cells": int(members.sum()),
            "weights": plan.weights_kind,
            "subpixel": plan.subpixel,
            "clipped": plan.clipped,
            "input_crs": plan.footprint.input_crs,
            "transform": list(self._grid.transform(window)),
            "output": "pooled" if pooled else "grid",
            "pooling": options.pooling if pooled else None,
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
            ``weights`` (latitude, longitude); coordinates are cell centres, whose longitudes continue
            past 180 where the window crosses the antimeridian; ``spatial_ref`` has the CRS and the window's
            ``GeoTransform``. Attributes are :attr:`meta` as netCDF stores it: None is left out, booleans
            are 0 or 1, and nested values are JSON text.

        Raises
        ------
        MissingDependencyError
            If xarray is not installed.

        Examples
        --------
        >>> import cop_zarr
        >>> answer = cop_zarr.open().query((120, 30, 122, 32), output="grid")
        >>> dict(answer.to_xarray().embedding.sizes)
        {'band': 768, 'latitude': 9, 'longitude': 9}
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
        synthetic = ", synthetic" if self.meta["synthetic"] else ""
        return f"<Embedding {kind} {self.data.shape}: {valid} of {total} cells with data{synthetic}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The data, for ``np.asarray(embedding)``."""
        return np.array(self.data, dtype=dtype, copy=copy)
