"""Folders on disks and object stores, URLs and copies. Networks that fail: tests/faults/test_retries.py."""

import contextlib
import errno
import fcntl
import importlib
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import fsspec
import pytest

from cop_zarr.errors import (
    AccessError,
    MissingDependencyError,
    SourceNotFoundError,
    StorageError,
    StoreBusyError,
    StoreExistsError,
    UnreachableError,
)
from cop_zarr.storage import (
    WORK,
    LocalFolder,
    check_absent,
    fetch,
    folder,
    local_path,
    redact,
    replacing,
)
from cop_zarr.storage import (
    download as copies,
)
from cop_zarr.storage import local as local_module
from tests.support.proxy import CutBody, Drop, Stall, Status, fault_proxy, hitting
from tests.support.servers import static_server


@pytest.fixture(params=["disk", "memory", "s3"])
def place(request, tmp_path):
    """An empty place, on a disk, in memory and on S3."""
    match request.param:
        case "disk":
            return folder(str(tmp_path / "place"))
        case "memory":
            return folder("memory://tests/place")
        case "s3":
            server = request.getfixturevalue("s3")
            return folder(server.place(), server.options, 10)


@pytest.fixture
def disk(tmp_path):
    """A place on a disk, a.zarr in an empty folder."""
    return LocalFolder(tmp_path / "a.zarr")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder, and the proxy of the web server that serves it."""
    where = tmp_path_factory.mktemp("site")
    (where / "a").write_bytes(b"hello")
    with static_server(where) as url, fault_proxy(url) as proxy:
        yield where, proxy


@pytest.fixture
def web(site):
    """The proxy of a web server that serves a file ``a``; it fails as its schedule says."""
    proxy = site[1]
    proxy.schedule = None
    proxy.reset_counts()
    yield proxy
    proxy.schedule = None


def inside(where):
    return sorted(path.relative_to(where).as_posix() for path in where.rglob("*"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("data/a.zarr", "data/a.zarr"),
        ("/data/me@home:secret/a.zarr", "/data/me@home:secret/a.zarr"),
        ("s3://AKIA:secret@bucket/a.zarr", "s3://bucket/a.zarr"),
        ("https://me:secret@example.org/a.zarr", "https://example.org/a.zarr"),
        ("https://me:se@cret@example.org:8080/a", "https://example.org:8080/a"),
        ("https://example.org/a?X-Amz-Signature=secret&b=c", "https://example.org/a"),
        ("https://example.org/a#token=secret", "https://example.org/a"),
        ("abfs://container@account.dfs.core.windows.net/a?sig=secret", None),
        ("simplecache::https://me:secret@example.org/a?t=secret", "simplecache::https://example.org/a"),
        ("zip://a.zarr::s3://me:secret@bucket/a.zip", "zip://a.zarr::s3://bucket/a.zip"),
        (
            "zip://a.zarr::simplecache::https://me:secret@h/a.zip",
            "zip://a.zarr::simplecache::https://h/a.zip",
        ),
        ("https://me:sec/secret@example.org/a", "https://…"),
        ("https://me:12/secret@example.org/a", "https://…"),
        ("https://me:12?secret@example.org/a", "https://…"),
        ("https://me@home.org:pass/secret@example.org/a", "https://…"),
        ("https://secret/x@example.org/a", "https://…"),
        ("https://cdn.example.org/me/repo@main/a", "https://cdn.example.org/me/repo@main/a"),
        ("hf://datasets/me/repo@main/a", "hf://datasets/me/repo@main/a"),
        ("https://me:secret@[::1]:8080/a", "https://[::1]:8080/a"),
        ("https://me:secret::x@example.org/a", "https://example.org/a"),
        ("https://me:x::secret@example.org/a", "https://example.org/a"),
        ("https://example.org/a?sig=secret::b", "https://example.org/a"),
        ("https://example.org/a?sig=b::secret", "https://example.org/a"),
        ("https://me:secret@ho℀st/a", "https://…"),
        ("zip://a.zarr::https://me:secret@[::1]/a.zip", "zip://a.zarr::https://[::1]/a.zip"),
        ("zip::simplecache::https://me:x::secret@h/a?b=::secret", "zip::simplecache::https://h/a"),
        ("me:secret@example.org::https://example.org/a", "…"),
        ("https:/me:secret@example.org/a", "https:…"),
        ("data/a::b.zarr", "data/a::b.zarr"),
    ],
)
def test_redact(url, shown):
    assert "secret" not in redact(url) or url.startswith(("data", "/data"))
    if shown is not None:
        assert redact(url) == shown


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("data/a.zarr", "data/a.zarr"),
        ("file:///data/a.zarr", "/data/a.zarr"),
        ("local:///data/a.zarr", "/data/a.zarr"),
        ("file://data/a.zarr", "data/a.zarr"),
        ("~/a.zarr", "~/a.zarr"),
        ("memory://a", None),
        ("zip://a::/data/a.zip", None),
        ("data/a::b.zarr", "data/a::b.zarr"),
    ],
)
def test_local_path(url, path):
    assert local_path(url) == (None if path is None else Path(path).expanduser())


def test_objects_come_back(place):
    objects = {"zarr.json": b"{}", "a/b/c": b"\x00\xff" * 1000, "a/b/d": b"", "e": b"e"}
    for key, data in objects.items():
        place.write(key, data)
    assert {key: place.read(key) for key in objects} == objects
    assert place.names() == ["a", "e", "zarr.json"]
    assert place.listing() == {key: len(data) for key, data in objects.items()}
    place.write("e", b"0123456789")
    assert [place.read("e", limit) for limit in (1, 10, 11)] == [b"0", b"0123456789", b"0123456789"]
    place.replace("e", b"new")
    place.replace("f", b"first")
    place.flush(["e", "f"])
    assert place.read("e") == b"new"
    assert place.read("f") == b"first"


def test_what_is_absent(place):
    assert place.names() == []
    assert place.listing() == {}
    for key in ("zarr.json", "a/b/c"):
        with pytest.raises(FileNotFoundError):
            place.read(key)
    place.write("a", b"")
    with pytest.raises(FileNotFoundError):
        place.read("a/b")


def test_removed_objects_are_gone_and_can_be_written_again(place):
    for key in ("a/b/c", "a/b/d", "a/e", "f"):
        place.write(key, b"1")
    place.remove(["a/b/c", "a/b/d", "nothing", "f"])
    assert place.listing() == {"a/e": 1}
    assert place.names() == ["a"]
    place.remove(["a/e"])
    assert place.names() == []
    place.write("a/b/c", b"2")
    assert place.read("a/b/c") == b"2"


def test_empty_folders_go_with_their_last_object(disk):
    disk.write("a/b/c", b"1")
    disk.write("a/d", b"1")
    disk.remove(["a/b/c"])
    assert inside(disk._root) == ["a", "a/d"]
    disk.remove(["a/d"])
    assert inside(disk._root) == []
    assert disk._root.is_dir()


def publish(place, objects):
    """Write a new content as an ingest does."""
    with place.locked():
        if place.staging is place:
            place.remove(key for key in place.listing() if not key.startswith(WORK))
        for key, data in objects.items():
            place.staging.write(key, data)
        place.publish(replace=True)
        place.remove_work(lambda key: key != "mine")


@pytest.mark.parametrize("old", [{}, {"zarr.json": b"old", "both": b"old", "old/1": b"old"}])
def test_published_content_is_all_there_is(place, old):
    for key, data in old.items():
        place.write(key, data)
    publish(place, {"a/b": b"1", "both": b"new", "zarr.json": b"{}"})
    assert place.listing() == {"a/b": 1, "both": 3, "zarr.json": 2}
    assert place.read("both") == b"new"


# Readers of what is replaced


def test_who_reads_while_it_is_replaced_sees_one_or_the_other(disk):
    contents = [bytes([number]) * (100_000 + 50_000 * number) for number in range(2)]
    disk.replace("a", contents[0])
    over, seen = threading.Event(), []

    def read():
        while not over.is_set():
            seen.append(disk.read("a"))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for number in range(60):
            disk.replace("a", contents[number % 2])
    finally:
        over.set()
        thread.join()
    assert set(seen) <= set(contents)
    assert seen
    assert inside(disk._root) == ["a"]


def fail(number):
    raise OSError(number, os.strerror(number))


# Claims


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_place_is_claimed_once_and_an_exception_gives_it_back(place, error):
    with pytest.raises(error), place.locked():
        with pytest.raises(StoreBusyError):
            place.locked().__enter__()
        raise error
    assert place.listing() == {}
    assert place.staging.names() == []
    with place.locked():
        pass


def test_a_place_is_claimed_until_who_published_there_has_tidied_up(disk):
    with disk.locked():
        disk.staging.write("zarr.json", b"1")
        disk.publish(replace=True)
        with pytest.raises(StoreBusyError):
            disk.locked().__enter__()
    assert inside(disk._root.parent) == ["a.zarr", "a.zarr/zarr.json"]


def test_the_claim_of_who_comes_next_is_left_alone(disk):
    """Someone has removed the lock; the lock that lies there now is another's."""
    with contextlib.ExitStack() as first:
        first.enter_context(disk.locked())
        (disk._root.parent / "a.zarr.partial.lock").unlink()
        with disk.locked():
            first.close()
            with pytest.raises(StoreBusyError):
                disk.locked().__enter__()


