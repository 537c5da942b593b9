"""Transient failures are retried, others are raised at once, and no secret is shown."""

from __future__ import annotations

import importlib.util
import itertools
import logging
import math
import socket
import threading
import time
import traceback
from dataclasses import dataclass, field

import aiohttp
import botocore.exceptions
import pytest

import cop_zarr
from cop_zarr.errors import AccessError, CopZarrError, InputError, StorageError
from cop_zarr.storage import fetch, folder, transport_errors
from cop_zarr.storage import retries as module
from cop_zarr.storage.folders import Folder
from cop_zarr.storage.line import Line
from tests.support.proxy import (
    AfterWrite,
    CutBody,
    CutSilently,
    Drop,
    Flip,
    Proxy,
    Reset,
    ResetBody,
    Stall,
    StallBody,
    Status,
    fault_proxy,
    hitting,
)
from tests.support.servers import ObjectStore, static_server

CONTENT = bytes(range(256)) * 4


@dataclass
class Service:
    """A folder behind a proxy, with the objects a and, on an object store, b/c."""

    proxy: Proxy
    url: str
    options: dict
    store: ObjectStore | None = None
    folders: dict[float, Folder] = field(default_factory=dict)

    def folder(self, timeout: float = 30) -> Folder:
        """The folder, opened once for each timeout: a client of S3 takes a while to make."""
        if timeout not in self.folders:
            schedule, self.proxy.schedule = self.proxy.schedule, None
            folder(self.url, self.options).read("a")
            self.folders[timeout] = folder(self.url, self.options, timeout)
            self.proxy.schedule = schedule
            self.proxy.reset_counts()
        return self.folders[timeout]

    def do(self, operation: str, timeout: float = 30) -> bool:
        """Do something that takes one request; tell whether the answer and the effect are right."""
        place = self.folder(timeout)
        match operation:
            case "read":
                return place.read("a") == CONTENT
            case "write":
                place.write("new", CONTENT)
                return self.store.objects(self.url)["new"] == CONTENT
            case "remove":
                place.remove(["a"])
                return list(self.store.objects(self.url)) == ["b/c"]
            case "list":
                return place.listing() == {"a": len(CONTENT), "b/c": 1}
            case _:
                return place.names() == ["a", "b"]

    @property
    def asked(self) -> int:
        return len(self.proxy.requests)


@pytest.fixture(scope="module")
def running(request, tmp_path_factory):
    """The service whose kind is the parameter."""
    if request.param == "http":
        place = tmp_path_factory.mktemp("served")
        (place / "a").write_bytes(CONTENT)
        with static_server(place) as url, fault_proxy(url) as proxy:
            yield Service(proxy, proxy.url, {})
    else:
        store = request.getfixturevalue(request.param)
        with fault_proxy(store.endpoint) as proxy:
            yield Service(proxy, store.place(), store.through(proxy.url), store)


@pytest.fixture
def service(running):
    """The service with its two objects; nothing fails yet."""
    running.proxy.schedule = None
    if running.store:
        running.store.put(f"{running.url}/a", CONTENT)
        running.store.put(f"{running.url}/b/c", b"1")
        if "new" in running.store.objects(running.url):
            running.store.delete(f"{running.url}/new")
    running.proxy.reset_counts()
    yield running
    running.proxy.schedule = None


def on(*rows):
    """Run a test for these kinds of service, or rows that begin with one.

    Google's emulator is slow, and so is it to wait until an answer is late; over HTTP, one waits less.
    """
    rows = [row if isinstance(row, tuple) else (row,) for row in rows]
    names = ["running", "operation", "fault", "error"][: len(rows[0])]
    params = [
        pytest.param(
            *row,
            marks=[pytest.mark.slow] if row[0] == "gcs" or (row[0] == "s3" and row[-1] in HUNG) else [],
            id="-".join(map(str, row)),
        )
        for row in rows
    ]
    return pytest.mark.parametrize(names, params, indirect=["running"])


HUNG = (Stall(), StallBody())
PASSING = (
    *(Status(code) for code in (408, 429, 500, 502, 503, 504)),
    *(Reset(), Drop(), CutBody(), ResetBody(), *HUNG),
)
CORRUPTED = (Flip(3), CutSilently())
"""What clients of object stores find by a checksum of the transfer."""

OTHERS = ("write", "remove", "list", "names")


