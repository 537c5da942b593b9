"""Windows, cells and areas against brute force: the edges of every cell, one by one."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod

from cop_zarr.core.grid import TOUCH_TOLERANCE, Bounds, Grid, Window, split_columns
from cop_zarr.errors import GridError, RegionError

GLOBE = Grid(0, 0, 721, 1440)
FROM_GREENWICH = Grid(0, 720, 721, 1440)
STEP = 0.25


def overlaps(low, high, first_edge, count):
    """Overlap in degrees of an interval with each of the ``count`` cells from ``first_edge`` on."""
    left = first_edge + STEP * np.arange(count)
    return np.minimum(high, left + STEP) - np.maximum(low, left)


def brute_force(bounds):
    """Lattice rows and lattice columns that a box touches, as two sets."""
    rows = overlaps(-bounds.north, -bounds.south, -90.125, 721)
    cols = [overlaps(bounds.west + turn, bounds.east + turn, -180.125, 1440) for turn in TURNS]
    tolerance = TOUCH_TOLERANCE * STEP
    return set(np.flatnonzero(rows > tolerance)), set(
        np.flatnonzero((np.array(cols) > tolerance).any(axis=0))
    )


TURNS = (-720, -360, 0)
HAIRS = [0, 1e-15, -1e-15, 1e-12, -1e-12, 2e-7, -2e-7, 4e-7, -4e-7, 1e-3, -1e-3, 0.1, 0.125]
"""Degrees beside an edge. The tolerance is 2.5e-7; how a tie is rounded does not matter."""


def random_degrees(rng, low, high):
    """Any number of degrees, a whole tenth, or one on the edge of a cell or a hair beside it."""
    kind = rng.integers(3)
    if kind == 0:
        return rng.uniform(low, high)
    if kind == 1:
        return rng.integers(10 * low, 10 * high + 1) / 10
    return min(max(rng.integers(8 * low, 8 * high + 1) / 8 + rng.choice(HAIRS), low), high)


def random_boxes(count, seed=0):
    """Boxes of at least a cell, with west < east; one in ten goes all the way round."""
    rng = np.random.default_rng(seed)
    while count:
        west = random_degrees(rng, -180, 360)
        kind = rng.integers(10)
        width = 360 if kind == 0 else random_degrees(rng, 0, 4 if kind < 5 else 360)
        south, north = sorted(random_degrees(rng, -90, 90) for _ in range(2))
        bounds = Bounds(*map(float, (west, south, west + width, north)))
        if STEP <= bounds.east - bounds.west <= 360 and north - south >= STEP:
            yield bounds
            count -= 1


@pytest.mark.parametrize("grid", [GLOBE, FROM_GREENWICH], ids=["-180..180", "0..360"])
def test_globe_touches_what_brute_force_touches(grid, trials):
    for bounds in random_boxes(400 * trials):
        rows, cols = brute_force(bounds)
        window, clipped = grid.touched(bounds)
        assert not clipped, bounds
        assert set(range(window.row, window.row_stop)) == rows, bounds
        touched = [(col + grid.col_offset) % 1440 for col in range(window.col, window.col_stop)]
        assert len(touched) == len(set(touched)), f"a column comes twice: {bounds}"
        assert set(touched) == cols, bounds
        assert 0 <= window.col < 1440, bounds
        west = grid.window_longitudes(window)[0] - STEP / 2
        assert 0 <= (bounds.west - west + 1e-6) % 360 < STEP + 1e-6, bounds


def random_grid(rng):
    """A part of the globe; some cross the antimeridian, some lack but a few columns."""
    row, rows = rng.integers(721), rng.integers(1, 722)
    cols = rng.integers(1 if rng.integers(2) else 1430, 1441)
    return Grid(int(row), int(rng.integers(1440)), int(min(rows, 721 - row)), int(cols))


def test_part_touches_what_brute_force_leaves_of_it(trials):
    rng, seen = np.random.default_rng(2), Counter()
    for bounds in random_boxes(400 * trials, seed=3):
        grid = random_grid(rng)
        rows, cols = brute_force(bounds)
        here_rows = [row for row in range(grid.rows) if row + grid.row_offset in rows]
        here_cols = [col for col in range(grid.cols) if (col + grid.col_offset) % 1440 in cols]
        case = f"{grid}.touched({bounds})"
        if not here_rows or not here_cols:
            seen["outside"] += 1
            with pytest.raises(RegionError, match="outside"):
                grid.touched(bounds)
        elif here_cols[-1] - here_cols[0] + 1 > len(here_cols) and not grid.cyclic:
            seen["pieces"] += 1
            with pytest.raises(RegionError, match="pieces"):
                grid.touched(bounds)
        else:
            window, clipped = grid.touched(bounds)
            seen[clipped] += 1
            assert list(range(window.row, window.row_stop)) == here_rows, case
            touched = sorted(col % grid.cols for col in range(window.col, window.col_stop))
            assert touched == here_cols, case
            assert clipped == (len(here_rows) < len(rows) or len(here_cols) < len(cols)), case
    assert min(seen[kind] for kind in ("outside", "pieces", True, False)) > 10, seen


@pytest.mark.parametrize(
    ("bounds", "window"),
    [
        (Bounds(-180, -90, 180, 90), Window(0, 721, 0, 1440)),
        (Bounds(10, -90, 370, 90), Window(0, 721, 760, 2200)),
        (Bounds(0, 89.875, 0.25, 90), Window(0, 1, 720, 722)),
        (Bounds(0, -90, 0.25, -89.875), Window(720, 721, 720, 722)),
        (Bounds(179.5, 0, 180.5, 0.25), Window(359, 361, 1438, 1443)),
        (Bounds(179.875, -0.125, 180.125, 0.125), Window(360, 361, 0, 1)),
        (Bounds(120.125, 30.125, 120.375, 30.375), Window(239, 240, 1201, 1202)),
        (Bounds(0, 0, 0, 0), Window(360, 361, 720, 721)),
    ],
    ids=["globe", "globe from 10", "north pole", "south pole", "over 180", "column 0", "one cell", "point"],
)  # fmt: skip
def test_windows_computed_by_hand(bounds, window):
    assert GLOBE.touched(bounds) == (window, False)


def subcell_boxes(count, seed):
    """Boxes narrower or lower than a cell, many of them astride or beside an edge."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        width, height = 10 ** rng.uniform(-5, -0.7, 2)
        middle = np.array([random_degrees(rng, -179, 359), random_degrees(rng, -89, 89)])
        west, south = middle - rng.choice([0, 1, 0.5, 1e-8, 1 - 1e-8], 2) * (width, height)
        yield Bounds(*map(float, (west, south, west + width, south + height)))


