"""Answers saved to files, read back without the package."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import cop_zarr
from cop_zarr.errors import InputError, StorageError, StoreExistsError
from cop_zarr.outputs import files
from tests.support import factory

TRIANGLE = {"type": "Polygon", "coordinates": [[[179.25, -1], [180.5, -1], [180, 1.5], [179.25, -1]]]}
"""Over the antimeridian, with cells with and without data, wholly, partly and not in the region."""

KINDS = [".json", ".npy", ".npz", ".csv"]


@pytest.fixture(params=["pooled", "grid"])
def embedding(store, request):
    answer = store.query(TRIANGLE, output=request.param)
    assert 0 < (answer.weights > 0).sum() < answer.weights.size
    assert 0 < answer.valid.sum() < answer.valid.size
    return answer


@pytest.fixture
def with_nan(tmp_path):
    """A grid with a NaN, an infinity and the largest and the smallest float32."""
    values = np.random.default_rng(0).normal(size=(4, 2, 2)).astype("f4")
    values[:, 0, 0] = np.nan, np.inf, np.finfo("f4").max, np.finfo("f4").smallest_subnormal
    tif = factory.write_geotiff(tmp_path / "a.tif", values, rows=(200, 202), cols=(800, 802))
    cop_zarr.ingest(tif, tmp_path / "a.zarr")
    return cop_zarr.open(tmp_path / "a.zarr").query((19, 39, 21, 41), output="grid")


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_npy_npz_and_json(embedding, tmp_path):
    for kind in ("NPY", "npz", "json"):
        files.save(embedding, tmp_path / f"a.{kind}")
    np.testing.assert_array_equal(np.load(tmp_path / "a.NPY"), embedding.data, strict=True)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["data"], embedding.data, strict=True)
        np.testing.assert_array_equal(file["valid"], embedding.valid, strict=True)
        np.testing.assert_array_equal(file["weights"], embedding.weights, strict=True)
        assert json.loads(str(file["meta"])) == embedding.meta
        np.testing.assert_array_equal(file["latitude"], 1.5 - 0.25 * np.arange(11))
        np.testing.assert_array_equal(file["longitude"], 179.25 + 0.25 * np.arange(6))
    found = json.loads((tmp_path / "a.json").read_bytes())
    assert (set(found), found["meta"]) == ({"meta", "data"}, embedding.meta)
    np.testing.assert_array_equal(np.array(found["data"], "f4"), embedding.data, strict=True)


def test_csv_of_a_vector(store, tmp_path):
    answer = store.query((179.25, -1, -179.5, 1.5))
    files.save(answer, tmp_path / "a.csv")
    header, values = rows_of(tmp_path / "a.csv")
    assert header == [f"e{band}" for band in range(16)]
    np.testing.assert_array_equal(np.array(values, "f4"), answer.data)


def test_csv_of_a_grid(store, globe, tmp_path):
    """Each cell's row, compared with the lattice and the source."""
    answer = store.query(TRIANGLE, output="grid")
    files.save(answer, tmp_path / "a.csv")
    header, *rows = rows_of(tmp_path / "a.csv")
    assert header == ["latitude", "longitude", "valid", "weight", *(f"e{band}" for band in range(16))]
    assert len(rows) == answer.valid.size
    for (lat, lon, valid, weight, *values), expected in zip(rows, answer.weights.flat, strict=True):
        row, col = round((90 - float(lat)) / 0.25), round((float(lon) + 180) / 0.25) % 1440
        cell = globe[:, row, col]
        assert valid == str(int(cell.any()))
        assert np.float32(weight) == expected
        np.testing.assert_array_equal(np.array(values, "f4"), cell)


def test_values_that_are_not_finite(with_nan, tmp_path):
    for kind in KINDS:
        files.save(with_nan, tmp_path / f"x{kind}")
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), with_nan.data)
    text = (tmp_path / "x.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    corner = [band[0][0] for band in json.loads(text)["data"]]
    assert corner[:2] == [None, None], "JSON has no NaN and no infinity"
    np.testing.assert_array_equal(np.array(corner[2:], "f4"), with_nan.data[2:, 0, 0])
    first_cell = rows_of(tmp_path / "x.csv")[1]
    np.testing.assert_array_equal(np.array(first_cell[4:], "f4"), with_nan.data[:, 0, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_existing_file_is_kept(embedding, tmp_path, kind):
    path = tmp_path / f"a{kind}"
    path.write_text("precious")
    with pytest.raises(StoreExistsError) as error:
        files.save(embedding, path)
    assert isinstance(error.value, FileExistsError)
    assert path.read_text() == "precious"
    files.save(embedding, path, overwrite=True)
    assert path.read_bytes() != b"precious"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["a", "a.txt", ".json.gz", "a.json~"])
def test_unknown_suffix(embedding, tmp_path, name):
    with pytest.raises(InputError):
        files.save(embedding, tmp_path / name)


@pytest.mark.parametrize("kind", KINDS)
def test_failed_write_leaves_nothing(embedding, tmp_path, kind, monkeypatch):
    with pytest.raises(StorageError):
        files.save(embedding, tmp_path / f"nowhere/a{kind}")

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match="No space left"):
        files.save(embedding, tmp_path / f"a{kind}")
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written_are_known_before_the_work(tmp_path):
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(StoreExistsError):
        files.check_target(tmp_path / "a.csv", overwrite=True)
    with pytest.raises(StorageError):
        files.check_target(tmp_path / "absent" / "a.csv")
