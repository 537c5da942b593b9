"""Queries over networks and servers that fail: every answer is right, or there is a typed error.

``pytest tests/faults/test_faulty_network.py -s --trials 80`` asks ten times as much, and prints the counts.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

import cop_zarr
from cop_zarr.errors import (
    AccessError,
    ChunkError,
    CopZarrError,
    InputError,
    StorageError,
    StoreError,
)
from tests.support.proxy import (
    TRANSIENT,
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
    seeded,
)
from tests.support.questions import Part, Question
from tests.support.servers import s3_server, static_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PART = Part((200, 264), (580, 660))
"""8 x 10 chunks; the western 2 x 8 hold no data."""

CHUNK = Part((200, 208), (600, 608))
"""One chunk."""

ASKED = {"ranges": 50, "no ranges": 45, "s3": 30}
"""Questions to each server for each trial; asked twice, under faults that pass and under worse ones."""

AT_ONCE = 12
"""Threads that ask."""

OPENING = threading.Lock()
"""S3 clients are made one after the other anyway, in fsspec's one loop; each has its timeout for itself."""

LASTING = (
    *(Status(code) for code in (400, 401, 403, 404, 410, 416)),
    Status(302, {"Location": "http://127.0.0.1:9/"}),
    *(Flip(place) for place in (0, 5, 30, 200, 1 << 20)),
    *(CutSilently(share) for share in (0.0, 0.5, 0.999)),
    CutBody(0.0),
    StallBody(0.5),
    Stall(),
)
"""What a retry does not always mend, or not within the timeout."""


