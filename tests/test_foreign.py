"""Stores of other layouts, held against the values that were written and against our own layout's bits.

The values are random numbers with all their digits, so that a sum in another order has other bits.
"""

from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest
import xarray
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

import cop_zarr
from cop_zarr.errors import ChunkError, InputError, StoreError, StoreNotFoundError
from tests.support import factory
from tests.support.servers import s3_server, static_server

BANDS = 6
ROWS, COLS = (200, 243), (560, 690)
"""43 x 130 cells, neither a multiple of 8: 6 x 17 chunks of ours, of which some hold no data."""

AROUND = (340, 364), (720, 720 + factory.COLS)
"""24 rows all around the globe, from 0 to 360."""

NAMES = ("embedding", "valid", "latitude", "longitude")

pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded, use of fork:DeprecationWarning",
    "ignore:Consolidated metadata:UserWarning",
)


def values(rows, cols) -> np.ndarray:
    """Numbers of all sizes in the cells of which the factory says that they have data."""
    shape = (BANDS, rows[1] - rows[0], cols[1] - cols[0])
    rng = np.random.default_rng(7)
    found = rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4, shape)
    found = np.where((factory.truth(rows, cols, BANDS) != 0).any(axis=0), found, 0).astype("f4")
    found[2, -1, -1] = np.nan
    found[:, 0, 44:46] = [[-0.0, 0.0]] * BANDS  # no data, and yet a bit is set
    return found


def ours(place: Path, rows, cols) -> Path:
    factory.write_geotiff(place / "a.tif", values(rows, cols), rows=rows, cols=cols)
    cop_zarr.ingest(place / "a.tif", place / "ours.zarr")
    return place / "ours.zarr"


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return ours(tmp_path_factory.mktemp("part"), ROWS, COLS)


@pytest.fixture(scope="module")
def around(tmp_path_factory) -> Path:
    return ours(tmp_path_factory.mktemp("around"), *AROUND)


def written(source: Path, target: Path, version: int = 3, change=None, **options) -> Path:
    """Have zarr-python copy a store's arrays, the embedding with other options."""
    read = zarr.open_group(source, mode="r")
    group = zarr.create_group(target, zarr_format=version, attributes={"title": "a copy"})
    for name in NAMES:
        data, dimensions = read[name][...], list(read[name].metadata.dimension_names)
        given = {"chunks": data.shape, "fill_value": 0}
        if name == "embedding":
            given |= options
        if change:
            data, dimensions, given = change(name, data, dimensions, given)
        if data is None:
            continue
        named = {"dimension_names": dimensions} if version == 3 else {}
        attributes = {} if version == 3 else {"_ARRAY_DIMENSIONS": dimensions}
        group.create_array(
            name,
            shape=data.shape,
            dtype=given.pop("dtype", data.dtype),
            attributes=attributes,
            **named,
            **given,
        )[...] = data
    return target


def by_xarray(source: Path, target: Path, version: int = 3, chunks=None) -> Path:
    """Have xarray copy a store; it takes the attributes along, and the chunks and codecs unless told."""
    dataset = xarray.open_zarr(source, consolidated=False, chunks=None)
    encoding = {}
    if chunks or version == 2:
        for name in dataset.variables:
            dataset[name].encoding = {}
        encoding = {"embedding": {"chunks": chunks}} if chunks else {}
    dataset.to_zarr(target, zarr_format=version, encoding=encoding)
    return target


