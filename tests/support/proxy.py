"""A reverse proxy on the loopback interface that fails as networks and servers do, when told to.

A client talks to it as if it were the server. A schedule says what happens to each request::

    with fault_proxy(s3.endpoint, seeded(7, 0.05)) as proxy:
        options = s3.through(proxy.url)
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp
from yarl import URL

Headers = list[tuple[str, str]]

LIMIT = 1 << 20
"""Bytes of a request's or an answer's head, and of what an idle connection buffers."""

ARRIVAL = 0.02
"""Seconds that half a body gets to reach the client before the connection is reset."""

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}


@dataclass(frozen=True)
class Status:
    """Answered with this status; the server is not asked."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Reset:
    """The connection is reset (RST) before any answer."""


@dataclass(frozen=True)
class Drop:
    """The connection is closed before any answer."""


@dataclass(frozen=True)
class Part:
    """This share of the body comes."""

    share: float = 0.5


class CutBody(Part):
    """All of the body is announced, and the connection is closed."""


class CutSilently(Part):
    """No length is announced, and the connection is closed."""


class ResetBody(Part):
    """All of the body is announced, and the connection is reset."""


@dataclass(frozen=True)
class Stall:
    """No answer for so many seconds, and the connection is closed."""

    seconds: float = 3600


@dataclass(frozen=True)
class StallBody(Part):
    """All of the body is announced, nothing comes for so many seconds, and the connection is closed."""

    seconds: float = 3600


@dataclass(frozen=True)
class Slow:
    """The right answer, so many seconds late."""

    seconds: float


@dataclass(frozen=True)
class Flip:
    """One byte of the body is another; the length is right."""

    place: int = 0


@dataclass(frozen=True)
class AfterWrite:
    """The server does what it is asked, and its answer is lost in this way."""

    fault: Status | Reset | Drop | Stall = field(default_factory=Reset)


Fault = Status | Reset | Drop | Part | Stall | Slow | Flip | AfterWrite
"""What can happen to a request.

An answer without a body (to HEAD, for one) cannot be cut: for it, :class:`CutBody`, :class:`ResetBody`
and :class:`StallBody` do what :class:`Drop`, :class:`Reset` and :class:`Stall` do, and
:class:`CutSilently` and :class:`Flip` do nothing.
"""

Schedule = Callable[[int, str, str], Fault | None]
"""Called with the request's number, from 0, its method and its path with query."""

TRANSIENT: tuple[Fault, ...] = (
    Status(429),
    Status(500),
    Status(502),
    Status(503),
    Status(504),
    Reset(),
    Drop(),
    CutBody(0.5),
    ResetBody(0.5),
    Slow(0.05),
)
"""What passes when a request is sent again, and cannot be missed by a client that looks."""


def seeded(seed: int, share: float, faults: Sequence[Fault] = TRANSIENT) -> Schedule:
    """Hit this share of all requests, each with one of the faults, by the seed and its number alone."""

    def schedule(number: int, method: str, path: str) -> Fault | None:
        draw = random.Random(f"{seed}/{number}")
        return draw.choice(faults) if draw.random() < share else None

    return schedule


def hitting(
    fault: Fault, *, methods: Sequence[str] = (), path: str = "", times: int | None = None
) -> Schedule:
    """Hit the requests of these methods whose path holds this text; all of them, or the first so many."""
    turns = itertools.count() if times is None else iter(range(times))

    def schedule(number: int, method: str, where: str) -> Fault | None:
        met = (not methods or method in methods) and path in where
        return fault if met and next(turns, None) is not None else None

    return schedule


@dataclass
class Request:
    """One request that the proxy was sent, what was done to it, and the status of its answer, if any."""

    number: int
    method: str
    path: str
    fault: Fault | None
    started: float
    status: int | None = None
    body_bytes: int = 0


@dataclass
class Proxy:
    """How the proxy behaves, and what it was asked; schedule and latency (s) may change at any time."""

    upstream: str
    schedule: Schedule | None = None
    latency: float = 0.0
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    most_at_once: int = 0
    _engine: _Engine = field(init=False, repr=False)

    def reset_counts(self) -> None:
        """Forget the requests so far; the next one is number 0."""
        self._engine.call(self._forget)

    def cut(self) -> None:
        """Take the network away: connections are reset, and new ones are refused."""
        self._engine.call(self._engine.cut)

    def restore(self) -> None:
        """Give the network back, at the same URL."""
        self._engine.call(self._engine.listen)

    def asked(self, method: str, path: str = "") -> list[Request]:
        """The requests of a method whose path holds this text."""
        return [got for got in self.requests if got.method == method and path in got.path]

    def _forget(self) -> None:
        self.requests = []
        self.most_at_once = self._engine.under_way


