"""What no implementation can go below, by case: decoding, memory bandwidth, a round trip."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.network import LATENCY_SECONDS
from benchmarks.questions import VECTOR_BYTES, Question
from benchmarks.turns import Table
from benchmarks.workers import COP_ZARR, LIMIT

COPIED_BYTES = 1 << 28
"""Size of the array that is copied to learn the bandwidth: far more than a processor's caches hold."""


@dataclass(frozen=True)
class Limit:
    """The limit of one case.

    Attributes
    ----------
    kind : str
        What it is made of.
    seconds : float
        What that takes.
    distance : float
        How many times as long this project takes (medians).
    """

    kind: str
    seconds: float
    distance: float


def limits(
    asked: Sequence[Question], table: Table, bandwidth: float, cells: Mapping[str, float]
) -> dict[str, Limit]:
    """The limit of each case that has one.

    Parameters
    ----------
    asked : sequence of Question
        The cases.
    table : Table
        What was answered.
    bandwidth : float
        Bytes that are read and written in a second of copying, together.
    cells : mapping of str to float
        Cells of a place, by list of places.
    """
    found = {}
    for one in asked:
        kind, seconds = _limit(one, table, bandwidth, cells[one.places])
        mine = statistics.median(table[one.case][COP_ZARR].seconds)
        if seconds:
            found[one.case] = Limit(kind, seconds, mine / seconds)
    return found


def _limit(one: Question, table: Table, bandwidth: float, cells: float) -> tuple[str, float]:
    passing = one.regions * cells * VECTOR_BYTES / bandwidth  # once: read to be pooled, or written
    if one.group in {"warm", "warm-grid"}:
        return "memory bandwidth", passing
    if one.group == "again":  # an answer may have been kept
        return "", 0.0
    if one.group == "remote":
        return "one round trip", 0.0 if one.case == "remote/ocean" else LATENCY_SECONDS
    decoding = statistics.median(table[one.case][LIMIT].seconds)
    if one.group in {"grid", "points"}:
        return "decoding + memory bandwidth", decoding + passing
    return "decoding", decoding
