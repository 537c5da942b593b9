"""Other libraries open a store as it is, and read the source's values bit for bit.

Each reader is a function of a store's path and of windows, without any code of this package. The result is
compared with the numbers that GDAL wrote into the source.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import rasterio
import rasterio.windows
import rioxarray
import tensorstore
import xarray
import zarr
import zarr_cm.proj
import zarr_cm.spatial
from affine import Affine
from packaging.version import Version

import cop_zarr
from tests.support import factory

HERE = Path(__file__).parents[1] / "support"
NODE = HERE / "node"

WINDOWS = {
    "one number": ((15, 16), (168, 169), (766, 767)),
    "east of the seam": ((0, 16), (300, 330), (0, 9)),
    "west of the seam": ((0, 16), (300, 330), (1431, 1440)),
    "across chunk edges": ((0, 16), (165, 179), (755, 771)),
    "many chunks": ((0, 16), (100, 260), (600, 900)),
    "an empty chunk": ((0, 16), (160, 168), (304, 312)),
    "the north pole": ((0, 16), (0, 3), (1000, 1100)),
    "the last corner": ((0, 16), (720, 721), (1439, 1440)),
    "the last band": ((15, 16), (0, 721), (700, 740)),
}
"""Of the whole globe: [first, stop) of bands, rows and columns."""

ROWS, COLS, BANDS = (290, 309), (1428, 1451), 768
PART_WINDOWS = {
    "all": ((0, 768), (0, 19), (0, 23)),
    "the seam": ((0, 768), (3, 5), (11, 13)),
    "bands": ((500, 510), (0, 19), (0, 23)),
}
"""Of a part with as many bands as the product, across the antimeridian."""


def cut(values, window):
    return values[tuple(slice(*limits) for limits in window)]


def by_zarr_python(path, windows):
    array = zarr.open_group(path, mode="r")["embedding"]
    return [cut(array, window) for window in windows]


def by_xarray(path, windows):
    with xarray.open_zarr(path, chunks=None) as dataset:
        return [cut(dataset.embedding, window).to_numpy() for window in windows]


def by_tensorstore(path, windows):
    place = {"driver": "file", "path": str(path / "embedding")}
    array = tensorstore.open({"driver": "zarr3", "kvstore": place}, read=True).result()
    return [cut(array, window).read().result() for window in windows]


def by_zarrs(path, windows):
    zarrs = pytest.importorskip("zarrs")
    assert zarrs.ZarrsCodecPipeline
    with zarr.config.set(
        {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline", "codec_pipeline.strict": True}
    ):
        return by_zarr_python(path, windows)


def by_gdal(path, windows):
    with open_by_gdal(path) as raster:
        return [
            raster.read(range(first + 1, stop + 1), window=rasterio.windows.Window.from_slices(rows, cols))
            for (first, stop), rows, cols in windows
        ]


def open_by_gdal(path, name="embedding"):
    if Version(rasterio.__gdal_version__) < Version("3.12"):
        pytest.skip(f"GDAL {rasterio.__gdal_version__} does not know the codec 'bytes' of Zarr v3")
    return rasterio.open(f'ZARR:"{path}":/{name}')


def by_zarrita(path, windows):
    values, _ = ask_node(path, windows)
    return values


def ask_node(path, windows):
    """The values of windows, and what zarrita.js finds in the store."""
    if shutil.which("node") is None or not (NODE / "node_modules" / "zarrita").exists():
        pytest.skip("needs Node, and in tests/support/node: npm ci")
    out = path.parent / "windows.bin"
    done = subprocess.run(
        ["node", NODE / "read.mjs", path, out],
        input=json.dumps(windows),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shapes = [[stop - first for first, stop in window] for window in windows]
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    parts = np.split(np.fromfile(out, "<f4"), ends[:-1])
    out.unlink()
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)], json.loads(done.stdout)


READERS = {
    "zarr-python": by_zarr_python,
    "xarray": by_xarray,
    "TensorStore": by_tensorstore,
    "zarrs": by_zarrs,
    "GDAL": by_gdal,
    "zarrita.js": by_zarrita,
}


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    """A store of 768 bands; its GeoTIFF lies beside it."""
    folder = tmp_path_factory.mktemp("part")
    source = factory.write_geotiff(folder / "a.tif", rows=ROWS, cols=COLS, bands=BANDS)
    cop_zarr.ingest(source, folder / "a.zarr")
    return folder / "a.zarr"


SHARD_READERS = {name: reader for name, reader in READERS.items() if name != "GDAL"}
SHARD_WINDOWS = {
    "all": ((0, 16), (0, 137), (0, 153)),
    "one number": ((15, 16), (70, 71), (80, 81)),
    "across shard edges": ((0, 16), (60, 70), (120, 140)),
    "the last corner": ((3, 9), (136, 137), (152, 153)),
}
"""Of a part of 3 x 3 shards, none of them full at the edges, and some without data."""


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """A sharded store of 16 bands."""
    folder = tmp_path_factory.mktemp("sharded")
    source = factory.write_geotiff(folder / "a.tif", rows=(300, 437), cols=(565, 718))
    cop_zarr.ingest(source, folder / "a.zarr", shards=True)
    return folder / "a.zarr"


@pytest.mark.parametrize("reader", SHARD_READERS.values(), ids=SHARD_READERS)
def test_every_reader_gives_the_same_bits_of_shards(reader, sharded):
    truth = factory.truth((300, 437), (565, 718))
    for (name, window), found in zip(
        SHARD_WINDOWS.items(), reader(sharded, list(SHARD_WINDOWS.values())), strict=True
    ):
        assert np.asarray(found).tobytes() == cut(truth, window).tobytes(), name


def test_gdal_reads_shards_or_refuses_them(sharded):
    """It knows the codec from 3.13 on."""
    if Version(rasterio.__gdal_version__) < Version("3.13"):
        with pytest.raises(rasterio.errors.RasterioError), open_by_gdal(sharded) as raster:
            raster.read()
        return
    (found,) = by_gdal(sharded, [SHARD_WINDOWS["all"]])
    assert found.tobytes() == factory.truth((300, 437), (565, 718)).tobytes()


def quantised(values):
    """As docs/store-format.md says: int8 ``(bands, rows, cols)``, float32 ``(rows, cols)``."""
    largest = np.abs(values).max(axis=0).astype("f8")
    numbers = values.astype("f8") * 127 / np.where(largest > 0, largest, 1)
    return np.rint(numbers).astype("i1"), (largest / 127).astype("f4")


@pytest.fixture(scope="module", params=["float16", "int8"])
def encoded(request, tmp_path_factory):
    """A store of another encoding than float32, and its numbers."""
    folder = tmp_path_factory.mktemp(request.param)
    source = factory.write_geotiff(folder / "a.tif", rows=(300, 437), cols=(565, 718))
    cop_zarr.ingest(source, folder / "a.zarr", encoding=request.param)
    truth = factory.truth((300, 437), (565, 718))
    return folder / "a.zarr", truth.astype("f2") if request.param == "float16" else quantised(truth)[0]


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_every_reader_gives_the_numbers_of_an_encoding(reader, encoded):
    path, stored = encoded
    if reader is by_zarrita and stored.dtype == "f2":
        with pytest.raises(
            AssertionError, match="dataType: float16"
        ):  # JavaScript has Float16Array since 2025
            reader(path, list(SHARD_WINDOWS.values()))
        return
    found = reader(path, list(SHARD_WINDOWS.values()))
    for (name, window), values in zip(SHARD_WINDOWS.items(), found, strict=True):
        # zarrita's are made float32 by the script
        assert np.asarray(values).astype("f4").tobytes() == cut(stored, window).astype("f4").tobytes(), name
    if reader in {by_zarr_python, by_xarray, by_tensorstore, by_gdal}:
        assert np.asarray(found[0]).dtype == stored.dtype


def test_what_xarray_multiplies_is_the_answer(encoded):
    path, stored = encoded
    with xarray.open_zarr(path, decode_coords="all", chunks=None) as dataset:
        vectors = dataset.embedding * dataset.scale if stored.dtype == "i1" else dataset.embedding
        assert vectors.dims == ("band", "latitude", "longitude")
        assert vectors.rio.crs.to_epsg() == 4326
        decoded = cop_zarr.open(path).to_xarray().embedding
        assert vectors.to_numpy().astype("f4").tobytes() == decoded.to_numpy().tobytes()


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_every_reader_gives_the_same_bits(reader, store_path, globe, part):
    for path, truth, windows in (
        (store_path, globe, WINDOWS),
        (part, factory.truth(ROWS, COLS, BANDS), PART_WINDOWS),
    ):
        for (name, window), found in zip(
            windows.items(), reader(path, list(windows.values())), strict=True
        ):
            values, expected = np.asarray(found), cut(truth, window)
            assert values.dtype == np.float32
            assert values.shape == expected.shape
            assert values.tobytes() == expected.tobytes(), name
            assert expected.any() == (name != "an empty chunk"), name


def test_gdal_sees_a_georeferenced_raster(part):
    with rasterio.open(part.parent / "a.tif") as source, open_by_gdal(part) as raster:
        assert raster.driver == "Zarr"
        for name in ("count", "shape", "dtypes", "crs", "transform", "bounds"):
            assert getattr(raster, name) == getattr(source, name), name
        np.testing.assert_array_equal(raster.read(), source.read())
    with open_by_gdal(part, "valid") as raster:
        assert raster.crs.to_epsg() == 4326
        assert raster.transform == factory.transform(ROWS[0], COLS[0])
        np.testing.assert_array_equal(raster.read(1), factory.truth(ROWS, COLS, BANDS).any(axis=0))


# What xarray and rioxarray find


@pytest.mark.parametrize("decode_coords", [True, "all"])
def test_rioxarray_finds_the_georeferencing(store_path, decode_coords):
    if decode_coords is True and Version(rioxarray.__version__) < Version("0.22"):
        pytest.skip(f"rioxarray {rioxarray.__version__} does not know the GeoZarr conventions")
    with xarray.open_zarr(store_path, chunks=None, decode_coords=decode_coords) as dataset:
        for found in (dataset, dataset.embedding, dataset.valid):
            assert found.rio.crs.to_epsg() == 4326
            assert found.rio.bounds() == (-180.125, -90.125, 179.875, 90.125)
            assert found.rio.transform() == Affine(0.25, 0, -180.125, 0, -0.25, 90.125)


# What zarrita.js finds


def test_zarrita_finds_the_tree_the_attributes_and_the_mask(part):
    _, found = ask_node(part, list(PART_WINDOWS.values()))
    root = zarr.open_group(part, mode="r")
    assert found["dimensions"] == ["band", "latitude", "longitude"]
    assert set(found["names"]) == {"/"} | {f"/{name}" for name, _ in root.members(max_depth=None)}
    assert found["attributes"] == dict(root.attrs)
    valid = factory.truth(ROWS, COLS, BANDS).any(axis=0)
    for window, mask in zip(PART_WINDOWS.values(), found["masks"], strict=True):
        np.testing.assert_array_equal(np.array(mask, bool), cut(valid, window[1:]).ravel())


# The conventions' own schemas

SCHEMAS = {
    name: json.loads((HERE / "schemas" / f"{name}-v0.1.json").read_text()) for name in ("proj", "spatial")
}
NODES = ["zarr.json", "embedding/zarr.json", "valid/zarr.json"]


def declared(path):
    """A node's document, whose conventions are declared by objects, as its JSON text has them."""
    document = json.loads(path.read_bytes())
    attributes = document["attributes"]
    attributes["zarr_conventions"] = json.loads(attributes["zarr_conventions"])
    return document