def test_a_killed_process_gives_its_claim_back(disk):
    hold = (
        "import sys, time; from pathlib import Path; from cop_zarr.storage import LocalFolder\n"
        "with LocalFolder(Path(sys.argv[1])).locked():\n    print(flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", hold, str(disk._root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with pytest.raises(StoreBusyError):
            disk.locked().__enter__()
        holder.kill()
        holder.wait()
        with disk.locked():
            pass
    assert inside(disk._root.parent) == []


def test_a_lock_is_not_put_where_a_link_leads(disk, tmp_path):
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "a.zarr.partial.lock").symlink_to("mine")
    with pytest.raises(StorageError):
        disk.locked().__enter__()
    assert inside(tmp_path) == ["a.zarr.partial.lock", "mine"]


# Publishing on a disk


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def exchanges(request, monkeypatch):
    """Whether the system can exchange two names."""
    if not request.param:
        monkeypatch.setattr(local_module, "exchange", lambda *_: False)
    return request.param


@pytest.mark.usefixtures("exchanges")
def test_what_is_not_the_old_store_s_is_kept(disk):
    disk.write("zarr.json", b"old")
    disk.write("embedding/c/0/0/0", b"old")
    with disk.locked():
        disk.staging.write("zarr.json", b"new")
        disk.write("mine", b"mine")
        disk.write("notes/mine", b"mine")
        (disk._root / "link").symlink_to("nowhere")
        disk.publish(replace=True)
        assert disk.listing() == {"zarr.json": 3}
        disk.staging.write("late/mine", b"late")  # by a program whose working folder it was
        disk.remove_work(lambda key: "mine" not in key and key != "link")
    assert disk.read("zarr.json") == b"new"
    assert disk.read("mine") == disk.read("notes/mine") == b"mine"
    assert disk.read("late/mine") == b"late"
    assert (disk._root / "link").is_symlink()
    assert inside(disk._root.parent) == [
        "a.zarr",
        *sorted(
            f"a.zarr/{name}"
            for name in ("late", "late/mine", "link", "mine", "notes", "notes/mine", "zarr.json")
        ),
    ]


def test_what_is_saved_twice_is_kept_twice(disk, caplog):
    disk.write("zarr.json", b"old")
    with disk.locked():
        disk.staging.write("zarr.json", b"new")
        disk.write("mine", b"1")
        disk.publish(replace=True)
        disk.write("mine", b"2")
        disk.remove_work(lambda key: key != "mine")
    assert (disk.read("mine"), disk.staging.read("mine")) == (b"2", b"1")
    assert disk.staging.url in caplog.text


def test_old_store_comes_back_if_the_new_cannot_take_its_place(disk, monkeypatch, exchanges):
    rename = Path.rename

    def failing(path, target):
        return fail(errno.ENOSPC) if path.name == "store" else rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    if exchanges:
        monkeypatch.setattr(local_module, "exchange", failing)
    disk.write("zarr.json", b"old")
    with pytest.raises(StorageError):
        publish(disk, {"zarr.json": b"new"})
    assert disk.read("zarr.json") == b"old"
    assert disk.staging.listing() == {"zarr.json": 3}


@pytest.mark.parametrize("moment", [0, 1, 2])
def test_a_kill_between_renames_loses_no_store(disk, monkeypatch, moment):
    """After the first, the old one comes back; after the others, the new one stays."""
    monkeypatch.setattr(local_module, "exchange", lambda *_: False)
    rename, renames = Path.rename, iter(range(9))
    monkeypatch.setattr(
        Path, "rename", lambda path, to: fail(errno.EIO) if next(renames) >= moment else rename(path, to)
    )
    disk.write("zarr.json", b"old")
    disk.staging.write("zarr.json", b"new")
    with pytest.raises(StorageError):
        disk.publish(replace=True)
    monkeypatch.undo()
    with disk.locked():
        new, old = (disk, disk.staging) if moment == 2 else (disk.staging, disk)
        assert (new.read("zarr.json"), old.read("zarr.json")) == (b"new", b"old")
    assert set(disk.work.listing()) == {"store/zarr.json"}


def test_a_store_that_became_a_link_is_not_replaced(disk, tmp_path):
    disk.staging.write("zarr.json", b"new")
    (tmp_path / "elsewhere").mkdir()
    disk._root.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreExistsError):
        disk.publish(replace=True)
    assert inside(tmp_path / "elsewhere") == []


