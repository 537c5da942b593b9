"""A store, or an answer, as an xarray Dataset with coordinates, CRS and attributes.

Coordinates and attributes are those of the store, except for the GeoZarr conventions and the store's
``GeoTransform``: both would be wrong once every second cell is selected, and netCDF cannot hold the former.
rioxarray derives the transform from the coordinates.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np

from cop_zarr.core import product
from cop_zarr.core.grid import Affine
from cop_zarr.core.packages import missing_package
from cop_zarr.format.cf import (
    AXIS_ATTRIBUTES,
    CONVENTIONS,
    EMBEDDING_ATTRIBUTES,
    VALID_ATTRIBUTES,
    VALUES_ATTRIBUTES,
    WEIGHTS_ATTRIBUTES,
    axes,
    grid_mapping,
    group_attributes,
)
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.document import StoreDocument
from cop_zarr.format.layout import BAND, DIMENSIONS, EMBEDDING, SPATIAL_REF, VALID
from cop_zarr.outputs.map_files import Encoding, grids
from cop_zarr.outputs.xarray_indexing import read_outer, read_points

if TYPE_CHECKING:
    from cop_zarr.outputs.cell_map import CellMap
    from cop_zarr.outputs.components import Components

try:
    import xarray as xr
    from xarray.backends import BackendArray, BackendEntrypoint
    from xarray.core import indexing
except ImportError as error:
    raise missing_package("Datasets need", ["xarray"], "xarray", error) from error

WEIGHTS, COMPONENT, RATIO = "weights", "component", "explained_variance_ratio"
GRID_MAPPING = {"grid_mapping": SPATIAL_REF}


class EmbeddingArray(BackendArray):
    """The embedding of a store as xarray indexes it: read on access and checked; can be pickled."""

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
        """The Dataset; the mask is in memory, the embedding is read on access."""
        layout = self.reader.layout
        chunks = dict(zip(DIMENSIONS, layout.stored_shape[::-1], strict=True))
        cells = indexing.LazilyIndexedArray(EmbeddingArray(self.reader))
        embedding_encoding = {**GRID_MAPPING, "preferred_chunks": chunks}
        valid_encoding = {
            **GRID_MAPPING,
            "preferred_chunks": {name: chunks[name] for name in DIMENSIONS[1:]},
        }
        return xr.Dataset(
            {
                EMBEDDING: xr.Variable(DIMENSIONS, cells, EMBEDDING_ATTRIBUTES, embedding_encoding),
                VALID: xr.Variable(DIMENSIONS[1:], self.valid.copy(), VALID_ATTRIBUTES, valid_encoding),
            },
            _coordinates(axes(layout.bands, layout.grid.latitudes, layout.grid.longitudes)),
            group_attributes(self.document.record),
        )


class _ContentsBackend(BackendEntrypoint):
    """An engine whose "file" is :class:`Contents`: ``xr.open_dataset`` then makes the Dask arrays."""

    def open_dataset(
        self, filename_or_obj: Any, *, drop_variables: str | Iterable[str] | None = None
    ) -> xr.Dataset:
        dataset: xr.Dataset = filename_or_obj.dataset()
        return dataset if drop_variables is None else dataset.drop_vars(drop_variables, errors="ignore")


def store_dataset(contents: Contents, chunks: Any) -> xr.Dataset:
    """A store as a lazy Dataset, as :meth:`cop_zarr.Store.to_xarray`."""
    dataset = contents.dataset()
    if chunks is None:
        return dataset
    if find_spec("dask") is None:
        raise missing_package("to_xarray(chunks=…) needs", ["dask[array]"])
    source: Any = contents  # a named engine may take any object, whatever xarray's types say
    chunked = xr.open_dataset(source, engine=_ContentsBackend, chunks=chunks, drop_variables=VALID)
    return dataset.assign({EMBEDDING: chunked[EMBEDDING]})  # the mask stays in memory


def answer_dataset(
    data: np.ndarray, valid: np.ndarray, weights: np.ndarray, meta: Mapping[str, Any]
) -> xr.Dataset:
    """An answer as a Dataset, as :meth:`cop_zarr.Embedding.to_xarray`."""
    transform = Affine(*meta["transform"])
    rows, cols = valid.shape
    latitudes, longitudes = transform.centres((rows, cols))
    dims, encoding = (DIMENSIONS, GRID_MAPPING) if data.ndim == 3 else (DIMENSIONS[:1], {})
    return xr.Dataset(
        {
            EMBEDDING: xr.Variable(dims, data, EMBEDDING_ATTRIBUTES, encoding),
            VALID: xr.Variable(DIMENSIONS[1:], valid, VALID_ATTRIBUTES, GRID_MAPPING),
            WEIGHTS: xr.Variable(DIMENSIONS[1:], weights, WEIGHTS_ATTRIBUTES, GRID_MAPPING),
        },
        _coordinates(axes(data.shape[0], latitudes, longitudes), transform),
        {name: _attribute(value) for name, value in meta.items() if value is not None},
    )


def map_dataset(found: CellMap, stored: Encoding) -> xr.Dataset:
    """A map as a Dataset, as :meth:`cop_zarr.CellMap.to_xarray`."""
    shown = Encoding(np.promote_types(stored.dtype, "f4"), np.nan)  # what xarray makes of the stored type
    values = np.stack(list(grids(found, shown)))
    encoding = {**GRID_MAPPING, "dtype": stored.dtype, "_FillValue": stored.dtype.type(stored.nodata)}
    attributes = {"long_name": found.name.replace("_", " ")}
    dims: tuple[str, ...] = DIMENSIONS
    along = axes(found.bands, found.grid.latitudes, found.grid.longitudes)
    if found.values.ndim == 1:
        values, dims = values[0], DIMENSIONS[1:]
        del along[BAND]
    coordinates = _coordinates(along, found.grid.transform())
    if BAND in coordinates:
        coordinates[BAND].attrs = {"long_name": f"number of the {found.name}"}
    return xr.Dataset(
        {
            found.name: xr.Variable(dims, values, attributes, encoding),
            VALID: xr.Variable(DIMENSIONS[1:], found.valid.copy(), VALID_ATTRIBUTES, GRID_MAPPING),
        },
        coordinates,
        {
            "Conventions": CONVENTIONS,
            "title": f"{found.name} of {product.MODEL} cells, {product.YEAR}, on the ERA5 0.25° grid",
            "references": product.CITATION,
            **{name: _attribute(value) for name, value in found.facts.items()},
        },
    )


def components_dataset(found: Components, from_0_to_360: bool) -> xr.Dataset:
    """Components as a Dataset, as :meth:`cop_zarr.Components.to_xarray`."""
    grid, count = found.grid, len(found.axes)
    longitudes = grid.longitudes % 360 if from_0_to_360 else (grid.longitudes + 180) % 360 - 180
    order = np.argsort(longitudes)
    maps = np.full((count + 1, *grid.shape), np.nan, "f4")
    maps[:count, found.valid], maps[count, found.valid] = found.scores.T, found.remainder
    maps = maps[:, :, order]
    along = axes(0, grid.latitudes, longitudes[order])
    del along[BAND]
    component = {COMPONENT: xr.Variable((COMPONENT,), np.arange(1, count + 1, dtype="i4"))}
    component[RATIO] = xr.Variable((COMPONENT,), found.explained_variance_ratio.astype("f4"))
    for name, variable in component.items():
        variable.attrs, variable.encoding = VALUES_ATTRIBUTES[name], {"_FillValue": None}
    return xr.Dataset(
        {
            "scores": xr.Variable(
                (COMPONENT, *DIMENSIONS[1:]), maps[:count], VALUES_ATTRIBUTES["scores"], GRID_MAPPING
            ),
            "remainder": xr.Variable(
                DIMENSIONS[1:], maps[count], VALUES_ATTRIBUTES["remainder"], GRID_MAPPING
            ),
        },
        {**component, **_coordinates(along)},
        {**found.attributes},
    )


def _coordinates(
    values: Mapping[str, np.ndarray], transform: Affine | None = None
) -> dict[str, xr.Variable]:
    """Coordinates with their attributes, and the grid mapping."""
    encoding = {"_FillValue": None}  # CF forbids one; xarray would add it to floats
    along = {
        name: xr.Variable((name,), found, AXIS_ATTRIBUTES[name], encoding) for name, found in values.items()
    }
    return {**along, SPATIAL_REF: xr.Variable((), np.zeros((), "i4"), grid_mapping(transform))}


def _attribute(value: Any) -> Any:
    """A value that netCDF can hold: booleans become ints, nested values JSON text."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (str, Number)):
        return value
    if isinstance(value, list) and value and all(isinstance(item, (int, float)) for item in value):
        return value
    return json.dumps(value)
