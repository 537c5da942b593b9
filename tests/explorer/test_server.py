"""The server: what it hands out byte for byte, and what it refuses."""

import contextlib
import gzip
import http.client
import os
import shutil
import socket
import threading
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

import cop_zarr
from cop_zarr.errors import InputError
from cop_zarr.explorer.contents import open_store
from cop_zarr.explorer.page import page_files
from cop_zarr.explorer.server import ExplorerServer
from tests.support import factory
from tests.support.patience import STUCK_SECONDS
from tests.support.servers import static_server

CHUNK = "embedding/c/0/0/0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """plain.zarr, sharded.zarr and int8.zarr, which keep components, beside a file that nobody may read."""
    folder = tmp_path_factory.mktemp("served")
    factory.write_geotiff(folder / "a.tif", rows=(200, 330), cols=(800, 930), bands=4)
    cop_zarr.ingest(folder / "a.tif", folder / "plain.zarr")
    cop_zarr.keep_components(folder / "plain.zarr")
    cop_zarr.copy(folder / "plain.zarr", folder / "sharded.zarr", shards=True)
    cop_zarr.keep_components(folder / "sharded.zarr")
    cop_zarr.copy(folder / "plain.zarr", folder / "int8.zarr", encoding="int8")
    cop_zarr.keep_components(folder / "int8.zarr")
    (folder / "secret").write_text("secret")
    return folder


@contextlib.contextmanager
def serving(store, **options):
    """The port of a server of a store."""
    with ExplorerServer(*open_store(store, **options)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def plain(folder):
    with serving(folder / "plain.zarr") as port:
        yield port


def ask(port, path, method="GET", body=None, **headers):
    """Status, headers and body of an answer."""
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", port, timeout=STUCK_SECONDS)
    ) as connection:
        connection.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def send(port, text):
    """What comes back for the bytes of a request, until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=STUCK_SECONDS) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("name", ["plain.zarr", "sharded.zarr", "int8.zarr"])
def test_every_object_of_the_store_comes_as_it_is(folder, name):
    paths = [path for path in (folder / name).rglob("*") if path.is_file()]
    assert len(paths) > 50
    with serving(folder / name) as port:
        for path in paths:
            status, headers, body = ask(port, f"/store/{path.relative_to(folder / name).as_posix()}")
            assert (status, headers["Content-Length"]) == (200, str(path.stat().st_size))
            assert body == path.read_bytes()


def test_the_page_comes_at_the_root(folder, plain):
    for name, data in page_files().items():
        status, headers, body = ask(plain, f"/{name}")
        assert status == 200
        assert headers["X-Content-Type-Options"] == "nosniff"
        if name != "index.html":
            assert body == data
    status, headers, index = ask(plain, "/?store=https://example.org/a.zarr")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert index == ask(plain, "/index.html")[2]
    assert b'<meta name="store" content="./store/"' in index
    assert b'<meta name="components" content=""' in index
    assert f'<meta name="store-name" content="{folder / "plain.zarr"}"'.encode() in index


