"""Plot a store or a query, on the Axes given or on new ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from cop_zarr.core.grid import Grid
from cop_zarr.core.progress import Progress
from cop_zarr.errors import InputError
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.outputs.plotting.axes import fit_figure
from cop_zarr.outputs.plotting.extent import bbox_extent, region_extent
from cop_zarr.outputs.plotting.pca_map import plot_pca
from cop_zarr.outputs.plotting.query_cells import plot_cells
from cop_zarr.querying.options import CheckedOptions
from cop_zarr.querying.plan import Plan
from cop_zarr.regions import BBox

Box = BBox | Sequence[float] | None


def plot_store(
    reader: ChunkReader,
    mask: np.ndarray,
    *,
    synthetic: bool,
    bbox: Box,
    ax: Axes | None,
    progress: Progress | None,
) -> Axes:
    """Plot embeddings as colours, as :meth:`cop_zarr.Store.plot`; ``mask`` is the whole grid's."""
    extent = bbox_extent(reader.layout.grid, mask, bbox)
    axes = _axes(ax)
    plot_pca(axes, reader, extent, synthetic=synthetic, progress=progress)
    if ax is None:
        fit_figure(axes)
    return axes


def plot_query(
    grid: Grid,
    mask: np.ndarray,
    *,
    synthetic: bool,
    plan: Plan,
    options: CheckedOptions,
    bbox: Box,
    ax: Axes | None,
) -> Axes:
    """Plot the cells of a query, their weights, and the region's outline; no chunk is read."""
    extent = region_extent(grid, mask, plan.window) if bbox is None else bbox_extent(grid, mask, bbox)
    axes = _axes(ax)
    plot_cells(axes, extent, plan, options, mask, synthetic=synthetic)
    if ax is None:
        fit_figure(axes)
    return axes


def _axes(ax: object) -> Axes:
    """The Axes given, or new ones of pyplot, which a notebook displays."""
    if ax is None:
        from matplotlib import pyplot as plt  # selects a backend, which the command line must not

        return plt.figure().add_subplot()
    if not isinstance(ax, Axes):
        raise InputError(f"ax must be a matplotlib Axes; got {type(ax).__name__}")
    return ax
