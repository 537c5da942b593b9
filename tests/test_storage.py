"""The one door to disks and object stores."""

import contextlib
import fcntl
import http.server
import importlib
import os
import re
import sys
import threading
from pathlib import Path

import fsspec
import pytest

from cop_zarr.errors import (
    CopZarrError,
    InputError,
    MissingDependencyError,
    SourceNotFoundError,
    StorageError,
    StoreExistsError,
)
from cop_zarr.storage import LocalFolder, RemoteFolder, fetch, folder, local_path, redact, replacing


@pytest.fixture
def memory():
    """The URL of a place in fsspec's memory filesystem."""
    yield "memory://tests/place"
    with contextlib.suppress(FileNotFoundError):
        fsspec.filesystem("memory").rm("/tests", recursive=True)


@pytest.fixture(params=["disk", "memory"])
def place(request, tmp_path, memory):
    """An empty place, on a disk and in memory."""
    return folder(str(tmp_path / "place") if request.param == "disk" else memory)


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
    assert sorted(place.listing()) == sorted(objects)
    place.write("e", b"other")
    assert place.read("e") == b"other"


def test_what_is_absent(place):
    assert place.names() == []
    assert list(place.listing()) == []
    for key in ("zarr.json", "a/b/c"):
        with pytest.raises(FileNotFoundError, match=re.escape(f"{place.url}/{key}")):
            place.read(key)
    place.write("a", b"")
    with pytest.raises(FileNotFoundError):
        place.read("a/b")


def test_staged_content_appears_as_a_whole(place):
    with place.staged() as staging:
        staging.write("a/b", b"1")
        staging.write("zarr.json", b"{}")
    assert sorted(place.listing()) == ["a/b", "zarr.json"]
    assert place.read("a/b") == b"1"


def test_staged_content_replaces_the_old(place):
    for key in ("zarr.json", "old/1", "both"):
        place.write(key, b"old")
    with place.staged() as staging:
        staging.write("both", b"new")
        staging.write("zarr.json", b"new")
    assert sorted(place.listing()) == ["both", "zarr.json"]
    assert place.read("both") == b"new"


def fail_while_staging(place, error):
    with place.staged() as staging:
        staging.write("zarr.json", b"new")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_exception_leaves_nothing(place, error):
    with pytest.raises(error):
        fail_while_staging(place, error)
    assert place.names() == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_exception_leaves_the_old_store_on_a_disk(tmp_path, error):
    place = LocalFolder(tmp_path / "a.zarr")
    place.write("zarr.json", b"old")
    with pytest.raises(error):
        fail_while_staging(place, error)
    assert place.read("zarr.json") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_staged_on_a_disk_is_not_visible_before_its_end(tmp_path):
    place = LocalFolder(tmp_path / "deep/er/a.zarr")
    with place.staged() as staging:
        staging.write("zarr.json", b"new")
        assert place.names() == []
        assert [path.name for path in (tmp_path / "deep/er").iterdir()] == ["a.zarr.partial"]
    assert [path.name for path in (tmp_path / "deep/er").iterdir()] == ["a.zarr"]


def test_staged_in_memory_takes_the_root_away_first(memory):
    """What cannot be renamed must not open as a store while it is half replaced."""
    place = folder(memory)
    removed = []
    place.write("a/b", b"old")
    place.write("zarr.json", b"old")
    place._fs.rm_file, kept = lambda path: (removed.append(path), kept(path)), place._fs.rm_file
    try:
        with place.staged() as staging:
            staging.write("a/b", b"new")
            assert place.names() == ["a"]
            staging.write("zarr.json", b"new")
    finally:
        place._fs.rm_file = kept
    assert removed[0].endswith("zarr.json")
    assert len(removed) == 2


def test_partial_of_another_ingest_is_refused_and_left_alone(tmp_path):
    partial = tmp_path / "a.zarr.partial"
    partial.mkdir()
    (partial / "chunk").write_bytes(b"1")
    with (
        pytest.raises(StoreExistsError, match=r"another ingest is writing there.*rm -r .*partial"),
        LocalFolder(tmp_path / "a.zarr").staged(),
    ):
        pytest.fail("two would write there")
    assert (partial / "chunk").read_bytes() == b"1"


@pytest.mark.parametrize("there", [True, False], ids=["replacing", "new"])
def test_somebody_s_folder_beside_it_is_left_alone(tmp_path, there):
    """A backup by the name of a.zarr.old is nobody's to remove."""
    place, backup = LocalFolder(tmp_path / "a.zarr"), LocalFolder(tmp_path / "a.zarr.old")
    backup.write("zarr.json", b"precious")
    if there:
        place.write("zarr.json", b"old")
    with place.staged() as staging:
        staging.write("zarr.json", b"new")
    assert place.read("zarr.json") == b"new"
    assert backup.read("zarr.json") == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "a.zarr.old"]


