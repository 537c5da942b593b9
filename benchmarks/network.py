"""A store over HTTP on the loopback interface, with the latency or the rate of a distant one.

The servers and proxies are processes of their own: ``python -m benchmarks.network serve FOLDER`` prints
its port; ``… delay PORT`` prints a URL and a port where each connection is told the requests so far: their
number, and the bytes of their answers; ``… slow PORT`` prints a URL. All end with their stdin.
"""

from __future__ import annotations

import asyncio
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

from benchmarks.cases import LATENCY_SECONDS
from benchmarks.prepare import ROOT

LINE_BYTES_A_SECOND = 25e6
"""Of the slow line: 200 Mbit/s."""


@contextmanager
def served(folder: Path, environment: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Serve a folder with latency: its URL, and the port of the counter."""
    with (
        _process("serve", str(folder), environment) as port,
        _process("delay", port, environment) as line,
    ):
        url, counter = line.split()
        yield url, int(counter)


@contextmanager
def served_slowly(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Serve a folder over a line of 200 Mbit/s: its URL."""
    with _process("serve", str(folder), environment) as port, _process("slow", port, environment) as url:
        yield url


def traffic(counter: int) -> tuple[int, int]:
    """Requests that a line with latency has had, and bytes of the answers."""
    with socket.create_connection(("127.0.0.1", counter)) as connection, connection.makefile() as lines:
        requests, moved = map(int, lines.readline().split())
        return requests, moved


@contextmanager
def _process(name: str, argument: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Run a server, and give the line that it prints when it is ready."""
    command = [sys.executable, "-m", "benchmarks.network", name, argument]
    with subprocess.Popen(
        command, stdin=PIPE, stdout=PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        yield process.stdout.readline().strip()


async def _serve(folder: str) -> None:
    from aiohttp import web

    app = web.Application()
    app.router.add_static("/", folder)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


def _delay(port: str) -> None:
    from tests.support.proxy import fault_proxy

    class Count(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            moved = sum(request.body_bytes for request in proxy.requests)
            self.wfile.write(b"%d %d\n" % (len(proxy.requests), moved))

    with (
        fault_proxy(f"http://127.0.0.1:{port}") as proxy,
        socketserver.TCPServer(("127.0.0.1", 0), Count) as counter,
    ):
        proxy.latency = LATENCY_SECONDS
        threading.Thread(target=counter.serve_forever, daemon=True).start()
        print(proxy.url, counter.server_address[1], flush=True)
        sys.stdin.read()
        counter.shutdown()


def _slow(port: str) -> None:
    from tests.support.front import front

    with front(f"http://127.0.0.1:{port}", rate=LINE_BYTES_A_SECOND) as line:
        print(line.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(_serve(sys.argv[2]))
    else:
        {"delay": _delay, "slow": _slow}[sys.argv[1]](sys.argv[2])
