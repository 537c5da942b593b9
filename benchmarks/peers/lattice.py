"""Arithmetic of the 0.25° lattice, for scripts that cannot import cop-zarr."""

from __future__ import annotations

import math

import numpy as np

WEST, NORTH, STEP, ROWS, COLS = -180.125, 90.125, 0.25, 721, 1440
CHUNK = 8
"""Cells along a chunk."""

MAX_SHIFTS = 63
"""A cell can move to the other cells of its chunk."""

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees."""


def window(box: Box) -> tuple[slice, slice]:
    """The rows and columns that a box touches."""
    west, south, east, north = box
    rows = slice(max(0, math.floor((NORTH - north) / STEP)), min(ROWS, math.ceil((NORTH - south) / STEP)))
    cols = slice(max(0, math.floor((west - WEST) / STEP)), min(COLS, math.ceil((east - WEST) / STEP)))
    return rows, cols


def cells(lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows and columns that points lie in."""
    return ((NORTH - lat) / STEP).astype(int), ((lon - WEST) / STEP).astype(int)


def shifted(size: str, box: Box, turn: int) -> Box:
    """A box moved to where no earlier turn asked: a cell in its chunk, a larger box by up to 4 cells."""
    west, south, east, north = box
    if size == "globe":  # it loses columns
        return west, south, east - STEP * turn, north
    if size != "1":
        down, right = divmod((40 + turn) % 81, 9)
        across, up = STEP * (right - 4), STEP * (4 - down)
        return west + across, south + up, east + across, north + up
    rows, cols = window(box)
    down, right = divmod((rows.start % CHUNK * CHUNK + cols.start % CHUNK + turn) % CHUNK**2, CHUNK)
    top = NORTH - STEP * (rows.start // CHUNK * CHUNK + down)
    left = WEST + STEP * (cols.start // CHUNK * CHUNK + right)
    return left, top - STEP, left + STEP, top


def swept(size: str, box: Box) -> Box:
    """The box around all places that a box is shifted to."""
    west, south, east, north = zip(
        *(shifted(size, box, turn) for turn in range(MAX_SHIFTS + 1)), strict=True
    )
    return min(west), min(south), max(east), max(north)
