"""A front on the loopback interface that passes bytes on as a poor line does: resets, slow bytes."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.proxy import _reset

PARTS = 250
"""On a slow line it is another connection's turn so many times a second."""


@dataclass
class Front:
    """A front at ``url``; what it does may change at any time."""

    url: str = ""
    refuse: Callable[[int], str | None] = lambda _: None
    """Given a connection's number, from 0: "reset" or "close" it before it is answered; None serves it."""
    rate: float | None = None
    """Bytes of answers a second, of all connections together."""
    connections: int = 0
    moved: int = 0
    """Bytes of answers so far."""


@contextmanager
def front(
    upstream_url: str, tls: ssl.SSLContext | None = None, rate: float | None = None
) -> Iterator[Front]:
    """Run a front of a server that speaks HTTP; with ``tls``, it is asked by https."""
    made = Front(rate=rate)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="front")
    thread.start()
    passing = _Passing(made, urlsplit(upstream_url).port)
    try:
        port = asyncio.run_coroutine_threadsafe(passing.listen(tls), loop).result()
        made.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        yield made
    finally:
        asyncio.run_coroutine_threadsafe(passing.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Passing:
    def __init__(self, made: Front, upstream: int) -> None:
        self.front, self.upstream = made, upstream
        self.tasks: set[asyncio.Task[None]] = set()
        self.servers: list[asyncio.Server] = []
        self.turn = asyncio.Lock()

    async def listen(self, tls: ssl.SSLContext | None) -> int:
        inner = self.upstream
        if tls:  # the handshake is behind the front, which does not know what it passes on
            inner = await self._start(lambda *ends: self._pass(*ends, self.upstream, slow=False), tls)
        return await self._start(lambda *ends: self._accept(*ends, inner), None)

    async def _start(self, serve, tls: ssl.SSLContext | None) -> int:
        def connected(*ends) -> None:
            task = asyncio.get_running_loop().create_task(serve(*ends))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls, backlog=256)
        self.servers.append(server)
        return server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        for server in self.servers:
            server.close()
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)

    async def _accept(self, reader, writer, port: int) -> None:
        number, self.front.connections = self.front.connections, self.front.connections + 1
        refusal = self.front.refuse(number)
        if refusal:
            await reader.read(64)  # the client's hello
            _reset(writer) if refusal == "reset" else writer.close()
            return
        await self._pass(reader, writer, port, slow=True)

    async def _pass(self, reader, writer, port: int, *, slow: bool) -> None:
        with contextlib.suppress(OSError):
            above, below = await asyncio.open_connection("127.0.0.1", port)
            try:
                await asyncio.gather(
                    self._copy(reader, below, slow=False), self._copy(above, writer, slow=slow)
                )
            finally:
                below.close()
                writer.close()

    async def _copy(self, reader, writer, *, slow: bool) -> None:
        while data := await reader.read(int((self.front.rate or 1e7) / PARTS)):
            if slow:
                self.front.moved += len(data)
                if self.front.rate:
                    async with self.turn:
                        await asyncio.sleep(len(data) / self.front.rate)
            writer.write(data)
            await writer.drain()
        writer.close()


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Make a certificate of 127.0.0.1: a server's context, and the file with which clients trust it."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    subprocess.run(
        [*made, "-days", "2", *names, "-keyout", key, "-out", cert], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, cert


@contextmanager
def forward_proxy() -> Iterator[tuple[str, list[str]]]:
    """Run a proxy as companies do: its URL, and the heads of the requests that it was sent."""
    heads: list[str] = []

    async def serve(reader, writer) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            heads.append(head)
            method, target, _ = head.split(" ", 2)
            address = urlsplit(f"//{target}" if method == "CONNECT" else target)
            above, below = await asyncio.open_connection(address.hostname, address.port)
            try:
                if method == "CONNECT":
                    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                else:  # one request a connection, so that each head is seen
                    lines = head.replace(f"http://{address.netloc}", "", 1).split("\r\n")
                    kept = [
                        line for line in lines if not line.lower().startswith(("proxy-", "connection:"))
                    ]
                    below.write("\r\n".join([*kept[:-2], "Connection: close", "", ""]).encode("latin-1"))
                await asyncio.gather(_pipe(reader, below), _pipe(above, writer))
            finally:
                below.close()
                writer.close()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="forward proxy")
    thread.start()
    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(serve, "127.0.0.1", 0), loop).result()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads
    finally:

        async def close() -> None:
            server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _pipe(reader, writer) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()
