"""Reports as text for people."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from cop_zarr.interop.tables.runner import BatchReport
    from cop_zarr.writing.checks import Problem
    from cop_zarr.writing.components import ComponentsReport
    from cop_zarr.writing.copying import CopyReport
    from cop_zarr.writing.ingest import IngestReport
    from cop_zarr.writing.plan import IngestPlan
    from cop_zarr.writing.repair import RepairReport
    from cop_zarr.writing.verify import VerificationReport

MAX_PROBLEMS = 20
"""Problems printed; --json has all."""


def plan_text(plan: IngestPlan) -> str:
    """What an ingest would do."""
    (rows, cols), (chunk_rows, chunk_cols) = plan.info.grid.shape, plan.layout.chunk_grid
    size = plan.layout.chunk_cells
    return table(
        {
            "source": f"{plan.source} ({size_text(plan.source_bytes)})",
            "container": plan.info.container,
            "grid": f"{rows} x {cols} cells, {plan.info.bands} bands",
            "store": plan.store,
            "chunks": f"{chunk_rows} x {chunk_cols} of {size} x {size} cells",
            **_shards(plan.layout.shard_cells),
            "encoding": plan.layout.encoding.name,
            "estimated size": f"{size_text(plan.store_bytes)}, if as much of it is land as of the globe",
            "estimated memory": f"{size_text(plan.memory_bytes)}, {_count(plan.workers, 'worker')}",
        }
    )


def ingest_text(report: IngestReport) -> str:
    """What an ingest wrote."""
    return table(
        {
            "store": f"{report.store} ({size_text(report.store_bytes)})",
            "cells": f"{report.valid_cells:,} of {report.total_cells:,} with data",
            "chunks": f"{report.chunks_stored:,} of {report.chunks_total:,} with data",
            **_source(report.source),
        }
    )


def copy_text(report: CopyReport) -> str:
    """What a copy wrote."""
    return table(
        {
            "store": report.copy,
            "copied": f"{report.store}: {_count(report.chunks_copied, 'chunk')}, each checked",
            "objects": f"{report.objects_written:,}{' (shards)' if report.shards else ''}",
            "encoding": report.encoding,
            "sha256": report.sha256,
            **_components(report),
        }
    )


def _components(report: CopyReport) -> dict[str, str]:
    if report.components == "not copied":
        again = f"cop-zarr components {shlex.quote(report.copy)}"
        return {"components": f"not copied; derive them again with: {again}"}
    return {} if report.components == "none" else {"components": report.components}


def verify_text(report: VerificationReport) -> str:
    """One line per problem, then the verdict."""
    from cop_zarr.storage import repair_advice

    lines = _problems(report.problems)
    checked = f"{report.objects_checked:,} objects checked"
    if report.ok:
        compared = f", {report.values_compared:,} values equal to those of {report.source}"
        lines.append(f"{report.store} is good: {checked}{compared if report.source else ''}")
    else:
        lines.append(
            f"{report.store} is DAMAGED: {_count(len(report.problems), 'problem')} in {checked}, "
            f"{_count(report.damaged_chunks, 'chunk')} concerned. {repair_advice(report.store)}"
        )
    lines += _foreign(report.foreign)
    if not report.listed:
        lines.append("(objects that are not part of the store were not looked for)")
    return "\n".join(lines)


def repair_text(report: RepairReport) -> str:
    """One line per object, the problems that are left, then the verdict."""
    lines = [f"{key}: rewritten" for key in report.rewritten]
    lines += [f"{key}: removed" for key in report.removed]
    lines += _problems(report.problems)
    if any(key.startswith("components/") for key in report.removed):
        again = f"cop-zarr components {shlex.quote(report.store)}"
        lines.append(f"(its principal components are not kept any more; derive them again with: {again})")
    done = f"{_count(len(report.rewritten), 'object')} rewritten, {len(report.removed)} removed"
    if report.ok:
        lines.append(f"{report.store} is good: {done}")
    else:
        left = _count(len(report.problems), "problem")
        lines.append(f"{report.store} is still damaged: {done}, {left} left")
    lines += _foreign(report.foreign)
    return "\n".join(lines)


def components_text(report: ComponentsReport) -> str:
    """What a store keeps, and since when."""
    made = "derived now" if report.derived else "kept already; derive them again with --overwrite"
    share = sum(report.explained_variance_ratio)
    return table(
        {
            "store": report.store,
            "components": f"{report.count}, {share:.1%} of the variance of {report.cells:,} cells ({made})",
            "size": size_text(report.stored_bytes),
        }
    )


def batch_text(report: BatchReport, out: Path) -> str:
    """One line per row without a vector, then the totals; ``out`` is the file as it was named."""
    lines = [
        f"{place}: {reason}" for place, (_, reason) in zip(report.places, report.refusals, strict=True)
    ]
    more = report.refused - len(lines)
    lines += [f"… and {more:,} more (the column 'error' has all)"] if more else []
    resumed = f", {report.resumed_rows:,} of them by an earlier run" if report.resumed_rows else ""
    refused = f", {_count(report.refused, 'row')} without a vector" if report.refused else ""
    rows = _count(report.rows, "row")
    lines += [f"{report.rois}: read as {report.dialect}"] if report.dialect else []
    lines.append(f"{out}: {rows} x {report.bands} float32 numbers{resumed}{refused}")
    return "\n".join(lines)


def info_text(info: dict[str, Any]) -> str:
    """What a store contains."""
    (rows, cols), (west, south, east, north) = info["shape"], info["bounds"]
    return table(
        {
            "store": f"{info['store']} ({info['format']}, {size_text(info['stored_bytes'])} of chunks)",
            "grid": f"{rows} x {cols} cells of {info['resolution_deg']}°, {info['crs']}, lon "
            f"{west} … {east}, lat {south} … {north}",
            "bands": str(info["bands"]),
            "year": str(info["year"]),
            "cells": f"{info['valid_cells']:,} of {info['total_cells']:,} with data",
            "chunks": f"{info['chunks_stored']:,} of {info['chunks_total']:,} with data",
            **_shards(info["shard_cells"] and info["shard_cells"][0]),
            **({"components": f"{info['components']} kept"} if info["components"] else {}),
            **_encoding(info["encoding"]),
            **_source(info["source"]),
            "created": f"{info['created']} by {info['created_by']}",
            "licence": info["license"],
            "cite": info["citation"],
        }
    )


def cells_text(meta: dict[str, Any]) -> str:
    """How many cells, and how many of them with data."""
    return f"{meta['total_cells']:,} cells, {meta['valid_cells']:,} with data"


def _shards(cells: int | None) -> dict[str, str]:
    return {"shards": f"{cells} x {cells} cells"} if cells else {}


def _encoding(encoding: dict[str, Any]) -> dict[str, str]:
    """How numbers are stored, and what that has lost, as far as it was measured."""
    found = encoding["losses"] or {}
    lost = [f"{name} {value:.8g}" for name, value in found.items() if value is not None]
    return {"encoding": encoding["name"], **({"lost": ", ".join(lost)} if lost else {})}


def size_text(count: float) -> str:
    """A number of bytes with a unit."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


