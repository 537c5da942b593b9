"""Disks and object stores. What goes wrong on the way there: test_faults.py."""

import contextlib
import errno
import fcntl
import importlib
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import fsspec
import pytest

from cop_zarr.errors import (
    AccessError,
    InputError,
    MissingDependencyError,
    SourceNotFoundError,
    StorageError,
    StoreBusyError,
    StoreExistsError,
)
from cop_zarr.storage import (
    LOCK,
    WORK,
    LocalFolder,
    RemoteFolder,
    check_absent,
    fetch,
    folder,
    leases,
    local_file,
    local_path,
    redact,
    replacing,
)
from cop_zarr.storage import (
    download as copies,
)
from cop_zarr.storage import local as local_module
from tests.support.proxy import CutBody, Drop, Stall, Status, fault_proxy, hitting
from tests.support.servers import s3_server, static_server


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    """Who asks for a lease that somebody else holds waits for a beat."""
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.2)


@pytest.fixture
def memory():
    """The URL of a place in fsspec's memory filesystem."""
    yield "memory://tests/place"
    with contextlib.suppress(FileNotFoundError):
        fsspec.filesystem("memory").rm("/tests", recursive=True)


@pytest.fixture(scope="module")
def s3():
    with s3_server() as server:
        yield server


@pytest.fixture(params=["disk", "memory", "s3"])
def place(request, tmp_path):
    """An empty place, on a disk, in memory and on S3."""
    match request.param:
        case "disk":
            return folder(str(tmp_path / "place"))
        case "memory":
            return folder(request.getfixturevalue("memory"))
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
        ("file:///data/a.zarr", "file:///data/a.zarr"),
        ("s3://bucket/a.zarr", "s3://bucket/a.zarr"),
        ("s3://AKIA:secret@bucket/a.zarr", "s3://bucket/a.zarr"),
        ("https://me:secret@example.org/a.zarr", "https://example.org/a.zarr"),
        ("https://me:se@cret@example.org:8080/a", "https://example.org:8080/a"),
        ("https://secret@example.org/a", "https://example.org/a"),
        ("https://example.org/a?X-Amz-Signature=secret&b=c", "https://example.org/a"),
        ("https://example.org/a#token=secret", "https://example.org/a"),
        ("abfs://container@account.dfs.core.windows.net/a?sig=secret", None),
        ("simplecache::https://me:secret@example.org/a?t=secret", "simplecache::https://example.org/a"),
        ("zip://a.zarr::s3://me:secret@bucket/a.zip", "zip://a.zarr::s3://bucket/a.zip"),
        (
            "zip://a.zarr::simplecache::https://me:secret@h/a.zip",
            "zip://a.zarr::simplecache::https://h/a.zip",
        ),
        ("memory://a", "memory://a"),
        ("https://me:sec/secret@example.org/a", "https://…"),
        ("s3://AKIA:abc/secret@bucket/a.zarr", "s3://…"),
    ],
)
def test_redact(url, shown):
    assert "secret" not in redact(url) or "://" not in url
    if shown is not None:
        assert redact(url) == shown


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("data/a.zarr", "data/a.zarr"),
        ("/data/a.zarr", "/data/a.zarr"),
        ("file:///data/a.zarr", "/data/a.zarr"),
        ("local:///data/a.zarr", "/data/a.zarr"),
        ("file://data/a.zarr", "data/a.zarr"),
        ("memory://a", None),
        ("s3://bucket/a", None),
        ("zip://a::/data/a.zip", None),
    ],
)
def test_local_path(url, path):
    assert local_path(url) == (None if path is None else Path(path))


def test_opening_a_place_touches_nothing(tmp_path, memory):
    folder(str(tmp_path / "a/b"))
    folder(memory)
    assert list(tmp_path.iterdir()) == []
    assert not fsspec.filesystem("memory").exists("/tests")


def test_objects_come_back(place):
    objects = {"zarr.json": b"{}", "a/b/c": b"\x00\xff" * 1000, "a/b/d": b"", "e": b"e"}
    for key, data in objects.items():
        place.write(key, data)
    assert {key: place.read(key) for key in objects} == objects
    assert place.names() == ["a", "e", "zarr.json"]
    assert place.listing() == {key: len(data) for key, data in objects.items()}
    place.write("e", b"other")
    assert place.read("e") == b"other"


