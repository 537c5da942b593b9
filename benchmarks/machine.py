"""What a run was made on: processor, memory, interpreters, versions."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

PACKAGES = (
    "cop-zarr",
    "rs-embed",
    "rasterio",
    "rioxarray",
    "tensorstore",
    "xarray",
    "zarr",
    "zarrs",
    "numpy",
    "numcodecs",
    "imagecodecs",
    "tifffile",
    "google-crc32c",
)

_ASK = """
import importlib.metadata, json, platform, sys
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def describe(peer_python: str) -> dict[str, object]:
    """Describe the machine, JSON-ready; ``peer_python`` may be empty."""
    found: dict[str, object] = {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "cop_zarr_environment": _versions(sys.executable),
    }
    if peer_python:
        found["rs_embed_environment"] = _versions(peer_python)
    return found


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _versions(python: str) -> dict[str, str]:
    """Versions of an interpreter and of those of :data:`PACKAGES` that it has."""
    done = subprocess.run([python, "-c", _ASK, *PACKAGES], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))
