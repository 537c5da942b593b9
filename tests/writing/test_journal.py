"""What an ingest has finished: recorded, trusted only if it is there, and everything else removed."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from numcodecs import blosc

from cop_zarr.core.grid import Grid, Window
from cop_zarr.core.version import __version__
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.codec import crc32c
from cop_zarr.format.layout import FORMAT_VERSION
from cop_zarr.storage import Folder, folder
from cop_zarr.writing.journal import IngestJob, Journal
from cop_zarr.writing.writer import BlockRecord, StoreWriter
from tests.support import factory

LAYOUT = Layout(Grid(300, 592, 20, 30), 2)
"""Chunks of 3 rows and 4 columns; the first column of them is empty, the last ones are cut off."""

WINDOWS = [Window(0, 16, 0, 16), Window(0, 16, 16, 30), Window(16, 20, 0, 16), Window(16, 20, 16, 30)]
JOB = IngestJob("2023-11-14T22:13:20+00:00", overwrite=False)
SHA256 = "5" * 64


@pytest.fixture(params=["disk", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    """An empty folder, on a disk and in memory."""
    if request.param == "disk":
        yield folder(str(tmp_path / "place"))
        return
    yield folder("memory://journal/place")
    with contextlib.suppress(FileNotFoundError):
        fsspec.filesystem("memory").rm("/journal", recursive=True)


@pytest.fixture
def events(place: Folder, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is replaced (+) and removed (-) in the folder from now on, in order."""
    seen: list[str] = []
    kind = type(place)
    remove, put = kind.remove, kind.replace

    def watched_remove(self: Any, keys: Any) -> None:
        listed = sorted(keys)
        seen.extend(f"-{key}" for key in listed)
        remove(self, listed)

    def watched_replace(self: Any, key: str, data: bytes) -> None:
        seen.append(f"+{key}")
        put(self, key, data)

    monkeypatch.setattr(kind, "remove", watched_remove)
    monkeypatch.setattr(kind, "replace", watched_replace)
    return seen


def cells(window: Window) -> np.ndarray:
    """Values of a window: float32, ``(rows, cols, bands)``."""
    rows, cols = (300 + window.row, 300 + window.row_stop), (592 + window.col, 592 + window.col_stop)
    return np.ascontiguousarray(factory.truth(rows, cols, LAYOUT.bands).transpose(1, 2, 0))


def write(place: Folder, windows: list[Window]) -> list[BlockRecord]:
    """Start an ingest, and finish these windows."""
    journal, writer = Journal(place, JOB), StoreWriter(LAYOUT, place.staging)
    journal.start()
    journal.set_source(SHA256)
    blocks = [writer.write(window, cells(window)) for window in windows]
    for block in blocks:
        journal.record(block)
    return blocks


def resumed(place: Folder) -> list[BlockRecord]:
    return Journal(place, IngestJob.read(place)).resume(LAYOUT)


def same(one: list[BlockRecord], other: list[BlockRecord]) -> bool:
    def key(block: BlockRecord) -> tuple[int, int]:
        return block.window.row, block.window.col

    return len(one) == len(other) and all(
        first.window == second.window
        and np.array_equal(first.valid, second.valid)
        and np.array_equal(first.integrity, second.integrity)
        and np.array_equal(first.missing, second.missing)
        for first, second in zip(sorted(one, key=key), sorted(other, key=key), strict=True)
    )


def at(place: Folder, key: str) -> Folder:
    """Where an object is while a store is written."""
    return place.work if key.startswith("ingest/") else place.staging


def put(place: Folder, key: str, data: bytes) -> None:
    at(place, key).write(key, data)


def keys(place: Folder) -> set[str]:
    records = {key for key in place.work.listing() or () if key.startswith("ingest/")}
    return set(place.staging.listing() or ()) | records


def change(place: Folder, key: str, how: Callable[[bytes], bytes]) -> None:
    put(place, key, how(at(place, key).read(key)))


# Jobs