def test_staging_through_a_link_replaces_what_it_leads_to(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "a.zarr").symlink_to(tmp_path / "disk/real.zarr")
    for content in (b"new", b"newer"):
        publish(LocalFolder(tmp_path / "a.zarr"), {"zarr.json": content})
        assert (tmp_path / "a.zarr").is_symlink()
        assert (tmp_path / "disk/real.zarr/zarr.json").read_bytes() == content
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["real.zarr"]


# Places that cannot be written


@pytest.mark.parametrize("write", ["write", "replace"])
@pytest.mark.parametrize("key", ["out/deep/er/a", "b/out/a"])
def test_a_link_that_leads_out_is_not_written_through(disk, tmp_path, write, key):
    (tmp_path / "elsewhere").mkdir()
    out = disk._root / key[: key.index("out") + 3]
    out.parent.mkdir(parents=True)
    out.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        getattr(disk, write)(key, b"1")
    assert [path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("target", ["real", "."])
def test_nothing_is_written_through_a_link_within_the_store(disk, target):
    """Through one to the store itself, an array's ``zarr.json`` would replace the store's."""
    disk.write("real/a", b"1")
    (disk._root / "link").symlink_to(target)
    for write in (disk.write, disk.replace):
        with pytest.raises(StorageError, match="link"):
            write("link/b", b"2")
    assert disk.listing() == {"real/a": 1, "link": len(target)}


@pytest.mark.parametrize("target", ["pipe", "folder", "/dev/zero", "/dev/null", "a"])
def test_what_is_no_object_counts_as_absent_and_holds_nobody_up(disk, target):
    disk.write("b", b"1")
    path = disk._root / "a"
    if target == "pipe":
        os.mkfifo(path)
    elif target == "folder":
        path.mkdir()
    else:
        path.symlink_to(target)
    with pytest.raises(FileNotFoundError):
        disk.read("a")
    assert disk.read("b") == b"1"
    assert "a" in disk.names()


@pytest.mark.parametrize(
    ("operation", "patched", "number"),
    [
        (lambda disk: disk.read("a"), (os, "open"), errno.EACCES),
        (lambda disk: disk.read("a"), (os, "open"), errno.EIO),
        (lambda disk: disk.write("a", b"new"), (Path, "write_bytes"), errno.ENOSPC),
        (lambda disk: disk.replace("a", b"new"), (Path, "write_bytes"), errno.ENOSPC),
        (lambda disk: disk.replace("a", b"new"), (os, "fsync"), errno.ENOSPC),
        (lambda disk: disk.listing(), (os, "scandir"), errno.EACCES),
    ],
)
def test_errors_of_a_disk(disk, monkeypatch, operation, patched, number):
    disk.write("a", b"old")
    with monkeypatch.context() as patch, pytest.raises(StorageError, match=os.strerror(number)) as error:
        patch.setattr(*patched, lambda *_: fail(number))
        operation(disk)
    assert type(error.value) is (AccessError if number == errno.EACCES else StorageError)
    assert disk.read("a") == b"old"
    assert inside(disk._root) == ["a"]


def test_a_locked_folder_is_pickled(s3):
    place = folder(s3.place(), s3.options, 10)
    with place.locked():
        pickle.loads(pickle.dumps(place)).write("a", b"1")
    assert place.read("a") == b"1"


# Places that cannot be opened


@pytest.mark.parametrize(
    ("url", "module", "package"),
    [
        ("s3a://bucket/a.zarr", "s3fs", "s3fs>="),
        ("gs://bucket/a.zarr", "gcsfs", "gcsfs>="),
        ("https://example.org/a.zarr", "fsspec.implementations.http", r"fsspec\[http\]"),
    ],
)
def test_missing_package_is_named(monkeypatch, url, module, package):
    loaded = importlib.import_module("fsspec.registry")._registry  # what other tests have imported
    monkeypatch.delitem(loaded, url.partition("://")[0], raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=f"pip install '{package}"):
        folder(url)


def test_a_new_file_replaces_the_old_one_when_it_is_whole(tmp_path):
    path, other = tmp_path / "a.npy", tmp_path / "a.npy.partial"
    path.write_text("old")
    other.write_text("somebody else's")
    with pytest.raises(ValueError, match="halfway"), replacing(path) as partial:
        partial.write_text("ne")
        raise ValueError("halfway")
    assert path.read_text() == "old"
    with replacing(path) as partial, replacing(path) as second:
        partial.write_text("one")
        second.write_text("two")
    assert path.read_text() == "one"  # its context is left last
    assert other.read_text() == "somebody else's"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_new_folder_replaces_the_old_one_when_it_is_whole(tmp_path, monkeypatch, can_exchange):
    if not can_exchange:
        monkeypatch.setattr("cop_zarr.storage.files.exchange", lambda *_: False)
    path = tmp_path / "a.zarr"
    for text in ("first", "second"):
        with replacing(path) as partial:
            (partial / "c").mkdir(parents=True)
            (partial / "c/0").write_text(text)
        assert (path / "c/0").read_text() == text
    with pytest.raises(KeyboardInterrupt), replacing(path) as partial:
        partial.mkdir()
        raise KeyboardInterrupt
    with pytest.raises(StorageError), replacing(path) as partial:
        partial.write_text("a file in the place of a folder")
    assert (path / "c/0").read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]


