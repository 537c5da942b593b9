"""Which cells answer a query, and what does each weigh? Filled, numbered, outlined."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.transforms import ScaledTranslation

from cop_zarr.core.product import STEP_DEG
from cop_zarr.outputs.plotting.axes import (
    BELOW_POINTS,
    INK,
    LINE_POINTS,
    NO_DATA,
    PENCIL,
    entitle,
    frame,
    root,
    sharpen,
)
from cop_zarr.outputs.plotting.extent import View, showing
from cop_zarr.querying.options import CheckedOptions
from cop_zarr.querying.plan import Plan
from cop_zarr.querying.pool_parts import effective_weights
from cop_zarr.regions import Footprint

SHADES = ListedColormap(mpl.colormaps["Blues"](np.linspace(0.1, 0.58, 256))).with_extremes(under="white")
"""From a cell that hardly counts to one that counts in full; black numbers are legible on all of them."""

OUTLINE, OTHER_DATA, GRID_LINE = "#d55e00", "#d3d7c8", "#9a9a9a"
"""Of the region, of cells with data that do not belong to it, and between cells."""

NUMBERED_CELLS = 150
"""Up to this many cells in the region's window have their weight written in them."""

RULED_CELLS = 4000
"""Up to this many cells in the picture, lines are drawn between them."""

HATCHES = np.array([[(0, 0.5), (0.5, 0)], [(0, 1), (1, 0)], [(0.5, 1), (1, 0.5)]])
"""Lines in a cell without data: x to the east, y to the south, in cells."""


def draw_cells(
    axes: Axes, view: View, plan: Plan, options: CheckedOptions, mask: np.ndarray, *, synthetic: bool
) -> None:
    """Draw the cells that a query takes, filled by what each weighs, and the region's outline.

    Parameters
    ----------
    mask : ndarray
        bool, the grid's shape: which cells have data; those that ``empty="skip"`` leaves out weigh nothing.
    """
    given = effective_weights(plan, options, mask)
    weights = np.ones(plan.window.shape) if given is None else given
    valid = showing(view.grid, mask, plan.window).valid
    most, here = float(weights.max()) or 1.0, view.over(plan.window, weights)
    frame(axes, view)
    _fill(axes, view, here / most)
    _rule(axes, view)
    if plan.window.cells <= NUMBERED_CELLS:
        _number(axes, view, here, plan.weighing)
    for ring in rings(plan.footprint):
        _outline(axes, view, ring)
    _explain(axes, plan.weighing, most)
    caption = _caption(plan, options, valid, weights > 0)
    entitle(axes, "cells and weights of a query", synthetic, caption, below=_BELOW)
    sharpen(axes)


_BELOW = BELOW_POINTS + 1.6 * LINE_POINTS
"""The caption's place: under the legend."""


def rings(footprint: Footprint) -> list[np.ndarray]:
    """The outline of a region in unrolled degrees: each ring ``(n, 2)``."""
    if footprint.geometry is None:
        west, south, east, north = footprint.bounds
        return [np.array([(east, south), (east, north), (west, north), (west, south), (east, south)])]
    import shapely  # whoever has a polygon has loaded it already

    lines = shapely.get_parts(footprint.geometry.boundary)
    return [shapely.get_coordinates(line) for line in lines]


def _fill(axes: Axes, view: View, parts: np.ndarray) -> None:
    """Fill cells by weight, 0 to 1; those beyond the window by whether they have data."""
    image = SHADES(np.where(parts > 0, parts, -1.0))
    beyond = np.isnan(parts)
    image[beyond & view.valid] = mpl.colors.to_rgba(OTHER_DATA)
    image[beyond & ~view.valid] = mpl.colors.to_rgba(NO_DATA)
    west, south, east, north = view.extent
    axes.imshow(image, extent=(west, east, south, north), origin="upper", aspect="equal", zorder=1)
    axes.set(xlim=(west, east), ylim=(view.shown.south, view.shown.north))
    rows, cols = np.nonzero(~beyond & ~view.valid)
    lines = (np.stack([cols, rows], axis=-1)[:, None, None] + HATCHES).reshape(-1, 2, 2)
    _lines(axes, lines * [STEP_DEG, -STEP_DEG] + [west, north], PENCIL, 0.35)