def test_what_is_absent(place):
    assert place.names() == []
    assert place.listing() == {}
    for key in ("zarr.json", "a/b/c"):
        with pytest.raises(FileNotFoundError, match=re.escape(f"{place.url}/{key}")):
            place.read(key)
    place.write("a", b"")
    with pytest.raises(FileNotFoundError):
        place.read("a/b")


@pytest.mark.parametrize("limit", [1, 9, 10, 11, 1000])
def test_no_more_is_read_than_asked_for(place, limit):
    place.write("a", b"0123456789")
    assert place.read("a", limit) == b"0123456789"[:limit]


def test_an_object_is_replaced(place):
    place.write("a/b", b"old and long")
    place.replace("a/b", b"new")
    place.replace("c", b"first")
    place.flush(["a/b", "c"])
    assert place.listing() == {"a/b": 3, "c": 5}
    assert place.read("a/b") == b"new"


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
    place.remove_work()


@pytest.mark.parametrize("old", [{}, {"zarr.json": b"old", "both": b"old", "old/1": b"old"}])
def test_published_content_is_all_there_is(place, old):
    for key, data in old.items():
        place.write(key, data)
    publish(place, {"a/b": b"1", "both": b"new", "zarr.json": b"{}"})
    assert place.listing() == {"a/b": 1, "both": 3, "zarr.json": 2}
    assert place.read("both") == b"new"


def test_work_is_swept(place):
    for key in ("a", f"{WORK}journal", f"{WORK}deep/er"):
        place.write(key, b"1")
    place.remove_work()
    assert place.names() == ["a"]
    place.remove_work()


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
    assert len(seen) > 10
    assert inside(disk._root) == ["a"]


def test_replacing_that_fails_leaves_the_old(disk, monkeypatch):
    disk.replace("a", b"old")
    monkeypatch.setattr(os, "fsync", lambda _: fail(errno.ENOSPC))
    with pytest.raises(StorageError, match=r"cannot write .*No space left on device"):
        disk.replace("a", b"new")
    assert disk.read("a") == b"old"
    assert inside(disk._root) == ["a"]


def fail(number):
    raise OSError(number, os.strerror(number))


# Claims

CLAIM = """
import sys, time
from pathlib import Path
from cop_zarr.storage import LocalFolder

place = LocalFolder(Path(sys.argv[1]))
with place.locked():
    if "write" in sys.argv:
        place.staging.write("a/b", b"1")
    print("claimed", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def claiming(place, *options):
    """Have another process claim a place; it gives it back when its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(place._root), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "claimed\n"
            yield process
        finally:
            process.kill()


def refused(place):
    with (
        pytest.raises(StoreBusyError, match="another ingest, repair or batch is writing to"),
        place.locked(),
    ):
        pytest.fail("two would write there")


def test_a_place_is_claimed_by_one_process(disk):
    with claiming(disk, "write") as other:
        refused(disk)
        assert disk.staging.read("a/b") == b"1"
        other.stdin.close()
        assert other.wait() == 0
    assert list(disk.staging.listing()) == ["a/b"]
    with disk.locked():
        assert disk.staging.read("a/b") == b"1"