@pytest.mark.parametrize(
    "job",
    [
        JOB,
        replace(JOB, overwrite=True, source_sha256=SHA256, root_crc32c=2**32 - 1),
        replace(JOB, made_by="cop-zarr 0.0.1, format 1, 1.21.0"),
    ],
)
def test_a_job_is_read_as_it_was_written(place: Folder, job: IngestJob) -> None:
    Journal(place, job).start()
    assert IngestJob.read(place) == job
    assert json.loads(place.work.read("ingest/job.json")) == asdict(job)
    for part in (__version__, f"format {FORMAT_VERSION}", blosc.VERSION_STRING):
        assert part in JOB.made_by


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe", b"null", b"[]", b"5", b"{}", b'{"created": "a", "x": 1}']
)
def test_what_is_no_job(place: Folder, data: bytes) -> None:
    assert IngestJob.read(place) is None
    put(place, "ingest/job.json", data)
    assert IngestJob.read(place) is None


# The order of things


def test_a_start_takes_nothing_of_an_earlier_job_for_its_own(place: Folder, events: list[str]) -> None:
    """Its records go before the job changes; then nothing opens as a store, and its chunks stay."""
    write(place, WINDOWS)
    chunks = {key for key in keys(place) if key.startswith("embedding/")}
    for key in ("zarr.json", "integrity/root.json", "valid/c/0/0"):
        put(place, key, b"old")
    events.clear()
    Journal(place, replace(JOB, overwrite=True)).start()
    assert [event[:14] for event in events[:4]] == ["-ingest/blocks"] * 4
    assert events[4:] == ["+ingest/job.json", "-zarr.json", "-integrity/root.json"]
    assert keys(place) == {"ingest/job.json", "valid/c/0/0", *chunks}
    assert IngestJob.read(place).overwrite


def test_resuming_removes_the_root_first(place: Folder, events: list[str]) -> None:
    """It is that of an old store if an ingest over it was killed at once."""
    write(place, WINDOWS[:1])
    put(place, "zarr.json", b"old")
    put(place, "embedding/c/0/2/2", b"old")
    events.clear()
    resumed(place)
    assert events == ["-zarr.json"]


def test_what_the_new_store_does_not_have_is_removed(place: Folder) -> None:
    """And on an object store nothing that came since the run began, perhaps from another one."""
    for key in ("embedding/c/0/2/2", "embedding/c/0/9/9", "latitude/c/0", "notes.txt"):
        put(place, key, b"old")
    with place.locked():
        journal, writer = Journal(place, JOB), StoreWriter(LAYOUT, place.staging)
        journal.start()
        journal.set_source(SHA256)
        writer.write(LAYOUT.grid.whole, cells(LAYOUT.grid.whole))
        put(place, "embedding/c/0/8/8", b"another's")
        objects = writer.documents({**factory.PROVENANCE, "sha256": SHA256}, JOB.created)
        journal.remove_strays(objects.keys() | writer.object_keys())
        journal.finish(objects["zarr.json"])
        writer.finish(objects)
        journal.publish()
        place.remove_work(lambda _: True)
    chunks = {LAYOUT.chunk_key(row, col) for row, col in np.argwhere(writer.integrity[0]).tolist()}
    assert set(place.listing() or ()) == {*objects, *chunks, "notes.txt", "embedding/c/0/8/8"}


def test_discarding_removes_all_that_is_ours_and_the_job_last(place: Folder, events: list[str]) -> None:
    """If that is interrupted, the folder is still known as an ingest's."""
    write(place, WINDOWS)
    for key in ("valid/c/0/0", "zarr.json", "notes.txt", "embedding/notes.txt"):
        put(place, key, b"?")
    Journal(place, IngestJob.read(place)).discard()
    assert events[-1] == "-ingest/job.json"
    assert keys(place) == {"notes.txt", "embedding/notes.txt"}


def test_the_source_is_named_before_the_first_record(place: Folder, events: list[str]) -> None:
    """Each is replaced, which has it on the disk when it gets its name."""
    journal, writer = Journal(place, JOB), StoreWriter(LAYOUT, place.staging)
    journal.start()
    blocks = [writer.write(window, cells(window)) for window in WINDOWS[:3]]
    journal.record(blocks[0])
    journal.record(blocks[1])
    assert not any(key.startswith("ingest/blocks/") for key in keys(place))
    assert IngestJob.read(place).source_sha256 is None
    events.clear()
    journal.set_source(SHA256)
    journal.set_source("6" * 64)  # only the first counts
    assert events == ["+ingest/job.json", "+ingest/blocks/0-0.json", "+ingest/blocks/0-16.json"]
    assert IngestJob.read(place).source_sha256 == SHA256
    journal.record(blocks[2])
    assert same(resumed(place), blocks)


