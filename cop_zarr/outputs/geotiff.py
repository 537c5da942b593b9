"""Write grids of numbers as a GeoTIFF."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import tifffile

from cop_zarr.core.grid import Grid
from cop_zarr.core.version import __version__
from cop_zarr.source.georeferencing import georeferencing_tags

TILE = 256
"""Side of a tile: that of the published file."""

BIG_BYTES = 4_000_000_000
"""Values of more than this may not fit into a classic TIFF, whose offsets have 32 bits."""

DEFLATE_LEVEL = 6


def write_geotiff(
    path: Path,
    bands: Iterable[np.ndarray],
    *,
    grid: Grid,
    dtype: np.dtype[Any],
    nodata: float,
    names: Sequence[str],
    facts: Mapping[str, object],
) -> None:
    """Write one grid ``(rows, cols)`` for each of ``names``: tiled, deflate, band-sequential.

    Only one grid is in memory at a time. ``facts`` become items of GDAL's metadata.
    """
    samples: dict[str, Any] = {"shape": grid.shape}
    if len(names) > 1:
        samples = {"shape": (len(names), *grid.shape), "planarconfig": "separate"}
        samples["extrasamples"] = ["unspecified"] * (len(names) - 1)
    size = len(names) * grid.whole.cells * dtype.itemsize
    with tifffile.TiffWriter(path, bigtiff=size > BIG_BYTES) as tiff:
        tiff.write(
            _tiles(bands, nodata),
            **samples,
            dtype=dtype,
            tile=(TILE, TILE),
            photometric="minisblack",
            compression="zlib",
            compressionargs={"level": DEFLATE_LEVEL},
            predictor=True,
            metadata=None,
            software=f"cop-zarr {__version__}",
            extratags=[
                *georeferencing_tags(grid),
                (42112, "s", 0, _gdal_metadata(names, facts), True),
                (42113, "s", 0, f"{nodata:g}" if np.isnan(nodata) else str(int(nodata)), True),
            ],
        )


def _tiles(bands: Iterable[np.ndarray], nodata: float) -> Iterator[np.ndarray]:
    """Cut grids into whole tiles, row by row; tifffile encodes a tile of one column wrongly."""
    for band in bands:
        rows, cols = (-size % TILE for size in band.shape)
        padded = np.pad(band, ((0, rows), (0, cols)), constant_values=nodata)
        for row in range(0, padded.shape[0], TILE):
            for col in range(0, padded.shape[1], TILE):
                yield padded[row : row + TILE, col : col + TILE]


def _gdal_metadata(names: Sequence[str], facts: Mapping[str, object]) -> bytes:
    """The XML of GDAL's metadata tag: facts, and a description of each band."""
    items = [f"<Item name={quoteattr(name)}>{escape(str(value))}</Item>" for name, value in facts.items()]
    items += [
        f'<Item name="DESCRIPTION" sample="{number}" role="description">{escape(name)}</Item>'
        for number, name in enumerate(names)
    ]
    text = "\n  ".join(["<GDALMetadata>", *items])
    return f"{text}\n</GDALMetadata>\n".encode("ascii", "xmlcharrefreplace")
