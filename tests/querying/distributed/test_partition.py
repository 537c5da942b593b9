"""Which regions go together: those of one chunk, in compact groups of about one size."""

import numpy as np
import pytest
import shapely

from cop_zarr import BBox, PointBuffer
from cop_zarr.core.grid import Grid
from cop_zarr.core.product import LATTICE_COLS, LATTICE_ROWS
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.querying.distributed import partition

LAYOUT = Layout(Grid(0, 0, LATTICE_ROWS, LATTICE_COLS), 16)
SQUARE = shapely.box(10, 40, 14, 42)


@pytest.mark.parametrize(
    "roi",
    [
        (10, 40, 14, 42),
        [10.0, 40, 14, 42],
        np.array([10, 40, 14, 42]),
        BBox(10, 40, 14, 42),
        PointBuffer(12, 41, 1000),
        SQUARE,
        shapely.MultiPolygon([SQUARE]),
    ],
)
def test_middle_of_a_region(roi):
    lons, lats = partition.centres([roi], None)
    assert (lons[0], lats[0]) == (12, 41)


@pytest.mark.parametrize("wrap", ["geometry", "feature", "collection", "geometries"])
def test_a_mapping_lies_where_it_begins(wrap):
    geometry = {"type": "Polygon", "coordinates": [[[1, 2], [3, 2], [3, 4], [1, 2]]]}
    roi = {
        "geometry": geometry,
        "feature": {"type": "Feature", "geometry": geometry, "properties": None},
        "collection": {
            "type": "FeatureCollection",
            "features": [{"type": "Feature", "geometry": geometry}],
        },
        "geometries": {"type": "GeometryCollection", "geometries": [geometry]},
    }[wrap]
    assert [float(each[0]) for each in partition.centres([roi], None)] == [1, 2]


def test_over_the_antimeridian():
    lons, _ = partition.centres([(170, 0, -170, 10), BBox(170, 0, -170, 10)], None)
    assert lons.tolist() == [180, 180]


@pytest.mark.parametrize("roi", [(1, 2), "text", None, {"type": "Polygon"}, {}, {"features": 3}, object()])
def test_what_is_no_region_lies_nowhere(roi):
    lons, lats = partition.centres([roi], None)
    assert np.isnan(lons[0])
    assert partition.chunk_keys(LAYOUT, lons, lats).tolist() == [-1]


def test_another_crs():
    lons, lats = partition.centres([(13358338.9, 3503549.8, 13358338.9, 3503549.8)], "EPSG:3857")
    np.testing.assert_allclose([lons[0], lats[0]], [120, 30], atol=1e-4)


def test_keys_tell_chunks_apart():
    lons, lats = np.meshgrid(np.arange(-180, 180, 0.25), np.arange(90, -90.1, -0.25))
    keys = partition.chunk_keys(LAYOUT, lons.ravel(), lats.ravel()).reshape(lons.shape)
    rows, cols = np.indices(lons.shape)
    chunks = rows // 8 * 180 + cols // 8
    pairs = np.unique(np.stack([keys.ravel(), chunks.ravel()]), axis=1)
    assert pairs.shape[1] == np.unique(keys).size == np.unique(chunks).size == 91 * 180
    for first in range(0, 64, 16):  # four by four chunks follow one another
        member = (keys >= first) & (keys < first + 16)
        assert np.ptp(rows[member] // 8) <= 3
        assert np.ptp(cols[member] // 8) <= 3


@pytest.mark.parametrize("count", [0, 1, 255, 5000, 100_000])
def test_groups_take_each_once(count):
    keys = np.random.default_rng(count).integers(0, 2000, count)
    found = partition.groups(keys, threads=4, most=10_922)
    assert np.array_equal(np.sort(np.concatenate([*found, []])), np.arange(count))
    assert all((np.diff(group) > 0).all() for group in found)
    assert all(group.size <= 10_922 for group in found)


def test_a_chunk_is_in_one_group():
    keys = np.random.default_rng(1).integers(0, 2000, 100_000)
    found = partition.groups(keys, threads=4, most=10_922)
    assert len(found) >= 16
    owners = [set(keys[group].tolist()) for group in found]
    assert sum(map(len, owners)) == len(set.union(*owners))
    sizes = [group.size for group in found]
    assert max(sizes) < 1.5 * np.mean(sizes)


def test_a_chunk_of_many_is_cut():
    found = partition.groups(np.zeros(100_000, "i8"), threads=4, most=10_922)
    assert max(group.size for group in found) <= 10_922
