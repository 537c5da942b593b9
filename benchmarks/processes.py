"""The cases that are whole processes, in the order of their turns."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from functools import partial
from pathlib import Path

from benchmarks import process_bars as names
from benchmarks.measure import Case
from benchmarks.peer import Peer
from benchmarks.workers import CASES

BOX = ("120", "30", "122", "32")
"""The measured query: 9 x 9 cells at the mouth of the Yangtze, all of them in one tile of the source."""

WINDOW = ("232", "241", "1200", "1209")
"""The same cells, as rows and columns, for who takes no degrees."""

WHOLE_GLOBE = ("-180", "-90", "180", "90")
THREADS = min(4, os.cpu_count() or 1)
"""What an ingest takes by default: 4, and no more than there are processors."""

QUERIES_A_ROUND = 3
"""Turns of the quick cases in each round."""


def ingest(source: Path, store: Path) -> tuple[str, ...]:
    """The command that ingests."""
    program = Path(sysconfig.get_path("scripts"), "cop-zarr")
    return str(program), "ingest", str(source), str(store)


def remove(store: Path) -> None:
    """Remove a store, if it is there."""
    shutil.rmtree(store, ignore_errors=True)


def turns(source: Path, store: Path, fresh: Path, rival: Peer) -> list[Case]:
    """The cases in the order of their turns within a round.

    Parameters
    ----------
    source, store : Path
        What is read.
    fresh : Path
        Where the measured ingests write; it is removed before each.
    rival : Peer
        rs-embed's interpreter.
    """
    tif, asked = str(source), str(store)
    before = partial(remove, fresh)
    rs_embed = (rival.python, str(CASES / "rs_embed_query.py"), *BOX)
    queries = [
        _case(names.QUERY, "cop_zarr_query.py", asked, *BOX),
        _case(names.ZARR, "zarr_query.py", asked, *WINDOW),
        _case(names.TENSORSTORE, "tensorstore_query.py", asked, *WINDOW),
        _case(names.XARRAY, "xarray_query.py", asked, *WINDOW),
        _case(names.RASTERIO, "rasterio_query.py", tif, *BOX),
        Case(names.IMPORTS, (sys.executable, "-c", "import numpy")),
    ]
    to_zarr = (sys.executable, str(CASES / "rioxarray_to_zarr.py"), tif, str(fresh))
    return [
        Case(names.INGEST, ingest(source, fresh), before=before),
        _case(names.FLOOR, "decode_only.py", tif, str(THREADS)),
        Case(names.RIOXARRAY, to_zarr, before=before, optional=True, once=True),
        Case(names.RS_EMBED, rs_embed, optional=True, missing=rival.missing),
        *queries * QUERIES_A_ROUND,
        _case(names.GLOBE, "cop_zarr_query.py", asked, *WHOLE_GLOBE),
    ]


def _case(title: str, script: str, *arguments: str) -> Case:
    return Case(title, (sys.executable, str(CASES / script), *arguments))
