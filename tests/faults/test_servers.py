"""The servers answer, and the proxy fails, as they say. What cop_zarr makes of it is not tested here."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.support.proxy import (
    AfterWrite,
    CutBody,
    CutSilently,
    Drop,
    Flip,
    Reset,
    ResetBody,
    Slow,
    Stall,
    StallBody,
    Status,
    fault_proxy,
    hitting,
    seeded,
)
from tests.support.servers import static_server

pytestmark = pytest.mark.slow

CONTENT = bytes(range(256)) * 400


@pytest.fixture(scope="module", params=[True, False], ids=["ranges", "no ranges"])
def static(request, tmp_path_factory):
    """The URL of a folder with the file plain, and whether its server knows ranges."""
    place = tmp_path_factory.mktemp("files")
    (place / "plain").write_bytes(CONTENT)
    with static_server(place, ranges=request.param) as url:
        yield url, request.param


@pytest.fixture
def proxy(static):
    with fault_proxy(static[0]) as running:
        yield running


@contextmanager
def connection(url):
    """A connection that is kept alive, as a function that asks by it."""
    made = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)

    def ask(path, method="GET", body=None, **headers):
        made.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = made.getresponse()
        return answer.status, answer.read()

    try:
        yield ask
    finally:
        made.close()


def get(url, timeout=5):
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.read()


def test_proxy_changes_nothing(proxy, static):
    url, ranges = static
    part = (206, CONTENT[5:10]) if ranges else (200, CONTENT)
    for asked in (url, proxy.url):
        with connection(asked) as ask:
            assert ask("/plain") == (200, CONTENT)
            assert ask("/plain", "HEAD") == (200, b"")
            assert ask("/plain", Range="bytes=5-9") == part
            assert ask("/absent?a=b")[0] == 404
    assert [(got.method, got.path, got.status) for got in proxy.requests] == [
        ("GET", "/plain", 200),
        ("HEAD", "/plain", 200),
        ("GET", "/plain", part[0]),
        ("GET", "/absent?a=b", 404),
    ]
    assert proxy.most_at_once == 1
    proxy.reset_counts()
    assert (proxy.requests, proxy.most_at_once) == ([], 0)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Status(503, {"Retry-After": "1"}, b"later"), urllib.error.HTTPError),
        (Reset(), ConnectionResetError),
        (Drop(), http.client.RemoteDisconnected),
        (CutBody(0.25), http.client.IncompleteRead),
        (ResetBody(0.25), ConnectionResetError),
        (Stall(60), TimeoutError),
        (StallBody(0.25, 60), TimeoutError),
    ],
)
def test_faults(proxy, fault, error):
    proxy.schedule = hitting(fault, times=1)
    with pytest.raises((error, urllib.error.URLError)) as caught:
        get(f"{proxy.url}/plain", timeout=0.2 if isinstance(fault, Stall | StallBody) else 30)
    got = caught.value
    assert isinstance(getattr(got, "reason", got) if error is not urllib.error.HTTPError else got, error)
    if isinstance(fault, Status):
        assert (got.code, got.headers["Retry-After"], got.read()) == (503, "1", b"later")
        got.close()
    if isinstance(fault, CutBody):
        assert got.partial == CONTENT[: len(CONTENT) // 4]
    assert get(f"{proxy.url}/plain") == CONTENT
    assert [request.fault for request in proxy.requests] == [fault, None]


def test_faults_that_nothing_tells(proxy):
    proxy.schedule = lambda number, *_: [CutSilently(0.25), Flip(7), Slow(0.1), None][number]
    assert get(f"{proxy.url}/plain") == CONTENT[: len(CONTENT) // 4]
    flipped = get(f"{proxy.url}/plain")
    assert len(flipped) == len(CONTENT)
    assert [place for place, byte in enumerate(flipped) if byte != CONTENT[place]] == [7]
    started = time.monotonic()
    assert get(f"{proxy.url}/plain") == CONTENT
    assert time.monotonic() - started >= 0.1


@pytest.mark.parametrize("fault", [Reset(), Drop(), Status(500), Stall(0.05)])
def test_after_a_write_the_object_is_there(s3, fault):
    with fault_proxy(s3.endpoint, hitting(AfterWrite(fault), methods=["PUT"])) as proxy:
        url = s3.place("lost")
        with connection(proxy.url) as ask:
            try:
                status, _ = ask(f"/{s3.bucket}/{s3.key(url)}/a", "PUT", CONTENT)
            except ConnectionError:
                status = None
        assert status == (500 if isinstance(fault, Status) else None)
        assert s3.objects(url) == {"a": CONTENT}


def test_seeded_schedules_repeat():
    drawn = [seeded(7, 0.1)(number, "GET", "/") for number in range(2000)]
    assert drawn == [seeded(7, 0.1)(number, "PUT", "/a") for number in range(2000)]
    assert 150 < sum(fault is not None for fault in drawn) < 250
