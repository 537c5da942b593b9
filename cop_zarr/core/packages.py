"""Optional packages: the error if one is missing, with a command that installs it."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cop_zarr.errors import MissingDependencyError

if TYPE_CHECKING:
    from importlib.metadata import Distribution

OURS = "cop-zarr"


def missing_package(
    what: str, packages: Sequence[str], extra: str | None = None, error: ImportError | None = None
) -> MissingDependencyError:
    """The error for packages that cannot be imported: "plots need matplotlib, which is not installed".

    ``packages`` are their names for pip, and ``extra`` is the extra of ours that installs them.
    """
    absent = error is None or isinstance(error, ModuleNotFoundError)
    subject = "which" if len(packages) == 1 or error is None else f"and {error.name}"
    state = "is not installed" if absent else f"cannot be imported ({error})"
    return MissingDependencyError(
        f"{what} {' and '.join(packages)}, {subject} {state}: {install(packages, extra)}"
    )


def install(packages: Sequence[str], extra: str | None = None) -> str:
    """The command that installs packages: as an extra of ours only where that can be had.

    ``direct_url.json`` is written by installers for what came from a folder, a file or a repository, and
    for nothing that came from an index by its name (PEP 610).
    """
    ours = _our_distribution()
    if extra is None or ours is None:
        return pip_install(*packages)
    if ours.read_text("direct_url.json") is None:
        return pip_install(f"{OURS}[{extra}]")
    return pip_install(*(_requirements(ours, extra) or packages))


def upgrade() -> str:
    """How to get a newer cop-zarr."""
    ours = _our_distribution()
    if ours is not None and ours.read_text("direct_url.json") is None:
        return pip_install("--upgrade", OURS)
    return "install a newer one"


def pip_install(*words: str) -> str:
    """A command for pip that installs into this process's environment, whether that is active or not."""
    text, python = shlex.join(words), shlex.quote(sys.executable)
    if find_spec("pip") is None:  # as in environments of uv
        return f"uv pip install --python {python} {text}"
    found = shutil.which("pip")
    if found is not None and Path(found).parent == Path(sys.executable).parent:
        return f"pip install {text}"
    return f"{python} -m pip install {text}"


def _our_distribution() -> Distribution | None:
    """What is installed; None for a source tree that is only on the path."""
    from importlib.metadata import PackageNotFoundError, distribution  # noqa: PLC0415  # 0.03 s

    try:
        return distribution(OURS)
    except PackageNotFoundError:
        return None


def _requirements(ours: Distribution, extra: str) -> list[str]:
    """What an extra requires, with the bounds of versions."""
    lines = [line.partition(";") for line in ours.requires or ()]
    wanted = f"extra=='{extra}'"
    return [
        name.strip() for name, _, marker in lines if wanted in marker.replace(" ", "").replace('"', "'")
    ]
