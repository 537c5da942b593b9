"""Parts of objects: from a disk, whose files are kept open, and from servers that send other things."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import shutil
import sys
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import cop_zarr
from cop_zarr.errors import ChunkError, StorageError, StoreReplacedError
from cop_zarr.storage import LocalFolder, folder, open_files, web_file
from tests.support import factory
from tests.support.patience import until
from tests.support.proxy import CutSilently, Flip, Status, fault_proxy, hitting
from tests.support.servers import static_server

ROWS, COLS = (300, 437), (565, 718)
BOX = (-25, -10, -5, 10)
"""Rows 320 to 400, columns 620 to 700 of the lattice: 2 x 3 shards, cut at 364, and at 629 and 693."""

SHARD = "embedding/c/0/1/1"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sharded store and a plain one of the same source; ZIP files of the first."""
    site = tmp_path_factory.mktemp("site")
    source = factory.write_geotiff(site / "a.tif", rows=ROWS, cols=COLS)
    cop_zarr.ingest(source, site / "a.zarr", shards=True)
    cop_zarr.ingest(source, site / "plain.zarr")
    for name, kind in {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}.items():
        with zipfile.ZipFile(site / f"{name}.zip", "w", kind) as archive:
            for path in sorted((site / "a.zarr").rglob("*")):
                archive.write(path, path.relative_to(site))
    return site


@pytest.fixture
def store(site: Path, tmp_path: Path) -> Path:
    return shutil.copytree(site / "a.zarr", tmp_path / "a.zarr")


@pytest.fixture(scope="module")
def site_url(site: Path) -> Iterator[str]:
    with static_server(site) as url:
        yield url


def expected() -> np.ndarray:
    return factory.truth((320, 401), (620, 701))


def grid(store: cop_zarr.Store) -> np.ndarray:
    return store.query(BOX, output="grid").data


# From a disk


