"""Patches around points, against a walk along meridians on a sphere, and the values that GDAL wrote."""

import geopandas
import numpy as np
import pytest

import cop_zarr
from cop_zarr.errors import InputError, RegionError, ResultTooLargeError
from tests.support import factory

STEP = factory.STEP


def walked(lon, lat, size):
    """Centres of the cells that one meets from the middle cell's parallel along meridians: lon, lat.

    Both are ``(n, size, size)``. Positions are three-dimensional, so a pole is no special place.
    """
    offsets = STEP * (np.arange(size) - size // 2)
    lon, lat = STEP * np.rint(lon / STEP), STEP * np.rint(lat / STEP)  # the middles
    meridian = np.radians(lon[:, None, None] + offsets[None, None, :])
    turned = np.radians(lat[:, None, None] - offsets[None, :, None])
    x, y, z = np.cos(turned) * np.cos(meridian), np.cos(turned) * np.sin(meridian), np.sin(turned)
    x, y, z = np.broadcast_arrays(x, y, z)
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))


def expected(globe, lon, lat, size):
    """The patches of the globe: ``(n, bands, size, size)``."""
    lons, lats = walked(np.asarray(lon, "f8"), np.asarray(lat, "f8"), size)
    rows = np.rint((90 - lats) / STEP).astype(int)
    cols = np.rint((lons + 180) / STEP).astype(int) % factory.COLS
    return np.moveaxis(globe[:, rows, cols], 0, 1)


def random_places(count, seed=0):
    """Points inside cells, a third near the poles, a third near the antimeridian."""
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(-180, 180, count), rng.uniform(-89, 89, count)
    third = count // 3
    lat[:third] = rng.choice([-1, 1], third) * rng.uniform(88.9, 90, third)
    lon[third : 2 * third] = (180 + rng.uniform(-1, 1, third) + 180) % 360 - 180
    return lon, lat


@pytest.mark.parametrize("size", [1, 3, 5, 11])
def test_random_places(store, globe, size):
    lon, lat = random_places(600, size)
    found = store.patches(lon, lat, size)
    assert (found.dtype, found.shape) == ("f4", (600, factory.BANDS, size, size))
    np.testing.assert_array_equal(found, expected(globe, lon, lat, size))


POLES = [(10, 90), (-170, 90), (10, 89.75), (10, -90), (179.75, -89.5), (-180, 90), (0, 89.25)]


@pytest.mark.parametrize(("lon", "lat"), POLES)
def test_cells_across_a_pole(store, globe, lon, lat):
    found = store.patches([lon], [lat], size=7)
    np.testing.assert_array_equal(found, expected(globe, [lon], [lat], 7))


def test_one_step_across_the_north_pole_by_hand(store, globe):
    """From 89.75° N at 10° E, two rows north is 89.75° N at 170° W, and west is where it was."""
    patch = store.patches(10, 89.75, size=5)
    row, col, across = 1, round((10 + 180) / STEP), round((-170 + 180) / STEP)
    for east in range(-2, 3):
        np.testing.assert_array_equal(patch[:, 1, 2 + east], globe[:, 0, col + east])
        np.testing.assert_array_equal(patch[:, 0, 2 + east], globe[:, row, across + east])


@pytest.mark.slow
def test_from_pole_to_pole(store, globe):
    found = store.patches([33.0], [0.0], size=721)
    np.testing.assert_array_equal(found, expected(globe, [33.0], [0.0], 721))
    assert (found[0, 0, [0, -1], 0] == globe[0, [0, -1], 492]).all()


def test_the_middle_is_what_sample_gives(store):
    lon, lat = random_places(300, 7)
    lon[:50], lat[:50] = np.rint(lon[:50] * 8) / 8, np.rint(lat[:50] * 8) / 8  # on edges
    np.testing.assert_array_equal(store.patches(lon, lat)[:, :, 2, 2], store.sample(lon, lat))


def test_shapes_of_points(store):
    assert store.patches(10, 50).shape == (16, 5, 5)
    assert store.patches([], []).shape == (0, 16, 5, 5)
    lon, lat = np.meshgrid([10, 20, 30], [40, 50])
    grid = store.patches(lon, lat, size=3)
    assert grid.shape == (2, 3, 16, 3, 3)
    np.testing.assert_array_equal(grid[1, 2], store.patches(30, 50, size=3))


