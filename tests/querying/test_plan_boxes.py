"""Plans of many boxes at once: the windows of single plans."""

import numpy as np
import pytest

from cop_zarr import BBox, PointBuffer
from cop_zarr.core.grid import Grid
from cop_zarr.core.product import STEP_DEG
from cop_zarr.errors import RegionError
from cop_zarr.querying.options import CheckedOptions
from cop_zarr.querying.plan import plan
from cop_zarr.querying.plan_boxes import plan_boxes

GLOBE, PART = Grid(0, 0, 721, 1440), Grid(100, 700, 60, 90)


def draw(count, seed, bounds):
    """Boxes of any size, on cell edges or a hair beside them, some of them to be refused."""
    rng = np.random.default_rng(seed)
    west, south = rng.uniform(bounds[:2], bounds[2:], (count, 2)).T
    width, height = rng.choice([0.1, 0.25, 1, 20, 200], (2, count)) * rng.uniform(0.9, 1.1, (2, count))
    edges = np.stack([west, south, west + width, south + height], axis=1)
    on_edges = np.round(edges * 4) / 4 + 0.125 + rng.choice([0, 0, 1e-9, -1e-9, 3e-7, -3e-7], (count, 4))
    return np.where(rng.random((count, 1)) < 0.5, edges, on_edges)


@pytest.mark.parametrize("grid", [GLOBE, PART], ids=["globe", "part"])
def test_windows_are_those_of_single_plans(grid):
    bounds = np.add(grid.bounds, (-2, -2, 2, 2))
    boxes, options = draw(3000, 0, bounds).tolist(), CheckedOptions()
    windows, planned = plan_boxes(grid, boxes, options)
    assert windows.dtype == np.int64
    assert 100 < planned.sum() < 2900
    for box, window, is_planned in zip(boxes, windows.tolist(), planned, strict=True):
        if is_planned:
            found = plan(grid, box, options)
            assert [*vars(found.window).values()] == window
            assert found.weights is None
            assert not found.clipped


def test_what_may_be_refused_is_not_planned():
    nan, inf = float("nan"), float("inf")
    others = [
        (0, 0, 0.2, 5), (0, 0, 5, 0.2), (5, 0, 4, 1), (0, 5, 1, 4), (nan, 0, 5, 5), (0, 0, inf, 5),
        (-inf, 0, inf, 5), (0, 85, 5, 95), (178, 0, 182, 2), (0, 0, 5, 10**300), (True, 0, 5, 5), (0, 0, 5),
        None, "0,0,5,5", PointBuffer(0, 0, 1e5), {"minlon": 0}, np.array([0, 0, 5, 5]),
        ("0", "0", "5", "5"),
    ]  # fmt: skip
    windows, planned = plan_boxes(
        GLOBE, [*others, (0, 0, 5, 5), [0, 0, 5, 5], BBox(0, 0, 5, 5)], CheckedOptions()
    )
    assert np.flatnonzero(planned).tolist() == [len(others), len(others) + 1, len(others) + 2]
    assert (windows[-3:] == windows[-1]).all()
    assert not plan_boxes(GLOBE, [(0, 0, 5, 10**400), (0, 0, 5, 5)], CheckedOptions())[1].any()


@pytest.mark.parametrize(
    "options", [{"crs": "EPSG:3857"}, {"weights": "coverage"}, {"weights": "area"}], ids=str
)
def test_options_that_need_a_plan_of_each(options):
    assert not plan_boxes(GLOBE, [(0, 0, 5, 5)], CheckedOptions(**options))[1].any()


def test_a_box_of_one_cell_is_planned_and_a_smaller_one_is_not():
    sizes = STEP_DEG * (1 - np.array([0, 9e-7, 1.1e-6]))
    boxes = [(10.125, 40.125, 10.125 + size, 40.125 + size) for size in sizes.tolist()]
    assert plan_boxes(GLOBE, boxes, CheckedOptions())[1].tolist() == [True, True, False]
    with pytest.raises(RegionError):
        plan(GLOBE, boxes[2], CheckedOptions())
