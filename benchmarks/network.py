"""A store over HTTP on the loopback interface, with the latency of a distant one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LATENCY_SECONDS = 0.05


@dataclass(frozen=True)
class Network:
    """Where the store is, and where its requests are counted.

    Attributes
    ----------
    url : str
        Of the store, through the proxy that is late.
    counter : int
        A port that tells the number of requests.
    """

    url: str
    counter: int


@contextmanager
def network(store: Path, environment: Mapping[str, str]) -> Iterator[Network]:
    """Serve a store, by a server and a proxy in processes of their own."""
    with (
        _process("serve_files", str(store.parent), environment=environment) as port,
        _process(
            "serve_late", f"http://127.0.0.1:{port}", str(LATENCY_SECONDS), environment=environment
        ) as late,
    ):
        url, counter = late.split()
        yield Network(f"{url}/{store.name}", int(counter))


@contextmanager
def _process(script: str, *arguments: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Run a server that says in one line where it is, and ends with its stdin."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.cases.{script}", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=dict(environment),
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"benchmarks/cases/{script}.py did not start")
        yield line
    finally:
        process.communicate()