LAYOUTS = {
    "zstd": {"chunks": (BANDS, 8, 8), "compressors": ZstdCodec()},
    "gzip": {"chunks": (BANDS, 16, 32), "compressors": GzipCodec()},
    "crc32c": {"chunks": (BANDS, 16, 16), "compressors": [ZstdCodec(), Crc32cCodec()]},
    "uncompressed": {"chunks": (BANDS, 24, 24), "compressors": None},
    "big endian": {
        "chunks": (BANDS, 8, 40), "serializer": BytesCodec(endian="big"), "compressors": BloscCodec(),
    },
    "sharded": {"chunks": (BANDS, 8, 8), "shards": (BANDS, 32, 32)},
    "sharded oddly": {"chunks": (2, 5, 7), "shards": (6, 20, 21)},
    "transposed and sharded": {
        "chunks": (BANDS, 8, 8), "shards": (BANDS, 16, 64), "filters": TransposeCodec(order=(1, 2, 0)),
    },
    "over bands": {"chunks": (1, 43, 130)},
    "over some bands": {"chunks": (4, 8, 8)},
    "not multiples of 8": {"chunks": (BANDS, 25, 100)},
    "smaller than 8": {"chunks": (3, 3, 5)},
    "one chunk": {"chunks": (BANDS, 43, 130)},
    "larger than the array": {"chunks": (8, 64, 512)},
    "keys with dots": {"chunks": (BANDS, 16, 16), "chunk_key_encoding": {"name": "v2", "separator": "."}},
    "fill value NaN": {"chunks": (BANDS, 16, 16), "fill_value": np.nan},
    "v2": {"version": 2, "chunks": (BANDS, 16, 16)},
    "v2 in Fortran order": {"version": 2, "chunks": (2, 10, 16), "order": "F"},
    "v2 with big-endian numbers": {"version": 2, "chunks": (BANDS, 16, 16), "dtype": ">f4"},
    "v2 with nested keys": {
        "version": 2, "chunks": (BANDS, 16, 16), "chunk_key_encoding": {"name": "v2", "separator": "/"},
    },
}  # fmt: skip

XARRAYS = {
    "xarray's plain copy": {},
    "xarray with other chunks": {"chunks": (BANDS, 20, 50)},
    "xarray v2": {"version": 2},
    "xarray v2 over bands": {"version": 2, "chunks": (1, 16, 16)},
}

BOXES = [(-38, 30, -20, 39), (-30, 31, -29, 32), (-39.9, 29.7, -8, 39.9), (-33.3, 32.2, -25.1, 37.7)]
POLYGON = {"type": "Polygon", "coordinates": [[[-38, 31], [-12, 33], [-22, 39], [-38, 31]]]}

ASKED = [
    {"output": "grid"},
    *({"pooling": pooling} for pooling in ("mean", "max", "min", "std", "sum")),
    {"weights": "area", "pooling": "std"},
    {"weights": "coverage", "empty": "skip"},
]


def expect_the_same(store, same, part, boxes=BOXES, polygon=POLYGON) -> None:
    """The same bits as our own layout has, and those that were written."""
    whole = values(*part)
    assert (store.grid, store.bands) == (same.grid, same.bands)
    np.testing.assert_array_equal(store.valid, (whole != 0).any(axis=0))
    centres = np.meshgrid(store.grid.longitudes % 360, store.grid.latitudes)
    assert store.sample(*centres).tobytes() == np.moveaxis(whole, 0, -1).tobytes()
    for box in boxes:
        for asked in ASKED:
            found, known = store.query(box, **asked), same.query(box, **asked)
            assert found.data.tobytes() == known.data.tobytes(), (box, asked)
            np.testing.assert_array_equal(found.valid, known.valid)
            np.testing.assert_array_equal(found.weights, known.weights)
        grid = store.query(box, output="grid")
        (top, bottom), (left, right) = grid.meta["rows"], grid.meta["cols"]
        cut = np.take(whole[:, top:bottom], range(left, right), axis=2, mode="wrap")
        assert grid.data.tobytes() == cut.tobytes()
        mean = store.query(box, empty="skip").data
        cells = cut[:, (cut != 0).any(axis=0)].astype("f8")
        np.testing.assert_allclose(mean, cells.mean(axis=1), rtol=1e-6, atol=1e-7)
    for empty in ("include", "skip"):
        assert (
            store.query(polygon, empty=empty).data.tobytes()
            == same.query(polygon, empty=empty).data.tobytes()
        )
        rois = [*boxes, polygon, *boxes]
        many = store.query_many(rois, pooling="std", empty=empty)
        assert many.tobytes() == same.query_many(rois, pooling="std", empty=empty).tobytes()
        points = np.random.default_rng(3).uniform(boxes[0][:2], boxes[0][2:], (500, 2)).T
        found = store.sample(*points, method="bilinear", empty=empty)
        assert found.tobytes() == same.sample(*points, method="bilinear", empty=empty).tobytes()


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout(original, tmp_path, name):
    store = cop_zarr.open(written(original, tmp_path / "b.zarr", **LAYOUTS[name]))
    expect_the_same(store, cop_zarr.open(original), (ROWS, COLS))


