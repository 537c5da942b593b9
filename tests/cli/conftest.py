"""A folder with a source and its store, and commands run in it."""

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import cop_zarr
from cop_zarr.cli import main
from tests.support import factory

ARGUMENT = re.compile(r"(?<![\w-])(?<!\w\()[a-z_]+=(?:'|True|None|\{|[),;]|$)")
"""An argument as Python has it, outside a call: the command line has an option for it."""

BOX = ("20", "38", "22", "40")


@pytest.fixture(scope="session")
def cli_folder(tmp_path_factory):
    """a.tif, its store a.zarr, and elsewhere.tif; no test changes it."""
    folder = tmp_path_factory.mktemp("cli")
    for name, cols in {"a": (800, 824), "elsewhere": (900, 924)}.items():
        factory.write_geotiff(folder / f"{name}.tif", rows=(200, 220), cols=cols, bands=4)
    cop_zarr.ingest(folder / "a.tif", folder / "a.zarr")
    return folder


class Runner:
    """Runs commands in the working directory."""

    def __call__(self, *arguments, stdin=None, catch=False) -> Result:
        result = CliRunner().invoke(main, list(map(str, arguments)), input=stdin)
        if not catch and result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def fails(self, *arguments, status=2, word="", stdin=None) -> str:
        """Run a command that fails with this status and a message with this word, and prints no result."""
        result = self(*arguments, stdin=stdin)
        assert (result.exit_code, result.stdout) == (status, ""), result.output
        assert word in result.stderr
        assert not ARGUMENT.search(result.stderr)
        assert "Traceback" not in result.output
        return result.stderr


@pytest.fixture
def run(cli_folder, tmp_path, monkeypatch):
    """A runner in a folder of the test's own, with a.tif, a.zarr and elsewhere.tif."""
    for name in ("a.tif", "elsewhere.tif"):
        shutil.copy(cli_folder / name, tmp_path)
    shutil.copytree(cli_folder / "a.zarr", tmp_path / "a.zarr")
    monkeypatch.chdir(tmp_path)
    for variable in ("COP_ZARR_STORE", "COP_ZARR_WORKERS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("RS_EMBED_COP_DIR", str(tmp_path))
    return Runner()


@pytest.fixture
def box():
    """The region that most tests ask for: --bbox, and nine by nine cells of a.zarr."""
    return ("--bbox", *BOX)


@pytest.fixture
def data():
    """The values in the box: float32, (4, 9, 9)."""
    return factory.truth((200, 209), (800, 809), 4)


@pytest.fixture
def damage():
    """A function that makes a chunk in the box one byte longer."""

    def append(store="a.zarr"):
        with Path(store, "embedding/c/0/0/0").open("ab") as file:
            file.write(b"\0")

    return append
