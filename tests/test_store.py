"""Opening: from where, what is refused, and which store the default is."""

import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import fsspec
import numpy as np
import pytest
import xarray
import zarr

import cop_zarr
from cop_zarr.errors import (
    FormatVersionError,
    InputError,
    SourceNotFoundError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
    StoreReplacedError,
)
from cop_zarr.format.document import decode_root, digest
from cop_zarr.storage import LocalFolder
from tests.support import factory
from tests.support.folders import WatchedFolder, open_in
from tests.support.patience import STUCK_SECONDS

BOX = (20, 39, 22, 40)


def small_store(place, name="a", shift=0.0):
    """A store of lattice rows 200 to 219, columns 800 to 823, as a path."""
    values = factory.truth((200, 220), (800, 824), 4) + shift
    tif = factory.write_geotiff(place / f"{name}.tif", values, rows=(200, 220), cols=(800, 824))
    cop_zarr.ingest(tif, place / f"{name}.zarr", overwrite=True)
    return place / f"{name}.zarr"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small store that no test changes."""
    return small_store(tmp_path_factory.mktemp("small"))


@pytest.fixture
def copied(small, tmp_path):
    """A small store of one's own."""
    return Path(shutil.copytree(small, tmp_path / "copy.zarr"))


@pytest.fixture
def in_memory(small):
    """The small store in fsspec's memory filesystem, as a URL."""
    url = "memory://bucket/some/small.zarr"
    fs, root = fsspec.url_to_fs(url)
    fs.put(str(small), root, recursive=True)
    yield url
    fs.rm("/bucket", recursive=True)


def expected(shift=0.0):
    """The cells of BOX."""
    return factory.truth((200, 205), (800, 809), 4) + shift


def test_every_way_to_name_a_store_gives_the_same_answer(small, in_memory, tmp_path, monkeypatch):
    monkeypatch.chdir(small.parent)
    zipped = shutil.make_archive(tmp_path / "small.zarr", "zip", small)
    odd, link = tmp_path / "my embeddings %20 #1 ü?.zarr", tmp_path / "link.zarr"
    shutil.copytree(small, odd)
    link.symlink_to(small)
    for url in (
        small,
        str(small),
        f"{small}/",
        small.name,
        f"file://{small}",
        f"local://{small}",
        in_memory,
        f"{in_memory}/",
        f"simplecache::file://{small}",
        f"zip://::file://{zipped}",
        odd,
        f"file://{odd}",
        link,
    ):
        answer = cop_zarr.open(url).query(BOX, output="grid")
        np.testing.assert_array_equal(answer.data, expected())


def test_a_relative_path_stays_that_place(small, tmp_path, monkeypatch):
    monkeypatch.chdir(small.parent)
    store = cop_zarr.open(small.name)
    monkeypatch.chdir(tmp_path)
    assert store.query(BOX).meta["store"] == small.name


def test_store_tells_what_it_is(store, store_path, globe):
    assert store.bands == factory.BANDS
    assert store.grid.shape == (721, 1440)
    assert repr(store) == f"<cop_zarr.Store {store_path}: 16 bands, 721 x 1440 cells>"
    np.testing.assert_array_equal(store.valid, globe.any(axis=0))
    with pytest.raises(ValueError, match="read-only"):
        store.valid[0, 0] = True
    store.source["url"] = "nonsense"
    assert store.source["url"] != "nonsense"


def test_info(store, store_path, source, globe):
    info = store.info()
    assert json.loads(json.dumps(info, allow_nan=False)) == info
    sizes = [path.stat().st_size for path in (store_path / "embedding/c").rglob("*") if path.is_file()]
    told = {
        "store": str(store_path),
        "format": "cop-zarr 1",
        "bands": 16,
        "shape": [721, 1440],
        "bounds": [-180.125, -90.125, 179.875, 90.125],
        "crs": "EPSG:4326",
        "resolution_deg": 0.25,
        "year": 2021,
        "valid_cells": int(globe.any(axis=0).sum()),
        "total_cells": 721 * 1440,
        "chunks_stored": len(sizes),
        "chunks_total": 91 * 180,
        "stored_bytes": sum(sizes),
        "array_bytes": 721 * 1440 * 16 * 4,
        "license": "CC-BY-4.0",
        "components": None,
    }
    assert {key: info[key] for key in told} == told
    assert info["source"]["sha256"] == cop_zarr.storage.sha256_of(source)
    assert not info["source"]["published"]