@pytest.mark.parametrize("name", XARRAYS)
def test_what_xarray_writes(original, tmp_path, name):
    store = cop_zarr.open(by_xarray(original, tmp_path / "b.zarr", **XARRAYS[name]))
    expect_the_same(store, cop_zarr.open(original), (ROWS, COLS))
    info, known = store.info(), cop_zarr.open(original).info()
    assert "no checksums" in info["format"]
    for same in ("source", "created", "created_by", "valid_cells", "shape", "bounds", "array_bytes"):
        assert info[same] == known[same]


@pytest.mark.parametrize("chunks", [(BANDS, 8, 8), (BANDS, 10, 360), (2, 24, 1440)])
def test_all_around_the_globe_from_0_to_360(around, tmp_path, chunks):
    store = cop_zarr.open(written(around, tmp_path / "b.zarr", chunks=chunks))
    assert store.grid.longitudes[[0, -1]].tolist() == [0, 359.75]
    boxes = [(-20, 0, 20, 4), (-180, -0.5, 180, 4.9), (170, 0, 190, 4), (350, 1, 5, 2)]
    polygon = {"type": "Polygon", "coordinates": [[[-9, 0], [12, 0], [2, 4.5], [-9, 0]]]}
    expect_the_same(store, cop_zarr.open(around), AROUND, boxes, polygon)


def test_longitudes_that_xarray_turned(around, tmp_path):
    """From -180 to 180 again: another grid than the original's, and the same cells."""
    dataset = xarray.open_zarr(around, consolidated=False, chunks=None).roll(
        longitude=720, roll_coords=True
    )
    dataset = dataset.assign_coords(longitude=(dataset.longitude + 180) % 360 - 180)
    for name in dataset.variables:
        dataset[name].encoding = {}
    dataset.to_zarr(tmp_path / "b.zarr", zarr_format=3)
    store = cop_zarr.open(tmp_path / "b.zarr")
    assert store.grid.longitudes[[0, -1]].tolist() == [-180, 179.75]
    found = store.query((-20, 0, 20, 4), output="grid").data
    assert found.tobytes() == cop_zarr.open(around).query((-20, 0, 20, 4), output="grid").data.tobytes()


@pytest.mark.parametrize("options", [{"cache_bytes": 0}, {"cache_bytes": 30_000}, {"workers": 1}])
def test_memory_and_workers_change_nothing(original, tmp_path, options, monkeypatch):
    """Even if blocks are far smaller than the store's own chunks, and few chunks may wait."""
    monkeypatch.setattr("cop_zarr.foreign.reader.BLOCK_BYTES", 4 * BANDS * 24 * 24)
    monkeypatch.setattr("cop_zarr.foreign.reader.HELD_BYTES", 4 * BANDS * 64 * 5)
    store = cop_zarr.open(written(original, tmp_path / "b.zarr", chunks=(2, 43, 99)), **options)
    expect_the_same(store, cop_zarr.open(original), (ROWS, COLS))


# What it says of itself


def test_provenance_that_nobody_copied(original, tmp_path):
    store = cop_zarr.open(written(original, tmp_path / "b.zarr", chunks=(BANDS, 16, 16)))
    info = store.info()
    assert (info["source"]["url"], info["source"]["published"], info["created"]) == (
        "unknown",
        False,
        "unknown",
    )
    assert info["chunk_cells"] == [16, 16]
    stored = files(tmp_path / "b.zarr/embedding/c")
    assert info["chunks_stored"] == len(stored)
    assert info["stored_bytes"] == sum(path.stat().st_size for path in stored)
    assert json.loads(json.dumps(info)) == info


