"""Cells with data as arrays, whole and in blocks, against the values that GDAL wrote."""

import sys
import tracemalloc

import numpy as np
import pytest
import shapely

import cop_zarr
from cop_zarr.errors import InputError, MissingDependencyError, RegionError, ResultTooLargeError
from tests.support import factory


def expected(values, rows, cols):
    """The cells with data of a rectangle of the lattice: rows, columns, and vectors ``(n, bands)``."""
    part = values[:, rows][:, :, cols]
    row, col = np.nonzero((part != 0).any(axis=0))
    return rows[row], cols[col], part[:, row, col].T


def check(cells, rows, cols, vectors):
    np.testing.assert_array_equal(cells.rows, rows)
    np.testing.assert_array_equal(cells.cols, cols)
    np.testing.assert_array_equal(cells.lon, -180 + 0.25 * cols)
    np.testing.assert_array_equal(cells.lat, 90 - 0.25 * rows)
    np.testing.assert_array_equal(cells.vectors, vectors)
    assert cells.vectors.dtype == "f4"
    assert len(cells) == len(rows)


def joined(blocks):
    """Blocks as one."""
    blocks = list(blocks)
    names = ("lon", "lat", "rows", "cols", "vectors")
    return cop_zarr.Cells(*(np.concatenate([getattr(block, name) for block in blocks]) for name in names))


@pytest.fixture(scope="module")
def everything(globe):
    return expected(globe, np.arange(factory.ROWS), np.arange(factory.COLS))


def test_the_globe(store, everything):
    seen = []
    cells = store.cells(progress=lambda *numbers: seen.append(numbers))
    check(cells, *everything)
    assert seen[-1] == (len(cells), len(cells))
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    "size",
    [pytest.param(4_099, marks=pytest.mark.slow), 65_536, pytest.param(10**7, marks=pytest.mark.slow)],
)
def test_blocks_of_the_globe(fresh, everything, size):
    blocks = list(fresh.iter_cells(cells=size))
    assert {len(block) for block in blocks[:-1]} <= {size}
    assert 0 < len(blocks[-1]) <= size
    check(joined(blocks), *everything)


BOXES = {
    "over-the-antimeridian": (178.9, -1.1, 180.9, 0.6),
    "pole": (-180, 89.6, 180, 90),
    "around-the-globe-from-inside-a-chunk": (1, 10, 361, 10.3),
    "within-a-cell": (10.01, 40.01, 10.02, 40.02),
    "no-data": (-100, 0, -90, 1),
}


def touched(west, south, east, north):
    """Rows and columns of the cells that a box touches, west to east, each once."""
    rows, cols = np.arange(factory.ROWS), np.arange(2 * factory.COLS)
    lats, lons = 90 - 0.25 * rows, -180 + 0.25 * cols
    rows = rows[(lats + 0.125 > south) & (lats - 0.125 < north)]
    cols = cols[(lons + 0.125 > west) & (lons - 0.125 < east)]
    return rows, cols[: factory.COLS] % factory.COLS


