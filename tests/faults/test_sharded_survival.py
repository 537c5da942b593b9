"""Sharded stores that are killed, written to by two or out of disk: whole, or nothing, and resumed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cop_zarr
from cop_zarr.errors import StorageError, StoreBusyError, StoreExistsError
from tests.faults.test_survival import PAGE, check_whole, identity, opens, pages, staging, tree, until, work
from tests.support import factory
from tests.support.patience import STUCK_SECONDS

pytestmark = pytest.mark.usefixtures("fixed_time")

ROWS, COLS, BANDS = (300, 437), (600, 753), 4
"""137 x 153 cells: 3 x 3 shards, all with data; three rows of blocks of the source."""

SLOW = """
import time
from cop_zarr.writing.writer import StoreWriter
write = StoreWriter._write
StoreWriter._write = lambda *block: (time.sleep(0.2), write(*block))[1]
from cop_zarr.cli import main; main()"""

"""A command that pauses before each block, so that a signal finds it at work on any machine."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source, its plain store, and its store with shards."""
    place = tmp_path_factory.mktemp("sharded")
    size = {"rows": ROWS, "cols": COLS, "bands": BANDS}
    factory.write_geotiff(place / "a.tif", **size, blockxsize=64, blockysize=64)
    cop_zarr.ingest(place / "a.tif", place / "plain.zarr")
    cop_zarr.ingest(place / "a.tif", place / "sharded.zarr", shards=True)
    return place


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "stores").mkdir()
    return tmp_path / "stores" / "out.zarr"


@contextlib.contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """A slow command in a process of its own, which does not outlive the context."""
    call = [sys.executable, "-c", SLOW, *map(str, arguments)]
    with subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def shards(out: Path) -> list[Path]:
    return sorted(staging(out).glob("embedding/c/0/*/*"))


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_a_killed_ingest_is_resumed(place: Path, out: Path, count: int) -> None:
    with started("ingest", place / "a.tif", out, "--shards") as process:
        until(lambda: len(list(work(out).glob("ingest/blocks/*"))) >= count)
        process.kill()
        process.wait()
    assert not opens(out)
    assert not opens(staging(out))
    before = [identity(path) for path in shards(out)]
    half = staging(out) / "embedding/c/0/2/2"  # as it is left where one was being written
    half.parent.mkdir(parents=True, exist_ok=True)
    half.write_bytes(b"half")
    with pytest.raises(StoreExistsError):
        cop_zarr.ingest(place / "a.tif", out, resume=True)  # without shards
    cop_zarr.ingest(place / "a.tif", out, shards=True, resume=True)
    check_whole(out, tree(place / "sharded.zarr"))
    after = [identity(path) for path in out.glob("embedding/c/0/*/*")]
    assert len(set(before) & set(after)) >= count


@pytest.mark.parametrize("kind", [pytest.param("plain", marks=pytest.mark.slow), "sharded"])
def test_a_killed_copy_begins_anew(place: Path, out: Path, kind: str) -> None:
    other = "--no-shards" if kind == "plain" else "--shards"
    with started("copy", place / "sharded.zarr", "--to", out, other) as process:
        until(lambda: len(shards(out)) >= 2)
        process.kill()
        process.wait()
    assert not opens(out)
    assert not opens(staging(out))
    with pytest.raises(StoreExistsError, match="overwrite=True"):
        cop_zarr.copy(place / "sharded.zarr", out, shards=kind == "sharded")
    cop_zarr.copy(place / "sharded.zarr", out, shards=kind == "sharded", overwrite=True)
    check_whole(out, tree(place / f"{kind}.zarr"))


@pytest.mark.parametrize("first", ["ingest", pytest.param("copy", marks=pytest.mark.slow)])
def test_two_writers(place: Path, out: Path, first: str) -> None:
    paths = (place / "a.tif", out) if first == "ingest" else (place / "plain.zarr", "--to", out)
    with started(first, *paths, "--shards") as process:
        until(lambda: shards(out))
        os.kill(process.pid, signal.SIGSTOP)
        try:
            for call in (
                lambda: cop_zarr.ingest(place / "a.tif", out, shards=True, overwrite=True),
                lambda: cop_zarr.copy(place / "plain.zarr", out, shards=True, overwrite=True),
            ):
                with pytest.raises(StoreBusyError):
                    call()
        finally:
            os.kill(process.pid, signal.SIGCONT)
        assert process.wait(STUCK_SECONDS) == 0
    check_whole(out, tree(place / "sharded.zarr"))


@pytest.mark.parametrize("room", [0.05, 0.5, 0.9])
def test_a_full_disk(place: Path, volume: Callable[[int], Path], room: float) -> None:
    whole = tree(place / "sharded.zarr")
    out = volume(PAGE * int(room * pages(whole))) / "out.zarr"
    with pytest.raises(StorageError, match="space"):
        cop_zarr.copy(place / "plain.zarr", out, shards=True)
    assert list(out.parent.iterdir()) == []
    with pytest.raises(StorageError, match="resume=True"):
        cop_zarr.ingest(place / "a.tif", out, shards=True)
    assert not opens(out)
    volume(64 << 20)
    cop_zarr.ingest(place / "a.tif", out, shards=True, resume=True)
    check_whole(out, whole)
    cop_zarr.copy(place / "plain.zarr", out, shards=True, overwrite=True)
    check_whole(out, whole)
