"""Plot embeddings as colours: red, green and blue are their first three principal components."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes

from cop_zarr.core.progress import Progress
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.outputs.plotting.axes import (
    add_title,
    axes_or_new,
    fit_figure,
    set_interpolation,
    show_cells,
)
from cop_zarr.outputs.plotting.extent import bbox_extent
from cop_zarr.outputs.plotting.pca import PERCENTILES, PrincipalComponents, fit_pca, scores, scores_to_rgba
from cop_zarr.regions import BBox


def plot_store(
    reader: ChunkReader,
    mask: np.ndarray,
    *,
    synthetic: bool,
    bbox: BBox | Sequence[float] | None,
    ax: Axes | None,
    progress: Progress | None,
) -> Axes:
    """Plot embeddings as colours, as :meth:`cop_zarr.Store.plot`; ``mask`` is the whole grid's."""
    extent = bbox_extent(reader.layout.grid, mask, bbox)
    axes = axes_or_new(ax)
    # each cell is read twice
    advance = _counter(2 * int(extent.valid.sum()), 4 * reader.layout.bands, progress)
    pca = fit_pca(reader, extent, advance)
    show_cells(axes, extent, scores_to_rgba(scores(reader, extent, pca, advance)))
    add_title(axes, "embeddings as colours", synthetic, *_caption(pca, reader.layout.bands))
    set_interpolation(axes)
    if ax is None:
        fit_figure(axes)
    return axes


def _caption(pca: PrincipalComponents, bands: int) -> tuple[str, ...]:
    if not pca.cells:
        return (f"no cell has data (of {bands} bands)",)
    shares = ", ".join(f"{share:.0%}".replace("%", " %") for share in pca.shares)
    low, high = PERCENTILES
    scaled = f"each from its {low:g}nd to {high:g}th percentile; grey: no data"
    return (
        f"red, green, blue: principal components 1, 2, 3 ({shares} of the variance)",
        f"of {pca.cells:,} cells, {bands} bands; {scaled}",
    )


def _counter(total: int, cell_bytes: int, progress: Progress | None) -> Callable[[int], None]:
    """A function that counts cells done and reports their bytes."""
    done = 0

    def advance(cells: int) -> None:
        nonlocal done
        done += cells
        if progress is not None:
            progress(done * cell_bytes, total * cell_bytes)

    return advance
