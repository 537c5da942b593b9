"""Plot the cells of a query: filled and numbered by weight, with the region's outline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from cop_zarr.core.grid import Grid, cut_window
from cop_zarr.core.product import STEP_DEG
from cop_zarr.outputs.plotting.axes import (
    CAPTION_COLOUR,
    CAPTION_OFFSET_POINTS,
    LINE_POINTS,
    NO_DATA_COLOUR,
    TEXT_COLOUR,
    add_legend,
    add_title,
    axes_or_new,
    finish,
    show_cells,
)
from cop_zarr.outputs.plotting.extent import Extent, bbox_extent, region_extent
from cop_zarr.querying.options import CheckedOptions
from cop_zarr.querying.plan import Plan
from cop_zarr.querying.pool_parts import effective_weights
from cop_zarr.regions import BBox, Footprint

WEIGHT_COLOURS = ListedColormap(mpl.colormaps["Blues"](np.linspace(0.1, 0.58, 256))).with_extremes(
    under="white"
)
"""Black numbers are legible on all of them."""

OUTLINE_COLOUR, OTHER_DATA_COLOUR, GRID_COLOUR = "#d55e00", "#d3d7c8", "#9a9a9a"

MAX_NUMBERED_CELLS = 150
"""Weights are written into the cells of windows up to this size."""

MAX_GRID_CELLS = 4000
"""Lines between cells are drawn in plots up to this size."""

HATCH_LINES = np.array([[(0, 0.5), (0.5, 0)], [(0, 1), (1, 0)], [(0.5, 1), (1, 0.5)]])
"""Hatching of a cell without data: x to the east, y to the south, in cells."""


def plot_query(
    grid: Grid,
    mask: np.ndarray,
    *,
    synthetic: bool,
    plan: Plan,
    options: CheckedOptions,
    bbox: BBox | Sequence[float] | None,
    ax: Axes | None,
) -> Axes:
    """Plot the cells of a query by weight, and the outline of the region; no chunk is read.

    ``mask`` is the whole grid's.
    """
    extent = region_extent(grid, mask, plan.window) if bbox is None else bbox_extent(grid, mask, bbox)
    axes = axes_or_new(ax)
    found = effective_weights(plan, options, mask)
    weights = np.ones(plan.window.shape) if found is None else found
    largest, shown = float(weights.max()) or 1.0, extent.reindex(plan.window, weights)
    show_cells(axes, extent, _colours(extent, shown / largest))
    _hatch_no_data(axes, extent, shown)
    if extent.window.cells <= MAX_GRID_CELLS:
        _add_grid(axes, extent)
    if plan.window.cells <= MAX_NUMBERED_CELLS:
        _add_numbers(axes, extent, shown, plan.weights_kind)
    for ring in outline(plan.footprint):
        add_ring(axes, extent, ring)
    _add_legend(axes, plan.weights_kind, largest)
    below_legend = CAPTION_OFFSET_POINTS + 1.6 * LINE_POINTS
    caption = _caption(plan, options, cut_window(mask, plan.window), weights > 0)
    add_title(axes, "cells and weights of a query", synthetic, caption, offset_points=below_legend)
    return finish(axes, ax)


def outline(footprint: Footprint) -> list[np.ndarray]:
    """The rings of a region's outline, each ``(n, 2)``: longitude and latitude, unwrapped."""
    if footprint.geometry is None:
        west, south, east, north = footprint.bounds.on_earth
        return [np.array([(east, south), (east, north), (west, north), (west, south), (east, south)])]
    import shapely  # already loaded if there is a polygon

    lines = shapely.get_parts(footprint.geometry.boundary)
    return [shapely.get_coordinates(line) for line in lines]


def _colours(extent: Extent, weights: np.ndarray) -> np.ndarray:
    """RGBA of each cell: by weight, 0 to 1; outside the window (NaN) by whether it has data."""
    image = WEIGHT_COLOURS(np.where(weights > 0, weights, -1.0))
    outside = np.isnan(weights)
    image[outside & extent.valid] = mpl.colors.to_rgba(OTHER_DATA_COLOUR)
    image[outside & ~extent.valid] = mpl.colors.to_rgba(NO_DATA_COLOUR)
    return np.asarray(image)


def _hatch_no_data(axes: Axes, extent: Extent, weights: np.ndarray) -> None:
    west, _, _, north = extent.cell_bounds
    rows, cols = np.nonzero(~np.isnan(weights) & ~extent.valid)
    lines = (np.stack([cols, rows], axis=-1)[:, None, None] + HATCH_LINES).reshape(-1, 2, 2)
    _add_lines(axes, lines * [STEP_DEG, -STEP_DEG] + [west, north], CAPTION_COLOUR, 0.35)


