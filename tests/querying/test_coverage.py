"""Fractions of cells inside regions, against shapely's intersection with every cell."""

import numpy as np
import pytest
import shapely

from cop_zarr.core.grid import TOUCH_TOLERANCE, Grid, Window
from cop_zarr.errors import RegionError
from cop_zarr.querying.coverage import coverage
from cop_zarr.querying.options import CheckedOptions
from cop_zarr.querying.plan import plan
from cop_zarr.regions import BBox, PointBuffer, footprint
from tests.support.geometry import shifted

GLOBE = Grid(0, 0, 721, 1440)
FROM_GREENWICH = Grid(0, 720, 721, 1440)
STEP = 0.25

FLOAT32 = 5e-8
"""exactextract gives float32, whose numbers just below 1 are 6e-8 apart."""


def fractions_by_shapely(grid, window, geometry):
    """Area inside a geometry of each cell, clipped at the poles, over the cell's own; in degrees."""
    lats = 90 - STEP * (grid.row_offset + np.arange(window.row, window.row_stop))[:, None]
    lons = -180 + STEP * (grid.col_offset + np.arange(window.col, window.col_stop))
    souths, norths = np.maximum(lats - STEP / 2, -90), np.minimum(lats + STEP / 2, 90)
    cells = shapely.box(lons - STEP / 2, souths, lons + STEP / 2, norths)
    inside = np.zeros(cells.shape)
    for shift in range(-1080, 1081, 360):
        region = shifted(geometry, shift)
        shapely.prepare(region)
        cut = shapely.intersects(cells, region)
        inside[cut] += shapely.area(shapely.intersection(cells[cut], region))
    return inside / shapely.area(cells)


def check(grid, roi, tolerance=FLOAT32):
    """Coverage of a region, compared; ``tolerance`` is of a cell, or of the region if that is smaller."""
    found = footprint(roi)
    window, _ = grid.touched(found.bounds)
    weights = coverage(grid, window, found)
    geometry = shapely.box(*found.bounds) if found.geometry is None else found.geometry
    parts = fractions_by_shapely(grid, window, geometry)
    least = TOUCH_TOLERANCE * min(1, parts.sum())
    off = np.abs(weights - np.where(parts > least, parts, 0))
    off[np.abs(parts - least) < 0.1 * least] = 0  # either way
    assert off.max() <= tolerance * min(1, parts.sum()), (off.max(), str(grid), geometry.wkt[:500])
    assert weights.shape == window.shape
    assert weights.dtype == "f8"
    assert weights.min() >= 0
    assert weights.max() <= 1
    return weights


def star(rng, lon, lat, size, points=12):
    """A polygon that is not convex, of ``size`` degrees; cut off at the poles."""
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False) + rng.uniform(0, 2 / points, points)
    reach = size * rng.uniform(0.3, 1, points)
    drawn = shapely.Polygon(np.column_stack([lon + reach * np.cos(angles), lat + reach * np.sin(angles)]))
    return drawn.intersection(shapely.box(-1000, -90, 1000, 90))


@pytest.mark.parametrize("grid", [GLOBE, FROM_GREENWICH], ids=["-180..180", "0..360"])
@pytest.mark.parametrize("lon", [-179.9, 180, 0, 359.9])
def test_polygons_across_the_edge_of_either_kind_of_grid(grid, lon):
    rng = np.random.default_rng(1)
    for _ in range(5):
        polygon = star(rng, lon, rng.uniform(-84, 84), rng.uniform(0.2, 4))
        if polygon.bounds[0] < -180:
            polygon = shifted(polygon, 360)
        if polygon.bounds[2] > 360:
            polygon = shifted(polygon, -360)
        check(grid, polygon)


@pytest.mark.parametrize("size", [1e-1, 1e-3, 1e-6, 1e-9])
def test_tiny_polygons_across_a_corner_of_cells(size):
    shape = np.array([[1, 0.3], [0.2, 1], [-1, 0.4], [-0.3, -1], [0.5, -0.7]])
    rng = np.random.default_rng(4)
    for _ in range(10):
        corner = (-180.125 + STEP * rng.integers(2, 1400), 90.125 - STEP * rng.integers(2, 719))
        polygon = shapely.Polygon(corner + size * shape)
        # float64 rounds the vertices
        weights = check(GLOBE, polygon, tolerance=max(1e-7, 1e-13 / size))
        assert (weights > 0).sum() == 4
        assert weights.sum() == pytest.approx(polygon.area / STEP**2, rel=1e-6)