def open_descriptors(folder: Path) -> int:
    found = 0
    for path in Path("/proc/self/fd").iterdir():
        try:
            found += path.readlink().is_relative_to(folder)
        except FileNotFoundError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_files_are_kept_open_and_closed_with_the_store(store: Path) -> None:
    opened = cop_zarr.open(store, cache_bytes=0)
    assert np.array_equal(grid(opened), expected())
    assert open_descriptors(store) == 6
    assert np.array_equal(grid(pickle.loads(pickle.dumps(opened))), expected())
    del opened
    # a thread that has given its answer may hold the store for a moment
    until(lambda: gc.collect() >= 0 and open_descriptors(store) == 0)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_no_more_files_are_open_than_allowed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "MAX_OPEN_FILES", 2)
    opened = cop_zarr.open(store, cache_bytes=0, workers=4)
    for _ in range(3):
        assert np.array_equal(grid(opened), expected())
        assert open_descriptors(store) <= 2


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_threads_that_open_files_at_once_keep_to_the_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Turns of threads are short, so that one looks at the number while another adds its file."""
    monkeypatch.setattr(open_files, "MAX_OPEN_FILES", 2)
    request.addfinalizer(partial(sys.setswitchinterval, sys.getswitchinterval()))
    sys.setswitchinterval(1e-6)
    paths = [str(tmp_path / name) for name in "abcdefgh"]
    for path in paths:
        Path(path).write_bytes(b"1")
    files = open_files.OpenFiles()
    with ThreadPoolExecutor(8) as pool:
        for _ in range(200):
            assert list(pool.map(lambda path: files.read(path, 0, 1), paths * 2)) == [b"1"] * 16
            assert open_descriptors(tmp_path) <= 2


def test_a_process_without_descriptors_does_without(store: Path) -> None:
    resource = pytest.importorskip("resource")
    opened = cop_zarr.open(store, cache_bytes=0, workers=1)
    grid(opened)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = [os.open(store, os.O_RDONLY)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare) + 1, limits[1]))
        found = opened.query((-40, 10, -35, 14), output="grid").data  # in another shard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        os.close(spare[0])
    assert found.shape[0] == factory.BANDS


def test_a_shard_that_is_repaired_is_read_again(store: Path, site: Path) -> None:
    good = (store / SHARD).read_bytes()
    (store / SHARD).write_bytes(bytes(100) + good[100:])
    opened = cop_zarr.open(store, cache_bytes=0)
    with pytest.raises(ChunkError, match=SHARD):
        grid(opened)
    assert cop_zarr.repair(store, site / "a.tif").rewritten == [SHARD]
    assert np.array_equal(grid(opened), expected())


def test_a_store_that_is_replaced(store: Path, site: Path, tmp_path: Path) -> None:
    """Shards that are open answer as they were; of others, another store is there."""
    opened = cop_zarr.open(store, cache_bytes=0)
    before = grid(opened)
    other = factory.write_geotiff(tmp_path / "b.tif", factory.truth(ROWS, COLS) * 2, rows=ROWS, cols=COLS)
    cop_zarr.ingest(other, store, shards=True, overwrite=True)
    assert np.array_equal(grid(opened), before)
    with pytest.raises(StoreReplacedError):
        opened.query((-20, -19, -10, -17.5))
    assert np.array_equal(grid(cop_zarr.open(store)), expected() * 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_reads_on(store: Path) -> None:
    opened = cop_zarr.open(store, cache_bytes=0, workers=1)
    grid(opened)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(grid(opened), expected()) else 1)
    assert np.array_equal(grid(opened), expected())
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("kind", ["folder", "pipe", "nothing"])
def test_what_is_no_file_is_absent(store: Path, kind: str) -> None:
    (store / SHARD).unlink()
    if kind == "folder":
        (store / SHARD).mkdir()
    elif kind == "pipe":
        os.mkfifo(store / SHARD)
    with pytest.raises(FileNotFoundError):
        LocalFolder(store).read_range(SHARD, 0, 1)
    with pytest.raises(ChunkError, match="absent"):
        grid(cop_zarr.open(store))


# From a server


def test_few_requests_bring_many_chunks(site: Path, site_url: str) -> None:
    with fault_proxy(site_url, lambda *_: None) as proxy:
        store = cop_zarr.open(f"{proxy.url}/a.zarr", cache_bytes=0)
        assert len(proxy.requests) == 2
        assert store.valid.any()
        proxy.reset_counts()
        assert np.array_equal(store.query(BOX).data, cop_zarr.open(site / "plain.zarr").query(BOX).data)
        shards = [got.path.partition(".zarr/")[2] for got in proxy.requests]
        assert set(shards) == {f"embedding/c/0/{row}/{col}" for row in (0, 1) for col in (0, 1, 2)}
        assert len(shards) <= 16
        proxy.reset_counts()
        store.query((-20, -4, -12, -3.5))
        assert len(proxy.requests) == 1  # 5 chunks beside each other


def test_answers_are_those_of_the_plain_layout(site: Path, site_url: str) -> None:
    plain, store = cop_zarr.open(site / "plain.zarr"), cop_zarr.open(f"{site_url}/a.zarr")
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(-38, -1, 200), rng.uniform(-18, 14, 200)
    assert np.array_equal(store.sample(lon, lat), plain.sample(lon, lat))
    boxes = [(x, y, x + 2, y + 1) for x, y in zip(lon.tolist(), lat.tolist(), strict=True)]
    for rules in ({}, {"pooling": "std"}, {"weights": "area", "empty": "skip"}):
        fresh = cop_zarr.open(f"{site_url}/a.zarr", cache_bytes=0)
        assert np.array_equal(
            fresh.query_many(boxes, **rules), plain.query_many(boxes, **rules), equal_nan=True
        )
    assert np.array_equal(store.cells(BOX).vectors, plain.cells(BOX).vectors)
    assert np.array_equal(store.query(BOX).data, plain.query(BOX).data)  # of chunks in memory, in part


def test_the_disk_cache_holds_chunks(site_url: str, tmp_path: Path) -> None:
    with fault_proxy(site_url, lambda *_: None) as proxy:
        options = {"cache_dir": tmp_path / "cache", "cache_bytes": 0}
        small = (-20, -5, -10, 5)
        cop_zarr.open(f"{proxy.url}/a.zarr", **options).query(small)
        store = cop_zarr.open(f"{proxy.url}/a.zarr", **options)
        proxy.reset_counts()
        store.query(small)
        assert proxy.requests == []
        assert np.array_equal(grid(store), expected())
        for path in (tmp_path / "cache").rglob("embedding.*"):
            path.write_bytes(path.read_bytes()[:-1])
        assert np.array_equal(grid(store), expected())
        proxy.reset_counts()
        assert np.array_equal(grid(store), expected())
        assert proxy.requests == []


@pytest.mark.parametrize("fault", [Status(503), CutSilently(), CutSilently(0.0)])
def test_a_failure_in_passing_is_no_damage(site_url: str, fault: object) -> None:
    with fault_proxy(site_url, hitting(fault, path=".zarr/embedding/c", times=1)) as proxy:
        assert np.array_equal(grid(cop_zarr.open(f"{proxy.url}/a.zarr")), expected())


def test_other_bytes_are_damage(site_url: str) -> None:
    with fault_proxy(site_url, hitting(Flip(0), path=".zarr/embedding/c", times=1)) as proxy:
        store = cop_zarr.open(f"{proxy.url}/a.zarr", cache_bytes=0)
        with pytest.raises(ChunkError, match="CRC"):
            grid(store)
        assert np.array_equal(grid(store), expected())


def test_a_server_that_sends_no_parts(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small shards are read as a whole; of large ones, it is said."""
    with static_server(site, ranges=False) as url:
        store = cop_zarr.open(f"{url}/a.zarr", cache_bytes=0)
        assert np.array_equal(grid(store), expected())
        monkeypatch.setattr(web_file, "MAX_WHOLE_BYTES", 1000)
        with pytest.raises(StorageError, match="download") as caught:
            grid(store)
        assert not isinstance(caught.value, ChunkError)
        shutil.copytree(site / "a.zarr", site / "downloaded.zarr")
        assert np.array_equal(grid(cop_zarr.open(site / "downloaded.zarr")), expected())


