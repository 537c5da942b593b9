"""A map: one number, or several, for each cell with data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from cop_zarr.core.arrays import as_array
from cop_zarr.core.grid import Grid
from cop_zarr.errors import InputError
from cop_zarr.outputs import map_files
from cop_zarr.regions import Roi
from cop_zarr.storage import expanded

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

RESERVED = frozenset({"band", "latitude", "longitude", "spatial_ref", "valid"})
"""Names that a file of a map gives to other things."""

FACTS = ("source", "source_sha256", "synthetic", "store")

MAX_INTEGER = 2**53
"""Largest magnitude that float64 holds exactly, as all integers up to it."""


class PlotOptions(TypedDict, total=False):
    """Keywords of :meth:`CellMap.plot`, and of :meth:`CellMap.save` for pictures."""

    region: Roi | None
    band: int | None
    cmap: str | Colormap | None
    categorical: bool | None


class CellMap:
    """One number, or ``k`` of them, for each cell with data; :meth:`Store.map` makes it.

    A map needs no open store, and can be pickled.

    Attributes
    ----------
    values : ndarray
        ``(n,)`` or ``(n, k)``, bool, integers or floats, in the order of :meth:`Store.cells`.
    name : str
        What the numbers are: title of a picture, name of a variable or band in a file.
    grid : Grid
        Where the cells are.
    valid : ndarray
        bool, ``(rows, cols)``: the cells that have a number; there are ``n`` of them.
    facts : dict
        Where the store's values are from: source, source_sha256, synthetic, store.
    """

    def __init__(
        self, values: ArrayLike, *, grid: Grid, valid: np.ndarray, name: str, facts: Mapping[str, Any]
    ) -> None:
        self.values, self.name = _in_cell_order(values, valid), _checked_name(name)
        self.grid, self.valid = grid, valid
        self.facts = {name: facts[name] for name in FACTS}

    def __repr__(self) -> str:
        synthetic = ", synthetic" if self.synthetic else ""
        return f"<CellMap {self.name} {self.values.shape} {self.values.dtype}{synthetic}>"

    @property
    def bands(self) -> int:
        """Numbers of each cell: ``k``, or 1."""
        return 1 if self.values.ndim == 1 else self.values.shape[1]

    @property
    def synthetic(self) -> bool:
        """Whether the store's values are made up."""
        return bool(self.facts["synthetic"])

    def plot(
        self,
        *,
        region: Roi | None = None,
        band: int | None = None,
        cmap: str | Colormap | None = None,
        categorical: bool | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Plot the map with coastlines, and a legend or a colour bar.

        Colours are those of the whole map, so that two plots of it compare. Cells without data are grey,
        and so are cells whose number is NaN.

        Parameters
        ----------
        region : optional
            As ``roi`` of :meth:`Store.query`: show the cells around it only, and a polygon's outline. By
            default the whole store.
        band : int, optional
            Which of ``k`` numbers to plot, from 0. By default three floats are red, green and blue, each
            from its 2nd to its 98th percentile, unless ``cmap`` or ``categorical`` is given, and of others
            the first is plotted; the caption says so.
        cmap : str or matplotlib.colors.Colormap, optional
            By default viridis; for classes, colours that are easy to tell apart.
        categorical : bool, optional
            Whether numbers are classes, each with a colour of its own; by default integers and bools are.
        ax : matplotlib.axes.Axes, optional
            By default the Axes of a new pyplot figure, which a notebook displays.

        Returns
        -------
        matplotlib.axes.Axes
            In degrees; longitudes continue past 180 over the antimeridian.

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.
        RegionError
            If the region is malformed, or wholly outside the store.
        InputError
            If another argument is not accepted.

        Examples
        --------
        >>> import cop_zarr
        >>> from matplotlib.figure import Figure
        >>> store = cop_zarr.open()
        >>> row = store.map(store.valid.nonzero()[0], name="row")
        >>> ax = row.plot(region=(120, 30, 122, 32), categorical=False, ax=Figure().add_subplot())
        >>> ax.get_xlim()
        (np.float64(119.875), np.float64(122.125))
        """
        from cop_zarr.outputs.plotting.cell_map import plot_map  # needs matplotlib

        options = PlotOptions(region=region, band=band, cmap=cmap, categorical=categorical)
        return plot_map(self, options, ax)

    def to_xarray(self) -> xr.Dataset:
        """The map as a Dataset of xarray.

        Returns
        -------
        xarray.Dataset
            A variable of the map's name, ``(latitude, longitude)``, or ``(band, latitude, longitude)`` for
            ``k`` numbers; and ``valid`` (latitude, longitude). NaN for cells without data, so that integers
            and bools are floats here, exact ones; a file has integers again. ``spatial_ref`` has the CRS.

        Raises
        ------
        MissingDependencyError
            If xarray is not installed.

        Examples
        --------
        >>> import cop_zarr
        >>> store = cop_zarr.open()
        >>> dataset = store.map(store.valid.nonzero()[0], name="row").to_xarray()
        >>> float(dataset.row.sel(latitude=48, longitude=11.5))
        168.0
        """
        from cop_zarr.outputs import xarray  # optional, and takes half a second

        return xarray.map_dataset(self, map_files.encoding(self.values))

    def save(
        self, path: str | os.PathLike[str], *, overwrite: bool = False, **options: Unpack[PlotOptions]
    ) -> None:
        """Save the map to a file, atomically.

        ============================  ==================================================================
        ``.png``, ``.svg``, ``.pdf``  what :meth:`plot` draws, with its ``options``
        ``.tif``, ``.tiff``           a GeoTIFF of a band for each number: EPSG:4326, deflate, tiled
        ``.nc``                       netCDF-4, as :meth:`to_xarray` (extra ``netcdf``)
        ``.zarr``                     the same as a Zarr v3 group (extra ``xarray``)
        ============================  ==================================================================

        Cells without data are nodata, which the file declares: NaN for floats; for integers 255 (uint8, if
        all values are from 0 to 254), or the smallest int16 or int32. Integers that need more are float64.

        Parameters
        ----------
        path : str or path
            A file on a disk; its ending says what to write.
        overwrite : bool
            Replace a file, or a ``.zarr`` that a map was saved to.
        **options
            region, band, cmap and categorical, as :meth:`plot` takes them, for pictures.

        Raises
        ------
        InputError
            If the ending is unknown, or options are given for a file that is no picture.
        StoreExistsError
            If the file exists, and ``overwrite`` is not set, or it is not of a kind that may be replaced.
        StorageError
            If it cannot be written.
        MissingDependencyError
            If a package is not installed: matplotlib, xarray, or h5netcdf.

        Examples
        --------
        >>> import cop_zarr
        >>> store = cop_zarr.open()
        >>> row = store.map(store.valid.nonzero()[0], name="row")
        >>> row.save("row.tif", overwrite=True)
        >>> row.save("row.png", overwrite=True, categorical=False)
        """
        map_files.save(self, expanded(path), overwrite, options)


def _in_cell_order(values: ArrayLike, valid: np.ndarray) -> np.ndarray:
    """A copy of numbers of cells, or of a whole grid, in the order of the cells: ``(n,)`` or ``(n, k)``."""
    given = as_array(values, "values")
    if given.dtype.kind not in "biuf" or given.dtype.itemsize > 8:
        raise InputError(
            f"values must be bools, integers or floats of at most 64 bits; got {given.dtype}. Classes with "
            "names are numbered by np.unique(values, return_inverse=True)[1]"
        )
    native = np.array(given, given.dtype.newbyteorder("="))
    if native.shape == valid.shape and np.count_nonzero(valid) == len(valid) and not valid.all():
        raise InputError(
            f"values of the shape {native.shape} may be a grid, or numbers of the {len(valid)} cells with "
            "data; give a grid of k numbers, (rows, cols, k)"
        )
    if native.shape[:2] == valid.shape and native.ndim <= 3:
        native = native[valid]
    elif native.shape[:1] != (np.count_nonzero(valid),) or native.ndim > 2:
        raise InputError(_wrong_shape(native.shape, valid))
    if 0 in native.shape[1:]:
        raise InputError(f"values has no number for a cell; got shape {given.shape}")
    if (
        native.dtype.kind in "iu"
        and native.size
        and max(-int(native.min()), int(native.max())) > MAX_INTEGER
    ):
        raise InputError(f"integers must be within ±2**53; got {native.min():,} to {native.max():,}")
    return native


def _wrong_shape(shape: tuple[int, ...], valid: np.ndarray) -> str:
    rows, cols = valid.shape
    advice = ""
    if 0 < len(shape) <= 2 and shape[0] < np.count_nonzero(valid):
        advice = "; those of a region's cells belong into a grid: grid[cells.rows, cells.cols] = values"
    if len(shape) == 3 and shape[1:] == valid.shape:
        advice = "; bands come last here: np.moveaxis(values, 0, -1)"
    length = f"{shape[0]:,} values in an array of shape {shape}" if shape else "a single number"
    return (
        f"values must have one row for each of the {np.count_nonzero(valid):,} cells with data, in the "
        f"order of cells(), or the shape of the grid, ({rows}, {cols}) or ({rows}, {cols}, k); got {length}"
        f"{advice}"
    )


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or not name.isidentifier() or name in RESERVED:
        raise InputError(
            "name must be a word of letters, digits and underscores, and none of "
            f"{', '.join(sorted(RESERVED))}; got {name!r}"
        )
    return name