@pytest.mark.parametrize("grid", [GLOBE, Grid(0, 901, 721, 1440)])
@pytest.mark.parametrize("width", [359.7, 359.95, 360])
def test_polygons_that_begin_and_end_in_one_cell(grid, width):
    lons = -179.3 + np.linspace(0, width, 40)
    wavy = -80 + np.sin(np.arange(40)) / 2
    ring = np.concatenate([
        np.column_stack([lons, wavy]), np.column_stack([lons, wavy + 3])[::-1]
    ])  # fmt: skip
    weights = check(grid, shapely.Polygon(ring))
    assert weights.shape[1] == min(1440, np.ceil((width + 0.125) / STEP))


def test_grids_of_a_part_of_the_globe():
    rng, checked = np.random.default_rng(6), 0
    for _ in range(60):
        cols = int(rng.choice([rng.integers(1, 200), rng.integers(1, 1441)]))
        grid = Grid(int(rng.integers(600)), int(rng.integers(1440)), int(rng.integers(1, 121)), cols)
        lon = rng.choice(grid.longitudes[[0, -1, grid.cols // 2]])
        lat = np.clip(rng.choice(grid.latitudes[[0, -1]]), -84, 84)
        lon = (lon + 170) % 360 - 170  # the whole star is within -180 … 360
        region = star(rng, lon, lat, rng.uniform(0.5, 5))
        for roi in (region, BBox(*region.bounds)):
            try:
                grid.touched(footprint(roi).bounds)
            except RegionError:  # outside, or in two pieces: see test_grid
                continue
            check(grid, roi)
            checked += 1
    assert checked > 60


# Boxes


@pytest.mark.parametrize("grid", [FROM_GREENWICH, Grid(0, 333, 721, 1440)])
@pytest.mark.parametrize(
    "globe",
    [
        (-180, -90, 180, 90),
        (0, -90, 360, 90),
        (-180.125, -90.125, 179.875, 90.125),  # the product's own extent
        (-0.125, -90.125, 359.875, 90.125),
        (-180.125, -90.125, 180.125, 90.125),
        (-180, -90, 180 + 3e-14, 90 + 1e-14),
        (180 - 3e-14, -90, 540, 90),
    ],
)
def test_coverage_by_the_globe_is_exactly_one(grid, globe):
    for roi in (BBox(*globe), shapely.box(*globe)):
        found = footprint(roi)
        window, clipped = grid.touched(found.bounds)
        assert not clipped
        assert window.shape == (721, 1440)
        assert (coverage(grid, window, found) == 1).all()


def random_boxes(count, seed):
    rng = np.random.default_rng(seed)
    while count:
        west, south = rng.uniform(-180, 360), rng.choice([-90, rng.uniform(-90, 89.9)])
        width = rng.choice([10 ** rng.uniform(-6, 1), rng.uniform(359.7, 360)])
        north = min(90, south + 10 ** rng.uniform(-6, 1))
        east = west + width if west + width <= 360 else west + width - 360
        if (east - west) % 360 > 1e-9:
            yield float(west), float(south), float(east), float(north)
            count -= 1


def test_boxes_are_exact():
    """Up to rounding in degrees, 6e-14: no float32 in between."""
    rng = np.random.default_rng(7)
    for box in random_boxes(50, seed=8):
        size = min(1, (box[2] - box[0]) % 360, box[3] - box[1])
        grid = rng.choice([GLOBE, FROM_GREENWICH, Grid(0, 17, 721, 1440)])
        check(grid, BBox(*box), tolerance=1e-12 / size)


def test_overlaps_below_the_tolerance_are_zero():
    hair = 0.3 * TOUCH_TOLERANCE * STEP
    found = footprint(shapely.box(10.125 - hair, 20.125, 11.125 + hair, 21.125))
    wide = Window(276, 280, 760, 766)
    weights = coverage(GLOBE, wide, found)
    assert weights[:, 0].tolist() == weights[:, -1].tolist() == [0] * 4
    np.testing.assert_allclose(weights[:, 1:-1], 1, atol=FLOAT32)


def test_coverage_of_a_cell_does_not_depend_on_the_window():
    found = footprint(star(np.random.default_rng(10), 179.5, 10, 4))
    window, _ = GLOBE.touched(found.bounds)
    whole = coverage(GLOBE, window, found)
    for shift in (-1440, 1440):
        other = Window(window.row, window.row_stop, window.col + shift, window.col_stop + shift)
        np.testing.assert_allclose(coverage(GLOBE, other, found), whole, atol=FLOAT32)
    part = Window(window.row + 3, window.row + 9, window.col + 2, window.col + 20)
    np.testing.assert_allclose(coverage(GLOBE, part, found), whole[3:9, 2:20], atol=FLOAT32)


# Bilinear weights


def bilinear(grid, lon, lat):
    """Window and weights of a query at a point."""
    found = plan(grid, PointBuffer(lon, lat, 1), CheckedOptions(subpixel="bilinear"))
    return found.window, found.weights


def tent(lon, lat):
    """Weights by the textbook: products of 1 - distance / step, cell centre by cell centre."""
    rows = np.maximum(0, 1 - np.abs(90 - STEP * np.arange(721) - lat) / STEP)
    away = np.abs((-180 + STEP * np.arange(1440) - lon + 180) % 360 - 180)
    return np.outer(rows, np.maximum(0, 1 - away / STEP))


@pytest.mark.parametrize("grid", [GLOBE, Grid(0, 1437, 721, 1440)])
def test_bilinear_weights_anywhere(grid):
    rng = np.random.default_rng(11)
    for _ in range(15):
        lon = rng.choice([rng.uniform(-180, 360), rng.uniform(179, 181), rng.uniform(359, 360)])
        lat = rng.choice([rng.uniform(-90, 90), rng.uniform(89.7, 90), rng.uniform(-90, -89.7)])
        window, weights = bilinear(grid, lon, lat)
        found = np.zeros((721, 1440))
        cols = (np.arange(window.col, window.col_stop) + grid.col_offset) % 1440
        found[window.row : window.row_stop, cols] = weights
        np.testing.assert_allclose(found, tent(lon, lat), atol=1e-12)


def test_bilinear_weights_at_the_edge_of_a_part():
    part = Grid(100, 200, 20, 30)  # from 65° N and 130° W
    window, weights = bilinear(part, -130 + 0.0625, 65 - 0.0625)
    assert window == Window(0, 2, 0, 2)
    np.testing.assert_array_equal(weights, [[0.5625, 0.1875], [0.1875, 0.0625]])
    for lon, lat in [(-130 - 0.0625, 65 + 0.0625), (230 - 0.0625, 65 - STEP * 19 - 0.0625)]:
        with pytest.raises(RegionError, match="four"):
            bilinear(part, lon, lat)


def beyond_the_poles(count, seed):
    """Boxes that end past a pole by up to half a cell, at any turn."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        west, width, height = rng.uniform(-1080, 1070), rng.uniform(0.3, 5), rng.uniform(0.3, 3)
        edge = 90 + rng.choice([1e-14, 0.1, 0.125, rng.uniform(0, 0.125)])
        south, north = (90 - height, edge) if rng.random() < 0.5 else (-edge, height - 90)
        yield float(west), float(south), float(west + width), float(north)


def test_weights_past_a_pole_are_those_of_what_is_on_the_earth():
    for box in beyond_the_poles(40, seed=12):
        check(GLOBE, BBox(*box), tolerance=1e-11)
        check(GLOBE, shapely.box(*box))
        middle = (box[1] + box[3]) / 2
        check(GLOBE, shapely.Polygon([(box[0], middle), (box[2], box[1]), (box[2], box[3])]))


@pytest.mark.parametrize(
    ("cell", "row"),
    [((-180.125, 89.875, -179.875, 90.125), 0), ((539.875, -90.125, 540.125, -89.875), 720)],
)
def test_the_cells_of_the_poles_are_cells(cell, row):
    """ERA5 cell boxes: half of each is on the Earth, and it is not less than a cell."""
    for roi in (cell, shapely.box(*cell)):
        found = plan(GLOBE, roi, CheckedOptions(weights="area"))
        assert found.window == Window(row, row + 1, 0, 1)
        assert found.weights.tolist() == [GLOBE.window_areas(found.window).tolist()]
        assert np.abs(found.footprint.bounds.on_earth[1::2]).tolist() in ([89.875, 90], [90, 89.875])
