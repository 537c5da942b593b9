"""Principal components against scikit-learn's, and against NumPy on all cells at once."""

import logging
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

import cop_zarr
from cop_zarr import errors
from cop_zarr.analysis import components as analysis
from cop_zarr.core.grid import Grid
from cop_zarr.querying.cells import select_cells
from tests.support import factory

HERE = {"rows": (150, 170), "cols": (760, 784)}


def ingested(folder, values, **place):
    source = factory.write_geotiff(folder / "source.tif", values.astype("f4"), **(place or HERE))
    cop_zarr.ingest(source, folder / "a.zarr")
    return cop_zarr.open(folder / "a.zarr")


def made_up(bands=24, shape=(20, 24), seed=7):
    """Cells that vary in as many directions as bands, in each less than in the last, far from 0."""
    random = np.random.default_rng(seed)
    mixing = np.linalg.qr(random.normal(size=(bands, bands)))[0] * np.geomspace(8, 0.2, bands)[:, None]
    values = 40 + np.einsum("rck,kb->brc", random.normal(size=(*shape, bands)), mixing)
    values[:, random.random(shape) < 1 / 6] = 0
    return values.astype("f4")


def cells_of(values):
    """Vectors of the cells with data, row by row: float64, (n, bands)."""
    return values[:, (values != 0).any(axis=0)].T.astype("f8")


@pytest.fixture(scope="module")
def vectors():
    return made_up()


@pytest.fixture(scope="module")
def small(vectors, tmp_path_factory):
    return ingested(tmp_path_factory.mktemp("small"), vectors)


def test_equal_to_scikit_learn(small, vectors):
    decomposition = pytest.importorskip("sklearn.decomposition")
    cells = cells_of(vectors)
    peer = decomposition.PCA(svd_solver="full").fit(cells)
    found = small.components(24)
    cosines = np.abs(np.einsum("ij,ij->i", found.axes, peer.components_))
    assert cosines.min() >= 1 - 1e-6
    np.testing.assert_allclose(found.explained_variance, peer.explained_variance_, rtol=1e-9)
    np.testing.assert_allclose(found.explained_variance_ratio, peer.explained_variance_ratio_, rtol=1e-9)
    np.testing.assert_allclose(found.mean, peer.mean_, rtol=1e-12)
    np.testing.assert_allclose(np.abs(found.scores), np.abs(peer.transform(cells)), atol=2e-5)
    assert found.cells == len(cells) == len(found.scores)
    assert not found.kept


def test_scores_and_remainder_rebuild_every_cell(small, vectors):
    cells = cells_of(vectors)
    found = small.components(5)
    centred = cells - cells.mean(axis=0)
    along = centred @ found.axes.T
    np.testing.assert_allclose(found.scores, along, atol=1e-5)
    left = np.linalg.norm(centred - along @ found.axes, axis=1)
    np.testing.assert_allclose(found.remainder, left, rtol=1e-6)
    assert found.scores.dtype == found.remainder.dtype == np.float32
    np.testing.assert_allclose(found.axes @ found.axes.T, np.eye(5), atol=1e-14)
    peaks = np.take_along_axis(found.axes, np.abs(found.axes).argmax(axis=1)[:, None], axis=1)
    assert (peaks > 0).all()


def test_fewer_components_are_the_first_ones(small):
    ten, three = small.components(10), small.components(3)
    np.testing.assert_array_equal(three.axes, ten.axes[:3])
    np.testing.assert_allclose(three.scores, ten.scores[:, :3], atol=1e-6)
    assert small.components().axes.shape == (24, 24)  # all bands, where there are fewer than 64
    assert small.components(np.int64(3)).axes.shape == (3, 24)