@pytest.mark.parametrize("ask", [cop_zarr.verify, lambda store: cop_zarr.repair(store, source="a.tif")])
def test_verify_and_repair_refuse(original, tmp_path, ask, monkeypatch):
    monkeypatch.chdir(original.parent)
    with pytest.raises(StoreError, match=r"no integrity table.*cop-zarr info.*cop-zarr ingest"):
        ask(written(original, tmp_path / "b.zarr", chunks=(BANDS, 16, 16)))


def test_no_disk_cache(original, tmp_path):
    place = written(original, tmp_path / "b.zarr", chunks=(BANDS, 16, 16))
    with pytest.raises(InputError, match="cache_dir needs the checksums"):
        cop_zarr.open(place, cache_dir=tmp_path / "cache")


def test_the_command_line_tells(original, tmp_path):
    place = written(original, tmp_path / "b.zarr", chunks=(BANDS, 16, 16))
    code = "from cop_zarr.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "info", str(place)], capture_output=True, text=True, check=True
    )
    assert "another layout" in done.stdout


# What is wrong with it


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def damaged(place: Path) -> None:
    store = cop_zarr.open(place)
    with pytest.raises(ChunkError, match=r"b\.zarr/embedding \(lat .* is damaged"):
        store.query(BOXES[2])


@pytest.mark.parametrize("fill", [0, np.nan])
@pytest.mark.parametrize("version", [2, 3])
def test_a_missing_chunk(original, tmp_path, version, fill):
    place = written(original, tmp_path / "b.zarr", version, chunks=(3, 16, 16), fill_value=fill)
    for key in ("0.1.4", "1.1.4") if version == 2 else ("c/0/1/4", "c/1/1/4"):
        (place / "embedding" / key).unlink()
    damaged(place)


@pytest.mark.parametrize("name", ["zstd", "gzip", "crc32c", "sharded", "v2"])
def test_a_flipped_or_cut_chunk(original, tmp_path, name):
    """Where a codec can tell, it is an error; what no codec notices cannot be told."""
    place = written(original, tmp_path / "b.zarr", **LAYOUTS[name])
    path = max(files(place / "embedding"), key=lambda path: path.stat().st_size)
    kept = path.read_bytes()
    for data in (kept[: len(kept) // 2], bytes([kept[0] ^ 255]) + kept[1:], b""):
        path.write_bytes(data)
        if not (name == "sharded" and len(data) == len(kept)):
            damaged(place)


def test_a_mask_that_disagrees(original, tmp_path):
    place = written(original, tmp_path / "b.zarr", chunks=(BANDS, 16, 16))
    mask = zarr.open_array(place, path="valid", mode="r+")
    kept = mask[...]
    row, col = np.argwhere(kept)[0]
    mask[row, col] = False
    with pytest.raises(ChunkError, match="has values in cells that valid does not mark"):
        cop_zarr.open(place).query(BOXES[2])
    mask[...] = False
    with pytest.raises(ChunkError, match="marks no cell at all"):
        cop_zarr.open(place).query(BOXES[2], empty="skip")


def otherwise(  # noqa: C901, PLR0911  # one case a fault
    what, name, data, dimensions, given
):
    """What to write of an array instead: data, dimensions, options."""
    match what, name:
        case "dtype", "embedding":
            return data.astype("f8"), dimensions, given
        case "dimensions", "embedding":
            return data, ["time", *dimensions[1:]], given
        case "order", "embedding":
            return (
                data.transpose(1, 2, 0),
                [*dimensions[1:], dimensions[0]],
                {**given, "chunks": (43, 130, 6)},
            )
        case "fill", "embedding":
            return data, dimensions, {**given, "fill_value": 1}
        case "half a cell", "longitude":
            return data + 0.125, dimensions, given
        case "south up", "latitude":
            return data[::-1], dimensions, given
        case "a step", "longitude":
            return data * 2, dimensions, given
        case ("no valid", "valid") | ("no latitude", "latitude"):
            return None, dimensions, given
        case "valid's numbers", "valid":
            return np.where(data, 7, 0).astype("i1"), dimensions, given
        case "valid's shape", "valid":
            return data[1:], dimensions, {**given, "chunks": (42, 130)}
    return data, dimensions, given


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("dtype", "'float64'; float32"),
        ("dimensions", "dimensions .*'time'"),
        ("order", "dimensions .*'latitude', 'longitude', 'band'"),
        ("fill", "fill value 1"),
        ("half a cell", "not on the product's lattice"),
        ("south up", "lattice|centres|do not fit"),
        ("a step", "lattice|centres|do not fit"),
        ("no valid", "no array 'valid'"),
        ("no latitude", "no array 'latitude'"),
        ("valid's numbers", "other values than 0 and 1"),
        ("valid's shape", "its valid has the shape"),
    ],
)
@pytest.mark.parametrize("version", [2, 3])
def test_what_is_no_such_store(original, tmp_path, what, message, version):
    place = written(
        original, tmp_path / "b.zarr", version, partial(otherwise, what), chunks=(BANDS, 16, 16)
    )
    with pytest.raises(StoreError, match=message):
        cop_zarr.open(place).query(BOXES[2])


