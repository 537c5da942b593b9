"""Compare two runs row by row: ``python -m benchmarks.compare BEFORE.json AFTER.json``.

Prints cop-zarr's medians and their ratio for every row that both runs have. ``limit`` is the ratio of what
nobody can go below (decoding alone): where it is not 1, the machine was faster or slower.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.processes import DECODE, INGEST, NUMPY, QUERY
from benchmarks.timings import duration, markdown
from benchmarks.workers import COP_ZARR, LIMIT

TOLERANCE = 1.05
LIMITS = {INGEST: DECODE, QUERY: NUMPY}


def medians(path: str) -> dict[str, tuple[float, float | None]]:
    """By row, cop-zarr's seconds and the limit's."""
    run = json.loads(Path(path).read_text("utf-8"))
    found = {title: one["median"] for title, one in run["processes"].items() if "median" in one}
    rows = {title: (found[title], found.get(LIMITS.get(title, ""))) for title in found if COP_ZARR in title}
    for one in run["questions"]:
        mine, limit = (one["peers"].get(name, {}).get("median") for name in (COP_ZARR, LIMIT))
        if mine:
            rows[f"{one['group']}, {one['title']}"] = mine, limit
    return rows


def main(before_path: str, after_path: str) -> None:
    """Print the table, and the rows that became slower."""
    before, after = medians(before_path), medians(after_path)
    table, slower = [("cop-zarr", "before", "after", "ratio", "limit")], []
    for title in [title for title in before if title in after]:
        (old, old_limit), (new, new_limit) = before[title], after[title]
        limit = f"{new_limit / old_limit:.2f}" if old_limit and new_limit else ""
        table.append((title, duration(old), duration(new), f"{new / old:.2f}", limit))
        if new / old > TOLERANCE:
            slower.append(title)
    print(markdown(table))
    print(f"\nMore than 5 % slower: {'; '.join(slower) or 'none'}.")
    print(f"Only in one of them: {'; '.join(sorted(before.keys() ^ after.keys())) or 'none'}.")


if __name__ == "__main__":
    main(*sys.argv[1:])
