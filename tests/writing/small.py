"""Facts about the small source of these tests, and how to look at its stores."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import fsspec
import numpy as np

import cop_zarr
from cop_zarr.core.grid import Grid
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.storage import folder
from cop_zarr.writing.writer import StoreWriter
from tests.support import factory

ROWS, COLS, BANDS = (300, 337), (580, 633), 3
"""37 x 53 cells: no multiple of a chunk; lattice columns up to 600 are empty."""

SHAPE = 37, 53
CHUNK = "embedding/c/0/2/4"
CHUNK_BBOX = (-27.125, 9.125, -25.125, 11.125)
"""Rows 316 to 323 and columns 612 to 619 of the lattice, by hand."""

ROOT, COPY, TABLE, VALID = "zarr.json", "integrity/root.json", "integrity/embedding/c/0/0/0", "valid/c/0/0"


def truth() -> np.ndarray:
    """What the source holds: float32, (3, 37, 53)."""
    return factory.truth(ROWS, COLS, BANDS)


def objects(folder: str | Path) -> dict[str, bytes]:
    """Every object's bytes in a folder, or under a memory:// URL."""
    if str(folder).startswith("memory://"):
        fs, root = fsspec.url_to_fs(str(folder))
        return {path.removeprefix(f"{root}/"): fs.cat(path) for path in fs.find(root)}
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def flip(path: Path) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def write_store(
    path: Path,
    wrong: Iterable[tuple[int, int]] = (),
    sha256: str = "0",
    values: np.ndarray | None = None,
) -> Path:
    """Write a store as the first version did, with right checksums, and a mask wrong in some cells."""
    layout = Layout(Grid(300, 580, *SHAPE), BANDS)
    writer = StoreWriter(layout, folder(str(path)), nodata=None)
    writer.write(layout.grid.whole, np.moveaxis(truth() if values is None else values, 0, -1).copy())
    for cell in wrong:
        writer.valid[cell] ^= True
    provenance = {**factory.PROVENANCE, "sha256": sha256}
    writer.finish(writer.documents(provenance, "2026-01-01T00:00:00+00:00"))
    return path


def check_values(store: cop_zarr.Store) -> None:
    """See that a store gives what the small source holds."""
    west, south, east, north = store.grid.bounds
    answer = store.query((west, south, east, north), output="grid")
    assert np.array_equal(answer.data.view("u4"), truth().view("u4"))
    assert np.array_equal(answer.valid, truth().any(axis=0))
