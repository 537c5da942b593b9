"""How is a picture framed? Axes in degrees, one size of cell, title, caption, margins that fit."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cop_zarr.core import product
from cop_zarr.outputs.plotting.coastlines import coasts
from cop_zarr.outputs.plotting.extent import View

INK, PENCIL, NO_DATA = "#1a1a1a", "#5a5a5a", "#e6e8ea"
"""Of coastlines and titles, of captions, and of cells without data."""

PRODUCT = f"Copernicus-Embed {product.YEAR}"
ATTRIBUTION = f"{PRODUCT} (Wang et al. 2025, arXiv:2503.11849), {product.LICENSE}"
MADE_UP = "SYNTHETIC: made-up values, not the Copernicus-Embed product"

WIDTH_INCHES = 10.0
MARGINS_INCHES = {"left": 0.62, "right": 0.3, "top": 0.45, "bottom": 0.98}
"""Room for the labels, the title, and the lines below."""

LINE_POINTS = 12.5
"""From one line of the caption to the next."""

BELOW_POINTS = 24.0
"""From the axes down to what is written below: past the labels of longitudes."""


def longitude(lon: float) -> str:
    """Label a longitude, of whatever turn: ``170°W`` for 190.

    Examples
    --------
    >>> longitude(190), longitude(-0.5), longitude(180), longitude(360)
    ('170°W', '0.5°W', '180°', '0°')
    """
    east = (round(lon, 6) + 180) % 360 - 180
    return f"{abs(east):g}°" + ("" if east % 180 == 0 else "E" if east > 0 else "W")


def latitude(lat: float) -> str:
    """Label a latitude.

    Examples
    --------
    >>> latitude(48.5), latitude(-90), latitude(0)
    ('48.5°N', '90°S', '0°')
    """
    lat = round(lat, 6)
    return f"{abs(lat):g}°" + ("" if lat == 0 else "N" if lat > 0 else "S")


def frame(axes: Axes, view: View) -> None:
    """Show a view's cells: limits, degrees, cells without data and coastlines."""
    west, south, east, north = view.shown
    axes.set(xlim=(west, east), ylim=(south, north), facecolor=NO_DATA)
    axes.set_aspect("equal")
    _tick(axes.xaxis, east - west, (east - west) / (north - south))
    _tick(axes.yaxis, north - south, 2 * (north - south) / (east - west))
    axes.xaxis.set_major_formatter(lambda degrees, _: longitude(degrees))
    axes.yaxis.set_major_formatter(lambda degrees, _: latitude(degrees))
    axes.tick_params(labelsize=9, color=PENCIL, labelcolor=INK)
    width = float(np.clip(90 / max(east - west, north - south), 0.3, 1.0))
    lines = LineCollection(list(coasts(view)), colors=INK, linewidths=width, zorder=3)
    lines.set(capstyle="projecting", gid="coasts")
    axes.add_collection(lines, autolim=False)


def _tick(axis: Axis, span: float, room: float) -> None:
    """Have whole degrees labelled, as many as there is room for: relative to what the other axis takes."""
    steps = [1, 1.5, 3, 6, 9, 10] if span > 60 else [1, 2, 5, 10]
    most = int(np.clip(round(9 * room), 1, 8))
    axis.set_major_locator(MaxNLocator(nbins=most, steps=steps, min_n_ticks=1))


def entitle(axes: Axes, title: str, synthetic: bool, *caption: str, below: float = BELOW_POINTS) -> None:
    """Write a title above and a caption below, and whose data it is, or that it is nobody's."""
    axes.set_title(f"{'SYNTHETIC' if synthetic else PRODUCT}: {title}", fontsize=12, color=INK)
    lines = [*caption, MADE_UP if synthetic else ATTRIBUTION]
    axes.annotate(
        "\n".join(lines),
        (0.5, 0),
        (0, -below),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=8.5,
        color=PENCIL,
        linespacing=1.25,
        annotation_clip=False,
    )


def fit(axes: Axes, width: float = WIDTH_INCHES) -> None:
    """Give the Axes' figure, which holds nothing else, the height that its map needs.

    A map that is higher than wide is as high as the widest is wide, and stands in the middle.

    Parameters
    ----------
    width : float
        Of the whole picture, in inches.
    """
    (west, east), (south, north) = axes.get_xlim(), axes.get_ylim()
    most = width - MARGINS_INCHES["left"] - MARGINS_INCHES["right"]
    scale = most / max(east - west, (north - south) * 1.25)
    wide, high = scale * (east - west), scale * (north - south)
    height = high + MARGINS_INCHES["top"] + MARGINS_INCHES["bottom"]
    left = MARGINS_INCHES["left"] + (most - wide) / 2
    figure = root(axes)
    figure.set_size_inches(width, height)
    axes.set_position((left / width, MARGINS_INCHES["bottom"] / height, wide / width, high / height))
    sharpen(axes)


def sharpen(axes: Axes) -> None:
    """Draw cells as the squares they are; where they are smaller than pixels, have them averaged."""
    for image in axes.get_images():
        west, east, _, _ = image.get_extent()
        left, right = axes.transData.transform([(west, 0), (east, 0)])[:, 0]
        cells = (east - west) / product.STEP_DEG
        image.set_interpolation("nearest" if right - left >= cells else "antialiased")


def root(artist: Artist) -> Figure:
    """The figure that something is drawn in, at the top."""
    figure = artist.get_figure(root=True)
    if not isinstance(figure, Figure):
        raise TypeError("an Axes without a figure")
    return figure
