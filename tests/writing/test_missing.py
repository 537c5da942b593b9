"""Sources saved again by GDAL with NaN, or a nodata value, over the ocean: against brute force."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import zarr

import cop_zarr
from cop_zarr import storage
from cop_zarr.errors import StorageError
from tests.support import factory
from tests.writing.small import (
    BANDS,
    CHUNK,
    COLS,
    COPY,
    ROOT,
    ROWS,
    TABLE,
    VALID,
    flip,
    objects,
    truth,
    write_store,
)

OCEAN = ~truth().any(axis=0)
LOWEST = float(np.finfo("f4").min)


def saved_again(path: Path, source: Path, fill: float = np.nan, **profile: object) -> Path:
    """Have GDAL write the small source again; two cells lack a value in one band, one holds an infinity."""
    with rasterio.open(source) as tiff:
        values = tiff.read().astype(profile.get("dtype", "f4"))
    values[:, OCEAN] = fill
    values[1, 4, 45] = values[2, 20, 28] = fill
    if not np.isinf(fill):
        values[0, 5, 46] = -np.inf
    return factory.write_geotiff(
        path, values, rows=ROWS, cols=COLS, blockxsize=16, blockysize=16, **profile
    )


def expected(*, infinite: bool = True) -> np.ndarray:
    """What its store must hold."""
    values = truth()
    values[1, 4, 45] = values[2, 20, 28] = np.nan
    if infinite:
        values[0, 5, 46] = -np.inf
    return values


@pytest.fixture
def source(small_source: Path, tmp_path: Path) -> Path:
    return saved_again(tmp_path / "nan.tif", small_source)


@pytest.mark.parametrize(
    ("fill", "profile"),
    [
        (np.nan, {}),
        (np.nan, {"nodata": np.nan}),
        (np.nan, {"nodata": -9999}),
        (np.nan, {"nodata": np.nan, "interleave": "band", "SPARSE_OK": "TRUE"}),
        (-9999, {"nodata": -9999, "dtype": "float64"}),
        (LOWEST, {"nodata": LOWEST, "interleave": "band"}),
        (-np.inf, {"nodata": -np.inf}),
    ],
)
def test_a_cell_without_a_value_in_any_band_has_no_data(
    small_source: Path, small_store: Path, tmp_path: Path, fill: float, profile: dict
) -> None:
    path = saved_again(tmp_path / "a.tif", small_source, fill, **profile)
    report = cop_zarr.ingest(path, tmp_path / "a.zarr")
    values = expected(infinite=not np.isinf(fill))
    not_finite = ~np.isfinite(values).all(axis=0)
    assert report.valid_cells == (~OCEAN).sum()
    assert report.source["nan_cells"] == OCEAN.sum()
    assert report.source["non_finite_cells"] == not_finite.sum()
    group = zarr.open(tmp_path / "a.zarr", mode="r")
    np.testing.assert_array_equal(group["embedding"][:], values)
    np.testing.assert_array_equal(group["valid"][:], ~OCEAN)
    stored, reference = objects(tmp_path / "a.zarr"), objects(small_store)
    assert stored.keys() == reference.keys()  # chunks of nothing but NaN are not written
    assert {key for key in stored if stored[key] != reference[key]} == {
        "embedding/c/0/0/5",
        "embedding/c/0/2/3",
        TABLE,
        ROOT,
        COPY,
    }
    assert cop_zarr.verify(tmp_path / "a.zarr", path).ok


def test_means_at_a_coast_are_numbers(source: Path, small_store: Path, tmp_path: Path) -> None:
    cop_zarr.ingest(source, tmp_path / "a.zarr")
    store, original = cop_zarr.open(tmp_path / "a.zarr"), cop_zarr.open(small_store)
    box = (-27.1, 9.2, -25.2, 11)  # rows 316 to 323, columns 612 to 619
    cells = truth()[:, 16:24, 32:40].reshape(BANDS, -1).astype("f8")
    coast = cells.any(axis=0)
    assert 0 < coast.sum() < coast.size
    np.testing.assert_allclose(store.query(box).data, cells.mean(axis=1), rtol=1e-6)
    for options in ({}, {"empty": "skip"}, {"pooling": "max"}, {"weights": "area"}, {"output": "grid"}):
        np.testing.assert_array_equal(store.query(box, **options).data, original.query(box, **options).data)
    lon, lat = store.grid.longitudes, store.grid.latitudes
    west, north = lon[44], lat[3]
    touched = store.query((west, north - 0.5, west + 0.5, north)).data  # rows 3 to 5, columns 44 to 46
    assert np.isnan(touched[1])
    assert np.isneginf(touched[0])
    assert touched[2] == pytest.approx(truth()[2, 3:6, 44:47].mean(dtype="f8"))
    assert np.isnan(store.sample(lon[45], lat[4])).tolist() == [False, True, False]
    row, col = np.argwhere(OCEAN)[-1]
    assert store.sample(lon[col], lat[row]).tolist() == [0, 0, 0]
    assert np.isnan(store.sample(lon[col], lat[row], empty="skip")).all()


@pytest.mark.usefixtures("fixed_time")
def test_counts_survive_a_resume(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = cop_zarr.ingest(source, tmp_path / "whole.zarr", workers=1)
    for key in ("embedding/c/0/2/3", VALID):
        out, write = tmp_path / f"{key[0]}.zarr", storage.LocalFolder.write

        def failing(self: storage.LocalFolder, to: str, data: bytes, key: str = key) -> None:
            if to == key:
                raise StorageError("No space left on device")
            write(self, to, data)  # noqa: B023  # called in this turn of the loop

        with monkeypatch.context() as patch, pytest.raises(StorageError):
            patch.setattr(storage.LocalFolder, "write", failing)
            cop_zarr.ingest(source, out, workers=1)
        resumed = cop_zarr.ingest(source, out, workers=1, resume=True)
        assert resumed.source == report.source
        assert objects(out) == objects(tmp_path / "whole.zarr")


@pytest.mark.parametrize("key", [CHUNK, VALID, TABLE, ROOT])
def test_repair_follows_the_rule(source: Path, tmp_path: Path, key: str) -> None:
    cop_zarr.ingest(source, tmp_path / "a.zarr")
    before = objects(tmp_path / "a.zarr")
    flip(tmp_path / "a.zarr" / key)
    assert cop_zarr.repair(tmp_path / "a.zarr", source).ok
    assert objects(tmp_path / "a.zarr") == before


def test_a_store_without_the_counts_holds_nan_as_its_source_does(source: Path, tmp_path: Path) -> None:
    """The first version stored every cell as it was."""
    with rasterio.open(source) as tiff:
        values = tiff.read()
    out, sha256 = tmp_path / "a.zarr", hashlib.sha256(source.read_bytes()).hexdigest()
    write_store(out, sha256=sha256, values=values)
    before = objects(out)
    assert cop_zarr.open(out).valid.sum() == OCEAN.size
    assert cop_zarr.verify(out, source).ok
    flip(out / CHUNK)
    assert cop_zarr.repair(out, source).ok
    assert objects(out) == before


def test_signalling_nan_and_sums_beyond_float32_are_no_warning(tmp_path: Path) -> None:
    values = np.full((2, 16, 16), 3e38, "f4")
    values[:, 0, 0] = np.array([0x7F800001] * 2, "u4").view("f4")
    values[0, 1, 1] = np.nan
    path = factory.write_geotiff(tmp_path / "a.tif", values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = cop_zarr.ingest(path, tmp_path / "a.zarr")
    assert (report.source["nan_cells"], report.source["non_finite_cells"]) == (1, 1)
    assert report.valid_cells == 255
    json.dumps(report.source)
