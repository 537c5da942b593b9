"""Datasets under real DataLoaders: every vector is compared with the source's values."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pandas = pytest.importorskip("pandas")
torch = pytest.importorskip("torch")

from torch.utils.data import (  # noqa: E402  # only where there is torch
    ConcatDataset,
    DataLoader,
    Subset,
    TensorDataset,
)

import cop_zarr  # noqa: E402
from cop_zarr.errors import ChunkError, InputError, RegionError, SubcellError  # noqa: E402
from cop_zarr.interop.torch import PatchDataset, PointDataset, RegionDataset  # noqa: E402
from tests.support import factory  # noqa: E402
from tests.support.patience import STUCK_SECONDS  # noqa: E402
from tests.support.servers import static_process  # noqa: E402

pytestmark = [
    # what Python 3.12 says of every fork beside threads; that it goes well is what is tested here
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"),
    # what torch says on a machine with one processor
    pytest.mark.filterwarnings("ignore:This DataLoader will create .* worker processes:UserWarning"),
]

COUNT = 70
RNG = np.random.default_rng(4)
ROWS, COLS = RNG.integers(200, 232, COUNT), RNG.integers(580, 640, COUNT)
LON = -180 + 0.25 * COLS + RNG.uniform(-0.1, 0.1, COUNT)
LAT = 90 - 0.25 * ROWS + RNG.uniform(-0.1, 0.1, COUNT)
BOX = (120, 30, 122, 32)
BOWTIE = {"type": "Polygon", "coordinates": [[[0, 0], [9, 9], [9, 0], [0, 9], [0, 0]]]}


@pytest.fixture(scope="module")
def vectors(globe) -> np.ndarray:
    """The vectors of the points' cells: float32, (COUNT, 16)."""
    return globe[:, ROWS, COLS].T


@pytest.fixture(scope="module")
def part(tmp_path_factory) -> tuple[Path, Path]:
    """A part of the globe: the GeoTIFF and its store."""
    folder = tmp_path_factory.mktemp("site")
    tif = factory.write_geotiff(folder / "a.tif", rows=(200, 232), cols=(580, 640))
    cop_zarr.ingest(tif, folder / "a.zarr")
    return tif, folder / "a.zarr"


@pytest.fixture(scope="module")
def places(part, s3) -> Iterator[dict[str, tuple[str, dict[str, Any]]]]:
    """The store on a disk and behind two servers: URLs, and the options to open them."""
    tif, path = part
    with static_process(path.parent) as web:
        url = s3.place()
        cop_zarr.ingest(tif, url, storage_options=s3.options)
        yield {"disk": (str(path), {}), "http": (f"{web}/a.zarr", {}), "s3": (url, s3.options)}


def loader_options(method: str | None, workers: int = 2) -> dict[str, Any]:
    """Options of a DataLoader with worker processes that are started by this method; None has none."""
    if method is None:
        return {}
    return {"num_workers": workers, "multiprocessing_context": method, "timeout": STUCK_SECONDS}


@pytest.fixture(scope="module")
def boxes() -> list[tuple[float, ...]]:
    """Boxes on cell centres, each of 3 x 4 cells."""
    corners = zip(np.minimum(ROWS, 229).tolist(), np.minimum(COLS, 636).tolist(), strict=True)
    return [
        (-180 + 0.25 * col, 90 - 0.25 * (row + 2), -180 + 0.25 * (col + 3), 90 - 0.25 * row)
        for row, col in corners
    ]


# Under a DataLoader