@contextmanager
def fault_proxy(upstream_url: str, schedule: Schedule | None = None) -> Iterator[Proxy]:
    """Run a proxy in front of a server for as long as the context lasts."""
    proxy = Proxy(upstream_url, schedule)
    proxy._engine = engine = _Engine(proxy)
    thread = threading.Thread(target=engine.loop.run_forever, name="fault proxy")
    thread.start()
    try:
        engine.call(engine.listen)
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(engine.close(), engine.loop).result()
        engine.loop.call_soon_threadsafe(engine.loop.stop)
        thread.join()
        engine.loop.close()
    if engine.mistakes:
        raise ExceptionGroup("the proxy itself failed", engine.mistakes)


@dataclass
class _Message:
    """A request or an answer: its first line in three parts, its headers and its body."""

    first: tuple[str, str, str]
    headers: Headers
    body: bytes = b""

    def header(self, name: str) -> str:
        """A header's value; empty if there is none."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    def kept(self) -> Headers:
        """The headers, less those that concern one connection only."""
        return [(key, value) for key, value in self.headers if key.lower() not in HOP_BY_HOP]

    def head(self, *extra: tuple[str, str]) -> bytes:
        """The first line of an answer and its headers."""
        lines = [" ".join(self.first), *(f"{key}: {value}" for key, value in (*self.kept(), *extra))]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class _GoneError(Exception):
    """The connection is at its end."""


class _Engine:
    """What runs in the proxy's thread. All its state is touched there only."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.loop = asyncio.new_event_loop()
        self.under_way = 0
        self.mistakes: list[Exception] = []
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None
        self._session: aiohttp.ClientSession | None = None
        # bound and never listening: it keeps the port for us while the network is cut
        self._holder = _bound(0)
        self._port = self._holder.getsockname()[1]
        proxy.url = f"http://127.0.0.1:{self._port}"

    def call(self, what: Callable[[], object]) -> None:
        """Have something done in the proxy's thread, and wait for it."""

        async def run() -> None:
            result = what()
            if asyncio.iscoroutine(result):
                await result

        asyncio.run_coroutine_threadsafe(run(), self.loop).result()

    async def listen(self) -> None:
        """Take connections."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(),
                auto_decompress=False,
                skip_auto_headers=["User-Agent", "Accept", "Accept-Encoding", "Content-Type"],
            )
        if self._server is None:
            self._server = await asyncio.start_server(
                self._connected, sock=_bound(self._port), limit=LIMIT, backlog=512
            )

    async def cut(self) -> None:
        """Take no more connections, and reset those there are."""
        if self._server is not None:
            for listening in self._server.sockets:
                self.loop.remove_reader(listening.fileno())
            for _ in range(5):  # a connection that was accepted just now would be forgotten, and left open
                await asyncio.sleep(0)
            self._server.close()
            self._server = None
        for writer in self._connections.values():
            _reset(writer)
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """End everything."""
        await self.cut()
        self._holder.close()
        await self._session.close()
        for _ in range(3):  # a transport closes its socket in the loop's next round
            await asyncio.sleep(0)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self.loop.create_task(self._serve(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(self._disconnected)

    def _disconnected(self, task: asyncio.Task[None]) -> None:
        writer = self._connections.pop(task)
        if not writer.is_closing():
            writer.close()
        if not task.cancelled() and (error := task.exception()) is not None:
            self.mistakes.append(error)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(_GoneError, ConnectionError):
            while True:
                message = await _head(reader)
                method, path, _ = message.first
                proxy = self.proxy
                fault = proxy.schedule and proxy.schedule(len(proxy.requests), method, path)
                request = Request(len(proxy.requests), method, path, fault, time.monotonic())
                proxy.requests.append(request)
                self.under_way += 1
                proxy.most_at_once = max(proxy.most_at_once, self.under_way)
                exchange = _Exchange(self, request, reader, writer)
                try:
                    message.body = await _request_body(message, reader, writer)
                    await exchange.run(message, fault)
                finally:
                    exchange.over()
                if message.header("connection").lower() == "close":
                    raise _GoneError

    async def forward(self, message: _Message) -> _Message:
        """Ask the server."""
        method, path, _ = message.first
        url, data = URL(self.proxy.upstream + path, encoded=True), message.body or None
        try:
            async with self._session.request(
                method, url, headers=message.kept(), data=data, allow_redirects=False
            ) as answer:
                headers = [(name.decode(), value.decode("latin-1")) for name, value in answer.raw_headers]
                first = ("HTTP/1.1", str(answer.status), answer.reason or "")
                return _Message(first, headers, await answer.read())
        except aiohttp.ClientError:
            return _status(HTTPStatus.BAD_GATEWAY)


@dataclass
class _Exchange:
    """One request, from its head to the end of its answer."""

    engine: _Engine
    request: Request
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    done: bool = False

    def over(self) -> None:
        """Count the request as answered. Before the client can know, so that it is never counted late."""
        if not self.done:
            self.done = True
            self.engine.under_way -= 1

    async def run(self, message: _Message, fault: Fault | None) -> None:
        """Answer the request, or fail as the fault says."""
        late = self.engine.proxy.latency + (fault.seconds if isinstance(fault, Slow) else 0)
        if late:
            await self._wait(late)
        if isinstance(fault, Status | Reset | Drop | Stall):
            await self._without_answer(fault, message)
            return
        answer = await self.engine.forward(message)
        if isinstance(fault, AfterWrite):
            await self._without_answer(fault.fault, message)
        elif isinstance(fault, Part) and answer.body:
            await self._part(answer, fault)
        elif isinstance(fault, CutBody | ResetBody | StallBody):
            lost = {CutBody: Drop(), ResetBody: Reset(), StallBody: Stall(getattr(fault, "seconds", 0))}
            await self._without_answer(lost[type(fault)], message)
        else:
            if isinstance(fault, Flip) and answer.body:
                place = fault.place % len(answer.body)
                flipped = bytes([answer.body[place] ^ 0xFF])
                answer.body = answer.body[:place] + flipped + answer.body[place + 1 :]
            await self._send(answer, message.first[0])

    async def _without_answer(self, fault: Status | Reset | Drop | Stall, message: _Message) -> None:
        match fault:
            case Status(code, headers, body):
                await self._send(_status(code, headers, body), message.first[0])
                return
            case Stall(seconds):
                await self._wait(seconds)
            case Reset():
                _reset(self.writer)
        self.over()
        raise _GoneError

    async def _part(self, answer: _Message, fault: Part) -> None:
        size = len(answer.body)
        part = answer.body[: min(int(fault.share * size), size - 1)]
        announced = () if isinstance(fault, CutSilently) else (("Content-Length", str(size)),)
        self._write(answer, answer.head(*announced, ("Connection", "close")) + part)
        await self.writer.drain()
        if isinstance(fault, StallBody):
            await self._wait(fault.seconds)
        if isinstance(fault, ResetBody):
            await asyncio.sleep(ARRIVAL)
            _reset(self.writer)
        self.over()
        raise _GoneError

    async def _send(self, answer: _Message, method: str) -> None:
        body = b"" if method == "HEAD" else answer.body
        self.request.body_bytes = len(body)
        self._write(answer, answer.head(*_framing(answer, method)) + body)
        self.over()
        await self.writer.drain()

    def _write(self, answer: _Message, data: bytes) -> None:
        self.request.status = int(answer.first[1])
        self.writer.write(data)

    async def _wait(self, seconds: float) -> None:
        """Wait, or end early when the client leaves."""
        with contextlib.suppress(TimeoutError):
            if await asyncio.wait_for(self.reader.read(1), seconds):
                raise RuntimeError("a client sent a request before the last one was answered")
            raise _GoneError


async def _head(reader: asyncio.StreamReader) -> _Message:
    """The first line and the headers of a message."""
    try:
        data = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        raise _GoneError from None
    first, *lines = data[:-4].decode("latin-1").split("\r\n")
    parts = (*first.split(" ", 2), "", "")
    headers = [line.partition(":") for line in lines]
    return _Message(
        (parts[0], parts[1], parts[2]), [(name.strip(), value.strip()) for name, _, value in headers]
    )


async def _request_body(
    message: _Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bytes:
    if message.header("expect").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if message.header("transfer-encoding").lower() == "chunked":
        return await _chunks(reader)
    return await _exactly(reader, int(message.header("content-length") or 0))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    pieces = []
    while size := int((await _line(reader)).partition(b";")[0], 16):
        pieces.append(await _exactly(reader, size))
        await _line(reader)
    while await _line(reader) not in {b"\r\n", b""}:  # trailers
        pass
    return b"".join(pieces)


async def _line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readline()
    if not line:
        raise _GoneError
    return line


async def _exactly(reader: asyncio.StreamReader, size: int) -> bytes:
    try:
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError:
        raise _GoneError from None


def _framing(answer: _Message, method: str) -> Headers:
    """The header that says where a body ends. An answer to HEAD says what GET would get."""
    if method == "HEAD":
        length = answer.header("content-length")
        return [("Content-Length", length)] if length else []
    return [] if answer.first[1] in {"204", "304"} else [("Content-Length", str(len(answer.body)))]


def _status(code: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> _Message:
    return _Message(
        ("HTTP/1.1", str(int(code)), HTTPStatus(code).phrase),
        [*(headers or {}).items(), ("Content-Length", str(len(body)))],
        body,
    )


def _bound(port: int) -> socket.socket:
    """A socket with a port of the loopback interface, which others of ours may have too."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with RST, which tells the client so, rather than with FIN."""
    if not writer.transport.is_closing():
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        writer.transport.abort()
