"""What is demanded of cop-zarr, and whether it is met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks import processes
from benchmarks.cases import LATENCY_SECONDS
from benchmarks.timings import MB, Timings, ratio
from benchmarks.workers import API, COP_ZARR, LIMIT, READER, TENSORSTORE, Table

SAME_ANSWERS = {"answers-grid/all": 0.0, "answers-max/all": 0.0, "answers-mean/small": 1e-6}
"""How much cop-zarr's answers may differ from those of rs-embed's API. Larger boxes have no bar: rs-embed
computes means in float32, whose rounding reaches 1e-6."""

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


def of_cases(table: Table) -> Iterator[Finding]:
    """Cases within a process."""
    for case, library, most in RATIOS:
        if case in table:
            found = ratio(table[case].get(COP_ZARR), table[case].get(library))
            yield _at_most(case, found, most, f"{{:.2f}} x {library}")
    if "boxes/200000" in table:
        found = ratio(table["boxes/200000"].get(COP_ZARR), table["boxes/20000"].get(COP_ZARR))
        yield _at_most("boxes/200000", found, 6, "{:.2f} x 20,000 boxes")
    for case, most in SAME_ANSWERS.items():
        if found := table.get(case, {}).get(API):
            yield _at_most(case, found.difference, most, "differs from rs-embed by {:.1e}")
    for case, libraries in table.items():
        for name, found in libraries.items():
            if found.same is False and case not in SAME_ANSWERS:
                yield _at_most(case, found.difference, 0, f"{name} answers otherwise, by {{:.1e}}")
        yield from _of_cop_zarr(case, libraries.get(COP_ZARR, Timings()))


def _of_cop_zarr(case: str, mine: Timings) -> Iterator[Finding]:
    if case == "warm/globe":
        yield _at_most(case, mine.peak_bytes / MB, 400, PEAK)
    if case in {"remote/2", "remote/64"}:
        yield _at_most(case, mine.median / LATENCY_SECONDS, 2.5, "{:.2f} round trips' time")
    if case == "remote/ocean":
        yield _at_most(case, max(mine.requests), 0, "{} requests")


def _at_most(case: str, value: float | None, most: float, text: str) -> Finding:
    if value is None:
        return Finding(case, "", None, f"<= {most:g}", "not measured")
    verdict = "met" if value <= most else "NOT MET"
    return Finding(case, text.format(value), value, f"<= {most:g}", verdict)
