"""A full disk, or none for temporary files: an error that says so, and never the end of the process."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import cop_zarr
from cop_zarr.errors import StorageError
from cop_zarr.outputs.plotting.save import save_plot
from cop_zarr.storage.files import temporary_folder
from tests.support import factory
from tests.support.servers import static_server

if TYPE_CHECKING:
    from collections.abc import Callable

BANDS = 16

FILL = """
import sys
import numpy as np
import cop_zarr
from cop_zarr.errors import StorageError

store = cop_zarr.open(sys.argv[1])
rows = np.memmap(sys.argv[2], "f4", "w+", offset=5000, shape=(20_000, 16))
for out in (rows, rows[7:], np.asarray(rows)):
    try:
        store.sample(np.linspace(-30, -25, len(out)), np.full(len(out), 10.0), out=out)
    except StorageError as error:
        print("another disk" in str(error))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("full")
    source = factory.write_geotiff(place / "a.tif", rows=(300, 337), cols=(580, 633), bands=BANDS)
    cop_zarr.ingest(source, place / "a.zarr")
    return place / "a.zarr"


def test_a_memory_map_on_a_full_disk(store: Path, volume: Callable[[int], Path]) -> None:
    """In a process of its own, which a write to a page without a place on the disk would end (SIGBUS)."""
    place = volume(64 << 10)
    done = subprocess.run(
        [sys.executable, "-c", FILL, store, place / "rows"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, ["True"] * 3), done.stderr


def test_a_memory_map_with_room_is_filled_and_nothing_beside_it(store: Path, tmp_path: Path) -> None:
    """Only the part of the file is given its place that is written to."""
    opened = cop_zarr.open(store)
    lons, lats = np.linspace(-30, -25, 100), np.full(100, 10.0)
    rows = np.memmap(tmp_path / "rows", "f4", "w+", offset=5000, shape=(100_000, BANDS))
    rows[:300] = 7
    opened.sample(lons, lats, out=rows[100:200])
    found = np.fromfile(tmp_path / "rows", "f4", offset=5000).reshape(-1, BANDS)
    assert np.array_equal(found[100:200], opened.sample(lons, lats))
    assert (found[:100] == 7).all()
    assert (found[200:300] == 7).all()
    assert 512 * (tmp_path / "rows").stat().st_blocks < 100_000


@pytest.mark.parametrize("suffix", [".pdf", ".png", ".svg"])
def test_a_plot_on_a_full_disk(store: Path, volume: Callable[[int], Path], suffix: str) -> None:
    place = volume(8 << 10)
    with pytest.raises(StorageError, match="space"):
        save_plot(place / f"a{suffix}", lambda axes: cop_zarr.open(store).plot((-30, 8, -25, 12), ax=axes))
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("suffix", ["tif", "nc", "zarr", "png"])
def test_a_map_on_a_full_disk(store: Path, volume: Callable[[int], Path], suffix: str) -> None:
    place, opened = volume(16 << 10), cop_zarr.open(store)
    values = np.random.default_rng(0).normal(size=(opened.valid.sum(), 9))
    with pytest.raises(StorageError, match="space"):
        opened.map(values).save(place / f"a.{suffix}")
    assert list(place.iterdir()) == []


def test_no_folder_for_temporary_files(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with static_server(store.parent) as url, pytest.raises(StorageError, match="TMPDIR"):
        cop_zarr.ingest(f"{url}/a.tif", tmp_path / "b.zarr")
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with temporary_folder() as folder:
        assert folder.parent == tmp_path
