"""cop-zarr's first pooled query: ``cop_zarr_query.py STORE WEST SOUTH EAST NORTH``."""

import sys

import cop_zarr

store, *box = sys.argv[1:]
answer = cop_zarr.open(store).query(tuple(map(float, box)))
print(answer.data.mean())
