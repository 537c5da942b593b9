"""Processes that ask one library each, and are asked by lines of JSON; see ``cases/asking.py``."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CASES = Path(__file__).resolve().parent / "cases"

COP_ZARR = "cop-zarr"
READER = "rs-embed reader"
API = "rs-embed API"
TENSORSTORE = "TensorStore"
ZARR = "zarr-python"
ZARRS = "zarrs"
XARRAY = "xarray"
RASTERIO = "rasterio"
LIMIT = "limit"


class WorkerError(RuntimeError):
    """A worker ended instead of answering; the message is the last line of its stderr."""


@dataclass(frozen=True)
class Peer:
    """Who is asked.

    Attributes
    ----------
    name : str
        As in the table.
    script : str
        Its worker, in ``cases/``.
    arguments : tuple of str
        Of the worker, after the setting.
    python : str
        The interpreter.
    way : str
        Put before the names of cases, for a worker that asks in several ways.
    fresh : bool
        Whether a worker of its own is made to measure the memory of each case. If not, what is measured
        is the peak of the one worker so far.
    """

    name: str
    script: str
    arguments: tuple[str, ...] = ()
    python: str = sys.executable
    way: str = ""
    fresh: bool = True


def peers(rs_embed: str) -> list[Peer]:
    """Everybody, this project first; ``rs_embed`` is the interpreter that has it, or empty."""
    rival = [
        Peer(READER, "ask_rs_embed.py", python=rs_embed, way="reader/", fresh=False),
        Peer(API, "ask_rs_embed.py", python=rs_embed, way="api/", fresh=False),
    ]
    return [
        Peer(COP_ZARR, "ask_cop_zarr.py"),
        *(rival if rs_embed else ()),
        Peer(TENSORSTORE, "ask_tensorstore.py"),
        Peer(ZARR, "ask_zarr.py"),
        Peer(ZARRS, "ask_zarr.py", ("--zarrs",)),
        Peer(XARRAY, "ask_xarray.py"),
        Peer(RASTERIO, "ask_rasterio.py"),
        Peer(LIMIT, "ask_limit.py"),
    ]


class Worker:
    """One worker's process. Starts at the first question, and again after it died."""

    def __init__(self, peer: Peer, setting: Mapping[str, str], environment: Mapping[str, str]) -> None:
        self._command = [peer.python, str(CASES / peer.script), json.dumps(setting), *peer.arguments]
        self._environment = dict(environment)
        self._process: subprocess.Popen[str] | None = None
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # lives as long as this does

    def ask(self, case: str, **question: object) -> dict[str, Any]:
        """Ask one question.

        Raises
        ------
        WorkerError
            If the worker ends, or cannot be started.
        """
        process = self._process or self._start()
        self._send(process, {"case": case, **question})
        return self._answer(process)

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(
                self._command,
                stdin=pipe,
                stdout=pipe,
                stderr=self._errors,
                env=self._environment,
                text=True,
            )
        except OSError as error:
            raise WorkerError(str(error)) from error
        self._process = process
        self._answer(process)  # that it is ready
        return process

    @staticmethod
    def _send(process: subprocess.Popen[str], question: Mapping[str, object]) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return  # it has died; reading its answer tells

    def _answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if line:
            return dict(json.loads(line))
        self.close()
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines()
        raise WorkerError(said[-1] if said else f"ended with status {process.returncode}")
