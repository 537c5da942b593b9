"""What each extra promises, tried where nothing else is installed: ``python promises.py EXTRA``.

A script without pytest, for an environment that has cop-zarr and one extra. It writes into the folder that
it runs in, an empty one. For the extra ``all`` it is :mod:`tests.extras.pages`.
"""

import importlib
import json
import os
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import shapely

import cop_zarr
from cop_zarr.core.grid import Grid

ROOT = Path(__file__).parents[2]

ALPS = Grid(144, 740, 48, 80)
"""The cells of 5 to 25° E, 42 to 54° N."""

BOX = (10.1, 47.3, 12.6, 49.2)
PLACES = {"Munich": (11.5, 48.1), "Prague": (14.4, 50.1), "Zurich": (8.5, 47.4)}
LONLAT = np.array(list(PLACES.values()))


def polygons(store):
    """A polygon is pooled by the part of each cell that is inside."""
    inside = store.query(shapely.box(*BOX)).data
    np.testing.assert_allclose(inside, store.query(BOX, weights="coverage").data, rtol=1e-5)


def http(store):
    """A store is read from a server."""
    handler = partial(SimpleHTTPRequestHandler, directory=Path.cwd())
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        served = cop_zarr.open(f"http://127.0.0.1:{server.server_port}/standin.zarr")
        np.testing.assert_array_equal(served.query(BOX).data, store.query(BOX).data)
        server.shutdown()


def bucket(store):
    """A store is written to a bucket, and read from there."""
    url, options = json.loads(os.environ["BUCKET"])
    cop_zarr.ingest("standin.tif", url, storage_options=options)
    uploaded = cop_zarr.open(url, storage_options=options)
    np.testing.assert_array_equal(uploaded.query(BOX).data, store.query(BOX).data)


def dask(store):
    """A cluster answers as one machine does."""
    from distributed import Client, LocalCluster

    boxes = [(lon, lat, lon + 1, lat + 1) for lon in range(6, 20) for lat in range(44, 52)]
    cluster = LocalCluster(1, threads_per_worker=1, processes=False, dashboard_address=None)
    with cluster, Client(cluster) as client:
        found = store.query_many(boxes, client=client)
    np.testing.assert_array_max_ulp(found, store.query_many(boxes))


def plot(store):
    """A picture is drawn."""
    store.plot(BOX).figure.savefig("picture.png")
    assert Path("picture.png").read_bytes().startswith(b"\x89PNG")


def tables(store):
    """Text and what GDAL reads become files of vectors."""
    import pyarrow.parquet as pq
    import pyogrio

    rows = [f"{name},{lon},{lat}" for name, (lon, lat) in PLACES.items()]
    Path("places.csv").write_text("\n".join(["name,lon,lat", *rows]), "utf-8")
    points, names = shapely.to_wkb(shapely.points(LONLAT)), np.array(list(PLACES), object)
    kind = {"geometry_type": "Point", "crs": "EPSG:4326"}
    for table in ("places.gpkg", "places.geojson"):
        pyogrio.raw.write(table, points, [names], ["name"], **kind)
    for table in ("places.csv", "places.gpkg", "places.geojson"):
        cop_zarr.batch(table, f"{table}.geoparquet", store)
        found = pq.read_table(f"{table}.geoparquet")
        assert b"geo" in found.schema.metadata
        np.testing.assert_array_equal(found["embedding"].to_pylist(), store.sample(*LONLAT.T))
    cop_zarr.batch("places.csv", "places.zarr", store)
    cop_zarr.batch("places.csv", "places.npy", store)
    np.testing.assert_array_equal(np.load("places.npy"), store.sample(*LONLAT.T))


def torch(store):
    """A DataLoader gives batches of vectors."""
    from torch.utils.data import DataLoader

    from cop_zarr.interop.torch import PointDataset

    batches = [batch.numpy() for batch in DataLoader(PointDataset(store, *LONLAT.T), batch_size=2)]
    np.testing.assert_array_equal(np.concatenate(batches), store.sample(*LONLAT.T))


def xarray(store):
    """A store is a lazy Dataset, also by its engine; an answer is one, and a Zarr group."""
    import xarray as xr

    for dataset in (store.to_xarray(), xr.open_dataset("standin.zarr", engine="cop-zarr")):
        vector = dataset.embedding.sel(latitude=48, longitude=11.5, method="nearest").values
        np.testing.assert_array_equal(vector, store.sample(11.5, 48))
    cells = store.cells()
    store.map(cells.vectors[:, 0], name="first").save("first.zarr")
    assert xr.open_zarr("first.zarr")["first"].sel(latitude=48, longitude=11.5) == store.sample(11.5, 48)[0]
    assert len(store.similar((11.5, 48.1), k=3).to_dataframe()) == 3


def netcdf(store):
    """A map and an answer are written to netCDF, and read again."""
    import xarray as xr

    store.map(store.cells().vectors[:, 0], name="first").save("first.nc")
    with xr.open_dataset("first.nc", engine="h5netcdf") as read:
        assert read["first"].sel(latitude=48, longitude=11.5) == store.sample(11.5, 48)[0]
    answer = store.query(BOX, output="grid")
    answer.to_xarray().to_netcdf("answer.nc", engine="h5netcdf")
    with xr.open_dataset("answer.nc", engine="h5netcdf") as read:
        np.testing.assert_array_equal(read.embedding, answer.data)


def bench(_):
    """What a benchmark imports is there, but what benchmarks/README.md has in other environments."""
    from pages import imported

    files = list((ROOT / "benchmarks").rglob("*.py"))
    names = {name.partition(".")[0] for file in files for name in imported(file.read_text("utf-8"))}
    ours = {"benchmarks", "tests", *(file.stem for file in files)}
    for name in names - ours - {"rs_embed", "torch"}:
        importlib.import_module(name)


PROMISES = {
    "polygons": polygons,
    "http": http,
    "s3": bucket,
    "gcs": bucket,
    "dask": dask,
    "plot": plot,
    "tables": tables,
    "torch": torch,
    "xarray": xarray,
    "netcdf": netcdf,
    "bench": bench,
}
"""What is tried for each extra."""

if __name__ == "__main__":
    cop_zarr.synthesize("standin.tif", grid=ALPS, bands=4)
    cop_zarr.ingest("standin.tif", "standin.zarr")
    PROMISES[sys.argv[1]](cop_zarr.open("standin.zarr"))
