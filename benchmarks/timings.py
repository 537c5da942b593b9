"""Seconds by round: how they are collected, summarized, compared and printed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

MB = 1e6
UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))


@dataclass
class Timings:
    """What one library took for one case."""

    rounds: list[list[float]] = field(default_factory=list)
    """Seconds of each turn, by round."""

    peak_bytes: int = 0
    """Largest resident set of the process."""

    requests: list[int] = field(default_factory=list)
    """Of each turn, if they were counted."""

    moved_bytes: list[int] = field(default_factory=list)
    """Bodies of the answers to them."""

    answer_bytes: int = 0
    """Size of the largest answer, if it is an array."""

    share: float = 1.0
    """Part of the work that was done; the seconds are those of all of it."""

    difference: float | None = None
    """Largest absolute difference from cop-zarr's answer."""

    same: bool | None = None
    """Whether the answers are the same but for rounding."""

    def add(self, number: int, seconds: Iterable[float]) -> None:
        """Add turns to a round, counted from 1."""
        self.rounds += [[] for _ in range(number - len(self.rounds))]
        self.rounds[number - 1] += seconds

    @property
    def seconds(self) -> list[float]:
        """Of all turns."""
        return [second for turns in self.rounds for second in turns]

    @property
    def median(self) -> float:
        """Of all turns."""
        return statistics.median(self.seconds)

    def document(self) -> dict[str, Any]:
        """All figures and their summary, JSON-ready; the spread is half the interquartile range."""
        seconds = self.seconds
        if not seconds:
            return asdict(self)
        low, median, high = statistics.quantiles(seconds * 2, method="inclusive")
        spread = (high - low) / 2 / median  # as a part of the median
        return asdict(self) | {
            "median": median,
            "low": min(seconds),
            "high": max(seconds),
            "spread": spread,
        }


def ratio(one: Timings | None, other: Timings | None) -> float | None:
    """How many times as long one takes: the median of the rounds' ratios; None if either has no figures.

    Both have had their turns in each round, so a machine whose speed drifts changes both.
    """
    if one is None or other is None:
        return None
    pairs = zip(one.rounds, other.rounds, strict=False)
    ratios = [
        statistics.median(mine) / statistics.median(theirs) for mine, theirs in pairs if mine and theirs
    ]
    return statistics.median(ratios) if ratios else None


def in_turn(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Timings]:
    """Time some calls in turn, after a round that is not counted."""
    found = {name: Timings() for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            begin = time.perf_counter()
            work()
            if number:
                found[name].add(number, [time.perf_counter() - begin])
    return found


def duration(seconds: float) -> str:
    """Seconds with three digits, in the unit that fits."""
    unit, size = next((one for one in UNITS if seconds >= one[1]), UNITS[-1])
    value = seconds / size
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded to be read in a terminal, too."""
    first, *others = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    rule = "-" * first, *("-" * (width - 1) + ":" for width in others)
    lines = []
    for title, *figures in (rows[0], rule, *rows[1:]):
        cells = [text.rjust(width) for text, width in zip(figures, others, strict=True)]
        lines.append(f"| {' | '.join([title.ljust(first), *cells])} |")
    return "\n".join(lines)