def test_the_page_is_compressed_for_those_who_can_read_that(plain):
    request = urllib.request.Request(f"http://127.0.0.1:{plain}/", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(answer.read()) == ask(plain, "/")[2]
    assert "Content-Encoding" not in ask(plain, f"/store/{CHUNK}", Accept_Encoding="gzip")[1]


RANGES = {
    "bytes=0-9": slice(0, 10),
    "bytes=100-": slice(100, None),
    "bytes=-16": slice(-16, None),
    "bytes=-999999999": slice(0, None),
    "bytes=10-999999999": slice(10, None),
}


@pytest.mark.parametrize("name", ["plain", "sharded"])
@pytest.mark.parametrize("key", [CHUNK, "zarr.json", "components/scores/c/0/0/0"])
def test_ranges(folder, name, key):
    data = (folder / f"{name}.zarr" / key).read_bytes()
    with serving(folder / f"{name}.zarr") as port:
        for asked, part in RANGES.items():
            status, headers, body = ask(port, f"/store/{key}", Range=asked)
            assert (status, body) == (206, data[part]), asked
            first = len(data) - len(data[part]) if part.stop is None else part.start
            assert headers["Content-Range"].startswith(f"bytes {first}-{first + len(body) - 1}/")
        for passed_over in [
            "bytes=9-0",
            "bytes=a-b",
            "cells=0-9",
            "bytes=0-1,5-6",
            "bytes=-",
            "0-9",
            "bytes=١-٢",
        ]:
            status, headers, body = ask(port, f"/store/{key}", Range=passed_over.encode())
            assert (status, body) == (200, data), passed_over
        for beyond in [f"bytes={len(data)}-", "bytes=-0", "bytes=9999999-99999999"]:
            assert ask(port, f"/store/{key}", Range=beyond)[0] == 416


def test_head_says_the_size_and_sends_nothing(folder, plain):
    size = (folder / "plain.zarr" / CHUNK).stat().st_size
    for path, expected in {f"/store/{CHUNK}": size, "/": len(ask(plain, "/")[2])}.items():
        status, headers, body = ask(plain, path, "HEAD")
        assert (status, headers["Content-Length"], body) == (200, str(expected), b"")
    assert ask(plain, "/store/embedding/c/0/999/0", "HEAD")[0] == 404


NOT_THERE = [
    "/store", "/store/", "/store/embedding", "/store/embedding/", "/store/embedding/c/0/0",
    "/store/../secret", "/../secret", "/store/%2e%2e/secret", "/store/..%2fsecret",
    "/store/embedding/c/0/../0/0", "/store/zarr.json%00", "/favicon.ico",
    "/store//secret", "//secret", "/store/./zarr.json", "/store/zarr.json/", "/store/ZARR.JSON",
    "/store/.zgroup", "/store/ingest/job.json", "/store/ingest/lock", "/store/README.md", "/store/extra",
    "/components/zarr.json", "/secret", "/etc/passwd", "/store/etc/passwd", "/page/index.html",
    "/store/embedding/c/0/٠/٠", "/server.py", "/src/package.json", "/..\\secret", "/store/..\\secret",
    "http://127.0.0.1/store/zarr.json", "*",
]  # fmt: skip


@pytest.mark.parametrize("path", NOT_THERE)
def test_nothing_else_is_there(folder, plain, path):
    (folder / "plain.zarr" / "extra").write_text("secret")
    answer = send(plain, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] in {b"400", b"404"}
    assert b"secret" not in body
    assert b"embedding" not in body


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get"]
)
def test_nothing_is_written(folder, plain, method):
    before = (folder / "plain.zarr/zarr.json").read_bytes()
    status, headers, _ = ask(plain, "/store/zarr.json", method, b"{}")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert "Access-Control-Allow-Origin" not in headers
    assert (folder / "plain.zarr/zarr.json").read_bytes() == before


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        (["localhost"], 200), (["127.0.0.1:1"], 200), (["LOCALHOST:8000"], 200),
        (["evil.example"], 403), (["evil.example:80"], 403), (["127.0.0.1.evil.example"], 403),
        (["localhost.evil.example"], 403), (["0.0.0.0"], 403), ([""], 403), ([], 403),
        (["localhost", "evil.example"], 403), (["evil.example", "localhost"], 403),
    ],
)  # fmt: skip
def test_only_names_of_this_machine_are_answered(plain, hosts, status):
    lines = "".join(f"Host: {host}\r\n" for host in hosts)
    for path in ["/", "/store/zarr.json", "/nothing"]:
        answer = send(plain, f"GET {path} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode())
        expected = 404 if status == 200 and path == "/nothing" else status
        assert f" {expected} " in answer.decode().splitlines()[0]


def test_it_listens_on_the_loopback_only(plain):
    """The kernel's own list of sockets."""
    tables = [path for path in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if path.exists()]
    if not tables:
        pytest.skip("needs /proc/net")
    rows = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{plain:04X}")]
    assert listening == [f"0100007F:{plain:04X}"]


@pytest.mark.parametrize("key", [CHUNK, "valid/c/0/0", "components/mean/c/0", "embedding"])
def test_a_link_out_of_the_store_is_not_followed(folder, tmp_path, key):
    """Neither that of an object, nor that of a folder it lies in."""
    store = tmp_path / "a.zarr"
    shutil.copytree(folder / "plain.zarr", store)
    (store / key).rename(tmp_path / "outside")
    (store / key).symlink_to(tmp_path / "outside")
    asked = CHUNK if key == "embedding" else key
    with serving(store) as port:
        for method, headers in [("GET", {}), ("GET", {"Range": "bytes=0-3"}), ("HEAD", {})]:
            status, _, body = ask(port, f"/store/{asked}", method, **headers)
            assert status == 403
            assert method == "HEAD" or b"link" in body
    (store / key).unlink()
    (tmp_path / "outside").rename(store / key)
    inside = store / "embedding/c/0/0/1"
    inside.unlink()
    inside.symlink_to(store / CHUNK)
    (tmp_path / "b.zarr").symlink_to(store)
    with serving(tmp_path / "b.zarr") as port:  # of the store itself, and within it
        assert ask(port, "/store/embedding/c/0/0/1")[2] == (store / CHUNK).read_bytes()


def test_what_is_no_file_is_no_object(folder, tmp_path):
    store = tmp_path / "a.zarr"
    shutil.copytree(folder / "plain.zarr", store)
    (store / CHUNK).unlink()
    os.mkfifo(store / CHUNK)
    with serving(store) as port:
        assert ask(port, f"/store/{CHUNK}")[0] == 404


def test_a_repaired_object_is_read_anew(folder, tmp_path):
    store = tmp_path / "a.zarr"
    shutil.copytree(folder / "sharded.zarr", store)
    with serving(store) as port:
        assert ask(port, f"/store/{CHUNK}", Range="bytes=0-3")[0] == 206
        (store / "new").write_bytes(b"repaired")
        (store / "new").replace(store / CHUNK)
        assert ask(port, f"/store/{CHUNK}", Range="bytes=0-3")[2] == b"repa"


def test_one_connection_carries_many_requests(plain):
    connection = http.client.HTTPConnection("127.0.0.1", plain)
    with contextlib.closing(connection):
        for path in ["/", f"/store/{CHUNK}", "/nothing", "/store/zarr.json"]:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert not answer.will_close
    smuggled = b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 43\r\n\r\n"
    smuggled += b"GET /store/zarr.json HTTP/1.1\r\nHost: evil\r\n\r\n"
    assert send(plain, smuggled).count(b"HTTP/1.1 ") == 1  # a body is no next request


def test_many_ask_at_once(folder):
    data = (folder / "sharded.zarr" / CHUNK).read_bytes()

    def part(first):
        return ask(port, f"/store/{CHUNK}", Range=f"bytes={first}-{first + 999}")[2]

    with (
        static_server(folder) as base,
        serving(f"{base}/sharded.zarr") as port,
        ThreadPoolExecutor(24) as pool,
    ):
        starts = range(0, len(data), len(data) // 200)
        assert list(pool.map(part, starts)) == [data[first : first + 1000] for first in starts]


@pytest.mark.parametrize(
    "text",
    [
        b"\r\n", b"nonsense\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused(plain, text, capfd):
    first = send(plain, text).partition(b"\r\n")[0]
    assert not first or first.split()[1] in {b"400", b"403", b"414", b"431", b"505"}
    assert ask(plain, "/")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_browser_that_leaves_is_no_error(folder, plain, capfd, caplog):
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", plain)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
            connection.sendall(b"GET /store/components/axes/c/0/0 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
    assert ask(plain, "/")[0] == 200
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@pytest.mark.parametrize("kind", ["http", "memory", pytest.param("s3", marks=pytest.mark.slow), "zip"])
@pytest.mark.parametrize("name", ["plain", "sharded"])
def test_stores_anywhere_are_passed_on(folder, request, tmp_path, kind, name):
    store, options = folder / f"{name}.zarr", {}
    with contextlib.ExitStack() as stack:
        if kind == "http":
            url = f"{stack.enter_context(static_server(folder))}/{name}.zarr"
        elif kind == "memory":
            url = f"memory://{tmp_path.name}/{name}.zarr"
            fsspec.filesystem("memory").put(str(store), url, recursive=True)
        elif kind == "s3":
            s3 = request.getfixturevalue("s3")
            url, options = s3.place(), s3.options
            for path in store.rglob("*"):
                if path.is_file():
                    s3.put(f"{url}/{path.relative_to(store).as_posix()}", path.read_bytes())
        else:
            with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
                for path in store.rglob("*"):
                    archive.write(path, path.relative_to(folder).as_posix())
            url = f"zip://{name}.zarr::{stack.enter_context(static_server(tmp_path))}/a.zip"
        port = stack.enter_context(serving(url, storage_options=options))
        for key in ["zarr.json", CHUNK, "components/scores/c/0/0/0"]:
            data = (store / key).read_bytes()
            assert ask(port, f"/store/{key}")[2] == data
            assert ask(port, f"/store/{key}", "HEAD")[1]["Content-Length"] == str(len(data))
            for asked, part in RANGES.items():
                assert ask(port, f"/store/{key}", Range=asked)[2] == data[part]
        assert ask(port, "/store/embedding/c/0/77/77")[0] == 404


@pytest.mark.usefixtures("no_pauses")
def test_a_server_that_is_gone_is_said(folder):
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(contextlib.ExitStack())
        base = upstream.enter_context(static_server(folder))
        port = stack.enter_context(serving(f"{base}/plain.zarr"))
        upstream.close()
        status, _, body = ask(port, f"/store/{CHUNK}")
        assert status == 502  # and not 404, which readers of Zarr take for zeros
        assert body.decode().startswith("cannot read http://")


@pytest.mark.parametrize("port", [-1, 65536, "80", 1.5])
def test_ports_that_are_none(folder, port):
    with pytest.raises(InputError, match="port"):
        ExplorerServer(*open_store(folder / "plain.zarr"), port)


def test_a_port_that_is_taken(folder):
    opened = open_store(folder / "plain.zarr")
    with ExplorerServer(*opened) as server:
        taken = server.server_address[1]
        with pytest.raises(InputError, match=f"{taken}: .*port="):
            ExplorerServer(*opened, taken)
    ExplorerServer(*opened, taken).server_close()


def test_a_store_of_links_is_refused_with_what_to_do(folder, tmp_path, monkeypatch):
    """As the cache of huggingface_hub has it."""
    monkeypatch.chdir(tmp_path)
    for path in (folder / "plain.zarr").rglob("*"):
        link = tmp_path / "links.zarr" / path.relative_to(folder / "plain.zarr")
        link.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            link.symlink_to(path)
    with pytest.raises(InputError, match=r"cop-zarr copy links\.zarr --to OTHER"):
        ExplorerServer(*open_store("links.zarr"))
    cop_zarr.copy("links.zarr", "other.zarr")
    with serving("other.zarr") as port:
        assert ask(port, f"/store/{CHUNK}")[2] == (folder / "plain.zarr" / CHUNK).read_bytes()
