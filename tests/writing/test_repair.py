"""What a repair changes, what it leaves alone, what it refuses, and what is left of one that is killed.

``test_damage.py`` has it mend every kind of damage.
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

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numcodecs import blosc

import cop_zarr
from cop_zarr import storage
from cop_zarr.cli import main
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
from cop_zarr.format.document import digest
from cop_zarr.writing import journal
from cop_zarr.writing import writer as writing
from tests.support import factory
from tests.support.servers import static_server

ROWS, COLS, BANDS = (300, 325), (595, 625), 3
BOX = (-31.25, 9, -24, 15)
"""All of the store: 4 x 4 chunks, those at the south and east edge cut."""

ROOT, COPY, TABLE, VALID = (
    "zarr.json",
    "integrity/root.json",
    "integrity/embedding/c/0/0/0",
    "valid/c/0/0",
)
CHUNK = "embedding/c/0/1/1"
FOREIGN = ["notes.txt", "embedding/notes", "embedding/c/0/1/1.bak", "other/zarr.json"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("restoration") / "small.tif"
    return factory.write_geotiff(path, rows=ROWS, cols=COLS, bands=BANDS)


@pytest.fixture(scope="module")
def good(source: Path) -> Path:
    """A good store. Tests that change it copy it first."""
    cop_zarr.ingest(source, source.with_name("good.zarr"))
    return source.with_name("good.zarr")


@pytest.fixture
def copied(good: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good, tmp_path / "copied.zarr")


@pytest.fixture
def trials(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--trials", default=8))


def tree(store: Path) -> dict[str, bytes]:
    """Every object's bytes."""
    paths = [path for path in store.rglob("*") if path.is_file()]
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in paths}


def marks(store: Path) -> dict[str, tuple[int, int]]:
    """What shows that a file was written again, even with the same bytes."""
    return {
        key: (path.stat().st_ino, path.stat().st_mtime_ns) for key in tree(store) if (path := store / key)
    }


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def see_the_truth(store: cop_zarr.Store) -> None:
    truth = factory.truth(ROWS, COLS, BANDS)
    answer = store.query(BOX, output="grid")
    np.testing.assert_array_equal(answer.data, truth)
    np.testing.assert_array_equal(answer.valid, truth.any(axis=0))


def spoil_all(store: Path) -> None:
    """Damage every object but the root's copy."""
    for key in tree(store):
        if key != COPY:
            flip(store / key)


# What is changed


def test_a_good_store_is_left_alone(copied: Path, source: Path) -> None:
    before, beside = marks(copied), sorted(copied.parent.iterdir())
    report = cop_zarr.repair(copied, source)
    assert report == cop_zarr.RepairReport(str(copied), str(source), [], [], [])
    assert report.ok
    assert marks(copied) == before
    assert sorted(copied.parent.iterdir()) == beside


@pytest.mark.parametrize(
    "damaged",
    [
        [CHUNK],
        [ROOT],
        [COPY],
        [VALID],
        [TABLE],
        ["band/c/0", "latitude/zarr.json"],
        [CHUNK, "embedding/c/0/3/3", TABLE, VALID, ROOT],
    ],
    ids=len,
)
def test_only_the_damaged_objects_are_written(copied: Path, source: Path, damaged: list[str]) -> None:
    good = tree(copied)
    for key in damaged:
        flip(copied / key)
    before = marks(copied)
    assert cop_zarr.repair(copied, source).rewritten == sorted(damaged)
    after = marks(copied)
    assert {key for key in good if after[key] != before[key]} == set(damaged)
    assert tree(copied) == good
    assert [path.name for path in copied.parent.iterdir()] == [copied.name]


