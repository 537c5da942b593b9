"""A dataset of the Hugging Face hub on the loopback interface: a folder, with the hub's limits.

It answers as https://huggingface.co does: ``/api/datasets/…`` tells revisions and lists folders, and
``/datasets/ID/resolve/REVISION/PATH`` serves small documents itself and redirects each request for any
other file to a content server, at another host, by an address that is signed. Requests are counted over a
fixed window by kind, and refused with 429 beyond a limit; ``RateLimit`` and ``RateLimit-Policy`` say so.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = "me/embeddings"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SECRET = "signature-of-the-content-server"


@dataclass
class DatasetHub:
    """What the hub serves and allows, and what it was asked.

    ``limits`` are the requests in ``window`` seconds; ``refuse`` gives the next requests of a kind another
    status; a request without this ``token`` is denied, if there is one.
    """

    folder: Path
    limits: dict[str, int] = field(default_factory=lambda: {"api": 500, "resolvers": 3000})
    window: float = 300
    refuse: dict[str, list[int]] = field(default_factory=dict)
    token: str | None = None
    url: str = ""
    content_url: str = ""
    requests: dict[str, list[str]] = field(default_factory=dict)
    """Paths that were asked for, by kind: ``api``, ``resolvers``, ``content``."""
    sent: int = 0
    secrets: set[str] = field(default_factory=set)
    """Authorizations that the content server was sent."""
    _counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def forget(self) -> None:
        """Forget the requests so far, and begin a new window."""
        self.requests, self.sent, self._counts = {}, 0, {}

    def count(self, kind: str, path: str) -> tuple[int, dict[str, str]]:
        """Count a request; its status, and the headers that tell of the limit."""
        with self._lock:
            self.requests.setdefault(kind, []).append(path)
            status = self.refuse[kind].pop(0) if self.refuse.get(kind) else 200
            if kind not in self.limits:
                return status, {}
            number, now = int(time.monotonic() // self.window), time.monotonic()
            last, used = self._counts.get(kind, (number, 0))
            used = used + 1 if last == number else 1
            self._counts[kind] = number, used
        limit, left = self.limits[kind], int((number + 1) * self.window - now) + 1
        headers = {
            "RateLimit": f'"{kind}";r={max(0, limit - used)};t={left}',
            "RateLimit-Policy": f'"fixed window";"{kind}";q={limit};w={int(self.window)}',
        }
        return (429 if used > limit else status), headers


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


@contextmanager
def serving(folder: Path, **options: object) -> Iterator[DatasetHub]:
    """Run a hub, and its content server, for as long as the context lasts."""
    hub = DatasetHub(folder, **options)
    servers = [
        _Server(("127.0.0.1", 0), type(kind.__name__, (kind,), {"hub": hub})) for kind in (_Hub, _Content)
    ]
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,)) for server in servers]
    for thread in threads:
        thread.start()
    hub.url = f"http://127.0.0.1:{servers[0].server_port}"
    hub.content_url = f"http://localhost:{servers[1].server_port}"
    try:
        yield hub
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


class _Answers(BaseHTTPRequestHandler):
    hub: DatasetHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.answer()

    def answer(self) -> None:
        """Answer a request."""
        raise NotImplementedError

    def send(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        """Send an answer."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_file(self, path: Path, headers: dict[str, str]) -> None:
        """Send a file, or the part of it that is asked for."""
        data = path.read_bytes()
        headers = {**headers, "ETag": f'"{hashlib.sha256(data).hexdigest()}"', "Accept-Ranges": "bytes"}
        asked, status, size = self.headers["Range"], HTTPStatus.OK, len(data)
        if asked:
            first, last = asked.removeprefix("bytes=").split("-")
            if int(first) >= size:
                self.send(416, {**headers, "Content-Range": f"bytes */{size}"})
                return
            data, status = data[int(first) : int(last or size) + 1], HTTPStatus.PARTIAL_CONTENT
            headers["Content-Range"] = f"bytes {first}-{int(first) + len(data) - 1}/{size}"
        self.hub.sent += len(data)
        self.send(status, headers, data)


class _Hub(_Answers):
    def answer(self) -> None:
        """Answer as the hub."""
        path = unquote(urlsplit(self.path).path)
        kind = "resolvers" if "/resolve/" in path else "api"
        status, headers = self.hub.count(kind, path)
        if self.hub.token and self.headers["Authorization"] != f"Bearer {self.hub.token}":
            self.send(401, {**headers, "X-Error-Code": "RepoNotFound"})
        elif status != HTTPStatus.OK:
            self.send(status, headers, b'{"error": "no"}')
        elif kind == "resolvers":
            self._resolve(path, headers)
        else:
            self._api(path, headers)

    def _resolve(self, path: str, headers: dict[str, str]) -> None:
        headers["X-Repo-Commit"] = COMMIT
        file = self.hub.folder / path.removeprefix(f"/datasets/{REPOSITORY}/resolve/").partition("/")[2]
        if not file.is_file():
            self.send(404, {**headers, "X-Error-Code": "EntryNotFound"})
        elif file.suffix in {".json", ".md"}:
            self.send_file(file, headers)
        else:
            where = f"{self.hub.content_url}/{file.relative_to(self.hub.folder)}?sign={SECRET}"
            size = str(file.stat().st_size)
            self.send(302, {**headers, "Location": where, "X-Linked-Size": size})

    def _api(self, path: str, headers: dict[str, str]) -> None:
        what, _, rest = path.removeprefix(f"/api/datasets/{REPOSITORY}").strip("/").partition("/")
        where = self.hub.folder / rest.partition("/")[2]
        headers["Content-Type"] = "application/json"
        if what in {"", "revision"}:
            self.send(200, headers, json.dumps({"id": REPOSITORY, "sha": COMMIT}).encode())
        elif what == "tree" and where.is_dir():
            found = [self._entry(each) for each in sorted(where.iterdir())]
            self.send(200, headers, json.dumps(found).encode())
        else:
            self.send(404, {**headers, "X-Error-Code": "EntryNotFound"}, b"{}")

    def _entry(self, path: Path) -> dict[str, object]:
        kind = "directory" if path.is_dir() else "file"
        name = path.relative_to(self.hub.folder).as_posix()
        return {
            "type": kind,
            "oid": COMMIT,
            "path": name,
            "size": path.stat().st_size if kind == "file" else 0,
        }


class _Content(_Answers):
    def answer(self) -> None:
        """Answer as the content server."""
        address = urlsplit(self.path)
        status, headers = self.hub.count("content", address.path)
        if self.headers["Authorization"]:
            self.hub.secrets.add(self.headers["Authorization"])
        if status != HTTPStatus.OK or SECRET not in address.query:
            self.send(status if status != HTTPStatus.OK else 403, headers)
        else:
            self.send_file(self.hub.folder / unquote(address.path).lstrip("/"), headers)
