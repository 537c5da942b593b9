"""Cells become objects: which are written, with which bytes, in which order, and what is kept of them."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import google_crc32c
import numpy as np
import pytest

from cop_zarr.core.grid import Grid, Window
from cop_zarr.errors import StorageError
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.codec import decode
from cop_zarr.writing.writer import StoreWriter
from tests.support import factory
from tests.support.patience import STUCK_SECONDS

LAYOUT = Layout(Grid(300, 590, 21, 23), 3)
"""3 x 3 chunks, cut at the south and the east edge."""

CREATED = "2026-01-01T00:00:00+00:00"


class Recorder:
    """A folder in memory that keeps what is asked of it, in order."""

    url = "recorder"

    def __init__(self, *, remote: bool = False) -> None:
        self.remote = remote
        self.calls: list[tuple[str, str]] = []
        self.objects: dict[str, bytes] = {}

    def write(self, key: str, data: bytes) -> None:
        self.calls.append(("write", key))
        self.objects[key] = data

    def replace(self, key: str, data: bytes) -> None:
        self.calls.append(("replace", key))
        self.objects[key] = data

    def flush(self, keys: Iterable[str]) -> None:
        self.calls += [("flush", key) for key in keys]


def cells(window: Window = LAYOUT.grid.whole) -> np.ndarray:
    """Cells as a source gives them: (rows, cols, bands)."""
    rows, cols = (300 + window.row, 300 + window.row_stop), (590 + window.col, 590 + window.col_stop)
    return np.moveaxis(factory.truth(rows, cols, 3), 0, -1).copy()


def test_chunks_are_the_cells_they_cover_filled_up_with_zeros() -> None:
    target = Recorder()
    writer = StoreWriter(LAYOUT, target)
    writer.write(LAYOUT.grid.whole, cells())
    padded = np.zeros((24, 24, 3), "f4")
    padded[:21, :23] = cells()
    for row in range(3):
        for col in range(3):
            part = padded[8 * row : 8 * row + 8, 8 * col : 8 * col + 8]
            data = target.objects.get(f"embedding/c/0/{row}/{col}")
            assert (data is None) == (not part.any())
            length, crc = writer.integrity[:, row, col].tolist()
            if data is None:
                assert length == crc == 0
                continue
            assert length == len(data)
            assert crc == google_crc32c.value(data)
            np.testing.assert_array_equal(decode(data, np.empty((8, 8, 3), "<f4")).transpose(1, 0, 2), part)
    assert len(target.objects) == 6
    np.testing.assert_array_equal(writer.valid, cells().any(axis=2))


@pytest.mark.parametrize("nodata", [None, np.nan, -9999])
def test_numbers_that_cancel_out_are_data_and_a_lone_minus_zero_is_none(nodata: float | None) -> None:
    values = cells()
    values[2, 12] = 5, -5, 0
    values[3, 12] = -0.0
    values[4, 12] = np.inf, -np.inf, 1
    values[5, 12] = 1e-45, 0, 0
    writer = StoreWriter(LAYOUT, Recorder(), nodata=nodata)
    writer.write(LAYOUT.grid.whole, values)
    assert writer.valid[2:6, 12].tolist() == [True, False, True, True]
    np.testing.assert_array_equal(writer.valid, (values != 0).any(axis=2))


def test_the_order_of_writing() -> None:
    """Chunks, and on the disk; the other objects, and on the disk; zarr.json."""
    target = Recorder()
    writer = StoreWriter(LAYOUT, target)
    writer.write(LAYOUT.grid.whole, cells())
    chunks = list(target.objects)
    objects = writer.documents(factory.PROVENANCE, CREATED)
    assert target.calls == [("write", key) for key in chunks] + [("flush", key) for key in chunks]
    target.calls.clear()
    writer.finish(objects)
    small = [key for key in objects if key != "zarr.json"]
    assert "integrity/root.json" in small
    assert target.calls == [
        *(("write", key) for key in small),
        *(("flush", key) for key in small),
        ("replace", "zarr.json"),
    ]


def test_over_a_network_many_objects_are_sent_at_once() -> None:
    together = threading.Barrier(6)

    class Waiting(Recorder):
        def write(self, key: str, data: bytes) -> None:
            together.wait(timeout=STUCK_SECONDS)  # for all six chunks
            super().write(key, data)

    target = Waiting(remote=True)
    writer = StoreWriter(LAYOUT, target, requests=6)
    writer.write(LAYOUT.grid.whole, cells())
    assert {kind for kind, _ in target.calls[:6]} == {"write"}
    assert len(target.objects) == 6


@pytest.mark.parametrize("remote", [False, True])
def test_what_cannot_be_written_is_not_recorded_as_flushed(remote: bool) -> None:
    class Full(Recorder):
        def write(self, key: str, data: bytes) -> None:
            if key.endswith("1/2"):
                raise StorageError("no space left")
            super().write(key, data)

    target = Full(remote=remote)
    with pytest.raises(StorageError, match="no space left"):
        StoreWriter(LAYOUT, target, 8 if remote else 1).write(LAYOUT.grid.whole, cells())
    assert not [key for kind, key in target.calls if kind == "flush"]
