"""The store of a GeoTIFF: made when it is first asked for, and never that of another file."""

import hashlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import cop_zarr
from cop_zarr.errors import FormatVersionError, InputError, StorageError, StoreExistsError
from cop_zarr.interop.rs_embed import sidecar_store as companion
from tests.support import factory

MAKE = (
    "import sys, pathlib; from cop_zarr.interop.rs_embed.sidecar_store import reader_for; "
    "reader_for(pathlib.Path(sys.argv[1]))"
)


@pytest.fixture(autouse=True)
def _no_store_named(monkeypatch):
    monkeypatch.delenv("COP_ZARR_STORE", raising=False)


@pytest.fixture
def tif(tmp_path):
    """A part of the globe: 80 x 160 cells, 4 bands."""
    return factory.write_geotiff(tmp_path / "embed_map_310k.tif", rows=(300, 380), cols=(600, 760), bands=4)


def made(path):
    with pytest.warns(UserWarning, match="making"):
        return companion.reader_for(path)


def test_store_is_made_beside_and_then_opened(tif):
    reader = made(tif)
    assert reader.folder.url == str(tif.with_suffix(".zarr"))
    found = cop_zarr.open(tif.with_suffix(".zarr")).query((-20, 10, -19, 11), output="grid").data
    np.testing.assert_array_equal(found, factory.truth((316, 321), (640, 645), bands=4))
    companion.reader_for(tif)  # a warning would be an error


def test_named_store_is_opened(tif, tmp_path, monkeypatch):
    named = tmp_path / "named.zarr"
    cop_zarr.ingest(tif, named)
    monkeypatch.setenv("COP_ZARR_STORE", str(named))
    assert companion.reader_for(tif).folder.url == str(named)
    assert not tif.with_suffix(".zarr").exists()


def test_named_place_is_where_it_is_made(tif, tmp_path, monkeypatch):
    monkeypatch.setenv("COP_ZARR_STORE", str(tmp_path / "named.zarr"))
    made(tif)
    assert cop_zarr.verify(tmp_path / "named.zarr", source=tif).ok


def test_store_of_another_file_is_refused(tif):
    made(tif)
    data = bytearray(tif.read_bytes())
    data[-1] ^= 1
    stat = tif.stat()
    tif.write_bytes(data)  # of the same size, and of the same time:
    os.utime(tif, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(
        StoreExistsError, match=r"is the store of another file.*--overwrite.*COP_ZARR_STORE"
    ):
        companion.reader_for(tif)


def test_store_of_a_file_of_another_size_is_refused_unhashed(tif, monkeypatch):
    made(tif)
    with tif.open("ab") as file:
        file.write(b"more")
    monkeypatch.setattr(companion, "sha256_of", None)
    with pytest.raises(StoreExistsError, match="another file"):
        companion.reader_for(tif)


def test_file_is_hashed_once_until_it_is_touched(tif, monkeypatch):
    made(tif)
    known = companion.digest(tif)
    monkeypatch.setattr(companion, "sha256_of", lambda _: "anew")
    assert companion.digest(tif) == known
    os.utime(tif)
    assert companion.digest(tif) == "anew"


@pytest.mark.parametrize("note", [b"", b"\xff\xfe", b"0" * 64, b"a b c d e f g\n"])
def test_note_that_is_none_is_not_believed(tif, note):
    (tif.parent / (tif.name + ".sha256")).write_bytes(note)
    assert companion.digest(tif) == hashlib.sha256(tif.read_bytes()).hexdigest()


def test_file_changed_while_it_was_hashed_is_not_noted(tif, monkeypatch):
    hash_it = companion.sha256_of

    def meanwhile(path):
        found = hash_it(path)
        os.utime(path, ns=(1, 1))
        return found

    monkeypatch.setattr(companion, "sha256_of", meanwhile)
    companion.digest(tif)
    assert not (tif.parent / (tif.name + ".sha256")).exists()


def test_place_that_cannot_be_written_says_what_to_do(tif, monkeypatch):
    monkeypatch.setenv("COP_ZARR_STORE", "/proc/nowhere/copernicus.zarr")
    with (
        pytest.warns(UserWarning, match="making"),
        pytest.raises((InputError, StorageError), match="COP_ZARR_STORE may name another place"),
    ):
        companion.reader_for(tif)


def test_place_of_something_else_is_left_alone(tif):
    other = tif.with_suffix(".zarr")
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.warns(UserWarning, match="making"), pytest.raises(StoreExistsError, match="not a cop-zarr"):
        companion.reader_for(tif)
    assert (other / "thesis.txt").read_text() == "mine"


def test_store_of_a_newer_format_is_refused(tif, monkeypatch):
    made(tif)

    def newer(where):
        raise FormatVersionError("newer")

    monkeypatch.setattr(companion, "read_document", newer)
    with pytest.raises(FormatVersionError):
        companion.reader_for(tif)


def test_processes_that_begin_together_make_one_store(tif):
    racers = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", MAKE, str(tif)], stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    ends = [(racer.wait(120), racer.stderr.read()) for racer in racers]
    for racer in racers:
        racer.stderr.close()
    assert [code for code, _ in ends] == [0, 0, 0], ends
    assert cop_zarr.verify(tif.with_suffix(".zarr"), source=tif).ok


def test_killed_ingest_is_gone_on_with(tmp_path):
    tif = factory.write_geotiff(tmp_path / "embed_map_310k.tif", bands=32)
    first = subprocess.Popen([sys.executable, "-W", "ignore", "-c", MAKE, str(tif)])
    partial = tif.with_name("embed_map_310k.zarr.partial")
    try:
        deadline = time.monotonic() + 60
        while not list(partial.glob("embedding/c/*/*/*")) and first.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert partial.exists()
    made(tif)
    assert cop_zarr.verify(tif.with_suffix(".zarr"), source=tif).ok