def _problems(problems: list[Problem]) -> list[str]:
    lines = [f"{problem.key}: {problem.message}{_extent(problem)}" for problem in problems[:MAX_PROBLEMS]]
    more = len(problems) - len(lines)
    return [*lines, f"… and {more:,} more (--json lists all)"] if more else lines


def _foreign(keys: list[str]) -> list[str]:
    """One line about files that are not the store's."""
    names = ", ".join(keys[:3]) + (", …" if len(keys) > 3 else "")
    return [f"({_count(len(keys), 'file')} not of the store, and harmless to it: {names})"] if keys else []


def _extent(problem: Problem) -> str:
    if problem.bbox is None:
        return ""
    west, south, east, north = problem.bbox
    return f" (lon {west} … {east}, lat {south} … {north})"


def _source(source: dict[str, Any]) -> dict[str, str]:
    origin = "the published file" if source["published"] else "NOT the published file, by its SHA-256"
    if source["synthetic"]:
        origin = "SYNTHETIC, its values are made up"
    return {
        "source": f"{source['url']}: {origin}",
        "sha256": source["sha256"],
        **({"no value": _no_value(source["nan_cells"])} if source.get("nan_cells") else {}),
        **({"not finite": non_finite_text(source)} if source.get("non_finite_cells") else {}),
    }


def _no_value(cells: int) -> str:
    return f"{_count(cells, 'cell')}, NaN or nodata in every band of the source; here without data"


def non_finite_text(source: dict[str, Any]) -> str:
    """How many cells hold NaN or an infinity."""
    return f"{_count(source['non_finite_cells'], 'cell')} with data, NaN or infinite in some band"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def table(rows: dict[str, str]) -> str:
    """One line for each fact, after its name."""
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())