@on(
    *(("http", "read", fault) for fault in PASSING),
    *(("s3", "read", fault) for fault in (*PASSING, *CORRUPTED)),
    *(("s3", operation, fault) for operation in OTHERS for fault in (Status(503), ResetBody())),
    *(("gcs", "read", fault) for fault in (Status(503), Reset(), CutBody(), StallBody())),
    *(("gcs", "write", fault) for fault in (Status(500), Reset(), *CORRUPTED)),
    *(("gcs", operation, Status(429)) for operation in ("remove", "list", "names")),
    *(
        (kind, operation, AfterWrite(fault))
        for kind in ("s3", "gcs")
        for operation in ("write", "remove")
        for fault in (Reset(), Status(503))
    ),
)
def test_transient_failures_are_retried(service, operation, fault):
    service.proxy.schedule = hitting(fault, times=1)
    assert service.do(operation, timeout=15 if fault in HUNG else 30)  # only the timeout ends these
    assert service.asked == 2


@on(*((kind, "read", fault) for kind in ("http", "s3", "gcs") for fault in (Status(503), Reset(), Stall())))
def test_retries_end_with_the_timeout(service, operation, fault):
    service.proxy.schedule = hitting(fault)
    start = time.monotonic()
    with pytest.raises(StorageError, match="2 s") as got:
        service.do(operation, timeout=2)
    assert time.monotonic() - start > 0.7
    assert service.asked >= 2
    assert not isinstance(got.value, AccessError)


@on(
    *(("http", "read", Status(code), AccessError) for code in (401, 403)),
    *(
        (kind, operation, Status(code), AccessError)
        for kind in ("s3", "gcs")
        for operation in ("read", *OTHERS)
        for code in (401, 403)
    ),
    *((kind, "read", Status(code), StorageError) for kind in ("http", "s3") for code in (400, 412, 501)),
)
def test_refusals_are_raised_at_once(service, operation, fault, error):
    service.proxy.schedule = hitting(fault)
    with pytest.raises(error, match=f"status {fault.code}") as got:
        service.do(operation)
    assert type(got.value) is error
    assert isinstance(got.value, PermissionError if error is AccessError else OSError)
    assert service.asked == 1


@on("http", "s3", "gcs")
def test_absence_is_raised_at_once(service):
    place = service.folder()
    with pytest.raises(FileNotFoundError) as got:
        place.read("nothing")
    assert str(got.value) == f"{place.url}/nothing"
    assert not isinstance(got.value, StorageError)
    assert service.asked == 1


def unused_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


@pytest.mark.parametrize("kind", ["http", "s3"])
@pytest.mark.parametrize("host", ["127.0.0.1", "nowhere.invalid"])
def test_wrong_address_is_told_at_once(kind, host, monkeypatch):
    """A refused connection is tried again for a twelfth of the timeout."""
    pauses = []
    monkeypatch.setattr(module, "sleep", pauses.append)
    address = f"http://{host}:{unused_port()}"
    options = {"key": "k", "secret": "s", "endpoint_url": address}
    place = folder(address, None, 30) if kind == "http" else folder("s3://bucket/a.zarr", options, 30)
    with pytest.raises(StorageError):
        place.read("a")
    assert sum(pauses) < 2.5
    assert bool(pauses) == (host == "127.0.0.1")


@on("http")
def test_network_that_was_away_is_found_again(service, monkeypatch):
    """A server that has answered before may refuse connections, as while it is started again."""
    place = service.folder()
    service.proxy.cut()
    try:
        with monkeypatch.context() as patch, pytest.raises(StorageError):
            patch.setattr(module, "sleep", lambda _: None)
            place.read("a")
        back = threading.Timer(0.5, service.proxy.restore)
        back.start()
        assert place.read("a") == CONTENT
        back.join()
    finally:
        service.proxy.restore()
    assert place.read("a") == CONTENT


# Pauses


@on("http", "s3")
def test_server_says_how_long_to_wait(service):
    service.proxy.schedule = hitting(Status(503, {"Retry-After": "1"}), times=1)
    assert service.do("read")
    first, second = (got.started for got in service.proxy.requests)
    assert second - first >= 1


@on("http")
def test_server_asks_for_more_time_than_there_is(service):
    service.proxy.schedule = hitting(Status(429, {"Retry-After": "86400"}))
    with pytest.raises(StorageError, match="429"):
        service.do("read")
    assert service.asked == 1


