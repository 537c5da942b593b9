"""Whole processes, timed in turn: wall seconds from start to end, and peak memory (``ru_maxrss``).

Linux counts what the *parent* had resident when it started a child as part of the child's peak. So whoever
starts processes stays small: no module up to ``__main__`` imports NumPy or cop-zarr.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.prepare import PROGRAM, Bench
from benchmarks.timings import Timings

LOG = logging.getLogger("benchmarks")
PEERS = Path(__file__).resolve().parent / "peers"
RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""``ru_maxrss`` is in KiB on Linux and in bytes on macOS (getrusage(2) of each)."""

BOX = ("120", "30", "122", "32")
"""9 x 9 cells at the mouth of the Yangtze, all of them in one tile of the source."""

WINDOW = ("232", "241", "1200", "1209")
"""The same cells: first and last row, first and last column, the last excluded."""

GLOBE_BOX = ("-180", "-90", "180", "90")
THREADS = min(4, os.cpu_count() or 1)
"""What an ingest takes by default."""

QUERIES_A_ROUND = 3
COMPONENTS_COUNT = "64"

INGEST = "cop-zarr ingest"
DECODE = "decode the tiles, no more"
TO_ZARR = "rioxarray to_zarr"
RS_EMBED = "rs-embed first query"
QUERY = "cop-zarr first query"
ZARR = "zarr-python first query"
RASTERIO = "rasterio first query"
NUMPY = "import NumPy, no more"
GLOBE = "cop-zarr mean of the globe"
COMPONENTS = "cop-zarr components"
PCA = "scikit-learn PCA"


def run(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, int]:
    """Run one process to its end: its wall seconds and peak bytes."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=dict(environment))
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait for it again
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return seconds, usage.ru_maxrss * RSS_UNIT


def script(name: str, *arguments: str, python: str = sys.executable) -> tuple[str, ...]:
    """The command that runs a script of ``peers``."""
    return python, str(PEERS / name), *arguments


Commands = Iterator[tuple[str, Sequence[str]]]
"""Titles and commands, in the order of their turns."""


def measure(bench: Bench, commands: Callable[[Bench, str], Commands]) -> dict[str, Timings]:
    """Run everything in turn, in each round; before each run the disk may take what was written.

    ``commands`` is one of the functions below, which is given the path of a store that is made anew.
    """
    fresh = bench.work / "fresh.zarr"
    found: dict[str, Timings] = {}
    for number in range(1, bench.rounds + 1):
        for title, command in commands(bench, str(fresh)):
            if title == TO_ZARR and number > 1:  # it takes half a minute
                continue
            if str(fresh) in command:
                shutil.rmtree(fresh, ignore_errors=True)
            os.sync()
            seconds, peak_bytes = run(command, bench.environment)
            timings = found.setdefault(title, Timings())
            timings.add(number, [seconds])
            timings.peak_bytes = max(timings.peak_bytes, peak_bytes)
            LOG.info("round %d of %d  %s: %.2f s", number, bench.rounds, title, seconds)
    shutil.rmtree(fresh, ignore_errors=True)
    return found


def component_commands(bench: Bench, _: str) -> Commands:
    """Components of all cells: derived and kept, and in memory by another library."""
    store = str(bench.store_with_components)
    yield COMPONENTS, (PROGRAM, "components", store, "--count", COMPONENTS_COUNT, "--overwrite")
    yield PCA, _process("scikit_learn", str(bench.store), COMPONENTS_COUNT)


def store_commands(bench: Bench, fresh: str) -> Commands:
    """Ingests, and first queries."""
    tif, store = str(bench.source), str(bench.store)
    yield INGEST, (PROGRAM, "ingest", tif, fresh)
    yield DECODE, _process("decode", tif, str(THREADS))
    yield TO_ZARR, _process("to_zarr", tif, fresh)
    if bench.rs_embed:
        yield RS_EMBED, _process("rs_embed", *BOX, python=bench.rs_embed)
    for _ in range(QUERIES_A_ROUND):
        yield QUERY, _process("cop_zarr", store, *BOX)
        yield ZARR, _process("zarr", store, *WINDOW)
        yield "TensorStore first query", _process("tensorstore", store, *WINDOW)
        yield "xarray first query", _process("xarray", store, *WINDOW)
        yield RASTERIO, _process("rasterio", tif, *WINDOW)
        yield NUMPY, (sys.executable, "-c", "import numpy")
    yield GLOBE, _process("cop_zarr", store, *GLOBE_BOX)


def _process(name: str, *arguments: str, python: str = sys.executable) -> tuple[str, ...]:
    return script("whole_process.py", name, *arguments, python=python)
