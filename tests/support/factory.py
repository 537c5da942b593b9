"""GeoTIFFs for the tests, written by GDAL, in which every value tells its own row, column and band.

Nothing here uses cop_zarr: what the package reads is held against :func:`truth`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

ROWS, COLS, STEP = 721, 1440, 0.25
BANDS = 16

PROVENANCE = {
    "url": "a",
    "bytes": 1,
    "sha256": "0",
    "published": False,
    "synthetic": False,
    "container": "",
}
"""A source record for stores that a test writes without a source."""


def truth(
    rows: tuple[int, int] = (0, ROWS), cols: tuple[int, int] = (0, COLS), bands: int = BANDS
) -> np.ndarray:
    """Values of a rectangle of the lattice: float32, ``(bands, rows, cols)``.

    Band 0 is the lattice row + 1, band 1 the lattice column + 1; band *b* is 2048 *b* plus a number
    below 2048 that changes from cell to cell. All are whole and exact in float32. Nearly half of the
    cells is empty (0 in every band): scattered ones, and lattice columns 300 to 599 as a whole.
    """
    row = np.arange(*rows)[:, None]
    col = np.arange(*cols)[None, :] % COLS
    values = np.empty((bands, rows[1] - rows[0], cols[1] - cols[0]), "f4")
    values[0] = row + 1
    if bands > 1:
        values[1] = col + 1
    for band in range(2, bands):
        values[band] = 2048 * band + (31 * row + 17 * col + band) % 2048
    empty = ((row // 3 + col // 5) % 4 == 0) | ((col >= 300) & (col < 600))
    values[:, empty] = 0
    return values


def transform(row: int = 0, col: int = 0) -> Affine:
    """Affine transform of the rectangle whose first cell is lattice cell (row, col)."""
    return Affine(STEP, 0, -180 - STEP / 2 + col * STEP, 0, -STEP, 90 + STEP / 2 - row * STEP)


def write_geotiff(
    path: Path,
    values: np.ndarray | None = None,
    *,
    rows: tuple[int, int] = (0, ROWS),
    cols: tuple[int, int] = (0, COLS),
    bands: int = BANDS,
    **profile: object,
) -> Path:
    """Have GDAL write a rectangle of the lattice; by default in the published file's container.

    ``profile`` takes any of rasterio's creation options; one that is None is left out.
    """
    if values is None:
        values = truth(rows, cols, bands)
    options = {
        "driver": "GTiff",
        "dtype": values.dtype,
        "count": values.shape[0],
        "height": values.shape[1],
        "width": values.shape[2],
        "crs": "EPSG:4326",
        "transform": transform(rows[0], cols[0]),
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "interleave": "pixel",
        **profile,
    }
    with rasterio.open(
        path, "w", **{key: value for key, value in options.items() if value is not None}
    ) as tif:
        tif.write(values)
    return path
