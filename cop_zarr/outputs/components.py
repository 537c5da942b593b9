"""The principal components of a store's cells, as users get them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from cop_zarr.analysis.components import ScoredCells, check_any
from cop_zarr.core.grid import Grid
from cop_zarr.errors import InputError
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.outputs.files import check_target

if TYPE_CHECKING:
    import xarray as xr

Longitudes = Literal["-180..180", "0..360"]


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of all cells with data whose values are all finite; :meth:`Store.components`.

    They are exact: mean and covariance are float64 sums over all cells, each of which counts once. The
    sign of an axis has no meaning; its element of largest magnitude is positive. A component that has no
    variance (there are fewer cells than bands, or bands that are sums of others) has some axis at right
    angles to the others, and scores near 0. The arrays of components that were derived, not read, are not
    writeable.
    """

    mean: np.ndarray
    """The mean vector (float64, ``(bands,)``)."""

    axes: np.ndarray
    """Unit vectors at right angles, largest variance first (float64, ``(count, bands)``)."""

    explained_variance: np.ndarray
    """Variance along each axis, with n - 1 in its denominator (float64, ``(count,)``)."""

    explained_variance_ratio: np.ndarray
    """Share of all variance along each axis, 0 to 1 (float64, ``(count,)``)."""

    scores: np.ndarray
    """Coordinates of the cells along the axes (float32, ``(n, count)``).

    In the order of :meth:`Store.cells`. NaN for a cell that has a value that is not finite.
    """

    remainder: np.ndarray
    """Length of what the components leave of each cell's vector (float32, ``(n,)``); NaN as scores."""

    cells: int
    """Number of cells that they were derived from."""

    kept: bool
    """Whether the store keeps them; otherwise they were derived just now."""

    grid: Grid
    """Where the store's cells are."""

    valid: np.ndarray
    """The store's mask of cells with data (bool, ``(rows, cols)``)."""

    attributes: Mapping[str, Any] = field(repr=False)
    """Title, source, references, license and history of the values."""

    _scored: ScoredCells = field(repr=False)

    def __repr__(self) -> str:
        count, bands = self.axes.shape
        share = f"{self.explained_variance_ratio.sum():.0%}"
        return f"<Components: {count} of {bands} bands, {share} of the variance of {self.cells:,} cells>"

    def transform(self, vectors: ArrayLike) -> np.ndarray:
        """Scores of any vectors: of regions, of points, of another store.

        Parameters
        ----------
        vectors : array_like
            ``(bands,)``, ``(n, bands)`` or ``(…, bands)``; the answer of a query, too.

        Returns
        -------
        ndarray
            float64, ``(…, count)``. NaN for a vector with a value that is not finite.

        Raises
        ------
        InputError
            If they are no numbers, or of another length than the store's vectors.

        Examples
        --------
        >>> import cop_zarr
        >>> store = cop_zarr.open()
        >>> components = store.components(3)
        >>> components.transform(store.query((120, 30, 122, 32), empty="skip")).shape
        (3,)
        """
        return self._scored.components.transform(vectors)

    def to_xarray(self, longitudes: Longitudes = "-180..180") -> xr.Dataset:
        """The scores as a Dataset of xarray on the grid of ERA5, to be merged with its fields.

        Parameters
        ----------
        longitudes : {"-180..180", "0..360"}
            Longitudes from -180 to 179.75, or from 0 to 359.75 as in ERA5's files; increasing, also where a
            store covers both sides of 180° or of 0°.

        Returns
        -------
        xarray.Dataset
            ``scores`` (component, latitude, longitude) and ``remainder`` (latitude, longitude), float32,
            NaN where there is no data; ``component`` counts from 1, with ``explained_variance_ratio``
            beside it. ``latitude`` (from north to south) and ``longitude`` are float64, as in the files of
            ERA5 since 2024; a file with float32 has the same coordinates to the bit, since steps of 0.25°
            are exact in both.

        Raises
        ------
        InputError
            If ``longitudes`` is neither.
        MissingDependencyError
            If xarray is not installed.

        Examples
        --------
        >>> import cop_zarr
        >>> components = cop_zarr.open().components(4)
        >>> components.to_xarray(longitudes="0..360").scores.sel(latitude=31, longitude=238.5).shape
        (4,)
        """
        if longitudes not in get_args(Longitudes):
            raise InputError(
                f"longitudes must be {' or '.join(map(repr, get_args(Longitudes)))}; got {longitudes!r}"
            )
        from cop_zarr.outputs.xarray import components_dataset

        return components_dataset(self, longitudes == "0..360")


def check_file(path: Path, *, overwrite: bool) -> None:
    """Check the name of a netCDF file to write, and that it can be written, before the work is done."""
    check_target(path, overwrite, [".nc"])
    from cop_zarr.outputs.datasets import check_netcdf

    check_netcdf()


def save(components: Components, path: Path, longitudes: Longitudes) -> None:
    """Write components to a netCDF file, atomically."""
    from cop_zarr.outputs.datasets import write_netcdf

    write_netcdf(lambda: components.to_xarray(longitudes), path)


def make_components(
    scored: ScoredCells, reader: ChunkReader, valid: np.ndarray, record: Mapping[str, Any]
) -> Components:
    """Components of a store's cells, whose document has ``record``; InputError if there are none."""
    from cop_zarr.format.cf import group_attributes  # imports pyproj, which a query does not need

    found = scored.components
    check_any(found, reader.folder.url)
    general = group_attributes(record)
    return Components(
        mean=found.mean,
        axes=found.axes,
        explained_variance=found.explained_variance,
        explained_variance_ratio=found.explained_variance_ratio,
        scores=scored.scores,
        remainder=scored.remainder,
        cells=found.cells,
        kept=scored.kept,
        grid=reader.layout.grid,
        valid=valid,
        attributes={**general, "title": f"Principal components of {general['title']}"},
        _scored=scored,
    )
