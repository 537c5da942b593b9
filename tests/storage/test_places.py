"""Stores and sources as other libraries name them: answered, or refused with an error of ours."""

from __future__ import annotations

import shutil

import fsspec
import pytest
import xarray as xr
import zarr
from zarr.storage import FsspecStore, LocalStore, MemoryStore, ZipStore

import cop_zarr
from cop_zarr.errors import InputError
from tests.support import factory
from tests.support.servers import static_server
from tests.writing import small


@pytest.fixture(scope="module")
def small_store(tmp_path_factory):
    """A store, and its source beside it."""
    source = tmp_path_factory.mktemp("small") / "small.tif"
    factory.write_geotiff(source, rows=small.ROWS, cols=small.COLS, bands=small.BANDS)
    cop_zarr.ingest(source, source.with_name("small.zarr"))
    return source.with_name("small.zarr")


def in_memory(store):
    fs = fsspec.filesystem("memory")
    fs.put(str(store), "/small.zarr", recursive=True)
    return "memory://small.zarr"


LOCAL = {
    "text": str,
    "bytes": lambda store: str(store).encode(),
    "mapper": lambda store: fsspec.get_mapper(str(store)),
    "LocalStore": LocalStore,
    "mapper in memory": lambda store: fsspec.get_mapper(in_memory(store)),
    "FsspecStore in memory": lambda store: FsspecStore.from_url(in_memory(store)),
}


@pytest.mark.parametrize("kind", LOCAL)
def test_a_store_given_by_another_library_is_opened(small_store, kind):
    given = LOCAL[kind](small_store)
    small.check_values(cop_zarr.open(given))
    assert cop_zarr.verify(given, str(small_store.with_name("small.tif"))).ok


def test_its_options_are_kept(small_store):
    """The ones that are given beside it go first."""
    with static_server(small_store.parent) as url:
        mapper = fsspec.get_mapper(f"{url}/small.zarr", headers={"X-Key": "a"}, block_size=7)
        small.check_values(cop_zarr.open(mapper))
        small.check_values(cop_zarr.open(FsspecStore.from_url(f"{url}/small.zarr")))
        with pytest.raises(InputError, match="colour"):
            cop_zarr.open(mapper, storage_options={"client_kwargs": {"colour": 1}})


def test_the_engine_of_xarray_takes_them(small_store):
    with xr.open_dataset(fsspec.get_mapper(str(small_store)), engine="cop-zarr") as opened:
        assert opened.embedding.shape == (small.BANDS, *small.SHAPE)


@pytest.mark.parametrize("url", ["{0}", "file://{0}", "memory://small.zarr", "{1}/small.zarr"])
def test_a_path_of_universal_pathlib(small_store, url, tmp_path):
    upath = pytest.importorskip("upath")
    in_memory(small_store)
    with static_server(small_store.parent) as server:
        given = upath.UPath(url.format(small_store, server))
        small.check_values(cop_zarr.open(given))
        source = upath.UPath(f"{server}/small.tif")
        cop_zarr.ingest(source, upath.UPath(tmp_path / "a.zarr"))
    small.check_values(cop_zarr.open(tmp_path / "a.zarr"))


def zipped(store):
    return shutil.make_archive(str(store), "zip", store)


OTHERS = {
    "a dict": lambda _: {},
    "MemoryStore": lambda _: MemoryStore(),
    "ZipStore": lambda store: ZipStore(zipped(store), mode="r"),
    "a group": lambda store: zarr.open_group(store, mode="r"),
    "a file": lambda store: (store / "zarr.json").open("rb"),
    "a mapper of a ZIP file": lambda store: fsspec.get_mapper(f"zip::{zipped(store)}"),
    "a number": lambda _: 3,
    "a dataset": lambda _: xr.Dataset(),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_anything_else_is_refused(small_store, kind, tmp_path):
    given = OTHERS[kind](small_store)
    (tmp_path / "a.csv").write_text("lon,lat\n0,0\n")
    for call in (
        cop_zarr.open,
        lambda given: cop_zarr.ingest(given, tmp_path / "a.zarr"),
        lambda given: cop_zarr.ingest(small_store.with_name("small.tif"), given),
        lambda given: cop_zarr.batch(given, tmp_path / "a.npy", small_store),
        lambda given: cop_zarr.batch(tmp_path / "a.csv", tmp_path / "a.npy", given),
    ):
        with pytest.raises(InputError):
            call(given)


def test_the_url_of_a_zip_file_as_text_is_opened(small_store):
    """As the message about its mapper says."""
    small.check_values(cop_zarr.open(f"zip::{zipped(small_store)}"))
