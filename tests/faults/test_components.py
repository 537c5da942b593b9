"""Components on object storage, over HTTP, in a ZIP file, and from a disk cache without a network."""

import shutil
import zipfile

import numpy as np
import pytest

import cop_zarr
from cop_zarr import errors
from cop_zarr.storage import RemoteFolder
from tests.support import factory
from tests.support.servers import static_server

HERE = {"rows": (150, 170), "cols": (760, 784), "bands": 12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A source, a store that keeps 10 components, and its source."""
    folder = tmp_path_factory.mktemp("kept")
    values = factory.truth(**{name: HERE[name] for name in ("rows", "cols", "bands")})
    values[2:] += np.random.default_rng(0).normal(size=values[2:].shape) * (values[2:] != 0)
    cop_zarr.ingest(factory.write_geotiff(folder / "a.tif", values, **HERE), folder / "a.zarr")
    cop_zarr.keep_components(folder / "a.zarr", 10)
    return folder


@pytest.fixture(scope="module")
def expected(folder):
    return cop_zarr.open(folder / "a.zarr").components()


def check(store, expected):
    found = store.components()
    assert found.kept
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.remainder, expected.remainder)


def test_over_http(folder, expected):
    with static_server(folder) as url:
        check(cop_zarr.open(f"{url}/a.zarr"), expected)
        with pytest.raises(errors.InputError) as caught:
            cop_zarr.keep_components(f"{url}/a.zarr", 10, overwrite=True)
        assert "--to" in str(caught.value)


def test_in_a_zip_file(folder, expected, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in (folder / "a.zarr").rglob("*"):
            archive.write(path, path.relative_to(folder))
    with static_server(tmp_path) as url:
        check(cop_zarr.open(f"zip://a.zarr::{url}/a.zip"), expected)
    check(cop_zarr.open(f"zip://a.zarr::{tmp_path}/a.zip"), expected)


@pytest.mark.usefixtures("no_pauses")
def test_from_a_disk_cache_without_a_network(folder, expected, tmp_path):
    shutil.copytree(folder / "a.zarr", tmp_path / "www/a.zarr")
    with static_server(tmp_path / "www") as url:
        options = {"cache_dir": tmp_path / "cache"}
        check(cop_zarr.open(f"{url}/a.zarr", **options), expected)
    check(cop_zarr.open(f"{url}/a.zarr", **options), expected)


@pytest.mark.slow
def test_on_s3(folder, expected, s3):
    url, options = s3.place(), {"storage_options": s3.options}
    cop_zarr.ingest(folder / "a.tif", url, **options)
    plain = s3.keys(url)
    report = cop_zarr.keep_components(url, 10, **options)
    assert report.derived
    check(cop_zarr.open(url, **options), expected)
    assert cop_zarr.verify(url, **options).ok
    full = s3.keys(url)
    assert cop_zarr.keep_components(url, 5, overwrite=True, **options).count == 5
    assert s3.keys(url) < full  # a chunk of scores less
    assert cop_zarr.verify(url, **options).ok
    assert cop_zarr.open(url, **options).components().axes.shape == (5, 12)
    cop_zarr.ingest(folder / "a.tif", url, overwrite=True, **options)
    assert s3.keys(url) == plain


@pytest.mark.parametrize("before", [0, pytest.param(10, marks=pytest.mark.slow)])
def test_a_run_that_fails_on_s3_leaves_nothing_believed(folder, s3, monkeypatch, before):
    url, options = s3.place(), {"storage_options": s3.options}
    cop_zarr.ingest(folder / "a.tif", url, **options)
    if before:
        cop_zarr.keep_components(url, before, **options)
    write = RemoteFolder.write

    def fail(self, key, data):
        if key == "components/axes/zarr.json":
            raise KeyboardInterrupt
        write(self, key, data)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RemoteFolder, "write", fail)
        cop_zarr.keep_components(url, 7, overwrite=True, **options)
    assert "components/zarr.json" not in s3.objects(url)
    assert not cop_zarr.open(url, **options).components(3).kept
    (problem,) = cop_zarr.verify(url, **options).problems
    assert problem.key == "components/zarr.json"
    assert cop_zarr.keep_components(url, 7, **options).derived
    assert cop_zarr.verify(url, **options).ok
    assert not [key for key in s3.objects(url) if key.startswith("ingest/")]
