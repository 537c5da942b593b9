"""``xr.open_dataset(store, engine="cop-zarr")``: xarray finds this module by the package's entry point."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from xarray import Dataset
from xarray.backends import BackendEntrypoint

import cop_zarr  # loads nothing yet: xarray imports this module whenever it opens anything

if TYPE_CHECKING:
    from cop_zarr.format.opening import StoreOptions


class CopZarrBackend(BackendEntrypoint):
    """Open a store as :func:`cop_zarr.open` does: chunks are checked, transient failures retried.

    Examples
    --------
    >>> import xarray as xr
    >>> dataset = xr.open_dataset("data/standin.zarr", engine="cop-zarr")
    >>> dataset.embedding.sel(latitude=48, longitude=11.5, method="nearest").shape
    (768,)
    """

    description: ClassVar[str] = "Copernicus-Embed stores, with a checksum for every chunk"
    url: ClassVar[str] = "https://pypi.org/project/cop-zarr/"
    open_dataset_parameters: ClassVar[tuple[str, ...] | None] = (
        "filename_or_obj", "drop_variables", "storage_options", "workers", "timeout", "cache_bytes",
        "cache_dir", "cache_disk_bytes",
    )  # fmt: skip
    supports_groups: ClassVar[bool] = False

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        **options: Unpack[StoreOptions],
    ) -> Dataset:
        """Open a store as the Dataset of :meth:`cop_zarr.Store.to_xarray`.

        Parameters
        ----------
        filename_or_obj : str or path
            A path or any fsspec URL.
        drop_variables : str or iterable of str, optional
            Variables to leave out; unknown names are ignored.
        **options
            storage_options, workers, timeout, cache_bytes, cache_dir and cache_disk_bytes, as
            :func:`cop_zarr.open` takes them.

        Errors are those of :func:`cop_zarr.open`.
        """
        dataset = cop_zarr.open(filename_or_obj, **options).to_xarray()
        dataset.set_close(_close)
        return dataset if drop_variables is None else dataset.drop_vars(drop_variables, errors="ignore")

    def guess_can_open(self, filename_or_obj: object) -> bool:  # noqa: ARG002  # the same for everything
        """Never: without ``engine=``, xarray opens a store with its own Zarr engine."""
        return False


def _close() -> None:
    """There is nothing to close, but ``xr.open_mfdataset`` needs a function to call."""
