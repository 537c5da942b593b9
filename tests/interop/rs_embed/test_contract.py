"""Answers equal those of rs-embed's ``copernicus`` model, and differ where its rule has faults.

rs-embed needs Python 3.12 and PyTorch, so its rule is restated here, after its page "Copernicus Embed",
``rs_embed/embedders/_vendor/copernicus_embed.py`` (``_bbox_to_window``, ``_slice_chw``) and
``rs_embed/embedders/precomputed_copernicus_embed.py`` (``_buffer_m_to_deg``) of version 0.3.1.

Where this package differs by default, and why:

- A box that reaches 180° touches column 0, which lies on both sides of the antimeridian. rs-embed stops at
  the raster's last column.
- ``minlon > maxlon`` crosses the antimeridian; longitudes may go to 360. rs-embed refuses both.
- An overlap under 1e-6 of a cell is rounding. rs-embed goes by the last bit: a box of -64.1 to -63.85 is
  "smaller than one dataset pixel", and an edge a bit beyond a cell's takes in another row of cells.
- The box of a ``PointBuffer`` is that of the geodesic circle. rs-embed takes 111,320 m for a degree of
  latitude everywhere, and that by the cosine for one of longitude: the box is up to 0.7 % off, so that it
  may miss a row or a column that the circle reaches, or take one that it does not.
- A ``PointBuffer`` over the antimeridian continues beyond it, and one around a pole has every longitude, as
  its circle does. rs-embed cuts the box off.

What is better than rs-embed's rule is an option: ``weights="coverage"`` or ``"area"`` for cells that are
only grazed, ``empty="skip"`` for cells without data, ``subpixel=`` for regions smaller than a cell.
"""

import math

import numpy as np
import pytest
from pyproj import Geod

import cop_zarr
from cop_zarr.errors import SubcellError
from tests.support import factory

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


def rs_embed_box(lon, lat, buffer_m):
    """rs-embed's box of a PointBuffer, clipped to the raster as its windows are."""
    half_height = buffer_m / 111_320
    half_width = buffer_m / (111_320 * max(1e-6, math.cos(math.radians(lat))))
    west, east = max(lon - half_width, WEST), min(lon + half_width, EAST)
    return max(west, -180), max(lat - half_height, -90), min(east, 180), min(lat + half_height, 90)


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


def test_grids_equal(store, globe):
    boxes = list(random_boxes(300, seed=0))
    assert len(boxes) > 180
    for box in boxes:
        found = store.query(box, output="grid").data
        np.testing.assert_array_equal(found, rs_embed_cut(globe, *box), strict=True, err_msg=str(box))


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory):
    """Values as embeddings have them, around 0 and with full mantissas: 40 x 60 cells, 32 bands."""
    place = tmp_path_factory.mktemp("embeddings")
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (32, 40, 60)).astype("f4") * rng.lognormal(0, 1, (32, 1, 1)).astype("f4")
    values[:, rng.random((40, 60)) < 0.3] = 0
    tif = factory.write_geotiff(place / "a.tif", values, rows=(200, 240), cols=(800, 860))
    cop_zarr.ingest(tif, place / "a.zarr")
    raster = np.zeros((32, 721, 1440), "f4")
    raster[:, 200:240, 800:860] = values
    return cop_zarr.open(place / "a.zarr"), raster


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pooled_vectors_equal(embeddings, pooling):
    """Within 1e-6 of the values' size: rs-embed adds in float32, this package in float64."""
    store, raster = embeddings
    rng = np.random.default_rng(1)
    for _ in range(200):
        west, south = rng.uniform(20, 34), rng.uniform(30.3, 39.5)
        box = west, south, min(west + rng.uniform(0.25, 9), 34.8), min(south + rng.uniform(0.25, 9), 40)
        if box[2] - west < STEP or box[3] - south < STEP:
            continue
        expected = rs_embed_pooled(raster, box, pooling)
        scale = np.abs(rs_embed_cut(raster, *box)).max(axis=(1, 2))
        found = store.query(box, pooling=pooling).data
        assert (np.abs(found - expected) <= 1e-6 * np.maximum(scale, 1)).all(), box
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)


