"""What must exist before anything is measured: the GeoTIFF, rs-embed, a store, an environment."""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

LOG = logging.getLogger("benchmarks")
ROOT = Path(__file__).resolve().parent.parent
PROGRAM = str(Path(sysconfig.get_path("scripts"), "cop-zarr"))
PACKAGES = (
    *("python", "cop-zarr", "rs-embed", "rasterio", "rioxarray", "tensorstore", "xarray", "zarr", "zarrs"),
    *("numpy", "numcodecs", "imagecodecs", "tifffile", "google-crc32c", "faiss-cpu", "scikit-learn"),
)


@dataclass(frozen=True)
class Bench:
    """What a run has to measure with."""

    work: Path
    """The folder for everything large."""

    source: Path
    """The GeoTIFF."""

    rs_embed: str
    """The interpreter that has rs-embed; empty if there is none."""

    rounds: int
    """How often everything has its turns."""

    environment: dict[str, str]
    """Of all processes."""

    @property
    def store(self) -> Path:
        """The store that is asked."""
        return self.work / "store.zarr"

    @property
    def store_with_components(self) -> Path:
        """The same values; components are kept in it, so that no other group's queries find them."""
        return self.work / "components.zarr"


def prepare(options: argparse.Namespace) -> Bench:
    """Make what is not there yet; the store is always made anew, which also warms the page cache."""
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    source = options.source.resolve() if options.source else work / "standin.tif"
    if not source.exists():
        LOG.info("write the stand-in")
        subprocess.run([sys.executable, "-m", "benchmarks.standin", str(source)], check=True, cwd=ROOT)
    rs_embed = options.rs_embed_python or str(work / "rs-embed" / "bin" / "python")
    if not shutil.which(rs_embed):
        LOG.warning("there is no %s: rs-embed is not measured, see benchmarks/README.md", rs_embed)
        rs_embed = ""
    rounds = 1 if options.quick else options.runs
    bench = Bench(work, source, rs_embed, rounds, _environment(source, work))
    LOG.info("make the store")
    shutil.rmtree(bench.store, ignore_errors=True)
    command = [PROGRAM, "ingest", str(source), str(bench.store)]
    subprocess.run(command, check=True, env=bench.environment, stdout=subprocess.DEVNULL)
    return bench


def copy_store(bench: Bench) -> None:
    """Make the store that components are kept in, of the same files; its new ones are its own."""
    shutil.rmtree(bench.store_with_components, ignore_errors=True)
    shutil.copytree(bench.store, bench.store_with_components, copy_function=os.link)


def machine(rs_embed: str) -> dict[str, object]:
    """The machine and the versions, JSON-ready; ``rs_embed`` is an interpreter, or empty."""
    info = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": next((line.partition(": ")[2] for line in info if line.startswith("model name")), ""),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "cop_zarr_environment": _versions(sys.executable),
        "rs_embed_environment": _versions(rs_embed) if rs_embed else {},
    }


def _environment(source: Path, work: Path) -> dict[str, str]:
    """Defaults for all libraries, scratch files in the work folder, and rs-embed's folder with its file."""
    scratch, folder = work / "tmp", work / "rs-embed-source"
    scratch.mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    link = folder / "embed_map_310k.tif"  # the name by which rs-embed knows its file
    link.unlink(missing_ok=True)
    link.symlink_to(source)
    removed = ("COP_ZARR_", "RS_EMBED_", "GDAL_", "PYTHON", "ZARR_")
    rest = {name: value for name, value in os.environ.items() if not name.startswith(removed)}
    rest["PYTHONPATH"] = str(ROOT)  # measure this checkout, whatever is installed
    return {**rest, "TMPDIR": str(scratch), "RS_EMBED_COP_DIR": str(folder)}


def _versions(python: str) -> dict[str, str]:
    """Versions of an interpreter and of those packages that it has."""
    code = (
        "import importlib.metadata, json, platform;"
        "found = {one.name: one.version for one in importlib.metadata.distributions()};"
        "print(json.dumps({'python': platform.python_version(), **found}))"
    )
    listed = json.loads(subprocess.run([python, "-c", code], check=True, capture_output=True).stdout)
    return {name: listed[name] for name in PACKAGES if name in listed}
