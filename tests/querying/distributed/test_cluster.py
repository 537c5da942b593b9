"""Queries on a Dask cluster of processes, workers killed midway: the same bits as on one machine."""

import json
import os
import shutil
import signal
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest
import shapely

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
from tests.support.regions import same_bits, same_digits

distributed = pytest.importorskip("distributed")
config = pytest.importorskip("dask").config

SMALL = {"rows": (300, 396), "cols": (572, 732), "blockxsize": 32, "blockysize": 32}
"""15 tiles, 240 chunks of which 36 have no data."""


@contextmanager
def client_of(workers):
    """A client of a cluster of its own, of processes of one thread."""
    with (
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            silence_logs="CRITICAL",
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client():
    with client_of(2) as client:
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


@pytest.mark.parametrize(
    "options",
    [
        {"empty": "skip", "weights": "area"},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"pooling": "std"}, marks=pytest.mark.slow),
    ],
    ids=["area", "mean", "std"],
)
def test_regions_have_the_digits_of_one_machine(store, client, options):
    regions, calls = mixed(1200), []
    options = {**options, "subpixel": "touch"}
    found = store.query_many(regions, **options, client=client, progress=lambda *now: calls.append(now))
    same_digits(found, store.query_many(regions, **options))
    assert calls[-1] == (len(regions), len(regions))
    assert len(calls) >= 4


def test_the_workers_answer_and_are_right(store_path, globe, client, idle):
    rows, cols = np.random.default_rng(3).integers(0, (710, 1420), (1500, 2)).T
    west, north = -180.12 + cols / 4, 90.12 - rows / 4  # 5 by 9 cells, but for a hair on each side
    regions = np.stack([west, north - 1.24, west + 2.24, np.minimum(north, 90)], axis=1)
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
    lon, lat = np.random.default_rng(2).uniform((-180, -90), (360, 90), (30_000, 2)).T.reshape(2, 300, 100)
    lon[0, 5], lat[0, 77] = np.nan, 91
    found = store.sample(lon, lat, **options, on_error="nan", client=client)
    same_bits(found, store.sample(lon, lat, **options, on_error="nan"))


@pytest.mark.slow
def test_a_table_elsewhere_is_filled_in_blocks_from_another_crs(store, client, tmp_path, monkeypatch):
    zarr = pytest.importorskip("zarr")
    monkeypatch.setattr(out_array, "BLOCK_BYTES", 64_000)
    regions = 1e5 * np.array(boxes(2500))
    options = {"crs": "EPSG:3857", "subpixel": "touch"}
    out = zarr.create_array(tmp_path / "out.zarr", shape=(2500, 16), chunks=(500, 16), dtype="f4")
    assert store.query_many(regions, out=out, **options, client=client) is out
    same_digits(out[:], store.query_many(regions, **options))


def test_the_first_bad_region_is_named(store, client):
    regions = boxes(1500)
    regions[700], regions[1400], regions[900] = (0, 0, 0.1, 0.1), (9, 9), (10, 95, 11, 96)
    with pytest.raises(RegionError) as alone:
        store.query_many(regions)
    with pytest.raises(type(alone.value), match="700") as found:
        store.query_many(regions, client=client)
    assert str(found.value) == str(alone.value)
    reported, expected = {}, {}
    found = store.query_many(regions, on_error=reported.__setitem__, client=client)
    same_digits(found, store.query_many(regions, on_error=expected.__setitem__))
    assert sorted(reported) == list(expected) == [700, 900, 1400]
    for number, error in expected.items():
        assert (type(reported[number]), str(reported[number])) == (type(error), str(error))


def test_regions_of_ones_own(store, client):
    """Of a class that workers cannot import."""

    class Own:
        def __init__(self, box, lock=None):
            self.__geo_interface__, self.lock = box.__geo_interface__, lock

    mine = [Own(shapely.box(*box)) for box in boxes(300)]
    found = store.query_many(mine, subpixel="touch", client=client)
    same_digits(found, store.query_many(mine, subpixel="touch"))
    with pytest.raises(InputError, match="pickled"):
        store.query_many([*mine, Own(shapely.box(0, 0, 1, 1), threading.Lock())], client=client)


