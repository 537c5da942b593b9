"""Axes of a map: degrees, coastlines, title and caption, and a figure that fits."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import LineCollection
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from cop_zarr.core import product
from cop_zarr.errors import InputError
from cop_zarr.outputs.plotting.extent import Extent, coastlines

TEXT_COLOUR, CAPTION_COLOUR, NO_DATA_COLOUR = "#1a1a1a", "#5a5a5a", "#e6e8ea"

PRODUCT = f"Copernicus-Embed {product.YEAR}"
ATTRIBUTION = f"{PRODUCT} (Wang et al. 2025, arXiv:2503.11849), {product.LICENSE}"
SYNTHETIC = "SYNTHETIC: made-up values, not the Copernicus-Embed product"

WIDTH_INCHES = 10.0
MARGINS_INCHES = {"left": 0.62, "right": 0.3, "top": 0.45, "bottom": 0.98}
"""Space for labels, title and caption."""

CLASSES, CAPTION = "classes", "caption"
"""Identifiers (gid) of an image whose colours are classes, and of the caption."""

LINE_POINTS = 12.5
"""Line height of the caption."""

BELOW_CAPTION_POINTS = 1.5

CAPTION_OFFSET_POINTS = 24.0
"""Distance from the axes down to the caption, below the labels of longitudes."""


def format_longitude(lon: float) -> str:
    """Format a longitude, unwrapped or not: ``170°W`` for 190.

    Examples
    --------
    >>> format_longitude(190), format_longitude(-0.5), format_longitude(180), format_longitude(360)
    ('170°W', '0.5°W', '180°', '0°')
    """
    east = (round(lon, 6) + 180) % 360 - 180
    return f"{abs(east):g}°" + ("" if east % 180 == 0 else "E" if east > 0 else "W")


def format_latitude(lat: float) -> str:
    """Format a latitude.

    Examples
    --------
    >>> format_latitude(48.5), format_latitude(-90), format_latitude(0)
    ('48.5°N', '90°S', '0°')
    """
    lat = round(lat, 6)
    return f"{abs(lat):g}°" + ("" if lat == 0 else "N" if lat > 0 else "S")


def axes_or_new(ax: object) -> Axes:
    """The Axes given, or new ones of pyplot, which a notebook displays."""
    if ax is None:
        from matplotlib import pyplot as plt  # selects a backend, which the command line must not

        return plt.figure().add_subplot()
    if not isinstance(ax, Axes):
        raise InputError(f"ax must be a matplotlib Axes; got {type(ax).__name__}")
    return ax


def show_cells(axes: Axes, extent: Extent, image: np.ndarray, gid: str | None = None) -> None:
    """Show an image of one pixel a cell, north up, with coastlines; set limits, ticks and background."""
    west, bottom, east, top = extent.cell_bounds
    place = (west, east, bottom, top)
    axes.imshow(image, extent=place, origin="upper", aspect="equal", zorder=1, gid=gid)
    _, south, _, north = extent.bounds
    axes.set(xlim=(west, east), ylim=(south, north), facecolor=NO_DATA_COLOUR)
    _set_ticks(axes.xaxis, east - west, (east - west) / (north - south))
    _set_ticks(axes.yaxis, north - south, 2 * (north - south) / (east - west))
    axes.xaxis.set_major_formatter(lambda lon, _: format_longitude(lon))
    axes.yaxis.set_major_formatter(lambda lat, _: format_latitude(lat))
    axes.tick_params(labelsize=9, color=CAPTION_COLOUR, labelcolor=TEXT_COLOUR)
    width = float(np.clip(90 / max(east - west, north - south), 0.3, 1.0))
    lines = LineCollection(list(coastlines(extent)), colors=TEXT_COLOUR, linewidths=width, zorder=3)
    lines.set(capstyle="projecting", gid="coastlines")
    axes.add_collection(lines, autolim=False)


def _set_ticks(axis: Axis, span_deg: float, aspect: float) -> None:
    """Set ticks at round degrees, as many as fit an axis of this length relative to the other."""
    steps = [1, 1.5, 3, 6, 9, 10] if span_deg > 60 else [1, 2, 5, 10]
    count = int(np.clip(round(9 * aspect), 1, 8))
    axis.set_major_locator(MaxNLocator(nbins=count, steps=steps, min_n_ticks=1))


def set_interpolation(axes: Axes) -> None:
    """Show cells as squares; average them where they are smaller than pixels, but no classes."""
    for image in axes.get_images():
        west, east, _, _ = image.get_extent()
        left, right = axes.transData.transform([(west, 0), (east, 0)])[:, 0]
        cells = (east - west) / product.STEP_DEG
        is_exact = right - left >= cells or image.get_gid() == CLASSES
        image.set_interpolation("nearest" if is_exact else "antialiased")


def finish(axes: Axes, given: object) -> Axes:
    """Set how cells are drawn, and fit the figure unless these Axes were given."""
    set_interpolation(axes)
    if given is None:
        fit_figure(axes)
    return axes


def add_title(
    axes: Axes, title: str, synthetic: bool, *caption: str, offset_points: float = CAPTION_OFFSET_POINTS
) -> None:
    """Add a title above, and a caption below that ends with the attribution."""
    axes.set_title(f"{'SYNTHETIC' if synthetic else PRODUCT}: {title}", fontsize=12, color=TEXT_COLOUR)
    axes.annotate(
        "\n".join([*caption, SYNTHETIC if synthetic else ATTRIBUTION]),
        (0.5, 0),
        (0, -offset_points),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=8.5,
        color=CAPTION_COLOUR,
        linespacing=1.25,
        annotation_clip=False,
        gid=CAPTION,
    )


def add_legend(axes: Axes, handles: list[Any]) -> None:
    """Add a legend of one line below the labels of longitudes."""
    figure: Any = axes.figure
    down = ScaledTranslation(0, -(CAPTION_OFFSET_POINTS - 8) / 72, figure.dpi_scale_trans)
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


def _bottom_inches(axes: Axes) -> float:
    """The margin that the caption needs."""
    ends = [
        LINE_POINTS * (1 + text.get_text().count("\n")) - text.xyann[1]
        for text in axes.texts
        if isinstance(text, Annotation) and text.get_gid() == CAPTION
    ]
    return max([MARGINS_INCHES["bottom"], *((end + BELOW_CAPTION_POINTS) / 72 for end in ends)])


def fit_figure(axes: Axes, width: float = WIDTH_INCHES) -> None:
    """Give a figure of these Axes alone the height that its map needs, for a width in inches.

    A map that is higher than wide is centred, and as high as the widest is wide.
    """
    (west, east), (south, north) = axes.get_xlim(), axes.get_ylim()
    available = width - MARGINS_INCHES["left"] - MARGINS_INCHES["right"]
    inches_per_degree = available / max(east - west, (north - south) * 1.25)
    map_width, map_height = inches_per_degree * (east - west), inches_per_degree * (north - south)
    bottom = _bottom_inches(axes)
    height = map_height + MARGINS_INCHES["top"] + bottom
    left = MARGINS_INCHES["left"] + (available - map_width) / 2
    figure: Any = axes.figure
    figure.set_size_inches(width, height)
    axes.set_position((left / width, bottom / height, map_width / width, map_height / height))
    set_interpolation(axes)
