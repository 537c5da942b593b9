"""The store beside a GeoTIFF: created on first use, and never that of another file."""

import hashlib
import os
import subprocess
import sys

import pytest

import cop_zarr
from cop_zarr.errors import InputError, StorageError, StoreExistsError
from cop_zarr.interop.rs_embed import sidecar_store
from tests.support import factory
from tests.support.patience import STUCK_SECONDS

OPEN_OR_CREATE = (
    "import sys, pathlib; from cop_zarr.interop.rs_embed.sidecar_store import open_or_create; "
    "open_or_create(pathlib.Path(sys.argv[1]))"
)
KILLED = (
    "import os; from cop_zarr.storage import LocalFolder; "
    "LocalFolder.publish = lambda *_, **__: os.kill(os.getpid(), 9); "
)


@pytest.fixture(autouse=True)
def _no_store_named(monkeypatch):
    monkeypatch.delenv("COP_ZARR_STORE", raising=False)


@pytest.fixture
def tif(tmp_path):
    """A part of the globe: 80 x 160 cells, 4 bands."""
    return factory.write_geotiff(tmp_path / "embed_map_310k.tif", rows=(300, 380), cols=(600, 760), bands=4)


def create(path):
    with pytest.warns(UserWarning, match="creating"):
        return sidecar_store.open_or_create(path)


def test_created_beside_then_opened(tif):
    assert create(tif).folder.url == str(tif.with_suffix(".zarr"))
    assert cop_zarr.verify(tif.with_suffix(".zarr"), source=tif).ok
    sidecar_store.open_or_create(tif)  # a warning would be an error


def test_place_from_the_environment(tif, tmp_path, monkeypatch):
    named = tmp_path / "named.zarr"
    monkeypatch.setenv("COP_ZARR_STORE", str(named))
    create(tif)
    assert cop_zarr.verify(named, source=tif).ok
    assert sidecar_store.open_or_create(tif).folder.url == str(named)
    assert not tif.with_suffix(".zarr").exists()


def test_store_of_another_file(tif, monkeypatch):
    create(tif)
    data = bytearray(tif.read_bytes())
    data[-1] ^= 1
    stat = tif.stat()
    tif.write_bytes(data)  # of the same size and with the same time:
    os.utime(tif, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(StoreExistsError, match="COP_ZARR_STORE"):
        sidecar_store.open_or_create(tif)
    with tif.open("ab") as file:
        file.write(b"more")
    monkeypatch.setattr(sidecar_store, "sha256_of", None)  # another size needs no digest
    with pytest.raises(StoreExistsError):
        sidecar_store.open_or_create(tif)


def test_digest_is_cached_until_the_file_is_modified(tif, monkeypatch):
    create(tif)
    digest = sidecar_store.cached_sha256(tif)
    assert digest == hashlib.sha256(tif.read_bytes()).hexdigest()
    monkeypatch.setattr(sidecar_store, "sha256_of", lambda _: "new")
    assert sidecar_store.cached_sha256(tif) == digest
    os.utime(tif)
    assert sidecar_store.cached_sha256(tif) == "new"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a b c d e f g\n"])
def test_an_invalid_cached_digest_is_ignored(tif, content):
    (tif.parent / (tif.name + ".sha256")).write_bytes(content)
    assert sidecar_store.cached_sha256(tif) == hashlib.sha256(tif.read_bytes()).hexdigest()


@pytest.mark.filterwarnings("ignore:creating")
def test_places_that_cannot_be_used(tif, monkeypatch):
    other = tif.with_suffix(".zarr")
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(StoreExistsError):
        sidecar_store.open_or_create(tif)
    assert (other / "thesis.txt").read_text() == "mine"
    monkeypatch.setenv("COP_ZARR_STORE", "/proc/nowhere/copernicus.zarr")
    with pytest.raises((InputError, StorageError), match="COP_ZARR_STORE"):
        sidecar_store.open_or_create(tif)


def test_processes_that_start_together_create_one_store(tif):
    command = [sys.executable, "-W", "ignore", "-c", OPEN_OR_CREATE, str(tif)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(STUCK_SECONDS) for process in processes] == [0, 0, 0]
    assert cop_zarr.verify(tif.with_suffix(".zarr"), source=tif).ok


def test_a_killed_ingest_is_resumed(tif):
    command = [sys.executable, "-W", "ignore", "-c", KILLED + OPEN_OR_CREATE, str(tif)]
    assert subprocess.run(command, check=False).returncode == -9
    assert tif.with_name("embed_map_310k.zarr.partial").exists()
    create(tif)
    assert cop_zarr.verify(tif.with_suffix(".zarr"), source=tif).ok
