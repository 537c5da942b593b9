"""Serve the page and a store to the browsers of this machine."""

from __future__ import annotations

import gzip
import logging
import shlex
import socket
import sys
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

from cop_zarr import system
from cop_zarr.core.progress import Progress
from cop_zarr.errors import AccessError, CopZarrError, InputError
from cop_zarr.explorer.contents import Contents, cache_folder, find_contents
from cop_zarr.explorer.objects import Objects
from cop_zarr.explorer.page import INDEX, page_of
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.document import StoreDocument
from cop_zarr.format.layout import COMPONENTS, ROOT
from cop_zarr.storage import Folder, LocalFolder

LOOPBACK = "127.0.0.1"

HOSTS = frozenset({LOOPBACK, "localhost"})
"""Names under which a browser may come. A page under another name that was made to lead here (DNS
rebinding) could otherwise read the store as its own."""

IDLE_SECONDS = 60
"""A connection that is silent for longer is closed."""

POLL_SECONDS = 0.1
"""How often the server looks whether it is to end."""

CONTENT_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "json": "application/json",
    "geojson": "application/json",
    "svg": "image/svg+xml",
    "png": "image/png",
}
"""By a name's ending; what a system's own list says may be anything."""

TEXT, BYTES = CONTENT_TYPES["txt"], "application/octet-stream"

HEADERS = {
    "Cache-Control": "no-store",  # another store may be served at the same address later
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}

logger = logging.getLogger(__name__)


class ExplorerServer(ThreadingTCPServer):
    """A server of the page and one store, for this machine only; it writes nothing.

    It listens as soon as it is made, and answers while it serves. Components that the store lacks are
    derived, after it is known that the port can be had; 0 is any that is free.
    """

    allow_reuse_address = not system.WINDOWS  # where it would share the port of another program
    daemon_threads = True  # an interrupt does not wait for a browser that reads slowly
    request_queue_size = 64

    def __init__(
        self, reader: ChunkReader, document: StoreDocument, port: int = 0, progress: Progress | None = None
    ) -> None:
        _check_links(reader.folder)
        self._connections: set[socket.socket] = set()
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except (OSError, OverflowError, TypeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"cannot serve at port {port!r}: {reason}; name another one with port=, from 1024 "
                "to 65535, or none for any that is free"
            ) from error
        try:
            self.contents = find_contents(reader, document, lambda: cache_folder(reader.sha256), progress)
            self.files, self.objects = _files(self.contents), _objects(self.contents)
        except BaseException:
            self.server_close()
            raise

    def serve_forever(self, poll_interval: float = POLL_SECONDS) -> None:
        """Answer requests until :meth:`shutdown`, or an interrupt."""
        super().serve_forever(poll_interval)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection's requests, in a thread of its own."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection that has no more requests."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Close the port, and the connections, which browsers keep for their next requests."""
        super().server_close()
        for connection in list(self._connections):
            with suppress(OSError):  # closed meanwhile
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/"

    def handle_error(self, *_: object) -> None:
        """Say in the log why a request was not answered; a browser that left is no error."""
        error = sys.exception()
        level = logging.DEBUG if isinstance(error, OSError) else logging.ERROR
        logger.log(level, "a request was not answered: %r", error)


def _check_links(store: Folder) -> None:
    """Refuse a store of links to files elsewhere, none of which would be handed out."""
    if isinstance(store, LocalFolder):
        try:
            store.own_files().size(ROOT)
        except AccessError as error:
            raise InputError(
                f"{error}, and files outside of the store are not handed out; copy it: cop-zarr copy "
                f"{shlex.quote(store.url)} --to OTHER"
            ) from error


def _files(contents: Contents) -> dict[str, bytes]:
    """The page's files, for this store."""
    components = f"./{COMPONENTS}/" if contents.elsewhere else ""
    return page_of(store="./store/", components=components, store_name=contents.store.url)


def _objects(contents: Contents) -> dict[str, Objects]:
    """What is handed out below which name."""
    found = {"store": Objects(contents.store, contents.max_object_bytes)}
    if contents.elsewhere:
        found[COMPONENTS] = Objects(contents.elsewhere, contents.max_object_bytes, f"{COMPONENTS}/")
    return found


class _Handler(BaseHTTPRequestHandler):
    server: ExplorerServer
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # 0.9 has neither hosts nor statuses
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    wbufsize = 1 << 16  # headers leave with the body

    def do_GET(self) -> None:
        """Answer a GET request, or a HEAD request."""
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # its body is not read, and is no next request
        if not self._is_host_known():
            self._send_text(
                HTTPStatus.FORBIDDEN, f"this server answers at http://{LOOPBACK} and http://localhost only"
            )
            return
        path = self.path.partition("?")[0].removeprefix("/")
        first, _, key = path.partition("/")
        if (data := self.server.files.get(path or INDEX)) is not None:
            self._send_file(path or INDEX, data)
        elif first in self.server.objects:
            self._send_object(self.server.objects[first], key)
        else:
            self._send_text(HTTPStatus.NOT_FOUND, "there is no such file")

    do_HEAD = do_GET  # noqa: N815  # the name that http.server looks for

    def _is_host_known(self) -> bool:
        hosts = self.headers.get_all("Host", [])
        return len(hosts) == 1 and hosts[0].partition(":")[0].lower() in HOSTS

    def _send_file(self, name: str, data: bytes) -> None:
        headers = {
            "Content-Type": CONTENT_TYPES.get(name.rpartition(".")[2], BYTES),
            "Vary": "Accept-Encoding",
        }
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
            data = _compressed(data)
        self._send(HTTPStatus.OK, data, headers)

    def _send_object(self, objects: Objects, key: str) -> None:
        headers = {"Content-Type": BYTES, "Accept-Ranges": "bytes"}
        try:
            if self.command == "HEAD":
                self._send(HTTPStatus.OK, b"", headers, objects.size(key))
                return
            part = objects.read(key, self.headers.get("Range"))
        except FileNotFoundError:
            self._send_text(HTTPStatus.NOT_FOUND, "the store has no such object")
        except CopZarrError as error:
            denied = isinstance(error, AccessError)
            self._send_text(HTTPStatus.FORBIDDEN if denied else HTTPStatus.BAD_GATEWAY, str(error))
        else:
            if part.content_range:
                headers["Content-Range"] = part.content_range
            self._send(part.status, part.body, headers)

    def _send_text(self, status: HTTPStatus, text: str, headers: dict[str, str] | None = None) -> None:
        self._send(status, f"{text}\n".encode(), {"Content-Type": TEXT, **(headers or {})})

    def _send(
        self, status: HTTPStatus, body: bytes, headers: dict[str, str], size: int | None = None
    ) -> None:
        self.send_response(status)
        length = {"Content-Length": str(len(body) if size is None else size)}
        for name, value in {**HEADERS, **headers, **length}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, *_: object) -> None:
        """Refuse a request that is malformed, or has another method than GET and HEAD."""
        self.close_connection = True
        if code == HTTPStatus.NOT_IMPLEMENTED:
            allowed = {"Allow": "GET, HEAD"}
            self._send_text(HTTPStatus.METHOD_NOT_ALLOWED, "this server is for reading only", allowed)
        else:
            self._send_text(HTTPStatus(code), HTTPStatus(code).phrase)

    def version_string(self) -> str:
        """Return what the server calls itself."""
        return "cop-zarr"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name that callers use
        """Write to the log, not to stderr."""
        logger.debug(format, *args)


@lru_cache(maxsize=32)
def _compressed(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)
