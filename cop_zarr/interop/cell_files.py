"""Write the cells of a region to a file, block by block: ``.parquet``, ``.npz`` or ``.zarr``."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from cop_zarr.core.progress import Progress
from cop_zarr.outputs.files import check_target
from cop_zarr.querying.cells import Cells, CellSelection, select_cells
from cop_zarr.regions import Roi
from cop_zarr.storage import replacing
from cop_zarr.store import Store

SUFFIXES = (".parquet", ".geoparquet", ".npz", ".zarr")

BLOCK_BYTES = 48 << 20
"""Vectors in memory at once: 16,384 of 768 bands, which are a row group of Parquet."""


@dataclass(frozen=True)
class CellReport:
    """What was written."""

    out: str
    store: str
    cells: int
    bands: int


def check_cell_file(path: Path, *, overwrite: bool) -> None:
    """Check suffix, absence and, but for .npz, the packages that write it, before the work is done."""
    check_target(path, overwrite, SUFFIXES)
    if path.suffix.lower() != ".npz":
        from cop_zarr.interop.tables.writers import check_writable  # needs pyarrow

        check_writable(path, overwrite=overwrite)


def write_cells(
    store: Store,
    path: Path,
    region: Roi | None,
    crs: object | None,
    *,
    overwrite: bool,
    progress: Progress | None,
) -> CellReport:
    """Write the cells with data that a region touches, or all of a store.

    - ``.parquet``, ``.geoparquet``: GeoParquet of points, with ``lon``, ``lat``, ``row``, ``col`` and
      ``embedding``, a list of a fixed size
    - ``.zarr``: a group of the same columns without the points
    - ``.npz``: the arrays of :class:`Cells`, by their names

    The file appears when it is complete. Errors are those of :func:`check_cell_file` and
    :meth:`Store.iter_cells`.
    """
    check_cell_file(path, overwrite=overwrite)
    selection = select_cells(store.grid, store.valid, region, crs)
    size, count = max(1, BLOCK_BYTES // (4 * store.bands)), selection.size

    def blocks() -> Iterator[Cells]:
        return store.iter_cells(region, crs=crs, cells=size, progress=progress)

    if path.suffix.lower() == ".npz":
        with replacing(path) as partial, zipfile.ZipFile(partial, "w") as archive:
            _write_npz(archive, selection, store.bands, blocks())
    else:
        from cop_zarr.interop.tables.cells import write_cell_table

        write_cell_table(path, blocks, count, store.bands)
    return CellReport(str(path), store.url, count, store.bands)


def _write_npz(
    archive: zipfile.ZipFile, selection: CellSelection, bands: int, blocks: Iterator[Cells]
) -> None:
    """Write what ``numpy.savez`` would, the vectors block by block."""
    names = ("lon", "lat", "rows", "cols")
    for name, values in zip(names, (*selection.centres(), *selection.indices()), strict=True):
        with archive.open(f"{name}.npy", "w") as file:
            np.lib.format.write_array(file, values)
    header = {"descr": "<f4", "fortran_order": False, "shape": (selection.size, bands)}
    with archive.open("vectors.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, header)
        _write_vectors(file, blocks)


def _write_vectors(file: IO[bytes], blocks: Iterator[Cells]) -> None:
    for block in blocks:
        file.write(block.vectors.astype("<f4", copy=False).data)
