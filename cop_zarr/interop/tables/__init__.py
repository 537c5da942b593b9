"""Files of regions or points, answered into files of vectors.

A table is read a few ten thousand rows at a time, each of these parts is answered and kept, and when all
are there, they become one file. So memory is bounded, and a run that was killed goes on where it was.

Every table is Arrow's (pyarrow), whatever file it comes from.
"""

from __future__ import annotations

from cop_zarr.errors import MissingDependencyError

try:
    import pyarrow as pa  # noqa: F401  # whether it is there; its absence is told once, here
except ImportError as error:
    raise MissingDependencyError(
        "tables of regions need a package that is not installed: pip install 'cop-zarr[tables]'"
    ) from error
