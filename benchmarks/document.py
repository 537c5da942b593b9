"""A run as one JSON document: every figure, and what it was made on. Tables, page and picture read it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.bars import Finding
from benchmarks.limits import Limit
from benchmarks.measure import Series
from benchmarks.questions import Question
from benchmarks.turns import Answers, Table

Document = dict[str, Any]


def document(
    *,
    machine: Mapping[str, object],
    setting: Mapping[str, object],
    series: Mapping[str, Series],
    asked: Sequence[Question],
    table: Table,
    limits: Mapping[str, Limit],
    findings: Sequence[Finding],
) -> Document:
    """Everything in one object, JSON-ready."""
    return {
        "machine": dict(machine),
        "setting": dict(setting),
        "processes": {title: _process(one) for title, one in series.items()},
        "questions": [
            {
                "case": one.case,
                "group": one.group,
                "title": one.title,
                "regions": one.regions,
                "places": one.places,
                "limit": asdict(limits[one.case]) if one.case in limits else None,
                "peers": {name: _answers(found) for name, found in table[one.case].items()},
            }
            for one in asked
        ],
        "findings": [{**asdict(one), "verdict": one.verdict} for one in findings],
    }


def _process(one: Series) -> Document:
    """A case's runs, without what they printed: that holds paths of this machine."""
    rounds = [[{"seconds": r.seconds, "peak_bytes": r.peak_bytes} for r in runs] for runs in one.rounds]
    found: Document = {"rounds": rounds, "failure": one.failure}
    if not one.failure:
        found |= {**_summary(one.seconds), "peak_bytes": one.peak_bytes}
    return found


def _answers(one: Answers) -> Document:
    return {**asdict(one), **(_summary(one.seconds) if one.seconds else {})}


def _summary(seconds: Sequence[float]) -> dict[str, float]:
    """Median, range, and half of the middle half as a part of the median."""
    median = statistics.median(seconds)
    spread = 0.0
    if len(seconds) > 1:
        low, _, high = statistics.quantiles(seconds, n=4, method="inclusive")
        spread = (high - low) / 2 / median
    return {"median": median, "low": min(seconds), "high": max(seconds), "spread": spread}
