"""Reducers against NumPy in double precision, block by block in any cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cop_zarr.core.reducers import REDUCERS, quiet

BANDS = 5
INDEPENDENT = {
    "mean": lambda cells, weights: np.average(cells, axis=0, weights=weights),
    "max": lambda cells, _: cells.max(axis=0),
    "min": lambda cells, _: cells.min(axis=0),
    "std": lambda cells, weights: np.sqrt(np.cov(cells.T, ddof=0, aweights=weights).diagonal()),
    "sum": lambda cells, weights: (cells * weights[:, None]).sum(axis=0),
}
"""Each in float64, of all cells at once."""


def independent(word, cells, weights=None):
    if weights is None:
        weights = np.ones(len(cells))
    return INDEPENDENT[word](cells.astype("f8"), weights)


@quiet
def pooled(word, blocks, weights=None, empty=0.0):
    pool = REDUCERS[word](blocks[0].shape[1] if blocks else BANDS)
    for number, block in enumerate(blocks):
        pool.merge(pool.pool(block, None if weights is None else weights[number]))
    if empty:
        pool.add_empty(empty)
    return pool.result()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("word", REDUCERS)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 50), st.integers(0, 99))
def test_any_cut_into_blocks_gives_the_result_of_all_cells(word, weighted, sizes, empty, seed):
    """Empty cells come once, with what they weigh together."""
    rng = np.random.default_rng(seed)
    cells = rng.normal(-1, 2, (sum(sizes), BANDS)).astype("f4")
    weights = rng.uniform(1e-6, 1, sum(sizes) + empty) if weighted else np.ones(sum(sizes) + empty)
    cuts = np.cumsum(sizes)
    found = pooled(
        word,
        np.split(cells, cuts[:-1]),
        np.split(weights, cuts)[:-1] if weighted else None,
        empty=weights[cuts[-1] :].sum(),
    )
    whole = np.concatenate([cells, np.zeros((empty, BANDS), "f4")])
    np.testing.assert_allclose(found, independent(word, whole, weights), rtol=1e-6, atol=2e-6)
    assert found.dtype == "f4"
    assert found.shape == (BANDS,)


@pytest.mark.parametrize("count", [1, 10, 640])
def test_small_deviation_around_a_huge_mean(count):
    """The naive formula, mean of squares less square of mean, is off by up to 100 % here in float64."""
    rng = np.random.default_rng(0)
    cells = (1e9 + 64 * rng.integers(-3, 4, (640, BANDS))).astype("f4")
    weights = rng.uniform(0.1, 1, 640)
    exact = (cells.astype("f8") - 1e9).astype("f4")
    naive = np.average(cells.astype("f8") ** 2, axis=0) - np.average(cells.astype("f8"), axis=0) ** 2
    assert (np.abs(naive / exact.var(axis=0, dtype="f8") - 1) > 1e-3).any()
    blocks = np.split(cells, count)
    np.testing.assert_allclose(pooled("std", blocks), independent("std", exact), rtol=1e-6)
    found = pooled("std", blocks, np.split(weights, count))
    np.testing.assert_allclose(found, independent("std", exact, weights), rtol=1e-6)


@pytest.mark.parametrize("value", [1e9, 0.1, -3e38, 1e-45])
def test_deviation_of_equal_values_is_zero(value):
    block, weights = np.full((7, BANDS), value, "f4"), np.linspace(0.1, 1, 7)
    assert not pooled("std", [block[:1]]).any()
    np.testing.assert_allclose(pooled("std", [block] * 9), np.zeros(BANDS), atol=1e-15 * abs(value))
    np.testing.assert_allclose(
        pooled("std", [block] * 9, [weights] * 9), np.zeros(BANDS), atol=1e-14 * abs(value)
    )


@pytest.mark.parametrize("word", REDUCERS)
def test_blocks_need_not_be_contiguous(word):
    chunk = np.random.default_rng(0).normal(size=(8, 8, BANDS)).astype("f4")
    part, weights = chunk[2:7, 3], np.linspace(0.2, 1, 10)[::2]
    assert not part.flags.c_contiguous
    np.testing.assert_allclose(pooled(word, [part]), independent(word, part), rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(pooled(word, [part]), pooled(word, [part.copy()]))
    np.testing.assert_array_equal(
        pooled(word, [part], [weights]), pooled(word, [part.copy()], [weights.copy()])
    )


@pytest.mark.parametrize("word", REDUCERS)
@pytest.mark.parametrize("nan_first", [True, False])
def test_nan_reaches_its_own_band_only(word, nan_first):
    clean, dirty = np.ones((2, 3, BANDS), "f4")
    dirty[1, 2] = np.nan
    blocks = [dirty, clean] if nan_first else [clean, dirty]
    weights = [np.array([0.5, 1e-6, 1])] * 2
    spoilt = [False, False, True, False, False]
    for found in (pooled(word, blocks), pooled(word, blocks, weights), pooled(word, blocks, empty=4)):
        np.testing.assert_array_equal(np.isnan(found), spoilt)


INFINITE = {
    "mean": (np.inf, -np.inf, np.nan),
    "max": (np.inf, 1, np.inf),
    "min": (1, -np.inf, -np.inf),
    "std": (np.nan, np.nan, np.nan),
    "sum": (np.inf, -np.inf, np.nan),
}
"""Of 1 and inf, of 1 and -inf, of inf and -inf."""


@pytest.mark.parametrize("weights", [None, np.array([0.5, 0.25])])
@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("word", REDUCERS)
def test_infinities_are_values_without_a_warning(word, cut, weights):
    cells = np.array([[1, 1, np.inf], [np.inf, -np.inf, -np.inf]], "f4")
    blocks = np.split(cells, 2) if cut else [cells]
    parts = None if weights is None else np.split(weights, len(blocks))
    np.testing.assert_array_equal(pooled(word, blocks, parts), np.array(INFINITE[word], "f4"))


@pytest.mark.parametrize("word", REDUCERS)
def test_result_of_no_cells_is_nan(word):
    found = pooled(word, [])
    np.testing.assert_array_equal(found, np.full(BANDS, np.nan, "f4"), strict=True)
    pool = REDUCERS[word](BANDS)
    pool.add_empty(0.0)
    assert np.isnan(pool.result()).all()


def test_empty_cells_count_as_zeros_whatever_they_weigh():
    cells = np.full((3, BANDS), -2, "f4")
    np.testing.assert_array_equal(pooled("max", [cells], empty=1e-9), np.zeros(BANDS))
    np.testing.assert_array_equal(pooled("max", [cells], empty=0), np.full(BANDS, -2))
    for word in REDUCERS:
        np.testing.assert_array_equal(pooled(word, [], empty=0.3), np.zeros(BANDS, "f4"), strict=True)


def test_mean_of_a_million_cells_is_exact():
    """A running float32 sum of these is off by 1.3 %; one of large values overflows."""
    pool = REDUCERS["mean"](BANDS)
    block = np.full((64_000, BANDS), 1.1, "f4")
    for _ in range(20):
        pool.merge(pool.pool(block))
    np.testing.assert_array_equal(pool.result(), np.full(BANDS, 1.1, "f4"))
    large = np.array([[3e38] * BANDS, [3e38] * BANDS, [-3e38] * BANDS, [4] * BANDS], "f4")
    np.testing.assert_allclose(pooled("mean", [large]), np.full(BANDS, 0.75e38), rtol=1e-6)
    np.testing.assert_allclose(pooled("std", [large[:3]]), independent("std", large[:3]), rtol=1e-6)
    np.testing.assert_array_equal(pooled("sum", [large[:2]]), np.full(BANDS, np.inf))
