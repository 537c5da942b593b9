"""What is drawn, and where? A view of a store, in Axes that are given or new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from cop_zarr.core.grid import Grid
from cop_zarr.core.progress import Progress
from cop_zarr.errors import InputError
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.outputs.plotting.axes import fit
from cop_zarr.outputs.plotting.extent import around, view
from cop_zarr.outputs.plotting.pca_map import draw_map
from cop_zarr.outputs.plotting.query_cells import draw_cells
from cop_zarr.querying.options import CheckedOptions
from cop_zarr.querying.plan import Plan
from cop_zarr.regions import BBox

Box = BBox | Sequence[float] | None


def of_store(
    reader: ChunkReader,
    mask: np.ndarray,
    *,
    facts: Mapping[str, Any],
    bbox: Box,
    ax: Axes | None,
    progress: Progress | None,
) -> Axes:
    """Draw a store's embeddings as colours; :meth:`cop_zarr.Store.plot` says what is what.

    Parameters
    ----------
    mask : ndarray
        bool, the grid's shape: which cells have data.
    facts : mapping
        What the store says of its source.
    """
    shown = view(reader.layout.grid, mask, bbox)
    axes = _given(ax)
    draw_map(axes, reader, shown, synthetic=facts["synthetic"], progress=progress)
    return _fitted(axes, ax)


def of_query(
    grid: Grid,
    mask: np.ndarray,
    *,
    facts: Mapping[str, Any],
    plan: Plan,
    options: CheckedOptions,
    bbox: Box,
    ax: Axes | None,
) -> Axes:
    """Draw the cells of a query, what they weigh, and the region's outline; nothing is read."""
    shown = around(grid, mask, plan.window) if bbox is None else view(grid, mask, bbox)
    axes = _given(ax)
    draw_cells(axes, shown, plan, options, mask, synthetic=facts["synthetic"])
    return _fitted(axes, ax)


def _given(ax: object) -> Axes:
    """The caller's Axes, or new ones of pyplot's, which a notebook shows."""
    if ax is None:
        from matplotlib import pyplot as plt  # it chooses a backend: not for the command line

        return plt.figure().add_subplot()
    if not isinstance(ax, Axes):
        raise InputError(f"ax must be a matplotlib Axes; got {type(ax).__name__}")
    return ax


def _fitted(axes: Axes, ax: Axes | None) -> Axes:
    """Fit a figure of our own to the map; one of the caller's stays as it is."""
    if ax is None:
        fit(axes)
    return axes
