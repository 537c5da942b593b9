"""Measure cop-zarr and its peers in one run; ``benchmarks/README.md`` says what each row is."""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import bars, processes
from benchmarks.cases import ANSWERS, GLOBE, GROUPS, MAX_ROUNDS, Case, cases
from benchmarks.network import served
from benchmarks.prepare import ROOT, Bench, copy_store, machine, prepare
from benchmarks.report import report
from benchmarks.workers import Table, Workers

PROCESSES = "processes"


def main() -> None:
    """Prepare, measure, print."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    found = _measure(options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print("\n\n".join(report(found)))
    if options.picture:
        command = [sys.executable, "-m", "benchmarks.picture", "-", str(options.picture.resolve())]
        subprocess.run(command, check=True, input=json.dumps(found), text=True, cwd=ROOT)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--work", type=Path, default=ROOT / "benchmarks" / "work", help="folder for everything large")
    add("--source", type=Path, help="a full GeoTIFF instead of the stand-in")
    add("--rs-embed-python", help="an interpreter that has rs-embed; default WORK/rs-embed/bin/python")
    rounds = range(1, MAX_ROUNDS + 1)
    add("--runs", type=int, default=3, choices=rounds, metavar="N", help="rounds (default 3, at most 12)")
    add("--quick", action="store_true", help="one round with a turn each, to see that it runs")
    groups = (PROCESSES, ANSWERS, *GROUPS)
    add("--only", choices=groups, nargs="+", default=groups, metavar="GROUP", help=", ".join(groups))
    add("--json", type=Path, help="write all figures to this file")
    add("--picture", type=Path, help="draw them into this PNG or SVG; needs matplotlib")
    return parser.parse_args()


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    """The whole run as one JSON document."""
    bench = prepare(options)
    asked = [case for case in cases() if case.group in options.only]
    timings, table, findings = {}, {}, []
    if PROCESSES in options.only:
        timings |= processes.measure(bench, processes.store_commands)
        findings += bars.of_processes(timings)
    if GLOBE in options.only:
        copy_store(bench)
        timings |= processes.measure(bench, processes.component_commands)
        findings += bars.of_components(timings)
    if asked:
        table = _ask(bench, asked, quick=options.quick)
        findings += bars.of_cases(table)
    return {
        "machine": machine(bench.rs_embed),
        "setting": {
            "source_bytes": bench.source.stat().st_size,
            "standin": options.source is None,
            "rounds": bench.rounds,
            "quick": options.quick,
        },
        "processes": {title: one.document() for title, one in timings.items()},
        "questions": [
            {
                **asdict(case),
                "case": case.name,
                "peers": {n: one.document() for n, one in table[case.name].items()},
            }
            for case in asked
        ],
        "findings": list(map(asdict, findings)),
    }


def _ask(bench: Bench, asked: Sequence[Case], *, quick: bool) -> Table:
    """Ask every library every case, after all answers were compared."""
    places = str(bench.work / "places.npz")
    processes.run(processes.script("choose_places.py", str(bench.store), places), bench.environment)
    with served(bench.work, bench.environment) as (far, counter):
        setting = {
            "store": str(bench.store),
            "kept": str(bench.store_with_components),
            "source": str(bench.source),
            "places": places,
            "far": f"{far}/{bench.store.name}",
            "far_kept": f"{far}/{bench.store_with_components.name}",
        }
        workers = Workers(asked, bench, setting)
        workers.compare_answers(bench.work)
        for number in range(1, bench.rounds + 1):
            workers.measure_round(number, counter, quick=quick)
        workers.close()
        workers.measure_memory()
    return workers.table


if __name__ == "__main__":
    main()
