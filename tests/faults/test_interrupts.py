"""Ctrl-C and SIGTERM end what waits for a server, and leave everything usable."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import cop_zarr
from tests.support.interrupts import interrupted
from tests.support.patience import STUCK_SECONDS
from tests.support.proxy import Proxy, Stall, fault_proxy, hitting
from tests.support.questions import Part
from tests.support.servers import static_process

if TYPE_CHECKING:
    from collections.abc import Iterator

PART = Part((200, 264), (600, 680))
"""8 x 10 chunks with data."""

BOX = (-29, 25, -11, 39)
"""Most of its chunks."""

ROOT = Path(__file__).parents[2]

TIMEOUT = 10 * STUCK_SECONDS
"""Of a request: if it were waited for, an interrupted process would take a third of this to end."""

PATIENCE = 60.0
"""Seconds within which it ends on a busy machine; on an idle one it takes less than 2."""

ASK = """
import json, signal, sys
import cop_zarr

store = cop_zarr.open(sys.argv[1], storage_options=json.loads(sys.argv[2]), timeout=float(sys.argv[4]))
calm = store.query(json.loads(sys.argv[3])).data
store = cop_zarr.open(sys.argv[1], storage_options=json.loads(sys.argv[2]), timeout=float(sys.argv[4]))
print("ready", flush=True)
try:
    store.query(json.loads(sys.argv[3]))
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.stdin.readline()
    print((store.query(json.loads(sys.argv[3])).data == calm).all(), flush=True)
    raise
"""
"""A query that is interrupted, and asked again when a line is read."""

COMMAND = "from cop_zarr.cli import main; main()"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("site")
    cop_zarr.ingest(PART.write(place / "a.tif"), place / "a.zarr")
    return place


@pytest.fixture(scope="module", params=["http", pytest.param("s3", marks=pytest.mark.slow)])
def site(request, place) -> Iterator[tuple[str, dict, Proxy]]:
    """URL and options of a store, and the proxy that it is behind."""
    if request.param == "s3":
        s3 = request.getfixturevalue("s3")
        url = s3.place()
        cop_zarr.ingest(place / "a.tif", url, storage_options=s3.options)
        with fault_proxy(s3.endpoint) as proxy:
            yield url, s3.through(proxy.url), proxy
    else:
        with static_process(place) as base, fault_proxy(base) as proxy:
            yield f"{proxy.url}/a.zarr", {}, proxy


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def options_of(storage_options: dict) -> list[str]:
    return ["--storage-options", json.dumps(storage_options), "--timeout", str(TIMEOUT)]


def wait_until_stalled(proxy: Proxy, process: subprocess.Popen[str]) -> None:
    """Wait until no more requests come."""
    number = -1
    while process.poll() is None and (number != len(proxy.requests) or not number):
        number = len(proxy.requests)
        time.sleep(0.5)


def test_an_interrupt_ends_a_query_that_a_server_stalls(site):
    """All requests of the query are given up, and the same store answers afterwards."""
    url, options, proxy = site
    proxy.schedule = None
    process = started(ASK, url, json.dumps(options), json.dumps(BOX), str(TIMEOUT))
    assert process.stdout.readline() == "ready\n"
    proxy.reset_counts()
    proxy.schedule = hitting(Stall(), path="embedding/c")
    wait_until_stalled(proxy, process)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "interrupted\n"
    assert time.monotonic() - began < PATIENCE
    proxy.schedule = None
    out, errors = process.communicate("\n")
    assert out == "True\n", errors
    assert process.returncode == -signal.SIGINT


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
@pytest.mark.parametrize("stalled", ["zarr.json", "embedding/c"])
def test_a_signal_ends_a_command_that_a_server_stalls(site, number, stalled):
    url, options, proxy = site
    proxy.reset_counts()
    proxy.schedule = hitting(Stall(), path=stalled)
    process = started(COMMAND, "query", url, *options_of(options), "--bbox", *map(str, BOX))
    wait_until_stalled(proxy, process)
    began = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate()
    assert time.monotonic() - began < PATIENCE
    assert process.returncode == (1 if number == signal.SIGINT else 128 + number), errors


@pytest.mark.parametrize(
    "begun", [0, *(pytest.param(begun, marks=pytest.mark.slow) for begun in (3, 10, 40, 90))]
)
def test_a_signal_ends_an_ingest_that_a_server_stalls(place, s3, begun):
    """From some request on nothing is answered, not even what gives back the lock."""
    with fault_proxy(s3.endpoint, lambda number, *_: Stall() if number >= begun else None) as proxy:
        options = options_of(s3.through(proxy.url))
        process = started(COMMAND, "ingest", f"{place}/a.tif", s3.place(), *options)
        wait_until_stalled(proxy, process)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    assert time.monotonic() - began < PATIENCE
    assert process.returncode == 128 + signal.SIGTERM, errors


def remote_queries(url: str, options: str):
    """Queries over a network, and what must hold after they have been interrupted."""
    store = cop_zarr.open(
        url, storage_options=json.loads(options), workers=8, cache_bytes=0, timeout=TIMEOUT
    )
    box = (-29, 33, -22, 39)
    expected = store.query(box).data

    def attempt():
        store.query(box)

    def check():
        for _ in range(5):
            np.testing.assert_array_equal(store.query(box).data, expected)

    return attempt, check


@pytest.mark.parametrize("seconds", [2.5, pytest.param(60, marks=pytest.mark.slow)])
def test_queries_over_a_network_stand_interrupts_at_any_moment(site, seconds):
    url, options, proxy = site
    proxy.schedule = None
    interrupted(remote_queries, seconds, url, json.dumps(options))
