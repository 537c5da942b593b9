"""Save a map as a picture, GeoTIFF, netCDF or Zarr."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cop_zarr.errors import InputError
from cop_zarr.outputs.files import PICTURES, check_target
from cop_zarr.storage import replacing

if TYPE_CHECKING:
    from cop_zarr.outputs.cell_map import CellMap

TIFFS, NETCDF, ZARR = (".tif", ".tiff"), ".nc", ".zarr"


class Encoding(NamedTuple):
    """How numbers are stored in files."""

    dtype: np.dtype[Any]

    nodata: float
    """What cells without data hold: NaN, or an integer that is no value."""


def encoding(values: np.ndarray) -> Encoding:
    """How files store the numbers of a map: integers in the smallest type that has room for nodata, too."""
    if values.dtype.kind == "f":
        return Encoding(np.dtype("f8" if values.dtype.itemsize > 4 else "f4"), np.nan)
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if low >= 0 and high < 255:
        return Encoding(np.dtype("u1"), 255)
    for name in ("i2", "i4"):
        limits = np.iinfo(name)
        if limits.min < low and high <= limits.max:
            return Encoding(np.dtype(name), limits.min)
    return Encoding(np.dtype("f8"), np.nan)


def grids(found: CellMap, stored: Encoding) -> Iterator[np.ndarray]:
    """A grid for each number of a cell: ``(rows, cols)``."""
    for band in found.values.reshape(len(found.values), found.bands).T:
        grid = np.full(found.grid.shape, stored.nodata, stored.dtype)
        grid[found.valid] = band
        yield grid


def save(found: CellMap, path: Path, overwrite: bool, options: Mapping[str, Any]) -> None:
    """Save a map, as :meth:`cop_zarr.CellMap.save`; ``options`` are those of a picture."""
    check_target(path, overwrite, (*PICTURES, *TIFFS, NETCDF, ZARR))
    suffix = path.suffix.lower()
    if options and suffix not in PICTURES:
        raise InputError(
            f"{', '.join(options)} cannot be given for {path}, which is no picture ({', '.join(PICTURES)})"
        )
    if suffix in PICTURES:
        from cop_zarr.outputs.plotting.save import save_plot  # needs matplotlib

        save_plot(path, lambda axes: found.plot(**options, ax=axes), overwrite=overwrite)
    elif suffix in TIFFS:
        _save_geotiff(found, path)
    else:
        from cop_zarr.outputs import datasets

        datasets.WRITERS[suffix](found.to_xarray, path)


def _save_geotiff(found: CellMap, path: Path) -> None:
    from cop_zarr.outputs.geotiff import write_geotiff  # tifffile takes a tenth of a second

    stored = encoding(found.values)
    names = [found.name] if found.bands == 1 else [f"{found.name} {band}" for band in range(found.bands)]
    with replacing(path) as partial:
        write_geotiff(
            partial,
            grids(found, stored),
            grid=found.grid,
            dtype=stored.dtype,
            nodata=stored.nodata,
            names=names,
            facts={name: value for name, value in found.facts.items() if value is not False},
        )
