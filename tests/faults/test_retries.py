"""What passes is tried again, what lasts is told at once, and no secret is told at all."""

from __future__ import annotations

import importlib.util
import itertools
import logging
import socket
import time
import traceback
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import pytest

import cop_zarr
from cop_zarr.errors import (
    AccessError,
    CopZarrError,
    InputError,
    StorageError,
)
from cop_zarr.storage import fetch, folder, transport_errors
from cop_zarr.storage import retries as module
from tests.support.proxy import (
    AfterWrite,
    CutBody,
    CutSilently,
    Drop,
    Fault,
    Flip,
    Proxy,
    Reset,
    ResetBody,
    Slow,
    Stall,
    StallBody,
    Status,
    fault_proxy,
    hitting,
)
from tests.support.servers import ObjectStore, gcs_server, s3_server, static_server

CONTENT = bytes(range(256)) * 4
PASSING = [
    *map(Status, (408, 429, 500, 502, 503, 504)),
    Reset(),
    Drop(),
    CutBody(),
    ResetBody(),
    Stall(),
    StallBody(),
]


def named(fault):
    return str(fault).replace("headers={}, body=b''", "").replace(", )", ")")


@dataclass
class Service:
    """A server behind a proxy, and a place on it with two objects, a and b/c."""

    proxy: Proxy
    url: str
    options: dict
    store: ObjectStore | None = None
    places: dict = field(default_factory=dict)
    fault: Fault | None = None

    def place(self, timeout):
        """The place, opened once: a client of S3 takes a while to make."""
        if timeout not in self.places:
            self.places[timeout] = made = folder(self.url, self.options, timeout)
            schedule, self.proxy.schedule = self.proxy.schedule, None
            with suppress(OSError):
                made.read("a")
            self.proxy.schedule = schedule
            self.proxy.reset_counts()
        return self.places[timeout]

    def put(self, key, data):
        self.store.put(f"{self.url}/{key}", data)

    def suffer(self, fault, times=None, **which):
        """Fail from now on, counting anew."""
        self.proxy.reset_counts()
        self.proxy.schedule = hitting(fault, times=times, **which)
        self.fault = fault.fault if isinstance(fault, AfterWrite) else fault

    @property
    def asked(self):
        return len(self.proxy.requests)


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    """Give a service by its kind; each is started once, when it is first asked for."""
    started = {}
    with ExitStack() as stack:

        def start(kind):
            if kind in started:
                return started[kind]
            if kind == "http":
                place = tmp_path_factory.mktemp("served")
                (place / "a").write_bytes(CONTENT)
                proxy = stack.enter_context(fault_proxy(stack.enter_context(static_server(place))))
                made = Service(proxy, proxy.url, {})
            else:
                store = stack.enter_context({"s3": s3_server, "gcs": gcs_server}[kind]())
                proxy = stack.enter_context(fault_proxy(store.endpoint))
                made = Service(proxy, store.place(), store.through(proxy.url), store)
            return started.setdefault(kind, made)

        yield start


@pytest.fixture
def service(services, request):
    """The service of the kind that is the parameter, whole, with its two objects."""
    made = services(request.param)
    made.proxy.schedule = None
    if made.store:
        made.put("a", CONTENT)
        made.put("b/c", b"1")
        made.store.delete(f"{made.url}/new") if "new" in made.store.objects(made.url) else None
    yield made
    made.proxy.schedule = None


def on(*kinds):
    """Run a test with services of these kinds; Google's emulator is slow."""
    params = [pytest.param(kind, marks=[pytest.mark.slow] if kind == "gcs" else []) for kind in kinds]
    return pytest.mark.parametrize("service", params, indirect=True)


