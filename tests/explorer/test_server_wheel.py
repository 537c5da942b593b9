"""The wheel: it has the page, not what the page is built from, and explores a store by itself."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import cop_zarr
from cop_zarr.explorer.page import page_files
from tests.support import factory

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True
    )
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_has_the_page_and_not_its_sources(wheel):
    explorer = wheel / "cop_zarr/explorer"
    found = {
        path.relative_to(explorer / "page").as_posix()
        for path in (explorer / "page").rglob("*")
        if path.is_file()
    }
    assert found == set(page_files())
    assert not (explorer / "src").exists()
    assert not [
        path
        for path in wheel.rglob("*")
        if path.name in {"node_modules", "package.json"} or path.suffix == ".ts"
    ]


def test_has_the_licences_of_what_is_bundled(wheel):
    (found,) = wheel.glob("*.dist-info/licenses/**/LICENSES.txt")
    assert found.read_bytes() == page_files()["LICENSES.txt"]


@pytest.mark.slow
def test_explores_a_store(wheel, tmp_path):
    factory.write_geotiff(tmp_path / "a.tif", rows=(200, 220), cols=(800, 824), bands=4)
    cop_zarr.ingest(tmp_path / "a.tif", tmp_path / "a.zarr")
    code = "import cop_zarr; print(cop_zarr.__file__); from cop_zarr.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "explore", "a.zarr", "--to", "page"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(wheel)},
    )  # fmt: skip
    assert done.stdout.startswith(str(wheel))
    for name, data in page_files().items():
        assert name == "index.html" or (tmp_path / "page" / name).read_bytes() == data
