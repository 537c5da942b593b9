"""A batch that was interrupted is resumed, and nothing is lost or overwritten."""

import json
import os
import shutil
import subprocess
import sys

import geopandas
import numpy as np
import pyarrow as pa
import pytest
import xarray as xr

import cop_zarr
from cop_zarr.errors import InputError, StorageError, StoreBusyError, StoreExistsError
from cop_zarr.interop.tables.checkpoint import Checkpoint
from cop_zarr.querying.geodataframe import COLUMN
from cop_zarr.storage import LocalFolder
from tests.support import factory
from tests.support.tables import POLYGONS, read_vectors, vectors_at

KILLED_BATCH = f"""
import os, signal, sys
import cop_zarr
from cop_zarr.interop.tables import runner
from cop_zarr.interop.tables.checkpoint import Checkpoint

runner.PART_BYTES = 64 * 4 * {factory.BANDS}
table, out, store, method, count = sys.argv[1:]
original, calls = getattr(Checkpoint, method), []

def kill_at_last(*given):
    calls.append(given)
    if len(calls) == int(count):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*given)

setattr(Checkpoint, method, kill_at_last)
cop_zarr.batch(table, out, store)
"""

FIRST_KILL = [pytest.param(".npy", "write_part", 3, id="third part of .npy")]
MORE_KILLS = [
    pytest.param(suffix, method, count, marks=pytest.mark.slow)
    for suffix in (".parquet", ".npy", ".zarr")
    for method, count in (("write_part", 8), ("result_path", 1), ("publish", 1))
]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(("suffix", "method", "count"), FIRST_KILL + MORE_KILLS)
@pytest.mark.filterwarnings("ignore:The codec `vlen-utf8`", "ignore:Consolidated metadata")
def test_a_killed_batch_is_resumed(suffix, method, count, points, store_path, globe):  # noqa: PLR0917
    table, lons, lats = points
    out = table.with_name(f"out{suffix}")
    program = [sys.executable, "-c", KILLED_BATCH, table, out, store_path, method, str(count)]
    assert subprocess.run(program, check=False).returncode == -9
    assert not out.exists()
    with pytest.raises(StoreExistsError, match="resume=True"):
        cop_zarr.batch(table, out, store_path)
    with pytest.raises(StoreExistsError, match="options"):
        cop_zarr.batch(table, out, store_path, resume=True, empty="skip")
    report = cop_zarr.batch(table, out, store_path, resume=True)
    assert report.rows == 500
    assert report.resumed_rows == min(500, 64 * (count - 1 if method == "write_part" else 8))
    read = {".npy": np.load, ".parquet": lambda path: read_vectors(path)[0]}
    found = read.get(suffix, lambda path: xr.open_zarr(path).embedding.values)(out)
    np.testing.assert_array_equal(found, vectors_at(globe, lons, lats), strict=True)
    assert sorted(path.name for path in out.parent.iterdir()) == [out.name, "points.csv"]


def interrupted(table, out, store_path, **options):
    """Leave a batch of which only the last step is missing."""

    def full(*_):
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Checkpoint, "publish", full)
        with pytest.raises(OSError, match="space"):
            cop_zarr.batch(table, out, store_path, **options)


@pytest.mark.usefixtures("small_parts")
def test_a_changed_table_is_not_resumed(points, store_path, tmp_path):
    table, out = points[0], tmp_path / "out.npy"
    interrupted(table, out, store_path)
    os.utime(table, (1, 1))
    with pytest.raises(StoreExistsError, match="table"):
        cop_zarr.batch(table, out, store_path, resume=True)
    assert cop_zarr.batch(table, out, store_path, overwrite=True).resumed_rows == 0
    assert out.exists()


def flip(path):
    """Flip a bit in the last row's vector, which Arrow does not check."""
    data = bytearray(path.read_bytes())
    data[
        data.rindex(pa.ipc.open_file(path).read_all()[COLUMN].chunk(0).values.buffers()[1].to_pybytes())
    ] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "flipped": flip,
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "another part's": lambda path: shutil.copy(path.with_name("000005.arrow"), path),
    "without a checksum": lambda path: path.with_suffix(".crc32c").unlink(),
    "with a damaged checksum": lambda path: path.with_suffix(".crc32c").write_bytes(b"\xff"),
}


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_part_that_was_altered_is_computed_again(damage, points, store_path, globe, tmp_path):
    table, lons, lats = points
    interrupted(table, tmp_path / "out.npy", store_path)
    DAMAGES[damage](tmp_path / "out.npy.partial" / "000003.arrow")
    assert cop_zarr.batch(table, tmp_path / "out.npy", store_path, resume=True).resumed_rows == 3 * 64
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), vectors_at(globe, lons, lats), strict=True)


@pytest.mark.usefixtures("small_parts")
def test_a_part_that_is_altered_before_the_output_is_written_is_refused(
    points, store_path, globe, monkeypatch
):
    table, lons, lats = points
    out, write_part = table.with_name("out.npy"), Checkpoint.write_part

    def write_and_flip(self, number, part):
        write_part(self, number, part)
        if number == 5:
            flip(out.with_name("out.npy.partial") / "000003.arrow")

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "write_part", write_and_flip)
        with pytest.raises(StorageError, match="resume=True"):
            cop_zarr.batch(table, out, store_path)
    assert not out.exists()
    assert cop_zarr.batch(table, out, store_path, resume=True).resumed_rows == 3 * 64
    np.testing.assert_array_equal(np.load(out), vectors_at(globe, lons, lats), strict=True)