def test_a_place_is_claimed_by_one_thread(place):
    results = []

    def claim():
        try:
            with place.locked():
                results.append("claimed")
        except StoreBusyError:
            results.append("refused")

    with place.locked():
        thread = threading.Thread(target=claim)
        thread.start()
        thread.join()
    claim()
    assert results == ["refused", "claimed"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_exception_gives_the_claim_back_and_leaves_nothing(place, error):
    with pytest.raises(error), place.locked():
        raise error
    assert place.listing() == {}
    assert place.staging.names() == []
    with place.locked():
        pass


def test_a_claim_leaves_nothing_behind(disk, tmp_path):
    with disk.locked():
        assert inside(tmp_path) == ["a.zarr.partial", "a.zarr.partial/ingest", f"a.zarr.partial/{LOCK}"]
    assert inside(tmp_path) == []


def test_what_was_written_stays_to_go_on_with(disk, tmp_path):
    disk.write("zarr.json", b"old")
    with pytest.raises(ValueError, match="halfway"), disk.locked():
        disk.staging.write("a/b", b"1")
        raise ValueError("halfway")
    assert inside(tmp_path) == [
        "a.zarr",
        "a.zarr.partial",
        "a.zarr.partial/a",
        "a.zarr.partial/a/b",
        "a.zarr/zarr.json",
    ]
    assert disk.read("zarr.json") == b"old"


def test_staged_on_a_disk_is_not_visible_before_its_end(tmp_path):
    place = LocalFolder(tmp_path / "deep/er/a.zarr")
    with place.locked():
        place.staging.write("zarr.json", b"new")
        assert place.names() == []
        place.publish(replace=True)
        assert place.read("zarr.json") == b"new"
    place.remove_work()
    assert inside(tmp_path) == ["deep", "deep/er", "deep/er/a.zarr", "deep/er/a.zarr/zarr.json"]


def test_the_claim_of_who_comes_next_is_left_alone(disk):
    """A published claim's lock has moved along; the lock that lies there now is another's."""
    with contextlib.ExitStack() as first:
        first.enter_context(disk.locked())
        disk.staging.write("zarr.json", b"1")
        disk.publish(replace=True)
        with disk.locked():
            first.close()
            refused(disk)


# Publishing on a disk


@pytest.mark.parametrize("there", [True, False], ids=["replacing", "new"])
def test_somebody_s_folder_beside_it_is_left_alone(disk, tmp_path, there):
    """A backup by the name of a.zarr.old is nobody's to remove."""
    backup = LocalFolder(tmp_path / "a.zarr.old")
    backup.write("zarr.json", b"precious")
    if there:
        disk.write("zarr.json", b"old")
    publish(disk, {"zarr.json": b"new"})
    assert disk.read("zarr.json") == b"new"
    assert backup.read("zarr.json") == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "a.zarr.old"]


def failing_rename(monkeypatch, error):
    """Have the second rename of a publication fail."""
    rename = Path.rename

    def failing(self, target):
        if self.name == "a.zarr.partial":
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)


