"""The command that installs what is missing."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from cop_zarr.core import packages

METADATA = """Metadata-Version: 2.4
Name: cop-zarr
Version: 0.1.0
Requires-Dist: zarr>=3.1
Requires-Dist: exactextract>=0.2.1; sys_platform != "linux"
Provides-Extra: tables
Requires-Dist: pyarrow>=16; extra == 'tables'
Requires-Dist: pyogrio>=0.9; extra == "tables"
Requires-Dist: fsspec[http]; extra == 'http'
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution of ours from an index, in an environment that is active."""
    for name in ("pip", "python"):
        (tmp_path / "bin" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "bin" / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin/python"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    info = tmp_path / "cop_zarr-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    monkeypatch.setattr(packages, "_our_distribution", lambda: Distribution.at(info))
    return info


def test_an_extra_is_named_where_it_came_from_an_index(installed):
    assert packages.install(["pyarrow", "pyogrio"], "tables") == "pip install 'cop-zarr[tables]'"
    assert packages.upgrade() == "pip install --upgrade cop-zarr"


def test_the_packages_are_named_where_it_came_from_a_folder(installed):
    (installed / "direct_url.json").write_text('{"dir_info": {}, "url": "file:///a"}')
    assert packages.install(["pyarrow", "pyogrio"], "tables") == "pip install 'pyarrow>=16' 'pyogrio>=0.9'"
    assert packages.install(["fsspec[http]"], "http") == "pip install 'fsspec[http]'"
    assert "pip" not in packages.upgrade()


def test_the_packages_are_named_where_nothing_is_installed(installed, monkeypatch):
    monkeypatch.setattr(packages, "_our_distribution", lambda: None)
    assert packages.install(["pyarrow", "pyogrio"], "tables") == "pip install pyarrow pyogrio"


def test_an_environment_that_is_not_active_is_named(installed, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin")
    assert packages.pip_install("pandas") == f"{sys.executable} -m pip install pandas"
    monkeypatch.setattr(packages, "find_spec", lambda _: None)
    assert packages.pip_install("pandas") == f"uv pip install --python {sys.executable} pandas"


def test_what_is_missing_or_broken_is_told(installed):
    absent = ModuleNotFoundError("No module named 'pyogrio'", name="pyogrio")
    error = packages.missing_package("tables need", ["pyarrow", "pyogrio"], "tables", absent)
    assert "need pyarrow and pyogrio, and pyogrio is not installed: pip" in str(error)
    broken = ImportError("libgdal.so: cannot open", name="pyogrio")
    error = packages.missing_package("tables need", ["pyarrow", "pyogrio"], "tables", broken)
    assert "and pyogrio cannot be imported (libgdal.so: cannot open): pip" in str(error)
    error = packages.missing_package("plots need", ["matplotlib"], "plot")
    assert str(error) == "plots need matplotlib, which is not installed: pip install 'cop-zarr[plot]'"


@pytest.mark.slow
def test_the_advice_of_a_new_environment_works_as_it_is_typed(tmp_path):
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PYTHONPATH", None)

    def run(command, status=0):
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
        return done.stderr

    root = Path(packages.__file__).parents[2]
    # a copy, because the build writes into the folder
    shutil.copytree(root / "cop_zarr", tmp_path / "source/cop_zarr")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, tmp_path / "source")
    run(f"{sys.executable} -m venv new && new/bin/pip install -q ./source")
    run("new/bin/cop-zarr synth --to a.tif --bands 4 --bbox 10 40 12 42")
    run("new/bin/cop-zarr ingest a.tif a.zarr")
    (tmp_path / "places.csv").write_text("lon,lat\n11,41\n")
    batch = "new/bin/cop-zarr batch a.zarr places.csv --to out.parquet"
    advice = re.search(r"not installed: (.* install .*)", run(batch, 1))[1]
    run(advice)
    run(batch)
    assert (tmp_path / "out.parquet").exists()
