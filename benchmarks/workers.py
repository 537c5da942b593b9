"""Every library in a process of its own: answers are compared, then all take turns in rounds."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import PIPE
from typing import Any

from benchmarks.cases import GLOBE, Case
from benchmarks.prepare import Bench
from benchmarks.processes import script
from benchmarks.timings import Timings

LOG = logging.getLogger("benchmarks")
COP_ZARR = "cop-zarr"
READER = "rs-embed reader"
API = "rs-embed API"
TENSORSTORE = "TensorStore"
NUMPY = "NumPy"
FAISS = "faiss"
SCIKIT_LEARN = "scikit-learn"
LIMIT = "limit"
LIBRARIES = {
    COP_ZARR: "cop_zarr",
    READER: "rs_embed",
    API: "rs_embed",
    TENSORSTORE: "tensorstore",
    "zarr-python": "zarr",
    "zarrs": "zarrs",
    "xarray": "xarray",
    "rasterio": "rasterio",
    NUMPY: "brute_force",
    FAISS: "faiss",
    SCIKIT_LEARN: "scikit_learn",
    LIMIT: "decoding",
}
"""The columns of the tables in order, and the functions of ``peers/libraries.py``."""

OF_GLOBE = {COP_ZARR, TENSORSTORE, NUMPY, FAISS, SCIKIT_LEARN, LIMIT}
"""What is asked for all cells; the others are not started for them."""

ONLY_OF_GLOBE = {NUMPY, FAISS, SCIKIT_LEARN}

RS_EMBED = {READER: "reader/", API: "api/"}
"""rs-embed has one worker that asks in two ways, told by the name of a case. It takes 3.2 GB."""

CASE_SECONDS = 2.0
"""A worker begins no further turn of a case once its turns in this round took so long."""

SLOW_SECONDS = 4.0
"""What took longer in the first round is not asked again."""

Table = dict[str, dict[str, Timings]]
"""By case and library."""


class Worker:
    """The process that asks one library."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command = command
        self._process = subprocess.Popen(command, stdin=PIPE, stdout=PIPE, env=environment, text=True)

    def ask(self, case: str, **request: object) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        print(json.dumps({"case": case, **request}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise subprocess.CalledProcessError(self._process.wait(), self._command)
        return dict(json.loads(line))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


class Workers:
    """All workers, and what they took for each case."""

    def __init__(self, cases: Sequence[Case], bench: Bench, setting: Mapping[str, str]) -> None:
        self.table: Table = {case.name: defaultdict(Timings) for case in cases}
        self._cases, self._environment = cases, bench.environment
        pythons = {"rs_embed": bench.rs_embed}
        groups = {case.group for case in cases}
        wanted = (OF_GLOBE if GLOBE in groups else set()) | (
            LIBRARIES.keys() - ONLY_OF_GLOBE if groups - {GLOBE} else set()
        )
        self._commands = {
            name: script("libraries.py", library, json.dumps(setting), python=python)
            for name, library in LIBRARIES.items()
            if name in wanted and (python := pythons.get(library, sys.executable))
        }
        self._workers = {command: Worker(command, bench.environment) for command in self._commands.values()}

    def compare_answers(self, folder: Path) -> None:
        """Compare every answer with cop-zarr's, before anything is timed."""
        saved = folder / "answers.npz"
        for case in self._cases:
            if case.name == "remote/open":
                continue
            LOG.info("compare answers: %s", case.name)
            for name in self._commands:
                if name == COP_ZARR:
                    self._ask(name, case, save=str(saved))
                elif name != LIMIT and (found := self._ask(name, case, against=str(saved))):
                    timings = self.table[case.name][name]
                    timings.same, timings.difference = found["same"], found["difference"]
        saved.unlink(missing_ok=True)

    def measure_round(self, number: int, counter: int, *, quick: bool) -> None:
        """One round, counted from 1: each case, of every library, in one turn if it is to be quick.

        ``counter`` is the port where requests over the network are counted.
        """
        for case in filter(lambda case: case.turns, self._cases):
            LOG.info("round %d: %s", number, case.name)
            request = {"turns": 1 if quick else case.turns, "limit_s": CASE_SECONDS}
            if case.is_remote:
                request["counter"] = counter
            for name in self._commands:
                timings = self.table[case.name].get(name, Timings())
                is_slow = max(timings.seconds, default=0) * timings.share > SLOW_SECONDS
                if is_slow and name not in {COP_ZARR, LIMIT}:
                    continue
                if found := self._ask(name, case, **request):
                    timings = self.table[case.name][name]
                    timings.add(number, found["seconds"])
                    timings.requests += found["requests"]
                    timings.moved_bytes += found["moved_bytes"]
                    timings.answer_bytes = max(timings.answer_bytes, found["answer_bytes"])
                    timings.share = found["share"]
                    if name in RS_EMBED:  # its one worker is not started for each case
                        timings.peak_bytes = timings.peak_bytes or found["peak_bytes"]

    def measure_memory(self) -> None:
        """Ask every case once, of a new process each."""
        for case in filter(lambda case: case.memory, self._cases):
            LOG.info("memory: %s", case.name)
            for name in self._commands:
                if name in self.table[case.name] and name not in {*RS_EMBED, LIMIT}:
                    worker = Worker(self._commands[name], self._environment)
                    found = worker.ask(case.name, turns=1, warm=False)
                    self.table[case.name][name].peak_bytes = found["peak_bytes"]
                    worker.close()

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers.values():
            worker.close()

    def _ask(self, name: str, case: Case, **request: object) -> dict[str, Any] | None:
        """Ask; None if the library has no way to do it."""
        found = self._workers[self._commands[name]].ask(RS_EMBED.get(name, "") + case.name, **request)
        return None if found.get("unsupported") else found