def test_subcell_boxes_touch_what_brute_force_touches():
    seen = Counter()
    for bounds in subcell_boxes(3000, seed=4):
        width, height = bounds.east - bounds.west, bounds.north - bounds.south
        rows = overlaps(-bounds.north, -bounds.south, -90.125, 721) / min(height, STEP)
        cols = [overlaps(bounds.west + turn, bounds.east + turn, -180.125, 1440) for turn in TURNS]
        cols = np.max(cols, axis=0) / min(width, STEP)
        if (np.abs(np.append(rows, cols) - TOUCH_TOLERANCE) < 5e-7).any():
            continue  # how a tie is rounded is nobody's business
        window, _ = GLOBE.touched(bounds)
        touched_cols = np.mod(range(window.col, window.col_stop), 1440)
        assert (
            list(range(window.row, window.row_stop)) == np.flatnonzero(rows > TOUCH_TOLERANCE).tolist()
        ), bounds
        assert sorted(touched_cols) == np.flatnonzero(cols > TOUCH_TOLERANCE).tolist(), bounds
        seen[window.shape] += 1
    assert min(seen[shape] for shape in ((1, 1), (1, 2), (2, 1), (2, 2))) > 20, seen


@pytest.mark.parametrize(
    ("west", "north", "offsets"),
    [
        (-180.125, 90.125, (0, 0)),
        (-0.125, 90.125, (0, 720)),
        (179.875, 90.125, (0, 0)),
        (-180.125 + 1e-9, 90.125 - 1e-9, (0, 0)),
        (-10.125, 60.125, (120, 680)),
    ],
)
def test_corner_names_the_first_cell(west, north, offsets):
    grid = Grid.from_corner(west, north, 5, 7)
    assert (grid.row_offset, grid.col_offset) == offsets
    assert grid.shape == (5, 7)


