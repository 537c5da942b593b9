"""What a repair changes, what it leaves alone, what it refuses, and what is left of one that is killed.

``test_damage.py`` has it repair every kind of damage.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numcodecs import blosc

import cop_zarr
from cop_zarr import storage
from cop_zarr.cli import main
from cop_zarr.core.grid import Grid
from cop_zarr.errors import (
    FormatVersionError,
    InputError,
    MemoryLimitError,
    SourceError,
    SourceNotFoundError,
    StorageError,
    StoreBusyError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
)
from cop_zarr.format import metadata
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.codec import crc32c
from cop_zarr.format.document import digest
from cop_zarr.source.locate import sha256_of
from cop_zarr.storage import LocalFolder, RemoteFolder, folder
from cop_zarr.writing import writer as writing
from cop_zarr.writing.journal import IngestJob
from tests.support import factory
from tests.support.servers import static_server
from tests.writing.small import (
    BANDS,
    CHUNK,
    COLS,
    COPY,
    ROOT,
    ROWS,
    TABLE,
    VALID,
    check_values,
    flip,
    objects,
    truth,
)


@pytest.fixture
def in_memory(small_store: Path, tmp_path: Path) -> str:
    """The URL of a copy in memory."""
    url = f"memory://{tmp_path.name}/a.zarr"
    for key, data in objects(small_store).items():
        folder(url).write(key, data)
    return url


def marks(store: Path) -> dict[str, tuple[int, int]]:
    """What shows that a file was written again, even with the same bytes."""
    found = {key: (store / key).stat() for key in objects(store)}
    return {key: (stat.st_ino, stat.st_mtime_ns) for key, stat in found.items()}


def spoil_all(store: Path) -> None:
    """Damage every object but the root's copy."""
    for key in objects(store):
        if key != COPY:
            flip(store / key)


# What is changed


@pytest.mark.parametrize(
    "damaged",
    [
        [],
        [COPY],
        ["band/c/0", "latitude/zarr.json"],
        [CHUNK, "embedding/c/0/3/3", TABLE, VALID, ROOT],
    ],
    ids=len,
)
def test_only_the_damaged_objects_are_written(copied: Path, small_source: Path, damaged: list[str]) -> None:
    good = objects(copied)
    for key in damaged:
        flip(copied / key)
    before = marks(copied)
    report = cop_zarr.repair(copied, small_source)
    assert report == cop_zarr.RepairReport(str(copied), str(small_source), sorted(damaged), [], [])
    assert report.ok
    after = marks(copied)
    assert {key for key in good if after[key] != before[key]} == set(damaged)
    assert objects(copied) == good
    assert [path.name for path in copied.parent.iterdir()] == [copied.name]


