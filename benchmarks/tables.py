"""The rows of a run's tables, and how they are laid out: aligned for a terminal, or as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.bars import MB
from benchmarks.questions import GROUPS
from benchmarks.workers import API, COP_ZARR, RASTERIO, READER, TENSORSTORE, XARRAY, ZARR, ZARRS

Row = tuple[str, ...]
PEERS = (COP_ZARR, READER, API, TENSORSTORE, ZARR, ZARRS, XARRAY, RASTERIO)
"""The columns, in order."""


UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))


def duration(seconds: float) -> str:
    """Seconds with three digits, in the unit that fits."""
    unit, size = next((one for one in UNITS if seconds >= one[1]), UNITS[-1])
    value = seconds / size
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"


def processes(run: Mapping[str, Any]) -> Iterator[Row]:
    """Whole processes: median, range, peak."""
    yield "whole process", "median", "min … max", "peak MB"
    for title, one in run["processes"].items():
        if one["failure"]:
            yield title, "not measured", one["failure"], ""
        else:
            low, high = duration(one["low"]), duration(one["high"])
            yield title, duration(one["median"]), f"{low} … {high}", f"{one['peak_bytes'] / MB:.0f}"


def times(run: Mapping[str, Any], group: str) -> Iterator[Row]:
    """Medians of a group's cases with their spread, a column for each peer that has any."""
    asked = [one for one in run["questions"] if one["group"] == group]
    columns = _columns(asked, "median")
    yield GROUPS[group], *columns
    for one in asked:
        yield one["title"], *(_time(one["peers"].get(name, {})) for name in columns)


def peaks(run: Mapping[str, Any]) -> Iterator[Row]:
    """Peak memory in MB of a process that answers a case once."""
    asked = [one for one in run["questions"] if one["peers"][COP_ZARR]["peak_bytes"]]
    columns = _columns(asked, "peak_bytes")
    yield "peak memory, MB", *columns
    for one in asked:
        peaks_mb = [one["peers"].get(name, {}).get("peak_bytes", 0) / MB for name in columns]
        yield f"{one['group']}, {one['title']}", *(f"{peak:.0f}" if peak else "" for peak in peaks_mb)


def requests(run: Mapping[str, Any]) -> Iterator[Row]:
    """Requests of a remote case, the most of any turn."""
    asked = [one for one in run["questions"] if one["group"] == "remote"]
    columns = _columns(asked, "requests")
    yield "requests", *columns
    for one in asked:
        counted = [one["peers"].get(name, {}).get("requests", []) for name in columns]
        yield one["title"], *(str(max(found)) if found else "" for found in counted)


def bars(run: Mapping[str, Any]) -> Iterator[Row]:
    """Every figure that has a bar."""
    titles = {one["case"]: f"{one['group']}, {one['title']}" for one in run["questions"]}
    yield "bar", "found", "demanded", "verdict"
    for one in run["findings"]:
        yield titles.get(one["case"], one["case"]), one["text"], one["bar"], one["verdict"]


def limits(run: Mapping[str, Any]) -> Iterator[Row]:
    """How far this project is from what nobody can go below."""
    yield "limit", "of what", "takes", COP_ZARR, "x the limit"
    for title, floor in run["setting"]["process_limits"].items():
        mine, least = run["processes"].get(title, {}), run["processes"].get(floor, {})
        if "median" in mine and "median" in least:
            far = mine["median"] / least["median"]
            yield title, floor, duration(least["median"]), duration(mine["median"]), f"{far:.2f}"
    for one in run["questions"]:
        if limit := one["limit"]:
            mine = duration(one["peers"][COP_ZARR]["median"])
            what = f"{one['group']}, {one['title']}"
            yield what, limit["kind"], duration(limit["seconds"]), mine, f"{limit['distance']:.2f}"


def sections(run: Mapping[str, Any]) -> Iterator[list[Row]]:
    """All tables that have rows, in order."""
    groups = (times(run, group) for group in GROUPS)
    for rows in map(list, (processes(run), *groups, requests(run), peaks(run), limits(run), bars(run))):
        if len(rows) > 1:
            yield rows


def aligned(rows: Sequence[Row]) -> str:
    """A table for a terminal; columns of figures are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = tuple("-" * width for width in widths)
    right = _figures(rows)
    lines = []
    for row in (rows[0], rule, *rows[1:]):
        cells = zip(row, widths, right, strict=True)
        padded = (text.rjust(width) if figure else text.ljust(width) for text, width, figure in cells)
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def markdown(rows: Sequence[Row]) -> str:
    """A table for a page."""
    rule = ["---:" if figure else "---" for figure in _figures(rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))


def _columns(asked: Sequence[Mapping[str, Any]], figure: str) -> list[str]:
    return [name for name in PEERS if any(one["peers"].get(name, {}).get(figure) for one in asked)]


def _time(found: Mapping[str, Any]) -> str:
    if found.get("failure"):
        return "failed"
    if "median" not in found:
        return ""
    scaled = " *" if found["share"] < 1 else ""
    return f"{duration(found['median'])} ±{found['spread']:.0%}{scaled}"


def _figures(rows: Sequence[Row]) -> list[bool]:
    """Which columns hold figures: those after the first whose texts begin with a digit, or are empty."""
    columns = zip(*rows[1:], strict=True)
    return [
        number > 0 and all(not text or text[0].isdigit() for text in column)
        for number, column in enumerate(columns)
    ]
