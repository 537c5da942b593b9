"""Where a store may be written: what is there is replaced only if asked to, and never if it is not ours."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

import cop_zarr
from cop_zarr.errors import StorageError, StoreExistsError
from cop_zarr.storage import Folder, folder, leases
from cop_zarr.writing import journal
from cop_zarr.writing.destination import check_destination, holds_store
from cop_zarr.writing.journal import IngestJob
from tests.support import factory

ROWS, COLS = (300, 324), (590, 622)
FLAGS = [(False, False), (False, True), (True, False), (True, True)]
"""overwrite, resume"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("sources")
    tile = {"blockxsize": 16, "blockysize": 16}
    return {
        "this": factory.write_geotiff(place / "this.tif", rows=ROWS, cols=COLS, bands=2, **tile),
        "other": factory.write_geotiff(place / "other.tif", rows=ROWS, cols=COLS, bands=1, **tile),
    }


@pytest.fixture(autouse=True)
def fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


@pytest.fixture(autouse=True)
def fast_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock of nobody's is watched for six beats."""
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.2)


@pytest.fixture(params=["disk", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A place with nothing in it, on a disk and in memory."""
    if request.param == "disk":
        (tmp_path / "stores").mkdir()
        yield str(tmp_path / "stores" / "out.zarr")
        return
    yield "memory://targets/out.zarr"
    with contextlib.suppress(FileNotFoundError):
        fsspec.filesystem("memory").rm("/targets", recursive=True)


def objects(url: str) -> dict[str, bytes]:
    """Everything in a place and beside it."""
    if url.startswith("memory://"):
        fs = fsspec.filesystem("memory")
        return {key: fs.cat(key) for key in fs.find("/targets")}
    parent = Path(url).parent
    return {
        path.relative_to(parent).as_posix(): path.read_bytes()
        for path in parent.rglob("*")
        if path.is_file()
    }


def interrupted(source: Path, url: str, **flags: bool) -> None:
    """Ingest half of a source."""

    def stop(done: int, total: int) -> None:
        if done >= total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cop_zarr.ingest(source, url, workers=1, progress=stop, **flags)


# What may be there

State = Callable[[dict[str, Path], str], None]
STATES: dict[str, State] = {}


def state(make: State) -> State:
    STATES[make.__name__] = make
    return make


@state
def nothing(sources: dict[str, Path], url: str) -> None:
    pass


@state
def whole(sources: dict[str, Path], url: str) -> None:
    cop_zarr.ingest(sources["this"], url)


@state
def whole_of_another(sources: dict[str, Path], url: str) -> None:
    cop_zarr.ingest(sources["other"], url)


@state
def begun(sources: dict[str, Path], url: str) -> None:
    interrupted(sources["this"], url)


@state
def begun_of_another(sources: dict[str, Path], url: str) -> None:
    interrupted(sources["other"], url)


@state
def begun_over_a_store(sources: dict[str, Path], url: str) -> None:
    cop_zarr.ingest(sources["other"], url)
    interrupted(sources["this"], url, overwrite=True)


@state
def begun_by_other_versions(sources: dict[str, Path], url: str) -> None:
    interrupted(sources["this"], url)
    staging = folder(url).staging
    job = replace(IngestJob.read(staging), made_by="cop-zarr 0.0.1")
    journal.Journal(staging, job)._write_job()


@state
def only_a_lock(sources: dict[str, Path], url: str) -> None:
    """What a process that was killed at once leaves."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    mark = {"token": "a", "host": socket.gethostname(), "pid": process.pid, "beat": 0}
    folder(url).staging.write("ingest/lock", json.dumps(mark).encode())


@state
def only_a_job(sources: dict[str, Path], url: str) -> None:
    journal.Journal(folder(url).staging, IngestJob("2023-11-14T22:13:20+00:00", overwrite=False)).start()


@state
def store_without_its_root(sources: dict[str, Path], url: str) -> None:
    """Its copy tells whose it is."""
    cop_zarr.ingest(sources["this"], url)
    folder(url).remove(["zarr.json"])


@state
def damaged(sources: dict[str, Path], url: str) -> None:
    cop_zarr.ingest(sources["this"], url)
    place = folder(url)
    place.write("zarr.json", place.read("zarr.json").replace(b"CF-1.11", b"CF-1.12"))


@state
def of_a_newer_format(sources: dict[str, Path], url: str) -> None:
    newer = {"attributes": {"cop_zarr": {"format": "cop-zarr", "version": 99}}}
    folder(url).write("zarr.json", json.dumps(newer).encode())


@state
def foreign(sources: dict[str, Path], url: str) -> None:
    folder(url).write("thesis.txt", b"years of work")


@state
def store_with_a_foreign_file(sources: dict[str, Path], url: str) -> None:
    cop_zarr.ingest(sources["this"], url)
    folder(url).write("embedding/notes.txt", b"mine")


@state
def begun_with_a_foreign_file(sources: dict[str, Path], url: str) -> None:
    interrupted(sources["this"], url)
    folder(url).staging.write("embedding/notes.txt", b"mine")


@state
def foreign_at_the_partial_name(sources: dict[str, Path], url: str) -> None:
    folder(url).staging.write("thesis.txt", b"years of work")


@state
def foreign_folder_of_our_name(sources: dict[str, Path], url: str) -> None:
    """A folder that happens to be called as the journal's."""
    folder(url).write("ingest/thesis.txt", b"years of work")


@state
def foreign_folder_of_our_name_at_the_partial_name(sources: dict[str, Path], url: str) -> None:
    folder(url).staging.write("ingest/thesis.txt", b"years of work")


@state
def store_with_a_foreign_file_in_the_journal(sources: dict[str, Path], url: str) -> None:
    cop_zarr.ingest(sources["this"], url)
    folder(url).write("ingest/blocks/thesis.txt", b"years of work")


@state
def store_with_a_foreign_unfinished_download(sources: dict[str, Path], url: str) -> None:
    cop_zarr.ingest(sources["this"], url)
    folder(url).write("thesis.pdf.0123abcd.partial", b"years of work")


TAKEN, UNFINISHED, OTHER = (
    "is a store already; replace it with --overwrite",
    "--resume",
    "name another place",
)
REFUSED = {
    "whole": (TAKEN, None, None, None),
    "whole_of_another": (TAKEN, "a store of another source; replace it with --overwrite", None, None),
    "begun": (UNFINISHED, None, None, None),
    "begun_of_another": (UNFINISHED, "unfinished ingest of another source", None, None),
    "begun_over_a_store": (UNFINISHED, None, None, None),
    "begun_by_other_versions": (UNFINISHED, None, None, None),
    "only_a_job": (UNFINISHED, None, None, None),
    "store_without_its_root": (TAKEN, "no whole store .*--overwrite", None, None),
    "damaged": (TAKEN, "no whole store .*--overwrite", None, None),
    "of_a_newer_format": (TAKEN, "no whole store .*--overwrite", None, None),
}
"""What is said with no flag, with --resume, with --overwrite and with both; None: it is done."""

FOREIGN = {name for name in STATES if "foreign" in name}


@pytest.mark.parametrize("flags", FLAGS, ids=["no flag", "resume", "overwrite", "both"])
@pytest.mark.parametrize("name", [name for name in STATES if name not in FOREIGN])
def test_what_is_there_is_replaced_or_refused(
    sources: dict[str, Path], url: str, tmp_path: Path, name: str, flags: tuple[bool, bool]
) -> None:
    STATES[name](sources, url)
    before = objects(url)
    overwrite, resume = flags
    said = REFUSED.get(name, (None,) * 4)[FLAGS.index(flags)]
    if said:
        with pytest.raises(StoreExistsError, match=said):
            cop_zarr.ingest(sources["this"], url, overwrite=overwrite, resume=resume)
        assert objects(url) == before
        return
    cop_zarr.plan_ingest(sources["this"], url, overwrite=overwrite, resume=resume)
    assert objects(url) == before
    cop_zarr.ingest(sources["this"], url, overwrite=overwrite, resume=resume)
    cop_zarr.ingest(sources["this"], tmp_path / "expected")
    expected = {
        path.relative_to(tmp_path / "expected").as_posix(): path.read_bytes()
        for path in (tmp_path / "expected").rglob("*")
        if path.is_file()
    }
    assert {key.rpartition("out.zarr/")[2]: data for key, data in objects(url).items()} == expected


@pytest.mark.parametrize("flags", FLAGS, ids=["no flag", "resume", "overwrite", "both"])
@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_what_is_not_ours_is_never_touched(
    sources: dict[str, Path], url: str, name: str, flags: tuple[bool, bool]
) -> None:
    STATES[name](sources, url)
    before = objects(url)
    overwrite, resume = flags
    for source in sources.values():
        with pytest.raises(StoreExistsError):
            cop_zarr.ingest(source, url, overwrite=overwrite, resume=resume)
        assert objects(url) == before


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("where", ["out.zarr", "out.zarr.partial"])
@pytest.mark.parametrize("kind", ["file", "link to a file", "link to a folder", "dangling link"])
def test_what_is_no_folder_is_never_touched(
    sources: dict[str, Path], tmp_path: Path, kind: str, where: str, flags: tuple[bool, bool]
) -> None:
    """A link at the store's own name may lead to where the store is to be."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "a.txt").write_text("mine")
    if kind == "file":
        (tmp_path / where).write_text("mine")
    else:
        to = {"link to a file": "theirs/a.txt", "link to a folder": "theirs", "dangling link": "nowhere"}[
            kind
        ]
        (tmp_path / where).symlink_to(tmp_path / to)
    if (where, kind) != ("out.zarr", "dangling link"):
        with pytest.raises((StoreExistsError, StorageError)):
            cop_zarr.ingest(sources["this"], tmp_path / "out.zarr", overwrite=flags[0], resume=flags[1])
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([where, "theirs"])
    assert (tmp_path / "theirs" / "a.txt").read_text() == "mine"
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["a.txt"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_in_a_store_is_not_ours(sources: dict[str, Path], tmp_path: Path, overwrite: bool) -> None:
    out = tmp_path / "out.zarr"
    cop_zarr.ingest(sources["this"], out)
    (tmp_path / "theirs").mkdir()
    (out / "mine").symlink_to(tmp_path / "theirs")
    with pytest.raises(StoreExistsError):
        cop_zarr.ingest(sources["other"], out, overwrite=overwrite)
    assert (out / "mine").is_symlink()


# check_destination alone: it changes nothing


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("name", list(STATES))
def test_looking_changes_nothing(
    sources: dict[str, Path], url: str, name: str, flags: tuple[bool, bool]
) -> None:
    STATES[name](sources, url)
    before = objects(url)
    with contextlib.suppress(StoreExistsError):
        check_destination(folder(url), overwrite=flags[0], resume=flags[1])
    assert objects(url) == before


def test_a_job_without_overwrite_does_not_replace_a_store_that_came_later(
    sources: dict[str, Path], url: str
) -> None:
    if url.startswith("memory://"):
        pytest.skip("the two are one place there")
    interrupted(sources["this"], url)
    cop_zarr.ingest(sources["other"], f"{url}.x")
    Path(f"{url}.x").rename(url)
    before = objects(url)
    with pytest.raises(StoreExistsError, match="is a store already"):
        cop_zarr.ingest(sources["this"], url, resume=True)
    assert objects(url) == before
    cop_zarr.ingest(sources["this"], url, resume=True, overwrite=True)
    assert cop_zarr.verify(url, sources["this"]).ok


@pytest.mark.parametrize(
    ("objects_there", "is_one"),
    [
        ({}, False),
        ({"zarr.json": b"{}"}, False),
        ({"zarr.json": b""}, False),
        ({"zarr.json": b'{"attributes": {"cop_zarr": {"format": "cop-zarr"}}}'}, True),
        ({"integrity/root.json": b'{"attributes": {"cop_zarr": {"format": "cop-zarr"}}}'}, True),
        (
            {
                "zarr.json": b"\0",
                "integrity/root.json": b'{"attributes": {"cop_zarr": {"format": "cop-zarr"}}}',
            },
            True,
        ),
        ({"zarr.json": b'{"attributes": {"cop_zarr": {"format": "another"}}}'}, False),
        ({"zarr.json": b"[" * 100_000}, False),
    ],
)
def test_a_store_is_known_by_its_root_or_the_copy(
    url: str, objects_there: dict[str, bytes], is_one: bool
) -> None:
    place: Folder = folder(url)
    for key, data in objects_there.items():
        place.write(key, data)
    assert holds_store(place) is is_one


def test_a_mount_point_is_refused(sources: dict[str, Path]) -> None:
    with pytest.raises(StorageError, match="is a mount point"):
        check_destination(folder("/"), overwrite=True, resume=False)


def test_what_appears_at_the_place_meanwhile_is_not_lost(sources: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"

    def interfere(done: int, total: int) -> None:
        out.mkdir(exist_ok=True)
        (out / "thesis.txt").write_text("mine")

    for overwrite in (False, True):
        with pytest.raises(StoreExistsError):
            cop_zarr.ingest(sources["this"], out, overwrite=overwrite, resume=overwrite, progress=interfere)
        assert (out / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("flags", FLAGS)
def test_a_store_by_the_name_of_what_is_not_whole_is_left_alone(
    sources: dict[str, Path], tmp_path: Path, flags: tuple[bool, bool]
) -> None:
    cop_zarr.ingest(sources["other"], tmp_path / "out.zarr.partial")
    with pytest.raises(StoreExistsError, match="is a store itself"):
        cop_zarr.ingest(sources["this"], tmp_path / "out.zarr", overwrite=flags[0], resume=flags[1])
    assert cop_zarr.verify(tmp_path / "out.zarr.partial", sources["other"]).ok