@on("http")
def test_a_pause_that_is_asked_for_does_not_count_if_it_helps(service):
    """It may be longer than the timeout; but not a second time, if nothing was answered since."""
    limited = Status(429, {"Retry-After": "7"})
    place = service.folder(6)
    service.proxy.schedule = hitting(limited, times=1)
    assert place.read("a") == CONTENT
    service.proxy.reset_counts()
    service.proxy.schedule = hitting(limited)
    with pytest.raises(StorageError, match="429"):
        place.read("a")
    assert service.asked == 2


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "²"}, 0),
        ({"Retry-After": "soon"}, 0),
        ({"Retry-After": "-1"}, 0),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, math.inf),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0),
        ({"RateLimit": '"resolvers";r=0;t=55', "RateLimit-Policy": '"resolvers";q=3000;w=300'}, 55),
        ({"RateLimit": '"resolvers";r=2990;t=250'}, 0),  # told in every answer
        ({"RateLimit-Remaining": "7", "RateLimit-Reset": "250"}, 0),
        ({"RateLimit": "limit=100, remaining=0, reset=5", "RateLimit-Reset": "5"}, 5),
        ({}, 0),
    ],
)
def test_what_a_server_asks_to_wait(headers, seconds):
    error = aiohttp.ClientResponseError(None, (), status=429, headers=headers)
    found = transport_errors.asked_pause(error)
    assert found == seconds or (seconds == math.inf and found > 1e10)
    error = botocore.exceptions.ClientError(
        {"ResponseMetadata": {"HTTPHeaders": {name.lower(): value for name, value in headers.items()}}},
        "Get",
    )
    assert transport_errors.asked_pause(error) == pytest.approx(found, abs=5)


def test_pauses_grow_and_are_bounded_and_jittered():
    runs = [list(itertools.islice(module.pauses(), 12)) for _ in range(200)]
    for number, drawn in enumerate(zip(*runs, strict=True)):
        longest = min(module.FIRST_PAUSE * 2**number, module.MAX_PAUSE)
        assert longest / 2 <= min(drawn) < longest * 0.6
        assert longest * 0.9 < max(drawn) <= longest


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self):
        self.now, self.slept = 0.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def with_retries(request, timeout=60):
    return module.with_retries(request, "cannot do it", timeout, Line())


