"""Copies of stores, with shards and without: every byte of every chunk, or an error and nothing."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import zarr
from click.testing import CliRunner, Result

import cop_zarr
from cop_zarr.cli import main
from cop_zarr.errors import (
    ChunkError,
    InputError,
    StorageError,
    StoreBusyError,
    StoreExistsError,
    StoreNotFoundError,
)
from cop_zarr.storage import LocalFolder, folder
from tests.support import factory
from tests.support.servers import S3
from tests.writing.sharded import BANDS, COLS, ROWS, SHARD, truth
from tests.writing.small import flip, objects, write_store

CHUNK = "embedding/c/0/9/9"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = truth()
    values[1, 70, 70] = np.nan
    values[:, 71, 71] = np.nan  # a cell without data
    path = tmp_path_factory.mktemp("copied") / "a.tif"
    return factory.write_geotiff(path, values, rows=ROWS, cols=COLS, bands=BANDS)


@pytest.fixture(scope="module")
def plain(source: Path) -> Path:
    cop_zarr.ingest(source, source.with_name("plain.zarr"))
    return source.with_name("plain.zarr")


@pytest.fixture(scope="module")
def sharded(source: Path, plain: Path) -> Path:
    created = cop_zarr.open(plain).info()["created"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cop_zarr.core.settings.timestamp", lambda: created)
        cop_zarr.ingest(source, source.with_name("sharded.zarr"), shards=True)
    return source.with_name("sharded.zarr")


def test_a_copy_has_the_bytes_of_an_ingest(
    plain: Path, sharded: Path, source: Path, tmp_path: Path
) -> None:
    for one, shards, other in (
        (plain, True, sharded),
        (sharded, False, plain),
        (plain, None, plain),
        (sharded, None, sharded),
    ):
        to = tmp_path / f"{one.stem}-{shards}.zarr"
        report = cop_zarr.copy(one, to, shards=shards)
        assert objects(to) == objects(other)
        assert cop_zarr.verify(to, source).ok
        assert report.sha256 == cop_zarr.open(to).sha256
        assert report.shards == (other == sharded)
        assert report.objects_written == len([key for key in objects(to) if key.startswith("embedding/c")])
        with rasterio.open(source) as tiff:
            found = zarr.open_group(to, mode="r")["embedding"][:]
            cleared = tiff.read()
            cleared[:, np.isnan(cleared).all(axis=0)] = 0
        assert np.array_equal(found.view("u4"), cleared.view("u4"))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{one}.zarr" for one in ("plain-True", "sharded-False", "plain-None", "sharded-None")
    )


def test_between_an_object_store_and_a_disk(plain: Path, sharded: Path, tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/a.zarr"
    cop_zarr.copy(plain, url, shards=True)
    assert objects(url) == objects(sharded)
    cop_zarr.copy(url, tmp_path / "b.zarr", shards=False)
    assert objects(tmp_path / "b.zarr") == objects(plain)
    cop_zarr.copy(url, url.replace("a.zarr", "c.zarr"), shards=False)
    assert objects(url.replace("a.zarr", "c.zarr")) == objects(plain)


@pytest.mark.parametrize("shards", [True, False])
def test_a_damaged_store_is_not_copied(plain: Path, sharded: Path, tmp_path: Path, shards: bool) -> None:
    for one, key in ((plain, CHUNK), (sharded, SHARD), (plain, "valid/c/0/0")):
        damaged = shutil.copytree(one, tmp_path / "damaged.zarr")
        flip(damaged / key)
        with pytest.raises(ChunkError, match=key):
            cop_zarr.copy(damaged, tmp_path / "b.zarr", shards=shards)
        assert [path.name for path in tmp_path.iterdir()] == ["damaged.zarr"]
        shutil.rmtree(damaged)


def test_what_is_there_already(plain: Path, sharded: Path, tmp_path: Path) -> None:
    other = shutil.copytree(plain, tmp_path / "b.zarr")
    with pytest.raises(StoreExistsError, match="overwrite=True"):
        cop_zarr.copy(sharded, other)
    cop_zarr.copy(sharded, other, overwrite=True)
    assert objects(other) == objects(sharded)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("a")
    with pytest.raises(StoreExistsError):
        cop_zarr.copy(sharded, tmp_path / "mine", overwrite=True)
    with folder(str(tmp_path / "c.zarr")).locked(), pytest.raises(StoreBusyError):
        cop_zarr.copy(sharded, tmp_path / "c.zarr")


def test_an_interrupted_copy(
    plain: Path, sharded: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LocalFolder, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cop_zarr.copy(plain, tmp_path / "a.zarr", shards=True)
    assert not (tmp_path / "a.zarr").exists()
    written = LocalFolder.write

    def stopped(self: LocalFolder, key: str, data: bytes) -> None:
        if key == SHARD:
            raise KeyboardInterrupt
        written(self, key, data)

    with monkeypatch.context() as patch:
        patch.setattr(LocalFolder, "write", stopped)
        with pytest.raises(KeyboardInterrupt):
            cop_zarr.copy(plain, tmp_path / "a.zarr", shards=True)
    assert not (tmp_path / "a.zarr").exists()
    with pytest.raises(StoreExistsError, match="overwrite=True"):
        cop_zarr.copy(plain, tmp_path / "a.zarr", shards=True)
    with pytest.raises(StoreExistsError):
        cop_zarr.ingest(source, tmp_path / "a.zarr", shards=True, resume=True)
    cop_zarr.copy(plain, tmp_path / "a.zarr", shards=True, overwrite=True)
    assert objects(tmp_path / "a.zarr") == objects(sharded)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_a_full_disk_leaves_nothing(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageError("full")

    monkeypatch.setattr(LocalFolder, "write", full)
    with pytest.raises(StorageError, match="full"):
        cop_zarr.copy(plain, tmp_path / "a.zarr", shards=True)
    assert list(tmp_path.iterdir()) == []


def test_onto_itself(plain: Path, tmp_path: Path) -> None:
    before = objects(plain)
    (tmp_path / "link.zarr").symlink_to(plain)
    for other in (plain, f"{plain}/", f"file://{plain}", tmp_path / "link.zarr", plain / "inside.zarr"):
        with pytest.raises(InputError):
            cop_zarr.copy(plain, other, overwrite=True, shards=True)
    with pytest.raises(InputError):
        cop_zarr.copy(plain, plain.parent, overwrite=True)
    url = f"memory://{tmp_path.name}/a.zarr"
    cop_zarr.copy(plain, url)
    with pytest.raises(InputError):
        cop_zarr.copy(url, f"{url}/", overwrite=True)
    with pytest.raises(InputError):  # another name of the same place
        cop_zarr.copy(url, url.replace("memory://", "memory:///"), overwrite=True, shards=True)
    assert objects(plain) == before == objects(url)
    assert os.path.lexists(tmp_path / "link.zarr")


@pytest.mark.slow
def test_onto_itself_on_s3(plain: Path, s3: S3) -> None:
    url = s3.place()
    cop_zarr.copy(plain, url, storage_options=s3.options)
    for source, target in ((url, url.replace("s3://", "s3a://")), (url.replace("s3://", "s3a://"), url)):
        with pytest.raises(InputError):
            cop_zarr.copy(
                source, target, overwrite=True, source_options=s3.options, storage_options=s3.options
            )
    assert s3.objects(url) == objects(plain)


def test_what_cannot_be_copied(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError):
        cop_zarr.copy(tmp_path / "nothing.zarr", tmp_path / "a.zarr")
    with pytest.raises(InputError):
        cop_zarr.copy(plain, "https://example.org/a.zarr")
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_the_first_version_keeps_its_nan(tmp_path: Path) -> None:
    """Its source says nothing of cells without a value: they are as in the source."""
    first = write_store(tmp_path / "first.zarr")
    cop_zarr.copy(first, tmp_path / "b.zarr", shards=True)
    assert cop_zarr.open(tmp_path / "b.zarr").source == cop_zarr.open(first).source
    assert cop_zarr.verify(tmp_path / "b.zarr").ok
    found = zarr.open_group(tmp_path / "b.zarr", mode="r")["embedding"][:]
    assert np.array_equal(found, zarr.open_group(first, mode="r")["embedding"][:])


@pytest.fixture(scope="module")
def keeping(plain: Path) -> Path:
    """A store that keeps its components."""
    path = shutil.copytree(plain, plain.with_name("keeping.zarr"))
    cop_zarr.keep_components(path, 3)
    return path


@pytest.mark.parametrize("shards", [True, False])
def test_components_come_along(keeping: Path, tmp_path: Path, shards: bool) -> None:
    url = f"memory://{tmp_path.name}/a.zarr"
    assert cop_zarr.copy(keeping, tmp_path / "a.zarr", shards=shards).components == "copied"
    assert cop_zarr.copy(tmp_path / "a.zarr", url, overwrite=True).components == "copied"
    old, new = objects(keeping), objects(url)
    assert new == objects(tmp_path / "a.zarr")
    kept = {key for key in old if key.startswith("components/")}
    assert kept == {key for key in new if key.startswith("components/")}
    assert {key for key in kept if old[key] != new[key]} == ({"components/zarr.json"} if shards else set())
    assert cop_zarr.verify(url).ok
    one, two = (cop_zarr.open(place).components() for place in (keeping, url))
    assert two.kept
    assert np.array_equal(one.scores, two.scores, equal_nan=True)
    cop_zarr.copy(keeping, url, shards=not shards, overwrite=True)
    assert cop_zarr.verify(url).ok


@pytest.mark.parametrize(
    "key", ["components/zarr.json", "components/scores/c/0/0/0", "components/mean/c/0"]
)
def test_damaged_components_stay_behind(keeping: Path, plain: Path, tmp_path: Path, key: str) -> None:
    damaged = shutil.copytree(keeping, tmp_path / "damaged.zarr")
    flip(damaged / key)
    done = run("copy", damaged, "--to", tmp_path / "b c.zarr")
    assert done.exit_code == 0, done.output
    assert objects(tmp_path / "b c.zarr") == objects(plain)
    command = shlex.split(done.output.partition("cop-zarr components ")[2])
    assert run("components", *command).exit_code == 0
    assert cop_zarr.open(tmp_path / "b c.zarr").components().kept
    assert cop_zarr.copy(plain, tmp_path / "d.zarr").components == "none"


@pytest.mark.parametrize("encoding", ["float16", "int8"])
def test_components_of_other_numbers_stay_behind(tmp_path: Path, encoding: str) -> None:
    source = factory.write_geotiff(tmp_path / "a.tif", rows=ROWS, cols=COLS, bands=BANDS)
    cop_zarr.ingest(source, tmp_path / "a.zarr")
    cop_zarr.keep_components(tmp_path / "a.zarr", 2)
    one, two = tmp_path / "b.zarr", tmp_path / "c.zarr"
    assert cop_zarr.copy(tmp_path / "a.zarr", one, encoding=encoding).components == "not copied"
    assert not (one / "components").exists()
    cop_zarr.keep_components(one, 2)
    assert cop_zarr.copy(one, two, shards=True).components == "copied"
    assert cop_zarr.verify(two, source).ok
    assert cop_zarr.open(two).components().kept


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_command(plain: Path, sharded: Path, tmp_path: Path) -> None:
    one, two, three = (tmp_path / f"{name}.zarr" for name in "abc")
    done = run("copy", plain, "--to", one, "--shards", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["shards"]
    assert report["objects_written"] == len(list(sharded.glob("embedding/c/0/*/*")))
    assert run("copy", one, "--to", two, "--no-shards").exit_code == 0
    assert objects(two) == objects(plain)
    assert run("copy", plain, "--to", two).exit_code == 1
    assert run("ingest", plain.with_name("a.tif"), three, "--shards").exit_code == 0
    assert cop_zarr.open(three).info()["shard_cells"] == [64, 64]
