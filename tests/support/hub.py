"""A dataset of the Hugging Face hub on the loopback interface.

It answers as https://huggingface.co does for a large file: the address of a file of a dataset's revision
redirects to a content server (here ``/cdn/<sha256>``), and the redirect carries X-Repo-Commit,
X-Linked-ETag and X-Linked-Size; the content server knows Range. ``tests/source/test_locate.py`` has
huggingface_hub itself download from it, so that it cannot speak another protocol unnoticed.
"""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from cop_zarr.core import product

if TYPE_CHECKING:
    from collections.abc import Iterator

RESOLVE = f"/datasets/{product.REPOSITORY}/resolve/{product.REVISION}/{product.FILENAME}"
CDN = "/cdn/"


@dataclass
class Request:
    """One request that the hub was sent."""

    method: str
    path: str
    first_byte: int


@dataclass
class Hub:
    """What the hub serves, how it fails, and what it was asked.

    The next answers with content end after ``cuts`` bytes, though they announce more; the next requests
    are answered with ``statuses``, where 0 lets one through. Answers stop after ``stall`` bytes, until the
    hub is closed; without ``ranges``, all is sent. ``url`` is for ``HF_ENDPOINT``; ``sent`` counts bytes.
    """

    content: bytes
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    stall: int | None = None
    ranges: bool = True
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    sent: int = 0
    closed: threading.Event = field(default_factory=threading.Event)

    @property
    def downloads(self) -> list[Request]:
        """The requests for content."""
        return [got for got in self.requests if got.path.startswith(CDN) and got.method == "GET"]


@contextmanager
def serving(content: bytes, **options: object) -> Iterator[Hub]:
    """Run a hub for as long as the context lasts."""
    hub = Hub(content, **options)

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        hub.closed.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    served: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def _answer(self, *, body: bool) -> None:
        hub = self.served
        first, _, last = (self.headers["Range"] or "bytes=0-").removeprefix("bytes=").partition("-")
        hub.requests.append(Request(self.command, self.path, int(first)))
        sha256 = hashlib.sha256(hub.content).hexdigest()
        status = hub.statuses.pop(0) if hub.statuses else 0
        if status:
            self._head(status, {"Content-Length": "0"})
        elif self.path == RESOLVE:
            location = {"Location": f"{hub.url}{CDN}{sha256}", "Content-Length": "0"}
            linked = {"X-Linked-ETag": f'"{sha256}"', "X-Linked-Size": str(len(hub.content))}
            self._head(302, {"X-Repo-Commit": product.REVISION, **linked, **location})
        elif self.path == CDN + sha256:
            self._content(int(first), int(last or len(hub.content) - 1), sha256, body)
        else:
            self._head(404, {"X-Error-Code": "EntryNotFound", "Content-Length": "0"})

    def _content(self, first: int, last: int, sha256: str, body: bool) -> None:
        hub = self.served
        size = len(hub.content)
        last = min(last, size - 1)
        headers = {
            "Accept-Ranges": "bytes" if hub.ranges else "none",
            "ETag": f'"{sha256}"',
            # this host is hub and content server in one: a HEAD that follows the redirect ends here
            "X-Repo-Commit": product.REVISION,
        }
        if first >= size > 0:
            self._head(416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"})
            return
        partly = hub.ranges and self.headers["Range"] is not None
        data = hub.content[first : last + 1] if partly else hub.content
        if partly:
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        self._head(206 if partly else 200, {**headers, "Content-Length": str(len(data))})
        if body:
            data = data[: hub.cuts.pop(0)] if hub.cuts else data[: hub.stall]
            hub.sent += len(data)
            self.wfile.write(data)
            if hub.stall is not None:
                hub.closed.wait()

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
