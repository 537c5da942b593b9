"""The quickstart: the main job once, from a source to a few answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cop_zarr import storage
from cop_zarr.core import settings
from cop_zarr.core.progress import Progress
from cop_zarr.errors import RegionError, StoreError
from cop_zarr.source.locate import find_default
from cop_zarr.source.synthetic import synthesize
from cop_zarr.store import Store
from cop_zarr.store import open as open_store
from cop_zarr.writing.ingest import ingest
from cop_zarr.writing.verify import verify

STANDIN = "standin.tif"
"""Not ``embed_map_*.tif``: nobody must take it for the published file later."""

PLACES = {
    "Munich": (11, 47.5, 12.5, 49),
    "Amazon, Manaus": (-61, -4, -59, -2),
    "Yangtze delta": (120, 30, 122, 32),
    "Fiji, over the antimeridian": (176.5, -19, -178.5, -16),
    "South Pacific, open ocean": (-130, -40, -125, -35),
}
"""Boxes that show land, a coast, the seam and the ocean: (minlon, minlat, maxlon, maxlat)."""


def steps(folder: Path, bar: Callable[[str], Progress]) -> Iterator[str]:
    """Do the main job, and say what was done, line by line.

    Parameters
    ----------
    folder : Path
        Where the stand-in and its store are put if the published file is not at hand.
    bar : callable
        Starts a named progress report.
    """
    source, target = find_default(), settings.store_url()
    if source is None:
        yield f"No embed_map_*.tif in {settings.source_folder()}: making a stand-in with MADE-UP values."
        target = str(folder / "standin.zarr")
        begin = time.perf_counter()
        source = synthesize(folder / STANDIN, overwrite=True, progress=bar("synth"))
        yield _timed(begin, f"wrote {source}")
    begin = time.perf_counter()
    if target == settings.store_url() and storage.folder(target).names():
        yield f"       {target} is there already, and stays"
    else:
        report = ingest(source, target, overwrite=True, progress=bar("ingest"))
        yield _timed(begin, f"ingested {source} into {target}, {report.valid_cells:,} cells with data")
    begin = time.perf_counter()
    found = verify(target, source, progress=bar("verify"))
    if not found.ok:
        raise StoreError(f"{target} is not what {source} holds: {found.problems[0]}")
    yield _timed(begin, f"verified, {found.values_compared:,} values equal to the source's")
    yield ""
    yield from _answers(open_store(target))
    yield ""
    yield f"Go on in Python:  cop_zarr.open({target!r}).query((120, 30, 122, 32))"
    if source.name == STANDIN:
        yield "With the real file:  pip install '.[http]' && cop-zarr ingest"


def _answers(store: Store) -> Iterator[str]:
    yield f"{'place':28}{'cells':>7}{'with data':>11}   pooled mean                          time"
    for name, box in PLACES.items():
        begin = time.perf_counter()
        try:
            answer = store.query(box)
        except RegionError:
            yield f"{name:28}   outside this store"
            continue
        took = time.perf_counter() - begin
        numbers = " ".join(f"{value:+.3f}" for value in answer.data[:4])
        cells, valid = answer.meta["total_cells"], answer.meta["valid_cells"]
        yield f"{name:28}{cells:7}{valid:11}   [{numbers} …]  {1e3 * took:5.1f} ms"


def _timed(begin: float, what: str) -> str:
    return f"{time.perf_counter() - begin:5.1f} s  {what}"