KILLED_PUBLICATION = """
import itertools, os, shutil, signal, sys
from pathlib import Path
from cop_zarr.interop.tables import checkpoint

CALLS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "exchange", "exchanged"}
place, can_exchange = Path(sys.argv[1]), sys.argv[2] == "exchange"
out, partial = place / "out.zarr", place / "out.zarr.partial"
seen, last = itertools.count(1), None
real = checkpoint.exchange

def count(event, *_):
    if last and event in CALLS and next(seen) == last:
        os.kill(os.getpid(), signal.SIGKILL)

def exchange(one, other):
    count("exchange")
    done = can_exchange and real(one, other)
    count("exchanged")
    return done

checkpoint.exchange = exchange
sys.addaudithook(count)

def make(path, word):
    (path / "embedding" / "c").mkdir(parents=True)
    for name in ("zarr.json", "embedding/zarr.json", "embedding/c/0"):
        (path / name).write_text(word)

def words(path):
    found = [file.read_text() for file in path.rglob("*") if file.is_file()]
    return found[0] if len(found) == 3 and len(set(found)) == 1 else found

def publish():
    checkpoint.Checkpoint(out, {}).publish(partial / "result.zarr")

for kill in itertools.count(1):
    shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(partial, ignore_errors=True)
    make(out, "old")
    make(partial / "result.zarr", "new")
    (partial / "job.json").write_text("{}")
    (partial / "000000.arrow").write_text("part")
    child = os.fork()
    if not child:
        last = kill
        with checkpoint.Checkpoint(out, {}).locked():
            publish()
        os._exit(0)
    killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
    at_once = words(out)
    with checkpoint.Checkpoint(out, {}).locked():
        print(at_once or None, words(out))
    if not killed:
        break
"""


@pytest.mark.parametrize("way", ["exchange", "two renames"])
def test_an_old_or_a_new_output_is_whole_whenever_its_publication_is_killed(way, tmp_path):
    program = [sys.executable, "-W", "ignore", "-c", KILLED_PUBLICATION, tmp_path, way]
    lines = subprocess.run(program, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) > 10
    assert {line.split()[1] for line in lines} == {"old", "new"}
    at_once = {line.split()[0] for line in lines}
    assert at_once == ({"old", "new"} if way == "exchange" else {"old", "None", "new"})
    assert lines[-1] == "new new"


def test_another_layer_is_not_resumed(store_path, tmp_path):
    for number, layer in enumerate("ab"):
        frame = geopandas.GeoDataFrame(geometry=POLYGONS[number : number + 1], crs=4326)
        frame.to_file(tmp_path / "l.gpkg", layer=layer)
    interrupted(tmp_path / "l.gpkg", tmp_path / "o.npy", store_path, layer="a")
    with pytest.raises(StoreExistsError):
        cop_zarr.batch(tmp_path / "l.gpkg", tmp_path / "o.npy", store_path, layer="b", resume=True)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(("failing_part", "kept"), [(0, 0), (2, 128)])
def test_a_full_disk_keeps_finished_parts(failing_part, kept, points, store_path, monkeypatch):
    out, write_part = points[0].with_name("out.npy"), Checkpoint.write_part

    def full(self, number, part):
        if number == failing_part:
            raise StorageError("cannot write: No space left on device")
        write_part(self, number, part)

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "write_part", full)
        with pytest.raises(StorageError, match="space") as caught:
            cop_zarr.batch(points[0], out, store_path)
    assert ("resume=True" in str(caught.value)) == (kept > 0)
    assert cop_zarr.batch(points[0], out, store_path, resume=True).resumed_rows == kept


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
def test_an_output_is_replaced_only_with_overwrite(suffix, points, store_path, tmp_path):
    cop_zarr.batch(points[0], tmp_path / f"out{suffix}", store_path)
    with pytest.raises(StoreExistsError, match="overwrite=True"):
        cop_zarr.batch(points[0], tmp_path / f"out{suffix}", store_path)
    cop_zarr.batch(points[0], tmp_path / f"out{suffix}", store_path, overwrite=True)


def test_what_is_not_ours_is_not_replaced(points, store_path, tmp_path):
    (tmp_path / "out.zarr").mkdir()
    (tmp_path / "out.zarr" / "zarr.json").write_text(json.dumps({"attributes": {}}))
    (tmp_path / "out.npy").mkdir()
    (tmp_path / "out.parquet.partial").mkdir()
    thesis = tmp_path / "out.parquet.partial" / "thesis.tex"
    thesis.touch()
    for suffix in (".zarr", ".npy", ".parquet"):
        with pytest.raises(StoreExistsError):
            cop_zarr.batch(points[0], tmp_path / f"out{suffix}", store_path, overwrite=True)
    assert thesis.exists()


def test_two_batches_at_once(points, store_path, tmp_path):
    with LocalFolder(tmp_path / "out.npy").locked(), pytest.raises(StoreBusyError):
        cop_zarr.batch(points[0], tmp_path / "out.npy", store_path)


def test_outputs_that_cannot_be_written(points, store_path, tmp_path):
    with pytest.raises(InputError, match=r"\.parquet, \.geoparquet, \.zarr, \.npy"):
        cop_zarr.batch(points[0], tmp_path / "out.txt", store_path)
    with pytest.raises(StorageError, match="folder"):
        cop_zarr.batch(points[0], tmp_path / "no/out.npy", store_path)
