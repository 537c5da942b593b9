"""Reports as text for people; each takes the report as the dict that ``--json`` prints."""

from __future__ import annotations

from typing import Any


def plan_text(plan: dict[str, Any]) -> str:
    """What an ingest would do."""
    info, layout = plan["info"], plan["layout"]
    grid = info["grid"]
    size = layout["chunk_cells"]
    rows, cols = -(-grid["rows"] // size), -(-grid["cols"] // size)
    return _table(
        {
            "source": f"{plan['source']} ({size_text(plan['source_bytes'])})",
            "container": f"{info['dtype']}, {info['layout']}, compression {info['compression']}, "
            f"predictor {info['predictor']}",
            "grid": f"{grid['rows']} x {grid['cols']} cells, {info['bands']} bands",
            "store": plan["store"],
            "chunks": f"{rows} x {cols} of {size} x {size} cells",
            "estimated size": f"{size_text(plan['store_bytes'])}, if as much of it is land as of the globe",
            "estimated memory": f"{size_text(plan['memory_bytes'])}, {_count(plan['workers'], 'worker')}",
        }
    )


def ingest_text(report: dict[str, Any]) -> str:
    """What an ingest did."""
    source = report["source"]
    return _table(
        {
            "store": f"{report['store']} ({size_text(report['store_bytes'])})",
            "cells": f"{report['valid_cells']:,} of {report['total_cells']:,} with data",
            "chunks": f"{report['chunks_stored']:,} of {report['chunks_total']:,} with data",
            "source": f"{source['url']}: {_origin(source)}",
            "sha256": source["sha256"],
        }
    )


def verify_text(report: dict[str, Any]) -> str:
    """What a verification found: a line a problem, then the verdict."""
    lines = [
        f"{problem['key']}: {problem['message']}{_place(problem['bbox'])}" for problem in report["problems"]
    ]
    compared = ""
    if report["source"]:
        compared = f", {report['values_compared']:,} values equal to those of {report['source']}"
    checked = f"{report['objects_checked']:,} objects checked"
    if report["ok"]:
        lines.append(f"{report['store']} is good: {checked}{compared}")
    else:
        count = len(report["problems"])
        lines.append(
            f"{report['store']} is DAMAGED: {_count(count, 'problem')} in {checked}. Write it anew with: "
            f"cop-zarr ingest SOURCE {report['store']} --overwrite"
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
