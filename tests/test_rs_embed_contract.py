"""Answers equal those of rs-embed's ``copernicus`` model, and differ where its rule has faults.

rs-embed needs Python 3.12 and PyTorch, so its rule is restated here, after its page "Copernicus Embed"
and ``rs_embed/embedders/_vendor/copernicus_embed.py`` (``_bbox_to_window``, ``_slice_chw``).

Where this package differs, and why:

- A box that reaches 180° touches column 0, which lies on both sides of the antimeridian. rs-embed stops at
  the raster's last column.
- ``minlon > maxlon`` crosses the antimeridian; longitudes may go to 360. rs-embed refuses both.
- An overlap under 1e-6 of a cell is rounding. rs-embed asks the last bit: a box of -64.1 to -63.85 is
  "smaller than one dataset pixel", and an edge a bit beyond a cell's takes in another row of cells.
"""

import math

import numpy as np
import pytest

import cop_zarr
from cop_zarr.errors import SubcellError
from tests import factory

WEST, SOUTH, EAST, NORTH, STEP = -180.125, -90.125, 179.875, 90.125, 0.25


class RsEmbedError(Exception):
    """rs-embed's ModelError or SpecError."""


def rs_embed_cut(raster, minlon, minlat, maxlon, maxlat):
    """rs-embed's answer with output=grid: the cells of a box, float32, (bands, rows, cols)."""
    if not (-180 <= minlon < maxlon <= 180 and -90 <= minlat < maxlat <= 90):
        raise RsEmbedError("invalid bbox bounds")
    if maxlon - minlon < STEP or maxlat - minlat < STEP:
        raise RsEmbedError("smaller than one dataset pixel")
    left, right = max(minlon, WEST), min(maxlon, EAST)
    bottom, top = max(minlat, SOUTH), min(maxlat, NORTH)
    col0, col1 = math.floor((left - WEST) / STEP), math.ceil((right - WEST) / STEP)
    row0, row1 = math.floor((NORTH - top) / STEP), math.ceil((NORTH - bottom) / STEP)
    col0, row0 = max(0, min(1440 - 1, col0)), max(0, min(721 - 1, row0))
    col1, row1 = min(1440, col1), min(721, row1)
    return np.asarray(raster[:, row0:row1, col0:col1], np.float32)


def rs_embed_pooled(raster, box, pooling):
    """rs-embed's answer with output=pooled."""
    cut = rs_embed_cut(raster, *box)
    return (cut.mean(axis=(1, 2)) if pooling == "mean" else cut.max(axis=(1, 2))).astype(np.float32)