# The web


def test_a_web_server_can_only_be_read(web):
    place = folder(web.url)
    assert place.listing() is None
    assert place.names() == []
    assert web.requests == []
    assert (place.read("a"), place.read("a", 2)) == (b"hello", b"he")
    with pytest.raises(FileNotFoundError):
        place.read("b")
    with pytest.raises(StorageError):
        place.write("a", b"")
    with pytest.raises(StorageError):
        place.remove(["a"])


# Copies

COPIED = bytes(range(256)) * 400
BLOCK = 10_000


@pytest.fixture
def copied(site, web, monkeypatch):
    """The URL of a file of ten blocks and a bit."""
    monkeypatch.setattr(copies, "COPY_BYTES", BLOCK)
    (site[0] / "big").write_bytes(COPIED)
    return f"{web.url}/big"


def test_a_copy_is_whole(copied, web, tmp_path):
    told = []
    fetch(copied, tmp_path / "copy", progress=lambda *what: told.append(what))
    assert (tmp_path / "copy").read_bytes() == COPIED
    assert told[-1] == (len(COPIED), len(COPIED))
    assert len(told) == len(COPIED) // BLOCK + 1


def after(number, fault, times):
    """Hit this many requests for content, after so many others."""
    left = iter(range(number)), iter(range(times))

    def schedule(_, method, path):
        if method != "GET" or next(left[0], None) is not None:
            return None
        return fault if next(left[1], None) is not None else None

    return schedule


