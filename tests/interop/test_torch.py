"""Datasets under real DataLoaders: every vector is held against what the source's values say."""

from __future__ import annotations

import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import (  # noqa: E402  # only where there is torch
    BatchSampler,
    ConcatDataset,
    DataLoader,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)

import cop_zarr  # noqa: E402
from cop_zarr.errors import ChunkError, InputError, RegionError, SubcellError  # noqa: E402
from cop_zarr.interop.torch import PointDataset, RegionDataset  # noqa: E402
from tests.support import factory  # noqa: E402
from tests.support.folders import WatchedFolder, open_in  # noqa: E402
from tests.support.servers import s3_server, static_process  # noqa: E402

pytestmark = [
    # what Python 3.12 says of every fork beside threads; that it goes well is what is tested here
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"),
    # what torch says on a machine with one processor
    pytest.mark.filterwarnings("ignore:This DataLoader will create .* worker processes:UserWarning"),
]

SECONDS = 60
"""A worker that has not answered by then hangs."""

METHODS = ["fork", "spawn", "forkserver"]
KINDS = ["disk", "http", "s3"]
COUNT = 70

RNG = np.random.default_rng(4)
ROWS, COLS = RNG.integers(200, 232, COUNT), RNG.integers(580, 640, COUNT)
LON, LAT = (
    -180 + 0.25 * COLS + RNG.uniform(-0.1, 0.1, COUNT),
    90 - 0.25 * ROWS + RNG.uniform(-0.1, 0.1, COUNT),
)


@pytest.fixture(scope="module")
def vectors(globe) -> np.ndarray:
    """What the points' cells hold: float32, (COUNT, 16)."""
    return globe[:, ROWS, COLS].T


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> Iterator[dict[str, tuple[str, dict[str, Any]]]]:
    """A part of the globe on a disk and behind two servers: where, and the options to open it."""
    site = tmp_path_factory.mktemp("site")
    tif = factory.write_geotiff(site / "a.tif", rows=(200, 232), cols=(580, 640))
    cop_zarr.ingest(tif, site / "a.zarr")
    with static_process(site) as web, s3_server() as s3:
        url = s3.place()
        cop_zarr.ingest(tif, url, storage_options=s3.options)
        yield {"disk": (str(site / "a.zarr"), {}), "http": (f"{web}/a.zarr", {}), "s3": (url, s3.options)}


def opened(places, kind, **options) -> cop_zarr.Store:
    url, storage_options = places[kind]
    return cop_zarr.open(url, storage_options=storage_options, **options)


def boxes_and_means(globe) -> tuple[list[tuple[float, ...]], np.ndarray]:
    """Boxes on cell centres, each of 3 x 4 cells, and the float64 means of those."""
    rows, cols = np.minimum(ROWS, 229), np.minimum(COLS, 636)
    boxes = [
        (-180 + 0.25 * col, 90 - 0.25 * (row + 2), -180 + 0.25 * (col + 3), 90 - 0.25 * row)
        for row, col in zip(rows.tolist(), cols.tolist(), strict=True)
    ]
    cells = [
        globe[:, row : row + 3, col : col + 4].astype("f8") for row, col in zip(rows, cols, strict=True)
    ]
    return boxes, np.array([block.mean(axis=(1, 2)) for block in cells])


# Real loaders


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", [None, *METHODS])
def test_points_under_a_loader(places, vectors, kind, method):
    """Two epochs, shuffled; the store has been used before the workers begin."""
    store = opened(places, kind)
    store.sample(LON[:20], LAT[:20])
    dataset = PointDataset(store, LON, LAT, labels=np.arange(COUNT))
    loader = DataLoader(
        dataset,
        batch_size=16,
        shuffle=True,
        generator=torch.Generator().manual_seed(7),
        num_workers=2 if method else 0,
        multiprocessing_context=method,
        persistent_workers=method is not None,
        timeout=SECONDS if method else 0,
    )
    orders = []
    for _ in range(2):
        batches = list(loader)
        assert [len(labels) for _, labels in batches] == [16, 16, 16, 16, 6]
        orders.append(torch.cat([labels for _, labels in batches]).numpy())
        found = torch.cat([batch for batch, _ in batches])
        assert found.dtype == torch.float32
        np.testing.assert_array_equal(found.numpy(), vectors[orders[-1]])
    assert sorted(orders[0]) == list(range(COUNT))
    assert not np.array_equal(*orders)
    np.testing.assert_array_equal(store.sample(LON, LAT), vectors)  # the parent's still works


