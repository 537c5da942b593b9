"""The GeoTIFF tags that place a grid on the Earth."""

from __future__ import annotations

from cop_zarr.core.grid import Grid

EPSG_4326_AREA = (1, 1, 0, 3, 1024, 0, 1, 2, 1025, 0, 1, 1, 2048, 0, 1, 4326)
"""GeoKeyDirectory: geographic, PixelIsArea, EPSG:4326 (OGC GeoTIFF 1.1)."""


def georeferencing_tags(grid: Grid) -> list[tuple[int, str, int, object, bool]]:
    """ModelPixelScale, ModelTiepoint and GeoKeyDirectory of a grid, as tifffile takes ``extratags``."""
    transform = grid.transform()
    return [
        (33550, "d", 3, (transform.a, -transform.e, 0.0), True),
        (33922, "d", 6, (0.0, 0.0, 0.0, transform.c, transform.f, 0.0), True),
        (34735, "H", len(EPSG_4326_AREA), EPSG_4326_AREA, True),
    ]
