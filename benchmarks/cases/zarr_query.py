"""zarr-python's first pooled query: ``zarr_query.py STORE ROW ROW COL COL``."""

import sys

import zarr

store, *window = sys.argv[1:]
top, bottom, left, right = map(int, window)
cells = zarr.open_group(store, mode="r")["embedding"][:, top:bottom, left:right]
print(cells.mean(axis=(1, 2)).mean())