def test_old_store_comes_back_if_the_new_cannot_take_its_place(tmp_path, monkeypatch):
    place = LocalFolder(tmp_path / "a.zarr")
    place.write("zarr.json", b"old")
    rename = Path.rename

    def failing(self, target):
        if self.name == "a.zarr.partial":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(StorageError, match=r"cannot move .*No space left"), place.staged() as staging:
        staging.write("zarr.json", b"new")
    assert place.read("zarr.json") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_staging_through_a_link_replaces_what_it_leads_to(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "a.zarr").symlink_to(tmp_path / "disk/real.zarr")
    with LocalFolder(tmp_path / "a.zarr").staged() as staging:
        staging.write("zarr.json", b"new")
    assert (tmp_path / "a.zarr").is_symlink()
    assert (tmp_path / "disk/real.zarr/zarr.json").read_bytes() == b"new"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*")
    place = LocalFolder(tmp_path / "a.tif")
    with pytest.raises(StorageError, match=r"a\.tif is not a folder"):
        place.names()
    with pytest.raises(FileNotFoundError):
        place.read("zarr.json")
    with pytest.raises(StorageError, match="cannot write"):
        place.write("zarr.json", b"")


def test_full_disk_is_told(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match=r"cannot write .*zarr\.json: No space left on device"):
        LocalFolder(tmp_path / "a.zarr").write("zarr.json", b"")


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


def test_archive_that_is_not_there(tmp_path):
    with pytest.raises(StorageError, match="cannot open zip://"):
        folder(f"zip://a.zarr::file://{tmp_path}/a.zip")


# A server that fails in every way


class Failing(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; what is below /fail/<how>/ fails that way."""

    def do_HEAD(self):
        self.answer(super().do_HEAD)

    def do_GET(self):
        self.answer(super().do_GET)

    def answer(self, rightly):
        how = self.path.split("/")[2] if self.path.startswith("/fail/") else None
        if how and how.isdigit():
            self.send_error(int(how))
        elif how == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 10)
            self.close_connection = True
        elif how == "drop":
            self.close_connection = True
        else:
            rightly()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    """The address of such a server; the folder that it serves holds a file ``a``."""
    (tmp_path / "a").write_bytes(b"hello")

    def handler(*args):
        return Failing(*args, directory=str(tmp_path))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_http_reads(server):
    place = folder(f"http://{server}")
    assert isinstance(place, RemoteFolder)
    assert place.read("a") == b"hello"
    with pytest.raises(FileNotFoundError):
        place.read("b")


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("500", "status 500"), ("403", "status 403"), ("429", "status 429"),
        ("cut", "ClientPayloadError"), ("drop", "ServerDisconnectedError"),
    ],
)  # fmt: skip
def test_fault_of_a_server_is_no_absence(server, how, told):
    place = folder(f"http://me:secret@{server}/fail/{how}")
    with pytest.raises(StorageError, match=f"cannot read .*: .*{told}") as error:
        place.read("zarr.json")
    assert isinstance(error.value, OSError)
    assert "secret" not in str(error.value)


def test_no_server_is_no_absence():
    place = folder("http://127.0.0.1:9/a.zarr")
    with pytest.raises(StorageError, match=r"cannot read http://127\.0\.0\.1:9/a\.zarr/zarr\.json: Client"):
        place.read("zarr.json")


def test_http_cannot_be_written(server):
    with pytest.raises(CopZarrError):
        folder(f"http://{server}").write("a", b"")


def test_source_that_cannot_be_had_is_not_called_absent(server, tmp_path):
    """fsspec raises FileNotFoundError for any of these; only 404 means that the file is not there."""
    copy = tmp_path / "copy"
    fetch(f"http://{server}/a", copy)
    assert copy.read_bytes() == b"hello"
    with pytest.raises(SourceNotFoundError, match=r"there is no file http://.*/b$"):
        fetch(f"http://{server}/b", tmp_path / "b")
    for how, told in {"500": "status 500", "403": "status 403", "drop": "ServerDisconnected"}.items():
        with pytest.raises(StorageError, match=f"cannot copy http://.* to .*: .*{told}"):
            fetch(f"http://me:secret@{server}/fail/{how}", tmp_path / how)
    with pytest.raises(StorageError, match="ClientConnectorError"):
        fetch("http://127.0.0.1:9/a", tmp_path / "c")


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


def test_a_mount_point_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "is_mount", lambda _: True)
    with pytest.raises(StorageError, match="name a folder inside it"), LocalFolder(tmp_path).staged():
        pytest.fail("it was staged")
    assert list(tmp_path.parent.glob("*.partial")) == []


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


def test_two_copies_into_one_file_do_not_mix(tmp_path):
    fsspec.filesystem("memory").pipe_file("/fetch/a.tif", b"1234")
    with (tmp_path / "a.tif").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="another process is copying into it"):
            fetch("memory://fetch/a.tif", tmp_path / "a.tif")
    fetch("memory://fetch/a.tif", tmp_path / "a.tif")
    assert (tmp_path / "a.tif").read_bytes() == b"1234"
