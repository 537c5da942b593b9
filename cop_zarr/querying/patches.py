"""Points to patches: the square of cells around the cell that each point is in."""

from __future__ import annotations

from numbers import Integral

import numpy as np

from cop_zarr.core.grid import Grid
from cop_zarr.core.product import LATTICE_COLS, LATTICE_ROWS
from cop_zarr.core.progress import Progress
from cop_zarr.errors import InputError, ResultTooLargeError
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.querying.options import Empty
from cop_zarr.querying.points import BLOCK_POINTS, PointCells, Points, gather, skip_empty
from cop_zarr.querying.valid_mask import ValidMask

GLOBE = Grid(0, 0, LATTICE_ROWS, LATTICE_COLS)

MAX_SIZE = LATTICE_ROWS
"""From pole to pole."""


def check_size(size: object) -> int:
    """Check the size of a patch: it has a cell in its middle."""
    whole = isinstance(size, Integral) and not isinstance(size, bool)
    if not whole or not 1 <= size <= MAX_SIZE or size % 2 == 0:  # type: ignore[operator]  # it is one
        raise InputError(f"size must be an odd number of cells from 1 to {MAX_SIZE}; got {size!r}")
    return int(size)  # type: ignore[call-overload,no-any-return]  # the same


def check_patch_bytes(count: int, bands: int, size: int, max_bytes: float) -> None:
    """Refuse patches of more than ``max_bytes``."""
    needed = count * bands * size**2 * 4
    if needed > max_bytes:
        raise ResultTooLargeError(
            f"{count:,} patches of {bands} x {size} x {size} float32 numbers take {needed:,} bytes, more "
            f"than max_bytes={max_bytes:,}; ask for fewer points at a time, or allow more"
        )


def read_patches(
    reader: ChunkReader,
    valid: ValidMask,
    points: Points,
    size: int,
    *,
    empty: Empty,
    progress: Progress | None,
) -> np.ndarray:
    """Read patches: float32, ``(n, bands, size, size)``, north up; NaN outside the grid.

    In memory, the numbers of a cell lie beside each other. Each chunk is decoded once for the patches of
    about a million cells.
    """
    count, bands = points.lons.size, reader.layout.bands
    try:
        out = np.empty((count, size, size, bands), "f4")
    except MemoryError:
        raise ResultTooLargeError(
            f"memory has no room for {count:,} patches of {bands} x {size} x {size} float32 numbers; ask "
            "for fewer at a time"
        ) from None
    step = max(1, BLOCK_POINTS // size**2)
    for first in range(0, count, step):
        block = slice(first, min(first + step, count))
        cells = _cells(reader.layout.grid, points, block, size)
        if empty == "skip":
            cells = skip_empty(cells, valid.read())
        done = 0
        for more in gather(reader, cells, out[block].reshape(-1, bands)):
            done += more
            if progress is not None and more:
                progress(first + done // size**2, count)
    return np.moveaxis(out, -1, 1)


def _cells(grid: Grid, points: Points, block: slice, size: int) -> PointCells:
    """The cells of some patches; those outside the grid, and those of refused points, weigh 0."""
    rows, cols = (index.reshape(1, -1) for index in patch_cells(grid, points, block, size))
    weights = (rows >= 0).astype("f8")
    if points.refused is not None:
        weights[0, np.repeat(points.refused[block], size**2)] = 0
    return PointCells(rows, cols, weights)


def patch_cells(grid: Grid, points: Points, block: slice, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the cells of patches, ``(n, size, size)``; -1 outside the grid.

    Columns follow their meridians: beyond a pole, whose row comes once, they go on across from it.
    """
    offsets = np.arange(size) - size // 2
    row, col = GLOBE.cells_at(points.lons[block], points.lats[block])
    around = 2 * (LATTICE_ROWS - 1)  # rows of a meridian and the one across from it
    rows = (row[:, None, None] + offsets[:, None]) % around
    cols = col[:, None, None] + offsets
    across = rows >= LATTICE_ROWS
    cols = np.where(across, cols + LATTICE_COLS // 2, cols)
    return grid.from_lattice(np.where(across, around - rows, rows), cols)
