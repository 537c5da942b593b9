"""Stores and answers as xarray Datasets, compared with the source's values and xarray's own engine."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tracemalloc

import dask
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  # gives Datasets .rio
import xarray as xr
from affine import Affine

import cop_zarr
from cop_zarr.errors import ChunkError, StoreNotFoundError
from cop_zarr.storage import LocalFolder
from tests.support import factory
from tests.support.folders import WatchedFolder, open_in
from tests.support.servers import static_server


@pytest.fixture(scope="module")
def dataset(store):
    return store.to_xarray()


@pytest.fixture
def small(tmp_path):
    """The path of a store of three chunks by four, and its values."""
    source = factory.write_geotiff(tmp_path / "a.tif", rows=(200, 220), cols=(620, 645))
    cop_zarr.ingest(source, tmp_path / "a.zarr")
    return tmp_path / "a.zarr", factory.truth((200, 220), (620, 645))


def test_variables_and_attributes_are_those_that_xarray_finds(small):
    dataset = cop_zarr.open(small[0]).to_xarray()
    with xr.open_zarr(small[0], decode_coords="all", chunks=None) as plain:
        xr.testing.assert_equal(dataset, plain)
        assert list(dataset.variables) == ["embedding", "valid", *dataset.coords]
        for name, variable in dataset.variables.items():
            assert variable.dims == plain[name].dims
            assert variable.dtype == plain[name].dtype
            assert variable.attrs.items() <= plain[name].attrs.items(), name
            assert variable.encoding.get("grid_mapping") == plain[name].encoding.get("grid_mapping")
        assert dataset.attrs.items() <= plain.attrs.items()
        assert {"Conventions", "title", "source", "license", "references"} <= set(dataset.attrs)


def test_chunks_are_read_on_access_and_once(store_path):
    folder = WatchedFolder(LocalFolder(store_path))
    store = open_in(folder)
    found = store.to_xarray().embedding.sel(latitude=slice(50, 45), longitude=slice(5, 15))
    repr(found)
    assert not [key for key in folder.read_keys if key.startswith("embedding/c")]
    found.to_numpy()
    chunks = [key for key in folder.read_keys if key.startswith("embedding/c")]
    expected = {f"embedding/c/0/{row}/{col}" for row in range(20, 23) for col in range(92, 98)}
    assert sorted(chunks) == sorted(expected)


def points(size):
    return xr.DataArray(np.random.default_rng(size).integers(-size, size, (3, 40)), dims=("a", "b"))


ROWS, COLS, BANDS = points(factory.ROWS), points(factory.COLS), points(factory.BANDS)
SELECTIONS = {
    "one cell": {"latitude": 168, "longitude": 766},
    "one number": {"band": 3, "latitude": 168, "longitude": 766},
    "slices": {"latitude": slice(157, 203), "longitude": slice(597, 643)},
    "steps": {"band": slice(1, None, 3), "latitude": slice(3, 700, 5), "longitude": slice(5, 1400, 17)},
    "backwards": {"latitude": slice(None, None, -3), "longitude": slice(700, 600, -1)},
    "arrays": {"latitude": [700, 5, 5, 3, -2], "longitude": [0, 1439, 720, 8, 7]},
    "no rows": {"latitude": slice(5, 5), "longitude": [3, 4]},
    "cells without data": {"longitude": slice(304, 312), "latitude": slice(0, 16)},
    "points": {"latitude": ROWS, "longitude": COLS},
    "points, some bands": {"latitude": ROWS, "longitude": COLS, "band": slice(2, 9, 3)},
    "points with bands": {"latitude": ROWS, "longitude": COLS, "band": BANDS},
    "rows with bands": {"latitude": ROWS, "band": BANDS, "longitude": slice(3, 99, 7)},
    "rows in two dimensions": {"latitude": ROWS, "longitude": slice(10, 20)},
    "bands in two dimensions": {"band": BANDS, "latitude": slice(8, 10), "longitude": 5},
}


@pytest.mark.parametrize("selection", SELECTIONS.values(), ids=SELECTIONS)
def test_indexing_is_that_of_an_array_in_memory(dataset, globe, selection):
    expected = xr.DataArray(globe, dims=("band", "latitude", "longitude")).isel(selection)
    found = dataset.embedding.isel(selection)
    assert (found.dims, found.dtype) == (expected.dims, np.float32)
    np.testing.assert_array_equal(found, expected)


def test_no_points_and_selections_of_selections(dataset, globe):
    none = xr.DataArray(np.zeros(0, int), dims="point")
    assert dataset.embedding.isel(latitude=none, longitude=none).to_numpy().size == 0
    found = dataset.embedding[:, 100:300][::2, ::3].isel(longitude=[9, 3])[:, 5:8]
    np.testing.assert_array_equal(found, globe[::2, 100:300:3][:, 5:8][..., [9, 3]])
    with pytest.raises(IndexError):
        dataset.embedding.isel(latitude=[3, 721]).to_numpy()


@pytest.mark.parametrize("engine", [None, "cop-zarr"])
def test_a_damaged_chunk_raises_its_error(small, engine):
    path, _ = small
    dataset = xr.open_dataset(path, engine=engine) if engine else cop_zarr.open(path).to_xarray()
    (path / "embedding/c/0/1/2").unlink()
    with pytest.raises(ChunkError, match="embedding/c/0/1/2"):
        dataset.embedding.isel(latitude=8, longitude=16).to_numpy()
    with pytest.raises(ChunkError):
        cop_zarr.open(path).to_xarray(chunks={"latitude": 16}).embedding.mean().compute()
    dataset.embedding.isel(latitude=7, longitude=16).to_numpy()


@pytest.mark.parametrize("chunks", [{}, "auto", {"band": -1, "latitude": 104, "longitude": 88}])
def test_chunks(store, globe, chunks):
    dataset = store.to_xarray(chunks=chunks)
    assert dataset.chunks["latitude"] == dataset.embedding.chunks[1]
    part = dataset.isel(latitude=slice(150, 170), longitude=slice(700, 1000, 3))
    np.testing.assert_array_equal(part.embedding.compute(), globe[:, 150:170, 700:1000:3])
    assert all(size % 8 == 0 for sizes in dataset.embedding.chunks[1:] for size in sizes[:-1])


def test_dask_names_depend_on_the_store(store_path, small):
    paths = [store_path, store_path, small[0]]
    names = [cop_zarr.open(path).to_xarray(chunks="auto").embedding.data.name for path in paths]
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize("chunks", [None, {"latitude": 160, "longitude": 240}])
def test_pickle(store_path, globe, chunks):
    dataset = pickle.loads(pickle.dumps(cop_zarr.open(store_path).to_xarray(chunks=chunks)))
    np.testing.assert_array_equal(dataset.embedding.isel(latitude=3).compute(), globe[:, 3])


def test_memory_is_bounded_by_blocks(store_path, globe):
    dataset = cop_zarr.open(store_path, cache_bytes=0, workers=1).to_xarray(
        chunks={"latitude": 80, "longitude": 80}
    )
    tracemalloc.start()
    with dask.config.set(scheduler="synchronous"):
        found = dataset.embedding.astype("f8").mean(("latitude", "longitude")).compute()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(found, globe.mean(axis=(1, 2), dtype="f8"), rtol=1e-12)
    assert peak < globe.nbytes / 4


def test_the_engine(store_path, globe):
    with xr.open_dataset(store_path, engine="cop-zarr", drop_variables="valid", cache_bytes=0) as dataset:
        assert set(dataset.data_vars) == {"embedding"}
        np.testing.assert_array_equal(
            dataset.embedding.isel(latitude=168, longitude=766), globe[:, 168, 766]
        )
        assert dataset.rio.crs.to_epsg() == 4326
    with xr.open_dataset(str(store_path), engine="cop-zarr", chunks={}) as dataset:
        assert dataset.chunks["latitude"][0] == 8
    with pytest.raises(StoreNotFoundError):
        xr.open_dataset(f"{store_path}.no", engine="cop-zarr")


def test_the_engine_over_a_network(store_path, globe):
    with static_server(store_path.parent) as url:
        dataset = xr.open_dataset(
            f"{url}/{store_path.name}", engine="cop-zarr", storage_options={"block_size": 0}
        )
        np.testing.assert_array_equal(dataset.embedding.isel(latitude=168), globe[:, 168])


def test_the_engine_is_never_guessed(store_path):
    engines = xr.backends.list_engines()
    assert "cop-zarr" in engines
    assert not engines["cop-zarr"].guess_can_open(str(store_path))
    with xr.open_dataset(store_path) as dataset:
        assert "zarr_conventions" in dataset.attrs  # which xarray's own engine shows


@pytest.mark.parametrize("output", ["pooled", "grid"])
@pytest.mark.parametrize("box", [(5, 45, 15, 50), (178, -20, -177, -10)], ids=["plain", "antimeridian"])
def test_an_answer(store, box, output):
    answer = store.query(box, output=output, weights="coverage")
    dataset = answer.to_xarray()
    a, _, c, _, e, f = answer.meta["transform"]
    rows, cols = answer.valid.shape
    np.testing.assert_array_equal(dataset.longitude, c + a * (np.arange(cols) + 0.5))
    np.testing.assert_array_equal(dataset.latitude, f + e * (np.arange(rows) + 0.5))
    assert (np.diff(dataset.longitude) == 0.25).all()
    for name, values in (("embedding", answer.data), ("valid", answer.valid), ("weights", answer.weights)):
        np.testing.assert_array_equal(dataset[name], values)
        assert dataset[name].dtype == values.dtype
    assert dataset.embedding.dims == (
        ("band",) if output == "pooled" else ("band", "latitude", "longitude")
    )
    assert dataset.weights.dims == dataset.valid.dims == ("latitude", "longitude")
    assert dataset.rio.crs.to_epsg() == 4326
    assert dataset.weights.rio.transform() == Affine(*answer.meta["transform"])
    assert (float(dataset.longitude[-1]) > 180) == (box[0] > box[2])
    xr.testing.assert_identical(pickle.loads(pickle.dumps(answer)).to_xarray(), dataset)


TRIANGLE = {"type": "Polygon", "coordinates": [[[5, 45], [7, 45], [6, 47], [5, 45]]]}


def test_attributes_of_an_answer_are_its_metadata(store):
    """Dicts and lists are JSON; what is None is left out."""
    answer = store.query(TRIANGLE)
    attributes = answer.to_xarray().attrs
    assert set(attributes) == {name for name, value in answer.meta.items() if value is not None}
    for name, value in attributes.items():
        expected = answer.meta[name]
        is_json = isinstance(expected, (dict, list)) and isinstance(value, str)
        assert (json.loads(value) if is_json else value) == expected, name


@pytest.mark.parametrize("decode_coords", [True, "all"])
@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_what_xarray_opens_by_itself_becomes_netcdf(store_path, tmp_path, engine, decode_coords):
    pytest.importorskip({"netcdf4": "netCDF4"}.get(engine, engine))
    window = {"latitude": slice(160, 180), "longitude": slice(720, 740)}
    with xr.open_zarr(store_path, decode_coords=decode_coords) as dataset:
        part = dataset.isel(window)
        for name, given in (("all", part), ("one", part.embedding)):
            given.to_netcdf(tmp_path / f"{name}.nc", engine=engine)
            with xr.open_dataset(tmp_path / f"{name}.nc", engine=engine, decode_coords="all") as back:
                np.testing.assert_array_equal(back.embedding, part.embedding)
                np.testing.assert_array_equal(back.latitude, part.latitude)
                assert back.embedding.attrs["proj:code"] == "EPSG:4326"
                assert back.embedding.attrs["spatial:transform"].tolist()[:3] == [0.25, 0, -180.125]
                assert json.loads(back.embedding.attrs["zarr_conventions"])[0]["name"] == "proj"
        with xr.open_dataset(tmp_path / "all.nc", engine=engine) as back:
            assert json.loads(back.attrs["cop_zarr"])["format"] == "cop-zarr"
            np.testing.assert_array_equal(back.valid, part.valid)


@pytest.mark.parametrize("kind", ["pooled", "grid", "part of a store"])
def test_netcdf_and_back(store, dataset, tmp_path, kind):
    if kind == "part of a store":
        given = dataset.sel(latitude=slice(50, 45), longitude=slice(5, 15))
    else:
        given = store.query(TRIANGLE, output=kind).to_xarray()
    given.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf", decode_coords="all") as back:
        xr.testing.assert_equal(back, given)
        assert back.rio.crs.to_epsg() == 4326
        for name, value in given.attrs.items():
            np.testing.assert_array_equal(back.attrs[name], value)


def test_an_answer_becomes_a_geotiff(store, tmp_path):
    answer = store.query((5, 45, 15, 50), output="grid")
    answer.to_xarray().embedding.rio.to_raster(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as tiff:
        assert (tiff.crs.to_epsg(), list(tiff.transform)[:6]) == (4326, answer.meta["transform"])
        np.testing.assert_array_equal(tiff.read(), answer.data)


@pytest.mark.parametrize(
    ("absent", "ask", "named"),
    [
        ("xarray", "store.to_xarray()", "pip install"),
        ("xarray", "store.query((5, 45, 15, 50)).to_xarray()", "pip install"),
        ("dask", "store.to_xarray(chunks={})", "dask[array]"),
    ],
)
def test_what_is_missing_is_named(store_path, absent, ask, named):
    code = f"""
import sys
sys.modules[{absent!r}] = None  # which makes it one that is not installed
import cop_zarr
store = cop_zarr.open({str(store_path)!r})
try:
    {ask}
except cop_zarr.errors.MissingDependencyError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert named in done.stdout, done.stderr
