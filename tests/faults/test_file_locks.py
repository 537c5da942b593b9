"""Where a disk has no file locks, a lock file that is made exclusively stands in."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path

import pytest

import cop_zarr
from cop_zarr.errors import StorageError, StoreBusyError
from cop_zarr.storage import LocalFolder, file_locks, locks


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP], autouse=True)
def _no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> bool:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(file_locks, "try_lock", fail)
    monkeypatch.setattr(locks, "LOOK_SECONDS", 0.05)
    file_locks._say_once.cache_clear()


def test_one_at_a_time_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = LocalFolder(tmp_path / "a.zarr")
    for _ in range(2):
        with place.locked():
            record = json.loads((tmp_path / "a.zarr.partial.lock.json").read_bytes())
            assert record["pid"] == os.getpid()
            with pytest.raises(StoreBusyError, match=str(os.getpid())):
                place.locked().__enter__()
        assert list(tmp_path.iterdir()) == []
    assert [entry.levelno for entry in caplog.records] == [logging.WARNING]


def test_a_dead_one_is_taken_and_one_elsewhere_broken_on_purpose(tmp_path: Path, pair: list[Path]) -> None:
    record = tmp_path / "a.zarr.partial.lock.json"
    record.write_text(json.dumps({"machine": locks._machine(), "pid": os.getpid(), "token": "dead"}))
    cop_zarr.ingest(pair[0], tmp_path / "a.zarr")
    record.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    with pytest.raises(StoreBusyError, match="elsewhere"):
        cop_zarr.ingest(pair[1], tmp_path / "a.zarr", overwrite=True)
    cop_zarr.ingest(pair[1], tmp_path / "a.zarr", overwrite=True, break_lock=True)
    assert cop_zarr.verify(tmp_path / "a.zarr", pair[1]).ok
    assert list(tmp_path.iterdir()) == [tmp_path / "a.zarr"]


def test_what_the_message_says_works_for_a_batch(tmp_path: Path, pair: list[Path]) -> None:
    store = cop_zarr.ingest(pair[0], tmp_path / "a.zarr").store
    rois, out = tmp_path / "rois.csv", tmp_path / "out.npy"
    rois.write_text("lon,lat\n0,0\n")
    (tmp_path / "out.npy.partial.lock.json").write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    with pytest.raises(StoreBusyError) as caught:
        cop_zarr.batch(rois, out, store, on_error="nan")
    Path(str(caught.value).rpartition("remove ")[2]).unlink()
    assert cop_zarr.batch(rois, out, store, on_error="nan").rows == 1


def test_other_errors_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> bool:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(file_locks, "try_lock", fail)
    with pytest.raises(StorageError, match="broken"), LocalFolder(tmp_path / "a.zarr").locked():
        pass
