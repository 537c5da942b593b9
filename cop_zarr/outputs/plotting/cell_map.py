"""Plot a map: numbers by a colour bar, classes by a legend, or three numbers as red, green and blue."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap, Normalize
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator
from matplotlib.transforms import Affine2D, ScaledTranslation, blended_transform_factory

from cop_zarr.core.grid import cut_window
from cop_zarr.errors import InputError
from cop_zarr.outputs.plotting.axes import (
    CAPTION_COLOUR,
    CAPTION_OFFSET_POINTS,
    CLASSES,
    LINE_POINTS,
    TEXT_COLOUR,
    add_legend,
    add_title,
    axes_or_new,
    finish,
    show_cells,
)
from cop_zarr.outputs.plotting.extent import Extent, bbox_extent
from cop_zarr.outputs.plotting.pca import CHANNELS, PERCENTILES, scores_to_rgba
from cop_zarr.outputs.plotting.query_cells import add_ring, outline
from cop_zarr.querying.options import CheckedOptions
from cop_zarr.querying.plan import Plan, plan

if TYPE_CHECKING:
    from cop_zarr.outputs.cell_map import CellMap, PlotOptions

COLOURS = "viridis"

CLASS_COLOURS = "tab10", "tab20", "turbo"
"""Colours of few, more and many classes; those of many are evenly spaced. Grey means no data."""

MAX_QUALITATIVE = 64
"""A colormap of fewer colours is a list of colours for classes."""

MIN_CHROMA = 0.05
"""Least difference between red, green and blue of a colour that is not grey."""

MAX_LEGEND_CLASSES, MAX_LEGEND_LETTERS = 12, 60
"""What fits into one line of a legend; more classes get a colour bar."""

MAX_CLASS_LABELS, MAX_LABEL_LETTERS = 24, 90
"""Labels of classes, and letters in all, that fit below the widest map."""

MAX_NUMBER = 1e300
"""Differences of larger ones overflow, also those that matplotlib computes."""

BAR_POINTS = 9.0
"""Height of a colour bar."""


class Colours(NamedTuple):
    """Colours of cells, and how they are explained."""

    rgba: np.ndarray
    """uint8, ``(n, 4)``; transparent where there is no number."""

    caption: str
    mappable: ScalarMappable | None = None
    """What a colour bar shows; None for none."""

    classes: np.ndarray | None = None


def plot_map(found: CellMap, options: PlotOptions, ax: Axes | None) -> Axes:
    """Plot a map, as :meth:`cop_zarr.CellMap.plot`."""
    region, band = options["region"], _checked_band(found, options["band"])
    wanted = None if region is None else plan(found.grid, region, CheckedOptions(subpixel="touch"))
    colours = _colours(found, band, options["cmap"], options["categorical"])
    axes = axes_or_new(ax)
    extent = _extent(found, wanted)
    image = np.zeros((*found.grid.shape, 4), "u1")
    image[found.valid] = colours.rgba
    show_cells(
        axes, extent, cut_window(image, extent.window), gid=CLASSES if colours.classes is not None else None
    )
    if wanted is not None and wanted.footprint.geometry is not None:
        for ring in outline(wanted.footprint):
            add_ring(axes, extent, ring)
    below = _explain(axes, colours)
    title = found.name.replace("_", " ")
    add_title(axes, title, found.synthetic, colours.caption, offset_points=below)
    return finish(axes, ax)


def _extent(found: CellMap, wanted: Plan | None) -> Extent:
    if wanted is None:
        return bbox_extent(found.grid, found.valid, None)
    return Extent(found.grid, wanted.window, cut_window(found.valid, wanted.window))


def _checked_band(found: CellMap, band: int | None) -> int | None:
    if band is not None and not (
        isinstance(band, Integral) and not isinstance(band, bool) and 0 <= band < found.bands
    ):
        raise InputError(f"band must be 0 to {found.bands - 1}, or None; got {band!r}")
    return band


def _colours(found: CellMap, band: int | None, cmap: Any, categorical: bool | None) -> Colours:
    """Colours of all cells of a map, shown or not."""
    values, colormap = found.values, _checked_cmap(cmap)
    if not isinstance(categorical, bool | np.bool | None):
        raise InputError(f"categorical must be True, False or None; got {categorical!r}")
    if categorical is None:
        categorical = values.dtype.kind != "f"
    cells = f"{len(values):,} cells; grey: no data"
    if band is None and found.bands == CHANNELS and not categorical and cmap is None:
        _check_magnitude(values)
        low, high = PERCENTILES
        scaled = f"each from its {low:g}nd to its {high:g}th percentile"
        caption = f"red, green, blue: {found.name} 0, 1, 2, {scaled}; {cells}{_unknown(values)}"
        return Colours(scores_to_rgba(values.astype("f8")), caption)
    if values.ndim == 2:
        band = band or 0
        cells = f"{found.name} {band} (of 0 to {found.bands - 1}); {cells}"
        values = values[:, band]
    by = _class_colours if categorical else _number_colours
    return by(values, colormap, cells + _unknown(values))


def _unknown(values: np.ndarray) -> str:
    """The end of the caption: how many cells have no number."""
    if values.dtype.kind != "f":
        return ""
    cells = np.isnan(values).any(axis=1) if values.ndim == 2 else np.isnan(values)
    return f", or NaN ({np.count_nonzero(cells):,} cells)" if cells.any() else ""


def _checked_cmap(cmap: Any) -> Colormap | None:
    if cmap is None or isinstance(cmap, Colormap):
        return cmap
    if not isinstance(cmap, str) or cmap not in mpl.colormaps:
        raise InputError(
            f"cmap must be a colormap of matplotlib, such as 'viridis' or 'tab20'; got {cmap!r}"
        )
    return mpl.colormaps[cmap]


def _number_colours(values: np.ndarray, cmap: Colormap | None, cells: str) -> Colours:
    """Colours along a scale from the smallest to the largest finite number."""
    numbers = values.astype("f8")
    finite = numbers[np.isfinite(numbers)]
    if not finite.size:
        return Colours(np.zeros((len(values), 4), "u1"), f"no cell has a finite number; {cells}")
    _check_magnitude(finite)
    low, high = float(finite.min()), float(finite.max())
    scale = Normalize(low, high) if high > low else Normalize(low - 0.5, low + 0.5)
    mappable = ScalarMappable(scale, (cmap or mpl.colormaps[COLOURS]).with_extremes(bad=(0, 0, 0, 0)))
    rgba = mappable.to_rgba(np.ma.masked_invalid(np.clip(numbers, low, high)), bytes=True)
    return Colours(rgba, cells, mappable)


def _check_magnitude(values: np.ndarray) -> None:
    large = np.isfinite(values) & (np.abs(values) > MAX_NUMBER)
    if large.any():
        raise InputError(f"numbers beyond ±{MAX_NUMBER:g} have no colours; got {values[large][0]:g}")


def _class_colours(values: np.ndarray, cmap: Colormap | None, cells: str) -> Colours:
    """A colour for each distinct number; NaN is none."""
    classes, numbers = np.unique(values, return_inverse=True)
    if classes.dtype.kind == "f":
        classes = classes[~np.isnan(classes)]
    if not classes.size:
        return Colours(np.zeros((len(values), 4), "u1"), f"no cell has a class; {cells}", None, classes)
    count = len(classes)
    colours = ListedColormap(_colours_of_classes(count, cmap))
    palette = np.concatenate([np.rint(colours(np.arange(count)) * 255), np.zeros((1, 4))]).astype("u1")
    mappable = ScalarMappable(BoundaryNorm(np.arange(count + 1) - 0.5, max(count, 1)), colours)
    return Colours(
        palette[np.minimum(numbers, count)],
        f"{count:,} {'class' if count == 1 else 'classes'}; {cells}",
        mappable,
        classes,
    )


def _colours_of_classes(count: int, cmap: Colormap | None) -> np.ndarray:
    """RGBA of each class, float64, ``(count, 4)``."""
    for name in CLASS_COLOURS if cmap is None else ():
        cmap = mpl.colormaps[name]
        colours = cmap(np.arange(cmap.N))
        colours = colours[np.ptp(colours[:, :3], axis=1) > MIN_CHROMA]
        if count <= len(colours) <= MAX_QUALITATIVE:
            return np.asarray(colours[:count])
    if cmap is not None and cmap.N <= MAX_QUALITATIVE:
        return np.asarray(cmap(np.arange(count) % cmap.N))
    return np.asarray((cmap or mpl.colormaps[COLOURS])(np.linspace(0, 1, count)))


def _explain(axes: Axes, colours: Colours) -> float:
    """Add a legend or a colour bar; return the distance from the axes down to the caption, in points."""
    if colours.mappable is None:
        return CAPTION_OFFSET_POINTS
    if colours.classes is None:
        _add_bar(axes, colours.mappable)
        return CAPTION_OFFSET_POINTS + BAR_POINTS + 1.6 * LINE_POINTS
    names = [str(value) for value in colours.classes.tolist()]
    if len(names) <= MAX_LEGEND_CLASSES and len("".join(names)) <= MAX_LEGEND_LETTERS:
        rgba = colours.mappable.to_rgba(np.arange(len(names)))
        add_legend(
            axes, [Patch(fc=c, ec=CAPTION_COLOUR, label=n) for c, n in zip(rgba, names, strict=True)]
        )
        return CAPTION_OFFSET_POINTS + 1.6 * LINE_POINTS
    bar = _add_bar(axes, colours.mappable)
    (west, east), (south, north) = axes.get_xlim(), axes.get_ylim()
    width = min(1.0, (east - west) / (north - south) / 1.25)  # of the widest map
    most = max(2, int(width * min(MAX_CLASS_LABELS, MAX_LABEL_LETTERS // len(max(names, key=len)))))
    step = -(-len(names) // most)
    bar.ax.xaxis.set_major_locator(FixedLocator(list(range(0, len(names), step))))
    bar.ax.xaxis.set_major_formatter(lambda position, _: names[round(position)])
    bar.ax.tick_params(length=0)
    return CAPTION_OFFSET_POINTS + BAR_POINTS + 1.6 * LINE_POINTS


def _add_bar(axes: Axes, mappable: ScalarMappable) -> Any:
    """Add a colour bar below the labels of longitudes, as wide as the map."""
    figure: Any = axes.figure
    corner: Any = axes.transAxes
    points = Affine2D().scale(1 / 72) + figure.dpi_scale_trans + ScaledTranslation(0, 0, corner)
    place = blended_transform_factory(axes.transAxes, points)
    inset = axes.inset_axes((0.0, -CAPTION_OFFSET_POINTS - BAR_POINTS, 1.0, BAR_POINTS), transform=place)
    bar = figure.colorbar(mappable, cax=inset, orientation="horizontal")
    bar.outline.set_linewidth(0.5)
    bar.ax.tick_params(labelsize=8.5, color=CAPTION_COLOUR, labelcolor=TEXT_COLOUR, which="both", length=3)
    bar.ax.minorticks_off()
    return bar
