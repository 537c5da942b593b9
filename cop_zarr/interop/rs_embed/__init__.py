"""Let rs-embed's ``copernicus`` model answer from the store: importing this module is enough.

::

    import rs_embed
    import cop_zarr.interop.rs_embed

    rs_embed.get_embedding("copernicus", spatial=..., temporal=rs_embed.TemporalSpec.year(2021))

:class:`StoreEmbedder` takes the place of rs-embed's own embedder. What is done to arguments, boxes and
windows is rs-embed's own code, and so are pooling, metadata, warnings and errors; only the array that
windows are cut from is another one. rs-embed unpacks the whole GeoTIFF into a temporary file of 3.2 GB;
here, the chunks under the windows are read from a store, which is made of the GeoTIFF on first use.

Made for rs-embed 0.3.1.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from cop_zarr.errors import CopZarrError, MissingDependencyError, StoreReplacedError
from cop_zarr.interop.rs_embed.sidecar_store import reader_for
from cop_zarr.interop.rs_embed.sparse_raster import Raster

try:
    from rs_embed import reset_runtime
    from rs_embed.core.errors import ModelError
    from rs_embed.core.registry import register
    from rs_embed.embedders._vendor.copernicus_embed import CopernicusEmbedGeoTiff
    from rs_embed.embedders.precomputed_copernicus_embed import CopernicusEmbedder
except ImportError as error:
    raise MissingDependencyError(
        f"cop_zarr.interop.rs_embed needs rs-embed 0.3, and that Python 3.12 or newer ({error}): "
        "pip install rs-embed"
    ) from error

BACKEND = "cop_zarr"
"""What ``meta["backend"]`` says instead of ``vendored_geotiff``."""


class StoreArray:
    """The GeoTIFF's array, as far as rs-embed asks it: one window at a time, in the file's axis order.

    NumPy sums floats in the order in which they lie in memory, so windows lie there as rs-embed's do.

    Parameters
    ----------
    raster : Raster
        The store's cells.
    axis_order : {"hwc", "chw"}
        rs-embed's word for a file that is pixel-interleaved, or band-sequential.
    """

    def __init__(self, raster: Raster, axis_order: str) -> None:
        self._raster = raster
        self._sequential = axis_order == "chw"

    def __getitem__(self, key: tuple[slice, slice, slice]) -> np.ndarray:
        rows, cols = key[1:] if self._sequential else key[:2]
        try:
            cells = self._raster.cut(rows, cols)
        except StoreReplacedError as error:
            raise ModelError(f"{error}: rs_embed.reset_runtime() lets go of the old one") from error
        except CopZarrError as error:
            raise ModelError(str(error)) from error
        return _band_sequential(cells, self._raster.shape[1]) if self._sequential else cells


def _band_sequential(cells: np.ndarray, whole: int) -> np.ndarray:
    """Copy cells to where a band's rows follow each other; apart, unless they are whole, as in a file."""
    height, width, bands = cells.shape
    apart = 0 if width == whole else 1
    out = np.empty((bands, height, width + apart), cells.dtype)[:, :, :width]
    out[:] = np.moveaxis(cells, -1, 0)
    return out


class StoreGeoTiff(CopernicusEmbedGeoTiff):
    """rs-embed's reader of a GeoTIFF, on the store of that file.

    The file itself is looked for, downloaded and checked by rs-embed, and its tags say where windows are.
    """

    def __init__(self, *, paths: str = "data", download: bool = False) -> None:
        super().__init__(paths=paths, download=download)
        self._making = threading.Lock()
        self._store: StoreArray | None = None

    @property
    def array(self) -> StoreArray:
        """The store as an array; the store is made if it is not there."""
        if self._store is None:
            with self._making:
                self._store = self._store or self._opened()
        return self._store

    def _opened(self) -> StoreArray:
        axis_order = self.meta.axis_order
        try:
            return StoreArray(Raster(reader_for(Path(self.path))), axis_order)
        except CopZarrError as error:
            raise ModelError(str(error)) from error


class StoreEmbedder(CopernicusEmbedder):
    """rs-embed's ``copernicus`` model, answering from the store.

    Examples
    --------
    ``rs_embed.get_embedding("copernicus", …)`` makes one; there is no need to call it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._opening = threading.Lock()

    def _get_dataset(self, *, data_dir: str, download: bool) -> StoreGeoTiff:
        """Open a folder's GeoTIFF once, whichever threads of a batch ask first."""
        key = f"{data_dir}|download={int(download)}"
        with self._opening:
            if key not in self._ds_cache:
                Path(data_dir).mkdir(parents=True, exist_ok=True)
                self._ds_cache[key] = StoreGeoTiff(paths=data_dir, download=download)
            dataset: StoreGeoTiff = self._ds_cache[key]
            return dataset

    def get_embedding(self, *, output: Any, **asked: Any) -> Any:
        """Answer for one region, as rs-embed does; a grid is a copy, the caller's own."""
        answer = super().get_embedding(output=output, **asked)
        answer.meta["backend"] = BACKEND
        if output.mode == "grid":
            answer.data.attrs["backend"] = BACKEND
            answer.data.data = answer.data.data.copy(order="K")
        return answer


def install() -> None:
    """Have ``copernicus`` mean the store; importing this module does it.

    Models that rs-embed has loaded are loaded anew when they are next asked, as after its own
    ``reset_runtime()``. A ``rs_embed.Model`` that was made before keeps the embedder it has.
    """
    register("copernicus")(StoreEmbedder)
    reset_runtime()


def uninstall() -> None:
    """Have ``copernicus`` mean rs-embed's own reader again."""
    register("copernicus")(CopernicusEmbedder)
    reset_runtime()


install()