def check_epochs(store, vectors, method) -> None:
    """Two epochs, shuffled; the store has been used before the workers start."""
    store.sample(LON[:20], LAT[:20])
    loader = DataLoader(
        PointDataset(store, LON, LAT, labels=np.arange(COUNT)),
        batch_size=16,
        shuffle=True,
        generator=torch.Generator().manual_seed(7),
        persistent_workers=method is not None,
        **loader_options(method),
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


def test_points_in_another_crs(store_path, vectors):
    geopandas = pytest.importorskip("geopandas")
    series = geopandas.GeoSeries.from_xy(LON, LAT, crs=4326).to_crs(3857)
    for points in (
        PointDataset(store_path, series),
        PointDataset(store_path, series.x, series.y, crs="EPSG:3857"),
    ):
        np.testing.assert_allclose(points.lon, LON, rtol=1e-9)
        np.testing.assert_array_equal(points[list(range(COUNT))], vectors)


@pytest.mark.parametrize("method", [None, "fork", "forkserver"])
def test_points(part, vectors, method):
    check_epochs(cop_zarr.open(part[1]), vectors, method)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["disk", "http", "s3"])
@pytest.mark.parametrize("method", [None, "fork", "spawn", "forkserver"])
def test_points_from_anywhere(places, vectors, kind, method):
    url, options = places[kind]
    check_epochs(cop_zarr.open(url, storage_options=options), vectors, method)


@pytest.mark.parametrize("method", [None, pytest.param("spawn", marks=pytest.mark.slow)])
def test_patches(part, globe, method):
    """Of a part of the globe: NaN beyond its edges."""
    inside = np.full_like(globe, np.nan)
    inside[:, 200:232, 580:640] = globe[:, 200:232, 580:640]
    offsets = np.arange(-2, 3)
    rows, cols = ROWS[:, None, None] + offsets[:, None], COLS[:, None, None] + offsets
    expected = np.moveaxis(inside[:, rows, cols], 0, 1)
    assert np.isnan(expected).any()
    patches = PatchDataset(part[1], LON, LAT, labels=np.arange(COUNT))
    for found, numbers in DataLoader(patches, batch_size=16, shuffle=True, **loader_options(method)):
        assert found.shape[1:] == (factory.BANDS, 5, 5)
        np.testing.assert_array_equal(found, expected[numbers])
    np.testing.assert_array_equal(patches[-1][0], expected[-1])
    np.testing.assert_array_equal(patches[::7][0], expected[::7])


@pytest.mark.parametrize("method", [None, pytest.param("spawn", marks=pytest.mark.slow)])
def test_regions(part, boxes, method):
    store = cop_zarr.open(part[1], cache_bytes=0)
    loader = DataLoader(RegionDataset(store, boxes), batch_size=16, **loader_options(method))
    expected = [store.query(box).data for box in boxes]
    np.testing.assert_array_equal(torch.cat(list(loader)), expected, strict=True)


@pytest.mark.parametrize(
    "options_of",
    [
        lambda dataset: {"dataset": Subset(dataset, [9, 3, 69, -70])},
        lambda dataset: {"dataset": ConcatDataset([dataset, dataset]), "sampler": [9, 73, 69, 70]},
        lambda dataset: {"dataset": dataset, "batch_sampler": [[9, 3], [69, 0]], "batch_size": 1},
        lambda dataset: {"dataset": dataset, "sampler": [[9, 3], [69, 0]], "batch_size": None},
    ],
    ids=["Subset", "ConcatDataset", "batch_sampler", "lists of indices"],
)
def test_samplers(store_path, vectors, options_of):
    dataset = PointDataset(store_path, LON, LAT, labels=np.arange(COUNT) % 7)
    batches = list(DataLoader(**{"batch_size": 2, **options_of(dataset)}))
    assert len(batches) == 2
    np.testing.assert_array_equal(torch.cat([batch for batch, _ in batches]), vectors[[9, 3, 69, 0]])
    assert torch.cat([labels for _, labels in batches]).tolist() == [2, 3, 6, 0]


def test_a_batch_reads_each_chunk_once(watched):
    store, keys = watched
    next(iter(DataLoader(PointDataset(store, LON, LAT), batch_size=COUNT)))
    chunks = [key for key in keys if key.startswith("embedding/c/")]
    assert 0 < len(chunks) == len(set(chunks))


