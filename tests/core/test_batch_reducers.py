"""Reducers of many regions against NumPy in double precision, over any cut of the cells into chunks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cop_zarr.core.batch_reducers import BATCH_REDUCERS
from cop_zarr.core.reducers import REDUCERS, quiet
from tests.core.test_reducers import BANDS, INFINITE, independent


@quiet
def pooled(word, cells, weights, cuts=(), empty=0.0):
    """The vectors of ``(regions, cells)`` weights, chunk by chunk; every region touches every chunk."""
    reducer = BATCH_REDUCERS[word]
    states = None
    for chunk, some in zip(np.split(cells, cuts), np.split(weights, cuts, axis=1), strict=True):
        found = reducer.pool(chunk, some)
        assert found.shape == (len(weights), reducer.planes, cells.shape[1])
        states = found if states is None else reducer.merge(states, found)
    return reducer.result(states, weights.sum(axis=1), np.full(len(weights), empty)).astype("f4")


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("word", BATCH_REDUCERS)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.integers(1, 40), st.integers(0, 99))
def test_each_region_has_the_result_of_its_own_cells(word, weighted, sizes, count, seed):
    rng, cuts = np.random.default_rng(seed), np.cumsum(sizes)
    cells, empty = rng.normal(-1, 2, (sum(sizes), BANDS)).astype("f4"), seed % 3 / 2
    weights = (rng.random((count, len(cells))) < 0.4).astype("f8")
    weights[:, np.r_[0, cuts[:-1]]] = 1  # some in every chunk
    if weighted:
        weights *= rng.uniform(1e-6, 1, weights.shape)
    found = pooled(word, cells, weights, cuts[:-1], empty)
    with_zero = np.concatenate([cells, np.zeros((1, BANDS), "f4")])
    for vector, weight in zip(found, np.insert(weights, len(cells), empty, axis=1), strict=True):
        expected = independent(word, with_zero[weight > 0], weight[weight > 0])
        np.testing.assert_allclose(vector, expected, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("spoilt", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("weight", [1.0, 0.3])
@pytest.mark.parametrize("word", BATCH_REDUCERS)
def test_a_cell_outside_a_region_does_not_count(word, weight, spoilt):
    """Its product with a weight of 0 would be NaN."""
    cells = np.random.default_rng(0).normal(size=(9, BANDS)).astype("f4")
    weights = weight * np.triu(np.ones((9, 9)))  # region k has cell k and all after it
    clean = pooled(word, cells, weights)
    cells[4, 2] = spoilt
    found = pooled(word, cells, weights)
    np.testing.assert_allclose(found[5:], clean[5:], rtol=1e-6)
    np.testing.assert_allclose(found[:, [0, 1, 3, 4]], clean[:, [0, 1, 3, 4]], rtol=1e-6)
    with np.errstate(all="ignore"):
        for vector, some in zip(found[:5], weights, strict=False):
            expected = independent(word, cells[some > 0], some[some > 0])
            np.testing.assert_allclose(vector[2], expected[2], rtol=1e-6)


@pytest.mark.parametrize("weights", [[1.0, 1.0], [0.5, 0.25]])
@pytest.mark.parametrize("cuts", [(), (1,)])
@pytest.mark.parametrize("word", BATCH_REDUCERS)
def test_infinities_are_values_without_a_warning(word, cuts, weights):
    cells = np.array([[1, 1, np.inf], [np.inf, -np.inf, -np.inf]], "f4")
    found = pooled(word, cells, np.array([weights]), cuts)
    np.testing.assert_array_equal(found, np.array([INFINITE[word]], "f4"))


@pytest.mark.parametrize("cuts", [[], range(64, 640, 64), range(1, 640)], ids=len)
def test_small_deviation_around_a_huge_mean(cuts):
    rng = np.random.default_rng(0)
    cells = (1e9 + 64 * rng.integers(-3, 4, (640, BANDS))).astype("f4")
    exact = (cells.astype("f8") - 1e9).astype("f4")
    weights = np.stack([np.ones(640), rng.uniform(0.1, 1, 640)])
    found = pooled("std", cells, weights, cuts)
    for vector, weight in zip(found, weights, strict=True):
        np.testing.assert_allclose(vector, independent("std", exact, weight), rtol=1e-6)
    cells[:] = 1e9
    assert (pooled("std", cells, weights, cuts) < 1e-5).all()


@pytest.mark.parametrize("word", BATCH_REDUCERS)
def test_zeros_that_are_in_no_chunk_count_as_the_reducer_of_one_region_counts_them(word):
    cells = np.full((3, BANDS), -2, "f4")
    for empty in (0.0, 1e-9, 4.0):
        reducer = REDUCERS[word](BANDS)
        reducer.merge(reducer.pool(cells))
        reducer.add_empty(empty)
        found = pooled(word, cells, np.ones((1, 3)), empty=empty)
        np.testing.assert_array_equal(found[0], reducer.result())