def test_old_store_comes_back_if_the_new_cannot_take_its_place(disk, tmp_path, monkeypatch):
    disk.write("zarr.json", b"old")
    failing_rename(monkeypatch, OSError(28, "No space left on device"))
    with pytest.raises(StorageError, match=r"cannot move .*No space left"):
        publish(disk, {"zarr.json": b"new"})
    assert disk.read("zarr.json") == b"old"
    assert disk.staging.listing() == {"zarr.json": 3}


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours runs after it."""


def test_old_store_comes_back_after_a_kill_between_the_renames(disk, tmp_path, monkeypatch):
    disk.write("zarr.json", b"old")
    with monkeypatch.context() as patch:
        failing_rename(patch, Killed())
        with pytest.raises(Killed):
            publish(disk, {"zarr.json": b"new"})
    assert disk.names() == []
    with disk.locked():
        assert disk.read("zarr.json") == b"old"
    assert disk.listing() == {"zarr.json": 3}
    publish(disk, {"zarr.json": b"newer"})
    assert disk.read("zarr.json") == b"newer"
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_a_store_that_is_there_is_not_brought_back_over(disk):
    """What an earlier kill has left aside is old when a store lies in its place."""
    disk.write("zarr.json", b"new")
    disk.staging.write(f"{local_module.REPLACED}/zarr.json", b"older")
    with disk.locked():
        assert disk.read("zarr.json") == b"new"
    publish(disk, {"zarr.json": b"newer"})
    assert disk.listing() == {"zarr.json": 5}


def test_staging_through_a_link_replaces_what_it_leads_to(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "a.zarr").symlink_to(tmp_path / "disk/real.zarr")
    for content in (b"new", b"newer"):
        publish(LocalFolder(tmp_path / "a.zarr"), {"zarr.json": content})
        assert (tmp_path / "a.zarr").is_symlink()
        assert (tmp_path / "disk/real.zarr/zarr.json").read_bytes() == content
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["real.zarr"]


# Places that cannot be written


@pytest.mark.parametrize("url", ["http://h/a.zarr", "https://me:secret@h/a.zarr", "zip"])
def test_places_that_can_only_be_read(url, tmp_path):
    if url == "zip":
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("a.zarr/zarr.json", b"{}")
        url = f"zip://a.zarr::file://{tmp_path}/a.zip"
    place = folder(url)
    for refusing in (place.check_writable, place.locked().__enter__):
        with pytest.raises(InputError, match=r"cannot be written: .*:// URLs can only be read") as error:
            refusing()
        assert "secret" not in str(error.value)


def test_a_mount_point_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "is_mount", lambda _: True)
    with pytest.raises(StorageError, match="name a folder inside it"), LocalFolder(tmp_path).locked():
        pytest.fail("it was claimed")
    assert list(tmp_path.parent.glob("*.partial")) == []


@pytest.mark.parametrize("kind", ["link", "dangling link", "file"])
def test_what_is_in_the_way_is_refused_and_left_alone(disk, tmp_path, kind):
    partial = tmp_path / "a.zarr.partial"
    (tmp_path / "elsewhere").mkdir()
    if kind == "file":
        partial.write_bytes(b"1")
    else:
        partial.symlink_to(tmp_path / ("elsewhere" if kind == "link" else "nowhere"))
    before = inside(tmp_path)
    with pytest.raises(StoreExistsError, match=r"a\.zarr\.partial is in the way"), disk.locked():
        pytest.fail("it was claimed")
    assert inside(tmp_path) == before


def test_a_lock_that_is_a_link_is_not_followed(disk, tmp_path):
    (tmp_path / "a.zarr.partial/ingest").mkdir(parents=True)
    (tmp_path / "a.zarr.partial" / LOCK).symlink_to(tmp_path / "victim")
    with pytest.raises(StorageError, match="cannot create"), disk.locked():
        pytest.fail("it was claimed")
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("write", ["write", "replace"])
@pytest.mark.parametrize("key", ["out/a", "out/deep/er/a", "b/out/a"])
def test_a_link_that_leads_out_is_not_written_through(disk, tmp_path, write, key):
    (tmp_path / "elsewhere").mkdir()
    out = disk._root / key[: key.index("out") + 3]
    out.parent.mkdir(parents=True)
    out.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="leads out of"):
        getattr(disk, write)(key, b"1")
    assert [path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()] == []


def test_a_link_within_the_store_is_written_through(disk):
    disk.write("real/a", b"1")
    (disk._root / "link").symlink_to("real")
    disk.write("link/b", b"2")
    assert disk.read("real/b") == b"2"


@pytest.mark.parametrize("kind", ["pipe", "folder", "zeros", "socket link", "loop"])
def test_what_is_no_object_counts_as_absent_and_holds_nobody_up(disk, kind):
    disk.write("b", b"1")
    path = disk._root / "a"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "zeros":
            path.symlink_to("/dev/zero")
        case "socket link":
            path.symlink_to("/dev/null")
        case "loop":
            path.symlink_to("a")
    with pytest.raises((FileNotFoundError, StorageError)) as error:
        disk.read("a")
    assert (type(error.value) is FileNotFoundError) == (kind != "loop")
    assert disk.read("b") == b"1"
    assert "a" in disk.names()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*")
    place = LocalFolder(tmp_path / "a.tif")
    with pytest.raises(StorageError, match=r"a\.tif is not a folder"):
        place.names()
    with pytest.raises(FileNotFoundError):
        place.read("zarr.json")
    with pytest.raises(StorageError, match="cannot write"):
        place.write("zarr.json", b"")


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EACCES, AccessError), (errno.EIO, StorageError), (errno.EMFILE, StorageError)],
)
def test_what_a_disk_says_is_told(disk, monkeypatch, number, kind):
    disk.write("a", b"1")
    monkeypatch.setattr(os, "open", lambda *_: fail(number))
    with pytest.raises(StorageError, match=f"cannot read .*/a: {os.strerror(number)}") as error:
        disk.read("a")
    assert type(error.value) is kind


def test_full_disk_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_bytes", lambda *_: fail(errno.ENOSPC))
    for write in ("write", "replace"):
        with pytest.raises(StorageError, match=r"cannot write .*zarr\.json: No space left on device"):
            getattr(LocalFolder(tmp_path / "a.zarr"), write)("zarr.json", b"")


def test_relative_places_stay_where_they_were(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = LocalFolder(Path("a.zarr"))
    place.write("a", b"1")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert place.read("a") == b"1"
    assert place.url == "a.zarr"


# Other processes


@pytest.mark.parametrize("place", ["disk", "s3"], indirect=True)
def test_a_folder_goes_to_other_processes(place):
    place.write("a", b"1")
    with place.locked():
        copied = pickle.loads(pickle.dumps(place))
        assert copied.read("a") == b"1"
    copied.write("b", b"2")
    assert place.read("b") == b"2"
    assert copied.url == place.url


def read_after_fork(place, key):
    """What a forked child reads; the fork inherits a filesystem whose thread is not there."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            signal.alarm(15)
            os.write(writing, place.read(key))
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:  # noqa: PTH123  # a descriptor
        data = answer.read()
    os.waitpid(child, 0)
    return data


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("place", ["disk", "s3"], indirect=True)
def test_a_folder_is_used_after_a_fork(place):
    place.write("a", b"1")
    assert place.read("a") == b"1"
    assert read_after_fork(place, "a") == b"1"
    assert place.read("a") == b"1"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_web_is_read_after_a_fork(web):
    place = folder(web.url)
    assert place.read("a") == b"hello"
    assert read_after_fork(place, "a") == b"hello"
    assert pickle.loads(pickle.dumps(place)).read("a") == b"hello"