def do(service, operation, timeout=None):
    """Do something that asks the server once; says whether the answer, and what it did, is right.

    The timeout is short only where nothing else ends a try.
    """
    timeout = timeout or (4.5 if isinstance(service.fault, Stall | StallBody) else 30)
    place = service.place(timeout)
    match operation:
        case "read":
            return place.read("a") == CONTENT
        case "write":
            place.write("new", CONTENT)
            return service.store.objects(service.url)["new"] == CONTENT
        case "remove":
            place.remove(["a"])
            return list(service.store.objects(service.url)) == ["b/c"]
        case "list":
            return place.listing() == {"a": len(CONTENT), "b/c": 1}
        case "names":
            return place.names() == ["a", "b"]


# What passes


@on("http")
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("fault", PASSING, ids=named)
def test_web_server_that_recovers(service, fault, times):
    service.suffer(fault, times)
    assert do(service, "read")
    assert service.asked == times + 1


@on("s3")
@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        (operation, fault)
        for operation in ("read", "write", "remove", "list", "names")
        for fault in (PASSING if operation == "read" else [Status(503), ResetBody()])
    ],
    ids=named,
)
def test_s3_that_recovers(service, operation, fault):
    service.suffer(fault, 1)
    assert do(service, operation)
    assert service.asked == 2


@on("gcs")
@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        ("read", Status(503)), ("read", Reset()), ("read", CutBody()), ("read", StallBody()),
        ("write", Status(500)), ("write", Reset()), ("write", Flip(7)), ("write", CutSilently()),
        ("remove", Status(429)), ("remove", Drop()), ("list", Status(503)), ("names", ResetBody()),
    ],
    ids=named,
)  # fmt: skip
def test_google_that_recovers(service, operation, fault):
    service.suffer(fault, 1)
    assert do(service, operation)
    assert service.asked == 2


@on("s3", "gcs")
@pytest.mark.parametrize("operation", ["write", "remove"])
@pytest.mark.parametrize("fault", [Reset(), Status(503)], ids=named)
def test_what_was_done_and_not_answered_is_done_once_more(service, operation, fault):
    service.suffer(AfterWrite(fault), 1)
    assert do(service, operation)
    assert service.asked == 2


# What lasts


@on("http", "s3", "gcs")
@pytest.mark.parametrize("fault", [Status(503), Reset(), Stall()], ids=named)
def test_server_that_never_recovers(service, fault):
    service.suffer(fault)
    start = time.monotonic()
    with pytest.raises(StorageError, match=r"cannot read .*/a: .*, \d+ times within 2 s") as got:
        do(service, "read", timeout=2)
    assert 0.7 < time.monotonic() - start < 10
    assert service.asked >= 2
    assert not isinstance(got.value, AccessError)


@on("http", "s3", "gcs")
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("operation", ["read", "write", "remove", "list", "names"])
def test_denied_access_is_told_at_once(service, operation, status):
    if service.store is None and operation != "read":
        pytest.skip("it can only be read")
    service.suffer(Status(status))
    with pytest.raises(AccessError, match=rf"access denied \(\w+, status {status}\)") as got:
        do(service, operation, timeout=30)
    assert isinstance(got.value, PermissionError)
    assert isinstance(got.value, OSError)
    assert service.asked == 1


@on("http", "s3", "gcs")
def test_absence_is_told_at_once(service):
    place = service.place(30)
    service.suffer(Slow(0))
    with pytest.raises(FileNotFoundError) as got:
        place.read("nothing")
    assert str(got.value) == f"{place.url}/nothing"
    assert not isinstance(got.value, StorageError)
    assert service.asked == 1


@on("s3", "gcs")
def test_removing_what_is_absent_is_no_error(service):
    service.suffer(Slow(0))
    service.place(30).remove(["nothing"])
    assert service.asked == 1


@on("http", "s3")
@pytest.mark.parametrize("status", [400, 412, 501])
def test_other_refusals_are_told_at_once(service, status):
    service.suffer(Status(status))
    with pytest.raises(StorageError, match=rf"status {status}$") as got:
        do(service, "read", timeout=30)
    assert type(got.value) is StorageError
    assert service.asked == 1


