"""A store, and an answer, as an xarray Dataset: named dimensions, coordinates, CRS, attributes.

Coordinates and attributes are those that any reader finds in a store, apart from the GeoZarr conventions
and the store's ``GeoTransform``: they would be untrue as soon as every second cell is selected, and netCDF
cannot hold the former. rioxarray takes the transform from the coordinates.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from numbers import Number
from typing import Any

import numpy as np

from cop_zarr.core.grid import Affine
from cop_zarr.errors import MissingDependencyError
from cop_zarr.format.cf import (
    AXIS_ATTRIBUTES,
    EMBEDDING_ATTRIBUTES,
    VALID_ATTRIBUTES,
    WEIGHTS_ATTRIBUTES,
    axes,
    grid_mapping,
    group_attributes,
)
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.document import StoreDocument
from cop_zarr.format.layout import DIMENSIONS, EMBEDDING, SPATIAL_REF, VALID
from cop_zarr.outputs.xarray_indexing import read_outer, read_points

try:
    import xarray as xr
    from xarray.backends import BackendArray, BackendEntrypoint
    from xarray.core import indexing
except ImportError as error:
    raise MissingDependencyError(
        "to_xarray() needs xarray, which is not installed: pip install 'cop-zarr[xarray]'"
    ) from error

WEIGHTS = "weights"


class EmbeddingArray(BackendArray):
    """The embedding of a store as xarray indexes it: read when it is asked for, every chunk checked.

    It can be pickled, as its reader can.
    """

    def __init__(self, reader: ChunkReader) -> None:
        self._reader = reader
        self.shape = reader.layout.shape
        self.dtype = np.dtype("f4")

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        if isinstance(key, indexing.VectorizedIndexer):
            return read_points(self._reader, key.tuple)
        return read_outer(self._reader, key.tuple)


@dataclass(frozen=True)
class Contents:
    """What a Dataset of a store is made of."""

    reader: ChunkReader
    document: StoreDocument
    valid: np.ndarray

    def __dask_tokenize__(self) -> tuple[str, str]:
        return self.reader.folder.url, self.document.sha256

    def dataset(self) -> xr.Dataset:
        """The Dataset; the mask is in memory, the embedding where it was."""
        grid, bands = self.reader.layout.grid, self.reader.layout.bands
        side = self.reader.layout.chunk_cells
        unit = dict(zip(DIMENSIONS, (bands, side, side), strict=True))
        cells = indexing.LazilyIndexedArray(EmbeddingArray(self.reader))
        mapped = {"grid_mapping": SPATIAL_REF}
        rows_and_cols = {name: unit[name] for name in DIMENSIONS[1:]}
        return xr.Dataset(
            {
                EMBEDDING: xr.Variable(
                    DIMENSIONS, cells, EMBEDDING_ATTRIBUTES, {**mapped, "preferred_chunks": unit}
                ),
                VALID: xr.Variable(
                    DIMENSIONS[1:],
                    self.valid.copy(),
                    VALID_ATTRIBUTES,
                    {**mapped, "preferred_chunks": rows_and_cols},
                ),
            },
            _coordinates(axes(bands, grid.latitudes, grid.longitudes)),
            group_attributes(self.document.record),
        )


class _Opened(BackendEntrypoint):
    """What ``xr.open_dataset`` opens where a store is open already: it knows how to cut arrays for Dask."""

    def open_dataset(
        self, filename_or_obj: Any, *, drop_variables: str | Iterable[str] | None = None
    ) -> xr.Dataset:
        dataset: xr.Dataset = filename_or_obj.dataset()
        return dataset if drop_variables is None else dataset.drop_vars(drop_variables, errors="ignore")


def store_dataset(contents: Contents, chunks: Any) -> xr.Dataset:
    """A store as a lazy Dataset, as :meth:`cop_zarr.Store.to_xarray` describes it."""
    dataset = contents.dataset()
    if chunks is None:
        return dataset
    if find_spec("dask") is None:
        raise MissingDependencyError(
            "to_xarray(chunks=…) needs Dask, which is not installed: pip install 'dask[array]', or "
            "leave chunks out"
        )
    given: Any = contents  # which an engine that is named may take, whatever xarray's types say
    cut = xr.open_dataset(given, engine=_Opened, chunks=chunks, drop_variables=VALID)
    return dataset.assign({EMBEDDING: cut[EMBEDDING]})  # the mask stays in memory


def answer_dataset(
    data: np.ndarray, valid: np.ndarray, weights: np.ndarray, meta: Mapping[str, Any]
) -> xr.Dataset:
    """An answer as a Dataset, as :meth:`cop_zarr.Embedding.to_xarray` describes it."""
    transform = Affine(*meta["transform"])
    rows, cols = valid.shape
    latitudes, longitudes = transform.centres((rows, cols))
    mapped = {"grid_mapping": SPATIAL_REF}
    grid = data.ndim == 3
    return xr.Dataset(
        {
            EMBEDDING: xr.Variable(
                DIMENSIONS if grid else DIMENSIONS[:1], data, EMBEDDING_ATTRIBUTES, mapped if grid else {}
            ),
            VALID: xr.Variable(DIMENSIONS[1:], valid, VALID_ATTRIBUTES, mapped),
            WEIGHTS: xr.Variable(DIMENSIONS[1:], weights, WEIGHTS_ATTRIBUTES, mapped),
        },
        _coordinates(axes(data.shape[0], latitudes, longitudes), transform),
        _plain(meta),
    )


def _coordinates(
    values: Mapping[str, np.ndarray], transform: Affine | None = None
) -> dict[str, xr.Variable]:
    """Coordinates with their attributes, and the grid mapping."""
    along = {name: xr.Variable((name,), found, AXIS_ATTRIBUTES[name]) for name, found in values.items()}
    return {**along, SPATIAL_REF: xr.Variable((), np.zeros((), "i4"), grid_mapping(transform))}


def _plain(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as attributes that netCDF can hold: None is left out, what is nested becomes JSON text."""
    return {name: _attribute(value) for name, value in meta.items() if value is not None}


def _attribute(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (str, Number)):
        return value
    if isinstance(value, list) and value and all(isinstance(item, (int, float)) for item in value):
        return value
    return json.dumps(value)
