"""Measure cop-zarr against its peers in one run, and print one table.

``python -m benchmarks --help``; ``benchmarks/README.md`` says what each row is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import machine, peer, preparation, process_bars, processes
from benchmarks.document import Document, document
from benchmarks.inquiry import NOTHING, inquire
from benchmarks.measure import Series, run, take_turns
from benchmarks.network import LATENCY_SECONDS
from benchmarks.preparation import Bench
from benchmarks.questions import GROUPS, MOST_ROUNDS, MOST_TURNS, Question, questions
from benchmarks.tables import aligned, sections
from benchmarks.workers import peers

HOME = Path(__file__).resolve().parent
BEGIN = time.perf_counter()
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
    rounds = range(1, MOST_ROUNDS + 1)
    add("--runs", type=int, default=3, choices=rounds, metavar="N", help="rounds (default 3, most 12)")
    add("--quick", action="store_true", help="one round with a turn each, to see that it runs")
    add("--only", choices=(PROCESSES, *GROUPS), nargs="+", default=[], help="these groups of cases")
    add("--json", type=Path, help="write all figures here, too")
    add("--picture", type=Path, help="draw them here, as PNG or SVG; needs matplotlib")
    return parser.parse_args()


def _measure(options: argparse.Namespace) -> Document:
    bench = _prepare(options)
    series, findings = {}, []
    if not options.only or PROCESSES in options.only:
        series, equality = _processes(bench)
        findings = process_bars.findings(series, equality)
    asked, inside = _asked(options.only), NOTHING
    if asked:
        inside = inquire(asked, peers(bench.rival.python), bench, 1 if options.quick else MOST_TURNS)
    setting = {
        "source_bytes": bench.source.stat().st_size,
        "standin": options.source is None,
        "rounds": bench.rounds,
        "quick": options.quick,
        "box": processes.BOX,
        "decode_threads": processes.THREADS,
        "page_cache": "warm",
        "latency_seconds": LATENCY_SECONDS,
        "bandwidth": inside.bandwidth,
        "process_limits": PROCESS_LIMITS,
    }
    return document(
        machine=machine.describe(bench.rival.python),
        setting=setting,
        series=series,
        asked=asked,
        table=inside.table,
        limits=inside.limits,
        findings=[*findings, *inside.findings],
    )


def _prepare(options: argparse.Namespace) -> Bench:
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    _say("the GeoTIFF")
    source = options.source.resolve() if options.source else preparation.standin(work)
    _say("rs-embed's interpreter")
    rival = peer.provide(options.rs_embed_python, work)
    environment = preparation.environment(source, work)
    rounds = 1 if options.quick else options.runs
    bench = Bench(work, source, rival, environment, rounds, _say)
    _say("make the store to ask")  # always by the code at hand; this warms the page cache
    processes.remove(bench.store)
    run(processes.ingest(source, bench.store), environment)
    return bench


def _asked(only: list[str]) -> list[Question]:
    groups = tuple(name for name in only if name != PROCESSES)
    return [] if only and not groups else questions(groups)


def _processes(bench: Bench) -> tuple[dict[str, Series], dict[str, object] | str]:
    _say("compare answers with rs-embed's")
    equality = preparation.compare(bench)
    fresh = bench.work / "fresh.zarr"
    cases = processes.turns(bench.source, bench.store, fresh, bench.rival)
    series = take_turns(cases, bench.rounds, bench.environment, _say)
    processes.remove(fresh)
    return series, equality


def _say(line: str) -> None:
    print(f"{time.perf_counter() - BEGIN:4.0f} s  {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
