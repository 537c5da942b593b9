"""The loop of a worker: a question is a line of JSON on stdin, its answer one on stdout.

A worker is a process that asks one library. It prepares itself, and then answers

- ``{"case": C, "turns": n, "limit_s": s}``: seconds of each of up to ``n`` turns, fewer once ``s`` seconds
  are over. A turn goes over all places of the case, and its seconds are those of one place. Before the
  first, there is a turn that is not timed, unless ``"warm": false``. With ``"counter": port``, the requests
  of each turn are counted there.
- ``{"case": C, "save": PATH}`` and ``{"case": C, "against": PATH}``: keep the answers, or hold them against
  those that another worker has kept.
- ``{"case": C, "answers": true}``: give the answers themselves, which must be JSON-ready.

Places of a warm case move from turn to turn, so that no region is asked twice: chunks, blocks and maps are
in memory, and a library that keeps finished answers has to work one out all the same.

A case that a library has no way to answer is answered ``{"unsupported": true}``. Every other answer has
``peak_bytes``, the largest resident set of the process so far.

This module is imported by scripts that run by their path, some of them without this project.
"""

from __future__ import annotations

import json
import math
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np

RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""``ru_maxrss`` is in KiB on Linux and in bytes on macOS (getrusage(2) of each)."""

WEST, NORTH, STEP, ROWS, COLS = -180.125, 90.125, 0.25, 721, 1440
"""The lattice; scripts in rs-embed's interpreter cannot ask this project for it."""

CHUNK, MOST_TURNS = 8, 63
"""Cells along a chunk; turns in which a cell has not been asked, out of those of its chunk."""

KEPT = 5000
"""Vectors of a case that are compared, at most. Peers that are measured on a part answer the first ones."""

RTOL, ATOL = 1e-4, 1e-3
"""What passes for the same answer: peers whose mean is NumPy's in float32 are off by its rounding, which
grows with the region (``cases/compare_answers.py`` looks closer). Wrong cells are off by 0.1 and more."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Case:
    """One thing to ask a library.

    Attributes
    ----------
    places : sequence
        What ``ask`` is called with, one after the other.
    fresh : callable
        Called before each turn, untimed; gives ``ask``.
    share : float
        The part of the work that is done; seconds are divided by it.
    moving : str
        The list that the places come from, if they are boxes that move from turn to turn.
    """

    places: Sequence[Any]
    fresh: Callable[[], Callable[[Any], Any]]
    share: float = 1.0
    moving: str = ""


def always(ask: Callable[[Any], Any], places: Sequence[Any], share: float = 1.0, moving: str = "") -> Case:
    """A case that needs nothing made anew for a turn."""
    return Case(places, lambda: ask, share, moving)


def setting() -> dict[str, Any]:
    """What the driver says: ``store``, ``source``, ``places`` are paths, ``far`` is a URL, or empty."""
    return dict(json.loads(sys.argv[1]))


def boxes(places: Mapping[str, np.ndarray], name: str) -> list[Box]:
    """Boxes in degrees: minlon, minlat, maxlon, maxlat."""
    return [tuple(box) for box in places[name].tolist()]


def window(box: Box) -> tuple[slice, slice]:
    """The rows and columns that a box touches."""
    west, south, east, north = box
    rows = slice(max(0, math.floor((NORTH - north) / STEP)), min(ROWS, math.ceil((NORTH - south) / STEP)))
    cols = slice(max(0, math.floor((west - WEST) / STEP)), min(COLS, math.ceil((east - WEST) / STEP)))
    return rows, cols


def moved(name: str, box: Box, turn: int) -> Box:
    """Where a box of a list is in a turn; in turn 0, where it was chosen.

    A single cell goes through the cells of its chunk, a larger box up to 4 cells in each direction, and the
    globe loses columns.
    """
    west, south, east, north = box
    if turn > MOST_TURNS:
        raise ValueError(f"only {MOST_TURNS} turns have places of their own")
    if name == "globe":
        return west, south, east - STEP * turn, north
    if name != "1":
        down, right = divmod((40 + turn) % 81, 9)
        across, up = STEP * (right - 4), STEP * (4 - down)
        return west + across, south + up, east + across, north + up
    rows, cols = window(box)
    down, right = divmod((rows.start % CHUNK * CHUNK + cols.start % CHUNK + turn) % CHUNK**2, CHUNK)
    top = NORTH - STEP * (rows.start // CHUNK * CHUNK + down)
    left = WEST + STEP * (cols.start // CHUNK * CHUNK + right)
    return left, top - STEP, left + STEP, top


def around(name: str, box: Box) -> Box:
    """All that a box goes over as it moves."""
    every = [moved(name, box, turn) for turn in range(MOST_TURNS + 1)]
    west, south, east, north = zip(*every, strict=True)
    return min(west), min(south), max(east), max(north)


def cells(lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows and columns that points lie in."""
    return ((NORTH - lat) / STEP).astype(int), ((lon - WEST) / STEP).astype(int)


