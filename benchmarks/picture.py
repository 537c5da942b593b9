"""Draw a run: ``python -m benchmarks.picture RUN.json OUT.png``; ``-`` reads the run from stdin.

The upper panel has a line for each case and a dot for each library; the lower ones show time against the
size of a region and against the number of regions.
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

from benchmarks.timings import duration
from benchmarks.workers import COP_ZARR, LIBRARIES

COLORS = (
    *("#c1121f", "#003049", "#5a7fa3", "#2a9d8f", "#e9a23b", "#8a5a2b", "#8e6bbf", "#7a7a7a"),
    *("#4c9f38", "#d6578f", "#b8a200", "#222222"),
)
STYLES = {
    name: {"color": color, "marker": marker, "ms": 8 if name == COP_ZARR else 6}
    for name, color, marker in zip(LIBRARIES, COLORS, "osD^vPXh<>d|", strict=True)
}
Run = Mapping[str, Any]


def draw(run: Run, target: Path) -> None:
    """Draw all panels that the run has figures for."""
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure = plt.figure(figsize=(12, 14), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(5, 3))
    _cases(upper.subplots(), run)
    by_size, by_number = lower.subplots(1, 2)
    _growth(by_size, run, "growth")
    by_size.set(title="One pooled query, uncached", xlabel="cells along a square", ylabel="time")
    _growth(by_number, run, "boxes")
    _growth(by_number, run, "points", dash="--")
    title = "Boxes of 1° (full), points (dashed), from opening on"
    by_number.set(title=title, xlabel="regions of one call", ylabel="time")
    about = run["machine"]
    figure.suptitle(f"cop-zarr and its peers, {about['cores']} cores, {about['cpu']}", fontsize=10)
    figure.savefig(target, dpi=130)


def _cases(axes: Axes, run: Run) -> None:
    asked = [one for one in run["questions"] if one["turns"] and one["group"] != "growth"]
    for place, one in enumerate(asked):
        axes.axhline(place, color="0.92", lw=0.8, zorder=0)
        for name in reversed(LIBRARIES):
            if seconds := one["peers"].get(name, {}).get("median"):
                axes.plot(seconds, place, **STYLES[name])
    labels = [f"{one['title']}  ({one['group']})" for one in asked]
    axes.set_yticks(range(len(asked)), labels)
    axes.set_ylim(len(asked) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.set_xlabel("median time of one query, of all points, of all boxes")
    _label_times(axes.xaxis)
    for name in LIBRARIES:
        axes.plot([], [], ls="", label=name, **STYLES[name])
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=5)


def _growth(axes: Axes, run: Run, group: str, dash: str = "-") -> None:
    asked = [one for one in run["questions"] if one["group"] == group]
    counts = [int(one["case"].partition("/")[2]) for one in asked]
    for name in LIBRARIES if asked else ():
        medians = [one["peers"].get(name, {}).get("median", math.nan) for one in asked]
        axes.plot(counts, medians, dash, **STYLES[name] | {"ms": 4, "lw": 2.2 if name == COP_ZARR else 1.2})
    axes.set(xscale="log", yscale="log")
    axes.grid(color="0.92")
    _label_times(axes.yaxis)


def _label_times(axis: Any) -> None:
    def label(seconds: float, _: int) -> str:
        value, unit = duration(10 ** round(math.log10(seconds)) * 1.000001).split()
        return f"{float(value):g} {unit}"

    axis.set_major_formatter(FuncFormatter(label))
    axis.set_minor_formatter(NullFormatter())


if __name__ == "__main__":
    text = sys.stdin.read() if sys.argv[1] == "-" else Path(sys.argv[1]).read_text("utf-8")
    draw(json.loads(text), Path(sys.argv[2]))
