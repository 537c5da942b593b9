"""Each extra is installed alone, in an environment of its own, and what it promises is run there.

Once with the newest versions, and once with the oldest that ``pyproject.toml`` allows. That takes uv
(``pip install uv``), which links packages from its cache where pip copies them, and a network for what is
not in that cache.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.extras.promises import PROMISES

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
ELSEWHERE = {
    "all": ".ci/run runs README and notebook in the environment of the README's first command",
    "docs": "Read the Docs' own steps, by .ci/run",
    "lint": ".ci/run",
    "test": "the README's second command",
}
"""Extras that are tried in another way, and how."""


def test_every_extra_is_tried():
    assert set(EXTRAS) == set(PROMISES) | set(ELSEWHERE)
    assert not set(PROMISES) & set(ELSEWHERE)


def test_all_brings_every_promise_of_a_user_but_torch():
    named = EXTRAS["all"][0].removeprefix("cop-zarr[").removesuffix("]").split(",")
    assert set(named) == set(PROMISES) - {"bench", "torch"}


@pytest.fixture(scope="module")
def uv():
    """The path of uv."""
    return pytest.importorskip("uv").find_uv_bin()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """cop-zarr as it is installed: no environment sees this folder's modules."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture
def alone(uv, tmp_path):
    """A new environment's Python, and the beginning of what installs there."""
    python = tmp_path / "alone/bin/python"
    subprocess.run([uv, "venv", "-q", "-p", sys.executable, tmp_path / "alone"], check=True)
    return python, [uv, "pip", "install", "-q", "-p", python]


@pytest.fixture
def surroundings(request, extra):
    """Environment variables of what an extra needs around it: where its bucket is."""
    if extra not in {"gcs", "s3"}:
        return {}
    server = request.getfixturevalue(extra)
    return {
        "BUCKET": json.dumps([server.place(), server.options]),
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # what no emulator answers
    }


CASES = [(extra, "highest") for extra in PROMISES]
CASES += [(extra, "lowest-direct") for extra in PROMISES if extra not in {"bench", "torch"}]  # gigabytes


@pytest.mark.slow
@pytest.mark.parametrize(("extra", "versions"), CASES)
def test_promise_is_kept_where_an_extra_is_alone(extra, versions, surroundings, alone, wheel):
    needs = ["-r", ROOT / "pyproject.toml", "--extra", extra, "--resolution", versions]
    if extra == "torch":  # the one that is here: the newest may bring gigabytes
        pytest.importorskip("torch")
        needs.append(f"torch=={importlib.metadata.version('torch')}")
    python, install = alone
    find = {"UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", "")}  # uv does not read pip's settings
    subprocess.run([*install, *needs], check=True, env=os.environ | find)
    subprocess.run([*install, "--no-deps", wheel], check=True)
    # google-crc32c warns where it has no wheel, and is slow
    promise = [python, "-E", "-W", "error::RuntimeWarning", ROOT / "tests/extras/promises.py", extra]
    with TemporaryDirectory() as folder:
        subprocess.run(promise, check=True, cwd=folder, env=os.environ | surroundings)
