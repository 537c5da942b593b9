"""Write the stand-in, the published file's container: ``python -m benchmarks.standin OUT.tif``.

Values are smooth fields under full-mantissa noise on real land, zero elsewhere: as hard to compress as
embeddings are, and near 1 GB (rs-embed refuses a file of less than 700 MiB). GDAL writes it: the project
that will read it does not.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from cop_zarr.source.synthetic import land_mask

BANDS, ROWS, COLS, TILE = 768, 721, 1440, 256
FIELDS = 12
"""Smooth fields that are mixed into every band."""

NOISE = 0.5
"""Deviation of the noise, where the smooth part has about 1."""

PROFILE = {
    "driver": "GTiff",
    "dtype": "float32",
    "count": BANDS,
    "height": ROWS,
    "width": COLS,
    "crs": "EPSG:4326",
    "transform": rasterio.Affine(0.25, 0, -180.125, 0, -0.25, 90.125),
    "tiled": True,
    "blockxsize": TILE,
    "blockysize": TILE,
    "interleave": "pixel",
    "compress": "deflate",
    "num_threads": "all_cpus",
}


def write(path: Path) -> None:
    """Write the stand-in; the file gets its name when it is whole."""
    rng = np.random.default_rng(2021)
    mix = rng.normal(size=(FIELDS, BANDS)).astype("f4") / np.sqrt(FIELDS, dtype="f4")
    # plane waves that close around the globe
    lat = np.linspace(np.pi / 2, -np.pi / 2, ROWS)[:, None, None]
    lon = np.linspace(-np.pi, np.pi, COLS, endpoint=False)[None, :, None]
    across, down = rng.integers(-40, 41, size=(2, FIELDS))
    phase = rng.uniform(0, 2 * np.pi, FIELDS)
    fields = np.asarray(np.sqrt(2) * np.cos(down * lat + across * lon + phase), "f4")
    land, partial = land_mask(), path.with_name(path.name + ".partial")
    # GDAL's cache in MB; a tile takes 201
    with rasterio.Env(GDAL_CACHEMAX=512), rasterio.open(partial, "w", **PROFILE) as target:
        target.update_tags(synthetic="made-up values, real coastlines; by cop-zarr's benchmarks")
        for row in range(0, ROWS, TILE):
            for col in range(0, COLS, TILE):
                part = np.s_[row : row + TILE, col : col + TILE]
                inside = land[part]
                cells = fields[part][inside] @ mix
                cells += NOISE * rng.standard_normal(cells.shape, "f4")
                tile = np.zeros((BANDS, *inside.shape), "f4")
                tile[:, inside] = cells.T
                target.write(tile, window=Window(col, row, *inside.shape[::-1]))
    partial.replace(path)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
