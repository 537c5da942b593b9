"""What a store costs its readers in each layout: the tables of ``docs/publishing.md``.

``python -m benchmarks.published --store STORE --work FOLDER`` copies a store of the published size into
each layout, and takes some minutes and 3 GB. With ``--source TIF`` it also ingests the file, with shards
and without, to the disk and to an S3 server.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import cop_zarr
from benchmarks.cases import LATENCY_SECONDS
from benchmarks.network import LINE_BYTES_A_SECOND, served, served_slowly, traffic
from benchmarks.prepare import PROGRAM
from benchmarks.processes import run
from benchmarks.timings import MB, duration, in_turn, markdown, ratio

PLAIN, SHARDS = "plain", "shards"
LAYOUTS: dict[str, dict[str, Any]] = {
    PLAIN: {"shards": False},
    SHARDS: {"shards": True},
    "shards, float16": {"shards": True, "encoding": "float16"},
    "shards, int8": {"shards": True, "encoding": "int8"},
}
"""The options of ``cop_zarr.copy`` for each."""

GLOBE = (-180.0, -90.0, 180.0, 90.0)
ROUNDS = 5
BOXES = 16
"""Boxes of a size that are asked over the network, one after the other."""


def main() -> None:
    """Copy, measure and print."""
    parser = argparse.ArgumentParser("python -m benchmarks.published", description=__doc__)
    parser.add_argument("--store", required=True, help="a store of the whole globe, of float32")
    parser.add_argument("--work", type=Path, required=True, help="a folder for the copies")
    parser.add_argument("--source", help="the GeoTIFF, to be ingested in both layouts")
    options = parser.parse_args()
    folder = options.work / "published"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stores = {name: folder / f"{number}.zarr" for number, name in enumerate(LAYOUTS)}
    print(markdown(list(_sizes(options.store, stores))), end="\n\n", flush=True)
    valid = cop_zarr.open(options.store).valid
    boxes = {side: boxes_on_land(valid, side, count) for side, count in ((0.25, 200), (2, 100), (20, 8))}
    print(markdown(list(_over_network(folder, stores, boxes))), end="\n\n", flush=True)
    print(markdown(list(_over_slow_line(folder, stores))), end="\n\n", flush=True)
    print(markdown(list(_from_disk(stores, boxes, boxes_on_land(valid, 1, 20_000)))), flush=True)
    if options.source:
        print("\n" + markdown(list(_ingests(options.source, folder))), flush=True)
    shutil.rmtree(folder)


def boxes_on_land(valid: np.ndarray, side_deg: float, count: int) -> list[tuple[float, ...]]:
    """Boxes around random cells with data, away from the edges of the globe."""
    rng = np.random.default_rng(2021)
    rows, cols = np.nonzero(valid[80:-80, 80:-80])
    chosen = rng.integers(len(rows), size=count)
    lat, lon = 90 - 0.25 * (rows[chosen] + 80), -180 + 0.25 * (cols[chosen] + 80)
    half = side_deg / 2
    edges = np.stack([lon - half, lat - half, lon + half, lat + half], axis=1)
    return list(map(tuple, edges.tolist()))


def _sizes(source: str, stores: dict[str, Path]) -> Iterator[Sequence[str]]:
    """Make the stores; bytes, objects, and what the copies took."""
    yield "layout", "MB", "of plain", "objects", "copied in", "peak"
    plain = 0
    for name, store in stores.items():
        options = ["--shards" if LAYOUTS[name]["shards"] else "--no-shards"]
        options += [f"--encoding={LAYOUTS[name]['encoding']}"] if "encoding" in LAYOUTS[name] else []
        seconds, peak = run([PROGRAM, "copy", source, "--to", str(store), *options], os.environ)
        sizes = [path.stat().st_size for path in store.rglob("*") if path.is_file()]
        plain = plain or sum(sizes)
        figures = f"{sum(sizes) / MB:.0f}", f"{sum(sizes) / plain:.2f}", f"{len(sizes):,}"
        yield name, *figures, f"{seconds:.1f} s", f"{peak / MB:.0f} MB"


def _over_network(
    folder: Path, stores: dict[str, Path], boxes: dict[float, list[tuple[float, ...]]]
) -> Iterator[Sequence[str]]:
    """Means over HTTP at 50 ms a request, each box new, from a store whose mask is known."""
    yield "over HTTP, 50 ms a request", "region", "requests", "most", "MB", "of the chunks'", "round trips"
    chunks: dict[str, float] = {}
    with served(folder, os.environ) as (url, counter):
        for name, path in stores.items():
            for side in (2.0, 20.0, None):
                asked = boxes[side][:BOXES] if side else [GLOBE]
                label = f"{side:g}°" if side else "globe"
                requests, moved, seconds = _ask_each(f"{url}/{path.name}", asked, counter)
                chunks.setdefault(label, sum(moved))  # the plain store's bytes are those of the chunks
                yield (
                    *(name, label, f"{statistics.median(requests):g}", str(max(requests))),
                    *(f"{statistics.mean(moved) / MB:.2f}", f"{sum(moved) / chunks[label]:.2f}"),
                    f"{statistics.median(seconds) / LATENCY_SECONDS:.2f}",
                )


def _ask_each(
    url: str, boxes: Sequence[tuple[float, ...]], counter: int
) -> tuple[list[int], list[int], list[float]]:
    """Requests, bytes and seconds of each box."""
    store = cop_zarr.open(url, cache_bytes=0)
    assert store.valid.any()  # and the connection is there
    found: list[tuple[int, int, float]] = []
    for box in boxes:
        requests, moved = traffic(counter)
        begin = time.perf_counter()
        store.query(box)
        seconds = time.perf_counter() - begin
        after, moved_after = traffic(counter)
        found.append((after - requests, moved_after - moved, seconds))
    requests, moved, seconds = (list(column) for column in zip(*found, strict=True))
    return requests, moved, seconds


def _over_slow_line(folder: Path, stores: dict[str, Path]) -> Iterator[Sequence[str]]:
    """The mean of the globe over a line of 200 Mbit/s."""
    yield "globe, 200 Mbit/s", "seconds", "of the line used"
    with served_slowly(folder, os.environ) as url:
        for name, path in stores.items():
            store = cop_zarr.open(f"{url}/{path.name}", cache_bytes=0)
            assert store.valid.any()
            begin = time.perf_counter()
            store.query(GLOBE)
            seconds = time.perf_counter() - begin
            least = store.info()["stored_bytes"] / LINE_BYTES_A_SECOND
            yield name, f"{seconds:.1f}", f"{least / seconds:.0%}"


def _from_disk(
    stores: dict[str, Path], boxes: dict[float, list[tuple[float, ...]]], many: list[tuple[float, ...]]
) -> Iterator[Sequence[str]]:
    """Means from a disk, nothing decoded is kept; the layouts take turns."""
    others = [name for name in stores if name != PLAIN]
    yield "from a disk, nothing kept", PLAIN, *(f"{name}, of plain" for name in others)
    opened = {name: cop_zarr.open(path, cache_bytes=0) for name, path in stores.items()}
    cases: dict[str, tuple[int, Callable[[cop_zarr.Store], object]]] = {
        "1 cell": (200, lambda store: [store.query(box) for box in boxes[0.25]]),
        "2°": (100, lambda store: [store.query(box) for box in boxes[2]]),
        "20°": (8, lambda store: [store.query(box) for box in boxes[20]]),
        "globe": (1, lambda store: store.query(GLOBE)),
        "20,000 boxes of 1°": (1, lambda store: store.query_many(many)),
    }
    for title, (count, ask) in cases.items():
        found = in_turn({name: partial(ask, store) for name, store in opened.items()}, ROUNDS)
        each = found[PLAIN].median / count
        yield title, duration(each), *(f"{ratio(found[name], found[PLAIN]):.2f}" for name in others)


def _ingests(source: str, folder: Path) -> Iterator[Sequence[str]]:
    """Whole ingests, to the disk and to an S3 server on the loopback interface."""
    from tests.support.servers import s3_server

    yield "ingest", "to", "seconds", "peak"
    store = folder / "ingest.zarr"
    for number in range(3):
        for name, flags in ((PLAIN, ()), (SHARDS, ("--shards",))):
            shutil.rmtree(store, ignore_errors=True)
            os.sync()
            seconds, peak = run([PROGRAM, "ingest", source, str(store), *flags], os.environ)
            yield f"{name}, {number + 1}", "a disk", f"{seconds:.2f}", f"{peak / MB:.0f} MB"
    shutil.rmtree(store)
    with s3_server() as s3:
        for name, flags in ((PLAIN, ()), (SHARDS, ("--shards",))):
            options = ("--storage-options", json.dumps(s3.options))
            command = [PROGRAM, "ingest", source, s3.place(f"{name}.zarr"), *flags, *options]
            seconds, peak = run(command, os.environ)
            yield name, "S3", f"{seconds:.1f}", f"{peak / MB:.0f} MB"


if __name__ == "__main__":
    main()
