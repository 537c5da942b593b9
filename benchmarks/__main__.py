"""Measure cop-zarr against its peers in one run, and print one table.

``python -m benchmarks --help``; ``benchmarks/README.md`` says what each row is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks import machine, peer, preparation, process_bars, processes
from benchmarks.document import Document, document
from benchmarks.inquiry import Found, inquire
from benchmarks.measure import Series, run, take_turns
from benchmarks.network import LATENCY_SECONDS
from benchmarks.questions import GROUPS, Question, questions
from benchmarks.tables import aligned, sections
from benchmarks.workers import peers

HOME = Path(__file__).resolve().parent
PROCESSES = "processes"
"""The group of cases that are whole processes."""

PROCESS_LIMITS = {
    process_bars.INGEST: process_bars.FLOOR,
    process_bars.QUERY: process_bars.IMPORTS,
}
"""What these processes cannot go below."""


def main() -> None:
    """Prepare, measure, compare, print."""
    options = _options()
    found = _measure(options)
    print("\n\n".join(map(aligned, sections(found))))
    if any(peer["share"] < 1 for one in found["questions"] for peer in one["peers"].values()):
        print("\n* measured on a part of the regions, and scaled")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.picture:
        command = [sys.executable, "-m", "benchmarks.picture", "-", str(options.picture.resolve())]
        subprocess.run(command, check=True, input=json.dumps(found), text=True, cwd=HOME.parent)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--work", type=Path, default=HOME / "work", help="folder for everything large")
    add("--source", type=Path, help="a full GeoTIFF instead of the stand-in")
    add("--rs-embed-python", help="an interpreter that has rs-embed; by default one is made")
    add("--runs", type=int, default=5, help="rounds; every case has a turn in each (default 5)")
    add("--quick", action="store_true", help="one round with a turn each, to see that it runs")
    add("--only", choices=(PROCESSES, *GROUPS), nargs="+", default=[], help="these groups of cases")
    add("--json", type=Path, help="write all figures here, too")
    add("--picture", type=Path, help="draw them here, as PNG or SVG; needs matplotlib")
    return parser.parse_args()


def _measure(options: argparse.Namespace) -> Document:
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    _say("the GeoTIFF")
    source = options.source.resolve() if options.source else preparation.standin(work)
    _say("rs-embed's interpreter")
    rival = peer.provide(options.rs_embed_python, work)
    environment = preparation.environment(source, work)
    store = work / "store.zarr"
    _say("make the store to ask")  # always by the code at hand; this warms the page cache
    processes.remove(store)
    run(processes.ingest(source, store), environment)
    rounds = 1 if options.quick else options.runs
    series, findings = {}, []
    if not options.only or PROCESSES in options.only:
        series, equality = _processes(source, store, work, rival, environment, rounds)
        findings = process_bars.findings(series, equality)
    asked = _asked(options)
    inside = _inside(asked, source, store, work, rival, environment, rounds, options) if asked else None
    setting = {
        "source_bytes": source.stat().st_size,
        "standin": options.source is None,
        "rounds": rounds,
        "quick": options.quick,
        "box": processes.BOX,
        "decode_threads": processes.THREADS,
        "page_cache": "warm",
        "latency_seconds": LATENCY_SECONDS,
        "bandwidth": inside.bandwidth if inside else None,
        "process_limits": PROCESS_LIMITS,
    }
    return document(
        machine.describe(rival.python),
        setting,
        series,
        asked,
        inside.table if inside else {},
        inside.limits if inside else {},
        [*findings, *(inside.findings if inside else ())],
    )


def _asked(options: argparse.Namespace) -> list[Question]:
    groups = tuple(name for name in options.only if name != PROCESSES)
    return [] if options.only and not groups else questions(groups)


def _processes(
    source: Path, store: Path, work: Path, rival: peer.Peer, environment: dict[str, str], rounds: int
) -> tuple[dict[str, Series], object]:
    _say("compare answers with rs-embed's")
    equality = preparation.compare(rival, store, work, environment)
    fresh = work / "fresh.zarr"
    series = take_turns(processes.turns(source, store, fresh, rival), rounds, environment, _say)
    processes.remove(fresh)
    return series, equality


def _inside(asked, source, store, work, rival, environment, rounds, options) -> Found:
    places = work / "places.npz"
    cells = preparation.places(store, places, environment)
    return inquire(
        asked,
        peers(rival.python),
        {"store": store, "source": source, "places": places},
        cells,
        environment,
        rounds,
        1 if options.quick else 1000,
        _say,
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
