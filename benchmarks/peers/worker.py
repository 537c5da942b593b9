"""The loop of a process that asks one library. A request is a line of JSON on stdin.

- ``{"case": C, "turns": n, "limit_s": s}``: seconds of up to ``n`` turns, fewer once ``s`` seconds are
  over. A turn goes over all places of the case, and its seconds are those of one place. The first turn of
  all is not timed, unless ``"warm": false``. With ``"counter": port``, requests are counted there.
- ``{"case": C, "save": PATH}`` and ``{"case": C, "against": PATH}``: save the answers, or compare them with
  saved ones.

The answer is a line of JSON on stdout: ``{"unsupported": true}`` if the library has no way to do it, or
the figures and ``peak_bytes``, the largest resident set of the process so far.
"""

from __future__ import annotations

import json
import math
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lattice import shifted, swept

RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""``ru_maxrss`` is in KiB on Linux and in bytes on macOS (getrusage(2) of each)."""

MAX_COMPARED = 5000
"""Vectors of a case that are compared."""

RTOL, ATOL = 1e-4, 1e-3
"""Tolerance for the float32 means of peers, whose rounding grows with the region. Wrong cells differ by 0.1
and more."""

Ask = Callable[[Any], Any]


@dataclass(frozen=True)
class Library:
    """What a library can be asked."""

    asks: Mapping[str, Callable[[], Ask]]
    """By groups: makes the function that is called with each place. ``remote`` opens the store."""

    skip: Collection[str] = ()
    """Cases of these groups that the library cannot do, or not within a minute."""

    max_regions: int = sys.maxsize
    """Regions of one call that are asked; the time of more is scaled from these."""

    max_places: Mapping[str, int] = field(default_factory=dict)
    """Places that are asked, by size of region."""

    prepare: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    """By group: turns a place into what the library takes, untimed."""


class Case:
    """One case of a library, and how often it was asked."""

    def __init__(self, library: Library, name: str, make: Callable[[], Ask], places: str) -> None:
        path, _, self.size = name.rpartition("/")
        group = path.rpartition("/")[2]
        self.moves = group.startswith("warm")
        self.turn = self.answer_bytes = 0
        self.places, self.share = _places(library, group, self.size, places)
        if path in library.prepare:
            self.places = list(map(library.prepare[path], self.places))
        if name == "remote/open":
            self.fresh: Callable[[], Ask] = lambda: lambda _: make()
        elif group.startswith("remote"):
            self.fresh = make
        else:
            ask = make()
            self.fresh = lambda: ask

    def warm_up(self) -> None:
        """Load what later turns need into memory, as far as the library keeps it."""
        if self.moves:
            ask = self.fresh()
            for box in self.places:
                ask(swept(self.size, box))
        if not (self.moves and self.size == "globe"):  # that was all of it
            self.take_turn(0)

    def take_turn(self, counter: int) -> tuple[float, int, int]:
        """Seconds for one place; requests of all places, and bytes moved, if there is a counter."""
        self.turn += 1
        places = self.places
        if self.moves:
            places = [shifted(self.size, box, self.turn) for box in places]
        ask = self.fresh()
        requests, moved = _traffic(counter)
        begin, largest = time.perf_counter(), 0
        for place in places:
            largest = max(largest, getattr(ask(place), "nbytes", 0))  # no answer outlives its call
        seconds = time.perf_counter() - begin
        self.answer_bytes = max(self.answer_bytes, largest)
        after, moved_after = _traffic(counter)
        return seconds / len(places) / self.share, after - requests, moved_after - moved

    def measure(
        self, turns: int, limit_s: float = math.inf, counter: int = 0, *, warm: bool = True
    ) -> dict[str, Any]:
        """Seconds, requests and bytes of some turns."""
        if warm and not self.turn:
            self.warm_up()
        found: list[tuple[float, int, int]] = []
        begin = time.perf_counter()
        while len(found) < turns and (not found or time.perf_counter() - begin <= limit_s):
            found.append(self.take_turn(counter))
        seconds, requests, moved = zip(*found, strict=True)
        return {
            "seconds": seconds,
            "requests": requests if counter else [],
            "moved_bytes": moved if counter else [],
            "share": self.share,
            "answer_bytes": self.answer_bytes,
        }

    def check(self, save: str = "", against: str = "") -> dict[str, Any]:
        """Save the answers, or compare them with saved ones: largest difference, and whether it passes."""
        ask = self.fresh()
        mine = [np.asarray(ask(place))[:MAX_COMPARED] for place in self.places]
        if save:
            np.savez(save, *mine)
            return {}
        with np.load(against) as saved:
            pairs = [(one, saved[f"arr_{number}"][: len(one)]) for number, one in enumerate(mine)]
        same = all(a.shape == b.shape and np.allclose(a, b, RTOL, ATOL, equal_nan=True) for a, b in pairs)
        gaps = [np.abs(a.astype("f8") - b).max() if a.shape == b.shape else math.inf for a, b in pairs]
        return {"same": same, "difference": float(np.max(gaps))}


def serve(library: Library, setting: Mapping[str, str]) -> None:
    """Answer requests until stdin ends."""
    asks = {group: make for groups, make in library.asks.items() for group in groups.split()}
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    cases: dict[str, Case] = {}
    for line in sys.stdin:
        request = json.loads(line)
        name = request.pop("case")
        group = name.rpartition("/")[0]
        if name in library.skip or group not in asks:
            found: dict[str, Any] = {"unsupported": True}
        else:
            case = cases[name] = cases.get(name) or Case(library, name, asks[group], setting["places"])
            found = case.measure(**request) if "turns" in request else case.check(**request)
        found["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT
        print(json.dumps(found), file=answers, flush=True)


def _places(library: Library, group: str, size: str, path: str) -> tuple[list[Any], float]:
    """The places of a case, and the part of its work that they are."""
    with np.load(path) as places:
        if "similar" in group:
            points = [places[name][: int(size)] for name in ("lon", "lat")]
            each = list(zip(*(values.tolist() for values in points), strict=True))
            return [points] if group == "similar-many" else each, 1.0
        if group not in {"points", "boxes"}:
            key = {"growth": f"side-{size}", "remote": f"far-{size}"}.get(group, size)
            return list(map(tuple, places[key].tolist()))[: library.max_places.get(size)], 1.0
        count = min(int(size), library.max_regions)
        share = count / int(size)
        if group == "points":
            return [(places["lon"][:count], places["lat"][:count])], share
        return [list(map(tuple, places["boxes"][:count].tolist()))], share


def _traffic(port: int) -> tuple[int, int]:
    """Requests that the proxy has had, and bytes of its answers; 0 without a counter."""
    if not port:
        return 0, 0
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile() as lines:
        requests, moved = map(int, lines.readline().split())
        return requests, moved
