"""Reducers against NumPy in double precision, block by block in any cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cop_zarr.pooling import REDUCERS

BANDS = 5
INDEPENDENT = {
    "mean": lambda cells: cells.astype("f8").mean(axis=0),
    "max": lambda cells: cells.max(axis=0),
}


def pooled(word, blocks, empty=0):
    pool = REDUCERS[word](BANDS)
    for block in blocks:
        pool.add(block)
    if empty:
        pool.add_empty(empty)
    return pool.result()


def test_every_word_has_an_independent_computation_here():
    assert set(INDEPENDENT) == set(REDUCERS)


@pytest.mark.parametrize("word", REDUCERS)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 50), st.integers(0, 99))
def test_any_cut_into_blocks_gives_the_whole(word, sizes, empty, seed):
    cells = np.random.default_rng(seed).normal(-1, 2, (sum(sizes), BANDS)).astype("f4")
    found = pooled(word, np.split(cells, np.cumsum(sizes)[:-1]), empty)
    whole = np.concatenate([cells, np.zeros((empty, BANDS), "f4")])
    np.testing.assert_allclose(found, INDEPENDENT[word](whole), rtol=1e-6, atol=1e-7)
    assert found.dtype == "f4"
    assert found.shape == (BANDS,)


@pytest.mark.parametrize("word", REDUCERS)
def test_leading_axes_and_strides_do_not_matter(word):
    chunk = np.random.default_rng(0).normal(size=(8, 8, BANDS)).astype("f4")
    part = chunk[2:7, 1:4]
    assert not part.flags.c_contiguous
    expected = INDEPENDENT[word](part.reshape(-1, BANDS))
    np.testing.assert_allclose(pooled(word, [part]), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(
        pooled(word, [part.transpose(1, 0, 2)]), pooled(word, [part.transpose(1, 0, 2).copy()])
    )


@pytest.mark.parametrize("word", REDUCERS)
@pytest.mark.parametrize("nan_first", [True, False])
def test_nan_reaches_its_own_band_only(word, nan_first):
    clean, dirty = np.ones((2, 3, BANDS), "f4")
    dirty[1, 2] = np.nan
    blocks = [dirty, clean] if nan_first else [clean, dirty]
    np.testing.assert_array_equal(pooled(word, blocks), [1, 1, np.nan, 1, 1])
    assert np.isnan(pooled(word, blocks, empty=4)[2])


def test_empty_cells_are_zeros():
    cells = np.full((3, BANDS), -2, "f4")
    np.testing.assert_array_equal(pooled("mean", [cells], empty=1), np.full(BANDS, -1.5))
    np.testing.assert_array_equal(pooled("max", [cells], empty=1), np.zeros(BANDS))
    np.testing.assert_array_equal(pooled("max", [cells], empty=0), np.full(BANDS, -2))
    np.testing.assert_array_equal(pooled("mean", [], empty=7), np.zeros(BANDS))
    np.testing.assert_array_equal(pooled("max", [], empty=7), np.zeros(BANDS))


def test_mean_of_a_million_cells_is_as_good_as_of_four():
    """A running float32 sum of these is off by 1.3 %."""
    pool = REDUCERS["mean"](BANDS)
    block = np.full((1000, 64, BANDS), 1.1, "f4")
    for _ in range(20):
        pool.add(block)
    np.testing.assert_array_equal(pool.result(), np.full(BANDS, 1.1, "f4"))


def test_mean_of_large_and_opposite_values():
    big = np.float32(3e38)
    cells = np.array([[big] * BANDS, [big] * BANDS, [-big] * BANDS, [4] * BANDS], "f4")
    np.testing.assert_allclose(pooled("mean", [cells[:2]]), np.full(BANDS, big), rtol=1e-6)
    np.testing.assert_allclose(pooled("mean", [cells]), np.full(BANDS, big / 4), rtol=1e-6)


@pytest.mark.parametrize("word", REDUCERS)
def test_input_is_left_alone(word):
    cells = np.random.default_rng(0).normal(size=(4, BANDS)).astype("f4")
    before = cells.copy()
    result = pooled(word, [cells], empty=1)
    np.testing.assert_array_equal(cells, before)
    assert not np.shares_memory(result, cells)
