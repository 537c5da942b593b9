"""Measure ``cop-zarr batch`` as a whole process: the table of ``docs/batch.md``.

``python -m benchmarks.batch --store STORE --work FOLDER`` takes a few minutes, and 4 GB in FOLDER.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np

POINTS = 1_000_000
BOXES = 100_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser("python -m benchmarks.batch", description=__doc__)
    parser.add_argument("--store", required=True, help="a store of the whole globe")
    parser.add_argument("--work", type=Path, required=True, help="a folder for tables and outputs")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    points, boxes = options.work / "points.csv", options.work / "boxes.csv"
    write_points(points)
    write_boxes(boxes)
    for row in (
        ("table", "to", "seconds", "rows a second", "peak memory", "output"),
        ("---", "---", "---:", "---:", "---:", "---:"),
    ):
        show(row)
    for table, rows, what in ((points, POINTS, "points"), (boxes, BOXES, "boxes of 1°")):
        for suffix in (".parquet", ".zarr", ".npy"):
            out = options.work / f"out{suffix}"
            seconds, peak = timed(options.store, table, out)
            size = sum(path.stat().st_size for path in (out, *out.rglob("*")) if path.is_file())
            show(
                (
                    f"{rows:,} {what}, CSV",
                    suffix,
                    f"{seconds:.1f}",
                    f"{rows / seconds:,.0f}",
                    f"{peak / 1000:,.0f} MB",
                    f"{size / 1e9:.2f} GB",
                )
            )


def write_points(path: Path) -> None:
    """Points all over the globe, in no order."""
    random = np.random.default_rng(0)
    lon, lat = random.uniform(-180, 180, POINTS), random.uniform(-90, 90, POINTS)
    numbers = np.column_stack([np.arange(POINTS), lon, lat])
    np.savetxt(path, numbers, ("%d", "%.5f", "%.5f"), ",", header="id,lon,lat", comments="")


def write_boxes(path: Path) -> None:
    """Boxes of 1° all over the globe, in no order."""
    random = np.random.default_rng(1)
    west, south = random.uniform(-180, 179, BOXES), random.uniform(-90, 89, BOXES)
    numbers = np.column_stack([west, south, west + 1, south + 1])
    np.savetxt(path, numbers, "%.5f", ",", header="west,south,east,north", comments="")


def timed(store: str, table: Path, out: Path) -> tuple[float, int]:
    """Seconds that the command took, and its peak memory in KiB."""
    program = Path(sysconfig.get_path("scripts"), "cop-zarr")
    command = [str(program), "batch", store, str(table), "--to", str(out), "--overwrite"]
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - begin, resource_kib(used)


def resource_kib(used: resource.struct_rusage) -> int:
    """Peak memory in KiB; macOS counts bytes."""
    return used.ru_maxrss // (1024 if sys.platform == "darwin" else 1)


def show(row: tuple[str, ...]) -> None:
    """Print a row of a Markdown table."""
    print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