@pytest.mark.parametrize("lasts", [0, 1, 7, 20, 100])
def test_silence_and_pauses_stay_within_the_timeout(monkeypatch, lasts):
    """Of a try that takes longer than a silent one may, something has come."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "sleep", clock.sleep)
    silent = []

    def request(attempt):
        attempt.began = clock.now
        silent.append(min(lasts, attempt.silence))
        clock.now += lasts
        raise TimeoutError

    with pytest.raises(StorageError, match="TimeoutError"):
        with_retries(request)
    assert 60 - module.MAX_PAUSE <= sum(silent) + sum(clock.slept) <= 60 + 20
    assert len(silent) >= 3
    assert len(clock.slept) == len(silent) - 1
    assert max(clock.slept, default=0) <= module.MAX_PAUSE


def test_what_is_kept_gives_new_time(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "sleep", clock.sleep)
    tries = iter(range(50))

    def request(attempt):
        attempt.began = clock.now
        clock.now += 20
        attempt.kept = True
        if next(tries) < 40:
            raise TimeoutError
        return "whole"

    assert with_retries(request) == "whole"


@pytest.mark.parametrize("error", [KeyError("a"), ZeroDivisionError(), KeyboardInterrupt()])
def test_mistakes_of_ours_are_not_taken_for_faults(error):
    def request(_):
        raise error

    with pytest.raises(type(error)):
        with_retries(request)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "soon", None])
def test_timeouts_that_are_none(timeout):
    with pytest.raises(InputError, match="timeout"):
        folder("memory://a", None, timeout)


# The clients' classes


@pytest.mark.parametrize("table", ["CLIENT_ERRORS", "PERMANENT_ERRORS", "TRANSIENT_ERRORS"])
def test_the_clients_still_have_the_errors_that_are_looked_for(table):
    for name, attributes in getattr(transport_errors, table).items():
        if name.startswith("httpx") and importlib.util.find_spec(name) is None:
            continue
        module = importlib.import_module(name)
        expected = tuple(getattr(module, attribute) for attribute in attributes)
        assert transport_errors._imported({name: attributes}) == expected
        assert all(issubclass(each, Exception) for each in expected)


# Secrets

SECRET = "s3cr3t"


def told(error):
    """Everything that people see of an error."""
    return "\n".join([str(error), repr(error), *map(str, error.args), *traceback.format_exception(error)])


@pytest.fixture
def logged(caplog):
    """Everything that cop_zarr logs."""
    caplog.set_level(logging.DEBUG, "cop_zarr")

    def read():
        ours = [record for record in caplog.records if record.name.startswith("cop_zarr")]
        return "\n".join(map(logging.Formatter().format, ours))

    return read


FAILING = (
    Status(403, body=b"denied: " + SECRET.encode()),
    Status(404, body=SECRET.encode()),
    Status(503, {"X-Told": SECRET}, SECRET.encode()),
    Reset(),
)


def with_user(service):
    return service.proxy.url.replace("://", f"://me:{SECRET}@")


def signed(service):
    return f"{service.proxy.url}/a?X-Amz-Signature={SECRET}"


def with_header(service):
    return folder(service.proxy.url, {"headers": {"Authorization": f"Bearer {SECRET}"}}, 0.2)


def key(service):
    """The secret of a key never travels; its token does."""
    return {**service.options, "key": "AKIA", "secret": SECRET, "token": f"token-{SECRET}"}


def with_key(service):
    return folder(service.url, key(service), 0.2)


WAYS = {
    "http": {
        "user": lambda service, _: folder(with_user(service), None, 0.2).read("a"),
        "header": lambda service, _: with_header(service).read("a"),
        "open": lambda service, _: cop_zarr.open(with_user(service), timeout=0.2),
        "archive": lambda service, _: folder(f"zip://a.zarr::{with_user(service)}/a", None, 0.2).read("a"),
        "copy": lambda service, path: fetch(signed(service), path, timeout=0.2),
        "source": lambda service, path: cop_zarr.ingest(signed(service), path, timeout=0.2),
    },
    "s3": {
        "read": lambda service, _: with_key(service).read("a"),
        "write": lambda service, _: with_key(service).write("new", b"1"),
        "remove": lambda service, _: with_key(service).remove(["a"]),
        "list": lambda service, _: with_key(service).listing(),
        "lock": lambda service, _: with_key(service).locked().__enter__(),
        "open": lambda service, _: cop_zarr.open(service.url, storage_options=key(service), timeout=0.2),
        "copy": lambda service, path: fetch(f"{service.url}/a", path, key(service), timeout=0.2),
    },
}
"""Requests that hold a secret; the second argument is a path where nothing is."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("running", "way"), [(kind, way) for kind, ways in WAYS.items() for way in ways], indirect=["running"]
)
def test_no_secret_is_told(service, way, tmp_path, logged):
    texts = []
    for fault in FAILING:
        service.proxy.schedule = hitting(fault)
        try:
            WAYS["s3" if service.store else "http"][way](service, tmp_path / "new")
        except (CopZarrError, FileNotFoundError) as error:
            texts.append(told(error))
    assert len(texts) >= 3  # nothing is there to be listed or removed after a 404
    assert SECRET not in "".join([*texts, logged()])


@on("http")
@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("status", [403, 404, 500])
def test_signed_address_that_one_was_sent_to_is_not_told(service, status, logged):
    service.proxy.reset_counts()
    target = f"{service.proxy.url}/cdn?X-Amz-Signature={SECRET}"
    service.proxy.schedule = lambda _, __, path: (
        Status(status) if "cdn" in path else Status(302, {"Location": target})
    )
    with pytest.raises((StorageError, FileNotFoundError)) as got:
        folder(service.url).read("a")
    assert SECRET in service.proxy.requests[1].path
    assert SECRET not in told(got.value) + logged()


@on("http")
def test_tries_are_logged(service, logged):
    service.proxy.schedule = hitting(Status(503), times=1)
    assert service.do("read")
    assert "503" in logged()


@pytest.mark.parametrize(
    "url",
    [
        f"http://h/a.zarr?X-Amz-Signature={SECRET}",
        f"https://[me:{SECRET}@h/a.zarr",
        f"nonsense://me:{SECRET}@h/a.zarr",
        f"zip://a::nonsense://me:{SECRET}@h/a.zip",
        f"http://me:{SECRET}@127.0.0.1:notaport/a.zarr",
        f"http://me:{SECRET}@127.0.0.1:9/a.zarr",
    ],
)
def test_addresses_that_are_none_are_told_without_their_secret(url, logged):
    with pytest.raises(CopZarrError) as got:
        cop_zarr.open(url, timeout=1)
    assert SECRET not in told(got.value) + logged()
