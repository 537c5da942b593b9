"""What has to be there before anything is measured: source, store, places, an environment for everybody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import peer
from benchmarks.measure import ProcessError, run
from benchmarks.workers import CASES

BOXES = {
    "coast": (120, 30, 122, 32),
    "inland": (85.1, 44.9, 87.3, 46.2),
    "ocean": (-150, -2, -148, 2),
    "islands": (95, -11, 150, 7),
    "one cell": (10.875, 46.875, 11.125, 47.125),
    "on cell edges": (5.125, 45.125, 7.125, 47.125),
    "four tiles": (11.3, 24.1, 12.4, 27.2),
    "south pole": (0, -90, 10, -85),
    "north pole": (-40, 82, -20, 90),
}
"""Where answers are compared. None at the antimeridian, where rs-embed stops short."""


@dataclass(frozen=True)
class Bench:
    """What there is to measure with.

    Attributes
    ----------
    work : Path
        The folder for everything large.
    source : Path
        The GeoTIFF.
    rival : Peer
        rs-embed's interpreter.
    environment : dict of str to str
        Of all processes.
    rounds : int
        How often everything has its turns.
    report : callable
        Called with a line of text now and then.
    """

    work: Path
    source: Path
    rival: peer.Peer
    environment: dict[str, str]
    rounds: int
    report: Callable[[str], None]

    @property
    def store(self) -> Path:
        """The store that is asked."""
        return self.work / "store.zarr"


def standin(work: Path) -> Path:
    """The stand-in, made if it is not there yet; in its own process, see :mod:`benchmarks.measure`."""
    path = work / "standin.tif"
    if not path.exists():
        command = [sys.executable, "-m", "benchmarks.standin", str(path)]
        subprocess.run(command, check=True, cwd=Path(__file__).resolve().parent.parent)
    return path


def environment(source: Path, work: Path) -> dict[str, str]:
    """Defaults for everybody, and scratch files of everybody on the work folder's disk."""
    scratch = work / "tmp"
    scratch.mkdir(exist_ok=True)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COP_ZARR_", "RS_EMBED_", "GDAL_", "PYTHON", "ZARR_"))
    }
    return {**kept, "TMPDIR": str(scratch), "RS_EMBED_COP_DIR": str(peer.folder(source, work))}


def places(bench: Bench, target: Path) -> dict[str, float]:
    """Choose where everybody is asked: writes the places, gives the cells of one by list of places."""
    command = [sys.executable, str(CASES / "choose_places.py"), str(bench.store), str(target)]
    return dict(json.loads(run(command, bench.environment).output))


def compare(bench: Bench) -> dict[str, Any] | str:
    """Compare answers with rs-embed's: what was found, or why nothing was."""
    if bench.rival.missing:
        return bench.rival.missing
    answers, boxes = str(bench.work / "rs-embed-answers.npz"), json.dumps(BOXES)
    script = str(CASES / "rs_embed_answers.py")
    try:
        run([bench.rival.python, script, answers, boxes], bench.environment)
    except ProcessError as error:
        return str(error)
    script = str(CASES / "compare_answers.py")
    done = run([sys.executable, script, str(bench.store), answers, boxes], bench.environment)
    return dict(json.loads(done.output))