def random_boxes(count, seed):
    """Boxes that rs-embed accepts and that do not reach the last half cell before 180°."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        west, south = rng.uniform(-180, 179.5), rng.uniform(-90, 89.7)
        width, height = np.exp(rng.uniform(np.log(0.26), np.log(20), 2))
        kind = rng.integers(3)
        box = np.array([west, south, min(west + width, 179.87), min(south + height, 90)])
        if kind == 1:  # cell edges, exact in binary
            box = np.clip(np.round(box * 4) / 4 + 0.125, [-180, -90, -180, -90], [179, 89, 179.875, 90])
        elif kind == 2:  # as people type them
            box = np.clip(np.round(box), [-180, -90, -180, -90], [178, 89, 179, 90])
        minlon, minlat, maxlon, maxlat = map(float, box)
        if maxlon - minlon >= STEP and maxlat - minlat >= STEP:
            yield minlon, minlat, maxlon, maxlat


def test_grid_equals(store, globe):
    count = 0
    for box in random_boxes(500, seed=0):
        expected = rs_embed_cut(globe, *box)
        found = store.query(box, output="grid").data
        np.testing.assert_array_equal(found, expected, strict=True, err_msg=str(box))
        count += 1
    assert count > 300


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory):
    """Values as embeddings have them, around 0 and with full mantissas: 40 x 60 cells, 32 bands."""
    place = tmp_path_factory.mktemp("embeddings")
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (32, 40, 60)).astype("f4") * rng.lognormal(0, 1, (32, 1, 1)).astype("f4")
    values[:, rng.random((40, 60)) < 0.3] = 0
    cop_zarr.ingest(
        factory.write_geotiff(place / "a.tif", values, rows=(200, 240), cols=(800, 860)), place / "a.zarr"
    )
    raster = np.zeros((32, 721, 1440), "f4")
    raster[:, 200:240, 800:860] = values
    return cop_zarr.open(place / "a.zarr"), raster


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pooled_equals(embeddings, pooling):
    """Within 1e-6 of the values' size: rs-embed adds in float32, this package in float64."""
    store, raster = embeddings
    rng = np.random.default_rng(1)
    for _ in range(300):
        west, south = rng.uniform(20, 34), rng.uniform(30.3, 39.5)
        box = west, south, min(west + rng.uniform(0.25, 9), 34.8), min(south + rng.uniform(0.25, 9), 40)
        if box[2] - west < STEP or box[3] - south < STEP:
            continue
        expected = rs_embed_pooled(raster, box, pooling)
        scale = np.abs(rs_embed_cut(raster, *box)).max(axis=(1, 2))
        found = store.query(box, pooling=pooling).data
        assert (np.abs(found - expected) <= 1e-6 * np.maximum(scale, 1)).all(), box
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape


def test_whole_globe_equals(store, globe):
    box = (-180.0, -90.0, 180.0, 90.0)
    expected = rs_embed_cut(globe, *box).mean(axis=(1, 2), dtype="f8")
    np.testing.assert_allclose(store.query(box).data, expected, rtol=1e-6)


@pytest.mark.parametrize("box", [(120, 30, 120.2, 31), (120, 30, 121, 30.2), (0, 0, 0.1, 0.1)])
def test_both_refuse_less_than_a_cell(store, globe, box):
    with pytest.raises(RsEmbedError, match="smaller than one dataset pixel"):
        rs_embed_cut(globe, *box)
    with pytest.raises(SubcellError):
        store.query(box)


def test_differs_at_180_where_column_0_is_touched_too(store, globe):
    box = (179.0, -10.0, 180.0, 10.0)
    theirs, ours = rs_embed_cut(globe, *box), store.query(box, output="grid").data
    np.testing.assert_array_equal(ours[:, :, :-1], theirs)
    np.testing.assert_array_equal(ours[:, :, -1], globe[:, 320:401, 0])


def test_differs_across_the_antimeridian(store, globe):
    box = (179.0, -10.0, -179.0, 10.0)
    with pytest.raises(RsEmbedError):
        rs_embed_cut(globe, *box)
    east = rs_embed_cut(globe, -180.0, -10.0, -179.0, 10.0)
    west = rs_embed_cut(globe, 179.0, -10.0, 180.0, 10.0)
    ours = store.query(box, output="grid").data
    np.testing.assert_array_equal(ours, np.concatenate([west, east], axis=2))


def test_differs_where_the_last_bit_made_a_cell_too_narrow(store, globe):
    box = (-64.1, 30.0, -63.85, 31.0)
    assert STEP > -63.85 + 64.1
    with pytest.raises(RsEmbedError, match="smaller than one dataset pixel"):
        rs_embed_cut(globe, *box)
    np.testing.assert_array_equal(store.query(box, output="grid").data, globe[:, 236:241, 464:466])


def test_differs_where_the_last_bit_took_in_another_column(store, globe):
    """An edge that a projection, or a sum of decimals, misses by 3e-14 degrees."""
    box = (-170.375, 10.125, math.nextafter(-170.125, 0), 10.375)
    assert rs_embed_cut(globe, *box).shape[1:] == (1, 2)
    np.testing.assert_array_equal(store.query(box, output="grid").data, globe[:, 319:320, 39:40])
