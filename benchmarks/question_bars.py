"""What is demanded of this project's answers within a process."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks.bars import Finding, at_most, peak_below
from benchmarks.network import LATENCY_SECONDS
from benchmarks.turns import Answers, Table, ratio
from benchmarks.workers import API, COP_ZARR, LIMIT, READER, TENSORSTORE

DECODING = "x reading and decoding its chunks"
RATIOS = (
    ("uncached/1", TENSORSTORE, 0.8, "x TensorStore"),
    ("uncached/2", TENSORSTORE, 1.0, "x TensorStore"),
    ("uncached/20", TENSORSTORE, 1.0, "x TensorStore"),
    ("grid/2", TENSORSTORE, 1.0, "x TensorStore"),
    ("grid/20", TENSORSTORE, 1.0, "x TensorStore"),
    ("warm/1", READER, 0.8, "x rs-embed's reader"),
    ("warm/2", READER, 0.8, "x rs-embed's reader"),
    ("warm/20", READER, 0.8, "x rs-embed's reader"),
    ("warm/1", API, 0.4, "x rs-embed's API"),
    ("warm/2", API, 0.4, "x rs-embed's API"),
    ("warm/20", API, 0.4, "x rs-embed's API"),
    ("uncached/globe", LIMIT, 1.2, DECODING),
    ("points/100000", API, 0.2, "x rs-embed's batch"),
    ("boxes/20000", API, 0.4, "x rs-embed's batch"),
)
"""Case, peer, the most that this project's time may be of the peer's, and how it is called."""

GLOBE_PEAK_MB = 400
ROUND_TRIPS = 2.5
REMOTE = ("remote/2", "remote/64")
OCEAN = "remote/ocean"
DECODED = "points/100000"

WANTED = {(case, peer) for case, peer, *_ in RATIOS}
"""Who has to be asked in every round."""


def findings(table: Table, decodings: Mapping[str, Any] | None) -> list[Finding]:
    """Hold all figures against their bars; cases that were not asked have none.

    Parameters
    ----------
    table : Table
        What was answered.
    decodings : mapping or None
        How often chunks were decoded for :data:`DECODED`: ``most`` times any of them, ``all`` together.
    """
    found = [
        at_most(case, ratio(table[case].get(COP_ZARR), table[case].get(peer)), text, limit)
        for case, peer, limit, text in RATIOS
        if case in table
    ]
    if "warm/globe" in table:
        found.append(peak_below("warm/globe", table["warm/globe"][COP_ZARR].peak_bytes, GLOBE_PEAK_MB))
    if decodings is not None:
        found.append(_decoded(decodings))
    found += [_trips(case, table[case][COP_ZARR]) for case in REMOTE if case in table]
    if OCEAN in table:
        found.append(_requests(table[OCEAN][COP_ZARR]))
    return found + _answers(table)


def _decoded(decodings: Mapping[str, Any]) -> Finding:
    most, everything = decodings["most"], decodings["all"]
    if not everything:
        return Finding(DECODED, "no decoding was seen", None, "each chunk once")
    text = f"{everything:,} decodings, no chunk more than {most} x"
    return Finding(DECODED, text, most, "each chunk once", most == 1)


def _trips(case: str, mine: Answers) -> Finding:
    trips = statistics.median(mine.seconds) / LATENCY_SECONDS
    text = f"round trips' time, {max(mine.requests, default=0)} requests"
    return at_most(case, trips, text, ROUND_TRIPS)


def _requests(mine: Answers) -> Finding:
    most = max(mine.requests)
    return Finding(OCEAN, f"{most} requests", most, "0", most == 0)


def _answers(table: Table) -> list[Finding]:
    """Peers that were timed for another answer than this project's."""
    return [
        Finding(
            case, f"{name} answers otherwise, by {found.difference:.1e}", None, "same answer", met=False
        )
        for case, peers in table.items()
        for name, found in peers.items()
        if found.same is False
    ]