# What is read, and by whom


@pytest.mark.parametrize("seam", [764, 1436, 1])
@pytest.mark.parametrize("workers", [1, 4])
def test_all_around_the_globe_no_chunk_is_read_twice(store_path, globe, seam, workers):
    """The window begins and ends inside the same chunk."""
    folder = WatchedFolder(LocalFolder(store_path))
    store = open_in(folder, workers)
    folder.read_keys.clear()
    west = -180 + 0.25 * seam
    box = (west, 30, (west - 0.25 + 180) % 360 - 180, 33)
    around = np.roll(globe[:, 228:241], -seam, axis=2)
    answer = store.query(box, output="grid")
    np.testing.assert_array_equal(answer.data, around)
    np.testing.assert_array_equal(answer.valid, around.any(axis=0))
    chunks = [key for key in folder.read_keys if key.startswith("embedding/c/")]
    assert len(chunks) == len(set(chunks)) > 200
    assert len(folder.read_keys) == len(chunks) + 1  # and the mask
    folder.read_keys.clear()
    for options, cells in (({"pooling": "std"}, ...), ({"empty": "skip"}, answer.valid)):
        expected = around[:, cells].reshape(16, -1).astype("f8")
        pooled = expected.std(axis=1) if "pooling" in options else expected.mean(axis=1)
        np.testing.assert_allclose(store.query(box, **options).data, pooled, rtol=2e-6)
    assert sorted(folder.read_keys) == sorted(chunks * 2)


def test_an_open_store_can_be_sent_to_another_process(small):
    store = cop_zarr.open(small, workers=3)
    store.query(BOX)
    assert store.valid.any()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        answer = pool.apply(store.query, (BOX,), {"output": "grid"})
        assert pool.apply(store.info) == store.info()
    np.testing.assert_array_equal(answer.data, expected())
    assert answer.meta == store.query(BOX, output="grid").meta
    with pytest.raises(ValueError, match="read-only"):
        pickle.loads(pickle.dumps(store)).valid[:] = False


def test_an_open_store_works_on_after_a_fork(store_path, globe):
    """In the child and in the parent, although its threads have been at work before."""
    store = cop_zarr.open(store_path, workers=4)
    box, part = (100, 30, 140, 60), np.s_[:, 120:241, 1120:1281]

    def right():
        return np.array_equal(store.query(box, output="grid").data, globe[part])

    assert right()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of what is tested here
        child = os.fork()
    if child == 0:
        try:
            os._exit(0 if right() and np.array_equal(store.valid, globe.any(axis=0)) else 1)
        finally:
            os._exit(2)
    assert right()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# What is no store