def _rule(axes: Axes, view: View) -> None:
    """Draw lines between cells, if there are not too many."""
    if view.window.cells > RULED_CELLS:
        return
    west, south, east, north = view.extent
    lats, lons = np.arange(north, south, -STEP_DEG)[1:], np.arange(west, east, STEP_DEG)[1:]
    upright = [[(lon, south), (lon, north)] for lon in lons]
    level = [[(west, lat), (east, lat)] for lat in lats]
    _lines(axes, np.array([*upright, *level]).reshape(-1, 2, 2), GRID_LINE, 0.4)


def _lines(axes: Axes, ends: np.ndarray, colour: str, width: float) -> None:
    """Draw segments, ``(n, 2, 2)``, over the cells and under the coasts."""
    lines = LineCollection(list(ends), colors=colour, linewidths=width, zorder=2)
    axes.add_collection(lines, autolim=False)


def _number(axes: Axes, view: View, weights: np.ndarray, weighing: str | None) -> None:
    """Write what each cell weighs into it."""
    west, _, _, north = view.extent
    size = float(np.clip(190 / max(view.window.shape[1], view.window.shape[0] * 1.25), 5.0, 9.0))
    for row, col in zip(*np.nonzero(weights > 0), strict=True):
        lon = west + STEP_DEG * (col + 0.5)
        top, bottom = min(north - STEP_DEG * row, 90), max(north - STEP_DEG * (row + 1), -90)
        axes.text(
            lon,
            (top + bottom) / 2,
            written(weights[row, col], weighing),
            ha="center",
            va="center",
            fontsize=size,
            color=INK,
            path_effects=[withStroke(linewidth=2, foreground="white", alpha=0.75)],
            zorder=5,
        )


def written(weight: float, weighing: str | None) -> str:
    """Write a weight in a cell: km² for areas, or a part of 1.

    Examples
    --------
    >>> written(1.0, "coverage"), written(0.256, "coverage"), written(0.001, "coverage")
    ('1', '0.26', '<0.01')
    >>> written(668.4e6, "area"), written(0.4e6, "area")
    ('668', '0.4')
    """
    if weighing == "area":
        return f"{weight / 1e6:.0f}" if weight >= 9.95e6 else f"{weight / 1e6:.1g}"
    if weight < 0.005:
        return "<0.01"
    return f"{weight:.2f}" if weight < 0.995 else "1"


def _outline(axes: Axes, view: View, ring: np.ndarray) -> None:
    """Draw a ring wherever a turn of the globe brings it into view."""
    west, _, east, _ = view.extent
    for turn in (-720, -360, 0, 360, 720):
        lons = ring[:, 0] + turn
        if lons.max() >= west and lons.min() <= east:
            axes.plot(lons, ring[:, 1], color=OUTLINE, lw=1.6, zorder=4, scalex=False, scaley=False)


def _explain(axes: Axes, weighing: str | None, most: float) -> None:
    """Say below what fills and lines mean."""
    handles: list[Any] = []
    if weighing is None:
        handles = [Patch(fc=SHADES(1.0), ec=PENCIL, label="counts once")]
    else:
        full = f"weighs {written(most, weighing)}" + (" km²" if weighing == "area" else "")
        handles = [Patch(fc=SHADES(1.0), ec=PENCIL, label=full)]
        handles.append(Patch(fc=SHADES(0.3), ec=PENCIL, label="weighs less"))
    handles += [
        Patch(fc="white", ec=PENCIL, label="does not count"),
        Patch(fc="white", ec=PENCIL, hatch="////", label="no data"),
        Patch(fc=OTHER_DATA, ec=PENCIL, label="data beyond the window"),
        Patch(fc="none", ec=OUTLINE, lw=1.6, label="region"),
    ]
    down = ScaledTranslation(0, -(BELOW_POINTS - 8) / 72, root(axes).dpi_scale_trans)
    legend = axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=axes.transAxes + down,
        ncols=len(handles),
        fontsize=8.5,
        frameon=False,
        borderaxespad=0.3,
        handlelength=1.4,
        columnspacing=1.4,
    )
    legend.set_zorder(6)


def _caption(plan: Plan, options: CheckedOptions, valid: np.ndarray, counts: np.ndarray) -> str:
    """Say in words what was asked, and how many cells answer; ``counts`` are those of any weight."""
    words = f"pooling={options.pooling!r}, weights={plan.weighing!r}, empty={options.empty!r}"
    if plan.subpixel:
        words += f", subpixel={plan.subpixel!r}"
    members = plan.members
    return (
        f"{words}: {int(counts.sum()):,} cells count, and {int((valid & members).sum()):,} of the region's "
        f"{int(members.sum()):,} have data"
    )
