"""The command line: parse, call, print, exit status. The only package that prints.

Exit status: 0 success; 1 failure, or damage was found; 2 wrong usage. Results go to stdout, progress to
stderr and only on a terminal.

Everything but click, tqdm and the error types is imported when a command runs, so that ``cop-zarr --help``
answers at once.
"""

from cop_zarr.cli import (  # noqa: F401  # each adds its commands
    batch,
    cells,
    components,
    explore,
    plot,
    query,
    quickstart,
    similar,
    stores,
    synth,
)
from cop_zarr.cli.main import main

__all__ = ["main"]
