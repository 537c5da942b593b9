"""Have rs-embed's ``copernicus`` model read from a store: importing this module is enough.

::

    import rs_embed
    import cop_zarr.interop.rs_embed

    rs_embed.get_embedding("copernicus", spatial=..., temporal=rs_embed.TemporalSpec.year(2021))

:class:`StoreEmbedder` replaces rs-embed's own embedder. Arguments, boxes, windows, pooling, metadata,
warnings and errors are still handled by rs-embed's code; only the array that windows are cut from is
another one. rs-embed unpacks the whole GeoTIFF into a temporary file of 3.2 GB; here, the chunks under the
windows are read from a store, which is made from the GeoTIFF on first use.

Made for rs-embed 0.3.1.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from cop_zarr.core.packages import pip_install
from cop_zarr.errors import CopZarrError, MissingDependencyError, StoreReplacedError
from cop_zarr.interop.rs_embed.sidecar_store import open_or_create
from cop_zarr.interop.rs_embed.sparse_raster import SparseRaster
from cop_zarr.storage import expanded

try:
    from rs_embed import reset_runtime
    from rs_embed.core.errors import ModelError
    from rs_embed.core.registry import register
    from rs_embed.embedders._vendor.copernicus_embed import CopernicusEmbedGeoTiff
    from rs_embed.embedders.precomputed_copernicus_embed import CopernicusEmbedder
except ImportError as error:
    raise MissingDependencyError(
        "cop_zarr.interop.rs_embed needs rs-embed 0.3, which needs Python 3.12 or newer: "
        f"{pip_install('rs-embed')} ({error})"
    ) from error

BACKEND = "cop_zarr"
"""The value of ``meta["backend"]``, in place of ``vendored_geotiff``."""


class StoreArray:
    """A store in place of rs-embed's array of the GeoTIFF: windows in the file's axis order.

    NumPy's float32 sums depend on the order of values in memory, so windows have rs-embed's strides.
    ``axis_order`` is rs-embed's: "hwc" for a pixel-interleaved file, "chw" for a band-sequential one.
    """

    def __init__(self, raster: SparseRaster, axis_order: str) -> None:
        self._raster = raster
        self._bands_first = axis_order == "chw"

    def __getitem__(self, key: tuple[slice, slice, slice]) -> np.ndarray:
        rows, cols = key[1:] if self._bands_first else key[:2]
        try:
            cells = self._raster.view(rows, cols)
        except StoreReplacedError as error:
            raise ModelError(f"{error}: call rs_embed.reset_runtime() to open the new one") from error
        except CopZarrError as error:
            raise ModelError(str(error)) from error
        return _to_bands_first(cells, self._raster.shape[1]) if self._bands_first else cells


def _to_bands_first(cells: np.ndarray, raster_cols: int) -> np.ndarray:
    """Copy cells band by band; rows are contiguous only if they are whole, as in a file."""
    height, width, bands = cells.shape
    gap = 0 if width == raster_cols else 1
    out = np.empty((bands, height, width + gap), cells.dtype)[:, :, :width]
    out[:] = np.moveaxis(cells, -1, 0)
    return out


class StoreGeoTiff(CopernicusEmbedGeoTiff):
    """rs-embed's reader of a GeoTIFF with the cells of a store.

    rs-embed still locates, downloads and checks the file, and reads windows' positions from its tags.
    """

    def __init__(self, *, paths: str = "data", download: bool = False) -> None:
        super().__init__(paths=paths, download=download)
        self._lock = threading.Lock()
        self._store_array: StoreArray | None = None

    @property
    def array(self) -> StoreArray:
        """The store as an array; the store is created if it does not exist."""
        with self._lock:
            if self._store_array is None:
                axis_order = self.meta.axis_order
                try:
                    self._store_array = StoreArray(
                        SparseRaster(open_or_create(Path(self.path))), axis_order
                    )
                except CopZarrError as error:
                    raise ModelError(str(error)) from error
            return self._store_array


class StoreEmbedder(CopernicusEmbedder):
    """rs-embed's ``copernicus`` model with the cells of a store; rs-embed creates it."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def _get_dataset(self, *, data_dir: str, download: bool) -> StoreGeoTiff:
        """Open a folder's GeoTIFF once, also when several threads ask for it."""
        try:
            data_dir = str(expanded(data_dir))
        except CopZarrError as error:
            raise ModelError(str(error)) from error
        key = f"{data_dir}|download={int(download)}"
        with self._lock:
            if key not in self._ds_cache:
                Path(data_dir).mkdir(parents=True, exist_ok=True)
                self._ds_cache[key] = StoreGeoTiff(paths=data_dir, download=download)
            dataset: StoreGeoTiff = self._ds_cache[key]
            return dataset

    def get_embedding(self, *, output: Any, **arguments: Any) -> Any:
        """Embed one region, as rs-embed does; a grid is a copy that belongs to the caller."""
        embedding = super().get_embedding(output=output, **arguments)
        embedding.meta["backend"] = BACKEND
        if output.mode == "grid":
            embedding.data.attrs["backend"] = BACKEND
            embedding.data.data = embedding.data.data.copy(order="K")
        return embedding


def install() -> None:
    """Let ``copernicus`` read from stores; importing this module does it.

    Models that rs-embed has loaded are loaded again on their next use, as after ``reset_runtime()``. An
    ``rs_embed.Model`` that exists already keeps its embedder.
    """
    register("copernicus")(StoreEmbedder)
    reset_runtime()


def uninstall() -> None:
    """Let ``copernicus`` use rs-embed's own reader again."""
    register("copernicus")(CopernicusEmbedder)
    reset_runtime()


install()