def test_threads_of_workers(store_path, monkeypatch):
    """Workers share the processors unless the number of threads was given."""
    monkeypatch.setattr("os.cpu_count", lambda: 4)

    class Threads(PointDataset):
        def _answer(self, indices):
            return np.full((len(indices), 1), self._local_store()._reader.workers, "f4")

    def threads(store, workers: int) -> set[float]:
        context = "fork" if workers else None
        dataset = Threads(store, LON, LAT)
        loader = DataLoader(dataset, num_workers=workers, batch_size=32, multiprocessing_context=context)
        return set(torch.cat(list(loader)).ravel().tolist())

    assert [threads(store_path, workers) for workers in (0, 1, 3)] == [{4}, {4}, {1}]
    assert threads(cop_zarr.open(store_path, workers=3), 2) == {3}
    monkeypatch.setenv("COP_ZARR_WORKERS", "3")
    assert threads(store_path, 2) == {3}


def test_a_pickle_is_small(store_path):
    """Cached chunks, 4 KB each and hundreds of them, are not pickled."""
    boxes = [(lon, 0, lon + 1, 80) for lon in range(-100, 100)]
    regions = RegionDataset(store_path, boxes)
    regions[list(range(len(boxes)))]
    assert regions.store._reader.memory.nbytes > 1_000_000
    assert len(pickle.dumps(regions)) < 170_000


@pytest.mark.parametrize(
    "method", [None, "fork", *(pytest.param(m, marks=pytest.mark.slow) for m in ("spawn", "forkserver"))]
)
@pytest.mark.parametrize("damage", ["altered", "absent"])
def test_damage_reaches_the_caller(part, tmp_path, method, damage):
    """Also from a worker: torch makes the error again from its message and the worker's traceback.

    From one worker: a second one that still starts when the caller has the error is ended by torch in a way
    that closes files of others.
    """
    path = tmp_path / "damaged.zarr"
    shutil.copytree(part[1], path)
    dataset = PointDataset(path, [-22.5], [37.5])
    for chunk in path.glob("embedding/c/*/*/*"):
        chunk.write_bytes(chunk.read_bytes()[:-1] + b"?") if damage == "altered" else chunk.unlink()
    with pytest.raises(ChunkError, match="CRC-32C" if damage == "altered" else "absent"):
        list(DataLoader(dataset, **loader_options(method, workers=1)))


# Indices and arguments


def test_indices(store_path, vectors):
    dataset = PointDataset(store_path, LON, LAT)
    assert len(dataset) == COUNT
    for index in (0, 69, -1, -70, np.int64(5), torch.tensor(5)):
        np.testing.assert_array_equal(dataset[index], vectors[int(index)])
    for indices in ([3, -1, 3], np.array([3, -1, 3]), torch.tensor([3, -1, 3]), (3, -1, 3)):
        np.testing.assert_array_equal(dataset[indices], vectors[[3, -1, 3]])
        np.testing.assert_array_equal(torch.stack(dataset.__getitems__(indices)), vectors[[3, -1, 3]])
    np.testing.assert_array_equal(dataset[60:-1:3], vectors[60:-1:3])
    assert dataset[[]].shape == (0, 16)
    assert dataset.__getitems__([]) == []
    assert sum(1 for _ in dataset) == COUNT  # by the old protocol, which IndexError ends


@pytest.mark.parametrize(
    ("index", "error"),
    [(index, IndexError) for index in (70, -71, [0, 70], [-71, 0])]
    + [(index, InputError) for index in (1.0, "1", None, [1.5], [[0, 1], [2, 3]], 10**30 * 1.0)]
    + [([10**30], IndexError)],
)
def test_invalid_indices(store_path, index, error):
    dataset = PointDataset(store_path, LON, LAT)
    with pytest.raises(error):
        dataset[index]


MASK = RNG.random(COUNT) < 0.4