def edited(place: Path, key: str, change) -> None:
    document = json.loads((place / key).read_bytes())
    change(document)
    (place / key).write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(shape=[BANDS, 10**9, 10**9]), "claims"),
        (lambda d: d.update(shape=[10**6, 43, 130]), "claims"),
        (lambda d: d.update(shape=[BANDS, 43.0, 130]), "no whole numbers"),
        (lambda d: d.update(shape=[BANDS, 0, 130]), "no whole numbers"),
        (lambda d: d["chunk_grid"]["configuration"].update(chunk_shape=[6, 10**6, 10**6]), "bytes each"),
        (lambda d: d["chunk_grid"]["configuration"].update(chunk_shape=[6, 8]), "chunks of"),
        (lambda d: d["chunk_grid"].update(name="rectilinear"), "regular"),
        (lambda d: d["chunk_key_encoding"].update(name="../.."), "chunk keys"),
        (lambda d: d["chunk_key_encoding"].update(configuration={"separator": "../"}), "chunk keys"),
        (lambda d: d["codecs"].append({"name": "numcodecs.pickle"}), "'numcodecs.pickle'"),
        (lambda d: d.update(codecs=["bytes"]), "not as Zarr v3 says"),
        (lambda d: d["codecs"].append({"name": "bytes"}), "cannot open it"),
        (lambda d: d.update(attributes={"scale_factor": 2}), "packed"),
        (lambda d: d.pop("fill_value"), "not as Zarr v3 says"),
    ],
)  # fmt: skip
def test_absurd_claims(original, tmp_path, change, message):
    place = written(original, tmp_path / "b.zarr", chunks=(BANDS, 16, 16))
    edited(place, "embedding/zarr.json", change)
    with pytest.raises(StoreError, match=message):
        cop_zarr.open(place)


@pytest.mark.parametrize("key", ["filters", "compressor"])
def test_pickles_are_not_read(original, tmp_path, key):
    place = written(original, tmp_path / "b.zarr", 2, chunks=(BANDS, 16, 16))
    codec = {"id": "pickle", "protocol": 5}
    edited(place, "embedding/.zarray", lambda d: d.update({key: [codec] if key == "filters" else codec}))
    with pytest.raises(StoreError, match="'pickle', which is not taken from strangers"):
        cop_zarr.open(place)


