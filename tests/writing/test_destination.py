"""Where a store may be written: a store is replaced only if asked to, and nothing else ever."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

import cop_zarr
from cop_zarr.errors import StorageError, StoreExistsError
from cop_zarr.storage import folder, locks
from cop_zarr.writing.destination import State, check_destination, classify
from cop_zarr.writing.journal import IngestJob, Journal
from tests.support import factory
from tests.writing.small import objects

FLAGS = [(False, False), (False, True), (True, False), (True, True)]
"""overwrite, resume"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("sources")
    shape = {"rows": (300, 324), "cols": (590, 622), "blockxsize": 16, "blockysize": 16}
    return {
        "this": factory.write_geotiff(place / "this.tif", bands=2, **shape),
        "other": factory.write_geotiff(place / "other.tif", bands=1, **shape),
    }


@pytest.fixture(scope="module")
def expected(sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The objects of a store of this source."""
    path = tmp_path_factory.mktemp("expected") / "out.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        cop_zarr.ingest(sources["this"], path)
    return objects(path)


@pytest.fixture(autouse=True)
def surroundings(fixed_time: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes a dead one's lock waits for two looks."""
    monkeypatch.setattr(locks, "LOOK_SECONDS", 0.02)


@pytest.fixture(params=["disk", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A destination with nothing in it, on a disk and in memory."""
    if request.param == "disk":
        yield str(tmp_path / "stores" / "out.zarr")
        return
    yield "memory://targets/out.zarr"
    with contextlib.suppress(FileNotFoundError):
        fsspec.filesystem("memory").rm("/targets", recursive=True)


def around(url: str) -> dict[str, bytes]:
    """Every object in a destination and beside it."""
    return objects(url.rpartition("/")[0])


def restore(url: str, before: dict[str, bytes]) -> None:
    """Make a destination and its surroundings what they were."""
    parent = url.rpartition("/")[0]
    if url.startswith("memory://"):
        fs, root = fsspec.url_to_fs(parent)
        fs.rm(root, recursive=True)
    else:
        shutil.rmtree(parent)
    for key, data in before.items():
        folder(parent).write(key, data)


def interrupt(source: Path, url: str, **flags: bool) -> None:
    """Ingest half of a source; its hash is recorded even if it was not known so early."""

    def stop(done: int, total: int) -> None:
        if done >= total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cop_zarr.ingest(source, url, workers=1, progress=stop, **flags)
    place = folder(url)
    Journal(place, IngestJob.read(place)).set_source(hashlib.sha256(source.read_bytes()).hexdigest())


# What may be there

Make = Callable[[dict[str, Path], str], None]
STATES: dict[str, tuple[Make, State, str]] = {}
"""How a state is made, its class, and whether an ingest is done (+) or refused (-) with each of FLAGS."""


def state(found: State, outcomes: str) -> Callable[[Make], None]:
    def register(make: Make) -> None:
        STATES[make.__name__] = make, found, outcomes

    return register


@state(State.EMPTY, "++++")
def nothing(sources: dict[str, Path], url: str) -> None:
    pass


@state(State.STORE, "-+++")
def whole(sources: dict[str, Path], url: str) -> None:
    cop_zarr.ingest(sources["this"], url)


@state(State.STORE, "--++")
def whole_of_another(sources: dict[str, Path], url: str) -> None:
    cop_zarr.ingest(sources["other"], url)


@state(State.UNFINISHED, "-+++")
def unfinished(sources: dict[str, Path], url: str) -> None:
    interrupt(sources["this"], url)


@state(State.UNFINISHED, "--++")
def unfinished_of_another(sources: dict[str, Path], url: str) -> None:
    interrupt(sources["other"], url)


@state(State.UNFINISHED, "-+++")
def unfinished_over_a_store(sources: dict[str, Path], url: str) -> None:
    cop_zarr.ingest(sources["other"], url)
    interrupt(sources["this"], url, overwrite=True)


@state(State.UNFINISHED_BESIDE_STORE, "--++")
def unfinished_beside_a_store_that_came_later(sources: dict[str, Path], url: str) -> None:
    if url.startswith("memory://"):
        pytest.skip("the two are in one folder there")
    interrupt(sources["this"], url)
    cop_zarr.ingest(sources["other"], f"{url}.x")
    Path(f"{url}.x").rename(url)


@state(State.UNFINISHED, "-+++")
def unfinished_by_other_versions(sources: dict[str, Path], url: str) -> None:
    interrupt(sources["this"], url)
    place = folder(url)
    Journal(place, replace(IngestJob.read(place), made_by="cop-zarr 0.0.1"))._write_job()


@state(State.EMPTY, "++++")
def only_a_lock(sources: dict[str, Path], url: str) -> None:
    """What a process that was killed at once leaves."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    mark = {"token": "a", "machine": locks._machine(), "pid": process.pid}
    folder(url).work.write("ingest/lock", json.dumps(mark).encode())


@state(State.UNFINISHED, "-+++")
def only_a_job(sources: dict[str, Path], url: str) -> None:
    Journal(folder(url), IngestJob("2023-11-14T22:13:20+00:00", overwrite=False)).start()


@state(State.STORE, "--++")
def store_without_its_root(sources: dict[str, Path], url: str) -> None:
    """The copy shows that it is a store."""
    cop_zarr.ingest(sources["this"], url)
    folder(url).remove(["zarr.json"])


@state(State.STORE, "--++")
def damaged(sources: dict[str, Path], url: str) -> None:
    cop_zarr.ingest(sources["this"], url)
    place = folder(url)
    place.write("zarr.json", place.read("zarr.json").replace(b"CF-1.11", b"CF-1.12"))


@state(State.STORE, "--++")
def of_a_newer_format(sources: dict[str, Path], url: str) -> None:
    newer = {"attributes": {"cop_zarr": {"format": "cop-zarr", "version": 99}}}
    folder(url).write("zarr.json", json.dumps(newer).encode())


@state(State.STORE_AT_STAGING, "----")
def another_store_at_the_partial_name(sources: dict[str, Path], url: str) -> None:
    if url.startswith("memory://"):
        pytest.skip("there is no partial name")
    cop_zarr.ingest(sources["other"], f"{url}.partial")


FOREIGN = [
    ("nothing", "thesis.txt"),
    ("nothing", "zarr.json"),  # another Zarr group
    ("nothing", "STAGING/thesis.txt"),
    ("nothing", "ingest/thesis.txt"),  # in a folder that happens to have the journal's name
    ("nothing", "STAGING/ingest/thesis.txt"),
    ("whole", "embedding/notes.txt"),
    ("whole", "ingest/blocks/thesis.txt"),
    ("whole", "thesis.pdf.0123abcd.partial"),
    ("unfinished", "STAGING/embedding/notes.txt"),
    ("unfinished", "STAGING/store/notes.txt"),
]
"""States, and objects in them that no store has."""


@pytest.mark.parametrize("name", STATES)
def test_a_store_is_replaced_only_if_asked_to(
    sources: dict[str, Path], expected: dict[str, bytes], url: str, name: str
) -> None:
    make, found, outcomes = STATES[name]
    make(sources, url)
    before = around(url)
    assert classify(folder(url)) is found
    for (overwrite, resume), outcome in zip(FLAGS, outcomes, strict=True):
        flags = {"overwrite": overwrite, "resume": resume}
        if outcome == "+":
            cop_zarr.plan_ingest(sources["this"], url, **flags)
            assert around(url) == before
            cop_zarr.ingest(sources["this"], url, **flags)
            assert around(url) == {f"out.zarr/{key}": data for key, data in expected.items()}
            restore(url, before)
        else:
            with pytest.raises(StoreExistsError) as caught:
                cop_zarr.ingest(sources["this"], url, **flags)
            assert around(url) == before
            assert ("overwrite=True" if outcomes[2] == "+" else "another") in str(caught.value)


@pytest.mark.parametrize(("name", "key"), FOREIGN)
def test_what_no_store_has_is_never_touched(
    sources: dict[str, Path], url: str, name: str, key: str
) -> None:
    STATES[name][0](sources, url)
    place = folder(url).work if "STAGING" in key else folder(url)
    place.write(key.removeprefix("STAGING/"), b"{}")
    before = around(url)
    for overwrite, resume in FLAGS:
        with pytest.raises(StoreExistsError, match="another"):
            cop_zarr.ingest(sources["other"], url, overwrite=overwrite, resume=resume)
        assert around(url) == before


STRAYS = [
    ".DS_Store",
    "embedding/._0",
    "Thumbs.db",
    "valid/desktop.ini",
    ".nfs000000000001",
    "README.md",
    "LICENSE",
    "CITATION.cff",
    ".gitattributes",
    ".cache/huggingface/download/zarr.json.metadata",
]


@pytest.mark.parametrize("name", ["nothing", "whole_of_another", "unfinished_over_a_store"])
def test_what_other_programs_leave_is_no_obstacle_and_is_kept(
    sources: dict[str, Path], expected: dict[str, bytes], url: str, name: str
) -> None:
    STATES[name][0](sources, url)
    strays = [key for key in STRAYS if name != "nothing" or key.partition("/")[0] in {key, ".cache"}]
    for key in strays:
        folder(url).write(key, b"stray")
    folder(url).work.write(".DS_Store", b"stray")
    cop_zarr.ingest(sources["this"], url, overwrite=name != "nothing")
    assert objects(url) == expected | dict.fromkeys(strays, b"stray")
    report = cop_zarr.verify(url, sources["this"])
    assert (report.ok, report.foreign) == (True, sorted(strays))
    cop_zarr.ingest(sources["this"], url, resume=True)
    assert objects(url) == expected | dict.fromkeys(strays, b"stray")


@pytest.mark.parametrize(
    ("where", "kind"),
    [
        ("out.zarr", "file"),
        ("out.zarr", "theirs"),
        ("out.zarr", "theirs/a.txt"),
        ("out.zarr.partial", "file"),
        ("out.zarr.partial", "theirs"),
        ("out.zarr.partial", "nowhere"),
    ],
)
def test_what_is_no_folder_is_never_touched(
    sources: dict[str, Path], tmp_path: Path, where: str, kind: str
) -> None:
    """A file, or a link to a folder of somebody's, to a file, or to nothing."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "a.txt").write_text("mine")
    if kind == "file":
        (tmp_path / where).write_text("mine")
    else:
        (tmp_path / where).symlink_to(tmp_path / kind)
    for overwrite, resume in FLAGS:
        with pytest.raises((StoreExistsError, StorageError)):
            cop_zarr.ingest(sources["this"], tmp_path / "out.zarr", overwrite=overwrite, resume=resume)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([where, "theirs"])
    assert objects(tmp_path / "theirs") == {"a.txt": b"mine"}


def test_a_mount_point_is_refused() -> None:
    with pytest.raises(StorageError, match="mount"):
        check_destination(folder("/"), overwrite=True, resume=False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_in_a_store_is_not_ours(sources: dict[str, Path], tmp_path: Path, overwrite: bool) -> None:
    out = tmp_path / "out.zarr"
    cop_zarr.ingest(sources["this"], out)
    (tmp_path / "theirs").mkdir()
    (out / "mine").symlink_to(tmp_path / "theirs")
    with pytest.raises(StoreExistsError):
        cop_zarr.ingest(sources["other"], out, overwrite=overwrite)
    assert (out / "mine").is_symlink()


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_appears_meanwhile_is_not_lost(
    sources: dict[str, Path], tmp_path: Path, overwrite: bool
) -> None:
    out = tmp_path / "out.zarr"

    def interfere(done: int, total: int) -> None:
        out.mkdir(exist_ok=True)
        (out / "thesis.txt").write_text("mine")

    with pytest.raises(StoreExistsError):
        cop_zarr.ingest(sources["this"], out, overwrite=overwrite, progress=interfere)
    assert (out / "thesis.txt").read_text() == "mine"
