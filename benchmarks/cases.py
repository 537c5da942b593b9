"""What every library is asked within a process: the rows of the tables, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

LATENCY_SECONDS = 0.05
"""Of each request over the network."""

ANSWERS = "answers"
"""Cases that are compared with rs-embed, and not timed."""

GLOBE = "globe"
"""All cells at once: they are asked of other libraries than the rest."""

GROUPS = {
    "warm": "pooled, warm, no region asked twice",
    "uncached": "pooled, nothing decoded is kept",
    "grid": "every cell, nothing decoded is kept",
    "warm-grid": "every cell, warm",
    "points": "vectors of points on land, from opening on",
    "boxes": "pooled, boxes of 1° on land, from opening on",
    "growth": "pooled squares of cells, nothing decoded is kept",
    "remote": "over HTTP, 50 ms a request, pooled, from an open store",
    GLOBE: "all cells: read, and the 10 most like a place",
}
"""Groups that are timed, and the heads of their tables."""

SIZES = {
    "warm": ("1", "2", "20", "globe"),
    "uncached": ("1", "2", "20", "globe"),
    "grid": ("1", "2", "20"),
    "warm-grid": ("2", "20"),
}
TITLES = {"1": "1 cell", "2": "2°", "20": "20°", "globe": "globe"}
TURNS = {"1": 5, "2": 5, "20": 3, "globe": 1}
MAX_ROUNDS = 12
"""Warm cases have 63 places for as many turns, see ``peers/lattice.py``."""


@dataclass(frozen=True)
class Case:
    """One question to every library."""

    name: str
    """What is asked, slash, of which places."""

    group: str
    """One of the groups above."""

    title: str
    """In the table."""

    places: str
    """The list in the file of ``peers/choose_places.py``; "points" are the first of its points."""

    turns: int = 1
    """Most turns in a round."""

    memory: bool = True
    """Whether each library's peak memory is measured."""

    @property
    def is_remote(self) -> bool:
        """Whether requests are counted."""
        return self.name.startswith("remote")


def cases() -> Iterator[Case]:
    """All cases."""
    for what, places in (("grid", "all"), ("max", "all"), ("mean", "small")):
        yield Case(f"answers-{what}/{places}", ANSWERS, what, places, turns=0, memory=False)
    for group, sizes in SIZES.items():
        for size in sizes:
            yield Case(f"{group}/{size}", group, TITLES[size], size, TURNS[size])
    for n in (1, 1000, 100_000, 1_000_000):
        title = f"{n:,} points" if n > 1 else "1 point"
        yield Case(f"points/{n}", "points", title, "1", _turns(n))
    for n in (1, 10, 100, 1000, 20_000, 200_000):
        title = f"{n:,} boxes" if n > 1 else "1 box"
        yield Case(f"boxes/{n}", "boxes", title, "boxes", _turns(n), memory=n == 20_000)
    for n in (1, 3, 9, 27, 81, 243, 721):
        yield Case(f"growth/{n}", "growth", f"{n} x {n} cells", f"side-{n}", _turns(n), memory=False)
    for size, title in {"open": "open", "2": "2°", "64": "64 chunks", "ocean": "ocean"}.items():
        yield Case(f"remote/{size}", "remote", title, f"far-{size}", 3, memory=size != "open")
    yield Case("components/globe", GLOBE, "components", "globe", turns=0, memory=False)
    for name, (title, turns) in {
        "cells/globe": ("every cell with data", 3),
        "similar/4": ("similar, nothing kept", 1),
        "similar-kept/16": ("similar, components kept", 5),
        "similar-many/1000": ("similar to each of 1,000", 1),
        "remote-similar/1": ("similar, kept, over HTTP", 3),
    }.items():
        yield Case(name, GLOBE, title, "points", turns, memory=name != "similar-many/1000")


def _turns(count: int) -> int:
    return 5 if count <= 100 else 1