@on("s3")
@pytest.mark.parametrize("fault", [Flip(3), CutSilently()], ids=named)
def test_what_did_not_arrive_as_it_was_sent_is_asked_for_again(service, fault):
    """botocore knows that by a checksum of the transfer."""
    service.suffer(fault, times=1)
    assert do(service, "read", timeout=30)
    assert service.asked == 2
    service.suffer(fault)
    with pytest.raises(StorageError, match=r"(FlexibleChecksumError|Timeout\w*), .* times within 2 s"):
        do(service, "read", timeout=2)


@on("s3", "gcs")
def test_a_bucket_that_is_not_there_cannot_be_written(service):
    place = folder(f"{service.store.scheme}://nowhere/a.zarr", service.options, 5)
    with pytest.raises(StorageError, match="cannot write"):
        place.write("a", b"1")


def unused_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


@pytest.mark.parametrize("kind", ["http", "s3"])
@pytest.mark.parametrize("host", ["127.0.0.1", "nowhere.invalid"])
def test_wrong_address_is_told_at_once(kind, host):
    address = f"http://{host}:{unused_port()}"
    options = {"key": "k", "secret": "s", "endpoint_url": address}
    place = folder(address, None, 30) if kind == "http" else folder("s3://bucket/a.zarr", options, 30)
    start = time.monotonic()
    with pytest.raises(StorageError, match=r"cannot read .*: \w+ \((nothing answers|there is no host)"):
        place.read("a")
    assert time.monotonic() - start < 9  # a try may take 10 s


@on("http")
def test_network_that_was_away_is_found_again(service):
    place = service.place(30)
    assert place.read("a") == CONTENT
    service.proxy.cut()
    try:
        with pytest.raises(StorageError):
            place.read("a")
    finally:
        service.proxy.restore()
    assert place.read("a") == CONTENT


# Pauses


@pytest.mark.parametrize(
    "service",
    [
        "http",
        "s3",
    ],
    indirect=True,
)
def test_server_says_how_long_to_wait(service):
    service.suffer(Status(503, {"Retry-After": "1"}), 1)
    assert do(service, "read", timeout=30)
    first, second = (got.started for got in service.proxy.requests)
    assert 1 <= second - first < 8


@on("http")
def test_server_asks_for_more_time_than_there_is(service):
    service.suffer(Status(429, {"Retry-After": "60"}))
    with pytest.raises(StorageError, match="status 429"):
        do(service, "read", timeout=30)
    assert service.asked == 1


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


@pytest.mark.parametrize("lasts", [0, 1, 7, 100])
def test_all_tries_and_pauses_stay_within_the_timeout(monkeypatch, lasts):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    given = []

    def request(seconds):
        given.append(seconds)
        clock.now += min(lasts, seconds)
        raise TimeoutError

    with pytest.raises(StorageError, match="cannot do it: TimeoutError"):
        module.with_retries(request, "cannot do it", 60)
    assert clock.now <= 60.001
    assert max(given) == 20
    assert len(given) >= 3
    assert len(clock.slept) == len(given) - 1
    assert max(clock.slept, default=0) <= module.MAX_PAUSE


@pytest.mark.parametrize("error", [KeyError("a"), ZeroDivisionError(), KeyboardInterrupt()])
def test_mistakes_of_ours_are_not_taken_for_faults(error):
    def request(seconds):
        raise error

    with pytest.raises(type(error)):
        module.with_retries(request, "cannot do it", 60)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "soon", None])
def test_timeouts_that_are_none(timeout):
    with pytest.raises(InputError, match="timeout must be a positive number of seconds"):
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


FAILING = [
    Status(403, body=b"denied: " + SECRET.encode()),
    Status(404, body=SECRET.encode()),
    Status(503, {"X-Told": SECRET}, SECRET.encode()),
    Reset(),
    CutBody(),
    Stall(),
]