@pytest.mark.parametrize("fault", [Drop(), CutBody(), Status(503)], ids=str)
def test_a_broken_copy_is_taken_up_where_it_stopped(copied, web, tmp_path, fault):
    web.schedule = after(3, fault, 4)
    fetch(copied, tmp_path / "copy", timeout=30)
    assert (tmp_path / "copy").read_bytes() == COPIED
    whole = len(COPIED) // BLOCK + 1
    assert len(web.asked("GET")) <= whole + 6  # not from its beginning


@pytest.mark.usefixtures("no_pauses")
def test_a_copy_without_progress_is_given_up_and_the_next_goes_on(copied, web, tmp_path):
    web.schedule = after(4, Drop(), 10_000)
    with pytest.raises(StorageError):
        fetch(copied, tmp_path / "copy")
    kept = (tmp_path / "copy").stat().st_size
    assert kept >= 2 * BLOCK
    assert (tmp_path / "copy").read_bytes() == COPIED[:kept]
    web.schedule = None
    web.reset_counts()
    fetch(copied, tmp_path / "copy", timeout=30)
    assert (tmp_path / "copy").read_bytes() == COPIED
    assert len(web.asked("GET")) <= (len(COPIED) - kept) // BLOCK + 2


@pytest.mark.slow
def test_progress_starts_the_timeout_anew(copied, web, tmp_path):
    """Each second answer fails, and all of them together take longer than the timeout."""
    web.latency = 0.5
    web.schedule = lambda *_: Status(503) if len(web.asked("GET")) % 2 else None
    try:
        fetch(copied, tmp_path / "copy", timeout=6)
    finally:
        web.latency = 0
    assert (tmp_path / "copy").read_bytes() == COPIED


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(
    ("name", "fault", "error"),
    [
        ("a", Status(403), AccessError),
        ("a", Status(401), AccessError),
        ("a", Status(500), UnreachableError),
        ("a", Status(400), StorageError),
        ("a", Stall(), UnreachableError),
        ("b", None, SourceNotFoundError),
    ],
)
def test_a_copy_that_fails(web, tmp_path, name, fault, error):
    """fsspec raises FileNotFoundError for any status; only 404 means that the file is not there."""
    web.schedule = hitting(fault) if fault else None
    with pytest.raises(error) as got:
        url = f"{web.url.replace('://', '://me:secret@')}/{name}"
        fetch(url, tmp_path / "copy", timeout=0.5 if fault == Stall() else 60)
    assert type(got.value) is error
    assert "secret" not in str(got.value)


def test_a_copy_from_a_host_that_is_not_there(tmp_path):
    """What led to fsspec's FileNotFoundError says why."""
    with pytest.raises(StorageError, match="no host"):
        fetch("http://nowhere.invalid/a", tmp_path / "copy")


def test_a_full_disk_is_told_by_a_copy(copied):
    with pytest.raises(StorageError, match="space"):
        fetch(copied, Path("/dev/full"))


def test_two_copies_into_one_file_do_not_mix(tmp_path):
    fsspec.filesystem("memory").pipe_file("/fetch/a.tif", b"1234")
    with (tmp_path / "a.tif").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StorageError):
            fetch("memory://fetch/a.tif", tmp_path / "a.tif")
    fetch("memory://fetch/a.tif", tmp_path / "a.tif")
    assert (tmp_path / "a.tif").read_bytes() == b"1234"


def test_a_file_that_exists_is_refused(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(StoreExistsError, match="overwrite=True"):
        check_absent(tmp_path / "a", overwrite=False)
    check_absent(tmp_path / "a", overwrite=True)
    check_absent(tmp_path / "b", overwrite=False)
    with pytest.raises(StorageError):
        check_absent(tmp_path / ("a" * 300), overwrite=True)
