"""Stores of made-up vectors in which neighbours are alike, many cells are equal, and some not finite."""

import os

import numpy as np
import pytest

import cop_zarr
from tests.support import factory


def made_up(seed, rows, cols, bands):
    """Vectors with a mean, smooth over the map, with noise; float32, (bands, rows, cols)."""
    rng = np.random.default_rng(seed)
    height, width = rows[1] - rows[0], cols[1] - cols[0]
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(a * y + b * x + c) for a, b, c in rng.uniform(0.02, 0.6, (6, 3)) * [1, 1, 20]]
    values = np.tensordot(rng.normal(size=(bands, 6)), np.array(waves), 1)
    values += rng.normal(2, 1, (bands, 1, 1)) + 0.3 * rng.normal(size=(bands, height, width))
    values = values.astype("f4")
    equal = rng.random((height, width)) < 0.1
    values[:, equal] = np.round(rng.normal(size=(bands, 3)), 2)[:, rng.integers(0, 3, equal.sum())]
    values[:, rng.random((height, width)) < 0.4] = 0
    return values


@pytest.fixture(scope="session")
def stores(tmp_path_factory):
    """By name: a store, and its values as they were written."""
    place = tmp_path_factory.mktemp("similar")
    made = {
        "over the antimeridian": ((300, 341), (1405, 1475), 24),
        "at a pole": ((0, 13), (0, 1440), 5),
        "four bands": ((700, 721), (100, 150), 4),
    }
    found = {}
    for number, (name, (rows, cols, bands)) in enumerate(made.items()):
        values = made_up(number, rows, cols, bands)
        if name == "over the antimeridian":
            values[3, 5, 5], values[:, 7, 7], values[:, 9, 9] = np.nan, [np.inf] * 24, 3e38
            values[:, 11, 11], values[:, 12, 12] = 1e-30, -1e-42
        path = factory.write_geotiff(place / f"{number}.tif", values, rows=rows, cols=cols)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: None)
            cop_zarr.ingest(path, place / f"{number}.zarr")
        found[name] = cop_zarr.open(place / f"{number}.zarr"), values
    return found
