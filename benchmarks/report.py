"""The figures as an aligned table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from benchmarks.bars import MB, Finding
from benchmarks.measure import Series

HEADER = ("case", "median s", "min … max", "peak MB", "found", "bar", "")
RIGHT = (False, True, True, True, False, False, False)
"""Which columns are aligned to the right."""


def table(series: Mapping[str, Series], findings: Sequence[Finding]) -> str:
    """Lay out one row a case, and below it a row for each further figure of that case."""
    rows = [HEADER]
    titles = [*series, *(one.case for one in findings if one.case not in series)]
    for title in dict.fromkeys(titles):
        measured = _measured(series[title]) if title in series else ("", "", "")
        found = [(one.text, one.bar, _verdict(one)) for one in findings if one.case == title]
        if title in series and series[title].failure:
            found.insert(0, (f"not measured: {series[title].failure}", "", ""))
        first, *others = found or [("", "", "")]
        rows.append((title, *measured, *first))
        rows += [("", "", "", "", *other) for other in others]
    return _aligned(rows)


def document(
    machine: Mapping[str, object],
    setting: Mapping[str, object],
    series: Mapping[str, Series],
    findings: Sequence[Finding],
) -> dict[str, object]:
    """Everything in one object, JSON-ready: every run, every figure, and what it was made on."""
    return {
        "machine": dict(machine),
        "setting": dict(setting),
        "cases": {title: _runs(one) for title, one in series.items()},
        "findings": [asdict(one) for one in findings],
    }


def _runs(one: Series) -> dict[str, object]:
    """A case's runs, without what they printed: that holds paths of this machine."""
    rounds = [[{"seconds": r.seconds, "peak_bytes": r.peak_bytes} for r in runs] for runs in one.rounds]
    return {"rounds": rounds, "failure": one.failure}


def _measured(one: Series) -> tuple[str, str, str]:
    if one.failure:
        return "", "", ""
    low, high = min(one.seconds), max(one.seconds)
    return f"{one.median:.3f}", f"{low:.3f} … {high:.3f}", f"{one.peak_bytes / MB:.0f}"


def _verdict(finding: Finding) -> str:
    if finding.met is None:
        return ""
    return "met" if finding.met else "NOT MET"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * width for width in widths]
    lines = []
    for row in (rows[0], rule, *rows[1:]):
        cells = zip(row, widths, RIGHT, strict=True)
        padded = (text.rjust(width) if right else text.ljust(width) for text, width, right in cells)
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)
