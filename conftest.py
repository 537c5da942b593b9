"""Options of pytest, and fixtures of all folders: a source and a store of the whole globe."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from filelock import FileLock

import cop_zarr
from cop_zarr.storage import LocalFolder
from tests.support import factory
from tests.support.folders import WatchedFolder, open_in

collect_ignore = [
    f"cop_zarr/interop/{package}" for package in ("torch", "rs_embed") if find_spec(package) is None
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options that decide how much is tested."""
    parser.addoption("--all", action="store_true", help="Run the tests marked slow, too, with more draws.")
    parser.addoption("--trials", type=int, help="Draws of each randomised test (default 2; with --all 8).")


def pytest_configure(config: pytest.Config) -> None:
    """Set how much randomised tests draw. No deadlines: no test depends on the speed of the machine."""
    more = config.getoption("--all")
    if config.getoption("--trials") is None:
        config.option.trials = 8 if more else 2
    hypothesis.settings.register_profile("cop-zarr", deadline=None, max_examples=100 if more else 25)
    hypothesis.settings.load_profile("cop-zarr")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked slow, unless all tests are asked for."""
    if not config.getoption("--all"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


@pytest.fixture(scope="session")
def trials(request: pytest.FixtureRequest) -> int:
    """Draws of each randomised test."""
    return int(request.config.getoption("--trials"))


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole globe, 16 bands, in the published file's container, written by GDAL."""
    return factory.write_geotiff(tmp_path_factory.mktemp("source") / "globe.tif")


@pytest.fixture(scope="session")
def store_path(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of :func:`source`. Tests that change a store copy it first."""
    path = tmp_path_factory.mktemp("store") / "globe.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # of 13,000 files that no test loses
        cop_zarr.ingest(source, path)
    return path


@pytest.fixture(scope="session")
def store(store_path: Path) -> cop_zarr.Store:
    """The open store."""
    return cop_zarr.open(store_path)


@pytest.fixture(scope="session")
def globe() -> np.ndarray:
    """The values of the source: float32, (16, 721, 1440)."""
    return factory.truth()


@pytest.fixture
def watched(store_path: Path) -> tuple[cop_zarr.Store, list[str]]:
    """The store, and the keys that are read from it from now on."""
    folder = WatchedFolder(LocalFolder(store_path))
    store = open_in(folder)
    folder.read_keys.clear()
    return store, folder.read_keys


@pytest.fixture(scope="session")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store that ``cop-zarr quickstart`` makes: this clone's, or a new one that all workers share."""
    made = Path(__file__).parent / "data" / "standin.zarr"
    if made.exists():
        return made
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    path = shared / "standin.zarr"
    with FileLock(shared / "standin.lock"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        if not (path / "components").exists():
            source = cop_zarr.synthesize(shared / "standin.tif", overwrite=True)
            cop_zarr.ingest(source, path, overwrite=True)
            cop_zarr.keep_components(path)
    return path


@pytest.fixture
def clone_folder(standin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder as a reader has it after the quickstart, with ``COP_ZARR_STORE`` set."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "standin.zarr").symlink_to(standin)
    (tmp_path / "docs").symlink_to(Path(__file__).parent / "docs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COP_ZARR_STORE", "data/standin.zarr")
    return tmp_path


@pytest.fixture(autouse=True)
def in_clone_folder(request: pytest.FixtureRequest) -> None:
    """Run a docstring's example that needs a store where its reader would."""
    if isinstance(request.node, pytest.DoctestItem):
        text = request.node.dtest.docstring or ""
        if "import cop_zarr" in text or "standin.zarr" in text:
            request.getfixturevalue("clone_folder")
