"""Connections that fail while they are made, slow lines, and servers that limit how much they are asked."""

from __future__ import annotations

import itertools
import logging
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import cop_zarr
from cop_zarr.core.threads import ordered_map
from cop_zarr.errors import StorageError, UnreachableError
from cop_zarr.storage import folder
from tests.support.front import certificate, front
from tests.support.proxy import CutBody, Proxy, Stall, Status, fault_proxy, hitting
from tests.support.questions import Part
from tests.support.servers import static_process, static_server

if TYPE_CHECKING:
    from collections.abc import Iterator

PART = Part((200, 264), (600, 680))
"""8 x 10 chunks with data."""

CONTENT = bytes(range(256)) * 4

BIG = bytes(range(256)) * 2048
"""512 KiB, of which a slow line brings a part at a time."""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("site")
    cop_zarr.ingest(PART.write(place / "a.tif"), place / "a.zarr")
    (place / "a").write_bytes(CONTENT)
    (place / "big").write_bytes(BIG)
    return place


@pytest.fixture(scope="module")
def web(place) -> Iterator[str]:
    with static_process(place) as url:
        yield url


@pytest.fixture(scope="module")
def tls(tmp_path_factory) -> tuple[ssl.SSLContext, Path]:
    return certificate(tmp_path_factory.mktemp("tls"))


def size_of_chunks(place: Path) -> int:
    return sum(path.stat().st_size for path in (place / "a.zarr/embedding/c").rglob("*") if path.is_file())


# Connecting


@pytest.mark.parametrize("refusal", ["reset", "close"])
@pytest.mark.parametrize("kind", ["http", "https", "s3"])
def test_connecting_is_tried_again(kind, refusal, web, tls, request):
    """Every other connection is refused before it is answered, during the handshake if there is one."""
    if kind == "s3":
        s3 = request.getfixturevalue("s3")
        s3.put("s3://embeddings/lines/a", CONTENT)
    with front(s3.endpoint if kind == "s3" else web, tls[0] if kind != "http" else None) as poor:
        if kind == "s3":
            options = s3.through(poor.url)
            options["client_kwargs"] = {**options["client_kwargs"], "verify": str(tls[1])}
            place = folder("s3://embeddings/lines", options, 30)
        else:
            trust = {"ssl": ssl.create_default_context(cafile=tls[1])} if kind == "https" else {}
            place = folder(poor.url, trust, 30)
        poor.refuse = lambda number: refusal if number % 2 == 0 else None
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(place.read, ["a"] * 16)) == [CONTENT] * 16
        assert poor.connections >= 2


@pytest.mark.parametrize("kind", ["https", "s3"])
def test_a_certificate_that_is_not_trusted_is_told_at_once(kind, web, tls):
    with front(web, tls[0]) as secure:
        options = {"key": "k", "secret": "s", "endpoint_url": secure.url}
        place = folder(secure.url) if kind == "https" else folder("s3://bucket/a", options)
        with pytest.raises(StorageError, match="certificate"):
            place.read("a")
        assert secure.connections == 1


RESOLVER = {
    "EAI_AGAIN": socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    "ENETUNREACH": OSError(101, "Network is unreachable"),
    "EHOSTUNREACH": OSError(113, "No route to host"),
    "ETIMEDOUT": TimeoutError(110, "Connection timed out"),
    "ECONNRESET": ConnectionResetError(104, "Connection reset by peer"),
}


@pytest.mark.parametrize("kind", ["http", "s3"])
@pytest.mark.parametrize("name", RESOLVER)
def test_a_network_that_is_away_is_waited_for(kind, name, web, request, monkeypatch):
    """What the system says twice while a client connects, and not the third time."""
    store = request.getfixturevalue("s3") if kind == "s3" else None
    if store:
        store.put("s3://embeddings/lines/a", CONTENT)
    web = web.replace("127.0.0.1", "localhost")
    options = store and store.through(store.endpoint.replace("127.0.0.1", "localhost"))
    place = folder("s3://embeddings/lines", options, 30) if store else folder(web, None, 30)
    asked, resolve = itertools.count(), socket.getaddrinfo

    def away(*arguments, **options):
        if next(asked) < 2:
            raise RESOLVER[name]
        return resolve(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", away)
    assert place.read("a") == CONTENT
    assert next(asked) >= 3


@pytest.mark.parametrize("kind", ["http", "s3"])
def test_a_name_that_does_not_exist_is_told_at_once(kind, monkeypatch):
    asked = []

    def unknown(*arguments, **_):
        asked.append(arguments)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    options = {"key": "k", "secret": "s", "endpoint_url": "http://nowhere.example"}
    place = folder("http://nowhere.example") if kind == "http" else folder("s3://bucket/a", options)
    with pytest.raises(StorageError, match="host"):
        place.read("a")
    assert len(asked) == 1


# Slow lines


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["http", "s3"])
def test_a_slow_line_takes_its_time_and_moves_each_byte_once(kind, web, place, request):
    """The query takes twice its timeout, and a request longer than a silent one may."""
    if kind == "s3":
        s3 = request.getfixturevalue("s3")
        url = s3.place()
        cop_zarr.ingest(place / "a.tif", url, storage_options=s3.options)
    with front(s3.endpoint if kind == "s3" else web) as line:
        options = s3.through(line.url) if kind == "s3" else {}
        url = url if kind == "s3" else f"{line.url}/a.zarr"
        timeout = 6.0  # a busy machine is not silent for a third of it
        store = cop_zarr.open(url, storage_options=options, timeout=timeout, cache_bytes=0)
        before, line.rate = line.moved, size_of_chunks(place) / (2 * timeout)
        began = time.monotonic()
        assert PART.all().answered_by(PART.all().ask(store))
        seconds, moved = time.monotonic() - began, line.moved - before
        assert moved < 1.5 * size_of_chunks(place) + 80 * 500  # and the heads of the answers
        assert seconds > 1.9 * timeout