@pytest.mark.parametrize(
    ("west", "north"),
    [(-180, 90), (-180.125, 90), (-180, 90.125), (0.01, 0.125), (math.nan, 90.125), (-180.125, math.inf)],
)
def test_corner_off_the_lattice_is_refused(west, north):
    with pytest.raises(GridError):
        Grid.from_corner(west, north, 5, 7)


@pytest.mark.parametrize("numbers", [
    (1, 0, 721, 1440), (0, 0, 721, 1441), (-1, 0, 5, 5), (0, -1, 5, 5), (0, 1440, 5, 5), (0, 0, 0, 5),
])  # fmt: skip
def test_grid_larger_than_the_globe_is_refused(numbers):
    with pytest.raises(GridError):
        Grid(*numbers)


def test_coordinates_are_the_era5_grid_to_the_last_bit():
    np.testing.assert_array_equal(GLOBE.latitudes, 90 - 0.25 * np.arange(721))
    np.testing.assert_array_equal(GLOBE.longitudes, -180 + 0.25 * np.arange(1440))
    np.testing.assert_array_equal(FROM_GREENWICH.longitudes, 0.25 * np.arange(1440))
    assert GLOBE.bounds == (-180.125, -90.125, 179.875, 90.125)


@pytest.mark.parametrize("grid", [GLOBE, FROM_GREENWICH, Grid(100, 1430, 50, 40)])
@pytest.mark.parametrize("window", [None, Window(3, 9, 5, 8), Window(0, 1, 1438, 1445)])
def test_transform_maps_cell_centres_to_coordinates(grid, window):
    a, b, c, d, e, f = grid.transform(window)
    cells = window or grid.whole
    rows, cols = np.arange(cells.shape[0]) + 0.5, np.arange(cells.shape[1]) + 0.5
    np.testing.assert_array_equal(a * cols + c, grid.window_longitudes(cells))
    np.testing.assert_array_equal(e * rows + f, grid.window_latitudes(cells))
    assert (b, d) == (0, 0)


@given(st.integers(0, 2**32 - 1), st.data())
def test_part_has_the_coordinates_of_its_window(seed, data):
    grid = random_grid(np.random.default_rng(seed))
    row = data.draw(st.integers(0, grid.rows - 1))
    col = data.draw(st.integers(0, grid.cols - 1))
    width = data.draw(st.integers(1, grid.cols if grid.cyclic else grid.cols - col))
    window = Window(row, data.draw(st.integers(row + 1, grid.rows)), col, col + width)
    part = grid.part(window)
    assert part.shape == window.shape
    np.testing.assert_array_equal(part.latitudes, grid.window_latitudes(window))
    turns = (part.longitudes - grid.window_longitudes(window)) / 360
    assert len(set(turns)) == 1
    assert turns[0] == round(turns[0])


@given(st.integers(1, 50), st.data())
def test_columns_split_where_they_wrap(cols, data):
    first = data.draw(st.integers(0, cols - 1))
    window = Window(0, 1, first, first + data.draw(st.integers(1, cols)))
    target = np.full(window.shape[1], -1)
    pieces = list(split_columns(window, cols))
    for start, stop, offset in pieces:
        assert 0 <= start < stop <= cols
        target[offset : offset + stop - start] = np.arange(start, stop)
    np.testing.assert_array_equal(target, np.arange(window.col, window.col_stop) % cols)
    assert len(pieces) == 1 + (window.col_stop > cols)


def cells_by_edges(lons, lats):
    """Lattice rows and columns of points: a cell contains its north and west edge, not the other two."""
    tops, wests = 90.125 - STEP * np.arange(721), -180.125 + STEP * np.arange(1440)
    in_row = (lats[:, None] <= tops) & (lats[:, None] > tops - STEP)
    in_col = np.zeros((lons.size, 1440), "?")
    for turn in (-360, 0, 360):
        turned = lons[:, None] + turn
        in_col |= (turned >= wests) & (turned < wests + STEP)
    assert (in_row.sum(axis=1) == 1).all()
    assert (in_col.sum(axis=1) == 1).all()
    return in_row.argmax(axis=1), in_col.argmax(axis=1)


