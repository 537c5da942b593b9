"""The first windowed read and mean with rasterio: ``rasterio_query.py TIF WEST SOUTH EAST NORTH``."""

import math
import sys

import rasterio
from rasterio.windows import Window, from_bounds

path, *box = sys.argv[1:]
with rasterio.open(path) as source:
    exact = from_bounds(*map(float, box), transform=source.transform)
    row, col = math.floor(exact.row_off), math.floor(exact.col_off)
    height = math.ceil(exact.row_off + exact.height) - row
    width = math.ceil(exact.col_off + exact.width) - col
    cells = source.read(window=Window(col, row, width, height))
print(cells.mean(axis=(1, 2)).mean())
