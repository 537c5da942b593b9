"""Answers equal those of rs-embed's ``copernicus`` model, where they are not meant to differ.

rs-embed needs Python 3.12 and PyTorch, so its rule is restated here, after its page "Copernicus Embed",
``rs_embed/embedders/_vendor/copernicus_embed.py`` (``_bbox_to_window``, ``_slice_chw``) of version 0.3.1.
"""

import math

import numpy as np

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


def test_boxes_equal(store, globe):
    """rs-embed adds in float32, in which the sums of a box's whole numbers are exact."""
    boxes = [*random_boxes(300, seed=0), (-180.0, -90.0, 180.0, 90.0)]
    assert len(boxes) > 180
    for box in boxes:
        expected = rs_embed_cut(globe, *box)
        found = store.query(box, output="grid").data
        np.testing.assert_array_equal(found, expected, strict=True, err_msg=str(box))
        np.testing.assert_array_equal(store.query(box, pooling="max").data, expected.max(axis=(1, 2)))
        mean = expected.mean(axis=(1, 2), dtype="f8").astype("f4")
        np.testing.assert_allclose(store.query(box).data, mean, rtol=1e-6, strict=True)