def test_ours_is_never_taken_for_another(original, tmp_path):
    """Whatever is wrong with its zarr.json, as long as an object of its integrity group is there."""
    for number, left in enumerate(("root.json", "zarr.json", "embedding/c/0/0/0")):
        place = shutil.copytree(original, tmp_path / f"{number}.zarr")
        data = (place / "zarr.json").read_bytes().replace(b'"integrity', b'"integritz')
        for path in files(place / "integrity"):
            if path != place / "integrity" / left:
                path.unlink()
        (place / "zarr.json").write_bytes(data)
        with pytest.raises(StoreError, match="damaged, or was edited"):
            cop_zarr.open(place)


def test_replaced_while_it_is_open(original, tmp_path):
    place = written(original, tmp_path / "b.zarr", chunks=(BANDS, 16, 16))
    store = cop_zarr.open(place)
    shutil.rmtree(place)
    written(original, place, chunks=(1, 43, 130))
    with pytest.raises(StoreError, match="was replaced since it was opened"):
        store.query(BOXES[2])


def test_our_own_layout_needs_no_zarr(original):
    code = (
        "import sys, cop_zarr; store = cop_zarr.open(sys.argv[1]); store.query((-30, 31, -29, 32)); "
        "store.info(); print('zarr' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(original)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


# Elsewhere, and by many


@pytest.mark.parametrize("name", ["sharded", "v2", "over some bands"])
def test_remote_stores(original, tmp_path, name):
    place = written(original, tmp_path / "b.zarr", **LAYOUTS[name])
    same = cop_zarr.open(original)
    memory = fsspec.filesystem("memory")
    memory.put(str(place), f"/{tmp_path.name}/b.zarr", recursive=True)
    with static_server(tmp_path) as web:
        for url in (f"{web}/b.zarr", f"memory://{tmp_path.name}/b.zarr"):
            store = cop_zarr.open(url)
            expect_the_same(store, same, (ROWS, COLS), BOXES[:2])
            assert "no checksums" in store.info()["format"]
        assert cop_zarr.open(f"{web}/b.zarr").info()["chunks_stored"] is None
        with pytest.raises(StoreNotFoundError):
            cop_zarr.open(f"{web}/nothing.zarr")


def test_on_s3(original, tmp_path):
    place = written(original, tmp_path / "b.zarr", **LAYOUTS["gzip"])
    with s3_server() as s3:
        url = s3.place()
        for path in files(place):
            s3.put(f"{url}/{path.relative_to(place)}", path.read_bytes())
        store = cop_zarr.open(url, storage_options=s3.options)
        expect_the_same(store, cop_zarr.open(original), (ROWS, COLS), BOXES[:1])


STORES: list[cop_zarr.Store] = []


def ask(_: int = 0) -> list[bytes]:
    return [store.query(box).data.tobytes() for store in STORES for box in BOXES]


def ask_of(store: cop_zarr.Store) -> list[bytes]:
    return [store.query(box).data.tobytes() for box in BOXES]


@pytest.fixture
def shared(original, tmp_path):
    place = written(original, tmp_path / "b.zarr", **LAYOUTS["sharded"])
    with static_server(tmp_path) as web:
        STORES.extend(cop_zarr.open(url, cache_bytes=0) for url in (place, f"{web}/b.zarr"))
        yield ask_of(cop_zarr.open(original)) * 2
        STORES.clear()


def test_many_threads(shared):
    with ThreadPoolExecutor(8) as pool:
        assert all(found == shared for found in pool.map(ask, range(8)))


def test_forks_while_threads_ask(shared):
    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask) for _ in range(4)]
        with multiprocessing.get_context("fork").Pool(2) as pool:
            asked = [pool.apply_async(ask) for _ in range(2)]
            assert all(each.get(30) == shared for each in asked)
        assert all(each.result(30) == shared for each in asking)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_pickles(shared, method):
    again = pickle.loads(pickle.dumps(STORES[0]))
    assert (again.grid, again.url) == (STORES[0].grid, STORES[0].url)
    with multiprocessing.get_context(method).Pool(2) as pool:
        asked = [pool.apply_async(ask_of, (store,)) for store in STORES]
        assert [found for each in asked for found in each.get(30)] == shared
