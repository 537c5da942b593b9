"""What an ingest has finished: kept, believed only if it is there, and everything else removed."""

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

from cop_zarr import storage
from cop_zarr.core.grid import Grid, Window
from cop_zarr.core.version import __version__
from cop_zarr.errors import StorageError
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.codec import crc32c
from cop_zarr.format.layout import FORMAT_VERSION
from cop_zarr.storage import Folder, folder
from cop_zarr.writing import journal
from cop_zarr.writing.journal import VERSIONS, IngestJob, Journal
from cop_zarr.writing.writer import BlockRecord, StoreWriter
from tests.support import factory

LAYOUT = Layout(Grid(300, 592, 20, 30), 2)
"""Chunks of 3 rows and 4 columns; the first column of them is empty, the last ones are cut off."""

WINDOWS = [Window(0, 16, 0, 16), Window(0, 16, 16, 30), Window(16, 20, 0, 16), Window(16, 20, 16, 30)]
JOB = IngestJob("2023-11-14T22:13:20+00:00", overwrite=False)
SHA256 = "5" * 64


@pytest.fixture(params=["disk", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    """An empty place, on a disk and in memory."""
    if request.param == "disk":
        yield folder(str(tmp_path / "place"))
        return
    yield folder("memory://journal/place")
    with contextlib.suppress(FileNotFoundError):
        fsspec.filesystem("memory").rm("/journal", recursive=True)


def cells(window: Window) -> np.ndarray:
    """Values of a window: float32, ``(rows, cols, bands)``."""
    rows, cols = (300 + window.row, 300 + window.row_stop), (592 + window.col, 592 + window.col_stop)
    return np.ascontiguousarray(factory.truth(rows, cols, LAYOUT.bands).transpose(1, 2, 0))


def write(place: Folder, windows: list[Window], sha256: str | None = SHA256) -> list[BlockRecord]:
    """Begin an ingest, and finish these windows."""
    made = Journal(place, JOB)
    made.start()
    if sha256:
        made.set_source(sha256)
    writer = StoreWriter(LAYOUT, place)
    pieces = [writer.write(window, cells(window)) for window in windows]
    for piece in pieces:
        made.record(piece)
    return pieces


def resumed(place: Folder, layout: Layout = LAYOUT) -> list[BlockRecord]:
    job = IngestJob.read(place)
    assert job is not None
    return Journal(place, job).resume(layout)


def same(one: list[BlockRecord], other: list[BlockRecord]) -> bool:
    def key(piece: BlockRecord) -> tuple[int, int]:
        return piece.window.row, piece.window.col

    return len(one) == len(other) and all(
        first.window == second.window
        and np.array_equal(first.valid, second.valid)
        and first.valid.dtype == second.valid.dtype
        and np.array_equal(first.integrity, second.integrity)
        for first, second in zip(sorted(one, key=key), sorted(other, key=key), strict=True)
    )


def keys(place: Folder) -> set[str]:
    return set(place.listing() or ())


def change(place: Folder, key: str, how: Callable[[bytes], bytes]) -> None:
    place.write(key, how(place.read(key)))


# Jobs


@pytest.mark.parametrize(
    "job",
    [
        JOB,
        IngestJob("2024-01-01T00:00:00+00:00", overwrite=True, source_sha256=SHA256, root_crc32c=2**32 - 1),
        replace(JOB, made_by="cop-zarr 0.0.1, format 1, 1.21.0"),
    ],
)
def test_a_job_comes_back(place: Folder, job: IngestJob) -> None:
    Journal(place, job).start()
    assert IngestJob.read(place) == job


def test_a_job_says_by_which_versions(place: Folder) -> None:
    assert JOB.made_by == VERSIONS
    Journal(place, JOB).start()
    assert json.loads(place.read("ingest/job.json")) == asdict(JOB)
    assert set(asdict(JOB)) == {"created", "overwrite", "source_sha256", "root_crc32c", "made_by"}


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff\xfe", b"null", b"[]", b"5", b"{}", b'{"created": "a"}', b'{"created": "a", "x": 1}'],
)
def test_what_is_no_job(place: Folder, data: bytes) -> None:
    assert IngestJob.read(place) is None
    place.write("ingest/job.json", data)
    assert IngestJob.read(place) is None


def test_a_job_that_cannot_be_read_is_not_taken_for_none(
    place: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Folder, key: str, limit: int = 0) -> bytes:
        raise StorageError("Input/output error")

    monkeypatch.setattr(type(place), "read", fail)
    with pytest.raises(StorageError):
        IngestJob.read(place)


# Beginning


def test_beginning_marks_the_place_and_removes_the_root_first(
    place: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place, WINDOWS)
    for key in ("zarr.json", "integrity/root.json", "valid/c/0/0", "embedding/c/0/0/0"):
        place.write(key, b"old")
    events: list[str] = []
    kind = type(place)
    remove, put = kind.remove, kind.replace

    def watched_remove(self: Any, going: Any) -> None:
        listed = sorted(going)
        events.append(" ".join(listed))
        remove(self, listed)

    def watched_replace(self: Any, key: str, data: bytes) -> None:
        events.append(f"+{key}")
        put(self, key, data)

    monkeypatch.setattr(kind, "remove", watched_remove)
    monkeypatch.setattr(kind, "replace", watched_replace)
    begun = replace(JOB, overwrite=True)
    Journal(place, begun).start()
    assert events[:2] == ["+ingest/job.json", "zarr.json"]
    assert keys(place) == {"ingest/job.json"}
    assert IngestJob.read(place) == begun


def test_beginning_leaves_the_lock(place: Folder) -> None:
    with place.claimed():
        staging = place.staging
        Journal(staging, JOB).start()
        assert keys(staging) == {"ingest/job.json", "ingest/lock"}
        assert Journal(staging, JOB).resume(LAYOUT) == []
        assert keys(staging) == {"ingest/job.json", "ingest/lock"}
        Journal(staging, JOB).discard()
        assert keys(staging) == {"ingest/lock"}


# Records


def test_pieces_come_back(place: Folder) -> None:
    pieces = write(place, WINDOWS[1:])
    before = keys(place)
    assert len([key for key in before if key.startswith("ingest/blocks/")]) == 3
    assert same(resumed(place), pieces)
    assert keys(place) == before
    assert any(not piece.valid.all() and piece.valid.any() for piece in pieces)


def test_a_restored_piece_is_as_if_it_had_been_written(place: Folder) -> None:
    write(place, WINDOWS)
    restored = StoreWriter(LAYOUT, place)
    for piece in resumed(place):
        restored.restore(piece)
    written = StoreWriter(LAYOUT, folder("memory://journal/other"))
    for window in WINDOWS:
        written.write(window, cells(window))
    assert np.array_equal(restored.valid, written.valid)
    assert np.array_equal(restored.integrity, written.integrity)
    assert restored.valid.any()
    fsspec.filesystem("memory").rm("/journal/other", recursive=True)


def test_a_piece_without_data_comes_back(place: Folder) -> None:
    empty = Window(0, 8, 0, 8)
    (piece,) = write(place, [empty])
    assert not piece.integrity.any()
    assert same(resumed(place), [piece])


def test_nothing_is_recorded_before_the_source_is_known(place: Folder) -> None:
    made = Journal(place, JOB)
    made.start()
    writer = StoreWriter(LAYOUT, place)
    pieces = [writer.write(window, cells(window)) for window in WINDOWS[:3]]
    made.record(pieces[0])
    made.record(pieces[1])
    assert not any(key.startswith("ingest/blocks/") for key in keys(place))
    assert IngestJob.read(place).source_sha256 is None
    made.set_source(SHA256)
    made.set_source("6" * 64)  # the first word counts
    assert IngestJob.read(place).source_sha256 == SHA256
    made.record(pieces[2])
    assert same(resumed(place), pieces)


def test_the_source_is_named_before_the_first_record(
    place: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Journal(place, JOB)
    made.start()
    writer = StoreWriter(LAYOUT, place)
    made.record(writer.write(WINDOWS[0], cells(WINDOWS[0])))
    put, seen = type(place).replace, []

    def watched(self: Any, key: str, data: bytes) -> None:
        seen.append(key)
        put(self, key, data)

    monkeypatch.setattr(type(place), "replace", watched)
    made.set_source(SHA256)
    assert seen == ["ingest/job.json", "ingest/blocks/0-0.json"]


def corrupted(data: bytes) -> bytes:
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
        lambda data: data[: len(data) // 2],
        lambda data: bytes(len(data)),
        lambda data: b"\xff" + data[1:],
        lambda _: b"null",
        lambda _: b"[]",
        lambda _: b"{}",
        lambda _: b'{"record": {}, "crc32c": 1}',
        lambda _: b'{"record": null, "crc32c": 1}',
        lambda data: data.replace(b'"crc32c"', b'"crc"'),
        corrupted,
        claiming(window=[0, 16, 0]),
        claiming(window=None),
        claiming(window=[0, 16, 0, 24]),
        claiming(integrity="AAAA"),
        claiming(integrity="A"),
        claiming(valid="é"),
    ],
)
def test_a_damaged_record_is_ignored_and_removed(place: Folder, how: Callable[[bytes], bytes]) -> None:
    pieces = write(place, WINDOWS)
    kept = keys(place) - {"ingest/blocks/0-0.json", *pieces[0].lengths(LAYOUT)}
    change(place, "ingest/blocks/0-0.json", how)
    assert same(resumed(place), pieces[1:])
    assert keys(place) == kept


@pytest.mark.parametrize("how", [None, lambda _: b"", lambda data: data[:-1], lambda data: data + b"\0"])
def test_a_piece_without_all_its_chunks_is_not_believed(
    place: Folder, how: Callable[[bytes], bytes] | None
) -> None:
    pieces = write(place, WINDOWS)
    chunks = sorted(pieces[1].lengths(LAYOUT))
    assert len(chunks) == 4
    if how is None:
        place.remove([chunks[1]])
    else:
        change(place, chunks[1], how)
    kept = keys(place) - {"ingest/blocks/0-16.json", *chunks}
    assert same(resumed(place), [pieces[0], *pieces[2:]])
    assert keys(place) == kept


@pytest.mark.parametrize("layout", [Layout(Grid(300, 592, 8, 8), 2), Layout(Grid(300, 592, 20, 24), 2)])
def test_a_record_of_another_grid_does_no_harm(place: Folder, layout: Layout) -> None:
    """The source's digest tells sources apart; this is the second fence."""
    write(place, WINDOWS)
    rows, cols = layout.grid.shape
    for piece in resumed(place, layout):
        if piece.window.row_stop > rows or piece.window.col_stop > cols:
            with pytest.raises(ValueError, match="broadcast"):
                StoreWriter(layout, place).restore(piece)


def test_strays_are_removed(place: Folder) -> None:
    pieces = write(place, WINDOWS[:2])
    kept = keys(place)
    for key in (
        "zarr.json",
        "embedding/zarr.json",
        "valid/c/0/0",
        "integrity/root.json",
        "embedding/c/0/2/0",
        "embedding/c/0/90/90",
        "embedding/c/0/0/1.0123abcd.partial",
        "ingest/blocks/16-0.json",
        "ingest/blocks/0-0.json.0123abcd.partial",
    ):
        place.write(key, b"stray")
    assert same(resumed(place), pieces)
    assert keys(place) == kept


def test_the_root_goes_first_when_resuming(place: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that of an old store if an ingest over it was killed at once."""
    write(place, WINDOWS[:1])
    place.write("zarr.json", b"old")
    place.write("embedding/c/0/2/2", b"old")
    remove, gone = type(place).remove, []

    def watched(self: Any, going: Any) -> None:
        listed = list(going)
        gone.append(listed)
        remove(self, listed)

    monkeypatch.setattr(type(place), "remove", watched)
    resumed(place)
    assert gone[0] == ["zarr.json"]
    assert any("embedding/c/0/2/2" in listed for listed in gone[1:])


# Windows that are cut otherwise


def test_overlapping_records_agree(place: Folder) -> None:
    pieces = write(place, [Window(0, 16, 0, 16)])
    made = Journal(place, IngestJob.read(place))
    writer = StoreWriter(LAYOUT, place)
    larger = writer.write(Window(0, 16, 8, 30), cells(Window(0, 16, 8, 30)))
    made.record(larger)
    found = resumed(place)
    assert same(found, [*pieces, larger])
    one = StoreWriter(LAYOUT, place)
    for piece in found:
        one.restore(piece)
    other = StoreWriter(LAYOUT, place)
    for piece in reversed(found):
        other.restore(piece)
    assert np.array_equal(one.integrity, other.integrity)
    assert np.array_equal(one.valid, other.valid)


def test_a_piece_that_overlaps_a_lost_one_stays(place: Folder) -> None:
    write(place, [Window(0, 16, 0, 16)])
    made = Journal(place, IngestJob.read(place))
    writer = StoreWriter(LAYOUT, place)
    larger = writer.write(Window(0, 16, 8, 30), cells(Window(0, 16, 8, 30)))
    made.record(larger)
    change(place, "ingest/blocks/0-0.json", lambda data: data[:-2])
    assert same(resumed(place), [larger])
    assert set(larger.lengths(LAYOUT)) < keys(place)


# Ends


def test_it_is_finished_when_the_root_is_there(place: Folder) -> None:
    made = Journal(place, JOB)
    made.start()
    assert not made.is_finished()
    place.write("zarr.json", b"another")
    assert not made.is_finished()
    made.finish(b"the root")
    assert IngestJob.read(place).root_crc32c == crc32c(b"the root")
    assert not Journal(place, IngestJob.read(place)).is_finished()
    place.write("zarr.json", b"the root")
    assert Journal(place, IngestJob.read(place)).is_finished()
    place.remove(["zarr.json"])
    assert not Journal(place, IngestJob.read(place)).is_finished()


def test_discarding_removes_all_that_was_written(place: Folder, tmp_path: Path) -> None:
    write(place, WINDOWS)
    place.write("valid/c/0/0", b"metadata")
    place.write("zarr.json", b"root")
    Journal(place, IngestJob.read(place)).discard()
    assert keys(place) == set()
    assert place.names() == []


def test_discarding_leaves_what_is_not_ours(place: Folder) -> None:
    write(place, WINDOWS)
    place.write("notes.txt", b"mine")
    place.write("embedding/notes.txt", b"mine")
    Journal(place, IngestJob.read(place)).discard()
    assert keys(place) == {"notes.txt", "embedding/notes.txt"}


def test_the_job_goes_last_when_discarding(place: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """If that is interrupted, the place is still known for an ingest's."""
    write(place, WINDOWS)
    remove, gone = type(place).remove, []

    def watched(self: Any, going: Any) -> None:
        listed = list(going)
        gone.extend(listed)
        remove(self, listed)

    monkeypatch.setattr(type(place), "remove", watched)
    Journal(place, IngestJob.read(place)).discard()
    assert gone[-1] == "ingest/job.json"


def test_a_record_is_written_so_that_it_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By replacing, which has it on the disk when it gets its name; never by plain writing."""
    place = folder(str(tmp_path / "place"))
    seen = []
    put = storage.LocalFolder.replace
    monkeypatch.setattr(
        storage.LocalFolder, "replace", lambda self, key, data: (seen.append(key), put(self, key, data))[1]
    )
    write(place, WINDOWS[:2])
    assert sorted(seen) == ["ingest/blocks/0-0.json", "ingest/blocks/0-16.json", *["ingest/job.json"] * 2]


def test_versions_are_those_that_bytes_depend_on() -> None:
    for part in (__version__, f"format {FORMAT_VERSION}", blosc.VERSION_STRING):
        assert part in journal.VERSIONS
