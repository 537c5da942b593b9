"""Measure ``cop-zarr batch`` as a whole process: the table of ``docs/batch.md``.

``python -m benchmarks.batch --store STORE --work FOLDER`` takes a few minutes, and 4 GB in FOLDER.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from benchmarks.prepare import PROGRAM
from benchmarks.processes import run
from benchmarks.timings import MB, markdown


def main() -> None:
    """Write tables of points and boxes all over the globe, and have them answered."""
    parser = argparse.ArgumentParser("python -m benchmarks.batch", description=__doc__)
    parser.add_argument("--store", required=True, help="a store of the whole globe")
    parser.add_argument("--work", type=Path, required=True, help="a folder for tables and outputs")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(-180, 180, 1_000_000), rng.uniform(-90, 90, 1_000_000)])
    corners = np.column_stack([rng.uniform(-180, 179, 100_000), rng.uniform(-90, 89, 100_000)])
    tables = {
        "points": ("lon,lat", points),
        "boxes of 1°": ("west,south,east,north", np.hstack([corners, corners + 1])),
    }
    rows = [("table", "to", "seconds", "rows a second", "peak memory", "output")]
    for what, (header, numbers) in tables.items():
        table = options.work / "table.csv"
        np.savetxt(table, numbers, "%.5f", ",", header=header, comments="")
        for suffix in (".parquet", ".zarr", ".npy"):
            out = options.work / f"out{suffix}"
            command = [PROGRAM, "batch", options.store, str(table), "--to", str(out), "--overwrite"]
            seconds, peak = run(command, os.environ)
            size = sum(path.stat().st_size for path in (out, *out.rglob("*")) if path.is_file())
            count = len(numbers)
            figures = (
                f"{seconds:.1f}",
                f"{count / seconds:,.0f}",
                f"{peak / MB:,.0f} MB",
                f"{size / 1e9:.2f} GB",
            )
            rows.append((f"{count:,} {what}, CSV", suffix, *figures))
    print(markdown(rows))


if __name__ == "__main__":
    main()