def test_points_in_another_crs_and_in_a_table(store):
    found = store.patches([11.5, 121.5], [48.1, 31.2])
    table = geopandas.GeoSeries.from_xy([11.5, 121.5], [48.1, 31.2], crs=4326)
    np.testing.assert_array_equal(store.patches(table), found)
    moved = table.to_crs(3857)
    np.testing.assert_array_equal(store.patches(moved), found)
    np.testing.assert_array_equal(store.patches(moved.x, moved.y, crs=3857), found)


def test_a_part_of_the_globe(part):
    """``part`` has rows 200 to 223 and columns 800 to 839 of the lattice."""
    values = part.to_xarray().embedding.to_numpy()
    wide = np.pad(values, ((0, 0), (4, 4), (4, 4)), constant_values=np.nan)
    row, col = (index.ravel() for index in np.indices((24, 40)))
    found = part.patches(20 + STEP * col, 40 - STEP * row, size=9)
    for patch, r, c in zip(found, row, col, strict=True):
        np.testing.assert_array_equal(patch, wide[:, r : r + 9, c : c + 9])
    with pytest.raises(RegionError):
        part.patches([20, 19.8], [40, 40])
    positions = []
    patches = part.patches([20, 19.8, np.nan], [40, 40, 0], on_error=lambda n, _: positions.append(n))
    assert sorted(positions) == [1, 2]
    assert np.isfinite(patches[0]).any()
    assert np.isnan(patches[1:]).all()


def test_cells_without_data(store, globe):
    lon, lat = random_places(200, 3)
    found, data = store.patches(lon, lat, empty="skip"), expected(globe, lon, lat, 5)
    empty = np.broadcast_to((data == 0).all(axis=1, keepdims=True), data.shape)
    assert 0 < empty.mean() < 1
    np.testing.assert_array_equal(found, np.where(empty, np.float32("nan"), data))


def test_blocks_and_progress(store, globe, monkeypatch):
    monkeypatch.setattr("cop_zarr.querying.patches.BLOCK_POINTS", 100)
    lon, lat = random_places(10, 5)
    seen = []
    found = store.patches(lon, lat, progress=lambda *numbers: seen.append(numbers))
    np.testing.assert_array_equal(found, expected(globe, lon, lat, 5))
    assert seen == sorted(seen)
    assert {(4, 10), (8, 10), (10, 10)} <= set(seen)


def test_overlapping_patches_read_each_chunk_once(watched):
    store, keys = watched
    store.patches(np.linspace(120, 121, 50), np.linspace(30, 31, 50))
    chunks = [key for key in keys if key.startswith("embedding/")]
    assert len(chunks) == len(set(chunks)) > 1


def test_bad_input(store):
    for size in (0, 2, -1, 723, 3.0, "3", None, True):
        with pytest.raises(InputError):
            store.patches(10, 50, size)
    for options in ({"empty": "drop"}, {"on_error": "no"}, {"max_bytes": "1"}, {"max_bytes": -1}):
        with pytest.raises(InputError):
            store.patches(10, 50, **options)
    for lon, lat in ((10, 91), (np.nan, 0), ([1, 2], [1, 2, 3]), ("a", 1), ([1j], [2])):
        with pytest.raises(RegionError):
            store.patches(lon, lat)
    with pytest.raises(InputError):
        store.patches([1, 2])
    needed = 2 * 16 * 25 * 4
    with pytest.raises(ResultTooLargeError):
        store.patches([1, 2], [1, 2], max_bytes=needed - 1)
    assert store.patches([1, 2], [1, 2], max_bytes=needed).nbytes == needed
    with pytest.raises(ResultTooLargeError):
        store.patches(np.zeros(100_000), np.zeros(100_000), 721)


def test_a_damaged_chunk_is_named(damageable):
    (damageable / "embedding/c/0/22/100").write_bytes(b"")
    store = cop_zarr.open(damageable)
    with pytest.raises(cop_zarr.errors.ChunkError):
        store.patches(-180 + STEP * 804, 90 - STEP * 180)