@pytest.mark.slow
def test_large_regions_are_sent_in_parts(store, client, monkeypatch):
    monkeypatch.setattr(answers, "SENT_BYTES", 20_000)
    regions = [shapely.Point(x, y).buffer(1.0, quad_segs=200) for x, y, *_ in boxes(60)]
    found = store.query_many(regions, client=client)
    same_digits(found, store.query_many(regions))


@pytest.fixture
def movable(tif, tmp_path):
    """A small store that a test may spoil, and regions in it."""
    place = tmp_path / "small.zarr"
    cop_zarr.ingest(tif, place)
    west, south, east, north = cop_zarr.open(place).grid.bounds
    lon, lat = np.random.default_rng(4).uniform((west, south), (east - 1, north - 1), (900, 2)).T
    return place, np.stack([lon, lat, lon + 1, lat + 1], axis=1).tolist()


def cut_a_chunk(place, _):
    victim = place / "embedding/c/0/6/12"
    victim.write_bytes(victim.read_bytes()[:-1])


def replace_it(place, tif):
    shutil.rmtree(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1800000000")
        cop_zarr.ingest(tif, place)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (cut_a_chunk, ChunkError),
        (replace_it, StoreReplacedError),
        (lambda place, _: shutil.rmtree(place), StoreNotFoundError),
    ],
    ids=["damaged", "replaced", "gone"],
)
def test_what_is_wrong_with_a_store_is_raised_as_itself(movable, tif, client, spoil, error):
    place, regions = movable
    store = cop_zarr.open(place)
    spoil(place, tif)
    with pytest.raises(error) as raised:
        store.query_many(regions, client=client)
    assert type(raised.value) is error


def test_a_killed_worker_changes_nothing(store):
    regions, done = mixed(2000), []
    with client_of(2) as client:

        def kill_at_first(number, _):
            if not done:
                os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
            done.append(number)

        found = store.query_many(regions, subpixel="touch", client=client, progress=kill_at_first)
    same_digits(found, store.query_many(regions, subpixel="touch"))
    assert done == sorted(done)
    assert done[-1] == len(regions)
    assert len(done) > 2


class Deadly:
    """What kills each worker that unpickles it."""

    def __reduce__(self):
        return os._exit, (1,)


@pytest.mark.slow
def test_workers_that_die_again_and_again(store):
    with (
        config.set({"distributed.scheduler.allowed-failures": 0}),
        client_of(1) as client,
        pytest.raises(ClusterError),
    ):
        store.query_many([Deadly()], client=client)


def test_a_cluster_that_cannot_be_reached(store, monkeypatch):
    monkeypatch.setattr(clusters, "CONNECT_SECONDS", 0.3)
    with client_of(0) as without_workers, pytest.raises(ClusterError, match="worker"):
        store.query_many(boxes(3), client=without_workers)
    for client, error in (
        ("tcp://127.0.0.1:9", ClusterError), (without_workers, ClusterError),
        ("somewhere", InputError), (5, InputError),
    ):  # fmt: skip
        with pytest.raises(error) as raised:
            store.query_many(boxes(3), client=client)
        assert type(raised.value) is error


def test_another_version_on_the_workers(store, client, monkeypatch):
    monkeypatch.setattr(clusters, "__version__", "0.0.7")
    with pytest.raises(ClusterError, match=r"0\.0\.7"):
        store.query_many(boxes(3), client=client)
    late = client.submit(clusters._run, "0.0.7", len, "x").result()  # of a worker that came later
    assert isinstance(late, ClusterError)


def test_without_distributed(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependencyError, match=r"pip install .*distributed"):
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