@pytest.mark.parametrize(
    ("kind", "method"), [("disk", None), ("disk", "forkserver"), ("http", "fork"), ("s3", "spawn")]
)
def test_regions_under_a_loader(places, globe, kind, method):
    boxes, means = boxes_and_means(globe)
    store = opened(places, kind, cache_bytes=0)
    loader = DataLoader(
        RegionDataset(store, boxes),
        batch_size=16,
        num_workers=2 if method else 0,
        multiprocessing_context=method,
        timeout=SECONDS if method else 0,
    )
    found = torch.cat(list(loader)).numpy()
    np.testing.assert_allclose(found, means, rtol=1e-7)
    np.testing.assert_array_equal(found, store.query_many(boxes))
    np.testing.assert_array_equal(found, [store.query(box).data for box in boxes])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_seed_gives_the_epochs_that_tensors_in_memory_would(store_path, vectors, workers):
    def epochs(dataset) -> np.ndarray:
        loader = DataLoader(
            dataset,
            batch_size=8,
            shuffle=True,
            generator=torch.Generator().manual_seed(1),
            num_workers=workers,
            multiprocessing_context="fork" if workers else None,
        )
        return np.array([torch.cat([batch for batch, _ in loader]) for _ in range(2)])

    labels = torch.arange(COUNT)
    np.testing.assert_array_equal(
        epochs(PointDataset(store_path, LON, LAT, labels=labels)),
        epochs(TensorDataset(torch.tensor(vectors), labels)),
    )


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "of",
    [
        lambda dataset: {"dataset": Subset(dataset, [9, 3, 69, -70])},
        lambda dataset: {"dataset": dataset, "sampler": [9, 3, 69, 0]},
        lambda dataset: {"dataset": ConcatDataset([dataset, dataset]), "sampler": [9, 73, 69, 70]},
        lambda dataset: {"dataset": dataset, "batch_sampler": [[9, 3], [69, 0]], "batch_size": 1},
        lambda dataset: {"dataset": dataset, "sampler": [[9, 3], [69, 0]], "batch_size": None},
    ],
    ids=["Subset", "sampler", "ConcatDataset", "batch_sampler", "lists of indices"],
)
def test_ways_of_asking(store_path, vectors, of, workers):
    dataset = PointDataset(store_path, LON, LAT, labels=np.arange(COUNT) % 7)
    context = "fork" if workers else None
    options = {"batch_size": 2, "num_workers": workers, "multiprocessing_context": context}
    batches = list(DataLoader(**{**options, **of(dataset)}))
    assert len(batches) == 2
    np.testing.assert_array_equal(torch.cat([batch for batch, _ in batches]), vectors[[9, 3, 69, 0]])
    assert torch.cat([labels for _, labels in batches]).tolist() == [2, 3, 6, 0]


def test_samplers_that_draw(store_path, vectors):
    dataset = PointDataset(store_path, LON, LAT, labels=list(range(COUNT)))
    chosen = range(10, 50)
    found, labels = next(iter(DataLoader(dataset, batch_size=64, sampler=SubsetRandomSampler(chosen))))
    assert sorted(labels.tolist()) == list(chosen)
    assert labels.tolist() != list(chosen)
    np.testing.assert_array_equal(found, vectors[labels])
    draws = BatchSampler(RandomSampler(dataset), 32, drop_last=True)
    for found, labels in DataLoader(dataset, sampler=draws, batch_size=None):
        assert (found.shape, len(labels)) == ((32, 16), 32)
        np.testing.assert_array_equal(found, vectors[labels])


# What a batch reads


def test_a_batch_reads_each_chunk_once(store_path):
    folder = WatchedFolder(cop_zarr.open(store_path)._reader.folder)
    store = open_in(folder)
    dataset = PointDataset(store, LON, LAT)
    loader = DataLoader(dataset, batch_size=COUNT)
    folder.read_keys.clear()
    next(iter(loader))
    read = [key for key in folder.read_keys if key.startswith("embedding/c/")]
    assert 0 < len(read) == len(set(read))


def test_what_many_workers_read_with(store_path, monkeypatch):
    """Workers share the processors, if nobody has said how many threads there should be."""
    monkeypatch.setattr("os.cpu_count", lambda: 4)

    class Telling(PointDataset):
        def _answer(self, indices):
            self._asked()
            return np.full((len(indices), 1), self._asked()._reader.workers, "f4")

    def threads(store, workers: int) -> set[float]:
        loader = DataLoader(
            Telling(store, LON, LAT),
            num_workers=workers,
            batch_size=4,
            multiprocessing_context="fork" if workers else None,
        )
        return set(torch.cat(list(loader)).ravel().tolist())

    assert [threads(store_path, workers) for workers in (0, 1, 2, 3, 5)] == [{4}, {4}, {2}, {1}, {1}]
    assert threads(cop_zarr.open(store_path, workers=3), 2) == {3}
    monkeypatch.setenv("COP_ZARR_WORKERS", "3")
    assert threads(store_path, 2) == {3}