# Places that cannot be opened


def test_unknown_protocol_hides_the_secret():
    with pytest.raises(InputError, match="Protocol not known") as error:
        folder("nonsense://me:secret@bucket/a.zarr")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "modules", "advice"),
    [
        ("s3://bucket/a.zarr", ["s3fs"], 'pip install "cop-zarr[s3]"'),
        ("s3a://bucket/a.zarr", ["s3fs"], 'pip install "cop-zarr[s3]"'),
        ("gs://bucket/a.zarr", ["gcsfs"], 'pip install "cop-zarr[gcs]"'),
        ("gcs://bucket/a.zarr", ["gcsfs"], 'pip install "cop-zarr[gcs]"'),
        ("https://example.org/a.zarr", ["aiohttp", "fsspec.implementations.http"], '"cop-zarr[http]"'),
        ("http://example.org/a.zarr", ["aiohttp", "fsspec.implementations.http"], '"cop-zarr[http]"'),
    ],
)
def test_missing_package_is_named(monkeypatch, url, modules, advice):
    loaded = importlib.import_module("fsspec.registry")._registry  # what other tests have imported
    monkeypatch.delitem(loaded, url.partition("://")[0], raising=False)
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match="not installed") as error:
        folder(url)
    assert advice in str(error.value)
    assert isinstance(error.value, ImportError)