def test_only_the_damaged_objects_are_written_to_an_object_store(
    good: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = in_memory(good, tmp_path)
    fs, root = fsspec.url_to_fs(url)
    fs.rm_file(f"{root}/{CHUNK}")
    fs.pipe_file(f"{root}/{ROOT}", b"")
    written, send = [], storage.RemoteFolder.write

    def watched(self: storage.RemoteFolder, key: str, data: bytes) -> None:
        written.append(key)
        send(self, key, data)

    for name in ("write", "replace"):
        monkeypatch.setattr(storage.RemoteFolder, name, watched)
    assert cop_zarr.repair(url, source).rewritten == [CHUNK, ROOT]
    assert set(written) == {CHUNK, ROOT}
    assert len(written) == 2
    assert {path.removeprefix(f"{root}/"): fs.cat_file(path) for path in fs.find(root)} == tree(good)
    see_the_truth(cop_zarr.open(url))


def in_memory(store: Path, tmp_path: Path) -> str:
    """A store's copy in fsspec's memory filesystem, as a URL."""
    url = f"memory://{tmp_path.name}/a.zarr"
    fs, root = fsspec.url_to_fs(url)
    for key, data in tree(store).items():
        fs.pipe_file(f"{root}/{key}", data)
    return url


@pytest.mark.parametrize("workers", [1, 7])
def test_workers_and_memory_change_nothing(good: Path, copied: Path, source: Path, workers: int) -> None:
    spoil_all(copied)
    seen: list[tuple[int, int]] = []
    report = cop_zarr.repair(
        copied, source, workers=workers, memory=200 << 20, progress=lambda *pair: seen.append(pair)
    )
    assert report.ok
    assert tree(copied) == tree(good)
    assert all(0 < done <= total == 25 * 30 * BANDS * 4 for done, total in seen)
    with pytest.raises(MemoryLimitError):
        cop_zarr.repair(copied, source, memory=1 << 20)


def test_a_store_that_is_open_goes_on_answering(copied: Path, source: Path) -> None:
    store = cop_zarr.open(copied, cache_bytes=0)
    see_the_truth(store)
    spoil_all(copied)
    with pytest.raises(StoreError):
        store.query(BOX)
    cop_zarr.repair(copied, source)
    see_the_truth(store)
    see_the_truth(cop_zarr.open(copied))


def test_the_default_store_and_the_default_source(
    copied: Path, source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "embed_map_1k.tif").symlink_to(source)
    monkeypatch.setenv("RS_EMBED_COP_DIR", str(tmp_path))
    monkeypatch.setenv("COP_ZARR_STORE", str(copied))
    flip(copied / CHUNK)
    report = cop_zarr.repair()
    assert (report.store, report.rewritten) == (str(copied), [CHUNK])
    assert report.source == str(tmp_path / "embed_map_1k.tif")


@pytest.mark.parametrize("key", [CHUNK, "latitude/c/0", COPY])
def test_what_does_not_come_back_as_it_was_written_is_an_error(
    copied: Path, source: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(copied / key)
    replace = storage.LocalFolder.replace
    monkeypatch.setattr(
        storage.LocalFolder, "replace", lambda self, key, data: replace(self, key, data[:-1] + b"?")
    )
    with pytest.raises(StorageError, match=f"{key} was written, and does not come back as it was"):
        cop_zarr.repair(copied, source)


def test_a_root_that_does_not_come_back_does_not_spoil_its_copy(
    copied: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = (copied / COPY).read_bytes()
    flip(copied / ROOT)
    replace = storage.LocalFolder.replace

    def failing(self: storage.LocalFolder, key: str, data: bytes) -> None:
        replace(self, key, data[:-1] + b"?" if key == ROOT else data)

    monkeypatch.setattr(storage.LocalFolder, "replace", failing)
    try:
        with pytest.raises(StorageError, match="does not come back as it was"):
            cop_zarr.repair(copied, source)
    finally:
        assert (copied / COPY).read_bytes() == kept


# What does not belong there


@pytest.mark.parametrize(
    "key",
    [
        "embedding/c/0/4/0",
        "embedding/c/0/0/99",
        "embedding/c/0/01/1",
        "ingest/job.json",
        "ingest/blocks/0-0.json",
        f"{CHUNK}.0123abcd.partial",
        "zarr.json.0123abcd.partial",
    ],
)
def test_what_may_be_taken_for_a_part_of_the_store_is_removed(copied: Path, source: Path, key: str) -> None:
    good = tree(copied)
    (copied / key).parent.mkdir(parents=True, exist_ok=True)
    (copied / key).write_bytes(b"?")
    assert not cop_zarr.verify(copied).ok
    report = cop_zarr.repair(copied, source)
    assert (report.ok, report.rewritten, report.removed) == (True, [], [key])
    assert tree(copied) == good
    assert cop_zarr.verify(copied, source).ok
    assert not (copied / "ingest").exists()


@pytest.mark.parametrize(
    "damaged",
    [
        [],
        [CHUNK],
        [ROOT],
        [TABLE],
    ],
)
@pytest.mark.parametrize("key", FOREIGN)
def test_what_is_foreign_is_left_alone_and_reported(
    copied: Path, source: Path, key: str, damaged: list[str]
) -> None:
    good = tree(copied)
    (copied / key).parent.mkdir(exist_ok=True)
    (copied / key).write_bytes(b"mine")
    for each in damaged:
        flip(copied / each)
    report = cop_zarr.repair(copied, source)
    assert report.rewritten == damaged
    assert report.removed == []
    assert tree(copied) == {**good, key: b"mine"}
    assert not report.ok
    assert [problem.key for problem in report.problems] == [key]


def test_a_mask_that_was_wrong_from_the_beginning_is_mended_or_reported(
    tmp_path: Path, source: Path
) -> None:
    where = Layout(cop_zarr.core.grid.Grid(300, 595, 25, 30), BANDS)
    values = factory.truth(ROWS, COLS, BANDS)
    provenance = {**factory.PROVENANCE, "sha256": cop_zarr.source.locate.sha256_of(source)}
    writer = writing.StoreWriter(where, storage.folder(str(tmp_path / "a.zarr")))
    writer.write(where.grid.whole, np.moveaxis(values, 0, -1).copy())
    writer.valid[20, 20] ^= True
    writer.finish(writer.documents(provenance, "2026-01-01T00:00:00+00:00"))
    assert not cop_zarr.verify(tmp_path / "a.zarr").ok
    report = cop_zarr.repair(tmp_path / "a.zarr", source)
    assert report.ok == cop_zarr.verify(tmp_path / "a.zarr").ok


# Stores of another version


@pytest.fixture(scope="module")
def old(source: Path) -> Path:
    """As a version with another name and another setting of the codec writes it, long ago."""

    def encode(cells: np.ndarray) -> bytes:
        return bytes(blosc.compress(cells, b"lz4", 1, blosc.SHUFFLE, 0, cells.itemsize))

    path = source.with_name("old.zarr")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        patch.setattr(writing, "encode", encode)
        patch.setattr(metadata, "__version__", "0.0.7")
        cop_zarr.ingest(source, path)
    return path


@pytest.fixture
def aged(old: Path, tmp_path: Path) -> Path:
    return shutil.copytree(old, tmp_path / "old.zarr")


def test_the_old_store_is_good_and_other(old: Path, good: Path, source: Path) -> None:
    assert cop_zarr.verify(old, source).ok
    one, other = tree(old), tree(good)
    assert set(one) == set(other)
    differing = {key for key in one if one[key] != other[key]}
    chunks = {key for key in one if key.startswith("embedding/c/")}
    assert differing == {*chunks, ROOT, COPY, TABLE}


@pytest.mark.parametrize(
    "damaged", [[VALID], ["latitude/c/0", "embedding/zarr.json"], [ROOT], [COPY]], ids=len
)
def test_small_objects_of_an_old_store_come_back_as_they_were(
    aged: Path, old: Path, source: Path, damaged: list[str]
) -> None:
    for key in damaged:
        flip(aged / key)
    before = marks(aged)
    assert cop_zarr.repair(aged, source).rewritten == sorted(damaged)
    assert tree(aged) == tree(old)
    assert {key for key, mark in marks(aged).items() if mark != before[key]} == set(damaged)


@pytest.mark.parametrize("more", [[], [VALID], [ROOT]], ids=["alone", "and the mask", "and the root"])
def test_a_chunk_of_an_old_store_is_made_anew_and_the_others_stay(
    aged: Path, source: Path, more: list[str]
) -> None:
    created = cop_zarr.open(aged).info()["created"]
    for key in [CHUNK, *more]:
        flip(aged / key)
    before, known = marks(aged), tree(aged)
    report = cop_zarr.repair(aged, source)
    assert report.ok
    chunks = {key for key in known if key.startswith("embedding/c/")}
    assert set(report.rewritten) == set(known) - chunks | {CHUNK}
    after = marks(aged)
    assert all(after[key] == before[key] for key in chunks - {CHUNK})
    assert cop_zarr.verify(aged, source).ok
    assert cop_zarr.repair(aged, source).rewritten == []
    store = cop_zarr.open(aged)
    see_the_truth(store)
    assert store.info()["created"] == created


def test_an_old_store_without_its_table_is_made_anew(aged: Path, source: Path) -> None:
    for key in (TABLE, CHUNK, VALID, ROOT):
        flip(aged / key)
    report = cop_zarr.repair(aged, source)
    assert set(report.rewritten) == set(tree(aged))
    assert cop_zarr.verify(aged, source).ok
    see_the_truth(cop_zarr.open(aged))


def test_a_store_from_before_there_was_a_copy_gets_one(copied: Path, source: Path) -> None:
    (copied / COPY).unlink()
    assert cop_zarr.repair(copied, source).rewritten == [COPY]
    assert (copied / COPY).read_bytes() == (copied / ROOT).read_bytes()


# What is refused


def see_it_refused(store: Path, source: object, error: type[Exception], match: str) -> None:
    """And that nothing has changed, there and beside."""
    before = tree(store.parent)
    with pytest.raises(error, match=match):
        cop_zarr.repair(store, source)
    assert tree(store.parent) == before


def test_another_source_is_refused(copied: Path, tmp_path: Path) -> None:
    flip(copied / CHUNK)
    values = factory.truth(ROWS, COLS, BANDS)
    values[0, 20, 20] += 1
    other = factory.write_geotiff(tmp_path / "b.tif", values, rows=ROWS, cols=COLS)
    see_it_refused(copied, other, InputError, "is not the file that .* its SHA-256 is [0-9a-f]{64}, ")
    other = factory.write_geotiff(tmp_path / "c.tif", rows=ROWS, cols=(596, 626), bands=BANDS)
    see_it_refused(copied, other, InputError, "is not this store's source")
    (tmp_path / "d.tif").write_bytes(b"II*\0")
    see_it_refused(copied, tmp_path / "d.tif", SourceError, "d.tif")
    see_it_refused(copied, tmp_path / "gone.tif", SourceNotFoundError, "gone.tif")


def test_a_place_without_a_store_is_refused(tmp_path: Path, source: Path) -> None:
    see_it_refused(tmp_path / "gone.zarr", source, StoreNotFoundError, "there is no store")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr/notes.txt").write_bytes(b"mine")
    see_it_refused(tmp_path / "a.zarr", source, StoreError, "is not a cop-zarr store")
    (tmp_path / "a.zarr/zarr.json").write_bytes(b'{"zarr_format": 3, "node_type": "group"}')
    see_it_refused(
        tmp_path / "a.zarr", source, StoreError, "is a Zarr store, but not one that cop-zarr wrote"
    )


@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_store_without_root_and_copy_is_refused(
    copied: Path, source: Path, damage: Callable[[Path], None]
) -> None:
    damage(copied / ROOT)
    (copied / COPY).write_bytes(b"{}")
    see_it_refused(copied, source, StoreError, r"zarr\.json and the copy of it are both damaged .* ingest")
    (copied / COPY).unlink()
    see_it_refused(copied, source, StoreError, "cop-zarr store|own SHA-256")


def test_a_newer_format_is_refused_by_name(copied: Path, source: Path) -> None:
    document = json.loads((copied / ROOT).read_bytes())
    document["attributes"]["cop_zarr"]["version"] = 2
    document["attributes"]["cop_zarr"]["sha256"] = digest(document)
    for key in (ROOT, COPY):
        (copied / key).write_text(json.dumps(document))
    flip(copied / CHUNK)
    see_it_refused(copied, source, FormatVersionError, "format version 2.*--upgrade cop-zarr")


def test_an_unfinished_ingest_on_an_object_store_is_refused(
    good: Path, source: Path, tmp_path: Path
) -> None:
    url = in_memory(good, tmp_path)
    fs, root = fsspec.url_to_fs(url)
    job = journal.IngestJob("2026-01-01T00:00:00+00:00", overwrite=True)
    fs.pipe_file(f"{root}/ingest/job.json", json.dumps(asdict(job)).encode())
    fs.rm_file(f"{root}/{ROOT}")
    before = fs.find(root)
    with pytest.raises(StoreBusyError, match=f"ingest into {url} has not ended: .*--resume"):
        cop_zarr.repair(url, source)
    assert fs.find(root) == before


def test_what_a_finished_ingest_left_on_an_object_store_is_removed(
    good: Path, source: Path, tmp_path: Path
) -> None:
    url = in_memory(good, tmp_path)
    fs, root = fsspec.url_to_fs(url)
    crc32c = cop_zarr.format.chunk_reader.crc32c((good / ROOT).read_bytes())
    job = journal.IngestJob("2026-01-01T00:00:00+00:00", overwrite=True, root_crc32c=crc32c)
    fs.pipe_file(f"{root}/ingest/job.json", json.dumps(asdict(job)).encode())
    assert cop_zarr.repair(url, source).removed == ["ingest/job.json"]


def test_places_that_can_only_be_read_are_refused(copied: Path, tmp_path: Path) -> None:
    """At once, before the source is looked for."""
    flip(copied / CHUNK)
    gone = tmp_path / "gone.tif"
    with static_server(tmp_path) as url, pytest.raises(InputError, match="http:// places can only be read"):
        cop_zarr.repair(f"{url}/copied.zarr", gone)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for key, data in tree(copied).items():
            file.writestr(key, data)
    with pytest.raises(InputError, match="zip:// places can only be read"):
        cop_zarr.repair(f"zip://::file://{tmp_path}/a.zip", gone)


def test_one_repair_at_a_time(copied: Path, source: Path) -> None:
    with (
        storage.LocalFolder(copied).claimed(),
        pytest.raises(StoreBusyError, match="another ingest, repair or batch"),
    ):
        cop_zarr.repair(copied, source)
    assert cop_zarr.repair(copied, source).ok


# Links


def test_a_store_behind_a_link_is_repaired_where_it_is(copied: Path, source: Path, tmp_path: Path) -> None:
    good = tree(copied)
    flip(copied / CHUNK)
    (tmp_path / "link.zarr").symlink_to(copied)
    assert cop_zarr.repair(tmp_path / "link.zarr", source).rewritten == [CHUNK]
    assert (tmp_path / "link.zarr").is_symlink()
    assert tree(copied) == good


@pytest.mark.parametrize("key", [CHUNK, "latitude/c/0", ROOT])
def test_an_object_that_is_a_link_to_elsewhere_becomes_a_file(
    copied: Path, source: Path, tmp_path: Path, key: str
) -> None:
    good = tree(copied)
    (tmp_path / "precious").write_bytes(b"mine")
    (copied / key).unlink()
    (copied / key).symlink_to(tmp_path / "precious")
    assert cop_zarr.repair(copied, source).rewritten == [key]
    assert (tmp_path / "precious").read_bytes() == b"mine"
    assert tree(copied) == good
    assert not (copied / key).is_symlink()


@pytest.mark.parametrize("folder", ["embedding", "embedding/c/0/1", "latitude/c", "integrity"])
def test_nothing_is_written_through_a_link_that_leads_out(
    copied: Path, source: Path, tmp_path: Path, folder: str
) -> None:
    shutil.move(copied / folder, tmp_path / "elsewhere")
    (copied / folder).symlink_to(tmp_path / "elsewhere")
    for key in tree(tmp_path / "elsewhere"):
        flip(tmp_path / "elsewhere" / key)
    before = marks(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=f"{folder}.* leads out of"):
        cop_zarr.repair(copied, source)
    assert marks(tmp_path / "elsewhere") == before


def test_nothing_is_removed_through_a_link(copied: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere/0/9").mkdir(parents=True)
    (tmp_path / "elsewhere/0/9/9").write_bytes(b"mine")
    (copied / "valid/c/9").symlink_to(tmp_path / "elsewhere")
    (copied / "embedding/c/0/9").symlink_to(tmp_path / "elsewhere/0/9")
    cop_zarr.repair(copied, source)
    assert (tmp_path / "elsewhere/0/9/9").read_bytes() == b"mine"


def test_the_lock_is_not_put_where_a_link_leads(copied: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/lock").write_bytes(b"mine")
    (tmp_path / "copied.zarr.partial").symlink_to(tmp_path / "elsewhere")
    see_it_refused(copied, source, StoreExistsError, "in the way: it is not a folder")
    (tmp_path / "copied.zarr.partial").unlink()


def test_the_lock_is_not_put_where_a_deeper_link_leads(copied: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/lock").write_bytes(b"mine")
    (tmp_path / "copied.zarr.partial").mkdir()
    (tmp_path / "copied.zarr.partial/ingest").symlink_to(tmp_path / "elsewhere")
    see_it_refused(copied, source, StoreExistsError, "in the way")


# Kills


def killed_at(store: Path, source: Path, write: int, part: float) -> None:
    """Repair, and be killed when ``part`` of so manieth object's bytes are written; 1 is after all."""
    replacing = storage.local.replacing
    count = 0

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
def kill(source: Path) -> Iterator[Callable[..., float]]:
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


@pytest.mark.parametrize("part", [0, 0.5, 1])
@pytest.mark.parametrize("write", [1, 2, 9, 20])
def test_a_repair_that_was_killed_can_be_run_again(
    *, copied: Path, good: Path, source: Path, kill: Callable[..., float], write: int, part: float
) -> None:
    spoil_all(copied)
    assert kill(killed_at, copied, source, write, part) > 0, "it was not killed"
    assert tree(copied) != tree(good)
    report = cop_zarr.repair(copied, source)
    assert report.ok
    assert tree(copied) == tree(good)
    assert cop_zarr.verify(copied, source).ok
    assert [path.name for path in copied.parent.iterdir()] == [copied.name]


def test_a_repair_of_an_old_store_that_was_killed_can_be_run_again(
    aged: Path, source: Path, kill: Callable[..., float]
) -> None:
    """With every kill one more object is made anew; there are 17, and the chunk."""
    flip(aged / CHUNK)
    for write in (1, 2, 5, 3, 8):
        assert kill(killed_at, aged, source, write, 1) > 0, "it was not killed"
    assert cop_zarr.repair(aged, source).ok
    assert cop_zarr.verify(aged, source).ok
    see_the_truth(cop_zarr.open(aged))


def test_repairs_killed_at_any_moment_can_be_run_again(
    copied: Path, good: Path, source: Path, kill: Callable[..., float], trials: int
) -> None:
    expected, rng = tree(good), np.random.default_rng(0)
    spoil_all(copied)
    took = -kill(cop_zarr.repair, copied, source)
    assert took > 0
    assert tree(copied) == expected
    killed = tried = 0
    while killed < trials:
        spoil_all(copied)
        lasted = kill(cop_zarr.repair, copied, source, seconds=rng.uniform(0, took))
        killed, tried = killed + (lasted > 0), tried + 1
        took = took if lasted > 0 else min(took, -lasted)
        assert cop_zarr.repair(copied, source).ok
        assert tree(copied) == expected
        assert tried < 10 * trials + 10, "it is over before it is killed"


# The command line


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    for variable in ("COP_ZARR_STORE", "COP_ZARR_WORKERS", "RS_EMBED_COP_DIR"):
        monkeypatch.delenv(variable, raising=False)
    return lambda *arguments: CliRunner().invoke(main, list(map(str, arguments)))


def test_the_command_says_what_it_did(copied: Path, source: Path, run: Callable[..., Result]) -> None:
    flip(copied / CHUNK)
    (copied / "ingest").mkdir()
    (copied / "ingest/job.json").touch()
    done = run("repair", copied, "--source", source)
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        f"{CHUNK}: written anew",
        "ingest/job.json: removed",
        f"{copied} is good: 1 object written anew, 1 removed",
    ]
    assert run("repair", copied, "--source", source).output == (
        f"{copied} is good: 0 objects written anew, 0 removed\n"
    )


def test_the_command_fails_if_something_is_left(
    copied: Path, source: Path, run: Callable[..., Result]
) -> None:
    flip(copied / CHUNK)
    (copied / "notes.txt").touch()
    done = run("repair", copied, "--source", source)
    assert done.exit_code == 1
    assert done.output.splitlines() == [
        f"{CHUNK}: written anew",
        "notes.txt: it does not belong to the store: nothing records it",
        f"{copied} is not all good: 1 object written anew, 0 removed, 1 problem left",
    ]


def test_the_command_prints_json(copied: Path, source: Path, run: Callable[..., Result]) -> None:
    flip(copied / CHUNK)
    (copied / "notes.txt").touch()
    done = run("repair", copied, "--source", source, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {
        "ok": False,
        "store": str(copied),
        "source": str(source),
        "rewritten": [CHUNK],
        "removed": [],
        "problems": [
            {
                "key": "notes.txt",
                "message": "it does not belong to the store: nothing records it",
                "bbox": None,
            }
        ],
    }


def test_the_command_that_verify_recommends_works(
    copied: Path, source: Path, run: Callable[..., Result]
) -> None:
    flip(copied / CHUNK)
    found = run("verify", copied)
    assert found.exit_code == 1
    command = found.output.strip().rpartition("Repair it with: cop-zarr ")[2]
    assert run(*command.replace("TIF", str(source)).split()).exit_code == 0
    assert run("verify", copied, "--source", source).exit_code == 0


def test_exit_statuses(copied: Path, source: Path, tmp_path: Path, run: Callable[..., Result]) -> None:
    assert run("repair", tmp_path / "gone.zarr", "--source", source).exit_code == 1
    other = factory.write_geotiff(tmp_path / "b.tif", rows=ROWS, cols=(596, 626), bands=BANDS)
    assert run("repair", copied, "--source", other).exit_code == 2
    assert run("repair", "http://127.0.0.1:1/a.zarr", "--source", source).exit_code == 2
    assert run("repair", copied, "--source", source, "--nonsense").exit_code == 2
