"""What a server says is the cause reaches the user: by the client's code, without the client's text."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from gcsfs.extended_gcsfs import ExtendedGcsFileSystem

import cop_zarr
from cop_zarr.errors import AccessError, CopZarrError, InputError, StorageError, UnreachableError
from cop_zarr.storage import folder
from tests.support.servers import _ordinary

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "hunter2"


@contextmanager
def server(status: int, body: str = "", **headers: str) -> Iterator[tuple[str, list[str]]]:
    """Answer every request alike; the list holds what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body.encode())

        do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}", asked
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def s3_error(code: str) -> str:
    return f"<Error><Code>{code}</Code><Message>the key {SECRET} is refused</Message></Error>"


def s3_options(endpoint: str) -> dict[str, Any]:
    region = {"region_name": "us-east-1"}
    return {"key": "a", "secret": SECRET, "endpoint_url": endpoint, "client_kwargs": region}


@pytest.mark.parametrize(
    ("status", "code", "kind", "word"),
    [
        (400, "ExpiredToken", AccessError, "expired"),
        (403, "RequestExpired", AccessError, "expired"),
        (403, "AccessDenied", AccessError, "requester_pays"),
        (403, "InvalidAccessKeyId", AccessError, "does not know"),
        (403, "SignatureDoesNotMatch", AccessError, "secret key"),
        (403, "RequestTimeTooSkewed", AccessError, "clock"),
        (403, "InvalidObjectState", AccessError, "archived"),
        (400, "InvalidToken", AccessError, "AWS_SESSION_TOKEN"),
        (400, "AuthorizationHeaderMalformed", StorageError, "region_name"),
        (501, "NotImplemented", StorageError, "cannot do"),
    ],
)
def test_the_code_of_s3_decides(status, code, kind, word):
    """Not its status, nor the class that s3fs makes of it."""
    with server(status, s3_error(code), Content_Type="application/xml") as (endpoint, asked):
        with pytest.raises(CopZarrError, match=word) as caught:
            cop_zarr.open("s3://bucket/a.zarr", storage_options=s3_options(endpoint))
        assert len(asked) == 1
    assert type(caught.value) is kind
    assert f"{code}, status {status}" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.usefixtures("no_pauses")
def test_a_code_that_passes_is_tried_again_whatever_its_status():
    with server(400, s3_error("RequestTimeout"), Content_Type="application/xml") as (endpoint, asked):
        with pytest.raises(StorageError, match="RequestTimeout"):
            folder("s3://bucket/a", s3_options(endpoint)).read("b")
        assert len(asked) > 1


def test_a_bucket_whose_requester_pays(monkeypatch):
    """Google says so; S3 only denies, and the hint names the option, which its client takes."""
    monkeypatch.setattr(ExtendedGcsFileSystem, "_get_bucket_type", _ordinary)
    message = "Bucket is a requester pays bucket but no user project provided."
    body = json.dumps({"error": {"code": 400, "message": message}})
    with server(400, body, Content_Type="application/json") as (endpoint, _):
        options = {"token": "anon", "endpoint_url": endpoint}
        with pytest.raises(AccessError, match="requester_pays"):
            folder("gs://bucket/a", options).read("b")
    with server(200, "{}") as (endpoint, asked):
        folder("s3://bucket/a", {**s3_options(endpoint), "requester_pays": True}).read("b")
        assert len(asked) == 1


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [
        (401, "RepoNotFound", "private"),
        (403, "GatedRepo", "gated"),
        (401, "", "HF_TOKEN"),
        (403, "", "gated"),
    ],
)
def test_a_hub_that_denies(status, code, word, tmp_path):
    """Its client says that there is no such file."""
    headers = {"X_Error_Code": code} if code else {}
    with server(status, "{}", **headers) as (endpoint, _):
        options = {"endpoint": endpoint, "token": f"hf_{SECRET}"}
        with pytest.raises(AccessError, match=word) as caught:
            cop_zarr.open("hf://datasets/me/repo/a.zarr", storage_options=options)
        with pytest.raises(AccessError, match=word):
            cop_zarr.ingest("hf://datasets/me/repo/a.tif", tmp_path / "a", source_options=options)
    assert SECRET not in str(caught.value)


class HttpResponseError(Exception):
    """As azure.core's: neither an OSError nor known to us, with the signature in its text."""

    def __init__(self, status_code: int | None, error_code: str | None) -> None:
        super().__init__(f"https://account.blob.core.windows.net/a?sig={SECRET}")
        self.status_code, self.error_code = status_code, error_code


class OddFileSystem(MemoryFileSystem):
    """Fails with another client's error."""

    protocol = "odd"
    error: Exception

    def cat_file(self, *_: object, **__: object) -> bytes:
        """Fail."""
        raise self.error


@pytest.mark.parametrize(
    ("error", "kind", "word"),
    [
        (HttpResponseError(403, "AuthenticationFailed"), AccessError, "expired"),
        (HttpResponseError(409, "PublicAccessNotPermitted"), AccessError, "public"),
        (HttpResponseError(403, None), AccessError, "403"),
        (HttpResponseError(None, None), StorageError, "HttpResponseError"),
        (HttpResponseError(503, "ServerBusy"), UnreachableError, "times within"),
    ],
)
def test_any_clients_errors_become_ours(error, kind, word, monkeypatch):
    fsspec.register_implementation("odd", OddFileSystem, clobber=True)
    monkeypatch.setattr(OddFileSystem, "error", error, raising=False)
    with pytest.raises(CopZarrError, match=word) as caught:
        cop_zarr.open("odd://a", timeout=0.5)
    assert type(caught.value) is kind
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_options_that_the_client_of_a_source_does_not_know(tmp_path):
    with pytest.raises(InputError, match="colour"):
        cop_zarr.ingest("s3://bucket/a.tif", tmp_path / "a", source_options={"colour": SECRET}, timeout=1)
