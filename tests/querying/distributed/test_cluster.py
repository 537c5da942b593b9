"""Queries on a Dask cluster of processes, workers killed midway: the same bits as on one machine."""

import json
import os
import shutil
import signal
import sys
import threading

import numpy as np
import pytest
import shapely
from pyproj import Transformer

import cop_zarr
from cop_zarr import BBox, PointBuffer
from cop_zarr.cli import main
from cop_zarr.errors import (
    ChunkError,
    ClusterError,
    InputError,
    MissingDependencyError,
    RegionError,
    StoreNotFoundError,
    StoreReplacedError,
)
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.querying import out_array
from cop_zarr.querying.distributed import answers
from cop_zarr.querying.distributed import cluster as clusters
from tests.support import factory
from tests.support.regions import same_bits
from tests.support.servers import s3_server

distributed = pytest.importorskip("distributed")
config = pytest.importorskip("dask").config

SMALL = {"rows": (300, 396), "cols": (572, 732), "blockxsize": 32, "blockysize": 32}
"""15 tiles, 240 chunks of which 36 have no data."""


def cluster_of(workers=2, **options):
    return distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address="127.0.0.1:0",
        silence_logs="CRITICAL",
        **options,
    )


@pytest.fixture(scope="module")
def client():
    with cluster_of() as cluster, distributed.Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture(scope="module")
def s3():
    with s3_server() as server:
        yield server


@pytest.fixture
def mortal():
    """A cluster of this test alone, whose workers may be killed."""
    with cluster_of() as cluster, distributed.Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture(scope="module")
def tif(tmp_path_factory):
    return factory.write_geotiff(tmp_path_factory.mktemp("dask") / "small.tif", **SMALL)


@pytest.fixture
def idle(monkeypatch):
    """Have this process decode nothing: only workers can."""

    def refuse(*_, **__):
        raise AssertionError("the driver does the work itself")

    monkeypatch.setattr(ChunkReader, "_decode", refuse)


def boxes(count, seed=1):
    rng = np.random.default_rng(seed)
    west, south = rng.uniform(-179, 177, count), rng.uniform(-80, 85, count)
    size = rng.uniform(0.3, 2, (2, count))
    return np.stack([west, south, west + size[0], south + size[1]], axis=1).tolist()


def mixed(count):
    """Regions of every kind, some over the antimeridian and all around a pole."""
    regions = boxes(count)
    regions[::7] = [shapely.Point(x, y).buffer(1.0) for x, y, *_ in regions[::7]]
    regions[1::7] = [BBox(*box) for box in regions[1::7]]
    regions[2::7] = [PointBuffer(x, y, 60_000) for x, y, *_ in regions[2::7]]
    regions[3::7] = [shapely.box(*box).__geo_interface__ for box in regions[3::7]]
    return [*regions, (178, 0, -178, 3), (-180, 85, 180, 90)]


def kill_one(client):
    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)


class Killing:
    """Progress that kills a worker when some of the work is done."""

    def __init__(self, client):
        self.client, self.done = client, []

    def __call__(self, done, _):
        if not self.done:
            kill_one(self.client)
        self.done.append(done)


@pytest.mark.parametrize(
    "options",
    [
        {"empty": "skip", "weights": "area"},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"pooling": "std"}, marks=pytest.mark.slow),
    ],
    ids=["area", "mean", "std"],
)
def test_regions_have_the_bits_of_one_machine(store, client, options):
    regions, calls = mixed(1200), []
    options = {**options, "subpixel": "touch"}
    found = store.query_many(regions, **options, client=client, progress=lambda *now: calls.append(now))
    same_bits(found, store.query_many(regions, **options))
    assert calls[-1] == (len(regions), len(regions))
    assert len(calls) >= 4


def test_the_workers_answer_and_are_right(store_path, globe, client, idle):
    rng = np.random.default_rng(3)
    rows, cols = rng.integers(0, 710, 1500), rng.integers(0, 1420, 1500)
    regions = [  # cell edges lie at 90.125 - row / 4, and a shrunk box touches exactly these cells
        (
            -180.125 + col / 4 + 0.13,
            90.125 - (row + 5) / 4 + 0.01,
            -180.125 + (col + 9) / 4 - 0.01,
            89.99 - row / 4,
        )
        for row, col in zip(rows.tolist(), cols.tolist(), strict=True)
    ]
    found = cop_zarr.open(store_path).query_many(regions, client=client)
    for number in range(0, 1500, 50):
        row, col = rows[number], cols[number]
        expected = globe[:, row : row + 5, col : col + 9].mean(axis=(1, 2), dtype="f8")
        np.testing.assert_allclose(found[number], expected, rtol=1e-6)
    opened = client.run(lambda: answers.unpickle_reader.cache_info().currsize)
    assert list(opened.values()) == [1, 1]
    found = cop_zarr.open(store_path).sample(-180 + cols / 4, 90 - rows / 4, client=client)
    assert np.array_equal(found, globe[:, rows, cols].T)


