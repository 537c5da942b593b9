"""``cop-zarr cells``: files of cells, read back by the libraries that people read them with."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import xarray as xr

import cop_zarr
from tests.support import factory

POLYGON = {"type": "Polygon", "coordinates": [[[20.1, 38.05], [21.9, 38.4], [20.9, 39.95], [20.1, 38.05]]]}


@pytest.fixture
def everything():
    """The cells of a.zarr: longitudes, latitudes, rows, columns, and vectors."""
    values = factory.truth((200, 220), (800, 824), 4)
    row, col = np.nonzero(values.any(axis=0))
    return 20 + 0.25 * col, 40 - 0.25 * row, row, col, values[:, row, col].T


def read(name):
    """The columns of a file as :func:`everything` has them."""
    if name.endswith(".npz"):
        with np.load(name) as arrays:
            return [arrays[key] for key in ("lon", "lat", "rows", "cols", "vectors")]
    if name.endswith(".zarr"):
        found = xr.open_zarr(name).load()
        return [found[key].to_numpy() for key in ("lon", "lat", "row", "col", "embedding")]
    found = geopandas.read_parquet(name)
    assert found.crs.equals("OGC:CRS84")
    points = found.geometry
    np.testing.assert_array_equal((points.x, points.y), (found.lon, found.lat))
    return [
        *(found[key].to_numpy() for key in ("lon", "lat", "row", "col")),
        np.array(list(found["embedding"]), "f4").reshape(-1, 4),
    ]


NAMES = ["a.parquet", "a.GeoParquet", "a.npz", "out.zarr"]


@pytest.mark.parametrize("block_bytes", [16 * 7, 48 << 20])
@pytest.mark.parametrize("name", NAMES)
def test_all_cells(run, name, everything, block_bytes, monkeypatch):
    monkeypatch.setattr("cop_zarr.interop.cell_files.BLOCK_BYTES", block_bytes)
    monkeypatch.setenv("COP_ZARR_STORE", "a.zarr")
    result = run("cells", "--to", name, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    expected = {"out": name, "store": "a.zarr", "cells": len(everything[0]), "bands": 4}
    assert json.loads(result.stdout) == expected
    for found, values in zip(read(name), everything, strict=True):
        np.testing.assert_array_equal(found, values)
    assert read(name)[-1].dtype == "f4"


@pytest.mark.parametrize(
    ("options", "region", "crs"),
    [
        (("--bbox", 20, 38, 22, 40), (20, 38, 22, 40), None),
        (("--bbox", "2226389,4579425,2449028,4865942", "--crs", "EPSG:3857"),
         (2226389, 4579425, 2449028, 4865942), "EPSG:3857"),
        (("--point", 22, 38, "--buffer", 6e4), cop_zarr.PointBuffer(22, 38, 6e4), None),
        (("--point", 22, 38, "--buffer", 1), cop_zarr.PointBuffer(22, 38, 1), None),
        (("--point", 22, 38, "--buffer", 6e4, "--shape", "circle"),
         cop_zarr.PointBuffer(22, 38, 6e4, "circle"), None),
        (("--geojson", "p.json"), POLYGON, None),
    ],
)  # fmt: skip
def test_cells_of_a_region(run, options, region, crs):
    Path("p.json").write_text(json.dumps(POLYGON))
    expected = cop_zarr.open("a.zarr").cells(region, crs=crs)
    result = run("cells", "a.zarr", *options, "--to", "a.npz")
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"{len(expected)} cells" in result.stdout
    for found, name in zip(read("a.npz"), ("lon", "lat", "rows", "cols", "vectors"), strict=True):
        np.testing.assert_array_equal(found, getattr(expected, name))
    assert len(expected) > 0


@pytest.mark.parametrize("name", NAMES)
def test_no_cell_is_a_table_without_rows(run, name):
    factory.write_geotiff(Path("sea.tif"), np.zeros((4, 8, 8), "f4"), rows=(0, 8), cols=(0, 8))
    cop_zarr.ingest("sea.tif", "sea.zarr")
    assert run("cells", "sea.zarr", "--to", name, "--json").exit_code == 0
    assert [len(column) for column in read(name)] == [0] * 5
    assert read(name)[-1].shape == (0, 4)


@pytest.mark.parametrize("name", NAMES)
def test_an_output_is_replaced_only_if_asked(run, name, box):
    run("cells", "a.zarr", "--to", name)
    before = len(read(name)[0])
    run.fails("cells", "a.zarr", *box, "--to", name, status=1, word="--overwrite")
    assert len(read(name)[0]) == before
    run("cells", "a.zarr", *box, "--to", name, "--overwrite")
    assert 0 < len(read(name)[0]) < before
    assert not list(Path().glob("*.partial"))


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_chunk_leaves_no_output(run, name, damage):
    damage()
    run.fails("cells", "a.zarr", "--to", name, status=1, word="repair")
    assert not Path(name).exists()
    assert not list(Path().glob("*.partial"))


@pytest.mark.parametrize("name", NAMES)
def test_an_interrupt_leaves_no_output(run, name, monkeypatch):
    iter_cells = cop_zarr.Store.iter_cells

    def interrupted(*arguments, **options):
        yield next(iter_cells(*arguments, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr("cop_zarr.interop.cell_files.BLOCK_BYTES", 16 * 7)
    monkeypatch.setattr(cop_zarr.Store, "iter_cells", interrupted)
    before = {path.name for path in Path().iterdir()}
    assert run("cells", "a.zarr", "--to", name).exit_code == 1  # click's for Ctrl-C
    assert {path.name for path in Path().iterdir()} == before


def test_a_folder_that_is_no_output_is_not_replaced(run):
    for name in ("b.zarr", "b.npz", "b.parquet"):
        Path(name).mkdir()
        Path(name, "mine.txt").touch()
        run.fails("cells", "a.zarr", "--to", name, "--overwrite", status=1)
        assert Path(name, "mine.txt").exists()
    run.fails("cells", "a.zarr", "--to", "a.zarr", "--overwrite", status=1)
    assert cop_zarr.open("a.zarr").valid.any()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--to", "a.csv"), ".parquet"),
        (("--to", "a"), ".parquet"),
        ((), "--to"),
        (("--bbox", 20, 38, 22, 40, "--point", 1, 2, "--buffer", 3, "--to", "a.npz"), "one region"),
        (("--point", 22, 38, "--to", "a.npz"), "--buffer"),
        (("--buffer", 5, "--to", "a.npz"), "--point"),
        (("--shape", "box", "--to", "a.npz"), "--point"),
        (("--crs", "EPSG:3857", "--to", "a.npz"), "--bbox"),
        (("--bbox", 0, 0, 1, 1, "--to", "a.npz"), "outside"),
        (("--bbox", 22, 40, 20, 38, "--to", "a.npz"), "lat"),
    ],
)
def test_wrong_usage(run, arguments, word):
    run.fails("cells", "a.zarr", *arguments, word=word)
    assert not Path("a.npz").exists()


def test_no_folder_to_write_in(run):
    for name in ("nowhere/a.npz", "nowhere/a.parquet", "nowhere/a.zarr"):
        run.fails("cells", "a.zarr", "--to", name, status=1, word="nowhere")
