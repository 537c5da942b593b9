"""The metadata of a store: for xarray, rasterio and GeoZarr, provenance, and checksums."""

import hashlib
import json
import shutil
import warnings

import google_crc32c
import numpy as np
import pytest
import rasterio
import rasterio.crs
import xarray
import zarr

import cop_zarr
from cop_zarr.core import product
from tests.support import factory

GRIDS = {
    "to the pole": ((702, 721), (0, 1440)),
    "part": ((300, 337), (580, 633)),
    "0 to 360": ((300, 310), (720, 2160)),
    "antimeridian": ((301, 320), (1425, 1462)),
}


@pytest.fixture(scope="module", params=GRIDS.values(), ids=GRIDS)
def pair(request, tmp_path_factory):
    """A source and its store."""
    rows, cols = request.param
    folder = tmp_path_factory.mktemp("metadata")
    path = factory.write_geotiff(folder / "a.tif", rows=rows, cols=cols, bands=2)
    cop_zarr.ingest(path, folder / "a.zarr")
    return path, folder / "a.zarr"


def test_xarray_opens_a_store_without_a_warning(pair):
    source, store = pair
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = xarray.open_zarr(store, decode_coords="all", chunks=None)
    with rasterio.open(source) as tiff:
        values, placed = tiff.read(), tiff.transform
    assert set(dataset.data_vars) == {"embedding", "valid"}
    assert set(dataset.coords) == {"band", "latitude", "longitude", "spatial_ref"}
    assert dataset.embedding.dims == ("band", "latitude", "longitude")
    assert dataset.embedding.dtype == "float32"
    assert np.array_equal(dataset.embedding, values)
    assert dataset.valid.dims == ("latitude", "longitude")
    assert dataset.valid.dtype == bool
    assert np.array_equal(dataset.valid, values.any(axis=0))
    rows, cols = np.arange(values.shape[1]), np.arange(values.shape[2])
    assert np.array_equal(dataset.longitude, placed.c + 0.25 * (cols + 0.5))
    assert np.array_equal(dataset.latitude, placed.f - 0.25 * (rows + 0.5))
    assert np.array_equal(dataset.band, [0, 1])
    assert dataset.embedding.encoding["grid_mapping"] == "spatial_ref"
    assert dataset.valid.encoding["grid_mapping"] == "spatial_ref"


def test_attributes_of_the_vectors(pair):
    attributes = dict(zarr.open(pair[1], mode="r").attrs)
    assert attributes["geoemb:type"] == "pixel"
    assert attributes["geoemb:dimensions"] == 2
    assert attributes["geoemb:data_type"] == "float32"
    assert attributes["Conventions"].startswith("CF-")
    assert attributes["license"] == "CC-BY-4.0"
    assert "2503.11849" in attributes["references"]
    assert "2021" in attributes["title"]
    assert "SYNTHETIC" not in attributes["title"]


def test_consolidated_metadata_is_that_of_the_arrays(pair):
    _, store = pair
    root = json.loads((store / "zarr.json").read_bytes())
    consolidated = root["consolidated_metadata"]["metadata"]
    files = {path.parent.relative_to(store).as_posix(): path for path in store.rglob("zarr.json")}
    del files["."]
    assert set(files) == set(consolidated)
    for name, path in files.items():
        own = json.loads(path.read_bytes(), parse_constant=pytest.fail)  # NaN and Infinity are not JSON
        own.pop("consolidated_metadata", None)
        consolidated[name].pop("consolidated_metadata", None)
        assert own == consolidated[name], name


def test_codecs_are_those_that_every_reader_knows(pair):
    array = json.loads((pair[1] / "embedding" / "zarr.json").read_bytes())
    assert array["zarr_format"] == 3
    assert array["data_type"] == "float32"
    assert array["fill_value"] == 0.0
    assert array["chunk_grid"]["configuration"]["chunk_shape"] == [2, 8, 8]
    assert array["chunk_key_encoding"]["name"] == "default"
    assert [codec["name"] for codec in array["codecs"]] == ["transpose", "bytes", "blosc"]
    assert array["codecs"][0]["configuration"] == {"order": [2, 1, 0]}
    assert array["codecs"][1]["configuration"] == {"endian": "little"}
    assert array["dimension_names"] == ["band", "latitude", "longitude"]


def test_provenance(pair):
    source, store = pair
    record = json.loads(zarr.open(store, mode="r").attrs["cop_zarr"])
    assert (record["format"], record["version"], record["year"]) == ("cop-zarr", 1, 2021)
    assert record["cop_zarr_version"] == cop_zarr.__version__
    assert record["license"] == product.LICENSE
    assert record["citation"] == product.CITATION
    assert record["source"]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert zarr.open(store, mode="r").attrs["source"] == str(source)
    assert zarr.open(store, mode="r").attrs["history"].startswith(record["created"])


def test_length_and_checksum_of_every_object_are_recorded(pair):
    _, store = pair
    objects = json.loads(zarr.open(store, mode="r").attrs["cop_zarr"])["objects"]
    table = zarr.open(store, mode="r")["integrity/embedding"][:]
    found = {}
    for path in store.rglob("*"):
        key = path.relative_to(store).as_posix()
        if path.is_dir() or key in {"zarr.json", "integrity/root.json"}:
            continue
        checksum = google_crc32c.Checksum(path.read_bytes()).digest()
        record = [path.stat().st_size, int.from_bytes(checksum, "big")]
        if key.startswith("embedding/c/"):
            row, col = map(int, key.split("/")[3:])
            assert table[:, row, col].tolist() == record
            table[:, row, col] = 0
        else:
            found[key] = record
    assert found == objects
    assert not table.any()
    assert (store / "integrity/root.json").read_bytes() == (store / "zarr.json").read_bytes()


def test_root_holds_its_own_digest(pair):
    """Computed as docs/store-format.md says."""
    root = json.loads((pair[1] / "zarr.json").read_bytes())
    root["attributes"]["cop_zarr"] = json.loads(root["attributes"]["cop_zarr"])
    sha256 = root["attributes"]["cop_zarr"].pop("sha256")
    canonical = json.dumps(root, sort_keys=True, separators=(",", ":")).encode()
    assert hashlib.sha256(canonical).hexdigest() == sha256
    assert cop_zarr.open(pair[1]).info()["sha256"] == sha256


def test_the_first_stores_hold_objects_where_later_ones_hold_text(pair, tmp_path):
    """Both are one store: with one identity, read, verified and repaired alike."""
    source, store = pair
    first = shutil.copytree(store, tmp_path / "first.zarr")
    document = json.loads((store / "zarr.json").read_bytes())
    document["attributes"]["cop_zarr"] = json.loads(document["attributes"]["cop_zarr"])
    for key in ("zarr.json", "integrity/root.json"):
        (first / key).write_text(json.dumps(document))
    opened = cop_zarr.open(first)
    assert opened.info()["sha256"] == cop_zarr.open(store).info()["sha256"]
    whole = tuple(opened.grid.bounds)
    np.testing.assert_array_equal(opened.query(whole).data, cop_zarr.open(store).query(whole).data)
    assert cop_zarr.verify(first, source).ok
    (first / "valid/c/0/0").write_bytes(b"")
    assert cop_zarr.repair(first, source).ok
    assert (first / "valid/c/0/0").read_bytes() == (store / "valid/c/0/0").read_bytes()
    assert cop_zarr.verify(first, source).ok
