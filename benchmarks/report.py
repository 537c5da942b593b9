"""A run as Markdown: ``python -m benchmarks.report RUN.json`` prints it for benchmarks/README.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cases import GROUPS
from benchmarks.timings import MB, duration, markdown
from benchmarks.workers import COP_ZARR, LIBRARIES

Run = Mapping[str, Any]
Row = tuple[str, ...]


def report(run: Run) -> Iterator[str]:
    """The paragraphs, one after the other."""
    yield _header(run["machine"], run["setting"])
    asked = run["questions"]
    tables = [list(_processes(run)), *(_times(asked, group) for group in GROUPS)]
    tables.append(_by_library("requests", asked, "requests", lambda found: str(max(found["requests"]))))
    tables.append(_by_library("MB moved", asked, "moved_bytes", lambda found: _moved(found["moved_bytes"])))
    titled = [{**one, "title": f"{one['group']}, {one['title']}"} for one in asked]
    tables.append(_by_library("peak memory, MB", titled, "peak_bytes", _megabytes))
    tables.append(list(_bars(run)))
    yield from (markdown(rows) for rows in tables if len(rows) > 1)
    if any(peer["share"] < 1 for one in asked for peer in one["peers"].values()):
        yield "\\* measured on a part of the regions, and scaled."


def _header(about: Run, setting: Run) -> str:
    versions = (f"{name} {version}" for name, version in about["cop_zarr_environment"].items())
    rs_embed = about["rs_embed_environment"].get("rs-embed", "not measured")
    return (
        f"{about['cpu']}, {about['cores']} cores, {about['memory_gib']} GiB, {about['system']}. "
        f"{', '.join(versions)}; rs-embed {rs_embed}. Rounds: {setting['rounds']}. "
        f"Source: {setting['source_bytes'] / MB:,.0f} MB. ± is half of the interquartile range of turns."
    )


def _processes(run: Run) -> Iterator[Row]:
    """Whole processes: median, range, peak."""
    yield "whole process", "median", "min … max", "peak MB"
    for title, one in run["processes"].items():
        times = f"{duration(one['low'])} … {duration(one['high'])}"
        yield title, duration(one["median"]), times, _megabytes(one)


def _times(asked: Sequence[Run], group: str) -> list[Row]:
    """Medians of a group's cases with their spread."""

    def text(found: Run) -> str:
        return f"{duration(found['median'])} ±{found['spread']:.0%}" + " *" * (found["share"] < 1)

    return _by_library(GROUPS[group], [one for one in asked if one["group"] == group], "median", text)


def _megabytes(found: Run) -> str:
    return f"{found['peak_bytes'] / MB:.0f}"


def _moved(counts: Sequence[int]) -> str:
    return f"{max(counts) / MB:.1f}"


def _by_library(head: str, asked: Sequence[Run], figure: str, text: Callable[[Run], str]) -> list[Row]:
    """A row for each case and a column for each library that has a figure."""
    asked = [one for one in asked if one["peers"].get(COP_ZARR, {}).get(figure)]
    columns = [name for name in LIBRARIES if any(one["peers"].get(name, {}).get(figure) for one in asked)]
    rows = [(head, *columns)]
    for one in asked:
        found = [one["peers"].get(name, {}) for name in columns]
        rows.append((one["title"], *(text(peer) if peer.get(figure) else "" for peer in found)))
    return rows


def _bars(run: Run) -> Iterator[Row]:
    """Every figure that has a bar."""
    titles = {one["case"]: f"{one['group']}, {one['title']}" for one in run["questions"]}
    yield "bar", "found", "demanded", "verdict"
    for one in run["findings"]:
        yield titles.get(one["case"], one["case"]), one["text"], one["bar"], one["verdict"]


if __name__ == "__main__":
    print("\n\n".join(report(json.loads(Path(sys.argv[1]).read_text("utf-8")))))