def test_mean_of_the_globe_equals(store, globe):
    box = (-180.0, -90.0, 180.0, 90.0)
    expected = rs_embed_cut(globe, *box).mean(axis=(1, 2), dtype="f8")
    np.testing.assert_allclose(store.query(box).data, expected, rtol=1e-6)


@pytest.mark.parametrize("box", [(120, 30, 120.2, 31), (120, 30, 121, 30.2), (0, 0, 0.1, 0.1)])
def test_both_refuse_less_than_a_cell(store, globe, box):
    with pytest.raises(RsEmbedError, match="smaller"):
        rs_embed_cut(globe, *box)
    with pytest.raises(SubcellError):
        store.query(box)


def test_points_equal(store, globe):
    """But for an outermost row or column, where the two boxes' edges lie in different cells."""
    rng = np.random.default_rng(2)
    points = np.column_stack(
        [rng.uniform(-175, 170, 150), rng.uniform(-75, 75, 150), rng.uniform(2e4, 1e5, 150)]
    )
    equal = 0
    for lon, lat, buffer_m in points.tolist():
        ours, theirs = cop_zarr.PointBuffer(lon, lat, buffer_m), rs_embed_box(lon, lat, buffer_m)
        if theirs[2] - theirs[0] < STEP or theirs[3] - theirs[1] < STEP:
            continue
        found, expected = store.query(ours, output="grid").data, rs_embed_cut(globe, *theirs)
        edges = np.array([ours.bounds, theirs])
        np.testing.assert_allclose(*edges, atol=0.008 * (edges[:, 2:] - edges[:, :2]).max())
        cells = np.floor((edges + STEP / 2) / STEP)
        if (cells[0] == cells[1]).all():
            np.testing.assert_array_equal(found, expected)
            equal += 1
        else:
            assert found.shape != expected.shape or (found != expected).any()
    assert equal > 100


# Where it differs


def test_at_180_column_0_is_touched_too(store, globe):
    box = (179.0, -10.0, 180.0, 10.0)
    theirs, ours = rs_embed_cut(globe, *box), store.query(box, output="grid").data
    np.testing.assert_array_equal(ours[:, :, :-1], theirs)
    np.testing.assert_array_equal(ours[:, :, -1], globe[:, 320:401, 0])


def test_across_the_antimeridian(store, globe):
    box = (179.0, -10.0, -179.0, 10.0)
    with pytest.raises(RsEmbedError):
        rs_embed_cut(globe, *box)
    halves = [
        rs_embed_cut(globe, 179.0, -10.0, 180.0, 10.0),
        rs_embed_cut(globe, -180.0, -10.0, -179.0, 10.0),
    ]
    np.testing.assert_array_equal(store.query(box, output="grid").data, np.concatenate(halves, axis=2))
    point = cop_zarr.PointBuffer(-179.9, -17, 100_000)
    assert point.bounds[::2] == pytest.approx((179.16, 181.04), abs=0.01)
    ours = store.query(point, output="grid").data
    np.testing.assert_array_equal(ours[:, :, 3:], rs_embed_cut(globe, *rs_embed_box(-179.9, -17, 100_000)))
    np.testing.assert_array_equal(ours[:, :, :3], globe[:, 424:433, 1437:1440])


def test_the_last_bit_makes_no_cell_too_narrow_and_adds_none(store, globe):
    box = (-64.1, 30.0, -63.85, 31.0)
    assert STEP > -63.85 + 64.1
    with pytest.raises(RsEmbedError, match="smaller"):
        rs_embed_cut(globe, *box)
    np.testing.assert_array_equal(store.query(box, output="grid").data, globe[:, 236:241, 464:466])
    box = (-170.375, 10.125, math.nextafter(-170.125, 0), 10.375)
    assert rs_embed_cut(globe, *box).shape[1:] == (1, 2)
    np.testing.assert_array_equal(store.query(box, output="grid").data, globe[:, 319:320, 39:40])