@pytest.mark.parametrize(
    "options", [{}, {"method": "bilinear", "empty": "skip"}], ids=["nearest", "bilinear"]
)
def test_points_have_the_bits_of_one_machine(store, client, options):
    rng = np.random.default_rng(2)
    lon, lat = rng.uniform(-180, 360, 30_000), rng.uniform(-90, 90, 30_000)
    lon[5], lat[77] = np.nan, 91
    found = store.sample(lon, lat, **options, on_error="nan", client=client)
    same_bits(found, store.sample(lon, lat, **options, on_error="nan"))
    grid = store.sample(lon[100:200].reshape(4, 25), lat[100:200].reshape(4, 25), **options, client=client)
    same_bits(grid.reshape(100, -1), found[100:200])


@pytest.mark.slow
def test_a_table_elsewhere_is_filled_in_blocks(store, client, tmp_path, monkeypatch):
    zarr = pytest.importorskip("zarr")
    monkeypatch.setattr(out_array, "BLOCK_BYTES", 64_000)
    regions = boxes(2500)
    out = zarr.create_array(tmp_path / "out.zarr", shape=(2500, 16), chunks=(500, 16), dtype="f4")
    assert store.query_many(regions, out=out, subpixel="touch", client=client) is out
    assert np.array_equal(out[:], store.query_many(regions, subpixel="touch"))


@pytest.mark.slow
def test_regions_in_another_crs(store, client):
    west, south, east, north = np.array(boxes(600)).clip(-79, 79).T
    there = Transformer.from_crs(4326, 3857, always_xy=True)
    regions = np.stack([*there.transform(west, south), *there.transform(east + 1, north + 1)], axis=1)
    found = store.query_many(regions, crs="EPSG:3857", client=client)
    same_bits(found, store.query_many(regions, crs="EPSG:3857"))


def test_the_first_bad_region_is_named(store, client):
    regions = boxes(1500)
    regions[700], regions[1400], regions[900] = (0, 0, 0.1, 0.1), (9, 9), (10, 95, 11, 96)
    with pytest.raises(RegionError) as alone:
        store.query_many(regions)
    with pytest.raises(type(alone.value), match="region 700") as found:
        store.query_many(regions, client=client)
    assert str(found.value) == str(alone.value)
    found = store.query_many(regions, on_error="nan", client=client)
    assert np.flatnonzero(np.isnan(found[:, 0])).tolist() == [700, 900, 1400]
    same_bits(found, store.query_many(regions, on_error="nan"))
    reported = {}
    store.query_many(regions, on_error=reported.__setitem__, client=client)
    expected = {}
    store.query_many(regions, on_error=expected.__setitem__)
    assert sorted(reported) == list(expected) == [700, 900, 1400]
    for number, error in expected.items():
        assert (type(reported[number]), str(reported[number])) == (type(error), str(error))


class Own:
    """A class of the caller's, which lies in no module that workers have."""

    def __init__(self, geometry):
        self.__geo_interface__ = geometry


def test_regions_of_ones_own(store, client):
    script = {}
    code = "class Mine:\n    def __init__(self, box): self.box = box\n"
    code += "    @property\n    def __geo_interface__(self): return self.box.__geo_interface__\n"
    exec(code, {"__name__": "__main__"}, script)
    mine = [script["Mine"](shapely.box(*box)) for box in boxes(300)]
    found = store.query_many(mine, subpixel="touch", client=client)
    same_bits(found, store.query_many(mine, subpixel="touch"))
    with pytest.raises(InputError, match="pickled"):
        store.query_many([*mine, Own({"type": "Point", "lock": threading.Lock()})], client=client)


@pytest.mark.slow
def test_large_regions_are_sent_in_parts(store, client, monkeypatch):
    monkeypatch.setattr(answers, "SENT_BYTES", 20_000)
    regions = [shapely.Point(x, y).buffer(1.0, quad_segs=200) for x, y, *_ in boxes(60)]
    found = store.query_many(regions, client=client)
    same_bits(found, store.query_many(regions))


@pytest.fixture
def movable(tif, tmp_path):
    """A small store that a test may spoil, and regions in it."""
    place = tmp_path / "small.zarr"
    cop_zarr.ingest(tif, place)
    west, south, east, north = cop_zarr.open(place).grid.bounds
    lon, lat = np.random.default_rng(4).uniform((west, south), (east - 1, north - 1), (900, 2)).T
    return place, np.stack([lon, lat, lon + 1, lat + 1], axis=1).tolist()


