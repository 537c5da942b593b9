"""Measure cop-zarr against rs-embed and rasterio in one run, and print one table.

``python -m benchmarks --help``; ``benchmarks/README.md`` says what each row is.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import machine, peer, report
from benchmarks.bars import FLOOR, GLOBE, INGEST, QUERY, RASTERIO, RS_EMBED, findings
from benchmarks.measure import Case, ProcessError, run, take_turns

HOME = Path(__file__).resolve().parent
CASES = HOME / "cases"

BOX = ("120", "30", "122", "32")
"""The measured query: 9 x 9 cells at the mouth of the Yangtze, all of them in one tile of the source."""

FRESH = "fresh.zarr"
"""The store that the measured ingests write, in the work folder; it is removed again."""

WHOLE_GLOBE = ("-180", "-90", "180", "90")
THREADS = min(4, os.cpu_count() or 1)
"""What an ingest takes by default: 4, and no more than there are processors."""

QUERIES_A_ROUND = 3
"""Turns of the quick cases in each round."""

BOXES = {
    "coast": (120, 30, 122, 32),
    "inland": (85.1, 44.9, 87.3, 46.2),
    "ocean": (-150, -2, -148, 2),
    "islands": (95, -11, 150, 7),
    "one cell": (10.875, 46.875, 11.125, 47.125),
    "on cell edges": (5.125, 45.125, 7.125, 47.125),
    "four tiles": (11.3, 24.1, 12.4, 27.2),
    "south pole": (0, -90, 10, -85),
    "north pole": (-40, 82, -20, 90),
}
"""Where answers are compared. None at the antimeridian, where rs-embed stops short."""


def main() -> None:
    """Prepare, measure, compare, print."""
    options = _options()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    source = options.source.resolve() if options.source else _standin(work)
    _say("rs-embed's interpreter")
    rival = peer.provide(options.rs_embed_python, work)
    environment = _environment(source, work)
    store = work / "store.zarr"
    _prepare(source, store, environment)
    equality = _compare(rival, store, work, environment)
    series = take_turns(_turns(source, store, work, rival), options.runs, environment, _say)
    _remove(work / FRESH)
    found = findings(series, equality)
    about = machine.describe(rival.python)
    setting = {
        "source_bytes": source.stat().st_size,
        "standin": options.source is None,
        "rounds": options.runs,
        "box": BOX,
        "decode_threads": THREADS,
        "page_cache": "warm",
        "equality": equality,
    }
    print(report.table(series, found))
    if options.json:
        text = json.dumps(report.document(about, setting, series, found), indent=1)
        options.json.write_text(text + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--work", type=Path, default=HOME / "work", help="folder for everything large")
    add("--source", type=Path, help="a full GeoTIFF instead of the stand-in")
    add("--rs-embed-python", help="an interpreter that has rs-embed; by default one is made")
    add("--runs", type=int, default=5, help="rounds; every case has a turn in each (default 5)")
    add("--json", type=Path, help="write all figures here, too")
    return parser.parse_args()


def _standin(work: Path) -> Path:
    """The stand-in, made if it is not there yet; in its own process, see :mod:`benchmarks.measure`."""
    path = work / "standin.tif"
    if not path.exists():
        _say("write the stand-in: 721 x 1440 x 768")
        command = [sys.executable, "-m", "benchmarks.standin", str(path)]
        subprocess.run(command, check=True, cwd=HOME.parent)
    return path


def _environment(source: Path, work: Path) -> dict[str, str]:
    """Defaults for everybody, and scratch files of everybody on the work folder's disk."""
    scratch = work / "tmp"
    scratch.mkdir(exist_ok=True)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COP_ZARR_", "RS_EMBED_", "GDAL_", "PYTHON"))
    }
    return {**kept, "TMPDIR": str(scratch), "RS_EMBED_COP_DIR": str(peer.folder(source, work))}


def _ingest(source: Path, store: Path) -> tuple[str, ...]:
    program = Path(sysconfig.get_path("scripts"), "cop-zarr")
    return str(program), "ingest", str(source), str(store)


def _prepare(source: Path, store: Path, environment: dict[str, str]) -> None:
    """Make the store that the queries ask, always by the code at hand; this warms the page cache."""
    _say("make the store to ask")
    _remove(store)
    run(_ingest(source, store), environment)


def _compare(
    rival: peer.Peer, store: Path, work: Path, environment: dict[str, str]
) -> dict[str, Any] | str:
    """Compare answers with rs-embed's: what was found, or why nothing was."""
    if rival.missing:
        return rival.missing
    _say("compare answers with rs-embed's")
    answers, boxes = str(work / "rs-embed-answers.npz"), json.dumps(BOXES)
    script = str(CASES / "rs_embed_answers.py")
    try:
        run([rival.python, script, answers, boxes], environment)
    except ProcessError as error:
        return str(error)
    script = str(CASES / "compare_answers.py")
    done = run([sys.executable, script, str(store), answers, boxes], environment)
    return dict(json.loads(done.output))


def _turns(source: Path, store: Path, work: Path, rival: peer.Peer) -> list[Case]:
    """The cases in the order of their turns within a round."""
    tif, ours, fresh = str(source), sys.executable, work / FRESH

    def case(title: str, script: str, *arguments: str) -> Case:
        return Case(title, (ours, str(CASES / script), *arguments))

    query = case(QUERY, "cop_zarr_query.py", str(store), *BOX)
    windowed = case(RASTERIO, "rasterio_query.py", tif, *BOX)
    return [
        Case(INGEST, _ingest(source, fresh), before=partial(_remove, fresh)),
        case(FLOOR, "decode_only.py", tif, str(THREADS)),
        Case(
            RS_EMBED,
            (rival.python, str(CASES / "rs_embed_query.py"), *BOX),
            optional=True,
            missing=rival.missing,
        ),
        *(query, windowed) * QUERIES_A_ROUND,
        case(GLOBE, "cop_zarr_query.py", str(store), *WHOLE_GLOBE),
    ]


def _remove(store: Path) -> None:
    shutil.rmtree(store, ignore_errors=True)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