GEOD = Geod(ellps="WGS84")


@pytest.mark.parametrize(
    ("point", "axis", "more"),
    [((10, 0, 41_600), 1, 1), ((10, 80, 400_000), 0, 1), ((10, 75, 41_800), 1, -1)],
    ids=["a degree at the equator is shorter", "meridians converge", "a degree in the north is longer"],
)
def test_cells_that_a_circle_reaches(store, globe, point, axis, more):
    """The farthest point of the circle, by pyproj: a row or column beyond that of their box, or before."""
    lon, lat, buffer_m = point
    azimuths = np.linspace(0, 360, 3601)
    circle = GEOD.fwd(*np.full((2, 3601), [[lon], [lat]]), azimuths, np.full(3601, buffer_m))
    box = rs_embed_box(*point)
    reached, edge = (math.floor((far + STEP / 2) / STEP) for far in (circle[axis].max(), box[2 + axis]))
    assert reached == edge + more
    theirs = rs_embed_cut(globe, *box).shape
    ours = store.query(cop_zarr.PointBuffer(*point), output="grid").data.shape
    assert ours[2 - axis] == theirs[2 - axis] + 2 * more  # at both ends


def test_around_a_pole(store):
    west, _, east, _ = rs_embed_box(0, 89.5, 100_000)
    assert (west, east) == pytest.approx((-102.9, 102.9), abs=0.1)
    assert GEOD.inv(0, 89.5, 180, 89.8)[2] < 100_000  # beyond the pole, and in the circle
    assert store.query(cop_zarr.PointBuffer(0, 89.5, 100_000)).meta["cols"] == [0, 1440]


# What an option makes better


def test_coverage(embeddings):
    """A box that grazes its outer cells by a hundredth: to rs-embed they are half of the mean."""
    store, raster = embeddings
    box = (20.125 - 0.0025, 38.875, 20.375, 39.125)
    theirs = rs_embed_pooled(raster, box, "mean")
    grazed, whole = raster[:, 204, 800].astype("f8"), raster[:, 204, 801].astype("f8")
    np.testing.assert_allclose(theirs, (grazed + whole) / 2, atol=1e-6)
    np.testing.assert_allclose(store.query(box).data, theirs, atol=1e-6)
    for weights in ("coverage", "area"):  # one row, so the same
        found = store.query(box, weights=weights).data
        np.testing.assert_allclose(found, (0.01 * grazed + whole) / 1.01, atol=1e-6)


def test_skipping_empty_cells(embeddings):
    store, raster = embeddings
    box = (22.0, 34.0, 28.0, 38.0)
    cells = rs_embed_cut(raster, *box)
    valid = cells.any(axis=0)
    assert 0.2 < 1 - valid.mean() < 0.4
    found = store.query(box, empty="skip").data
    np.testing.assert_allclose(found, cells[:, valid].mean(axis=1, dtype="f8"), atol=1e-6)
    np.testing.assert_allclose(found * valid.mean(), rs_embed_pooled(raster, box, "mean"), atol=1e-6)


def test_small_regions(store, globe):
    """The example of rs-embed's documentation, PointBuffer(lon=121.5, lat=31.2, buffer_m=5000)."""
    with pytest.raises(RsEmbedError, match="smaller"):
        rs_embed_cut(globe, *rs_embed_box(121.5, 31.2, 5000))
    example = cop_zarr.PointBuffer(lon=121.5, lat=31.2, buffer_m=5000)
    with pytest.raises(SubcellError, match="bilinear"):
        store.query(example)
    for rule in ("touch", "nearest"):
        np.testing.assert_array_equal(store.query(example, subpixel=rule).data, globe[:, 235, 1206])
    between = 0.8 * globe[:, 235, 1206] + 0.2 * globe[:, 236, 1206]
    np.testing.assert_allclose(store.query(example, subpixel="bilinear").data, between, rtol=1e-6)
