"""A writer that was paused and has lost its lock leaves another's store on an object store whole."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import cop_zarr
from cop_zarr.storage import locks
from tests.support import factory
from tests.support.patience import STUCK_SECONDS, until
from tests.support.servers import S3

INGEST = """
import sys, json
import cop_zarr
from cop_zarr.errors import StoreBusyError, StoreReplacedError
from cop_zarr.storage import locks
source, url, options, locks.LOOK_SECONDS = json.loads(sys.argv[1])
try:
    cop_zarr.ingest(source, url, overwrite=True, storage_options=options)
except (StoreBusyError, StoreReplacedError) as error:  # the other one's store, when it reports
    print("stopped", error, flush=True)
else:
    print("done", flush=True)
"""


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Sources with the same grid and other values; some chunks are the second's only, some the third's."""
    place = tmp_path_factory.mktemp("three")
    values = factory.truth((0, 96), (600, 696), 8)
    paths = []
    for number in range(3):
        data = values * (number + 1)
        data[:, 32 * number : 32 * number + 16] = 0
        paths.append(
            factory.write_geotiff(
                place / f"{number}.tif",
                data.astype("f4"),
                rows=(0, 96),
                cols=(600, 696),
                blockxsize=32,
                blockysize=32,
            )
        )
    return paths


def paused(source: Path, url: str, s3: S3, look: float, moment: float) -> subprocess.Popen[str]:
    """An ingest over a store, stopped when it has had the lock for so long."""
    arguments = json.dumps([str(source), url, s3.options, look])
    process = subprocess.Popen([sys.executable, "-c", INGEST, arguments], stdout=subprocess.PIPE, text=True)
    until(lambda: "ingest/lock" in s3.keys(url))
    time.sleep(moment)
    os.kill(process.pid, signal.SIGSTOP)
    return process


def phase(objects: set[str]) -> str:
    """How far an ingest over an old store has come, by what it left."""
    if "ingest/lock" in objects and "ingest/job.json" not in objects:
        return "old root"
    if "ingest/job.json" not in objects:
        return "done"
    if "zarr.json" in objects:
        return "old root, or new one"
    return "blocks" if any(key.startswith("ingest/blocks") for key in objects) else "first chunks"


def test_it_destroys_nothing(
    three: list[Path], s3: S3, trials: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the default times from --trials 20 on."""
    look, rng = 1.0 if trials >= 20 else 0.3, random.Random(trials)
    monkeypatch.setattr(locks, "LOOK_SECONDS", look)
    phases, left, damaged = Counter[str](), 0, list[set[str]]()
    for _ in range(trials):
        url = s3.place()
        start = time.monotonic()
        cop_zarr.ingest(three[0], url, storage_options=s3.options)
        moment = rng.random() * (time.monotonic() - start)
        with paused(three[1], url, s3, look, moment) as process:
            try:
                begun = phase(s3.keys(url))
                break_lock(three[2], url, s3)
                before = s3.objects(url)
                assert cop_zarr.verify(url, three[2], storage_options=s3.options).ok
            finally:
                os.kill(process.pid, signal.SIGCONT)
            said = process.communicate(timeout=STUCK_SECONDS)[0].split()[0]
        phases[f"{begun}: {said}"] += 1
        after = s3.objects(url)
        changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
        left += any(key.startswith("ingest/") for key in changed)  # a journal is no part of the store
        damaged += [changed] if any(not key.startswith("ingest/") for key in changed) else []
        print(begun, said, sorted(changed), flush=True)  # noqa: T201
    print(f"\n{dict(phases)}: {left} journals left, {len(damaged)} stores damaged {damaged}")  # noqa: T201
    assert not damaged


def break_lock(source: Path, url: str, s3: S3) -> None:
    cop_zarr.ingest(source, url, overwrite=True, break_lock=True, storage_options=s3.options)