def test_an_object_store_that_sends_no_parts(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"memory://{tmp_path.name}/a.zarr"
    cop_zarr.copy(site / "a.zarr", url)
    store = cop_zarr.open(url, cache_bytes=0)
    cat_file = MemoryFileSystem.cat_file
    monkeypatch.setattr(MemoryFileSystem, "cat_file", lambda fs, path, **_: cat_file(fs, path))
    with pytest.raises(StorageError, match="download") as caught:
        grid(store)
    assert not isinstance(caught.value, ChunkError)


def test_the_hub_is_asked_for_no_more_than_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hf://, whose files fsspec otherwise reads five megabytes ahead."""
    hub = pytest.importorskip("huggingface_hub.hf_file_system")
    asked = []

    def fetch(_: object, start: int, end: int) -> bytes:
        asked.append((start, end))
        return bytes(end - start)

    path = SimpleNamespace(unresolve=lambda: "datasets/me/repo/a.zarr/a")
    monkeypatch.setattr(hub.HfFileSystem, "resolve_path", lambda *_, **__: path)
    monkeypatch.setattr(hub.HfFileSystem, "info", lambda *_, **__: {"size": 10**8, "type": "file"})
    monkeypatch.setattr(hub.HfFileSystemFile, "_fetch_range", fetch)
    assert folder("hf://datasets/me/repo/a.zarr").read_range("a", 1000, 2000) == bytes(2000)
    assert asked == [(1000, 3000)]


def answering(headers: dict[str, str], body: bytes) -> Status:
    return Status(HTTPStatus.PARTIAL_CONTENT, headers, body)


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(
    "given", [{"Content-Range": "bytes 7-106/10000"}, {}, {"Content-Range": "bytes */10000"}]
)
def test_a_range_that_was_not_asked_for(site_url: str, given: dict[str, str]) -> None:
    wrong = answering(given, bytes(100))
    with fault_proxy(site_url, hitting(wrong, path="c/0/1/1", times=1)) as proxy:
        assert np.array_equal(grid(cop_zarr.open(f"{proxy.url}/a.zarr")), expected())
    with fault_proxy(site_url, hitting(wrong, path="c/0/1/1")) as proxy:
        store = cop_zarr.open(f"{proxy.url}/a.zarr")
        with pytest.raises(StorageError):
            grid(store)


class OtherParts(SimpleHTTPRequestHandler):
    """A server that answers a range in another way than it was asked."""

    protocol_version = "HTTP/1.1"
    how = ""

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        data, status, headers = path.read_bytes(), HTTPStatus.OK, {"ETag": '"a"'}
        if self.headers["Range"]:
            assert self.headers["Accept-Encoding"] == "identity"
            status = HTTPStatus.PARTIAL_CONTENT
            data, headers["Content-Range"] = self._part(data)
        if self.how == "parts of no version":
            del headers["ETag"]
        elif self.how == "many parts" and headers.pop("Content-Range", ""):
            headers["Content-Type"] = "multipart/byteranges; boundary=a"
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(data)

    def _part(self, data: bytes) -> tuple[bytes, str]:
        first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        match self.how:
            case "parts" | "parts of no version":
                last = min(last, first + 20_000 - 1)
            case "more":
                last = len(data) - 1
            case "from the start":
                first = 0
            case "one byte on":
                first += 1
        said = "*" if self.how == "of no size" else len(data)
        on = int(self.how == "false range")
        part = data[first + on : last + 1 + on]
        return part, f"bytes {first}-{first + len(part) - 1}/{said}"


@contextlib.contextmanager
def answering_by(how: str, site: Path) -> Iterator[str]:
    handler = type("Handler", (OtherParts,), {"how": how})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=site)) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("how", ["parts", "more", "of no size"])
