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


RING = {"type": "Polygon", "coordinates": [[[1, 2], [3, 2], [3, 4], [1, 2]]]}
FEATURE = {"type": "Feature", "geometry": RING, "properties": None}
MERCATOR = (13358338.895192828, 3503549.8435043739)


class Broken:
    """An object whose geometry cannot be computed."""

    @property
    def __geo_interface__(self):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("roi", "crs", "centre"),
    [
        *((roi, None, (12, 41)) for roi in (
            (10, 40, 14, 42), [10.0, 40, 14, 42], np.array([10, 40, 14, 42]), BBox(10, 40, 14, 42),
            PointBuffer(12, 41, 1000), SQUARE, shapely.MultiPolygon([SQUARE]),
        )),
        *((roi, None, (1, 2)) for roi in (  # a mapping, where it begins
            RING, FEATURE, {"type": "FeatureCollection", "features": [FEATURE]},
            {"type": "GeometryCollection", "geometries": [RING]},
        )),
        ((170, 0, -170, 10), None, (180, 5)), (BBox(170, 0, -170, 10), None, (180, 5)),
        (MERCATOR * 2, "EPSG:3857", (120, 30)),
        *((roi, None, (np.nan, np.nan)) for roi in (
            (1, 2), "text", None, {"type": "Polygon"}, {}, {"features": 3}, object(), Broken(),
            (10**400, 0, 1, 1), {"type": "Polygon", "coordinates": [[[10**400, 1]]]},
        )),
    ],
)  # fmt: skip
def test_centre_of_a_region(roi, crs, centre):
    lons, lats = partition.centres([roi], crs)
    np.testing.assert_allclose([lons[0], lats[0]], centre)
    assert (partition.chunk_keys(LAYOUT, lons, lats)[0] == -1) == np.isnan(centre[0])


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


@pytest.mark.parametrize(
    ("count", "chunks"), [(0, 2000), (1, 2000), (255, 2000), (5000, 2000), (100_000, 2000), (100_000, 1)]
)
def test_groups_take_each_once_and_whole_chunks_if_they_fit(count, chunks):
    keys = np.random.default_rng(count).integers(0, chunks, count)
    found = partition.groups(keys, threads=4, most=10_922)
    assert np.array_equal(np.sort(np.concatenate([*found, []])), np.arange(count))
    assert all((np.diff(group) > 0).all() for group in found)
    sizes = [group.size for group in found]
    assert max(sizes, default=0) <= 10_922
    if chunks > 1:
        owners = [set(keys[group].tolist()) for group in found]
        assert sum(map(len, owners)) == len(set().union(*owners))
    if (count, chunks) == (100_000, 2000):
        assert len(found) >= 16
        assert max(sizes) < 1.5 * np.mean(sizes)
