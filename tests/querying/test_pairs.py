"""Pairs of chunks and regions, against the cells of each window one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cop_zarr.core.grid import Grid
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.querying import pairs as of_pairs
from cop_zarr.querying.pairs import touching_pairs
from tests.format.test_layout import GLOBE, ODD, windows

LAYOUTS = st.shared(st.sampled_from([GLOBE, ODD]), key="layout")


def brute_force(layout, window, weights):
    """Weight of each cell of the grid: a window's, wrapped."""
    found = np.zeros(layout.grid.shape)
    rows, cols = np.mgrid[window.row : window.row_stop, window.col : window.col_stop]
    found[rows, cols % layout.grid.cols] = 1 if weights is None else weights
    return found


@given(
    LAYOUTS,
    LAYOUTS.flatmap(lambda layout: st.lists(st.tuples(windows(layout), st.booleans()), max_size=6)),
    st.integers(0, 99),
)
def test_weights_of_all_pairs_are_those_of_the_windows(layout, regions, seed):
    rng = np.random.default_rng(seed)
    stored = rng.random(layout.chunk_grid) < 0.8
    numbers = [(each.row, each.row_stop, each.col, each.col_stop) for each, _ in regions]
    weights = {
        number: rng.random(window.shape) * (rng.random(window.shape) < 0.3)
        for number, (window, weighted) in enumerate(regions)
        if weighted
    }
    pairs, elsewhere = touching_pairs(layout, stored, np.array(numbers, "i8").reshape(-1, 4), weights)
    rows, cols = layout.chunk_grid
    found = np.zeros((len(regions), rows * 8, cols * 8))
    for number in range(len(pairs)):
        region, (row, col) = pairs.regions[number], divmod(pairs.chunks[number], cols)
        tile = pairs.weights(slice(number, number + 1)).reshape(8, 8).T  # longitude comes first
        assert tile.any()
        assert pairs.weight[number] == pytest.approx(tile.sum())
        place = (region, slice(8 * row, 8 * row + 8), slice(8 * col, 8 * col + 8))
        assert not found[place].any(), "a pair comes twice"
        found[place] = tile
    holds = np.kron(stored, np.ones((8, 8)))
    for region, (window, _) in enumerate(regions):
        expected = np.zeros(found.shape[1:])
        expected[: layout.grid.rows, : layout.grid.cols] = brute_force(layout, window, weights.get(region))
        np.testing.assert_array_equal(found[region], expected * holds)
        assert elsewhere[region] == pytest.approx((expected * (1 - holds)).sum())


@given(LAYOUTS, LAYOUTS.flatmap(lambda layout: st.lists(windows(layout), min_size=1, max_size=9)))
def test_a_region_begins_once_and_ends_once(layout, several):
    numbers = np.array([(each.row, each.row_stop, each.col, each.col_stop) for each in several], "i8")
    pairs, _ = touching_pairs(layout, np.ones(layout.chunk_grid, "?"), numbers, {})
    assert (np.diff(pairs.chunks) >= 0).all()
    assert (np.diff(pairs.stage)[np.diff(pairs.chunks) == 0] >= 0).all()
    unfinished = set()
    for region, stage in zip(pairs.regions.tolist(), pairs.stage.tolist(), strict=True):
        assert (region in unfinished) == (stage in {of_pairs.BETWEEN, of_pairs.ENDS})
        if stage == of_pairs.BEGINS:
            unfinished.add(region)
        elif stage == of_pairs.ENDS:
            unfinished.remove(region)
    assert not unfinished
    assert set(pairs.regions.tolist()) == set(range(len(several)))


def test_no_region_has_no_pairs():
    layout = Layout(Grid(100, 700, 20, 30), 4)
    pairs, elsewhere = touching_pairs(layout, np.ones(layout.chunk_grid, "?"), np.zeros((0, 4), "i8"), {})
    assert len(pairs) == len(elsewhere) == 0
