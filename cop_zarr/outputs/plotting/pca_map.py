"""What do embeddings look like? Red, green and blue are their principal components."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes

from cop_zarr.core.progress import Progress
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.outputs.plotting.axes import entitle, frame, sharpen
from cop_zarr.outputs.plotting.extent import View
from cop_zarr.outputs.plotting.pca import PERCENTILES, Components, colours, components, scores


def draw_map(
    axes: Axes, reader: ChunkReader, view: View, *, synthetic: bool, progress: Progress | None = None
) -> None:
    """Draw a view's embeddings as colours.

    Parameters
    ----------
    synthetic : bool
        Whether the values are made up: the picture says so.
    progress : callable, optional
        Called with the bytes gone through and those in all; each cell is gone through twice.
    """
    tell = _teller(2 * int(view.valid.sum()), 4 * reader.layout.bands, progress)
    found = components(reader, view, tell)
    image = colours(scores(reader, view, found, tell))
    west, south, east, north = view.extent
    frame(axes, view)
    axes.imshow(image, extent=(west, east, south, north), origin="upper", aspect="equal", zorder=1)
    axes.set(xlim=(west, east), ylim=(view.shown.south, view.shown.north))
    entitle(axes, "embeddings as colours", synthetic, *_caption(found, reader.layout.bands))
    sharpen(axes)


def _caption(found: Components, bands: int) -> tuple[str, ...]:
    if not found.cells:
        return (f"no cell has data (of {bands} bands)",)
    shares = ", ".join(f"{share:.0%}".replace("%", " %") for share in found.shares)
    low, high = PERCENTILES
    scaled = f"each from its {low:g}nd to {high:g}th percentile; grey: no data"
    return (
        f"red, green, blue: principal components 1, 2, 3 ({shares} of the variance)",
        f"of {found.cells:,} cells, {bands} bands; {scaled}",
    )


def _teller(total: int, unit: int, progress: Progress | None) -> Callable[[int], None]:
    """Count cells that are done, and tell of their bytes."""
    done = 0

    def tell(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done * unit, total * unit)

    return tell