def test_query_string_is_refused():
    """It would have to follow each object's name."""
    with pytest.raises(InputError, match=r"leave out what follows https://h/a\.zarr, and pass") as error:
        folder("https://h/a.zarr?sig=secret")
    assert "secret" not in str(error.value)


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    scandir = os.scandir

    def deny(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(StorageError, match=r"cannot list .*b: Permission denied"):
        list(LocalFolder(tmp_path / "a").listing())


def test_the_home_folder_is_known(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path("~/a.zarr") == tmp_path / "a.zarr"


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


# The web


def test_http_reads(web):
    place = folder(web.url)
    assert isinstance(place, RemoteFolder)
    assert place.read("a") == b"hello"
    assert place.read("a", 2) == b"he"
    with pytest.raises(FileNotFoundError):
        place.read("b")


def test_http_cannot_be_listed(web):
    place = folder(web.url)
    assert place.listing() is None
    assert place.names() == []
    assert web.requests == []


def test_http_cannot_be_written(web):
    with pytest.raises(StorageError, match=r"cannot write http.*/a: ClientResponseError, status 405"):
        folder(web.url).write("a", b"")
    with pytest.raises(StorageError, match=r"does not support"):
        folder(web.url).remove(["a"])


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


def test_a_copy_without_progress_is_given_up_and_the_next_goes_on(copied, web, tmp_path):
    web.schedule = after(4, Drop(), 10_000)
    with pytest.raises(StorageError, match=r"cannot copy http.* to .*: \w*(Disconnected|Timeout)\w*"):
        fetch(copied, tmp_path / "copy", timeout=1)
    kept = (tmp_path / "copy").stat().st_size
    assert kept >= 2 * BLOCK
    assert (tmp_path / "copy").read_bytes() == COPIED[:kept]
    web.schedule = None
    web.reset_counts()
    fetch(copied, tmp_path / "copy", timeout=30)
    assert (tmp_path / "copy").read_bytes() == COPIED
    assert len(web.asked("GET")) <= (len(COPIED) - kept) // BLOCK + 2


def test_progress_starts_the_timeout_anew(copied, web, tmp_path):
    """Each second answer fails, and all of them together take longer than the timeout."""
    web.latency = 0.15
    web.schedule = lambda *_: Status(503) if len(web.asked("GET")) % 2 else None
    try:
        fetch(copied, tmp_path / "copy", timeout=2)
    finally:
        web.latency = 0
    assert (tmp_path / "copy").read_bytes() == COPIED


@pytest.mark.parametrize(
    ("status", "told"),
    [(403, "access denied"), (401, "access denied"), (500, r"(status 500|Timeout)"), (400, "status 400")],
)
def test_source_that_cannot_be_had_is_not_called_absent(web, tmp_path, status, told):
    """fsspec raises FileNotFoundError for any of these; only 404 means that the file is not there."""
    web.schedule = hitting(Status(status))
    with pytest.raises(StorageError, match=f"cannot copy http://.* to .*: .*{told}") as error:
        fetch(f"{web.url.replace('://', '://me:secret@')}/a", tmp_path / "copy", timeout=0.5)
    assert "secret" not in str(error.value)
    assert isinstance(error.value, AccessError) == (status in {401, 403})


def test_source_that_is_not_there(web, tmp_path):
    with pytest.raises(SourceNotFoundError, match=r"there is no file http://.*/b$"):
        fetch(f"{web.url}/b", tmp_path / "b")
    with pytest.raises(StorageError, match="ClientConnectorError"):
        fetch("http://127.0.0.1:9/a", tmp_path / "c")


def test_a_copy_that_hangs_is_given_up(copied, web, tmp_path):
    web.schedule = hitting(Stall(), methods=["GET"])
    start = time.monotonic()
    with pytest.raises(StorageError):
        fetch(copied, tmp_path / "copy", timeout=0.5)
    assert time.monotonic() - start < 10


def test_a_full_disk_is_told_by_a_copy(copied, tmp_path):
    with pytest.raises(StorageError, match=r"/dev/full: No space left on device"):
        fetch(copied, Path("/dev/full"), timeout=5)


def test_a_remote_file_is_local_for_a_while(copied):
    with local_file(copied) as path:
        assert path.read_bytes() == COPIED
    assert not path.parent.exists()


def test_two_copies_into_one_file_do_not_mix(tmp_path):
    fsspec.filesystem("memory").pipe_file("/fetch/a.tif", b"1234")
    with (tmp_path / "a.tif").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="another process is copying into it"):
            fetch("memory://fetch/a.tif", tmp_path / "a.tif")
    fetch("memory://fetch/a.tif", tmp_path / "a.tif")
    assert (tmp_path / "a.tif").read_bytes() == b"1234"


def test_a_file_that_exists_is_refused(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(StoreExistsError, match="--overwrite"):
        check_absent(tmp_path / "a", overwrite=False)
    check_absent(tmp_path / "a", overwrite=True)
    check_absent(tmp_path / "b", overwrite=False)
    with pytest.raises(StorageError, match="File name too long"):
        check_absent(tmp_path / ("a" * 300), overwrite=True)