def test_other_parts_that_hold_what_was_asked_for(site: Path, how: str) -> None:
    with answering_by(how, site) as url:
        assert np.array_equal(grid(cop_zarr.open(f"{url}/a.zarr")), expected())


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(
    "how",
    [
        "one byte on",
        "many parts",
        *(
            pytest.param(how, marks=pytest.mark.slow)
            for how in ("parts of no version", "from the start", "false range")
        ),
    ],
)
def test_other_parts(site: Path, how: str) -> None:
    """Of a server that lies about what it sends, damage is all that can be known."""
    with answering_by(how, site) as url:
        store = cop_zarr.open(f"{url}/a.zarr")
        with pytest.raises(StorageError if how != "false range" else ChunkError) as caught:
            grid(store)
        assert isinstance(caught.value, ChunkError) == (how == "false range")
        if how in {"from the start", "one byte on", "many parts"}:
            assert "download" in str(caught.value)
        report = cop_zarr.verify(f"{url}/a.zarr")  # which reads whole shards
        assert report.ok


def test_a_shard_cut_short_on_a_server(site: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cop_zarr.format.object_reader.SHORT_PAUSES", (0.01, 0.01))
    whole = (store / SHARD).read_bytes()
    for size in (len(whole) - 5000, 100, 0):
        (store / SHARD).write_bytes(whole[:size])
        for ranges in (True, False):
            with static_server(store.parent, ranges=ranges) as url:
                opened = cop_zarr.open(f"{url}/a.zarr")
                with pytest.raises(ChunkError, match=SHARD) as caught:
                    opened.query(opened.grid.bounds)
                assert f"repair {url}" not in str(caught.value)  # which cannot be written
                assert {each.key for each in cop_zarr.verify(f"{url}/a.zarr").problems} == {SHARD}
    assert cop_zarr.repair(store, site / "a.tif").rewritten == [SHARD]
    assert (store / SHARD).read_bytes() == whole


@pytest.mark.parametrize("name", ["stored", "deflated"])
def test_shards_in_a_zip_file(
    site: Path, site_url: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    url = f"zip://a.zarr::{site_url}/{name}.zip"
    store = cop_zarr.open(url, cache_bytes=0)
    assert np.array_equal(grid(store), expected())
    assert cop_zarr.verify(url).ok
    if name == "deflated":
        monkeypatch.setattr("cop_zarr.storage.zip_folder.MAX_WHOLE_BYTES", 1000)
        with pytest.raises(StorageError, match="zip -0"):
            grid(store)


def test_s3(site: Path, s3) -> None:
    url = s3.place()
    report = cop_zarr.ingest(site / "a.tif", url, shards=True, storage_options=s3.options)
    assert report.chunks_stored == cop_zarr.open(site / "plain.zarr").info()["chunks_stored"]
    found = s3.objects(url)
    assert found[SHARD] == (site / "a.zarr" / SHARD).read_bytes()
    store = cop_zarr.open(url, storage_options=s3.options)
    assert np.array_equal(grid(store), expected())
    assert cop_zarr.verify(url, site / "a.tif", storage_options=s3.options).ok
    s3.put(f"{url}/{SHARD}", found[SHARD][:-2000])
    assert cop_zarr.repair(url, site / "a.tif", storage_options=s3.options).rewritten == [SHARD]
    assert s3.objects(url) == found
