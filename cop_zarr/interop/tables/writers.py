"""Write tables with vectors: the writer of each file ending.

A writer is a function of a path and an :class:`AnsweredTable`. To add a format, write one like those in
``parquet`` and ``zarr``, and a line in ``WRITERS``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cop_zarr.errors import InputError, StoreExistsError
from cop_zarr.interop.tables.answered import AnsweredTable, iter_vectors
from cop_zarr.interop.tables.parquet import write_parquet
from cop_zarr.interop.tables.zarr import is_batch_group, write_zarr
from cop_zarr.storage import check_absent


def write_npy(path: Path, table: AnsweredTable) -> None:
    """Write the vectors alone, (rows, bands); NaN for rows without one."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (table.rows, table.bands)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in table.parts():
            for vectors in iter_vectors(part):
                vectors.astype("<f4", copy=False).tofile(file)


WRITERS: dict[str, Callable[[Path, AnsweredTable], None]] = {
    ".parquet": write_parquet,
    ".geoparquet": write_parquet,
    ".zarr": write_zarr,
    ".npy": write_npy,
}


def check_writable(path: Path, *, overwrite: bool) -> None:
    """Check that the ending is known, and that nothing would be replaced by accident."""
    if path.suffix.lower() not in WRITERS:
        raise InputError(f"{path} must end in one of {', '.join(WRITERS)}")
    check_absent(path, overwrite=overwrite)
    is_folder = path.suffix.lower() == ".zarr"
    if path.exists() and (path.is_dir() != is_folder or (is_folder and not is_batch_group(path))):
        raise StoreExistsError(f"{path} is no table that cop-zarr wrote; name another output")
