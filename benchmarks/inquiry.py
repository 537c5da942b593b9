"""The part of a run that asks workers: answers compared, rounds, memory, limits."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import preparation, question_bars
from benchmarks.bars import Finding
from benchmarks.limits import COPIED_BYTES, Limit, limits
from benchmarks.network import network
from benchmarks.preparation import Bench
from benchmarks.questions import Question
from benchmarks.turns import Inquiry, Table
from benchmarks.workers import COP_ZARR, LIMIT, Peer


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes
    ----------
    table : Table
        Times and memory, by case and peer.
    limits : dict of str to Limit
        By case.
    findings : list of Finding
        Figures held against their bars.
    bandwidth : float or None
        Bytes that are read and written in a second of copying, together.
    """

    table: Table
    limits: dict[str, Limit]
    findings: list[Finding]
    bandwidth: float | None


NOTHING = Found({}, {}, [], None)


def inquire(asked: Sequence[Question], peers: Sequence[Peer], bench: Bench, turns: int) -> Found:
    """Ask everybody everything, after all answers were compared.

    Parameters
    ----------
    asked : sequence of Question
        The cases.
    peers : sequence of Peer
        Who is asked.
    bench : Bench
        What there is to measure with.
    turns : int
        Most turns of a case in a round.
    """
    places = bench.work / "places.npz"
    cells = preparation.places(bench, places)
    with network(bench.store, bench.environment) as far:
        setting = {"store": str(bench.store), "source": str(bench.source), "places": str(places)}
        inquiry = Inquiry(asked, peers, {**setting, "far": far.url}, bench.environment, bench.report)
        try:
            inquiry.check(bench.work)
            for number in range(1, bench.rounds + 1):
                inquiry.round(number, question_bars.WANTED, turns, far.counter)
            decodings, bandwidth = _decodings(inquiry), _bandwidth(inquiry)
        finally:
            inquiry.close()
        inquiry.peaks()
    found = question_bars.findings(inquiry.table, decodings)
    return Found(inquiry.table, limits(asked, inquiry.table, bandwidth, cells), found, bandwidth)


def _decodings(inquiry: Inquiry) -> dict[str, Any] | None:
    """How often chunks are decoded for many points, in an untimed run."""
    if question_bars.DECODED not in inquiry.table:
        return None
    count = question_bars.DECODED.partition("/")[2]
    return inquiry.ask(COP_ZARR, f"decodings/{count}", answers=True)["answers"][0]


def _bandwidth(inquiry: Inquiry) -> float:
    """Bytes that are read and written in a second of copying, together."""
    copying = inquiry.ask(LIMIT, f"bandwidth/{COPIED_BYTES}", turns=5)
    return 2 * COPIED_BYTES / statistics.median(copying["seconds"])