@pytest.mark.parametrize("name", BOXES)
def test_boxes(store, globe, name):
    found = expected(globe, *touched(*BOXES[name]))
    check(store.cells(BOXES[name]), *found)
    for size in (1, 7, 100):
        blocks = list(store.iter_cells(BOXES[name], cells=size))
        assert len(blocks) == -(-len(found[0]) // size)
        if blocks:
            check(joined(blocks), *found)


def test_a_polygon(store, globe):
    """Of a triangle in degrees, the cells whose squares it overlaps."""
    triangle = shapely.Polygon([(119.9, 29.9), (122.3, 30.1), (121, 32.4)])
    rows, cols = touched(*triangle.bounds)
    row, col, vectors = expected(globe, rows, cols)
    lon, lat = -180 + 0.25 * col, 90 - 0.25 * row
    squares = shapely.box(lon - 0.125, lat - 0.125, lon + 0.125, lat + 0.125)
    inside = shapely.area(shapely.intersection(squares, triangle)) > 0
    assert 0 < inside.sum() < len(row)
    check(store.cells(triangle), row[inside], col[inside], vectors[inside])
    moved = shapely.transform(triangle, np.flip)  # as y, x
    with pytest.raises(RegionError):
        store.cells(shapely.transform(moved, lambda xy: xy + 1000))


def test_a_region_in_another_crs(store):
    mercator = cop_zarr.BBox.from_crs((13358338, 3503549, 13580977, 3763310), crs="EPSG:3857")
    found = store.cells((13358338, 3503549, 13580977, 3763310), crs="EPSG:3857")
    np.testing.assert_array_equal(found.vectors, store.cells(mercator).vectors)
    assert len(found) > 0


def test_a_part_of_the_globe_and_values_that_are_not_finite(part):
    """Rows and columns are the store's own; NaN and infinities are given as they are."""
    grid = part.to_xarray().embedding.to_numpy()
    row, col = np.nonzero(part.valid)
    cells = part.cells()
    np.testing.assert_array_equal((cells.rows, cells.cols), (row, col))
    np.testing.assert_array_equal(cells.lon, 20 + 0.25 * col)
    np.testing.assert_array_equal(cells.lat, 40 - 0.25 * row)
    np.testing.assert_array_equal(cells.vectors, grid[:, row, col].T)
    assert (~np.isfinite(cells.vectors)).sum() == 3
    np.testing.assert_array_equal(joined(part.iter_cells(cells=100)).vectors, cells.vectors)
    assert len(part.cells((29, 30, 90, 35))) == len(part.cells((29, 30, 29.875, 35)))  # clipped
    with pytest.raises(RegionError):
        part.cells((0, 0, 1, 1))


def test_longitudes_of_a_grid_from_0_to_360(tmp_path):
    values = np.ones((2, 3, 1440), "f4")
    path = factory.write_geotiff(tmp_path / "a.tif", values, rows=(100, 103), cols=(720, 2160))
    cop_zarr.ingest(path, tmp_path / "a.zarr")
    cells = cop_zarr.open(tmp_path / "a.zarr").cells()
    np.testing.assert_array_equal(cells.lon[:1440], np.roll(np.arange(-180, 180, 0.25), 720))
    np.testing.assert_array_equal(cells.cols[:1440], np.arange(1440))


def test_dataframe(store):
    cells = store.cells((120, 30, 122, 32))
    frame = cells.to_dataframe()
    assert [str(kind) for kind in frame.dtypes] == ["float64", "float64", "int64", "int64", "object"]
    np.testing.assert_array_equal(frame[["lon", "lat"]].T, [cells.lon, cells.lat])
    np.testing.assert_array_equal(frame[["row", "col"]].T, [cells.rows, cells.cols])
    np.testing.assert_array_equal(np.stack(frame["embedding"]), cells.vectors)
    assert np.shares_memory(frame["embedding"][3], cells.vectors)


def test_no_dataframe_without_pandas(part, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match="pandas"):
        part.cells().to_dataframe()


def test_only_chunks_under_the_region_are_read(watched):
    store, keys = watched
    assert len(list(store.iter_cells((120, 30, 122, 32), cells=5))) > 10
    chunks = [key for key in keys if key.startswith("embedding/")]
    assert len(chunks) == len(set(chunks)) == 4


def test_bad_input(store):
    box = (120, 30, 122, 32)
    with pytest.raises(ResultTooLargeError):
        store.cells(box, max_bytes=64 * 16 * 4 - 1)
    assert len(store.cells(box, max_bytes=64 * 16 * 4)) == 64
    for size in (0, -1, 1.5, True, "7", None):
        with pytest.raises(InputError):
            store.iter_cells(box, cells=size)  # at once, not with the first block
    for options in ({"max_bytes": -1}, {"max_bytes": "1GB"}, {"crs": "EPSG:3857"}):
        with pytest.raises(InputError):
            store.cells(**options)
    with pytest.raises(InputError):
        store.iter_cells(crs=3857)
    for region in ((122, 32, 120, 30), (1, 2, 3), "Atlantis", {}):
        with pytest.raises(RegionError):
            store.cells(region)
        with pytest.raises(RegionError):
            store.iter_cells(region)


def test_a_loop_that_is_left_early_leaves_nothing_behind(fresh):
    for block in fresh.iter_cells(cells=1_000):
        assert len(block) == 1_000
        break
    assert len(next(fresh.iter_cells(cells=10))) == 10


def test_blocks_take_little_memory(fresh):
    """Positions of all cells take 32 bytes each, and sorting them out 24; vectors would take 64 more."""
    box = (0, 0, 180, 45)
    everything = len(fresh.cells(box))
    tracemalloc.start()
    try:
        assert sum(len(block) for block in fresh.iter_cells(box, cells=1_024)) == everything
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (32 + 24 + 16) * everything
