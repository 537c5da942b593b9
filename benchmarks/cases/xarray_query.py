"""xarray's first pooled query: ``xarray_query.py STORE ROW ROW COL COL``."""

import sys

import xarray as xr

store, *window = sys.argv[1:]
top, bottom, left, right = map(int, window)
cells = xr.open_zarr(store, chunks=None).embedding.isel(
    latitude=slice(top, bottom), longitude=slice(left, right)
)
print(cells.mean(("latitude", "longitude")).values.mean())
