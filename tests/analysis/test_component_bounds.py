"""Answers from kept components: bounds that hold for hostile vectors, and the same bits as without them."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

import cop_zarr
from cop_zarr.analysis import metrics
from cop_zarr.analysis.component_bounds import component_bounds
from cop_zarr.core.lru_cache import LRUCache
from cop_zarr.storage import LocalFolder
from tests.support.folders import WatchedFolder, open_in


class Kept:
    """Components as a store keeps them, computed by NumPy."""

    def __init__(self, vectors, count):
        vectors = vectors.astype("f8")
        self.mean, self.count, self.reader = vectors.mean(axis=0), count, self
        centred = vectors - self.mean
        axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1].T
        self.axes, self.memory = np.ascontiguousarray(axes[:count]), LRUCache(0)
        exact = centred @ self.axes.T
        self._scores = exact.astype("f4")
        self._left = np.linalg.norm(centred - exact @ self.axes, axis=1).astype("f4")
        self._length = np.linalg.norm(vectors, axis=1).astype("f4")
        sums = 2 * vectors.shape[1] * (1 + 2 * math.sqrt(count))
        self.rounding = 2.0**-23 + math.sqrt(sums * 2.0**-53)

    def scores(self, _, count):
        return np.asfortranarray(self._scores[:, :count])

    def remainder(self, _, count):
        assert count == self.count
        return self._left

    def length(self, _):
        return self._length


def hostile_vectors(rng, bands):
    """Vectors of all lengths around a mean that may be far away, some of them nearly equal."""
    vectors = rng.normal(size=(300, bands)) * np.exp(-rng.uniform() * np.arange(bands) / 4)
    vectors += rng.choice([0, 1, 10, 300]) * rng.normal(size=bands) * np.abs(vectors).max()
    vectors *= rng.choice([1e-3, 1, 1e4])
    vectors[:20] = vectors[20:40] * (1 + 1e-6 * rng.normal(size=(20, 1)))
    vectors[50:60] *= rng.choice([1e-4, 1e3])
    return vectors.astype("f4")


def test_bounds_hold_for_hostile_vectors(trials):
    rng = np.random.default_rng(3)
    for _ in range(50 * trials):
        bands = int(rng.choice([1, 2, 3, 8, 40, 200]))
        vectors = hostile_vectors(rng, bands)
        kept = Kept(vectors, int(rng.integers(1, min(bands, 32) + 1)))
        mixed = vectors[1].astype("f8") + vectors[2]
        huge = 1e39 * rng.normal(size=bands)
        for query in (vectors[3].astype("f8"), vectors[55] * -2.0, mixed, rng.normal(size=bands), huge):
            for queries in (metrics.Cosine(metrics.unit(query[None])), metrics.Euclidean(query[None])):
                upper = component_bounds(kept, np.ones(300, "?"), queries)
                assert (queries.keys(vectors, 0) <= upper).all()


@pytest.mark.parametrize("metric", [metrics.Cosine, metrics.Euclidean])
@pytest.mark.parametrize("common", [0, 1, 30])
def test_few_cells_are_left_whatever_they_have_in_common(metric, common):
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(3000, 8)) @ rng.normal(size=(8, 100)) + 0.1 * rng.normal(size=(3000, 100))
    vectors = (vectors + common * rng.normal(size=100)).astype("f4")
    query = vectors[7].astype("f8")
    queries = metric(metrics.unit(query[None]) if metric is metrics.Cosine else query[None])
    upper = component_bounds(Kept(vectors, 8), np.ones(3000, "?"), queries)
    assert np.count_nonzero(upper >= np.sort(queries.keys(vectors, 0))[-10]) <= 15


@pytest.fixture(scope="module")
def pairs(stores, tmp_path_factory):
    """Stores without components, and the same with them."""
    found = []
    for number, count in {"over the antimeridian": 16, "at a pole": 3, "four bands": 4}.items():
        plain = stores[number][0]
        copy = tmp_path_factory.mktemp("kept") / "a.zarr"
        shutil.copytree(plain.url, copy)
        cop_zarr.keep_components(copy, count)
        found.append((plain, cop_zarr.open(copy)))
    return found


@pytest.mark.slow
def test_answers_have_the_same_bits(pairs, trials, monkeypatch):
    rng = np.random.default_rng(5)
    for plain, kept in pairs:
        cells = plain.cells()
        finite = np.flatnonzero(np.isfinite(cells.vectors).all(axis=1))
        for number in rng.choice(finite, 15 * trials):
            options = {
                "k": int(rng.choice([1, 10, 60])),
                "metric": str(rng.choice(["cosine", "l2"])),
                "exclude_km": float(rng.choice([0, 50])),
                "spacing_km": float(rng.choice([0, 40])),
            }
            place = cells.lon[number], cells.lat[number]
            one = plain.similar(place, **options)
            with monkeypatch.context() as patch:
                patch.setattr("cop_zarr.analysis.similar.product_bounds", None)  # no pass over all chunks
                other = kept.similar(place, **options)
            for field in ("score", "rows", "cols", "vectors"):
                np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def test_few_chunks_are_read(pairs):
    folder = WatchedFolder(LocalFolder(Path(pairs[1][1].url)))
    store = open_in(folder)
    vector = store.cells((0, 88, 10, 89)).vectors[5]
    folder.read_keys.clear()
    store.similar(vector, k=3)
    chunks = {key for key in folder.read_keys if key.startswith("embedding/c")}
    assert 0 < len(chunks) < 300  # of 360


def test_damaged_components_are_passed_over(pairs, tmp_path, caplog):
    plain, kept = pairs[2]
    copy = shutil.copytree(kept.url, tmp_path / "a.zarr")
    for path in (copy / "components/scores").rglob("0"):
        if path.is_file():
            path.write_bytes(b"?")
    vector = plain.cells().vectors[3]
    found = cop_zarr.open(copy).similar(vector, k=5)
    np.testing.assert_array_equal(found.score, plain.similar(vector, k=5).score)
    assert "components" in caplog.text
