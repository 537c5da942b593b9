"""The way to Zarr that people take, in chunks of the same size: ``rioxarray_to_zarr.py TIF STORE``."""

import sys

import rioxarray

source, store = sys.argv[1:]
embedding = rioxarray.open_rasterio(source).rename("embedding")
embedding.to_dataset().to_zarr(store, encoding={"embedding": {"chunks": (embedding.sizes["band"], 8, 8)}})