def test_cells_of_a_region_by_themselves(small, vectors):
    selection = select_cells(small.grid, small.valid, (11, 49, 14, 52), None)
    found = analysis.derive(small._reader, selection, 4)
    cells = cells_of(vectors[:, 2:15, 4:17])
    np.testing.assert_allclose(found.components.mean, cells.mean(axis=0), rtol=1e-12)
    _, sizes, axes = np.linalg.svd(cells - cells.mean(axis=0), full_matrices=False)
    assert np.abs(np.einsum("ij,ij->i", found.components.axes, axes[:4])).min() > 1 - 1e-9
    np.testing.assert_allclose(found.components.explained_variance, sizes[:4] ** 2 / (len(cells) - 1))


def test_large_means_cost_no_digits(tmp_path):
    """Sums of squares of values near 100,000 would leave nothing of a variance of 1e-2."""
    values = made_up(6) * np.float32(0.05) + np.float32(1e5)
    found = ingested(tmp_path, values).components(6)
    cells = cells_of(values)
    expected = np.linalg.svd(cells - cells.mean(axis=0), compute_uv=False) ** 2 / (len(cells) - 1)
    np.testing.assert_allclose(found.explained_variance, expected, rtol=1e-6)


def test_same_bits_with_any_number_of_workers(tmp_path, monkeypatch):
    values = made_up(24, (64, 80))
    place = {"rows": (150, 214), "cols": (1400, 1480)}
    monkeypatch.setattr(analysis, "BATCH_BYTES", 24 * 8 * 100)  # many batches, none of whole chunks
    store = ingested(tmp_path, values, **place)
    found = [
        cop_zarr.open(store.url, workers=workers, cache_bytes=0).components(9) for workers in (1, 2, 5, 2)
    ]
    for other in found[1:]:
        for name in ("mean", "axes", "explained_variance", "scores", "remainder"):
            assert getattr(other, name).tobytes() == getattr(found[0], name).tobytes(), name


BITS = """
import hashlib, sys, cop_zarr
found = cop_zarr.open(sys.argv[1]).components(20)
print(hashlib.sha256(found.axes.tobytes() + found.scores.tobytes()).hexdigest())
"""


def test_same_bits_with_any_number_of_threads_of_blas(tmp_path):
    store = ingested(tmp_path, made_up(200, (40, 48)), rows=(150, 190), cols=(760, 808))
    names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
    printed = {
        subprocess.run(
            [sys.executable, "-c", BITS, store.url],
            env={**os.environ, **dict.fromkeys(names, threads)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(printed) == 1


def test_cells_that_are_not_finite_are_left_out(tmp_path, vectors):
    values = vectors.copy()
    rows, cols = np.nonzero((vectors != 0).any(axis=0))
    odd = np.array([3, 50, 200])
    values[[0, 5, 9], rows[odd], cols[odd]] = np.nan, np.inf, -np.inf
    found = ingested(tmp_path, values).components(24)
    expected = np.delete(cells_of(vectors), odd, axis=0)
    assert found.cells == len(expected) == len(found.scores) - 3
    np.testing.assert_allclose(found.mean, expected.mean(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found.scores).all(axis=1)), odd)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found.remainder)), odd)
    assert np.isfinite(np.delete(found.scores, odd, axis=0)).all()
    scores = found.transform(np.array([[1.0] * 24, [np.nan] * 24, [np.inf] * 24]))
    assert np.isnan(scores).all(axis=1).tolist() == [False, True, True]


@pytest.mark.parametrize("bands", [1, 3])
def test_fewer_directions_than_bands(tmp_path, bands):
    values = np.zeros((bands, 20, 24))
    values[0] = 1 + np.arange(480).reshape(20, 24)
    found = ingested(tmp_path, values).components()
    np.testing.assert_allclose(found.explained_variance[0], np.var(values[0], ddof=1))
    np.testing.assert_allclose(found.explained_variance_ratio, [1, 0, 0][:bands], atol=1e-12)
    np.testing.assert_allclose(found.axes @ found.axes.T, np.eye(bands), atol=1e-12)
    np.testing.assert_allclose(found.scores[:, 0], values[0].ravel() - 240.5, rtol=1e-6)


