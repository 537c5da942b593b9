"""What a browser kept of a store is never taken for the store."""

import shutil

import numpy as np
import pytest

import cop_zarr
from tests.support import factory
from tests.support.explorer import COLS, ROWS, alike
from tests.support.servers import static_server

pytestmark = pytest.mark.slow

BOXES = ["11,48,12,49", "9,46,14,49", "6,40,19,50", "0,30,25,52"]
"""Each asks for what the ones before asked for, and for more."""


def assert_same(explorer, store, box):
    expected = store.query(tuple(map(float, box.split(","))), weights="coverage", empty="skip")
    np.testing.assert_allclose(explorer.region()["vector"], expected.data, rtol=0, atol=1e-6, err_msg=box)


@pytest.mark.parametrize("name", ["plain.zarr", "sharded.zarr"])
def test_a_store_that_is_looked_at_again(explorer, at, site, name):
    store = cop_zarr.open(site / name)
    for box in BOXES:
        explorer.page.goto("about:blank")
        explorer.open(at(name, f"box={box}"))
        assert_same(explorer, store, box)


def test_a_store_that_was_replaced(explorer, site, tmp_path):
    page, path = "page/index.html?store=../a.zarr/", tmp_path / "a.zarr"
    shutil.copytree(site / "page", tmp_path / "page")
    with static_server(tmp_path, headers={"Cache-Control": "max-age=86400"}) as base:
        for sign in (1, -1):
            factory.write_geotiff(tmp_path / "a.tif", sign * alike(), rows=ROWS, cols=COLS)
            cop_zarr.ingest(tmp_path / "a.tif", path, overwrite=True)
            cop_zarr.keep_components(path)
            explorer.page.goto("about:blank")
            explorer.open(f"{base}/{page}#box={BOXES[0]}")
            assert_same(explorer, cop_zarr.open(path), BOXES[0])