@dataclass
class Site:
    """A store behind a proxy.

    ``patience`` is what timeouts are multiplied by: a first request to S3 has botocore read its tables.
    """

    url: str
    proxy: Proxy
    options: dict[str, Any] = field(default_factory=dict)
    patience: float = 1

    def open(self, timeout: float = 60, **options: Any) -> cop_zarr.Store:
        return cop_zarr.open(
            self.url,
            storage_options=self.options,
            timeout=self.patience * timeout,
            cache_bytes=0,  # what is in memory is not asked for
            **options,
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with the store a.zarr, and one.zarr of a single chunk."""
    place = tmp_path_factory.mktemp("site")
    for name, part in (("a", PART), ("one", CHUNK)):
        cop_zarr.ingest(part.write(place / f"{name}.tif"), place / f"{name}.zarr")
    return place


@pytest.fixture(
    scope="module",
    params=["ranges", *(pytest.param(name, marks=pytest.mark.slow) for name in ("no ranges", "s3"))],
)
def any_site(request, place) -> Iterator[Site]:
    if request.param == "s3":
        with s3_server() as s3, fault_proxy(s3.endpoint) as proxy:
            url = s3.place()
            cop_zarr.ingest(place / "a.tif", url, storage_options=s3.options)
            yield Site(url, proxy, s3.through(proxy.url), patience=3)
    else:
        with (
            static_server(place, ranges=request.param == "ranges") as base,
            fault_proxy(base) as proxy,
        ):
            yield Site(f"{proxy.url}/a.zarr", proxy)


@pytest.fixture
def site(any_site) -> Iterator[Site]:
    """A store at a server of each kind; its network is in order at first."""
    any_site.proxy.schedule = None
    any_site.proxy.reset_counts()
    yield any_site
    any_site.proxy.schedule = None


def outcome(store: cop_zarr.Store, question: Question) -> str:
    """Right, wrong, or the name of a typed error; any other error is let through."""
    try:
        data = question.ask(store)
    except InputError:
        raise
    except CopZarrError as error:
        return type(error).__name__
    return "right" if question.answered_by(data) else f"wrong: {question}"


def interrogate(site: Site, name: str, count: int, timeout: float) -> Counter[str]:
    """Ask many questions from several threads; a store is opened anew for each few."""
    few = 10 if site.patience == 1 else 30

    def some(first: int) -> list[str]:
        try:
            with OPENING:
                store = site.open(timeout)
        except CopZarrError as error:
            store = None
            found = [f"{type(error).__name__} (to open)"]
        else:
            found = []
        if store is not None:
            numbers = range(first, min(first + few, count))
            found += [outcome(store, PART.draw(f"{name}/{number}")) for number in numbers]
        return found

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return Counter(each for found in pool.map(some, range(0, count, few)) for each in found)


def until(what) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


T = TypeVar("T")


def calmly(what: Callable[[], T]) -> T:
    """Do again what a machine that stood still for a second has kept beyond its short timeout."""
    for _ in range(4):
        with contextlib.suppress(StorageError):
            return what()
    return what()


def print_counts(request, counts: Counter[str]) -> None:
    print(f"\n{request.node.name}: {counts.total()} outcomes: {dict(counts.most_common())}")  # noqa: T201


def test_faults_that_pass_are_not_noticed(request, site, trials):
    """An eighth of all requests fails, and nobody is told."""
    name = request.node.callspec.id
    count = ASKED[name] * trials
    site.proxy.schedule = seeded(1, 0.125)
    counts = interrogate(site, f"passing {name}", count, timeout=60)
    print_counts(request, counts)
    assert counts == {"right": count}
    hit = [got for got in site.proxy.requests if got.fault]
    assert len(hit) > len(site.proxy.requests) / 12
    assert {type(got.fault) for got in hit} == {type(fault) for fault in TRANSIENT}


@pytest.mark.slow
def test_no_fault_makes_a_wrong_answer(request, site, trials):
    """Faults that do not pass are mixed in: there are errors, each of cop_zarr's own."""
    name = request.node.callspec.id
    count = ASKED[name] * trials
    site.proxy.schedule = seeded(2, 0.1, (*TRANSIENT, *LASTING))
    counts = interrogate(site, f"lasting {name}", count, timeout=1.5)
    print_counts(request, counts)
    assert not [each for each in counts if each.startswith("wrong")]
    assert counts["right"] > count / 3
    assert "StorageError" in counts  # others are rarer; which of them come depends on the threads


# One fault on one object, each time it is asked for

ZARR_JSON, TABLE, VALID = "zarr.json", "integrity/embedding/c/0/0/0", "valid/c/0/0"
ONLY_CHUNK = "embedding/c/0/0/0"

SINGLE: list[tuple[Fault, type[Exception] | None]] = [
    (Slow(0.1), None),
    (Status(404), FileNotFoundError),
    *((Status(code), AccessError) for code in (401, 403)),
    *((Status(code), StorageError) for code in (400, 410, 429, 500, 501, 503)),
    *((fault, StorageError) for fault in (Reset(), Drop(), Stall(), StallBody(0.5), StallBody(0.0))),
    *((fault, StorageError) for fault in (CutBody(0.0), CutBody(0.5), ResetBody(0.5), ResetBody(0.999))),
    *((Flip(place), StoreError) for place in (0, 4, 12, -1)),
    *((CutSilently(share), StoreError) for share in (0.0, 0.9)),
]
"""Faults, and the errors that they are to lead to; None where the answer is right all the same."""


def patience(number: int) -> float:
    """The timeout for a fault: short only where nothing else ends the trying, whatever the machine does."""
    fault, _ = SINGLE[number]
    at_once = fault in [Status(code) for code in (400, 401, 403, 404, 410, 501)]
    return 60 if at_once or isinstance(fault, Slow | Flip | CutSilently) else 1.5


def expected(number: int, key: str) -> type[Exception] | None:
    """The error that a fault on this object is to lead to."""
    error = SINGLE[number][1]
    if error is FileNotFoundError:
        return StoreError if key == ZARR_JSON else ChunkError  # its copy tells that there was a store
    return ChunkError if error is StoreError and key != ZARR_JSON else error


def test_each_fault_on_each_object(place, tmp_path):
    """Each of a hundred stores has one object that one thing always happens to."""
    objects = (ZARR_JSON, TABLE, VALID, ONLY_CHUNK)
    cases = [(number, key) for number in range(len(SINGLE)) for key in objects]
    for number in range(len(cases)):
        link_tree(place / "one.zarr", tmp_path / f"{number}.zarr")

    def schedule(_: int, __: str, path: str) -> Fault | None:
        number, _, key = path.strip("/").partition(".zarr/")
        fault, hit = cases[int(number)]
        return SINGLE[fault][0] if key == hit else None

    with static_server(tmp_path) as base, fault_proxy(base, schedule) as proxy:

        def ask(number: int) -> type[Exception] | None:
            try:
                store = cop_zarr.open(f"{proxy.url}/{number}.zarr", timeout=patience(cases[number][0]))
                assert CHUNK.all().answered_by(CHUNK.all().ask(store))
            except CopZarrError as error:
                return type(error)
            return None

        with ThreadPoolExecutor(40) as pool:
            found = list(pool.map(ask, range(len(cases))))
    wrong = [
        (SINGLE[number][0], key, got)
        for (number, key), got in zip(cases, found, strict=True)
        if got is not expected(number, key)
    ]
    assert wrong == []


def link_tree(source: Path, target: Path) -> None:
    """Copy a store without copying its bytes."""
    for path in source.rglob("*"):
        if path.is_file():
            there = target / path.relative_to(source)
            there.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, there)


