"""rs-embed's own calls before and after ``import cop_zarr.interop.rs_embed``, for docs/rs-embed.md.

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
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.prepare import ROOT
from benchmarks.processes import RSS_UNIT
from benchmarks.timings import MB, duration, in_turn, markdown

SMALL, LARGE, GLOBE = (10, 46, 12, 48), (10, 40, 30, 60), (-180, -90, 180, 90)


def main() -> None:
    """Run both sides in turns, and print a table."""
    parser = argparse.ArgumentParser("python -m benchmarks.rs_embed", description=__doc__)
    parser.add_argument("--geotiff", type=Path, required=True, help="the published file, or a stand-in")
    parser.add_argument("--work", type=Path, required=True, help="folder for the store")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with rs-embed")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="processes of each (default 3)")
    options = parser.parse_args()
    folder = options.work / "rs-embed-turns"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "embed_map_310k.tif").symlink_to(options.geotiff.resolve())
    making_s = _run(options.python, "after", folder)["first query"]
    runs = [
        [_run(options.python, side, folder) for side in ("before", "after")] for _ in range(options.runs)
    ]
    rows = [(f"rs-embed's call, median of {options.runs} processes", "before", "after", "ratio")]
    for name in runs[0][0]:
        before, after = (statistics.median(one[name] for one in side) for side in zip(*runs, strict=True))
        texts = [f"{one / MB:,.0f} MB" if "memory" in name else duration(one) for one in (before, after)]
        rows.append((name, *texts, f"{before / after:.2f}"))
    print(markdown(rows))
    print(f"\nThe very first query, which makes the store: {making_s:.1f} s.")
    with np.load(folder / "before.npz") as before, np.load(folder / "after.npz") as after:
        same = all(np.array_equal(before[name].view("u4"), after[name].view("u4")) for name in before.files)
    print(f"Answers equal to the last bit: {'yes' if same else 'NO'}.")


def _run(python: str, side: str, folder: Path) -> dict[str, float]:
    """Have one side asked in a process of its own."""
    code = f"import benchmarks.rs_embed; benchmarks.rs_embed.ask({side!r}, {str(folder)!r})"
    environment = {name: value for name, value in os.environ.items() if name != "COP_ZARR_STORE"}
    environment |= {"RS_EMBED_COP_DIR": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [python, "-c", code], stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    return dict(json.loads(done.stdout))


def ask(side: str, folder: str) -> None:
    """Ask all questions of one side in this process; print seconds and peak bytes as JSON."""
    warnings.simplefilter("ignore")  # about unpacking and the projection
    begin = time.perf_counter()
    import rs_embed

    if side == "after":
        import cop_zarr.interop.rs_embed  # noqa: F401

    options = {"temporal": rs_embed.TemporalSpec.year(2021), "backend": "auto"}
    grid, pooled = rs_embed.OutputSpec.grid(), rs_embed.OutputSpec.pooled()

    def query(box: tuple[float, ...], output: Any = pooled) -> Any:
        spatial = rs_embed.BBox(*box)
        return rs_embed.get_embedding("copernicus", spatial=spatial, output=output, **options).data

    rng = np.random.default_rng(1)
    corners = np.column_stack([rng.uniform(-170, 170, 1000), rng.uniform(-50, 70, 1000)]).tolist()
    boxes = [rs_embed.BBox(west, south, west + 1.5, south + 1.5) for west, south in corners]

    def batch() -> np.ndarray:
        found = rs_embed.get_embeddings_batch("copernicus", spatials=boxes, **options)
        return np.stack([one.data for one in found])

    query(SMALL)
    figures = {"first query": time.perf_counter() - begin}
    batch()
    figures["first query and 1,000 boxes"] = time.perf_counter() - begin
    works = {
        "2°, warm": lambda: query(SMALL),
        "20°, warm": lambda: query(LARGE),
        "grid of 20° and its mean, warm": lambda: query(LARGE, grid).mean(("y", "x")),
        "1,000 boxes again": batch,
    }
    figures |= {name: timings.median for name, timings in in_turn(works, 15).items()}
    figures["peak memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT
    answers = [work() for work in works.values()]
    np.savez(f"{folder}/{side}.npz", *answers, query(LARGE, grid), query(GLOBE))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