def test_damage_reaches_the_caller_as_itself(movable, client):
    place, regions = movable
    store = cop_zarr.open(place)
    victim = place / "embedding/c/0/6/12"
    victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.raises(ChunkError, match="c/0/6/12"):
        store.query_many(regions, client=client)


def test_a_store_that_was_replaced(movable, tif, client, tmp_path, monkeypatch):
    place, regions = movable
    store = cop_zarr.open(place)
    shutil.rmtree(place)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1800000000")
    cop_zarr.ingest(tif, place)
    with pytest.raises(StoreReplacedError, match="worker"):
        store.query_many(regions, client=client)


def test_a_store_that_workers_do_not_see(movable, client):
    place, regions = movable
    store = cop_zarr.open(place)
    place.rename(place.with_name("gone.zarr"))
    with pytest.raises(StoreNotFoundError, match="worker"):
        store.query_many(regions, client=client)


@pytest.mark.slow
def test_a_relative_path_is_the_same_place_for_workers(store_path, client, tmp_path, monkeypatch):
    (tmp_path / "link.zarr").symlink_to(store_path)
    monkeypatch.chdir(tmp_path)
    store = cop_zarr.open("link.zarr")
    assert store.query_many([(0, 0, 1, 1)], client=client).shape == (1, 16)


def test_a_killed_worker_changes_nothing(store, mortal):
    regions, killing = mixed(2000), Killing(mortal)
    found = store.query_many(regions, subpixel="touch", client=mortal, progress=killing)
    same_bits(found, store.query_many(regions, subpixel="touch"))
    assert killing.done == sorted(killing.done)
    assert killing.done[-1] == len(regions)
    assert len(killing.done) > 2


class Deadly:
    """What kills each worker that unpickles it."""

    def __reduce__(self):
        return os._exit, (1,)


@pytest.mark.slow
def test_workers_that_die_again_and_again(store):
    with (
        config.set({"distributed.scheduler.allowed-failures": 0}),
        cluster_of(1) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        pytest.raises(ClusterError),
    ):
        store.query_many([Deadly()], client=client)


def test_a_cluster_that_cannot_be_reached(store, monkeypatch):
    monkeypatch.setattr(clusters, "CONNECT_SECONDS", 0.3)
    with pytest.raises(ClusterError, match=r"tcp://127\.0\.0\.1:9"):
        store.query_many(boxes(3), client="tcp://127.0.0.1:9")
    with pytest.raises(InputError, match="address"):
        store.query_many(boxes(3), client="somewhere")
    with pytest.raises(InputError, match="got 5"):
        store.sample([1], [2], client=5)
    with (
        cluster_of(0) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        pytest.raises(ClusterError, match="no worker"),
    ):
        store.query_many(boxes(3), client=client)
    with pytest.raises(ClusterError, match="not connected"):
        store.query_many(boxes(3), client=client)


def test_another_version_on_the_workers(store, client, monkeypatch):
    monkeypatch.setattr(clusters, "__version__", "0.0.7")
    with pytest.raises(ClusterError, match=r"0\.0\.7"):
        store.query_many(boxes(3), client=client)
    late = client.submit(clusters._run, "0.0.7", len, "x").result()  # of a worker that came later
    assert isinstance(late, ClusterError)


def test_without_distributed(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'cop-zarr\[dask\]'"):
        store.query_many(boxes(3), client="tcp://127.0.0.1:9")


@pytest.mark.slow
def test_a_batch_by_the_command_line_from_s3(tif, s3, client, tmp_path, idle):
    url, table, out = s3.place(), tmp_path / "boxes.csv", tmp_path / "boxes.npy"
    cop_zarr.ingest(tif, url, storage_options=s3.options)
    table.write_text("west,south,east,north\n-35,5,-30,12.5\n-20,0,-15,2.5\n")
    asked = ["batch", url, str(table), "--to", str(out), "--scheduler", client.scheduler.address]
    with pytest.raises(SystemExit) as ended:
        main([*asked, "--storage-options", json.dumps(s3.options)])
    assert not ended.value.code
    # row 310 is 12.5 N, column 580 is 35 W
    windows = [np.s_[:, 310:341, 580:601], np.s_[:, 350:361, 640:661]]
    expected = [factory.truth()[window].mean(axis=(1, 2), dtype="f8") for window in windows]
    np.testing.assert_allclose(np.load(out), expected, rtol=1e-6)
