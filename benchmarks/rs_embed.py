"""Time rs-embed's own calls before and after ``import cop_zarr.interop.rs_embed``.

``python -m benchmarks.rs_embed --geotiff TIF --work FOLDER --python PYTHON``, where PYTHON has rs-embed and
this project. Each side is a process of its own; they take turns. Their answers are compared bit by bit.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import RSS_UNIT
from benchmarks.tables import duration

FILENAME = "embed_map_310k.tif"
HOME = Path(__file__).resolve().parent.parent
ROUNDS = {"2°, warm": 300, "20°, warm": 15, "grid of 20° and its mean, warm": 15, "1,000 boxes again": 3}
"""How often each warm question is asked in a process; the others are asked once."""

Figures = dict[str, Any]


def main() -> None:
    """Run both sides in turns, and print a table."""
    parser = argparse.ArgumentParser("python -m benchmarks.rs_embed", description=__doc__)
    parser.add_argument("--geotiff", type=Path, required=True, help="the published file, or a stand-in")
    parser.add_argument("--work", type=Path, required=True, help="folder for the store")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with rs-embed")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="processes of each (default 3)")
    parser.add_argument("--side", choices=("before", "after"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(_side(options.side, options.work)))
        return
    where = _folder(options.geotiff, options.work)
    making = _run(options.python, "after", where)["first query"]
    runs: dict[str, list[Figures]] = {"before": [], "after": []}
    for _ in range(options.runs):
        for side, found in runs.items():
            found.append(_run(options.python, side, where))
    _print(runs, making)


def _folder(geotiff: Path, work: Path) -> Path:
    """A folder for ``RS_EMBED_COP_DIR`` in which no store has been made yet."""
    where = work / "rs-embed-turns"
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir(parents=True)
    (where / FILENAME).symlink_to(geotiff.resolve())
    return where


def _run(python: str, side: str, where: Path) -> Figures:
    """Have one side asked in a process of its own."""
    command = [
        python,
        "-m",
        "benchmarks.rs_embed",
        "--side",
        side,
        "--geotiff",
        FILENAME,
        "--work",
        str(where),
    ]
    environment = {**os.environ, "RS_EMBED_COP_DIR": str(where)}
    environment.pop("COP_ZARR_STORE", None)
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HOME, env=environment)
    figures: Figures = json.loads(done.stdout)
    return figures


def _side(side: str, where: Path) -> Figures:
    """Ask all questions of one side, in the process that this is."""
    warnings.simplefilter("ignore")  # that it unpacks, and which projection it has
    begin = time.perf_counter()
    import rs_embed  # noqa: PLC0415  # timed

    if side == "after":
        import cop_zarr.interop.rs_embed  # noqa: F401, PLC0415

    year, grid = rs_embed.TemporalSpec.year(2021), rs_embed.OutputSpec.grid()

    def ask(box: tuple[float, ...], output: Any = None) -> Any:
        return rs_embed.get_embedding(
            "copernicus",
            spatial=rs_embed.BBox(*box),
            temporal=year,
            output=output or rs_embed.OutputSpec.pooled(),
            backend="auto",
        ).data

    ask((10, 46, 12, 48))
    figures: Figures = {"first query": time.perf_counter() - begin}

    import numpy as np  # noqa: PLC0415  # both have it by now

    rng = np.random.default_rng(1)
    corners = np.column_stack([rng.uniform(-170, 170, 1000), rng.uniform(-50, 70, 1000)]).tolist()
    boxes = [rs_embed.BBox(west, south, west + 1.5, south + 1.5) for west, south in corners]

    def batch() -> Any:
        found = rs_embed.get_embeddings_batch("copernicus", spatials=boxes, temporal=year, backend="auto")
        return np.stack([one.data for one in found])

    asked: dict[str, Callable[[], Any]] = {
        "2°, warm": lambda: ask((10, 46, 12, 48)),
        "20°, warm": lambda: ask((10, 40, 30, 60)),
        "grid of 20° and its mean, warm": lambda: ask((10, 40, 30, 60), grid).mean(("y", "x")),
        "1,000 boxes again": batch,
    }
    batch()
    figures["first query and 1,000 boxes"] = time.perf_counter() - begin
    for name, question in asked.items():
        question()
        figures[name] = statistics.median(_seconds(question) for _ in range(ROUNDS[name]))
    figures["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT
    answers = [question() for question in asked.values()]
    np.savez(where / f"{side}.npz", *answers, ask((10, 40, 30, 60), grid), ask((-180, -90, 180, 90)))
    figures["equal"] = _equal(where)
    return figures


def _seconds(question: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    question()
    return time.perf_counter() - begin


def _equal(where: Path) -> bool:
    """Whether the answers of both sides have the same bits; True while there is one side only."""
    import numpy as np  # noqa: PLC0415  # the process that takes turns must stay small

    sides = [where / "before.npz", where / "after.npz"]
    if not all(side.exists() for side in sides):
        return True
    one, other = map(np.load, sides)
    return all(np.array_equal(one[name].view("u4"), other[name].view("u4")) for name in one.files)


def _print(runs: dict[str, list[Figures]], making: float) -> None:
    """Print medians as Markdown, and what became of the comparison."""
    before, after = runs["before"], runs["after"]
    print(f"| rs-embed's call, median of {len(before)} processes | before | after | ratio |")
    print("| --- | --- | --- | --- |")
    for name in ("first query", "first query and 1,000 boxes", *ROUNDS):
        one, other = (statistics.median(run[name] for run in side) for side in (before, after))
        print(f"| {name} | {duration(one)} | {duration(other)} | {one / other:.2f} |")
    one, other = (statistics.median(run["peak"] for run in side) / 1e6 for side in (before, after))
    print(f"| peak memory | {one:,.0f} MB | {other:,.0f} MB | {one / other:.2f} |")
    print(f"\nThe very first query, which makes the store: {making:.1f} s.")
    print(
        f"Answers equal to the last bit: {'yes' if all(run['equal'] for run in before + after) else 'NO'}."
    )


if __name__ == "__main__":
    main()