@pytest.mark.parametrize("empty", ["include", "skip"])
def test_a_pickle_is_small(store_path, empty):
    """What is in memory stays here: chunks of 4 KB, by the hundred."""
    dataset = PointDataset(store_path, LON, LAT, labels=LON, empty=empty)
    size = len(pickle.dumps(dataset))
    boxes = [(lon, 0, lon + 1, 80) for lon in range(-100, 100)]
    regions = RegionDataset(dataset.store, boxes)
    regions[list(range(len(boxes)))]
    assert dataset.store._reader.memory.nbytes > 1_000_000
    assert size < 170_000
    assert len(pickle.dumps(regions)) < 170_000


# Errors


@pytest.mark.parametrize("method", [None, *METHODS])
def test_damage_reaches_the_caller_as_it_is(places, tmp_path, method):
    """Also from a worker: torch makes the error anew, of its message and the worker's traceback."""
    url, _ = places["disk"]
    place = tmp_path / "damaged.zarr"
    shutil.copytree(url, place)
    for chunk in place.glob("embedding/c/*/*/*"):
        chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    loader = DataLoader(
        PointDataset(place, [-22.5], [37.5]),  # lattice cell (210, 630)
        num_workers=2 if method else 0,
        multiprocessing_context=method,
    )
    with pytest.raises(
        ChunkError, match=r"is damaged: its CRC-32C is not the recorded one. Repair it with"
    ):
        list(loader)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_store_that_is_gone_reaches_the_caller_as_it_is(places, tmp_path, method):
    url, _ = places["disk"]
    place = tmp_path / "gone.zarr"
    shutil.copytree(url, place)
    dataset = PointDataset(place, LON, LAT, empty="skip")
    shutil.rmtree(place)
    with pytest.raises(ChunkError, match=r"Caught ChunkError in DataLoader worker process 0[^$]*is absent"):
        list(DataLoader(dataset, num_workers=1, multiprocessing_context=method))


def test_indices(store_path, vectors):
    dataset = PointDataset(store_path, LON, LAT)
    assert len(dataset) == COUNT
    for index in (0, 69, -1, -70, np.int64(5), torch.tensor(5)):
        np.testing.assert_array_equal(dataset[index], vectors[int(index)])
    for indices in ([3, -1, 3], np.array([3, -1, 3]), torch.tensor([3, -1, 3]), (3, -1, 3)):
        np.testing.assert_array_equal(dataset[indices], vectors[[3, -1, 3]])
        np.testing.assert_array_equal(torch.stack(dataset.__getitems__(indices)), vectors[[3, -1, 3]])
    assert dataset[[]].shape == (0, 16)
    assert dataset.__getitems__([]) == []
    assert sum(1 for _ in dataset) == COUNT  # by the old protocol, which IndexError ends


@pytest.mark.parametrize("index", [70, -71, [0, 70], [-71, 0]])
def test_indices_beyond(store_path, index):
    dataset = PointDataset(store_path, LON, LAT)
    with pytest.raises(IndexError, match=r"there is no item (70|-71) in a dataset of 70 points"):
        dataset[index]
    with pytest.raises(IndexError, match=r"there is no item"):
        dataset.__getitems__(np.atleast_1d(index))


@pytest.mark.parametrize("index", [1.0, "1", slice(0, 2), None, [1.5], np.array([True, False])])
def test_what_is_no_index(store_path, index):
    with pytest.raises(TypeError):
        PointDataset(store_path, LON, LAT)[index]


