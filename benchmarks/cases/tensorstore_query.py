"""TensorStore's first pooled query: ``tensorstore_query.py STORE ROW ROW COL COL``."""

import sys

import tensorstore as ts

store, *window = sys.argv[1:]
top, bottom, left, right = map(int, window)
spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{store}/embedding/"}}
cells = ts.open(spec, read=True).result()[:, top:bottom, left:right].read().result()
print(cells.mean(axis=(1, 2)).mean())