def test_one_cell(tmp_path):
    values = np.zeros((5, 20, 24))
    values[:, 8, 8] = [1, 2, 3, 4, 5]
    found = ingested(tmp_path, values).components()
    np.testing.assert_array_equal(found.mean, [1, 2, 3, 4, 5])
    assert not found.explained_variance.any()
    assert not found.explained_variance_ratio.any()
    assert not found.scores.any()


@pytest.mark.parametrize("fill", [0, np.nan], ids=["none", "not-finite"])
def test_no_cell_at_all(tmp_path, fill):
    values = np.zeros((5, 20, 24))
    values[:3, 4, 4] = fill
    store = ingested(tmp_path, values)
    with pytest.raises(errors.InputError):
        store.components()
    with pytest.raises(errors.InputError):
        cop_zarr.keep_components(store.url)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "source.tif"]
    assert not (tmp_path / "a.zarr" / "components").exists()


@pytest.mark.parametrize("count", [0, -1, 25, 2.0, True, "3"])
def test_counts_that_are_refused(small, count):
    with pytest.raises(errors.InputError):
        small.components(count)
    with pytest.raises(errors.InputError):
        cop_zarr.keep_components(small.url, count)


@pytest.mark.parametrize(
    "given",
    [
        np.zeros(23), np.zeros((24, 2)), 3.0, ["a"] * 24, np.zeros((3, 24), "?"), [[1, 2], [3]],
        np.ma.array(np.zeros(24), mask=True),
    ],
)  # fmt: skip
def test_vectors_that_are_refused(small, given):
    with pytest.raises(errors.InputError):
        small.components(3).transform(given)


def test_transform_gives_the_scores(small, vectors):
    found = small.components(6)
    cells = cells_of(vectors).astype("f4")
    np.testing.assert_allclose(found.transform(cells), found.scores, atol=1e-5)
    np.testing.assert_allclose(found.transform(cells[0]), found.scores[0], atol=1e-5)
    np.testing.assert_allclose(
        found.transform(cells[:6].reshape(2, 3, 24))[1, 2], found.scores[5], atol=1e-5
    )
    query = small.query((11, 49, 14, 52), empty="skip")
    np.testing.assert_allclose(found.transform(query), (query.data - found.mean) @ found.axes.T)


def test_what_is_derived_stays_in_memory_and_is_said_once(small, caplog):
    store = cop_zarr.open(small.url)
    with caplog.at_level(logging.WARNING, "cop_zarr"):
        first = store.components(4)
        assert store.components(4).scores is first.scores
        with pytest.raises(ValueError):
            first.scores[0] = 0
        assert store.components(4, recompute=True).scores is not first.scores
    (record,) = caplog.records
    assert f"cop-zarr components {small.url} --count 24" in record.getMessage()


def test_memory_does_not_grow_with_the_cells(store_path):
    store = cop_zarr.open(store_path, cache_bytes=0)
    selection = select_cells(store.grid, store.valid, None, None)
    tracemalloc.start()
    try:
        analysis.fit(store._reader, selection, 3, lambda _: None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert selection.size * 16 * 8 > 75e6
    assert peak < 70e6  # batches of 12 MB


def test_progress_ends_at_all(small):
    calls = []
    small.components(7, recompute=True, progress=lambda done, total: calls.append((done, total)))
    total = 2 * int(small.valid.sum()) * 24 * 4
    assert calls == sorted(calls)
    assert calls[-1] == (total, total)


def test_too_many_bands_for_memory(monkeypatch, small):
    monkeypatch.setattr(analysis, "MAX_COVARIANCE_BYTES", 24 * 24 * 8 - 1)
    with pytest.raises(errors.ResultTooLargeError):
        small.components(5, recompute=True)


def test_grid_of_the_result_is_the_stores(small):
    found = small.components(2)
    assert found.grid == Grid(150, 760, 20, 24)
    assert found.valid is small.valid
