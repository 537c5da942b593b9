"""An interpreter with rs-embed, and the folder where it looks for its file."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RELEASE = "rs-embed==0.3.1"
"""The peer, as it is on PyPI. Its own requirements (PyTorch, Earth Engine, …) serve other models."""

NEEDS = ("affine", "imagecodecs", "numpy", "tifffile", "xarray")
"""What its Copernicus reader imports."""

MINIMUM = (3, 12)
"""rs-embed's Requires-Python."""

FILENAME = "embed_map_310k.tif"
"""The name by which rs-embed knows its file."""


@dataclass(frozen=True)
class Peer:
    """rs-embed's interpreter, or why there is none.

    Attributes
    ----------
    python : str
        The interpreter; empty if there is none.
    missing : str
        Why there is none; empty if there is one.
    """

    python: str
    missing: str = ""


def provide(given: str | None, work: Path) -> Peer:
    """Find the interpreter that was named, or make one in the work folder.

    Parameters
    ----------
    given : str or None
        An interpreter that has rs-embed.
    work : Path
        Where to make a virtual environment if none was given; it is kept for the next run.
    """
    if given:
        return Peer(given) if _imports(given) else Peer("", f"{given} cannot import rs_embed")
    python = work / "rs-embed" / "bin" / "python"
    if python.exists() and _imports(str(python)):
        return Peer(str(python))
    base = next(_interpreters(), None)
    if base is None:
        return Peer("", "needs Python >= 3.12")
    try:
        _install(base, python)
    except subprocess.CalledProcessError as error:
        lines = str(error.stderr).strip().splitlines()
        return Peer("", f"cannot be installed: {lines[-1] if lines else error}")
    return Peer(str(python))


def folder(source: Path, work: Path) -> Path:
    """Make the folder for ``RS_EMBED_COP_DIR``: the source under the name that rs-embed expects."""
    where = work / "rs-embed-source"
    where.mkdir(parents=True, exist_ok=True)
    link = where / FILENAME
    link.unlink(missing_ok=True)
    link.symlink_to(source)
    return where


def _install(base: str, python: Path) -> None:
    """Make the virtual environment and install rs-embed into it."""
    shutil.rmtree(python.parent.parent, ignore_errors=True)
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    for command in (
        [base, "-m", "venv", str(python.parent.parent)],
        [*pip, *NEEDS],
        [*pip, "--no-deps", RELEASE],
    ):
        subprocess.run(command, check=True, capture_output=True, text=True)


def _interpreters() -> Iterator[str]:
    """Interpreters that are new enough, on the path, installed by pyenv, or this one."""
    names = ("python3.13", "python3.12")
    found = [path for name in names if (path := shutil.which(name))]
    versions = Path.home() / ".pyenv" / "versions"
    for name in names:
        found += sorted(map(str, versions.glob(f"*/bin/{name}")), reverse=True)
    yield from filter(
        _new_enough, [*found, sys.executable]
    )  # pyenv puts shims on the path that may lead nowhere


def _new_enough(python: str) -> bool:
    return _succeeds(python, f"import sys, venv; sys.exit(sys.version_info < {MINIMUM})")


def _imports(python: str) -> bool:
    return _succeeds(python, "from rs_embed import get_embedding")


def _succeeds(python: str, code: str) -> bool:
    try:
        return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0
    except OSError:
        return False
