"""Write a Dataset of xarray to a netCDF file or a Zarr group."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cop_zarr.core.packages import install
from cop_zarr.errors import MissingDependencyError, StoreExistsError
from cop_zarr.storage import replacing

if TYPE_CHECKING:
    import xarray as xr

MARK = "cop_zarr_output"
"""Attribute of the Zarr groups that are written here: no other group is replaced."""

MIN_XARRAY = (2025, 8)
"""The version that writes netCDF-4 to memory."""


def write_netcdf(make: Callable[[], xr.Dataset], path: Path) -> None:
    """Write a compressed netCDF-4 file, atomically; ``make`` gives what it is to hold.

    The file is made in memory: where the disk is full, HDF5 ends the process.
    """
    check_netcdf()
    dataset = make()
    encoding = {
        str(name): {**variable.encoding, "zlib": True, "complevel": 4}
        for name, variable in dataset.data_vars.items()
    }
    view = dataset.to_netcdf(None, format="NETCDF4", engine="h5netcdf", encoding=encoding)
    image = bytes(view)  # Python says so on stderr if a view and what it is of are freed in the wrong order
    del view
    with replacing(path) as partial:
        partial.write_bytes(image)


def check_netcdf() -> None:
    """Raise MissingDependencyError if netCDF files cannot be written."""
    installed = all(find_spec(name) is not None for name in ("h5netcdf", "h5py", "xarray"))
    if not installed or tuple(map(int, version("xarray").split(".")[:2])) < MIN_XARRAY:
        raise MissingDependencyError(
            f"netCDF files need h5netcdf, h5py, and xarray {'.'.join(map(str, MIN_XARRAY))} or newer: "
            f"{install(['h5netcdf', 'h5py', 'xarray>=2025.8'], 'netcdf')}"
        )


def write_zarr(make: Callable[[], xr.Dataset], path: Path) -> None:
    """Write a Zarr v3 group, atomically; StoreExistsError in the place of what is no such group."""
    check_replaceable(path)
    dataset = make().assign_attrs({MARK: 1})
    with replacing(path) as partial, warnings.catch_warnings():
        partial.mkdir()  # zarr would create a parent that is missing, too
        # consolidated metadata is not in the core of Zarr v3 yet; xarray reads it
        warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)
        dataset.to_zarr(partial, zarr_format=3, consolidated=True)


def check_replaceable(path: Path) -> None:
    """Check that what is in the place of a Zarr group was written by :func:`write_zarr`, or nothing."""
    if path.exists() and not _is_ours(path):
        raise StoreExistsError(f"{path} is no group that a map was saved to; name another output")


def _is_ours(path: Path) -> bool:
    try:
        return MARK in json.loads((path / "zarr.json").read_bytes())["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


WRITERS = {".nc": write_netcdf, ".zarr": write_zarr}
