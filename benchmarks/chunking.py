"""The experiment that chose chunk size and codec: ``python -m benchmarks.chunking --source TIF``.

Prints two Markdown tables, the ones of ``docs/store-format.md``. Encoding, decoding and reading are
timed in CPU seconds of one thread, with a warm page cache, so that whatever else the machine does tilts
nothing; Blosc's own threads are off, as they are in the store's code.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numcodecs
import numpy as np
import tifffile
from numcodecs import blosc

from cop_zarr.format.layout import BLOSC

blosc.use_threads = False

SIDES = (4, 8, 16, 32)
WINDOW_CELLS = 9
"""Rows and columns that a box of 2° touches, if its edges are not cell edges."""

POSITIONS = 2000
"""Windows whose chunks are counted, each centred on a random cell with data."""

READ_BYTES = 64_000_000
"""How much is written to files and read back for each chunk side."""

CHOSEN = f"blosc {BLOSC['cname']} {BLOSC['clevel']} {BLOSC['shuffle']}"
"""The store's own codec, by its name in the table."""

REPEATS = 3
"""Decoding and reading are done this often, and the fastest counts."""


@dataclass(frozen=True)
class Codec:
    """A compressor: its name, and its two directions; ``decode`` fills the array it is given."""

    name: str
    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes, np.ndarray], object]


@dataclass
class Cost:
    """What one codec made of the chunks of one side; bytes decoded include a chunk's empty cells."""

    chunks: int = 0
    decoded_bytes: int = 0
    stored_bytes: int = 0
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0


def main() -> None:
    """Decode the tiles, try everything on some of them, print."""
    parser = argparse.ArgumentParser("python -m benchmarks.chunking", description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="the stand-in, or the real file")
    parser.add_argument("--tiles", type=int, default=4, help="tiles to try on (default 4)")
    options = parser.parse_args()
    with tifffile.TiffFile(options.source) as tiff:
        page: Any = tiff.pages.first
        valid = _valid(page)
        chosen = _mixed(page, valid, options.tiles)
        costs = {(side, codec.name): Cost() for side in SIDES for codec in _codecs()}
        reads = {side: [0, 0.0] for side in SIDES}
        land_bytes = 0
        for index in chosen:
            tile, *_ = _tile(page, index)
            land_bytes += int(tile.any(axis=2).sum()) * page.samplesperpixel * 4
            _try_tile(tile, costs, reads)
    print(f"Tiles {', '.join(map(str, chosen))}: {land_bytes / 1e6:.0f} MB of cells with data.\n")
    print(_codec_table(costs, land_bytes))
    print(f"\nWith {CHOSEN}, for a 2° window:\n\n{_window_table(costs, reads, valid)}")


def _codecs() -> Iterator[Codec]:
    """The compressors on trial."""
    for name, level in (("lz4", 5), ("zstd", 1), ("zstd", 3), ("zstd", 5)):
        for shuffle, word in ((blosc.SHUFFLE, "shuffle"), (blosc.BITSHUFFLE, "bitshuffle")):
            yield _blosc(name, level, shuffle, word)
    zstd = numcodecs.Zstd(level=1)
    yield Codec("zstd 1", lambda cells: bytes(zstd.encode(cells)), zstd.decode)


def _blosc(name: str, level: int, shuffle: int, word: str) -> Codec:
    def encode(cells: np.ndarray) -> bytes:
        return bytes(blosc.compress(cells, name.encode(), level, shuffle, 0, 4))

    return Codec(f"blosc {name} {level} {word}", encode, blosc.decompress)


def _tile(page: Any, index: int) -> tuple[np.ndarray, int, int]:
    """Decode a tile, without its padding: (rows, cols, bands); the row and column of its first cell."""
    with Path(page.parent.filehandle.path).open("rb") as file:
        file.seek(page.dataoffsets[index])
        encoded = file.read(page.databytecounts[index])
    data, (_, _, row, col, _), _ = page.decode(encoded, index)
    rows, cols, _ = page.shape
    return data[0, : rows - row, : cols - col], row, col


def _valid(page: Any) -> np.ndarray:
    """Which cells of the file have data: bool, (rows, cols)."""
    valid = np.zeros(page.shape[:2], bool)
    for index in range(len(page.dataoffsets)):
        tile, row, col = _tile(page, index)
        held = tile.any(axis=2)
        valid[row : row + held.shape[0], col : col + held.shape[1]] = held
    return valid


