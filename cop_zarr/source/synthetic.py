"""A stand-in for the published file: its container, real coastlines, made-up values.

For trials, tests and demonstrations without the 768 MB file. The file's GDAL metadata mark it as synthetic,
and so does every store made from it, and every result of a query of such a store.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from cop_zarr.core.grid import Grid
from cop_zarr.core.product import BANDS, LATTICE_COLS, LATTICE_ROWS, MAX_BANDS
from cop_zarr.core.progress import Progress
from cop_zarr.core.progress_bar import progress_bar
from cop_zarr.core.version import __version__
from cop_zarr.errors import InputError
from cop_zarr.source.georeferencing import georeferencing_tags
from cop_zarr.source.tags import SYNTHETIC_MARK
from cop_zarr.storage import check_absent, disk_errors, expanded, replacing

TILE = 256
"""Side of a tile: that of the published file."""

FIELDS = 16
"""Smooth random fields that are mixed into the bands, so that neighbours resemble each other."""

VALUE_STEP = 1 / 256
"""Values are multiples of this: they take 423 MB of file where full mantissas take 987."""

LATTICE = Grid(0, 0, LATTICE_ROWS, LATTICE_COLS)


def land_mask(grid: Grid = LATTICE) -> np.ndarray:
    """Which cells have their centre on land: bool, shape ``(rows, cols)``.

    Made by ``tests/support/make_land_mask.py`` from NOAA's GLOBE elevation model.
    """
    with files("cop_zarr.source").joinpath("land_mask.npz").open("rb") as file:
        land = np.unpackbits(np.load(file, allow_pickle=False)["land"], axis=1).astype(bool)
    rows = land[grid.row_offset : grid.row_offset + grid.rows]
    cols = range(grid.col_offset, grid.col_offset + grid.cols)
    return np.take(rows, cols, axis=1, mode="wrap")


def synthesize(
    path: str | os.PathLike[str],
    *,
    grid: Grid = LATTICE,
    bands: int = BANDS,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | bool | None = None,
) -> Path:
    """Write a stand-in GeoTIFF in the published file's container.

    Parameters
    ----------
    path : str or path
        The file to write; it gets its name when it is whole.
    grid : Grid
        Cells to cover: the whole globe, or a part of it.
    bands : int
        Length of one embedding, 1 to 65,535.
    seed : int
        The same seed gives the same values.
    overwrite : bool
        Whether to replace a file that is there.
    progress : callable or bool, optional
        True shows a bar. A function is called with the decoded bytes done and in all.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If ``bands`` or ``seed`` is out of range.
    StoreExistsError
        If the file exists, and ``overwrite`` is not set.
    StorageError
        If it cannot be written.
    """
    if not 0 < bands <= MAX_BANDS:
        raise InputError(f"bands must be 1 to {MAX_BANDS:,}; got {bands}")
    if seed < 0:
        raise InputError(f"seed must be 0 or more; got {seed}")
    final = expanded(path)
    with disk_errors(f"cannot write {final}"):
        final.parent.mkdir(parents=True, exist_ok=True)
    check_absent(final, overwrite=overwrite)
    with progress_bar(progress, "synth") as advance, replacing(final) as partial:
        _write(partial, grid, bands, seed, advance)
    return final


def _write(path: Path, grid: Grid, bands: int, seed: int, progress: Progress | None) -> None:
    # tifffile would take 1 as the last axis for the width
    samples: dict[str, Any] = {"shape": grid.shape}
    if bands > 1:
        samples = {"shape": (*grid.shape, bands), "planarconfig": "contig"}
        samples["extrasamples"] = ["unspecified"] * (bands - 1)
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            _tiles(grid, bands, seed, progress),
            **samples,
            dtype="float32",
            tile=(TILE, TILE),
            photometric="minisblack",
            compression="zlib",
            compressionargs={"level": 1},
            maxworkers=2,  # tiles compressed at once
            buffersize=1,  # bytes of tiles made ahead: none, a tile has 201 MB
            metadata=None,
            software=f"cop-zarr {__version__}",
            extratags=_tags(grid),
        )


def _tiles(grid: Grid, bands: int, seed: int, progress: Progress | None) -> Iterator[np.ndarray]:
    """Make the file's tiles, row by row: float32, ``(TILE, TILE, bands)``."""
    rng = np.random.default_rng(seed)
    fields = np.stack([_smooth(rng) for _ in range(FIELDS)], axis=-1)
    mix = rng.normal(size=(FIELDS, bands)).astype("f4") / FIELDS
    land = land_mask(grid)
    cols = np.arange(grid.col_offset, grid.col_offset + grid.cols) % LATTICE_COLS
    fields = fields[grid.row_offset : grid.row_offset + grid.rows][:, cols]
    starts = [(r, c) for r in range(0, grid.rows, TILE) for c in range(0, grid.cols, TILE)]
    for done, (row, col) in enumerate(starts, 1):
        part = np.s_[row : row + TILE, col : col + TILE]
        inside = land[part]
        values = fields[part][inside] @ mix
        np.rint(values / VALUE_STEP, out=values)
        tile = np.zeros((TILE, TILE, bands), "f4")
        tile[: inside.shape[0], : inside.shape[1]][inside] = values * np.float32(VALUE_STEP)
        if progress:  # not after the yield: after the last tile the generator is not resumed
            progress(done * tile.nbytes, len(starts) * tile.nbytes)
        yield tile


def _smooth(rng: np.random.Generator) -> np.ndarray:
    """A random field on the lattice with long waves and few short ones, float32, deviation 1."""
    lat, lon = np.fft.fftfreq(LATTICE_ROWS)[:, None], np.fft.rfftfreq(LATTICE_COLS)[None]
    amplitude = 1 / (2e-3 + np.hypot(lat, lon)) ** 1.5
    waves = amplitude * np.exp(2j * np.pi * rng.random(amplitude.shape))
    field = np.fft.irfft2(waves, s=(LATTICE_ROWS, LATTICE_COLS))
    return np.asarray(field / field.std(), "f4")


def _tags(grid: Grid) -> list[tuple[int, str, int, object, bool]]:
    """Georeferencing and the mark of a synthetic file."""
    mark = (
        f'<GDALMetadata>\n  <Item name="{SYNTHETIC_MARK}">made-up values, real coastlines; written by '
        f"cop-zarr {__version__}</Item>\n</GDALMetadata>\n"
    )
    return [*georeferencing_tags(grid), (42112, "s", 0, mark, True)]  # GDAL_METADATA
