"""Queries over networks and servers that fail: every answer is right, or there is a typed error.

``pytest tests/faults/test_faulty_network.py -s --trials 80`` asks ten times as much, and prints the counts.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import cop_zarr
from cop_zarr.errors import (
    AccessError,
    ChunkError,
    CopZarrError,
    InputError,
    StorageError,
    StoreError,
    UnreachableError,
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
from tests.support.servers import static_server

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        s3 = request.getfixturevalue("s3")
        with fault_proxy(s3.endpoint) as proxy:
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
            return [f"{type(error).__name__} (to open)"]
        numbers = range(first, min(first + few, count))
        return [outcome(store, PART.draw(f"{name}/{number}")) for number in numbers]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        counts = Counter(each for found in pool.map(some, range(0, count, few)) for each in found)
    print(f"\n{name}: {counts.total()} outcomes: {dict(counts.most_common())}")  # noqa: T201
    return counts


def test_faults_that_pass_are_not_noticed(request, site, trials):
    """An eighth of all requests fails, and nobody is told."""
    name = request.node.callspec.id
    count = ASKED[name] * trials
    site.proxy.schedule = seeded(1, 0.125)
    counts = interrogate(site, f"passing {name}", count, timeout=60)
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
    counts = interrogate(site, f"lasting {name}", count, timeout=6)
    assert not [each for each in counts if each.startswith("wrong")]
    assert counts["right"] > count / 3
    assert "StorageError" in counts  # others are rarer; which of them come depends on the threads


# One fault on one object, each time it is asked for

ZARR_JSON, TABLE, VALID = "zarr.json", "integrity/embedding/c/0/0/0", "valid/c/0/0"
ONLY_CHUNK = "embedding/c/0/0/0"

NOT_RETRIED = [
    (Slow(0.1), None),
    (Status(404), FileNotFoundError),
    *((Status(code), AccessError) for code in (401, 403)),
    *((Status(code), StorageError) for code in (400, 410, 501)),
    *((Flip(place), StoreError) for place in (0, 4, 12, -1)),
    *((CutSilently(share), StoreError) for share in (0.0, 0.9)),
]
RETRIED = (
    *(Status(code) for code in (429, 500, 503)),
    *(Reset(), Drop(), Stall(), StallBody(0.5), StallBody(0.0)),
    *(CutBody(0.0), CutBody(0.5), ResetBody(0.5), ResetBody(0.999)),
)
SINGLE: list[tuple[Fault, type[Exception] | None, float]] = [
    *((fault, error, 60) for fault, error in NOT_RETRIED),
    *((fault, UnreachableError, 1.5) for fault in RETRIED),
]
"""Faults, their errors (None: the answer is right), and timeouts, short where only they end the tries."""


def expected(number: int, key: str) -> type[Exception] | None:
    """The error that a fault on this object leads to."""
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
                store = cop_zarr.open(f"{proxy.url}/{number}.zarr", timeout=SINGLE[cases[number][0]][2])
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


@pytest.mark.slow
@pytest.mark.parametrize("fault", [StallBody(0.5), Status(503)], ids=["stall", "503"])
def test_the_timeout_holds(site, fault):
    """Neither opening nor a query of many chunks tries longer than one object may be tried."""
    store = site.open(3)
    assert store.valid.any()
    site.proxy.schedule = hitting(fault)
    for attempt in (lambda: site.open(1), lambda: PART.all().ask(store)):
        site.proxy.reset_counts()
        with pytest.raises(StorageError):
            attempt()
        assert max(Counter(got.path for got in site.proxy.requests).values()) <= 10
    site.proxy.schedule = None
    for _ in range(20):  # 3 s may be short for a try on a busy machine
        with contextlib.suppress(StorageError):
            assert PART.all().answered_by(PART.all().ask(store))
            return
    pytest.fail("the store does not answer any more")