def _add_grid(axes: Axes, extent: Extent) -> None:
    west, south, east, north = extent.cell_bounds
    lats, lons = np.arange(north, south, -STEP_DEG)[1:], np.arange(west, east, STEP_DEG)[1:]
    vertical = [[(lon, south), (lon, north)] for lon in lons]
    horizontal = [[(west, lat), (east, lat)] for lat in lats]
    _add_lines(axes, np.array([*vertical, *horizontal]).reshape(-1, 2, 2), GRID_COLOUR, 0.4)


def _add_lines(axes: Axes, ends: np.ndarray, colour: str, width: float) -> None:
    """Add segments, ``(n, 2, 2)``, above the cells and below the coastlines."""
    lines = LineCollection(list(ends), colors=colour, linewidths=width, zorder=2)
    axes.add_collection(lines, autolim=False)


def _add_numbers(axes: Axes, extent: Extent, weights: np.ndarray, weighing: str | None) -> None:
    west, _, _, north = extent.cell_bounds
    size = float(np.clip(190 / max(extent.window.shape[1], extent.window.shape[0] * 1.25), 5.0, 9.0))
    for row, col in zip(*np.nonzero(weights > 0), strict=True):
        top, bottom = min(north - STEP_DEG * row, 90), max(north - STEP_DEG * (row + 1), -90)
        axes.text(
            west + STEP_DEG * (col + 0.5),
            (top + bottom) / 2,
            format_weight(weights[row, col], weighing),
            ha="center",
            va="center",
            fontsize=size,
            color=TEXT_COLOUR,
            path_effects=[withStroke(linewidth=2, foreground="white", alpha=0.75)],
            zorder=5,
        )


def format_weight(weight: float, weighing: str | None) -> str:
    """Format a weight: areas in km², others as a number up to 1.

    Examples
    --------
    >>> format_weight(1.0, "coverage"), format_weight(0.256, "coverage"), format_weight(0.001, "coverage")
    ('1', '0.26', '<0.01')
    >>> format_weight(668.4e6, "area"), format_weight(0.4e6, "area")
    ('668', '0.4')
    """
    if weighing == "area":
        return f"{weight / 1e6:.0f}" if weight >= 9.95e6 else f"{weight / 1e6:.1g}"
    if weight < 0.005:
        return "<0.01"
    return f"{weight:.2f}" if weight < 0.995 else "1"


def add_ring(axes: Axes, extent: Extent, ring: np.ndarray) -> None:
    """Draw a ring at every multiple of 360° at which it overlaps the extent."""
    west, _, east, _ = extent.cell_bounds
    for turn in (-720, -360, 0, 360, 720):
        lons = ring[:, 0] + turn
        if lons.max() >= west and lons.min() <= east:
            axes.plot(lons, ring[:, 1], color=OUTLINE_COLOUR, lw=1.6, zorder=4, scalex=False, scaley=False)


def _add_legend(axes: Axes, weighing: str | None, largest: float) -> None:
    unit = " km²" if weighing == "area" else ""
    full = "counts once" if weighing is None else f"weighs {format_weight(largest, weighing)}{unit}"
    handles: list[Any] = [Patch(fc=WEIGHT_COLOURS(1.0), ec=CAPTION_COLOUR, label=full)]
    if weighing is not None:
        handles.append(Patch(fc=WEIGHT_COLOURS(0.3), ec=CAPTION_COLOUR, label="weighs less"))
    handles += [
        Patch(fc="white", ec=CAPTION_COLOUR, label="does not count"),
        Patch(fc="white", ec=CAPTION_COLOUR, hatch="////", label="no data"),
        Patch(fc=OTHER_DATA_COLOUR, ec=CAPTION_COLOUR, label="data beyond the window"),
        Patch(fc="none", ec=OUTLINE_COLOUR, lw=1.6, label="region"),
    ]
    add_legend(axes, handles)


def _caption(plan: Plan, options: CheckedOptions, valid: np.ndarray, counts: np.ndarray) -> str:
    """The options of the query, and how many cells count; ``counts`` are the cells with a weight."""
    words = f"pooling={options.pooling!r}, weights={plan.weights_kind!r}, empty={options.empty!r}"
    if plan.subpixel:
        words += f", subpixel={plan.subpixel!r}"
    members = plan.members
    return (
        f"{words}: {int(counts.sum()):,} cells count, and {int((valid & members).sum()):,} of the region's "
        f"{int(members.sum()):,} have data"
    )
