"""What the workers are asked: every case within a process, in the order of the table."""

from __future__ import annotations

from dataclasses import dataclass

VECTOR_BYTES = 768 * 4
GROUPS = {
    "warm": "pooled, warm, no region asked twice",
    "again": "pooled, the same region again",
    "uncached": "pooled, nothing decoded is kept",
    "grid": "every cell, nothing decoded is kept",
    "warm-grid": "every cell, warm",
    "points": "vectors of points on land, from opening on",
    "boxes": "pooled, boxes of 1° on land, from opening on",
    "growth": "pooled squares of cells, nothing decoded is kept",
    "remote": "over HTTP, 50 ms a request, pooled, from an open store",
}
SIZES = {"1": "1 cell", "2": "2°", "20": "20°", "globe": "globe"}
POINTS = (1, 1000, 100_000, 1_000_000)
BOXES = (1, 10, 100, 1000, 20_000)
SIDES = (1, 3, 9, 27, 81, 243, 721)
"""Cells along a square; ``cases/choose_places.py`` has the same."""

MOST_ROUNDS = 12
"""Warm cases have 63 places of their own for each turn; see ``cases/asking.py``."""

MOST_TURNS = 5
"""Of any case in a round."""

TURNS = {"1": MOST_TURNS, "2": MOST_TURNS, "20": 3, "globe": 1}


@dataclass(frozen=True)
class Question:
    """One case, put to every worker.

    Attributes
    ----------
    case : str
        Its name: group, slash, what of it.
    title : str
        For the table.
    places : str
        The list of places, in the file of ``cases/choose_places.py``.
    turns : int
        Turns in a round.
    regions : int
        Regions or points of one call.
    peak : bool
        Whether each peer's peak memory is measured.
    """

    case: str
    title: str
    places: str
    turns: int = 1
    regions: int = 1
    peak: bool = True

    @property
    def group(self) -> str:
        """The group of cases it belongs to."""
        return self.case.partition("/")[0]


def questions(only: tuple[str, ...] = ()) -> list[Question]:
    """All questions, or those of some groups."""
    found = [*_by_size(), *_by_number(), *_growth(), *_remote()]
    return [one for one in found if not only or one.group in only]


def _by_size() -> list[Question]:
    asked = {
        "warm": SIZES,
        "again": SIZES,
        "uncached": SIZES,
        "grid": ("1", "2", "20"),
        "warm-grid": ("2", "20"),
    }
    return [
        Question(f"{group}/{size}", SIZES[size], size, TURNS[size])
        for group, sizes in asked.items()
        for size in sizes
    ]


def _by_number() -> list[Question]:
    points = [
        Question(f"points/{n}", f"{n:,} points" if n > 1 else "1 point", "1", _turns(n), n) for n in POINTS
    ]
    boxes = [
        Question(f"boxes/{n}", f"{n:,} boxes" if n > 1 else "1 box", "boxes", _turns(n), n, n == BOXES[-1])
        for n in BOXES
    ]
    return points + boxes


def _turns(regions: int) -> int:
    return MOST_TURNS if regions <= 100 else 1


def _growth() -> list[Question]:
    return [
        Question(f"growth/{n}", f"{n} x {n} cells", f"side-{n}", MOST_TURNS if n < 100 else 1, peak=False)
        for n in SIDES
    ]


def _remote() -> list[Question]:
    titles = {"2": "2°", "64": "64 chunks", "ocean": "ocean"}
    return [
        Question("remote/open", "open", "far-2", 3, peak=False),
        *(Question(f"remote/{what}", title, f"far-{what}", 3) for what, title in titles.items()),
    ]
