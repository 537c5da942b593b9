"""Draw a run: ``python -m benchmarks.picture RUN.json OUT.png``; ``-`` reads the run from stdin.

The upper panel has a line a case and a dot a peer; the lower ones show growth, cost against the size of a
region and against the number of regions. All axes of time are logarithmic.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.tables import PEERS, duration
from benchmarks.workers import API, COP_ZARR, LIMIT, RASTERIO, READER, TENSORSTORE, XARRAY, ZARR, ZARRS

STYLES = {
    COP_ZARR: ("#c1121f", "o"),
    READER: ("#003049", "s"),
    API: ("#5a7fa3", "D"),
    TENSORSTORE: ("#2a9d8f", "^"),
    ZARR: ("#e9a23b", "v"),
    ZARRS: ("#8a5a2b", "P"),
    XARRAY: ("#8e6bbf", "X"),
    RASTERIO: ("#7a7a7a", "h"),
    LIMIT: ("#222222", "|"),
}
"""Colour and marker of each, the same in all panels."""

LABELS = {API: "rs-embed API, batch (unpacked)", READER: "rs-embed reader (unpacked)"}
SHORT = {
    "warm": "warm",
    "again": "same again",
    "uncached": "uncached",
    "grid": "grid, uncached",
    "warm-grid": "grid, warm",
    "points": "cold",
    "boxes": "1° each, cold",
    "remote": "50 ms a request",
}
Run = Mapping[str, Any]


def draw(run: Run, target: Path) -> None:
    """Draw all panels that the run has figures for."""
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure = plt.figure(figsize=(12, 14), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(5, 3))
    cases(upper.subplots(), run)
    size, number = lower.subplots(1, 2)
    by_size(size, run)
    by_number(number, run)
    figure.suptitle(_title(run), fontsize=10)
    figure.savefig(target, dpi=130)
    plt.close(figure)


def cases(axes: Axes, run: Run) -> None:
    """A line a case, a dot a peer."""
    asked = [one for one in run["questions"] if one["group"] != "growth" and not _is_between(one)]
    for place, one in enumerate(asked):
        axes.axhline(place, color="0.92", lw=0.8, zorder=0)
        if place and asked[place - 1]["group"] != one["group"]:
            axes.axhline(place - 0.5, color="0.6", lw=0.8, zorder=0)
        for name in (LIMIT, *PEERS[::-1]):
            if (seconds := _seconds(one, name)) is not None:
                colour, marker = STYLES[name]
                size = 8 if name == COP_ZARR else 12 if name == LIMIT else 6
                axes.plot(seconds, place, marker, color=colour, ms=size, mew=2 if name == LIMIT else 0)
    axes.set_yticks(range(len(asked)), [f"{one['title']}  ({SHORT[one['group']]})" for one in asked])
    axes.set_ylim(len(asked) - 0.5, -0.5)
    axes.set_xscale("log")
    _time_axis(axes.xaxis)
    axes.set_xlabel("median time of one query, of all points, of all boxes")
    _legend(axes, [*PEERS, LIMIT], loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=5)


def by_size(axes: Axes, run: Run) -> None:
    """Cost against the size of a region."""
    asked = [one for one in run["questions"] if one["group"] == "growth"]
    cells = [int(one["case"].partition("/")[2]) ** 2 for one in asked]
    names = _lines(axes, asked, cells)
    axes.set(title="One pooled query, uncached", xlabel="cells of the region", ylabel="time")
    _legend(axes, names)


def by_number(axes: Axes, run: Run) -> None:
    """Cost against the number of regions: boxes with full lines, points with dashed ones."""
    names = []
    for group, dash in (("boxes", "-"), ("points", "--")):
        asked = [one for one in run["questions"] if one["group"] == group]
        names += _lines(axes, asked, [one["regions"] for one in asked], dash)
    axes.set(title="Boxes of 1° (full), points (dashed), cold", xlabel="regions of one call", ylabel="time")
    _legend(axes, [name for name in PEERS if name in names] + [LIMIT] * (LIMIT in names))


def _lines(axes: Axes, asked: list[Run], across: list[int], dash: str = "-") -> list[str]:
    """One line a peer; gives the names of those that have one."""
    names = []
    for name in (*PEERS, LIMIT):
        pairs = [(x, _seconds(one, name)) for x, one in zip(across, asked, strict=True)]
        known = [(x, seconds) for x, seconds in pairs if seconds is not None]
        if not known:
            continue
        colour, marker = STYLES[name]
        wide = 2.2 if name == COP_ZARR else 1.2
        axes.plot(*zip(*known, strict=True), dash, marker=marker, color=colour, lw=wide, ms=4)
        names.append(name)
    axes.set(xscale="log", yscale="log")
    axes.grid(color="0.92")
    _time_axis(axes.yaxis)
    return names


def _seconds(one: Run, name: str) -> float | None:
    if name == LIMIT:
        return one["limit"]["seconds"] if one["limit"] else None
    return one["peers"].get(name, {}).get("median")


def _is_between(one: Run) -> bool:
    """Whether a case is there for the growth panel alone."""
    return one["group"] == "boxes" and one["regions"] not in {1, 20_000}


def _time_axis(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(_tick))
    axis.set_minor_formatter(NullFormatter())


def _tick(seconds: float, _: int) -> str:
    """A power of ten as 10 µs, without trailing digits."""
    value, unit = duration(10 ** round(math.log10(seconds)) * 1.000001).split()
    return f"{float(value):g} {unit}"


def _legend(axes: Axes, names: list[str], **placed: Any) -> None:
    for name in names:
        colour, marker = STYLES[name]
        axes.plot(
            [], [], marker, color=colour, label=LABELS.get(name, name), ms=6, mew=2 if name == LIMIT else 0
        )
    axes.legend(frameon=False, fontsize=8, **placed)


def _title(run: Run) -> str:
    about = run["machine"]
    source = "stand-in" if run["setting"]["standin"] else "GeoTIFF"
    return f"cop-zarr and its peers, {source}, {about['cores']} cores, {about['cpu']}"


if __name__ == "__main__":
    text = sys.stdin.read() if sys.argv[1] == "-" else Path(sys.argv[1]).read_text("utf-8")
    draw(json.loads(text), Path(sys.argv[2]))
