"""What it costs to check every chunk that is read.

``python -m benchmarks.integrity --store STORE`` reads chunks of a local store at random, cold (their pages
dropped from the page cache, so that the disk is asked) and warm (from the page cache), and times the parts
of each read: reading the object, its CRC-32C, decoding it. A share is the checksum's part of the whole
read; what is printed is the median, and the middle half. Then whole queries, with the check and with it
patched out, in turns. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import cop_zarr
from cop_zarr.format import chunk_reader as chunks
from cop_zarr.format.document import StoreDocument, parse
from cop_zarr.storage import LocalFolder

BAR = 0.05
"""What the check may take of a cold read."""


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Seconds that some work takes, and what it gives."""
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def drop_pages(path: Path) -> None:
    """Have the kernel forget what it holds of a file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def parts(path: Path, document: StoreDocument, count: int) -> Iterator[tuple[str, float, float, float]]:
    """For chunks at random, cold and warm: seconds to read, to check, to decode."""
    folder = LocalFolder(path)
    shape = document.layout.stored_shape
    keys = sorted(key for key in folder.listing() if key.startswith("embedding/c/"))
    chosen = random.Random(0).sample(keys, min(count, len(keys)))  # noqa: S311  # nothing secret about it
    for key in chosen:
        for state in ("cold", "warm"):
            if state == "cold":
                drop_pages(path / key)
            read, data = timed(lambda key=key: folder.read(key))
            check, _ = timed(lambda data=data: chunks.crc32c(data))
            decode, _ = timed(lambda data=data: chunks.decode(data, np.empty(shape, "<f4")))
            yield state, read, check, decode


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """The median and the ends of the middle half."""
    low, middle, high = statistics.quantiles(values, n=4)
    return middle, low, high


def report_parts(path: Path, document: StoreDocument, count: int) -> None:
    """Print what the parts of a read take."""
    found: dict[str, list[tuple[float, float, float]]] = {"cold": [], "warm": []}
    for state, *seconds in parts(path, document, count):
        found[state].append((seconds[0], seconds[1], seconds[2]))
    print("| pages | chunks | read µs | CRC-32C µs | decode µs | CRC-32C's share | middle half |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | --- |")
    for state, rows in found.items():
        read, check, decode = (statistics.median(column) * 1e6 for column in zip(*rows, strict=True))
        share, low, high = quartiles([check / (read + check + decode) for read, check, decode in rows])
        print(
            f"| {state} | {len(rows):,} | {read:.0f} | {check:.0f} | {decode:.0f} | {share:.1%} "
            f"| {low:.1%} … {high:.1%} |"
        )
        if state == "cold":
            verdict = "met" if share < BAR else "NOT MET"
    print(f"\nThe check takes less than {BAR:.0%} of a cold read: {verdict}")


@contextmanager
def unchecked() -> Iterator[None]:
    """Read without the check, to see what it costs; nothing but a benchmark can."""
    matching = chunks._matching  # noqa: SLF001  # there is no option for it, on purpose
    chunks._matching = lambda data, _: data  # noqa: SLF001
    try:
        yield
    finally:
        chunks._matching = matching  # noqa: SLF001


def report_queries(path: Path, turns: int) -> None:
    """Print what whole queries take, with the check and without it."""
    store = cop_zarr.open(path, cache_bytes=0)  # or there is nothing to check the second time
    boxes = {"2° x 2°": (120.0, 30.0, 122.0, 32.0), "20° x 20°": (100.0, 20.0, 120.0, 40.0)}
    print("\n| query, page cache warm | checked ms | unchecked ms | the check's share | middle half |")
    print("| --- | ---: | ---: | ---: | --- |")
    for name, box in boxes.items():
        pairs = []
        for _ in range(turns + 1):
            with_check, _ = timed(lambda box=box: store.query(box))
            with unchecked():
                without, _ = timed(lambda box=box: store.query(box))
            pairs.append((with_check, without))
        ones, others = zip(*pairs[1:], strict=True)
        share, low, high = quartiles([1 - without / checked for checked, without in pairs[1:]])
        print(
            f"| {name} | {1e3 * statistics.median(ones):.2f} | {1e3 * statistics.median(others):.2f} "
            f"| {share:.1%} | {low:.1%} … {high:.1%} |"
        )


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.integrity", description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--chunks", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=101)
    options = parser.parse_args()
    document = parse((options.store / "zarr.json").read_bytes())
    report_parts(options.store, document, options.chunks)
    report_queries(options.store, options.turns)


if __name__ == "__main__":
    main()
