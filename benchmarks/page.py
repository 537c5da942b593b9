"""Put a run into docs/performance.md: ``python -m benchmarks.page RUN.json`` prints the Markdown tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.tables import markdown, sections


def page(run: Mapping[str, Any]) -> Iterator[str]:
    """The paragraphs of the page, one after the other."""
    yield _machine(run["machine"])
    yield _setting(run["setting"])
    yield from map(markdown, sections(run))
    if any(peer["share"] < 1 for one in run["questions"] for peer in one["peers"].values()):
        yield "\\* measured on a part of the regions, and scaled."


def _machine(about: Mapping[str, Any]) -> str:
    ours = about["cop_zarr_environment"]
    versions = ", ".join(f"{name} {version}" for name, version in ours.items())
    lines = [
        f"{about['cpu']}, {about['cores']} cores, {about['memory_gib']} GiB, {about['system']}.",
        versions + ".",
    ]
    if theirs := about.get("rs_embed_environment"):
        lines.append(f"rs-embed {theirs.get('rs-embed', '?')} in Python {theirs['python']}.")
    return " ".join(lines)


def _setting(setting: Mapping[str, Any]) -> str:
    source = "the stand-in" if setting["standin"] else "a GeoTIFF that was given"
    lines = [f"Rounds: {setting['rounds']}. Source: {source}, {setting['source_bytes'] / 1e6:,.0f} MB."]
    if setting["bandwidth"]:
        lines.append(f"Memory passes {setting['bandwidth'] / 1e9:.1f} GB/s, read and written.")
    lines.append("± is half of the middle half of all turns.")
    return " ".join(lines)


if __name__ == "__main__":
    print("\n\n".join(page(json.loads(Path(sys.argv[1]).read_text("utf-8")))))
