"""Real servers on the loopback interface: moto's S3, a Google Cloud Storage emulator, static HTTP.

The object stores run in processes of their own. What a test has written to one is read back by
:meth:`Place.objects`, which asks the server itself and uses neither cop_zarr nor fsspec.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import quote

import boto3
from aiohttp import web
from gcsfs.extended_gcsfs import BucketType, ExtendedGcsFileSystem

from tests.support.patience import STUCK_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BUCKET = "embeddings"
REGION = "us-east-1"

GCS_EMULATOR = f"""
import gcp_storage_emulator.server as emulator

emulator.server.HTTPServer.request_queue_size = 256  # 5 is the default, and more connections wait a second
server = emulator.create_server("127.0.0.1", 0, True, {BUCKET!r})
server.start()
while server._api._httpd is None:
    pass
print("Running on http://127.0.0.1:%d" % server._api._httpd.server_port, flush=True)
"""

STATIC_SERVER = """
import socket
import sys
from aiohttp import web

app = web.Application()
app.router.add_static("/", sys.argv[1])
web.run_app(app, sock=socket.create_server(("127.0.0.1", 0), backlog=256))
"""


@dataclass
class ObjectStore(ABC):
    """An object store at a URL with one bucket, empty at first."""

    scheme = ""

    endpoint: str
    bucket: str = BUCKET
    places: Iterator[int] = field(default_factory=itertools.count, repr=False)

    @property
    def options(self) -> dict[str, Any]:
        """The storage options with which fsspec comes here."""
        return self.through(self.endpoint)

    @abstractmethod
    def through(self, endpoint: str) -> dict[str, Any]:
        """The storage options with which fsspec comes here by another way, such as a proxy's URL."""

    def place(self, name: str = "store.zarr") -> str:
        """URL of a place that no test has used yet."""
        return f"{self.scheme}://{self.bucket}/{next(self.places)}/{name}"

    def key(self, url: str) -> str:
        """What the object at a URL is called in the bucket."""
        return url.removeprefix(f"{self.scheme}://{self.bucket}/")

    @abstractmethod
    def objects(self, url: str) -> dict[str, bytes]:
        """Everything under a URL, by the key below it."""

    @abstractmethod
    def put(self, url: str, data: bytes) -> None:
        """Write an object, over what is there."""

    @abstractmethod
    def delete(self, url: str) -> None:
        """Remove an object."""


class S3(ObjectStore):
    """A bucket at moto's S3 server."""

    scheme = "s3"

    def through(self, endpoint: str) -> dict[str, Any]:
        return {
            "key": "testing",
            "secret": "testing",
            "endpoint_url": endpoint,
            "client_kwargs": {"region_name": REGION},
        }

    @cached_property
    def client(self) -> Any:
        """boto3's client, which takes longer to make than a request."""
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        return boto3.client("s3", endpoint_url=self.endpoint, region_name=REGION, **keys)

    def objects(self, url: str) -> dict[str, bytes]:
        prefix = f"{self.key(url).rstrip('/')}/"
        found = {}
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        for key in (entry["Key"] for page in pages for entry in page.get("Contents", ())):
            with contextlib.closing(self.client.get_object(Bucket=self.bucket, Key=key)["Body"]) as body:
                found[key.removeprefix(prefix)] = body.read()
        return found

    def keys(self, url: str) -> set[str]:
        """Keys of the first thousand objects under a URL."""
        prefix = f"{self.key(url).rstrip('/')}/"
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", ())
        return {entry["Key"].removeprefix(prefix) for entry in found}

    def put(self, url: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=self.key(url), Body=data)

    def delete(self, url: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=self.key(url))


