"""What several of these tests share."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rasterio

from tests.support import factory


@pytest.fixture(scope="module")
def fixed_time() -> Iterator[None]:
    """So that bytes can be compared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        yield


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two small sources with the same grid and other values."""
    place = tmp_path_factory.mktemp("pair")
    size = {"rows": (300, 324), "cols": (596, 628), "bands": 2, "blockxsize": 16, "blockysize": 16}
    paths = [factory.write_geotiff(place / "0.tif", **size), place / "1.tif"]
    with rasterio.open(paths[0]) as first:
        profile, values = first.profile, first.read()
    with rasterio.open(paths[1], "w", **profile) as second:
        second.write(-values)
    return paths


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A function that makes a file system with so many bytes of room, or gives the one there is as many."""
    place = tmp_path / "volume"
    place.mkdir()
    mounted = False

    def sized(size: int) -> Path:
        nonlocal mounted
        options = f"{'remount,' if mounted else ''}size={size}"
        call = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if subprocess.run(call, check=False, capture_output=True).returncode:
            pytest.skip("needs the right to mount a file system")
        mounted = True
        return place

    yield sized
    if mounted:
        subprocess.run(["umount", str(place)], check=True)
