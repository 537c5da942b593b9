"""A batch that was interrupted is resumed, and nothing is lost or overwritten."""

import json
import os
import subprocess
import sys

import geopandas
import numpy as np
import pytest
import xarray as xr

import cop_zarr
from cop_zarr.errors import InputError, StorageError, StoreBusyError, StoreExistsError
from cop_zarr.interop.tables.checkpoint import Checkpoint
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
    with pytest.raises(StoreExistsError, match="--resume"):
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
    assert ("--resume" in str(caught.value)) == (kept > 0)
    assert cop_zarr.batch(points[0], out, store_path, resume=True).resumed_rows == kept


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
def test_an_output_is_replaced_only_with_overwrite(suffix, points, store_path, tmp_path):
    cop_zarr.batch(points[0], tmp_path / f"out{suffix}", store_path)
    with pytest.raises(StoreExistsError, match="--overwrite"):
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