def used(site: Site, timeout: float) -> cop_zarr.Store:
    """A store of which everything but its chunks has been read."""
    store = site.open(timeout)
    assert store.valid.any()
    return store


def test_each_fault_on_a_chunk(site):
    """Of a store's chunks, each always has another fault; what one has is no harm to the others."""
    places = [(number % 8, 2 + number // 8) for number in range(len(SINGLE))]  # columns 0 and 1 are empty
    keys = [f"embedding/c/0/{row}/{col}" for row, col in places]
    stores = {timeout: calmly(functools.partial(used, site, timeout)) for timeout in (1.5, 60)}
    site.proxy.reset_counts()
    site.proxy.schedule = lambda _, __, path: next(
        (fault for (fault, _), key in zip(SINGLE, keys, strict=True) if path.endswith(key)), None
    )

    def ask(number: int) -> str:
        row, col = 200 + 8 * places[number][0], 580 + 8 * places[number][1]
        asked = Question("grid", PART.bands, (row, row + 8), (col, col + 8))
        # S3's client finds damage by itself, and it is tried again
        again = site.options and isinstance(SINGLE[number][0], Flip | CutSilently)
        return outcome(stores[1.5 if again else patience(number)], asked)

    with ThreadPoolExecutor(len(places)) as pool:
        found = list(pool.map(ask, range(len(places))))
    errors = [expected(number, key) for number, key in enumerate(keys)]
    names = ["right" if error is None else error.__name__ for error in errors]
    if site.options:  # S3 sends checksums of its own, and its client looks at them
        names = [
            got if wanted == "ChunkError" and got == "StorageError" else wanted
            for wanted, got in zip(names, found, strict=True)
        ]
    assert found == names
    assert len(site.proxy.asked("GET", keys[1])) == 1  # a 404


# Errors that say what is wrong, and soon


def test_denied_access_is_said_at_once(site):
    site.proxy.schedule = hitting(Status(403))
    with pytest.raises(AccessError, match="access denied"):
        site.open()
    assert len(site.proxy.requests) == 1
    site.proxy.schedule = None
    store = site.open()
    site.proxy.reset_counts()
    site.proxy.schedule = hitting(Status(403), path="embedding/c/0/3/5")
    with pytest.raises(AccessError, match="access denied"):
        PART.all().ask(store)
    assert len(site.proxy.asked("GET", "embedding/c/0/3/5")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("fault", [StallBody(0.5), Status(503)], ids=["stall", "503"])
def test_the_timeout_holds(site, fault):
    """Neither opening nor a query of many chunks takes much longer than one object may."""
    store = calmly(functools.partial(used, site, 1))
    site.proxy.schedule = hitting(fault)
    for attempt in (functools.partial(site.open, 1), functools.partial(PART.all().ask, store)):
        began = time.monotonic()
        with pytest.raises(StorageError):
            attempt()
        assert time.monotonic() - began < 8 * site.patience  # one after the other, 64 chunks take 64
    site.proxy.schedule = None
    assert PART.all().answered_by(calmly(functools.partial(PART.all().ask, store)))
    assert [thread.name for thread in threading.enumerate() if "cop-zarr-read" in thread.name] == []


@pytest.mark.slow
def test_the_network_goes_away_and_comes_back(site):
    """Threads that ask while the network is away for a while get their answers all the same."""
    store = site.open(timeout=20)
    stop = threading.Event()
    each = [Counter[str]() for _ in range(4)]

    def ask(number: int) -> None:
        while not stop.is_set():
            each[number][outcome(store, PART.draw(f"away/{number}/{each[number].total()}"))] += 1

    def answered(before: list[int]) -> bool:
        return all(found["right"] > count for found, count in zip(each, before, strict=True))

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, number) for number in range(4)]
        try:
            until(lambda: answered([0] * 4))
            site.proxy.cut()
            time.sleep(0.5)
            before = [found["right"] for found in each]
            site.proxy.restore()
            until(lambda: answered(before))
        finally:
            stop.set()
        for thread in asking:
            thread.result()
    counts = sum(each, Counter())
    assert not [each for each in counts if each.startswith("wrong")]
    assert set(counts) <= {"right", "StorageError"}  # "connection refused" is not tried again


def test_a_body_that_is_cut_unannounced_is_asked_for_again(request, site):
    """A server that announces no length may have been cut off; what is there then is compared."""
    store = site.open()
    assert store.valid.any()
    key = "embedding/c/0/3/5"
    site.proxy.schedule = hitting(CutSilently(0.5), path=key, times=1)
    site.proxy.reset_counts()
    assert PART.all().answered_by(PART.all().ask(store))
    assert len(site.proxy.asked("GET", key)) == 2