def test_only_the_damaged_objects_are_written_to_an_object_store(
    in_memory: str, small_source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = objects(in_memory)
    folder(in_memory).remove([CHUNK])
    folder(in_memory).write(ROOT, b"")
    written, write = [], RemoteFolder.write

    def watched(self: RemoteFolder, key: str, data: bytes) -> None:
        written.append(key)
        write(self, key, data)

    for name in ("write", "replace"):
        monkeypatch.setattr(RemoteFolder, name, watched)
    assert cop_zarr.repair(in_memory, small_source).rewritten == [CHUNK, ROOT]
    assert sorted(written) == [CHUNK, ROOT]
    assert objects(in_memory) == good


@pytest.mark.parametrize("workers", [1, 7])
def test_an_open_store_answers_again_whatever_the_workers(
    small_store: Path, copied: Path, small_source: Path, workers: int
) -> None:
    store = cop_zarr.open(copied, cache_bytes=0)
    spoil_all(copied)
    with pytest.raises(StoreError):
        check_values(store)
    seen: list[tuple[int, int]] = []
    options = {"workers": workers, "progress": lambda *pair: seen.append(pair)}
    assert cop_zarr.repair(copied, small_source, memory=200 << 20, **options).ok
    assert objects(copied) == objects(small_store)
    assert all(0 < done <= total == truth().nbytes for done, total in seen)
    check_values(store)
    with pytest.raises(MemoryLimitError):
        cop_zarr.repair(copied, small_source, memory=1 << 20)


def test_the_default_store_and_the_default_source(
    copied: Path, small_source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "embed_map_1k.tif").symlink_to(small_source)
    monkeypatch.setenv("RS_EMBED_COP_DIR", str(tmp_path))
    monkeypatch.setenv("COP_ZARR_STORE", str(copied))
    flip(copied / CHUNK)
    report = cop_zarr.repair()
    assert (report.store, report.rewritten) == (str(copied), [CHUNK])
    assert report.source == str(tmp_path / "embed_map_1k.tif")


@pytest.mark.parametrize("key", [CHUNK, "latitude/c/0", COPY, ROOT])
def test_what_does_not_come_back_as_it_was_written_is_an_error(
    copied: Path, small_source: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = (copied / COPY).read_bytes()
    flip(copied / key)
    replace = LocalFolder.replace
    monkeypatch.setattr(
        LocalFolder, "replace", lambda self, key, data: replace(self, key, data[:-1] + b"?")
    )
    with pytest.raises(StorageError, match=key):
        cop_zarr.repair(copied, small_source)
    assert key == COPY or (copied / COPY).read_bytes() == kept


@pytest.mark.parametrize(
    "key",
    ["embedding/c/0/5/0", "embedding/c/0/01/1", "ingest/blocks/0-0.json", f"{CHUNK}.0123abcd.partial"],
)
def test_what_may_be_taken_for_a_part_of_the_store_is_removed(
    copied: Path, small_source: Path, key: str
) -> None:
    good = objects(copied)
    (copied / key).parent.mkdir(parents=True, exist_ok=True)
    (copied / key).write_bytes(b"?")
    report = cop_zarr.repair(copied, small_source)
    assert (report.ok, report.rewritten, report.removed) == (True, [], [key])
    assert objects(copied) == good
    assert not (copied / "ingest").exists()


@pytest.mark.parametrize("damaged", [[], [ROOT], [TABLE]])
@pytest.mark.parametrize("key", ["notes.txt", "embedding/notes", f"{CHUNK}.bak", "other/zarr.json"])
def test_what_is_foreign_is_left_alone_and_reported(
    copied: Path, small_source: Path, key: str, damaged: list[str]
) -> None:
    good = objects(copied)
    (copied / key).parent.mkdir(exist_ok=True)
    (copied / key).write_bytes(b"mine")
    for each in damaged:
        flip(copied / each)
    report = cop_zarr.repair(copied, small_source)
    assert (report.rewritten, report.removed) == (damaged, [])
    assert [problem.key for problem in report.problems] == [key]
    assert objects(copied) == {**good, key: b"mine"}


def test_a_mask_that_was_wrong_from_the_beginning_is_repaired(tmp_path: Path, small_source: Path) -> None:
    layout = Layout(Grid(300, 580, 37, 53), BANDS)
    provenance = {**factory.PROVENANCE, "sha256": sha256_of(small_source)}
    writer = writing.StoreWriter(layout, folder(str(tmp_path / "a.zarr")))
    writer.write(layout.grid.whole, np.moveaxis(truth(), 0, -1).copy())
    writer.valid[20, 40] ^= True
    writer.finish(writer.documents(provenance, "2026-01-01T00:00:00+00:00"))
    assert not cop_zarr.verify(tmp_path / "a.zarr").ok
    report = cop_zarr.repair(tmp_path / "a.zarr", small_source)
    assert report.ok == cop_zarr.verify(tmp_path / "a.zarr").ok


# Stores of another version


@pytest.fixture(scope="module")
def old(small_source: Path) -> Path:
    """As a version with another name and another setting of the codec writes it, long ago."""

    def encode(cells: np.ndarray) -> bytes:
        return bytes(blosc.compress(cells, b"lz4", 1, blosc.SHUFFLE, 0, cells.itemsize))

    path = small_source.with_name("old.zarr")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        patch.setattr(writing, "encode", encode)
        patch.setattr(metadata, "__version__", "0.0.7")
        cop_zarr.ingest(small_source, path)
    return path


@pytest.fixture
def aged(old: Path, tmp_path: Path) -> Path:
    return shutil.copytree(old, tmp_path / "old.zarr")


@pytest.mark.parametrize("damaged", [[VALID], ["embedding/zarr.json", "latitude/c/0"], [ROOT], [COPY]])
def test_small_objects_of_an_old_store_come_back_as_they_were(
    aged: Path, old: Path, small_store: Path, small_source: Path, damaged: list[str]
) -> None:
    assert {key for key, data in objects(old).items() if data != objects(small_store)[key]} >= {CHUNK, ROOT}
    for key in damaged:
        flip(aged / key)
    before = marks(aged)
    assert cop_zarr.repair(aged, small_source).rewritten == damaged
    assert objects(aged) == objects(old)
    assert {key for key, mark in marks(aged).items() if mark != before[key]} == set(damaged)


@pytest.mark.parametrize("more", [[], [VALID], [ROOT], [TABLE, VALID, ROOT]])
def test_a_chunk_of_an_old_store_is_made_again_and_the_others_stay(
    aged: Path, small_source: Path, more: list[str]
) -> None:
    created = cop_zarr.open(aged).info()["created"]
    for key in [CHUNK, *more]:
        flip(aged / key)
    before, known = marks(aged), set(objects(aged))
    report = cop_zarr.repair(aged, small_source)
    assert report.ok
    others = {key for key in known if key.startswith("embedding/c/")} - {CHUNK}
    if TABLE in more:  # nothing says any more what the others were
        others = set()
    assert set(report.rewritten) == known - others
    assert {key for key, mark in marks(aged).items() if mark == before[key]} == others
    assert cop_zarr.verify(aged, small_source).ok
    assert cop_zarr.repair(aged, small_source).rewritten == []
    assert cop_zarr.open(aged).info()["created"] == created
    check_values(cop_zarr.open(aged))


# What is refused


def check_refused(
    store: Path, source: Path, error: type[Exception] | tuple[type[Exception], ...], word: str | None = None
) -> None:
    """And that nothing has changed, there and beside."""
    before = objects(store.parent)
    with pytest.raises(error, match=word):
        cop_zarr.repair(store, source)
    assert objects(store.parent) == before


def test_another_source_is_refused(copied: Path, tmp_path: Path) -> None:
    flip(copied / CHUNK)
    values = truth()
    values[0, 20, 40] += 1
    other = factory.write_geotiff(tmp_path / "b.tif", values, rows=ROWS, cols=COLS)
    check_refused(copied, other, InputError, sha256_of(other))
    other = factory.write_geotiff(tmp_path / "c.tif", rows=ROWS, cols=(596, 626), bands=BANDS)
    check_refused(copied, other, InputError)
    (tmp_path / "d.tif").write_bytes(b"II*\0")
    check_refused(copied, tmp_path / "d.tif", SourceError, "d.tif")
    check_refused(copied, tmp_path / "gone.tif", SourceNotFoundError, "gone.tif")


def test_a_folder_without_a_store_is_refused(tmp_path: Path, small_source: Path) -> None:
    check_refused(tmp_path / "gone.zarr", small_source, StoreNotFoundError)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr/notes.txt").write_bytes(b"mine")
    check_refused(tmp_path / "a.zarr", small_source, StoreError)
    (tmp_path / "a.zarr/zarr.json").write_bytes(b'{"zarr_format": 3, "node_type": "group"}')
    check_refused(tmp_path / "a.zarr", small_source, StoreError)


@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_store_without_root_and_copy_is_refused(
    copied: Path, small_source: Path, damage: Callable[[Path], None]
) -> None:
    damage(copied / ROOT)
    (copied / COPY).write_bytes(b"{}")
    check_refused(copied, small_source, StoreError, "cop-zarr ingest")
    (copied / COPY).unlink()
    check_refused(copied, small_source, (StoreError, StoreNotFoundError))


def test_a_newer_format_is_refused_by_name(copied: Path, small_source: Path) -> None:
    document = json.loads((copied / ROOT).read_bytes())
    document["attributes"]["cop_zarr"]["version"] = 99
    document["attributes"]["cop_zarr"]["sha256"] = digest(document)
    for key in (ROOT, COPY):
        (copied / key).write_text(json.dumps(document))
    flip(copied / CHUNK)
    check_refused(copied, small_source, FormatVersionError, "99")


@pytest.mark.parametrize("finished", [False, True])
def test_an_unfinished_ingest_on_an_object_store_is_refused(
    in_memory: str, small_source: Path, finished: bool
) -> None:
    root = folder(in_memory).read(ROOT)
    job = IngestJob("2026-01-01T00:00:00+00:00", overwrite=True, root_crc32c=crc32c(root))
    folder(in_memory).write("ingest/job.json", json.dumps(asdict(job)).encode())
    if finished:  # and only its journal is left
        assert cop_zarr.repair(in_memory, small_source).removed == ["ingest/job.json"]
        return
    folder(in_memory).remove([ROOT])
    before = objects(in_memory)
    with pytest.raises(StoreBusyError, match="--resume"):
        cop_zarr.repair(in_memory, small_source)
    assert objects(in_memory) == before


def test_what_can_only_be_read_is_refused_before_the_source_is_looked_for(
    copied: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "gone.tif"
    with static_server(tmp_path) as url, pytest.raises(InputError, match="http://"):
        cop_zarr.repair(f"{url}/copied.zarr", gone)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for key, data in objects(copied).items():
            file.writestr(key, data)
    with pytest.raises(InputError, match="zip://"):
        cop_zarr.repair(f"zip://::file://{tmp_path}/a.zip", gone)


def test_one_repair_at_a_time(copied: Path, small_source: Path) -> None:
    with LocalFolder(copied).locked(), pytest.raises(StoreBusyError):
        cop_zarr.repair(copied, small_source)
    assert cop_zarr.repair(copied, small_source).ok


# Links


def test_a_store_behind_a_link_is_repaired_where_it_is(
    copied: Path, small_source: Path, tmp_path: Path
) -> None:
    good = objects(copied)
    flip(copied / CHUNK)
    (tmp_path / "link.zarr").symlink_to(copied)
    assert cop_zarr.repair(tmp_path / "link.zarr", small_source).rewritten == [CHUNK]
    assert (tmp_path / "link.zarr").is_symlink()
    assert objects(copied) == good


@pytest.mark.parametrize("key", [CHUNK, "latitude/c/0", ROOT])
def test_an_object_that_is_a_link_to_elsewhere_becomes_a_file(
    copied: Path, small_source: Path, tmp_path: Path, key: str
) -> None:
    good = objects(copied)
    (tmp_path / "precious").write_bytes(b"mine")
    (copied / key).unlink()
    (copied / key).symlink_to(tmp_path / "precious")
    assert cop_zarr.repair(copied, small_source).rewritten == [key]
    assert (tmp_path / "precious").read_bytes() == b"mine"
    assert objects(copied) == good
    assert not (copied / key).is_symlink()


@pytest.mark.parametrize("name", ["embedding", "embedding/c/0/1", "latitude/c", "integrity"])
def test_nothing_is_written_or_removed_through_a_link_that_leads_out(
    copied: Path, small_source: Path, tmp_path: Path, name: str
) -> None:
    shutil.move(copied / name, tmp_path / "elsewhere")
    (copied / name).symlink_to(tmp_path / "elsewhere")
    (copied / "valid/c/9").symlink_to(tmp_path / "elsewhere")
    for key in objects(tmp_path / "elsewhere"):
        flip(tmp_path / "elsewhere" / key)
    before = marks(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=name):
        cop_zarr.repair(copied, small_source)
    assert marks(tmp_path / "elsewhere") == before


@pytest.mark.parametrize("link", ["copied.zarr.partial", "copied.zarr.partial/ingest"])
def test_the_lock_is_not_put_where_a_link_leads(
    copied: Path, small_source: Path, tmp_path: Path, link: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/lock").write_bytes(b"mine")
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / "elsewhere")
    check_refused(copied, small_source, StoreExistsError)


# Kills


def killed_at(store: Path, source: Path, write: int, part: float) -> None:
    """Repair, and be killed when ``part`` of the bytes of the nth object are written; 1 is all."""
    replacing, count = storage.local.replacing, 0

    def fatal(path: Path) -> object:
        nonlocal count
        count += 1
        if count != write:
            return replacing(path)
        partial = path.with_name(f"{path.name}.0123abcd.partial")
        partial.write_bytes(b"?" * int(100 * part))
        if part == 1:
            partial.replace(path)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    storage.local.replacing = fatal
    cop_zarr.repair(store, source)


@pytest.fixture(scope="module")
def kill() -> Iterator[Callable[..., float]]:
    """Run a repair in a process of its own; kill it after so many seconds, if not before."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cop_zarr.writing.repair", "cop_zarr.format.metadata", "pyproj"])

    def run(target: Callable[..., object], *arguments: object, seconds: float | None = None) -> float:
        process = context.Process(target=target, args=arguments)
        process.start()
        begun = time.monotonic()
        process.join(seconds)
        process.kill()
        process.join()
        took = time.monotonic() - begun
        killed = process.exitcode == -signal.SIGKILL
        process.close()
        return took if killed else -took

    return run


@pytest.mark.parametrize(
    ("write", "part"),
    [
        (2, 0.5),
        *(
            pytest.param(write, part, marks=pytest.mark.slow)
            for write in (1, 9, 20)
            for part in (0, 0.5, 1)
        ),
    ],
)
def test_a_repair_that_was_killed_can_be_run_again(
    *,
    copied: Path,
    small_store: Path,
    small_source: Path,
    kill: Callable[..., float],
    write: int,
    part: float,
) -> None:
    spoil_all(copied)
    assert kill(killed_at, copied, small_source, write, part) > 0, "it was not killed"
    assert objects(copied) != objects(small_store)
    assert cop_zarr.repair(copied, small_source).ok
    assert objects(copied) == objects(small_store)
    assert [path.name for path in copied.parent.iterdir()] == [copied.name]


@pytest.mark.slow
def test_a_repair_of_an_old_store_that_was_killed_can_be_run_again(
    aged: Path, small_source: Path, kill: Callable[..., float]
) -> None:
    """With every kill one more object is made again; there are 17, and the chunk."""
    flip(aged / CHUNK)
    for write in (1, 2, 5, 3, 8):
        assert kill(killed_at, aged, small_source, write, 1) > 0, "it was not killed"
    assert cop_zarr.repair(aged, small_source).ok
    assert cop_zarr.verify(aged, small_source).ok


@pytest.mark.slow
def test_repairs_killed_at_any_moment_can_be_run_again(
    *,
    copied: Path,
    small_store: Path,
    small_source: Path,
    kill: Callable[..., float],
    pytestconfig: pytest.Config,
) -> None:
    expected, rng = objects(small_store), np.random.default_rng(0)
    trials = pytestconfig.getoption("--trials")
    spoil_all(copied)
    took = -kill(cop_zarr.repair, copied, small_source)
    assert took > 0
    killed = tried = 0
    while killed < trials:
        spoil_all(copied)
        lasted = kill(cop_zarr.repair, copied, small_source, seconds=rng.uniform(0, took))
        killed, tried = killed + (lasted > 0), tried + 1
        took = took if lasted > 0 else min(took, -lasted)
        assert cop_zarr.repair(copied, small_source).ok
        assert objects(copied) == expected
        assert tried < 10 * trials + 10, "it is over before it is killed"


# The command line


def test_the_command_that_verify_recommends_works(copied: Path, small_source: Path) -> None:
    flip(copied / CHUNK)
    (copied / "notes.txt").touch()
    found = CliRunner().invoke(main, ["verify", str(copied)])
    assert found.exit_code == 1
    command = found.output[found.output.rindex("cop-zarr repair ") :].split()[1:]
    arguments = [str(small_source) if word == "TIF" else word for word in command]
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == 1  # something is left
    report = json.loads(done.stdout)
    assert (report["ok"], report["rewritten"], report["removed"]) == (False, [CHUNK], [])
    assert [problem["key"] for problem in report["problems"]] == ["notes.txt"]
    (copied / "notes.txt").unlink()
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0
    assert CHUNK not in done.output
    assert CliRunner().invoke(main, ["repair", "http://127.0.0.1:1/a.zarr"]).exit_code == 2