@pytest.mark.parametrize("kind", [np.array, torch.tensor, list, tuple, pandas.Series, "nullable"])
def test_a_mask_selects_as_in_a_tensor_dataset(store_path, vectors, kind):
    as_kind = (lambda values: pandas.Series(values, dtype="boolean")) if kind == "nullable" else kind
    labels = torch.arange(COUNT)
    peer = TensorDataset(torch.from_numpy(vectors.copy()), labels)
    points = PointDataset(store_path, LON, LAT, labels=labels)
    regions = RegionDataset(store_path, [BOX, (0, 0, 2, 2), (5, 44, 16, 48)], labels=["a", "b", "c"])
    for mask in (MASK, ~MASK, np.ones(COUNT, bool), np.zeros(COUNT, bool)):
        for found, expected in zip(points[as_kind(mask.tolist())], peer[mask], strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
    found, chosen = regions[as_kind([True, False, True])]
    torch.testing.assert_close(found, torch.stack([regions[0][0], regions[2][0]]), rtol=0, atol=0)
    assert chosen == ["a", "c"]


def test_bools_that_are_no_mask_are_refused(store_path):
    points = PointDataset(store_path, LON, LAT)
    mask = torch.from_numpy(MASK)
    alone = (True, False, np.True_, torch.tensor(True), np.array(False))
    lists = ([True, 2], [0, False], list(mask), [np.True_] * COUNT)
    arrays = (
        MASK[:-1],
        [True, False],
        np.stack([MASK, MASK]),
        mask[None],
        pandas.Series([True, None] * 35),
    )
    for index in (*alone, *lists, *arrays, pandas.array([True, None] * 35, dtype="boolean")):
        with pytest.raises(InputError):
            points[index]
    for indices in (MASK, mask, MASK.tolist(), list(mask)):  # a batch holds indices: some of a Subset's
        with pytest.raises(InputError):
            points.__getitems__(indices)
    for indices in (MASK, mask, MASK.tolist()):
        subset = Subset(points, indices)
        with pytest.raises(InputError, match="flatnonzero"):
            subset[0]
        for size in (3, COUNT):
            with pytest.raises(InputError):
                next(iter(DataLoader(subset, batch_size=size)))
    named = Subset(points, np.flatnonzero(MASK))  # as the message advises
    torch.testing.assert_close(torch.stack(list(named)), points[MASK], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("points", "options", "error", "word"),
    [
        (([0, 1400], [0, 0]), {}, RegionError, "position 1"),
        ((0, 0), {}, InputError, "lon"),
        (([0, 0], [0, 0]), {"labels": [1]}, InputError, "labels"),
        (([0, 0], [0, 0]), {"labels": torch.tensor(5)}, InputError, "Tensor"),
        (([0, 0], [0, 0]), {"labels": iter([1, 2])}, InputError, "list_iterator"),
        (([0], [0]), {"labels": np.ma.masked_equal([1], 1)}, InputError, "masked"),
        (([0], [0]), {"method": "cubic"}, InputError, "method"),
        (([0], [0]), {"on_error": "skip"}, InputError, "on_error"),
    ],
)
def test_invalid_points(store, points, options, error, word):
    with pytest.raises(error, match=word):
        PointDataset(store, *points, **options)


@pytest.mark.parametrize(
    ("points", "options", "error"),
    [
        (([0, 1400], [0, 0]), {}, RegionError),
        ((0, 0), {}, InputError),
        (([0], [0]), {"size": 4}, InputError),
        (([0], [0]), {"size": True}, InputError),
        (([0], [0]), {"empty": "drop"}, InputError),
        (([0, 0], [0, 0]), {"labels": [1]}, InputError),
    ],
)
def test_invalid_patches(store, points, options, error):
    with pytest.raises(error):
        PatchDataset(store, *points, **options)


@pytest.mark.parametrize(
    ("rois", "options", "error", "word"),
    [
        ([BOX, (0, 0, 0.1, 1)], {}, SubcellError, "region 1"),
        (BOX, {}, InputError, "rois"),
        ([BOX], {"labels": "ab"}, InputError, "str"),
        ([BOX], {"pooling": "median"}, InputError, "pooling"),
    ],
)
def test_invalid_regions(store, rois, options, error, word):
    with pytest.raises(error, match=word):
        RegionDataset(store, rois, **options)


def test_invalid_items_are_nan(store, vectors):
    """A callback is called once, at creation."""
    calls = []
    lon, lat, boxes = [LON[0], 1400, np.nan], [LAT[0], 0, 0], [(0, 0, 0.1, 1), BOX]
    for on_error in ("nan", lambda *call: calls.append(call)):
        points = PointDataset(store, lon, lat, on_error=on_error)
        regions = RegionDataset(store, boxes, on_error=on_error)
        points, regions = pickle.loads(pickle.dumps((points, regions)))  # without the callback
        np.testing.assert_array_equal(points[0], vectors[0])
        np.testing.assert_array_equal(regions[1], store.query(BOX).data)
        assert torch.isnan(torch.cat([points[[1, 2]], regions[[0]]])).all()
    patches = pickle.loads(pickle.dumps(PatchDataset(store, lon, lat, 3, on_error="nan")))
    np.testing.assert_array_equal(patches[0][:, 1, 1], vectors[0])
    assert torch.isnan(patches[[1, 2]]).all()
    found = [(number, type(error)) for number, error in calls]
    assert found == [(1, RegionError), (2, RegionError), (0, SubcellError)]


def test_options_reach_the_store(store):
    found = PointDataset(store, LON, LAT, method="bilinear", empty="skip")[list(range(COUNT))]
    expected = store.sample(LON, LAT, method="bilinear", empty="skip")
    np.testing.assert_array_equal(found, expected)
    found = PatchDataset(store, LON, LAT, 3, empty="skip")[:]
    np.testing.assert_array_equal(found, store.patches(LON, LAT, 3, empty="skip"))
    metres = (13358338, 3503549, 13580977, 3763310)
    for roi, options in (
        (BOX, {"pooling": "std", "empty": "skip"}),
        (BOWTIE, {"repair": True}),
        (metres, {"crs": "EPSG:3857", "weights": "area"}),
    ):
        expected = store.query(roi, **options).data
        np.testing.assert_array_equal(RegionDataset(store, [roi], **options)[0], expected)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1.5, 2.5], torch.tensor([1.5, 2.5], dtype=torch.float64)),
        (np.array([1, 2], "i2"), torch.tensor([1, 2], dtype=torch.int16)),
        (torch.ones(2, 3), torch.ones(2, 3)),
        (np.array(["a", "b"]), ("a", "b")),
        ([{"x": "a"}, {"x": "b"}], {"x": ["a", "b"]}),
    ],
)
def test_labels(store, vectors, labels, expected):
    dataset = PointDataset(store, LON[:2], LAT[:2], labels=labels)
    np.testing.assert_array_equal(dataset[1][0], vectors[1])
    _, found = next(iter(DataLoader(dataset, batch_size=2)))
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
    else:
        assert found == expected


def test_a_dataset_shares_no_memory(store, vectors):
    lon, lat = LON.copy(), LAT.copy()
    dataset = PointDataset(store, lon, lat)
    lon[:], lat[:] = 0, 0
    dataset[[0, 1]][:] = -1
    np.testing.assert_array_equal(dataset[[0, 1]], vectors[:2])


# Without PyTorch

SCRIPT = """
import pkgutil, sys
from importlib import import_module
sys.modules["torch"] = None  # as where it is not installed
import cop_zarr
for module in pkgutil.walk_packages(cop_zarr.__path__, "cop_zarr."):
    if not module.name.startswith("cop_zarr.interop."):
        import_module(module.name)
try:
    import cop_zarr.interop.torch
except cop_zarr.errors.MissingDependencyError as error:
    print(error)
"""


def test_without_torch():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "torch, which is not installed: " in done.stdout
