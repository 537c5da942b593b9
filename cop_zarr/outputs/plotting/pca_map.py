"""Plot embeddings as colours: red, green and blue are their first three principal components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from matplotlib.axes import Axes

from cop_zarr.analysis.components import PrincipalComponents, derive, find_components
from cop_zarr.core.grid import cut_window
from cop_zarr.core.progress import Progress
from cop_zarr.errors import InputError
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.outputs.plotting.axes import (
    add_title,
    axes_or_new,
    finish,
    show_cells,
)
from cop_zarr.outputs.plotting.extent import bbox_extent
from cop_zarr.outputs.plotting.pca import CHANNELS, PERCENTILES, components_to_rgba
from cop_zarr.querying.cells import CellSelection
from cop_zarr.regions import BBox

ColoursOf = Literal["store", "shown"]


def plot_store(
    reader: ChunkReader,
    mask: np.ndarray,
    *,
    synthetic: bool,
    bbox: BBox | Sequence[float] | None,
    colours_of: ColoursOf,
    ax: Axes | None,
    progress: Progress | None,
) -> Axes:
    """Plot embeddings as colours, as :meth:`cop_zarr.Store.plot`; ``mask`` is the whole grid's."""
    if colours_of not in get_args(ColoursOf):
        raise InputError(f"colours_of must be 'store' or 'shown'; got {colours_of!r}")
    extent = bbox_extent(reader.layout.grid, mask, bbox)
    axes = axes_or_new(ax)
    count = min(CHANNELS, reader.layout.bands)
    if colours_of == "store":
        found = find_components(reader, mask, count, progress=progress)
        image = np.zeros((*mask.shape, 4), "u1")
        image[mask] = components_to_rgba(found)
        image = cut_window(image, extent.window)
    else:
        found = derive(reader, CellSelection(*extent), count, progress)
        image = np.zeros((*extent.window.shape, 4), "u1")
        image[extent.valid] = components_to_rgba(found)
    show_cells(axes, extent, image)
    caption = _caption(found.components, reader.layout.bands, colours_of)
    add_title(axes, "embeddings as colours", synthetic, *caption)
    return finish(axes, ax)


def _caption(pca: PrincipalComponents, bands: int, colours_of: ColoursOf) -> tuple[str, ...]:
    if not pca.cells:
        return (f"no cell has data (of {bands} bands)",)
    ratios = np.pad(pca.explained_variance_ratio, (0, CHANNELS - len(pca.axes)))
    shares = ", ".join(f"{share:.0%}".replace("%", " %") for share in ratios)
    low, high = PERCENTILES
    scaled = f"each from its {low:g}nd to {high:g}th percentile; grey: no data"
    which = "all" if colours_of == "store" else "these"
    return (
        f"red, green, blue: principal components 1, 2, 3 ({shares} of the variance)",
        f"of {which} {pca.cells:,} cells, {bands} bands; {scaled}",
    )