def secretive(service, way, tmp_path):  # noqa: C901, PLR0912  # one way after the other
    """Make a request that holds a secret."""
    http = service.proxy.url.replace("://", f"://me:{SECRET}@")
    bearer = {"headers": {"Authorization": f"Bearer {SECRET}"}}
    # (the secret of a key never travels, its token does)
    key = {**service.options, "key": "AKIA", "secret": SECRET, "token": f"token-{SECRET}"}
    match way:
        case "user":
            folder(http, None, 0.2).read("a")
        case "headers":
            folder(service.proxy.url, bearer, 0.2).read("a")
        case "open":
            cop_zarr.open(http, timeout=0.2)
        case "archive":
            folder(f"zip://a.zarr::{http}/a", None, 0.2).read("a")
        case "signed copy":
            fetch(f"{http}/a?X-Amz-Signature={SECRET}", tmp_path / "copy", timeout=0.2)
        case "signed source":
            url = f"{service.proxy.url}/a?X-Amz-Signature={SECRET}"
            cop_zarr.ingest(url, tmp_path / "a.zarr", timeout=0.2)
        case "key: read":
            folder(service.url, key, 0.2).read("a")
        case "key: write":
            folder(service.url, key, 0.2).write("new", b"1")
        case "key: remove":
            folder(service.url, key, 0.2).remove(["a"])
        case "key: list":
            folder(service.url, key, 0.2).listing()
        case "key: claim":
            with folder(service.url, key, 0.2).locked():
                raise AssertionError
        case "key: open":
            cop_zarr.open(service.url, storage_options=key, timeout=0.2)
        case "key: copy":
            fetch(f"{service.url}/a", tmp_path / "copy", key, timeout=0.2)


UNHURRIED = {"archive", "signed copy", "signed source", "key: copy"}
"""Here fsspec's own timeouts are in force, of some minutes."""

WAYS = {
    "http": ["user", "headers", "open", "archive", "signed copy", "signed source"],
    "s3": [f"key: {what}" for what in ("read", "write", "remove", "list", "claim", "open", "copy")],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("service", "way"), [(kind, way) for kind, ways in WAYS.items() for way in ways], indirect=["service"]
)
def test_no_secret_is_told(service, way, tmp_path, logged):
    texts = []
    for fault in FAILING:
        if isinstance(fault, Stall) and way in UNHURRIED:
            continue
        if isinstance(fault, CutBody) and way == "archive":
            continue  # see test_an_archive_that_is_none
        service.suffer(fault)
        quiet = fault.code == 404 if isinstance(fault, Status) else False
        try:
            secretive(service, way, tmp_path)
        except (CopZarrError, FileNotFoundError) as error:
            texts.append(told(error))
        else:
            assert quiet, fault
            assert way in {"key: remove", "key: list"}  # nothing is there
    assert len(texts) >= 3
    assert SECRET not in "".join([*texts, logged()])


@on("http")
@pytest.mark.parametrize("fault", [CutBody(), Flip(-10), Slow(0)], ids=named)
def test_an_archive_that_is_none(service, fault):
    service.suffer(fault)
    with pytest.raises(CopZarrError, match="cannot open zip://"):
        folder(f"zip://a.zarr::{service.proxy.url}/a", None, 1)


@on("http")
@pytest.mark.parametrize("status", [403, 404, 500])
def test_signed_address_that_one_was_sent_to_is_not_told(service, status, logged):
    service.proxy.reset_counts()
    target = f"{service.proxy.url}/cdn?X-Amz-Signature={SECRET}"
    service.proxy.schedule = lambda _, __, path: (
        Status(status) if "cdn" in path else Status(302, {"Location": target})
    )
    with pytest.raises((StorageError, FileNotFoundError)) as got:
        service.place(0.5).read("a")
    assert SECRET in service.proxy.requests[1].path
    assert SECRET not in told(got.value) + logged()


@on("http")
def test_tries_are_logged(service, logged):
    service.suffer(Status(503), 1)
    assert do(service, "read")
    assert "status 503; trying again in 0.1 s" in logged()


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
