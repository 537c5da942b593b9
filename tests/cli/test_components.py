"""cop-zarr components: what is kept, what is written, what is refused."""

import json

import numpy as np
import pytest

import cop_zarr
from cop_zarr.cli import main


def test_derives_once_and_keeps(run):
    report = json.loads(run("components", "a.zarr", "--count", "3", "--json").stdout)
    assert (report["count"], report["derived"]) == (3, True)
    store = cop_zarr.open("a.zarr")
    assert report["cells"] == int(store.valid.sum())
    assert store.components().kept
    assert store.info()["components"] == 3
    assert "3 kept" in run("info", "a.zarr").stdout
    again = json.loads(run("components", "a.zarr", "--json").stdout)
    assert again == {**report, "derived": False}
    run.fails("components", "a.zarr", "--count", "4", status=1, word="--overwrite")
    assert "4" in run("components", "a.zarr", "--count", "4", "--overwrite").stdout
    assert run("verify", "a.zarr").exit_code == 0
    assert cop_zarr.open("a.zarr").components().axes.shape == (4, 4)


def test_the_store_is_that_of_the_variable(run, monkeypatch):
    monkeypatch.setenv("COP_ZARR_STORE", "a.zarr")
    assert run("components").exit_code == 0
    assert cop_zarr.open("a.zarr").components().kept


@pytest.mark.parametrize("longitudes", ["-180..180", "0..360"])
@pytest.mark.parametrize("kept", [False, True])
def test_a_file_for_era5(run, longitudes, kept):
    xr = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    if kept:
        run("components", "a.zarr")
    options = ("--to", "era5_static.nc", "--count", "2", "--longitudes", longitudes)
    report = json.loads(run("components", "a.zarr", *options, "--json").stdout)
    assert (report["count"], report["kept"]) == (2, kept)
    expected = cop_zarr.open("a.zarr").components(2)
    with xr.open_dataset("era5_static.nc", engine="h5netcdf") as found:
        made = expected.to_xarray(longitudes)
        xr.testing.assert_allclose(found.drop_vars("spatial_ref"), made.drop_vars("spatial_ref"), atol=1e-3)
        assert found.scores.dtype == found.remainder.dtype == "float32"
        assert found.latitude.dtype == found.longitude.dtype == "float64"
        assert found.scores.encoding["zlib"] or found.scores.encoding["compression"]
        assert "_FillValue" not in found.longitude.encoding
        np.testing.assert_array_equal(found.latitude, cop_zarr.open("a.zarr").grid.latitudes)
    run.fails("components", "a.zarr", *options, status=1, word="--overwrite")
    assert run("components", "a.zarr", *options, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    "options",
    [
        ("--count", "0"),
        ("--count", "5"),
        ("--count", "0", "--to", "a.nc"),
        ("--to", "a.tif"),
        ("--longitudes", "0..360"),
        ("--longitudes", "0-360", "--to", "a.nc"),
        ("--to", "a.nc", "--break-lock"),
    ],
    ids=" ".join,
)
def test_wrong_options(run, tmp_path, options):
    run.fails("components", "a.zarr", *options)
    assert not list(tmp_path.glob("*.nc"))
    assert not (tmp_path / "a.zarr/components").exists()


def test_damage_is_said_and_mended_by_what_is_said(run, tmp_path):
    run("components", "a.zarr")
    (tmp_path / "a.zarr/components/axes/c/0/0").write_bytes(b"x")
    message = run.fails("components", "a.zarr", "--to", "a.nc", status=1, word="--overwrite")
    command = message.partition("cop-zarr ")[2].partition(";")[0].split()
    assert command == ["components", "a.zarr", "--overwrite"]
    assert "axes" in run("verify", "a.zarr").stdout
    assert run(*command).exit_code == 0
    assert run("verify", "a.zarr").exit_code == 0


def test_repair_says_that_they_are_gone(run, tmp_path):
    run("components", "a.zarr")
    (tmp_path / "a.zarr/components/zarr.json").write_bytes(b"{}")
    printed = run("repair", "a.zarr", "--source", "a.tif").stdout
    assert "cop-zarr components a.zarr" in printed
    assert not (tmp_path / "a.zarr/components").exists()
    assert run("verify", "a.zarr").exit_code == 0


def test_colours_of_a_plot(run, tmp_path):
    pytest.importorskip("matplotlib")
    run("plot", "a.zarr", "--to", "all.png", "--bbox", "20", "38", "22", "40")
    run("plot", "a.zarr", "--to", "shown.png", "--bbox", "20", "38", "22", "40", "--colours-of", "shown")
    assert (tmp_path / "all.png").read_bytes() != (tmp_path / "shown.png").read_bytes()


def test_help_names_the_command():
    assert "components" in main.commands