def _mixed(page: Any, valid: np.ndarray, count: int) -> list[int]:
    """The whole tiles whose share of cells with data is nearest to one half."""
    height, width = page.tilelength, page.tilewidth
    across = -(-valid.shape[1] // width)
    distance = {}
    for row in range(0, valid.shape[0] - height + 1, height):
        for col in range(0, valid.shape[1] - width + 1, width):
            share = valid[row : row + height, col : col + width].mean()
            distance[row // height * across + col // width] = abs(share - 0.5)
    return sorted(sorted(distance, key=distance.__getitem__)[:count])


def _try_tile(tile: np.ndarray, costs: dict[tuple[int, str], Cost], reads: dict[int, list[Any]]) -> None:
    """Add what a tile's chunks cost with every codec; ``reads`` counts objects and seconds by side."""
    for side in SIDES:
        chunks = list(_chunks(tile, side))
        for codec in _codecs():
            encoded = _try_codec(codec, chunks, costs[side, codec.name])
            if codec.name == CHOSEN and not reads[side][0]:
                reads[side][:] = _read_back(encoded)


def _chunks(tile: np.ndarray, side: int) -> Iterator[np.ndarray]:
    """A tile's chunks that hold data, in stored order: (longitude, latitude, band)."""
    for row in range(0, tile.shape[0], side):
        for col in range(0, tile.shape[1], side):
            cells = tile[row : row + side, col : col + side]
            if cells.any():
                yield np.ascontiguousarray(cells.transpose(1, 0, 2))


def _try_codec(codec: Codec, chunks: list[np.ndarray], cost: Cost) -> list[bytes]:
    """Encode and decode the chunks, and add to the cost; each decode makes its array, as a reader does."""
    begin = time.thread_time()
    encoded = [codec.encode(chunk) for chunk in chunks]
    cost.encode_seconds += time.thread_time() - begin
    shape, seconds = chunks[0].shape, []
    for _ in range(REPEATS):
        begin = time.thread_time()
        for data in encoded:
            codec.decode(data, np.empty(shape, "f4"))
        seconds.append(time.thread_time() - begin)
    cost.decode_seconds += min(seconds)
    cost.chunks += len(chunks)
    cost.decoded_bytes += sum(chunk.nbytes for chunk in chunks)
    cost.stored_bytes += sum(map(len, encoded))
    return encoded


def _read_back(encoded: list[bytes]) -> tuple[int, float]:
    """Write objects to files, read and checksum them: how many, and the CPU seconds of the fastest go."""
    sample = encoded[: max(1, READ_BYTES // len(encoded[0]))]
    with tempfile.TemporaryDirectory() as scratch:
        paths = [f"{scratch}/{number}" for number in range(len(sample))]
        for path, data in zip(paths, sample, strict=True):
            Path(path).write_bytes(data)
        seconds = []
        for _ in range(REPEATS + 1):  # the first go warms the page cache
            begin = time.thread_time()
            for path in paths:
                with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # as chunks are
                    google_crc32c.value(file.read())
            seconds.append(time.thread_time() - begin)
    return len(paths), min(seconds)


def _codec_table(costs: dict[tuple[int, str], Cost], land_bytes: int) -> str:
    lines = [
        "| chunk | codec | stored / cells with data | encode s/GB | decode µs/chunk | decode GB/s |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for (side, name), cost in costs.items():
        gigabytes = cost.decoded_bytes / 1e9
        lines.append(
            f"| {side} x {side} | {name} | {cost.stored_bytes / land_bytes:.3f} "
            f"| {cost.encode_seconds / gigabytes:.2f} "
            f"| {cost.decode_seconds / cost.chunks * 1e6:.0f} "
            f"| {gigabytes / cost.decode_seconds:.2f} |"
        )
    return "\n".join(lines)


def _window_table(
    costs: dict[tuple[int, str], Cost], reads: dict[int, list[Any]], valid: np.ndarray
) -> str:
    """One row a chunk side: the chunk objects of the whole store, and what a 2° window costs."""
    lines = [
        "| chunk | objects | read + CRC µs | decode µs | chunks read | cells decoded / touched | CPU ms |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for side in SIDES:
        cost = costs[side, CHOSEN]
        read_us = reads[side][1] / reads[side][0] * 1e6
        decode_us = cost.decode_seconds / cost.chunks * 1e6
        held = _held(valid, side)
        chunks = _chunks_in_window(held, valid, side)
        lines.append(
            f"| {side} x {side} | {int(held.sum()):,} | {read_us:.0f} | {decode_us:.0f} "
            f"| {chunks:.1f} | {chunks * side**2 / WINDOW_CELLS**2:.1f} "
            f"| {chunks * (read_us + decode_us) / 1e3:.2f} |"
        )
    return "\n".join(lines)


def _held(valid: np.ndarray, side: int) -> np.ndarray:
    """Which chunks hold data: bool, (chunk rows, chunk columns)."""
    rows, cols = (-(-size // side) for size in valid.shape)
    padded = np.zeros((rows * side, cols * side), bool)
    padded[: valid.shape[0], : valid.shape[1]] = valid
    return np.asarray(padded.reshape(rows, side, cols, side).any(axis=(1, 3)))


def _chunks_in_window(held: np.ndarray, valid: np.ndarray, side: int) -> float:
    """Mean number of chunks with data under a window that is centred on a random cell with data."""
    cells, half = np.argwhere(valid), WINDOW_CELLS // 2
    centres = np.random.default_rng(0).choice(cells, POSITIONS)
    counts = []
    for row, col in centres:
        rows = np.clip(np.arange(row - half, row + half + 1), 0, valid.shape[0] - 1)
        cols = np.arange(col - half, col + half + 1) % valid.shape[1]
        counts.append(held[np.ix_(np.unique(rows // side), np.unique(cols // side))].sum())
    return float(np.mean(counts))


if __name__ == "__main__":
    main()
