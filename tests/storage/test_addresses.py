"""Addresses with credentials, IPv6 literals and characters that parsers read in several ways."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
import traceback
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

import cop_zarr
from cop_zarr.errors import CopZarrError, InputError
from cop_zarr.storage import fetch
from tests.support import factory
from tests.writing import small

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "a::b/c?d@e"
QUOTED = "a::b%2Fc%3Fd%40e"


class _Files(SimpleHTTPRequestHandler):
    """Files, for whoever sends the password."""

    def do_GET(self) -> None:
        if self.headers["Authorization"] == f"Basic {base64.b64encode(f'me:{PASSWORD}'.encode()).decode()}":
            super().do_GET()
        else:
            self.send_error(401)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Stay silent."""


class _Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6


@pytest.fixture(scope="module")
def small_store(tmp_path_factory):
    """A store, and its source beside it."""
    source = tmp_path_factory.mktemp("small") / "small.tif"
    factory.write_geotiff(source, rows=small.ROWS, cols=small.COLS, bands=small.BANDS)
    cop_zarr.ingest(source, source.with_name("small.zarr"))
    return source.with_name("small.zarr")


@contextlib.contextmanager
def ipv6_server(folder: Path) -> Iterator[str]:
    """Serve a folder on the IPv6 loopback interface; the URL holds user name and password."""
    try:
        server = _Server(("::1", 0), partial(_Files, directory=folder))
    except OSError:
        pytest.skip("no IPv6 here")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://me:{QUOTED}@[::1]:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_ipv6_literals_and_passwords_with_colons_work(small_store, tmp_path):
    with ipv6_server(small_store.parent) as base:
        store = cop_zarr.open(f"{base}/{small_store.name}")
        small.check_values(store)
        assert store.url.startswith("http://[::1]:")
        fetch(f"{base}/small.tif?a=b::c", tmp_path / "copy.tif")
    assert (tmp_path / "copy.tif").read_bytes() == small_store.with_name("small.tif").read_bytes()


CALLS = {
    "open": cop_zarr.open,
    "ingest": lambda url: cop_zarr.ingest(url, "a.zarr"),
    "ingest into": lambda url: cop_zarr.ingest("a.tif", url),
    "batch": lambda url: cop_zarr.batch(url, "a.parquet", "a.zarr"),
    "batch into": lambda url: cop_zarr.batch("a.csv", url, "a.zarr"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "url",
    [
        "https://me:secret@ho℀st/a.zarr",
        "https://me:secret/b@localhost:1/a.zarr",
        "https://me:secret@localhost:port/a.zarr",
        "https://me:secret@[x/a.zarr",
        "https://me:secret\n@localhost/a.zarr",
        "https://me:secret\\@localhost/a.zarr",
        "https://me:secret@/a.zarr",
        "https:/me:secret@localhost/a.zarr",
        "zip::https:/me:secret@localhost/a.zarr",
        "s3://me:secret@bucket::b/a.zarr",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_and_not_shown(url, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CopZarrError) as caught:
        CALLS[call](url)
    assert isinstance(caught.value, InputError)
    report = traceback.TracebackException.from_exception(caught.value)
    assert "secret" not in "".join(report.format_exception_only())
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