@pytest.mark.parametrize(
    ("points", "words", "error", "message"),
    [
        (([0, 400], [0, 0]), {}, RegionError, "lon=400.0, lat=0.0 at position 1"),
        (([0, 0], [0, np.nan]), {}, RegionError, "lat=nan at position 1"),
        (([0, 0], [0, 0, 0]), {}, RegionError, "must have one shape"),
        (([[0, 0]], [[0, 0]]), {}, InputError, r"one row of points; got the shape \(1, 2\)"),
        ((0, 0), {}, InputError, r"one row of points; got the shape \(\)"),
        (([0, 0], [0, 0]), {"labels": [1]}, InputError, "as many as the points, 2; got 1"),
        (([0, 0], [0, 0]), {"labels": 5}, InputError, "as many as the points, 2; got one int"),
        (([0, 0], [0, 0]), {"labels": torch.tensor(5)}, InputError, "2; got one Tensor"),
        (([0, 0], [0, 0]), {"labels": iter([1, 2])}, InputError, "2; got one list_iterator"),
        (([0], [0]), {"labels": np.ma.masked_equal([1], 1)}, InputError, "some are masked"),
        (([0], [0]), {"method": "cubic"}, InputError, "method must be one of"),
        (([0], [0]), {"empty": "drop"}, InputError, "empty must be one of"),
        (([0], [0]), {"on_error": "skip"}, InputError, "on_error must be one of"),
    ],
)
def test_points_are_checked_at_once(store, points, words, error, message):
    with pytest.raises(error, match=message):
        PointDataset(store, *points, **words)


BOX = (120, 30, 122, 32)
BOWTIE = {"type": "Polygon", "coordinates": [[[0, 0], [9, 9], [9, 0], [0, 9], [0, 0]]]}


@pytest.mark.parametrize(
    ("rois", "words", "error", "message"),
    [
        ([BOX, (0, 0, 0.1, 1)], {}, SubcellError, "region 1: the region is 0.1° wide"),
        ([BOX, BOX, (0, 95, 1, 96)], {}, RegionError, "region 2: .*lat"),
        ([BOX, BOWTIE], {}, RegionError, "region 1: "),
        (BOX, {}, InputError, "the four numbers of one"),
        ([BOX], {"labels": "ab"}, InputError, "as many as the regions, 1; got one str"),
        ([BOX], {"crs": "EPSG:1"}, RegionError, "EPSG:1"),
        ([BOX], {"pooling": "median"}, InputError, "pooling must be one of"),
        ([BOX], {"pooling": "max", "weights": "area"}, InputError, "weights"),
        ([BOX], {"on_error": "skip"}, InputError, "on_error must be one of"),
    ],
)
def test_regions_are_checked_at_once(store, rois, words, error, message):
    with pytest.raises(error, match=message):
        RegionDataset(store, rois, **words)


# What is let pass, and what goes along


def test_nan_for_what_is_refused(store, globe, vectors):
    points = PointDataset(store, [*LON[:2], 400, np.nan], [*LAT[:2], 0, 0], on_error="nan")
    found = points[[0, 2, 1, 3]]
    np.testing.assert_array_equal(found[[0, 2]], vectors[:2])
    assert torch.isnan(found[[1, 3]]).all()
    boxes, means = boxes_and_means(globe)
    regions = RegionDataset(store, [boxes[0], (0, 0, 0.1, 1), boxes[1]], on_error="nan")
    np.testing.assert_allclose(regions[[0, 2]], means[:2], rtol=1e-7)
    assert torch.isnan(regions[1]).all()


def test_whoever_wants_to_know_is_told_at_once(store, vectors):
    told = []
    points = PointDataset(store, [400, LON[0]], [0, LAT[0]], on_error=lambda *of: told.append(of))
    regions = RegionDataset(store, [BOX, (0, 0, 0.1, 1)], on_error=lambda *of: told.append(of))
    assert [(number, type(error)) for number, error in told] == [(0, RegionError), (1, SubcellError)]
    for dataset, refused in ((points, 0), (regions, 1)):
        again = pickle.loads(pickle.dumps(dataset))[[0, 1]]  # what was told stays here
        assert torch.isnan(again[refused]).all()
        assert not torch.isnan(again[1 - refused]).any()
    np.testing.assert_array_equal(points[1], vectors[0])
    assert len(told) == 2


def test_tables_of_regions(store):
    geopandas = pytest.importorskip("geopandas")
    shapely = pytest.importorskip("shapely")
    table = geopandas.GeoDataFrame(
        {"class": [4, 5]},
        geometry=[shapely.box(*BOX), shapely.box(5, 45, 7, 46)],
        crs="EPSG:4326",
        index=[7, 0],
    )
    table = table.to_crs("EPSG:3857")
    dataset = RegionDataset(store, table, labels=table["class"])
    found, labels = next(iter(DataLoader(dataset, batch_size=2)))
    assert labels.tolist() == [4, 5]
    expected = [store.query(shape, crs="EPSG:3857").data for shape in table.geometry]
    np.testing.assert_array_equal(found, expected)