def test_the_lock_is_left(place: Folder) -> None:
    """On a disk it lies beside the folder."""
    with place.locked():
        lock = {"ingest/lock"} if place.remote else set()
        Journal(place, JOB).start()
        assert Journal(place, JOB).resume(LAYOUT) == []
        assert keys(place) == {"ingest/job.json"} | lock
        Journal(place, JOB).discard()
        assert keys(place) == lock


def test_it_is_finished_when_its_root_is_there(place: Folder) -> None:
    journal = Journal(place, JOB)
    journal.start()
    put(place, "zarr.json", b"another")
    assert not journal.is_finished()
    journal.finish(b"the root")
    assert IngestJob.read(place).root_crc32c == crc32c(b"the root")
    for root, finished in ((b"another", False), (b"the root", True)):
        put(place, "zarr.json", root)
        assert Journal(place, IngestJob.read(place)).is_finished() is finished
    place.staging.remove(["zarr.json"])
    assert not Journal(place, IngestJob.read(place)).is_finished()


# Records


def test_blocks_are_read_as_they_were_recorded(place: Folder) -> None:
    blocks = write(place, [*WINDOWS[1:], Window(0, 8, 0, 8)])  # the last one has no data
    assert any(not block.valid.all() and block.valid.any() for block in blocks)
    assert not blocks[-1].integrity.any()
    before = keys(place)
    assert same(resumed(place), blocks)
    assert keys(place) == before


def corrupt(data: bytes) -> bytes:
    """A record whose own CRC is that of other numbers."""
    document = json.loads(data)
    document["record"]["valid"] = base64.b64encode(bytes(28)).decode()
    return json.dumps(document).encode()


def claiming(**record: Any) -> Callable[[bytes], bytes]:
    """A record that says something else, with the right CRC."""

    def change(data: bytes) -> bytes:
        document = json.loads(data)
        document["record"] |= record
        document["crc32c"] = crc32c(json.dumps(document["record"]).encode())
        return json.dumps(document).encode()

    return change


@pytest.mark.parametrize(
    "how",
    [
        lambda _: b"",
        lambda data: data[:-1],
        lambda data: b"\xff" + data[1:],
        lambda _: b"null",
        lambda _: b'{"record": {}, "crc32c": 1}',
        corrupt,
        claiming(window=[0, 16, 0]),
        claiming(window=[0, 10**6, 0, 10**6]),  # 931 GiB of cells
        claiming(window=[0, 2**40, 0, 16]),
        claiming(window=[-8, 16, 0, 24]),
        lambda _: b"[" * 99_999,
        claiming(window=[0, 16, 0, 24]),
        claiming(integrity="AAAA"),
        claiming(missing="AAAA"),
        claiming(valid="é"),
    ],
)
def test_a_damaged_record_is_ignored_and_removed(place: Folder, how: Callable[[bytes], bytes]) -> None:
    blocks = write(place, WINDOWS)
    kept = keys(place) - {"ingest/blocks/0-0.json"}
    change(place, "ingest/blocks/0-0.json", how)
    assert same(resumed(place), blocks[1:])
    assert keys(place) == kept


@pytest.mark.parametrize(
    "how",
    [
        None,
        lambda _: b"",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: bytes([*data[:20], data[20] ^ 1, *data[21:]]),
    ],
)
def test_a_block_without_all_its_chunks_is_not_trusted(
    place: Folder, how: Callable[[bytes], bytes] | None
) -> None:
    blocks = write(place, WINDOWS)
    chunks = sorted(blocks[1].records(LAYOUT))
    if how is None:
        place.staging.remove([chunks[1]])
    else:
        change(place, chunks[1], how)
    kept = keys(place) - {"ingest/blocks/0-16.json"}
    assert same(resumed(place), [blocks[0], *blocks[2:]])
    assert keys(place) == kept