def random_points():
    """Points anywhere, on cell edges, on cell centres, at the poles and at the antimeridian."""
    rng = np.random.default_rng(5)
    lons = [rng.uniform(-180, 360, 500), rng.integers(-1440, 2881, 1000) / 8]
    lons += [rng.choice([-180, 180, 360, 0, 179.875, -179.875, 180.125], 500)]
    lats = [rng.uniform(-90, 90, 500), rng.integers(-720, 721, 1000) / 8]
    lats += [rng.choice([-90, 90, 89.875, -89.875, 0, 0.125], 500)]
    return np.concatenate(lons), np.concatenate(lats)


def test_points_are_in_the_cell_whose_edges_contain_them():
    """Whatever lattice column a part begins at; -1 for points outside it."""
    lons, lats = random_points()
    rows, cols = cells_by_edges(lons, lats)
    rng, outside = np.random.default_rng(6), 0
    for grid in [GLOBE, FROM_GREENWICH, *(random_grid(rng) for _ in range(100))]:
        place = {(col + grid.col_offset) % 1440: col for col in range(grid.cols)}
        here_cols = np.array([place.get(int(col), -1) for col in cols])
        here_rows = np.where(rows - grid.row_offset < grid.rows, rows - grid.row_offset, -1)
        missing = (here_cols < 0) | (here_rows < 0)
        found_rows, found_cols = grid.cells_at(lons, lats)
        np.testing.assert_array_equal(found_rows, np.where(missing, -1, here_rows), str(grid))
        np.testing.assert_array_equal(found_cols, np.where(missing, -1, here_cols), str(grid))
        outside += missing.sum()
    assert outside > 1000


GEOD = Geod(ellps="WGS84")
HEMISPHERE_M2 = abs(GEOD.polygon_area_perimeter([0, 90, 180, -90], [0, 0, 0, 0])[0])


def cell_area(lat):
    """Area in m² of a cell by its centre: its parallels, which are no geodesics, in 200 pieces."""
    lons = np.linspace(0, STEP, 201)
    south, north = max(lat - STEP / 2, -90), min(lat + STEP / 2, 90)
    ring_lats = np.concatenate([np.full(201, south), np.full(201, north)])
    return abs(GEOD.polygon_area_perimeter(np.concatenate([lons, lons[::-1]]), ring_lats)[0])


def test_cell_areas_are_those_on_the_ellipsoid():
    areas = GLOBE.window_areas(GLOBE.whole)
    for row in [0, 1, 2, 5, *range(10, 710, 100), 359, 360, 719, 720]:
        assert areas[row] == pytest.approx(cell_area(GLOBE.latitudes[row]), rel=2e-6), row
    assert 1440 * areas.sum() == pytest.approx(2 * HEMISPHERE_M2, rel=1e-12)
    np.testing.assert_allclose(areas, areas[::-1], rtol=1e-9)
    assert 1440 * (areas[:360].sum() + areas[360] / 2) == pytest.approx(HEMISPHERE_M2, rel=1e-12)


@pytest.mark.parametrize(
    "grid", [GLOBE, FROM_GREENWICH, Grid(0, 1430, 30, 40), Grid(700, 3, 21, 5), Grid(7, 3, 9, 5)]
)
def test_edges_and_areas_of_windows(grid):
    heights, areas = np.full(721, STEP), GLOBE.window_areas(GLOBE.whole)
    heights[[0, -1]] = STEP / 2  # the halves that are on the Earth
    for window in (grid.whole, Window(0, 3, 0, 2), Window(grid.rows - 2, grid.rows, 1, 2)):
        rows = slice(grid.row_offset + window.row, grid.row_offset + window.row_stop)
        souths, norths = grid.window_edges(window)
        np.testing.assert_array_equal(norths - souths, heights[rows])
        np.testing.assert_array_equal(np.clip(souths, -90, 90 - STEP / 2), souths)
        np.testing.assert_array_equal(grid.window_areas(window), areas[rows])