def test_what_is_no_store(source, tmp_path):
    for form in ("{}", "file://{}", "memory://{}"):
        with pytest.raises(StoreNotFoundError, match="nothing"):
            cop_zarr.open(form.format(tmp_path / "nothing.zarr"))
    with pytest.raises(FileNotFoundError):
        cop_zarr.open(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(StoreError, match=r"zarr\.json"):
        cop_zarr.open(tmp_path)
    with pytest.raises(InputError, match="nonsense"):
        cop_zarr.open("nonsense://bucket/a.zarr")


@pytest.mark.filterwarnings("ignore:Consolidated metadata:UserWarning")
@pytest.mark.parametrize("version", [2, 3])
def test_zarr_of_another_writer(small, tmp_path, version):
    """Even if it has copies of our attributes. The calls that the messages name open it."""
    other = tmp_path / "other's.zarr"
    xarray.open_zarr(small, chunks=None).drop_encoding().to_zarr(other, zarr_format=version)
    for place, call in ((other, xarray.open_zarr), (other / "embedding", zarr.open_array)):
        with pytest.raises(StoreError) as error:
            cop_zarr.open(place)
        assert str(error.value).endswith(f"{call.__name__}({str(place)!r})")
        call(str(place))


def test_newer_format(copied):
    root = copied / "zarr.json"
    document = decode_root(root.read_bytes())
    document["attributes"]["cop_zarr"]["version"] = 3
    document["attributes"]["cop_zarr"]["sha256"] = digest(document)
    root.write_text(json.dumps(document))
    with pytest.raises(FormatVersionError, match="version 3"):
        cop_zarr.open(copied)


@pytest.mark.parametrize("workers", [0, 1.5, "x", "", float("nan")])
def test_workers_must_be_a_whole_number(small, monkeypatch, workers):
    with pytest.raises(InputError, match="workers"):
        cop_zarr.open(small, workers=workers)
    monkeypatch.setenv("COP_ZARR_WORKERS", str(workers) or " ")
    with pytest.raises(InputError, match="COP_ZARR_WORKERS"):
        cop_zarr.open(small)


def test_workers_variable(small, monkeypatch):
    for value, workers in (("7", 7), ("", min(4, os.cpu_count()))):
        monkeypatch.setenv("COP_ZARR_WORKERS", value)
        assert cop_zarr.open(small)._reader.workers == workers
        assert cop_zarr.open(small, workers=2)._reader.workers == 2


# The default store


@pytest.fixture
def default(monkeypatch):
    """Set or unset the variable that names the default store; nothing stays open for other tests."""

    def name(url):
        if url is None:
            monkeypatch.delenv("COP_ZARR_STORE", raising=False)
        else:
            monkeypatch.setenv("COP_ZARR_STORE", str(url))

    yield name
    cop_zarr.store._open_default.cache_clear()


def test_default_store_without_the_variable(small, default, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    default(None)
    with pytest.raises(StoreNotFoundError, match=r"data/copernicus_embed\.zarr"):
        cop_zarr.query(BOX)
    shutil.copytree(small, tmp_path / "data/copernicus_embed.zarr")
    assert cop_zarr.query(BOX).data.shape == (4,)
    default("")
    assert cop_zarr.query(BOX).meta["store"] == "data/copernicus_embed.zarr"


def test_default_store_is_opened_once(small, default, monkeypatch):
    default(small)
    cop_zarr.query(BOX)
    monkeypatch.setattr(cop_zarr.store, "open", None)
    assert cop_zarr.query(BOX, output="grid").data.shape == (4, 5, 9)


def test_default_store_changes_with_the_variable(small, in_memory, default, tmp_path):
    other = small_store(tmp_path, "other", shift=5)
    for url, shift in ((small, 0), (other, 5), (in_memory, 0)):
        default(url)
        found = cop_zarr.query(BOX, output="grid")
        assert found.meta["store"] == cop_zarr.open().url == str(url)
        np.testing.assert_array_equal(found.data, expected(shift=shift))


@pytest.mark.parametrize("by", ["ingest", "another process"])
def test_default_store_is_opened_again_when_it_was_replaced(default, tmp_path, by):
    """Even though what is queried is in memory."""
    default(small_store(tmp_path))
    np.testing.assert_array_equal(cop_zarr.query(BOX, output="grid").data, expected())
    if by == "ingest":
        small_store(tmp_path, shift=3)
    else:
        replace_by_another_process(tmp_path)
    np.testing.assert_array_equal(cop_zarr.query(BOX, output="grid").data, expected(shift=3))


def test_a_remote_default_store_is_opened_again_when_something_is_read(default, tmp_path):
    """What is in memory is answered from there until then."""
    url = "memory://replaced/a.zarr"
    tifs = [small_store(tmp_path, name, shift).with_suffix(".tif") for name, shift in (("a", 0), ("b", 3))]
    cop_zarr.ingest(tifs[0], url)
    default(url)
    np.testing.assert_array_equal(cop_zarr.query(BOX, output="grid").data, expected())
    cop_zarr.ingest(tifs[1], url, overwrite=True)
    cop_zarr.query((22.5, 37, 24.5, 38))
    np.testing.assert_array_equal(cop_zarr.query(BOX, output="grid").data, expected(shift=3))
    fsspec.filesystem("memory").rm("/replaced", recursive=True)


def test_an_open_store_that_was_replaced_is_not_called_damaged(tmp_path):
    store = cop_zarr.open(small_store(tmp_path))
    replace_by_another_process(tmp_path)
    with pytest.raises(StoreReplacedError):
        store.query(BOX)


def replace_by_another_process(place):
    """Put a store of other values where small_store(place) was, as another process would."""
    other = small_store(place, "other", shift=3)
    shutil.rmtree(place / "a.zarr")
    other.rename(place / "a.zarr")


LATE = """
import sys, threading, time, cop_zarr
store = cop_zarr.open(sys.argv[1])
box = tuple(store.grid.bounds)[:4]
def ask():
    while threading.main_thread().is_alive():
        time.sleep(0.01)
    time.sleep(0.1)
    print(store.query((-20, -20, 60, 60)).data.shape, store.query_many([(-20, -20, 60, 60)]).shape)
threading.Thread(target=ask).start()
"""


def test_a_thread_may_go_on_asking_when_the_main_one_has_ended(store_path):
    """The interpreter starts no thread any more by then."""
    done = subprocess.run(
        [sys.executable, "-c", LATE, store_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=STUCK_SECONDS,
    )
    assert (done.stdout, done.stderr) == ("(16,) (1, 16)\n", "")


def test_a_source_in_place_of_a_store(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source, link = shutil.copy(small.with_suffix(".tif"), "a.tif"), Path("image.tif")
    link.symlink_to(source)
    for call in (cop_zarr.open, cop_zarr.verify, cop_zarr.keep_components):
        with pytest.raises(StoreError, match=r"GeoTIFF.*cop_zarr\.ingest\('a\.tif', 'a\.zarr'\)"):
            call(source)
    cop_zarr.ingest("a.tif", "a.zarr")
    with pytest.raises(StoreError, match=r"there is a\.zarr"):
        cop_zarr.open("a.tif")
    with pytest.raises(StoreError, match=r"GeoTIFF.*'image\.zarr'"):
        cop_zarr.open(link)
    with pytest.raises(StoreNotFoundError, match=r"no file .*missing\.tif$"):
        cop_zarr.open("missing.tif")
    with pytest.raises(StoreError, match=r"memory://a\.tif.*'memory://a\.tif', 'STORE'"):
        cop_zarr.open("memory://a.tif")
    with pytest.raises(StoreExistsError, match="a store is a folder"):
        cop_zarr.ingest("a.zarr", "a.tif")
    with pytest.raises(SourceNotFoundError, match="Zarr store"):
        cop_zarr.ingest("a.zarr", "b.zarr")
    Path("notes.tif").write_text("hello")
    Path("a.zip").write_bytes(b"PK\3\4")
    for name, word in (("notes.tif", "is a file"), ("a.zip", "name the store in it: zip::a.zip, ")):
        with pytest.raises(StoreError, match=word):
            cop_zarr.open(name)
    with pytest.raises(InputError, match=r"give its url, 'a\.zarr'"):
        cop_zarr.open(cop_zarr.open("a.zarr"))


def test_the_stores_that_there_are_are_named(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COP_ZARR_STORE", raising=False)
    with pytest.raises(
        StoreNotFoundError, match=r"default place; .*cop_zarr\.ingest\(\).*cop-zarr quickstart"
    ):
        cop_zarr.open()
    Path("data").mkdir()
    Path("data/standin.zarr").symlink_to(small)
    Path("data/other.zarr").mkdir()  # no store
    with pytest.raises(StoreNotFoundError, match=r"there is data/standin\.zarr: .*=data/standin\.zarr$"):
        cop_zarr.open()
    with pytest.raises(StoreNotFoundError, match=r"there is data/standin\.zarr$"):
        cop_zarr.open("data/standing.zarr")
    with pytest.raises(StoreError, match=r"but data/standin\.zarr"):
        cop_zarr.open("data")
    with pytest.raises(StoreNotFoundError, match=r"cop_zarr\.ingest\(SOURCE, 'a\.zarr'\)"):
        cop_zarr.open("a.zarr")
    monkeypatch.setenv("COP_ZARR_STORE", "elsewhere/a.zarr")
    with pytest.raises(
        StoreNotFoundError, match=r"which COP_ZARR_STORE names; there is data/standin\.zarr"
    ):
        cop_zarr.open()