def test_words_go_to_the_store(store, globe, vectors):
    empty = (vectors == 0).all(axis=1)
    assert empty.any()
    found = PointDataset(store, LON, LAT, empty="skip")[list(range(COUNT))].numpy()
    np.testing.assert_array_equal(found, np.where(empty[:, None], np.nan, vectors))
    between = PointDataset(store, [LON[0].round(0) + 0.125], [45.125], method="bilinear")[0]
    row, col = 4 * (90 - 45.125) - 0.5, 4 * (LON[0].round(0) + 180)
    block = globe[:, int(row) : int(row) + 2, int(col) : int(col) + 2].astype("f8")
    np.testing.assert_allclose(between, block.mean(axis=(1, 2)), rtol=1e-6)
    rows, cols = np.arange(232, 241), np.arange(1200, 1209)
    cells = globe[:, rows[:, None], cols].reshape(16, -1)
    held = cells[:, cells.any(axis=0)].astype("f8")
    for pooling in ("mean", "max", "std"):
        found = RegionDataset(store, [BOX], pooling=pooling, empty="skip")[0]
        np.testing.assert_allclose(found, getattr(held, pooling)(axis=1), rtol=1e-6)
    (mended,) = RegionDataset(store, [BOWTIE], repair=True).__getitems__([0])
    np.testing.assert_array_equal(mended, store.query(BOWTIE, repair=True).data)
    metres = (13358338, 3503549, 13580977, 3763310)
    for rois in ([metres], np.array([metres])):
        found = RegionDataset(store, rois, crs="EPSG:3857", weights="area")[0]
        np.testing.assert_array_equal(found, store.query(metres, crs="EPSG:3857", weights="area").data)


class Column:
    """What a table's column does: it is asked by its index, and is an array by position."""

    def __init__(self, values) -> None:
        self.values = np.asarray(values)

    def __array__(self, dtype=None, copy=None):
        return self.values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index):
        return self.values[-1 - index]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1.5, 2.5], torch.tensor([1.5, 2.5], dtype=torch.float64)),
        (np.array([1, 2], "i2"), torch.tensor([1, 2], dtype=torch.int16)),
        (torch.tensor([True, False]), torch.tensor([True, False])),
        (torch.ones(2, 3), torch.ones(2, 3)),
        (np.ones((2, 3), "f4"), torch.ones(2, 3)),
        (Column([7, 8]), torch.tensor([7, 8])),
        (["a", "b"], ("a", "b")),
        (np.array(["a", "b"]), ("a", "b")),
        ([{"x": "a"}, {"x": "b"}], {"x": ["a", "b"]}),
    ],
)
def test_labels(store, vectors, labels, expected):
    dataset = PointDataset(store, LON[:2], LAT[:2], labels=labels)
    vector, _ = dataset[1]
    np.testing.assert_array_equal(vector, vectors[1])
    _, found = next(iter(DataLoader(dataset, batch_size=2)))
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
    else:
        assert found == expected


def test_points_are_the_datasets_own(store, vectors):
    lon, lat = LON.copy(), LAT.copy()
    dataset = PointDataset(store, lon, lat)
    boxes = np.array([BOX], "f8")
    regions = RegionDataset(store, boxes)
    lon[:], lat[:], boxes[:] = 0, 0, 0
    np.testing.assert_array_equal(dataset[3], vectors[3])
    np.testing.assert_array_equal(regions[0], store.query(BOX).data)
    found = dataset[[0, 1]]
    found[:] = -1  # an answer is its receiver's
    np.testing.assert_array_equal(dataset[[0, 1]], vectors[:2])


# Without PyTorch


SCRIPT = """
import sys
class Absent:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import pkgutil
from importlib import import_module
import cop_zarr
for module in pkgutil.walk_packages(cop_zarr.__path__, "cop_zarr."):
    if not module.name.startswith("cop_zarr.interop."):
        import_module(module.name)
print(cop_zarr.open(sys.argv[1]).sample([11.5], [48.1]).shape)
try:
    import cop_zarr.interop.torch
except cop_zarr.CopZarrError as error:
    print(type(error).__name__, error)
"""


def test_without_torch(store_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(store_path)], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    shape, refusal = done.stdout.splitlines()
    assert shape == "(1, 16)"
    assert refusal.startswith("MissingDependencyError cop_zarr.interop.torch needs PyTorch")
    assert refusal.endswith("pip install 'cop-zarr[torch]'")


def test_nothing_else_imports_torch():
    script = (
        "import sys, cop_zarr; [getattr(cop_zarr, name) for name in cop_zarr.__all__]; "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    package = Path(cop_zarr.__file__).parent
    naming = [
        path
        for path in package.rglob("*.py")
        if re.search(r"^\s*(import|from) torch\b", path.read_text(), re.MULTILINE)
    ]
    assert naming == [package / "interop/torch.py"]
