"""Plot the cells most similar to places, numbered by rank, and the places themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from cop_zarr.outputs.plotting.axes import (
    NO_DATA_COLOUR,
    TEXT_COLOUR,
    add_title,
    axes_or_new,
    finish,
    show_cells,
)
from cop_zarr.outputs.plotting.extent import bbox_extent
from cop_zarr.outputs.plotting.query_cells import OTHER_DATA_COLOUR

if TYPE_CHECKING:
    from cop_zarr.outputs.matches import Matches, MatchMap

MATCH_COLOUR, PLACE_COLOUR = "#d55e00", "#0072b2"

MAX_NUMBERED = 50
"""Matches are numbered by rank up to this many."""


def plot_matches(matches: Matches, shown: MatchMap, ax: Axes | None) -> Axes:
    """Plot matches as points on the cells with data, and the places that they are like."""
    extent = bbox_extent(shown.grid, shown.valid, None)
    axes = axes_or_new(ax)
    image = np.empty((*extent.window.shape, 4))
    image[:] = mpl.colors.to_rgba(NO_DATA_COLOUR)
    image[extent.valid] = mpl.colors.to_rgba(OTHER_DATA_COLOUR)
    for lons, lats in shown.positions:
        if len(lons) > 1:
            rows, cols = shown.grid.cells_at(lons, lats)
            image[rows[rows >= 0], cols[rows >= 0]] = mpl.colors.to_rgba(PLACE_COLOUR)
    show_cells(axes, extent, image)
    west = extent.cell_bounds.west
    for lons, lats in shown.positions:
        lon = _unwrapped(lons[:1], west)
        if len(lons) == 1:
            axes.plot(lon, lats, "*", ms=13, mfc=PLACE_COLOUR, mec="white", mew=0.8, zorder=5)
    _add_matches(axes, matches, west)
    caption = f"metric={matches.metric!r}: the {len(matches):,} best cells (orange), and places (blue)"
    if len(matches):
        caption += f"; scores from {matches.score[0]:.4g} to {matches.score[-1]:.4g}"
    add_title(axes, "similar places", shown.synthetic, caption)
    return finish(axes, ax)


def _add_matches(axes: Axes, matches: Matches, west: float) -> None:
    """Add a point for each match, and its rank beside it if there are few."""
    lons = _unwrapped(matches.lon, west)
    size = float(np.clip(60 / np.sqrt(max(1, len(matches))), 2, 7))
    axes.plot(lons, matches.lat, "o", ms=size, mfc=MATCH_COLOUR, mec="white", mew=0.6, zorder=6)
    for rank, (lon, lat) in enumerate(zip(lons, matches.lat, strict=True), 1):
        if len(matches) > MAX_NUMBERED:
            break
        axes.annotate(
            str(rank),
            (lon, lat),
            (4, 3),
            textcoords="offset points",
            fontsize=8,
            color=TEXT_COLOUR,
            path_effects=[withStroke(linewidth=2, foreground="white")],
            zorder=7,
        )


def _unwrapped(lons: np.ndarray, west: float) -> np.ndarray:
    """Longitudes within the 360° that begin at ``west``."""
    return np.asarray((lons - west) % 360 + west)
