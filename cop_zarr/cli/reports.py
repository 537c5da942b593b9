"""Reports as text for people."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cop_zarr.interop.tables.runner import BatchReport
    from cop_zarr.writing.checks import Problem
    from cop_zarr.writing.ingest import IngestReport
    from cop_zarr.writing.plan import IngestPlan
    from cop_zarr.writing.repair import RepairReport
    from cop_zarr.writing.verify import VerificationReport

MOST_PROBLEMS = 20
"""So many problems are printed for people; a folder that is gone would be thousands."""


def plan_text(plan: IngestPlan) -> str:
    """What an ingest would do."""
    (rows, cols), (chunk_rows, chunk_cols) = plan.info.grid.shape, plan.layout.chunk_grid
    size = plan.layout.chunk_cells
    return _table(
        {
            "source": f"{plan.source} ({size_text(plan.source_bytes)})",
            "container": plan.info.container,
            "grid": f"{rows} x {cols} cells, {plan.info.bands} bands",
            "store": plan.store,
            "chunks": f"{chunk_rows} x {chunk_cols} of {size} x {size} cells",
            "estimated size": f"{size_text(plan.store_bytes)}, if as much of it is land as of the globe",
            "estimated memory": f"{size_text(plan.memory_bytes)}, {_count(plan.workers, 'worker')}",
        }
    )


def ingest_text(report: IngestReport) -> str:
    """What an ingest did."""
    return _table(
        {
            "store": f"{report.store} ({size_text(report.store_bytes)})",
            "cells": f"{report.valid_cells:,} of {report.total_cells:,} with data",
            "chunks": f"{report.chunks_stored:,} of {report.chunks_total:,} with data",
            "source": f"{report.source['url']}: {_origin(report.source)}",
            "sha256": report.source["sha256"],
        }
    )


def verify_text(report: VerificationReport) -> str:
    """What a verification found: a line a problem, then the verdict."""
    lines = _problems(report.problems)
    compared = ""
    if report.source:
        compared = f", {report.values_compared:,} values equal to those of {report.source}"
    checked = f"{report.objects_checked:,} objects checked"
    if report.ok:
        lines.append(f"{report.store} is good: {checked}{compared}")
    else:
        lines.append(
            f"{report.store} is DAMAGED: {_count(len(report.problems), 'problem')} in {checked}, "
            f"{_count(report.damaged_chunks, 'chunk')} concerned. Repair it with: cop-zarr repair "
            f"{shlex.quote(report.store)} --source TIF"
        )
    if not report.listed:
        lines.append("(objects that do not belong there were not looked for)")
    return "\n".join(lines)


def _problems(problems: list[Problem]) -> list[str]:
    """A line a problem, the first of them."""
    lines = [f"{each.key}: {each.message}{_place(each.bbox)}" for each in problems[:MOST_PROBLEMS]]
    more = len(problems) - len(lines)
    return [*lines, f"… and {more:,} more (--json lists all)"] if more else lines


def repair_text(report: RepairReport) -> str:
    """What a repair did: a line an object, what is still wrong, then the verdict."""
    lines = [f"{key}: written anew" for key in report.rewritten]
    lines += [f"{key}: removed" for key in report.removed]
    lines += _problems(report.problems)
    done = f"{_count(len(report.rewritten), 'object')} written anew, {len(report.removed)} removed"
    if report.ok:
        lines.append(f"{report.store} is good: {done}")
    else:
        lines.append(
            f"{report.store} is not all good: {done}, {_count(len(report.problems), 'problem')} left"
        )
    return "\n".join(lines)


def batch_text(report: BatchReport) -> str:
    """What a batch did: a line a refused row, then the table."""
    lines = [f"row {number}: {reason}" for number, reason in report.refusals]
    more = report.refused - len(lines)
    lines += [f"… and {more:,} more (the column 'error' has all)"] if more else []
    resumed = f", {report.resumed_rows:,} of them by an earlier run" if report.resumed_rows else ""
    refused = f", {_count(report.refused, 'row')} without a vector" if report.refused else ""
    lines.append(
        f"{report.out}: {_count(report.rows, 'row')} x {report.bands} float32 numbers{resumed}{refused}"
    )
    return "\n".join(lines)


def info_text(info: dict[str, Any]) -> str:
    """What a store holds."""
    source, bounds = info["source"], info["bounds"]
    rows, cols = info["shape"]
    return _table(
        {
            "store": f"{info['store']} ({info['format']}, {size_text(info['stored_bytes'])} of chunks)",
            "grid": f"{rows} x {cols} cells of {info['resolution_deg']}°, {info['crs']}, lon "
            f"{bounds[0]} … {bounds[2]}, lat {bounds[1]} … {bounds[3]}",
            "bands": str(info["bands"]),
            "year": str(info["year"]),
            "cells": f"{info['valid_cells']:,} of {info['total_cells']:,} with data",
            "chunks": f"{info['chunks_stored']:,} of {info['chunks_total']:,} with data",
            "source": f"{source['url']}: {_origin(source)}",
            "sha256": source["sha256"],
            "created": f"{info['created']} by {info['created_by']}",
            "licence": info["license"],
            "cite": info["citation"],
        }
    )


def _origin(source: dict[str, Any]) -> str:
    if source["synthetic"]:
        return "SYNTHETIC, its values are made up"
    return "the published file" if source["published"] else "NOT the published file, by its SHA-256"


def _place(bbox: tuple[float, float, float, float] | None) -> str:
    if bbox is None:
        return ""
    west, south, east, north = bbox
    return f" (lon {west} … {east}, lat {south} … {north})"


def cells_text(meta: dict[str, Any]) -> str:
    """How many cells, and how many of them with data."""
    return f"{meta['total_cells']:,} cells, {meta['valid_cells']:,} with data"


def size_text(count: float) -> str:
    """A number of bytes in the unit that suits it."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _table(rows: dict[str, str]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())
