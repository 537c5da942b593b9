"""What a repair changes, what it leaves alone, what it refuses, and what is left of one that is killed.

``test_damage.py`` has it repair every kind of damage.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from numcodecs import blosc

import cop_zarr
from cop_zarr import storage
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
from cop_zarr.format.codec import crc32c
from cop_zarr.format.document import decode_root, digest
from cop_zarr.storage import LocalFolder, folder, sha256_of
from cop_zarr.writing import writer as writing
from cop_zarr.writing.journal import IngestJob
from tests.support import factory
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
    write_store,
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
    assert report == cop_zarr.RepairReport(str(copied), str(small_source), sorted(damaged), [], [], [])
    assert report.ok
    after = marks(copied)
    assert {key for key in good if after[key] != before[key]} == set(damaged)
    assert objects(copied) == good
    assert [path.name for path in copied.parent.iterdir()] == [copied.name]


def test_several_workers_repair_everything(small_store: Path, copied: Path, small_source: Path) -> None:
    spoil_all(copied)
    seen: list[tuple[int, int]] = []
    with pytest.raises(MemoryLimitError):
        cop_zarr.repair(copied, small_source, memory=1 << 20)
    options = {"workers": 7, "memory": 200 << 20, "progress": lambda *pair: seen.append(pair)}
    assert cop_zarr.repair(copied, small_source, **options).ok
    assert objects(copied) == objects(small_store)
    assert all(0 < done <= total == truth().nbytes for done, total in seen)


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


@pytest.mark.parametrize("damaged", [[], [ROOT], [TABLE]])
@pytest.mark.parametrize(
    ("key", "removed"),
    [
        ("embedding/c/0/5/0", True),
        ("embedding/c/0/01/1", True),
        ("ingest/blocks/0-0.json", True),
        (f"{CHUNK}.0123abcd.partial", True),
        ("notes.txt", False),
        ("embedding/notes", False),
        (f"{CHUNK}.bak", False),
        ("other/zarr.json", False),
    ],
)
def test_only_an_unknown_object_that_might_be_part_of_a_store_is_removed(
    copied: Path, small_source: Path, key: str, removed: bool, damaged: list[str]
) -> None:
    good = objects(copied)
    (copied / key).parent.mkdir(parents=True, exist_ok=True)
    (copied / key).write_bytes(b"mine")
    for each in damaged:
        flip(copied / each)
    report = cop_zarr.repair(copied, small_source)
    assert (report.rewritten, report.removed) == (damaged, [key] if removed else [])
    assert (report.problems, report.foreign) == ([], [] if removed else [key])
    assert objects(copied) == (good if removed else {**good, key: b"mine"})
    assert not (copied / "ingest").exists()


def test_a_mask_that_was_wrong_from_the_beginning(tmp_path: Path, small_source: Path) -> None:
    store = write_store(tmp_path / "a.zarr", wrong=[(20, 40)], sha256=sha256_of(small_source))
    assert not cop_zarr.verify(store).ok
    assert cop_zarr.repair(store, small_source).ok
    assert cop_zarr.verify(store, small_source).ok


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
    assert cop_zarr.repair(aged, small_source).rewritten == damaged
    assert objects(aged) == objects(old)


@pytest.mark.parametrize("more", [[], [ROOT], [TABLE, VALID, ROOT]])
def test_a_chunk_of_an_old_store_is_made_again_and_the_others_stay(
    aged: Path, old: Path, small_source: Path, more: list[str]
) -> None:
    """Unless the table is damaged: nothing says any more what the others were."""
    for key in [CHUNK, *more]:
        flip(aged / key)
    report = cop_zarr.repair(aged, small_source)
    assert report.ok
    chunks = {key for key in objects(old) if key.startswith("embedding/c/")}
    others = set() if TABLE in more else chunks - {CHUNK}
    assert set(report.rewritten) == set(objects(old)) - others
    assert all((aged / key).read_bytes() == (old / key).read_bytes() for key in others)
    assert cop_zarr.verify(aged, small_source).ok
    assert cop_zarr.open(aged).info()["created"] == cop_zarr.open(old).info()["created"]
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


def test_what_is_no_store_is_refused(copied: Path, tmp_path: Path, small_source: Path) -> None:
    other = tmp_path / "a.zarr"
    check_refused(other, small_source, StoreNotFoundError)
    other.mkdir()
    (other / "notes.txt").write_bytes(b"mine")
    check_refused(other, small_source, StoreError)
    (other / ROOT).write_bytes(b'{"zarr_format": 3, "node_type": "group"}')
    check_refused(other, small_source, StoreError)
    flip(copied / ROOT)
    (copied / COPY).write_bytes(b"{}")
    check_refused(copied, small_source, StoreError, "cop-zarr ingest")
    (copied / COPY).unlink()
    check_refused(copied, small_source, StoreError)


def test_a_newer_format_is_refused(copied: Path, small_source: Path) -> None:
    document = decode_root((copied / ROOT).read_bytes())
    document["attributes"]["cop_zarr"]["version"] = 99
    document["attributes"]["cop_zarr"]["sha256"] = digest(document)
    for key in (ROOT, COPY):
        (copied / key).write_text(json.dumps(document))
    check_refused(copied, small_source, FormatVersionError)


def test_an_unfinished_ingest_on_an_object_store_is_refused(in_memory: str, small_source: Path) -> None:
    """If only its journal is left, that is removed."""
    place = folder(in_memory)
    job = IngestJob("2026-01-01T00:00:00+00:00", overwrite=True, root_crc32c=crc32c(place.read(ROOT)))
    document = json.dumps(asdict(job)).encode()
    place.write("ingest/job.json", document)
    assert cop_zarr.repair(in_memory, small_source).removed == ["ingest/job.json"]
    place.write("ingest/job.json", document)
    place.remove([ROOT])
    before = objects(in_memory)
    with pytest.raises(StoreBusyError, match="--resume"):
        cop_zarr.repair(in_memory, small_source)
    assert objects(in_memory) == before


def test_what_can_only_be_read_is_refused_before_the_source_is_looked_for(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(ROOT, b"{}")
    for url in ("http://127.0.0.1:1/a.zarr", f"zip://::file://{tmp_path}/a.zip"):
        with pytest.raises(InputError, match=url[:4]):
            cop_zarr.repair(url, "gone.tif")


def test_one_repair_at_a_time(copied: Path, small_source: Path) -> None:
    with LocalFolder(copied).locked(), pytest.raises(StoreBusyError):
        cop_zarr.repair(copied, small_source)
    assert cop_zarr.repair(copied, small_source).ok


# Links


@pytest.mark.parametrize("key", [CHUNK, ROOT])
def test_an_object_that_is_a_link_to_elsewhere_becomes_a_file(
    copied: Path, small_source: Path, tmp_path: Path, key: str
) -> None:
    """A link to the store itself stays, and what it leads to is repaired."""
    good = objects(copied)
    (tmp_path / "link.zarr").symlink_to(copied)
    (tmp_path / "precious").write_bytes(b"mine")
    (copied / key).unlink()
    (copied / key).symlink_to(tmp_path / "precious")
    assert cop_zarr.repair(tmp_path / "link.zarr", small_source).rewritten == [key]
    assert (tmp_path / "link.zarr").is_symlink()
    assert (tmp_path / "precious").read_bytes() == b"mine"
    assert objects(copied) == good
    assert not (copied / key).is_symlink()


@pytest.mark.parametrize("name", ["embedding", "embedding/c/0/1", "integrity"])
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


def run_until_killed(*arguments: object) -> None:
    """Run :func:`killed_at` in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cop_zarr.writing.repair", "cop_zarr.format.metadata", "pyproj"])
    process = context.Process(target=killed_at, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


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
    copied: Path, small_store: Path, small_source: Path, write: int, part: float
) -> None:
    spoil_all(copied)
    run_until_killed(copied, small_source, write, part)
    assert objects(copied) != objects(small_store)
    assert cop_zarr.repair(copied, small_source).ok
    assert objects(copied) == objects(small_store)
    assert [path.name for path in copied.parent.iterdir()] == [copied.name]