def without_comments(schema):
    """A schema whose ``$ref`` stands beside other keywords: in draft 7 it would silence them."""
    attributes = schema["properties"]["attributes"]
    merged = {**attributes, "allOf": [{"$ref": attributes["$ref"]}]}
    del merged["$ref"]
    return {**schema, "properties": {**schema["properties"], "attributes": merged}}


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("name", SCHEMAS)
def test_published_schemas(part, node, name):
    document = declared(part / node)
    jsonschema.Draft7Validator(SCHEMAS[name]).validate(document)
    strict = jsonschema.Draft7Validator(without_comments(SCHEMAS[name]))
    strict.validate(document)
    document["attributes"]["zarr_conventions"] = [
        entry for entry in document["attributes"]["zarr_conventions"] if entry["name"] != name
    ]
    assert not strict.is_valid(document)  # the release is declared as it is


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("convention", [zarr_cm.proj, zarr_cm.spatial], ids=["proj", "spatial"])
def test_library_of_the_conventions(part, node, convention):
    document = declared(part / node)
    assert convention.detect(document["attributes"]) == convention.LATEST
    convention.validate_node_metadata(document)
    assert convention.CMO in document["attributes"]["zarr_conventions"]
    _, found = convention.extract(document["attributes"])
    assert found.items() <= document["attributes"].items()


GEOEMB = json.loads((HERE / "schemas" / "geoemb-v1.json").read_text())


def test_embedding_convention_of_encodings(encoded):
    path, stored = encoded
    attributes = declared(path / "zarr.json")["attributes"]
    if stored.dtype == "i1":
        attributes["geoemb:quantization"] = json.loads(attributes["geoemb:quantization"])
    assert attributes["geoemb:data_type"] == stored.dtype.name
    assert ("geoemb:quantization" in attributes) == (stored.dtype == "i1")
    jsonschema.Draft202012Validator(GEOEMB).validate(attributes)


def test_embedding_convention(part):
    document = declared(part / "zarr.json")
    jsonschema.Draft202012Validator(GEOEMB).validate(document["attributes"])
    assert "geoemb:quantization" not in document["attributes"]
    for node in NODES[1:]:  # the convention is for the group alone
        assert "geoemb:" not in (part / node).read_text()