def test_what_has_arrived_is_kept(web):
    """A connection breaks ten times, each after half of what was missing."""
    with fault_proxy(web) as proxy, front(proxy.url) as line:
        place = folder(line.url)
        place.read("a")
        proxy.schedule = lambda number, *_: CutBody(0.5) if number <= 10 else None
        assert place.read("big", len(BIG)) == BIG
        assert len(proxy.requests) == 12
        assert line.moved < len(BIG) + 12 * 1000


def test_two_versions_are_never_mixed(place, web):
    """A file that is replaced while it is read is read from its beginning."""
    (place / "changing").write_bytes(BIG)
    with fault_proxy(web) as proxy:

        def schedule(number, _method, _path):
            if number:
                return None
            other.start()
            return CutBody(0.5)

        other = threading.Timer(0.05, lambda: (place / "changing").write_bytes(BIG[::-1]))
        proxy.schedule = schedule
        assert folder(proxy.url).read("changing", len(BIG)) in {BIG, BIG[::-1]}
        other.join()


# Limits


def limiting(proxy: Proxy, allowed: int, window: float, headers) -> list[float]:
    """Have a server allow so many requests in a window; returns a list of when it refused one."""
    refused: list[float] = []
    state = {"began": 0.0, "count": 0}

    def schedule(_number, _method, path):
        if "/c/" not in path:
            return None
        now = time.monotonic()
        if now - state["began"] > window:
            state["began"], state["count"] = now, 0
        state["count"] += 1
        if state["count"] <= allowed:
            return None
        refused.append(now)
        return Status(429, headers(state["began"] + window - now))

    proxy.schedule = schedule
    return refused


HEADERS = {
    "Retry-After": lambda left: {"Retry-After": f"{left + 1:.0f}"},
    "RateLimit": lambda left: {"RateLimit": f'"resolvers";r=0;t={left + 1:.0f}'},
}


@pytest.mark.parametrize("name", [pytest.param("Retry-After", marks=pytest.mark.slow), "RateLimit"])
def test_a_limit_is_waited_for_by_all_threads_together(name, web, caplog):
    """25 requests in 2 s are allowed."""
    caplog.set_level(logging.WARNING, "cop_zarr")
    with fault_proxy(web) as proxy:
        store = cop_zarr.open(f"{proxy.url}/a.zarr", cache_bytes=0, workers=32)
        refused = limiting(proxy, 25, 2, HEADERS[name])
        proxy.reset_counts()
        assert PART.all().answered_by(PART.all().ask(store))
        assert 3 * 80 > len(refused) > 0
        assert len(proxy.requests) < 3 * 80
    assert 1 <= len(caplog.records) <= 6  # one for each window, not for each thread


@pytest.mark.slow
def test_a_public_hub(web):
    """3,000 requests in 300 s, both shortened by 10: a day's questions come through."""
    with fault_proxy(web) as proxy:
        store = cop_zarr.open(f"{proxy.url}/a.zarr", cache_bytes=0)
        refused = limiting(proxy, 300, 30, HEADERS["RateLimit"])
        for _ in range(12):
            assert PART.all().answered_by(PART.all().ask(store))
        assert len(refused) < 960 / 5


def test_a_server_that_is_slow_is_asked_less_at_once(web):
    """It answers one after the other, as if it had too much to do: of 25 at once the last is slow."""
    at_once = []
    with fault_proxy(web) as proxy:
        place = folder(proxy.url, None, 24)
        line = place._connection._line

        def schedule(_number, _method, _path):
            at_once.append(line._running)
            time.sleep(0.08)  # in the proxy's only thread

        proxy.schedule = schedule
        with ThreadPoolExecutor(64) as pool:
            assert list(pool.map(place.read, ["a"] * 150)) == [CONTENT] * 150
        assert max(at_once) > 48 > max(at_once[-50:])
        limit = line._limit
        proxy.schedule = None
        with ThreadPoolExecutor(64) as pool:
            assert list(pool.map(place.read, ["a"] * 400)) == [CONTENT] * 400
        assert line._limit > limit


def test_a_silent_server_is_given_up_soon_however_few_are_asked_at_once(place):
    """What was tried before goes first; otherwise all 80 would be tried before one is given up."""
    keys = [path.relative_to(place).as_posix() for path in (place / "a.zarr/embedding/c").glob("*/*/*")]
    with fault_proxy("http://unasked", hitting(Stall())) as proxy:
        silent = folder(proxy.url, None, 3)
        silent._connection._line._limit = 4
        with pytest.raises(UnreachableError):
            list(ordered_map(silent.read, keys, workers=len(keys)))  # ends at the first failure
        assert len({got.path for got in proxy.requests}) < len(keys) / 2


def test_a_line_is_shared_by_folders_and_left_by_all(web):
    first, second = folder(web), folder(f"{web}/a.zarr")
    assert first._connection._line is second._connection._line
    assert folder(web, {"headers": {"x": "y"}})._connection._line is not first._connection._line
    with static_server(Path(__file__).parent) as other:
        assert folder(other)._connection._line is not first._connection._line
    assert first.read("a") == CONTENT
    assert first._connection._line._running == 0
