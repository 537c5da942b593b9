"""Write NumPy files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cop_zarr.interop.tables.answered import AnsweredTable, iter_vectors


def write_npy(path: Path, table: AnsweredTable) -> None:
    """Write the vectors alone, (rows, bands); NaN for rows without one."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (table.rows, table.bands)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in table.parts():
            for vectors in iter_vectors(part):
                vectors.astype("<f4", copy=False).tofile(file)
