"""Links that lead elsewhere a moment later: what was begun with one file or folder is ended with it."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import threading
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

import cop_zarr
from cop_zarr.errors import InputError
from tests.writing.small import flip


@contextlib.contextmanager
def flapping(link: Path, targets: list[Path]) -> Iterator[None]:
    """Have a link lead to one of two places in turn, as often as can be."""
    over = threading.Event()
    spare = link.with_name("spare")

    def flap() -> None:
        for target in cycle(targets):
            if over.wait(0.0005):
                return
            spare.symlink_to(target)
            spare.replace(link)

    link.symlink_to(targets[0])
    thread = threading.Thread(target=flap)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def values(store: Path) -> np.ndarray:
    opened = cop_zarr.open(store)
    return opened.query(opened.grid.bounds, output="grid").data


def test_the_digest_is_that_of_the_file_that_was_read(
    pair: list[Path], tmp_path: Path, trials: int
) -> None:
    by_digest = {digest(path): path for path in pair}
    with flapping(tmp_path / "link.tif", pair):
        for number in range(max(10, trials)):
            report = cop_zarr.ingest(tmp_path / "link.tif", tmp_path / f"{number}.zarr")
    seen = set()
    for number in range(max(10, trials)):
        store = tmp_path / f"{number}.zarr"
        sha256 = cop_zarr.open(store).info()["source"]["sha256"]
        assert cop_zarr.verify(store, by_digest[sha256]).ok
        seen.add(sha256)
    assert len(seen) == 2
    assert report.source["sha256"] in seen


def test_a_repair_takes_nothing_from_another_file(pair: list[Path], tmp_path: Path, trials: int) -> None:
    store = tmp_path / "a.zarr"
    cop_zarr.ingest(pair[0], store)
    right, refused = values(store), 0
    with flapping(tmp_path / "link.tif", pair):
        for number in range(max(10, trials)):
            chunks = sorted(store.glob("embedding/c/0/*/*"))
            flip(chunks[number % len(chunks)])
            while True:
                try:
                    assert cop_zarr.repair(store, tmp_path / "link.tif").ok
                except InputError:  # it was the other one
                    refused += 1
                else:
                    break
            assert cop_zarr.verify(store, pair[0]).ok
    assert refused
    assert np.array_equal(values(store), right)


@pytest.mark.parametrize("moment", [1, -1])
def test_another_store_is_never_replaced(pair: list[Path], tmp_path: Path, moment: int) -> None:
    """A link that names the store to be replaced later leads to a good one, at the first or last block."""
    (tmp_path / "a").mkdir()
    cop_zarr.ingest(pair[0], tmp_path / "a" / "old.zarr")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    good = tmp_path / "b" / "old.zarr"
    before = {path: path.read_bytes() for path in good.rglob("*") if path.is_file()}
    link, spare = tmp_path / "link.zarr", tmp_path / "spare"
    link.symlink_to(tmp_path / "a" / "old.zarr")
    spare.symlink_to(good)
    blocks = 0

    def point_elsewhere(done: int, total: int) -> None:
        nonlocal blocks
        blocks += 1
        if blocks == moment or (moment < 0 and done == total):
            spare.replace(link)

    cop_zarr.ingest(pair[1], link, overwrite=True, progress=point_elsewhere, workers=1)
    assert not spare.is_symlink()
    assert {path: path.read_bytes() for path in good.rglob("*") if path.is_file()} == before
    assert cop_zarr.verify(tmp_path / "a" / "old.zarr", pair[1]).ok
    assert sorted(path.name for place in "ab" for path in (tmp_path / place).iterdir()) == ["old.zarr"] * 2
    assert link.is_symlink()
