"""The stand-in: the published container, real coastlines, and it says that it is made up."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from global_land_mask import globe as land_globe

import cop_zarr
from cop_zarr.core.grid import Grid
from cop_zarr.errors import InputError, StoreExistsError
from cop_zarr.source import synthetic
from tests.support import factory

EUROPE = Grid(120, 660, 100, 280)
"""60° to 35° N, 15° W to 55° E."""


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole globe with 3 bands."""
    return cop_zarr.synthesize(tmp_path_factory.mktemp("synthetic") / "globe.tif", bands=3)


@pytest.fixture(scope="module")
def values(standin: Path) -> np.ndarray:
    with rasterio.open(standin) as tiff:
        return tiff.read()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make cheaper values, where a test does not look at them."""
    monkeypatch.setattr(synthetic, "FIELDS", 1)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_it_is_what_gdal_would_have_written(standin: Path, tmp_path: Path) -> None:
    """The published container: GDAL and tifffile see what they see in GDAL's own."""
    gdal = factory.write_geotiff(tmp_path / "gdal.tif", bands=3)
    with rasterio.open(standin) as ours, rasterio.open(gdal) as theirs:
        assert ours.profile == theirs.profile
        assert ours.tags()["AREA_OR_POINT"] == theirs.tags()["AREA_OR_POINT"]
        assert ours.tags(ns="IMAGE_STRUCTURE") == theirs.tags(ns="IMAGE_STRUCTURE")
    tags = [
        *("TileWidth", "TileLength", "SampleFormat", "ExtraSamples", "PhotometricInterpretation"),
        *("Compression", "ModelPixelScaleTag", "ModelTiepointTag"),
    ]
    with tifffile.TiffFile(standin) as ours, tifffile.TiffFile(gdal) as theirs:
        one, two = ours.pages[0], theirs.pages[0]
        assert ours.byteorder == theirs.byteorder
        assert {tag: one.tags.valueof(tag) for tag in tags} == {tag: two.tags.valueof(tag) for tag in tags}
        for key in ("GTModelTypeGeoKey", "GTRasterTypeGeoKey", "GeographicTypeGeoKey"):
            assert one.geotiff_tags[key] == two.geotiff_tags[key]


def test_every_band_has_data_on_land_and_only_there(values: np.ndarray) -> None:
    land = synthetic.land_mask()
    assert (values.any(axis=0) == land).mean() > 0.9999  # a value may round to zero in all three bands
    assert not values[:, ~land].any()
    assert np.isfinite(values).all()
    assert all(band[land].std() > 0.1 for band in values)


def test_the_mask_is_that_of_the_elevation_model() -> None:
    lat = np.clip(90 - 0.25 * np.arange(721), -89.99, 89.99)
    lon = -180 + 0.25 * np.arange(1440)
    expected = land_globe.is_land(*np.meshgrid(lat, lon, indexing="ij"))
    assert (synthetic.land_mask() == expected).mean() > 0.999
    assert 0.28 < synthetic.land_mask().mean() < 0.38  # of cells, not of area: Antarctica counts for much


def test_neighbours_resemble_each_other_over_the_seam_too(values: np.ndarray) -> None:
    land = synthetic.land_mask()
    spread = values[:, land].std()
    pairs = land[:, 1:] & land[:, :-1]
    assert 0 < np.abs(np.diff(values, axis=2))[:, pairs].mean() < 0.3 * spread
    seam = land[:, 0] & land[:, -1]
    assert seam.sum() > 20
    assert np.abs(values[:, seam, 0] - values[:, seam, -1]).mean() < 0.5 * spread


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("bands", [1, 2, 17])
def test_the_same_seed_gives_the_same_file(tmp_path: Path, bands: int) -> None:
    files = [
        cop_zarr.synthesize(tmp_path / f"{name}.tif", grid=EUROPE, bands=bands, seed=seed)
        for name, seed in {"a": 7, "b": 7, "c": 8}.items()
    ]
    assert sha256(files[0]) == sha256(files[1]) != sha256(files[2])
    with rasterio.open(files[0]) as tiff:
        assert tiff.read().shape == (bands, 100, 280)


@pytest.mark.parametrize(
    "grid",
    [
        Grid(100, 1430, 300, 20),  # over the antimeridian
        *(
            pytest.param(grid, marks=pytest.mark.slow)
            for grid in (EUROPE, Grid(200, 720, 30, 1440), Grid(168, 766, 1, 1))  # the second: 0 … 360
        ),
    ],
)
def test_a_part_of_the_globe_is_that_part(tmp_path: Path, values: np.ndarray, grid: Grid) -> None:
    path = cop_zarr.synthesize(tmp_path / "part.tif", grid=grid, bands=3)
    rows = slice(grid.row_offset, grid.row_offset + grid.rows)
    cols = np.arange(grid.col_offset, grid.col_offset + grid.cols) % 1440
    with rasterio.open(path) as tiff:
        part = tiff.read()
        assert tiff.transform == factory.transform(grid.row_offset, grid.col_offset)
    expected = values[:, rows][:, :, cols]
    assert part.shape == expected.shape
    assert np.abs(part - expected).max() <= synthetic.VALUE_STEP  # sums in another order may round apart


def test_the_mark_goes_from_the_file_to_every_answer(standin: Path, tmp_path: Path) -> None:
    with rasterio.open(standin) as tiff:
        assert "made-up" in tiff.tags()["synthetic"]
    assert cop_zarr.plan_ingest(standin, tmp_path / "a.zarr").info.synthetic is True
    report = cop_zarr.ingest(standin, tmp_path / "a.zarr")
    assert report.source["synthetic"] is True
    assert cop_zarr.verify(tmp_path / "a.zarr", standin).ok
    store = cop_zarr.open(tmp_path / "a.zarr")
    assert store.source["synthetic"] is True
    root = json.loads((tmp_path / "a.zarr/zarr.json").read_bytes())
    assert root["attributes"]["title"].startswith("SYNTHETIC")
    assert "synthetic" in repr(store)
    answer = store.query((11, 47.5, 12.5, 49))
    assert answer.meta["synthetic"] is True
    assert "synthetic" in repr(answer)
    assert answer.meta["valid_cells"] == answer.meta["total_cells"]


# Failures


@pytest.mark.usefixtures("quick")
def test_a_file_that_exists_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("mine")
    with pytest.raises(StoreExistsError, match="overwrite=True"):
        cop_zarr.synthesize(tmp_path / "a.tif", grid=EUROPE, bands=1)
    assert (tmp_path / "a.tif").read_text() == "mine"
    cop_zarr.synthesize(tmp_path / "a.tif", grid=EUROPE, bands=1, overwrite=True)
    with rasterio.open(tmp_path / "a.tif") as tiff:
        assert tiff.count == 1


@pytest.mark.usefixtures("quick")
def test_an_interrupt_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    (tmp_path / "old.tif").write_text("mine")
    for name in ("new.tif", "old.tif"):
        with pytest.raises(KeyboardInterrupt):
            cop_zarr.synthesize(tmp_path / name, grid=EUROPE, bands=1, overwrite=True, progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["old.tif"]
    assert (tmp_path / "old.tif").read_text() == "mine"


@pytest.mark.parametrize("options", [{"bands": 0}, {"bands": -1}, {"bands": 65_536}, {"seed": -1}])
def test_options_are_checked(tmp_path: Path, options: dict) -> None:
    with pytest.raises(InputError):
        cop_zarr.synthesize(tmp_path / "a.tif", **options)
    assert list(tmp_path.iterdir()) == []