def serve(case: Callable[[str], Case | None]) -> None:
    """Answer questions until stdin ends; ``case`` makes one of its name, or None."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    made: dict[str, Asked] = {}
    _answer(answers, {"ready": True})
    for line in sys.stdin:
        question = json.loads(line)
        name = question["case"]
        if name not in made:
            made[name] = Asked(case(name))
        _answer(answers, made[name].answer(question))


class Asked:
    """A case and how often it was asked."""

    def __init__(self, case: Case | None) -> None:
        self._case = case
        self._turns = 0

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a question demands."""
        if self._case is None:
            return {"unsupported": True}
        if "save" in question or "against" in question:
            return _check(self._case, question)
        if "answers" in question:
            ask = self._case.fresh()
            return {"answers": [ask(place) for place in self._case.places]}
        if question.get("warm", True) and not self._turns:
            self._warm(self._case)
        return self._measured(self._case, question)

    def _warm(self, case: Case) -> None:
        """Have everything in memory that later turns need, as far as the library keeps it."""
        if case.moving:
            ask = case.fresh()
            for box in case.places:
                ask(around(case.moving, box))
        if case.moving != "globe":  # that was all of it
            self._turn(case)

    def _measured(self, case: Case, question: Mapping[str, Any]) -> dict[str, Any]:
        seconds: list[float] = []
        requests: list[int] = []
        begin = time.perf_counter()
        for _ in range(question["turns"]):
            taken, asked = self._turn(case, question.get("counter", 0))
            seconds.append(taken)
            requests += [] if asked is None else [asked]
            if time.perf_counter() - begin > question.get("limit_s", math.inf):
                break
        return {"seconds": seconds, "requests": requests, "share": case.share}

    def _turn(self, case: Case, counter: int = 0) -> tuple[float, int | None]:
        """Seconds of one place, and the requests of the turn if they are counted."""
        self._turns += 1
        places = case.places
        if case.moving:
            places = [moved(case.moving, box, self._turns) for box in places]
        ask = case.fresh()
        before = _requests(counter) if counter else 0
        begin = time.perf_counter()
        for place in places:
            ask(place)
        taken = (time.perf_counter() - begin) / len(places) / case.share
        return taken, _requests(counter) - before if counter else None


def _requests(port: int) -> int:
    """How many requests the proxy has had."""
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile() as lines:
        return int(lines.readline())


def _check(case: Case, question: Mapping[str, str]) -> dict[str, Any]:
    """Save the answers, or compare them with saved ones: the largest difference, and whether it passes."""
    ask = case.fresh()
    mine = [np.asarray(ask(place))[:KEPT] for place in case.places]
    if "save" in question:
        np.savez(question["save"], *mine)
        return {"saved": len(mine)}
    with np.load(question["against"]) as kept:
        pairs = [(one, kept[f"arr_{number}"][: len(one)]) for number, one in enumerate(mine)]
    same = all(a.shape == b.shape and np.allclose(a, b, RTOL, ATOL, equal_nan=True) for a, b in pairs)
    gaps = [np.abs(a.astype("f8") - b).max() for a, b in pairs if a.shape == b.shape]
    return {"same": same, "difference": float(max(gaps, default=math.nan))}


def _answer(answers: TextIO, content: dict[str, Any]) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT
    answers.write(json.dumps({**content, "peak_bytes": peak}) + "\n")
    answers.flush()