class GCS(ObjectStore):
    """A bucket at gcp-storage-emulator, asked through Google's JSON API.

    The emulator answers one request at a time, and knows no preconditions: an exclusive write
    (``ifGenerationMatch=0``) overwrites.
    """

    scheme = "gs"

    def through(self, endpoint: str) -> dict[str, Any]:
        return {"token": "anon", "endpoint_url": endpoint}

    def objects(self, url: str) -> dict[str, bytes]:
        prefix = f"{self.key(url).rstrip('/')}/"
        found = {}
        page = ""
        while True:
            query = f"prefix={quote(prefix, '')}&maxResults=1000&pageToken={quote(page, '')}"
            listing = json.loads(self._ask("GET", f"/storage/v1/b/{self.bucket}/o?{query}"))
            for entry in listing.get("items", ()):
                name = entry["name"]
                found[name.removeprefix(prefix)] = self._ask("GET", f"{self._object(name)}?alt=media")
            page = listing.get("nextPageToken", "")
            if not page:
                return found

    def put(self, url: str, data: bytes) -> None:
        about = json.dumps({"name": self.key(url)}).encode()
        parts = [(b"application/json", about), (b"application/octet-stream", data)]
        body = b"".join(b"--part\r\nContent-Type: %s\r\n\r\n%s\r\n" % part for part in parts)
        path = f"/upload/storage/v1/b/{self.bucket}/o?uploadType=multipart"
        self._ask("POST", path, body + b"--part--\r\n", 'multipart/related; boundary="part"')

    def delete(self, url: str) -> None:
        self._ask("DELETE", self._object(self.key(url)))

    def _object(self, name: str) -> str:
        return f"/storage/v1/b/{self.bucket}/o/{quote(name, '')}"

    def _ask(self, method: str, path: str, data: bytes | None = None, kind: str = "") -> bytes:
        headers = {"Content-Type": kind} if data is not None else {}
        request = urllib.request.Request(self.endpoint + path, data, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return answer.read()


@contextmanager
def s3_server() -> Iterator[S3]:
    """Run moto's S3 server for as long as the context lasts."""
    with _process("-m", "moto.server", "-H", "127.0.0.1", "-p", "0") as endpoint:
        s3 = S3(endpoint)
        with contextlib.closing(s3.client) as client:
            client.create_bucket(Bucket=s3.bucket)
            yield s3


@contextmanager
def gcs_server() -> Iterator[GCS]:
    """Run gcp-storage-emulator, in memory, for as long as the context lasts.

    gcsfs asks a bucket's type by gRPC, which no emulator answers, and waits for a minute before each
    request. For as long as the context lasts it takes the bucket for an ordinary one; other processes
    are told by an environment variable.
    """
    with (
        _process("-c", GCS_EMULATOR) as endpoint,
        mock.patch.object(ExtendedGcsFileSystem, "_get_bucket_type", _ordinary),
        mock.patch.dict(os.environ, {"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}),
    ):
        yield GCS(endpoint)


async def _ordinary(*_: object) -> BucketType:
    return BucketType.NON_HIERARCHICAL


@contextmanager
def _process(*arguments: str) -> Iterator[str]:
    """Run a server in Python; the port that the kernel gave it is in what it prints."""
    with tempfile.TemporaryDirectory() as place:
        log = Path(place) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=place,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"},
            )
        try:
            yield _endpoint(process, log)
        finally:
            process.kill()
            process.wait()


def _endpoint(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + STUCK_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read_text("utf-8", "replace")):
            with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(found[1]) as answer:
                answer.read()
            return found[1]
        time.sleep(0.02)
    raise RuntimeError(f"{process.args} did not start:\n{log.read_text('utf-8', 'replace')}")


@contextmanager
def static_server(
    folder: Path, *, ranges: bool = True, headers: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Serve a folder's files at a URL: by aiohttp, or by the standard library, which knows no Range."""
    with _aiohttp_server(folder, headers or {}) if ranges else _standard_server(folder) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def static_process(folder: Path) -> Iterator[str]:
    """Serve a folder's files in a process of its own, whose answers no busy thread of this one holds up."""
    with _process("-c", STATIC_SERVER, str(folder)) as base:
        yield base


@contextmanager
def _aiohttp_server(folder: Path, headers: Mapping[str, str]) -> Iterator[int]:
    async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(headers)

    app = web.Application()
    app.on_response_prepare.append(add_headers)
    app.router.add_static("/", folder)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> int:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner.addresses[0][1]

    async def close() -> None:
        await runner.cleanup()
        await loop.shutdown_default_executor()

    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def _standard_server(folder: Path) -> Iterator[int]:
    server = _StandardServer(("127.0.0.1", 0), partial(_Files, directory=folder))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.hang_up()
        server.server_close()


class _StandardServer(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close waits for the connections' threads
    request_queue_size = 256

    def __init__(self, *arguments: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*arguments)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        """Say nothing about clients that left."""

    def hang_up(self) -> None:
        """End the connections that clients keep alive."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Files(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Stay silent."""
