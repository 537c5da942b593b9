"""Who reads a store while it is replaced finds one of the two; what is not the store's is kept."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import cop_zarr
from cop_zarr.errors import StoreReplacedError
from cop_zarr.storage import LocalFolder
from tests.faults.test_links import values


def keep_doing(call: Callable[[], None], over: threading.Event, seen: Counter[str]) -> threading.Thread:
    """Call a function in a thread until it is over, and count what comes of it."""

    def loop() -> None:
        while not over.is_set():
            try:
                call()
            except StoreReplacedError:
                seen["replaced"] += 1
            except Exception as error:  # noqa: BLE001  # counted, and the test fails
                seen[repr(error)] += 1
            else:
                seen["right"] += 1

    thread = threading.Thread(target=loop)
    thread.start()
    return thread


def test_there_is_a_store_at_every_moment(
    pair: list[Path],
    tmp_path: Path,
    trials: int,
) -> None:
    """What is opened answers as one of the two; ``verify`` finds nothing."""
    store = tmp_path / "a.zarr"
    truths = []
    for source in reversed(pair):
        cop_zarr.ingest(source, store, overwrite=True)
        truths.append(values(store))

    def ask() -> None:
        found = values(store)
        assert any(np.array_equal(found, truth) for truth in truths)

    def verify() -> None:
        problems = cop_zarr.verify(store).problems
        assert not problems, problems

    over, asked, verified = threading.Event(), Counter[str](), Counter[str]()
    threads = [keep_doing(ask, over, asked), keep_doing(verify, over, verified)]
    try:
        for number in range(max(12, trials)):
            cop_zarr.ingest(pair[number % 2], store, overwrite=True, workers=1)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    print(f"\n{number + 1} overwrites: queries {dict(asked)}, verify {dict(verified)}")  # noqa: T201
    assert set(asked) | set(verified) <= {"right", "replaced"}
    assert asked["right"] > number
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


@pytest.mark.parametrize("by", ["name", "folder"])
def test_what_is_saved_while_a_store_is_replaced_is_kept(
    pair: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    trials: int,
    by: str,
) -> None:
    """By its name, or by a program whose working folder it is, from the last look at it on."""
    publish, total, late = LocalFolder.publish, 0, 0
    for trial in range(max(5, trials // 10)):
        store = tmp_path / f"{trial}.zarr"
        cop_zarr.ingest(pair[0], store)
        over, saved = threading.Event(), list[str]()
        folder = os.open(store, os.O_RDONLY)

        def save(store: Path, folder: int, over: threading.Event, saved: list[str]) -> None:
            while not over.is_set() and len(saved) < 500:
                key = f"mine-{len(saved)}.txt"
                with contextlib.suppress(FileNotFoundError):  # its working folder is gone
                    name, place = (key, folder) if by == "folder" else (str(store / key), None)
                    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd=place)
                    os.write(file, key.encode())
                    os.close(file)
                    saved.append(key)

        thread = threading.Thread(target=save, args=(store, folder, over, saved))

        def publish_watched(self: LocalFolder, thread: threading.Thread = thread, **options: bool) -> None:
            thread.start()
            time.sleep(0.001)
            publish(self, **options)

        monkeypatch.setattr(LocalFolder, "publish", publish_watched)
        try:
            cop_zarr.ingest(pair[1], store, overwrite=True)
        finally:
            over.set()
            thread.join()
            os.close(folder)
            monkeypatch.undo()
        aside = tmp_path / f"{trial}.zarr.partial" / "store"  # what came when the old folder was removed
        late += sum((aside / key).exists() for key in saved)
        total += len(saved)
        for key in saved:
            place = store if (store / key).exists() else aside
            assert (place / key).read_text() == key
        assert {problem.key for problem in cop_zarr.verify(store, pair[1]).problems} <= set(saved)
    print(f"\n{total} files saved by {by} in {trial + 1} overwrites, {late} of them left beside")  # noqa: T201
    assert total > trial
