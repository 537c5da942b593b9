"""What is demanded of cop-zarr, and whether it is met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks import processes
from benchmarks.cases import LATENCY_SECONDS
from benchmarks.timings import MB, Timings, ratio
from benchmarks.workers import (
    API,
    COP_ZARR,
    FAISS,
    LIMIT,
    NUMPY,
    READER,
    SCIKIT_LEARN,
    TENSORSTORE,
    Table,
)

SAME_ANSWERS = {"answers-grid/all": 0.0, "answers-max/all": 0.0, "answers-mean/small": 1e-6}
"""How much cop-zarr's answers may differ from those of rs-embed's API. Larger boxes have no bar: rs-embed
computes means in float32, whose rounding reaches 1e-6."""

SIMILAR, SIMILAR_KEPT, SIMILAR_MANY = "similar/4", "similar-kept/16", "similar-many/1000"
REMOTE_SIMILAR = "remote-similar/1"

SAME_CELLS = {
    **{(case, NUMPY): 1e-12 for case in (SIMILAR, SIMILAR_KEPT, SIMILAR_MANY)},
    **{(case, FAISS): 1e-5 for case in (SIMILAR, SIMILAR_KEPT, SIMILAR_MANY)},
    ("components/globe", SCIKIT_LEARN): 5e-5,
}
"""By case and library, how much answers may differ. The numbers of two cells differ by 1 or more; NumPy's
scores are float64, faiss's float32. Axes of 768 numbers that differ by so little have |cos| >= 1 - 1e-6."""

RATIOS = (
    ("uncached/1", TENSORSTORE, 0.8),
    ("uncached/2", TENSORSTORE, 1.0),
    ("uncached/20", TENSORSTORE, 1.0),
    ("grid/2", TENSORSTORE, 1.0),
    ("grid/20", TENSORSTORE, 1.0),
    ("warm/1", READER, 0.8),
    ("warm/2", READER, 0.8),
    ("warm/20", READER, 0.8),
    ("warm/1", API, 0.5),
    ("warm/2", API, 0.7),
    ("warm/20", API, 1.0),
    ("uncached/globe", LIMIT, 1.2),
    ("cells/globe", LIMIT, 2.0),
    (SIMILAR, LIMIT, 1.5),
    (SIMILAR_KEPT, NUMPY, 1.5),
    ("points/100000", API, 0.2),
    ("boxes/20000", API, 0.3),
)
"""Case, library, and the most that cop-zarr's time may be of that library's."""

INGEST = processes.INGEST
PEAK = "peak {:.0f} MB"


@dataclass(frozen=True)
class Finding:
    """One figure beside its bar."""

    case: str
    """The row of the table that it belongs to."""

    text: str
    """The figure, in words."""

    value: float | None
    """None if it was not measured."""

    bar: str
    """What is demanded."""

    verdict: str


def of_processes(timings: Mapping[str, Timings]) -> Iterator[Finding]:
    """Whole processes."""

    def times(one: str, other: str) -> float | None:
        return ratio(timings.get(one), timings.get(other))

    query = processes.QUERY
    yield _at_most(INGEST, times(INGEST, processes.RS_EMBED), 0.7, "{:.2f} x rs-embed's first query")
    yield _at_most(INGEST, times(INGEST, processes.DECODE), 2.5, "{:.2f} x decoding the tiles")
    yield _at_most(query, times(query, processes.RS_EMBED), 0.05, "{:.3f} x rs-embed's")
    yield _at_most(query, times(query, processes.RASTERIO), 0.33, "{:.2f} x rasterio's")
    yield _at_most(query, times(query, processes.ZARR), 1.1, "{:.2f} x zarr-python's")
    for title, most_mb in ((INGEST, 1000), (processes.GLOBE, 400)):
        yield _at_most(title, timings[title].peak_bytes / MB, most_mb, PEAK)


def of_components(timings: Mapping[str, Timings]) -> Iterator[Finding]:
    """Whole processes that derive components."""
    mine = timings[processes.COMPONENTS]
    yield _at_most(processes.COMPONENTS, mine.median, 8, "{:.2f} s")
    yield _at_most(processes.COMPONENTS, mine.peak_bytes / MB, 700, PEAK)


def of_cases(table: Table) -> Iterator[Finding]:
    """Cases within a process."""
    for case, library, most in RATIOS:
        if case in table:
            found = ratio(table[case].get(COP_ZARR), table[case].get(library))
            yield _at_most(case, found, most, f"{{:.2f}} x {library}")
    if "boxes/200000" in table:
        found = ratio(table["boxes/200000"].get(COP_ZARR), table["boxes/20000"].get(COP_ZARR))
        yield _at_most("boxes/200000", found, 6, "{:.2f} x 20,000 boxes")
    if SIMILAR_MANY in table and SIMILAR in table:
        many, one = (table[case].get(COP_ZARR) for case in (SIMILAR_MANY, SIMILAR))
        yield _at_most(SIMILAR_MANY, ratio(many, one), 12, "{:.1f} x one place")
    yield from _of_answers(table)
    for case, libraries in table.items():
        yield from _of_cop_zarr(case, libraries.get(COP_ZARR, Timings()))


def _of_answers(table: Table) -> Iterator[Finding]:
    for case, most in SAME_ANSWERS.items():
        if found := table.get(case, {}).get(API):
            yield _at_most(case, found.difference, most, "differs from rs-embed by {:.1e}")
    for (case, library), most in SAME_CELLS.items():
        if found := table.get(case, {}).get(library):
            yield _at_most(case, found.difference, most, f"{library} differs by {{:.1e}}")
    for case, libraries in table.items():
        for name, found in libraries.items():
            if found.same is False and case not in SAME_ANSWERS and (case, name) not in SAME_CELLS:
                yield _at_most(case, found.difference, 0, f"{name} answers otherwise, by {{:.1e}}")


def _of_cop_zarr(case: str, mine: Timings) -> Iterator[Finding]:
    if case == "warm/globe":
        yield _at_most(case, mine.peak_bytes / MB, 400, PEAK)
    if case in {"remote/2", "remote/64"}:
        yield _at_most(case, mine.median / LATENCY_SECONDS, 2.5, "{:.2f} round trips' time")
    if case == "remote/ocean":
        yield _at_most(case, max(mine.requests), 0, "{} requests")
    if case == "cells/globe":
        beside = (mine.peak_bytes - mine.answer_bytes) / MB
        yield _at_most(case, beside, 250, "peak {:.0f} MB beside the result")
    if case == SIMILAR:
        yield _at_most(case, mine.peak_bytes / MB, 400, PEAK)
    if case == SIMILAR_KEPT:
        yield _at_most(case, mine.median * 1000, 60, "{:.1f} ms")
        yield _at_most(case, mine.peak_bytes / MB, 300, PEAK)
    if case == REMOTE_SIMILAR:
        yield _at_most(case, max(mine.moved_bytes) / MB, 100, "{:.0f} MB moved")
        yield _at_most(case, mine.median, 3, "{:.2f} s")


def _at_most(case: str, value: float | None, most: float, text: str) -> Finding:
    if value is None:
        return Finding(case, "", None, f"<= {most:g}", "not measured")
    verdict = "met" if value <= most else "NOT MET"
    return Finding(case, text.format(value), value, f"<= {most:g}", verdict)
