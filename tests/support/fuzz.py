"""Hostile TIFFs and hostile stores, made from good ones: each gives an answer or is refused.

``python -m tests.support.fuzz tiff --seconds 60 --seed 1`` makes files, ``store`` stores, each from its
seed and its number, and reads them. The first that raises anything but a CopZarrError, gives a wrong
answer, crashes, hangs or takes too much memory is a finding: it is kept, and the run ends with status 1.
``--only 123`` repeats one input.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import faulthandler
import io
import json
import logging
import multiprocessing
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import google_crc32c
import imagecodecs
import numpy as np
import tifffile
from numcodecs import blosc

import cop_zarr
from cop_zarr.format import layout
from cop_zarr.format.document import digest
from cop_zarr.source.geotiff import GeoTiff
from tests.support import factory

SECONDS = 5.0
"""How long one input may take."""

MEMORY_BYTES = 64 << 20
"""How much memory one input may take; all that is mutated here is small."""

BLOCK_BYTES = 8 << 20
"""Memory that a TIFF's blocks are cut for."""

BLOCKS_READ = 6
"""Blocks of a TIFF that are read, at most."""

HANGS_SECONDS = 60
"""After how long without an input done the process is taken to hang where no signal reaches it."""

SCRATCH = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where inputs lie: in memory if possible."""

NUMBERS = (
    *(0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 31, 32, 33, 64, 127, 128, 255, 256, 257, 720, 721, 1440),
    *(4095, 4096, 32767, 32768, 65534, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40),
    *(2**62, 2**63 - 1, 2**63, 2**64 - 1),
)
"""Whole numbers at which something may break."""

DOUBLES = (
    0.0,
    -0.0,
    0.25,
    -0.25,
    1e-320,
    1e308,
    -180.125,
    90.125,
    float("inf"),
    float("-inf"),
    float("nan"),
)


class Finding(AssertionError):  # noqa: N818  # what fuzzers call it
    """Something that must not happen has happened."""


class Overrun(BaseException):
    """An input takes too long; no ``except Exception`` may hold it up."""


# Bounds


@contextlib.contextmanager
def bounded(seconds: float = SECONDS, memory: int = MEMORY_BYTES) -> Iterator[None]:
    """Raise Finding if what is done here takes more processor time or memory than allowed.

    Memory is what the process holds at its peak, of whatever allocator. The address space is limited as
    well, so that memory that should not be taken does not bring a machine down. A hang is noticed after
    twenty times as long.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    virtual, before = _held()
    resource.setrlimit(resource.RLIMIT_AS, (virtual + memory + (512 << 20), hard))
    timers = {signal.SIGPROF: (signal.ITIMER_PROF, 1), signal.SIGALRM: (signal.ITIMER_REAL, 20)}
    earlier = {number: signal.signal(number, _overrun) for number in timers}
    for timer, times in timers.values():
        signal.setitimer(timer, times * seconds)
    try:
        yield
    except Overrun as overrun:
        raise Finding(f"it takes more than {seconds} s") from overrun
    finally:
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, earlier[number])
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    peak = _peak()
    if peak - before > memory:
        raise Finding(f"it took {(peak - before) / 2**20:,.0f} MiB of memory")


def outcome(action: Callable[[], object]) -> str:
    """What an action comes to: an answer, or the name of a CopZarrError; other exceptions are findings."""
    try:
        action()
    except MemoryError as error:
        raise Finding("memory ran out") from error
    except cop_zarr.CopZarrError as error:
        cause: BaseException | None = error
        while cause := cause.__cause__:
            if isinstance(cause, MemoryError):
                raise Finding("memory ran out before the input was refused") from error
        return type(error).__name__
    return "answer"


def _overrun(_number: int, _frame: object) -> None:
    raise Overrun


def _held() -> tuple[int, int]:
    """Bytes of address space and of memory that the process has now; the peak starts from here."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_bytes(b"5")
    try:
        pages = Path("/proc/self/statm").read_bytes().split()
    except OSError:  # no Linux
        return 1 << 40, _peak()
    return int(pages[0]) * resource.getpagesize(), _peak()


def _peak() -> int:
    try:
        status = Path("/proc/self/status").read_bytes()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(status.partition(b"VmHWM:")[2].split(None, 1)[0]) * 1024


# Mutations of bytes


def damage(rng: random.Random, data: bytearray, spans: list[tuple[int, int]] | None = None) -> None:
    """Change bytes somewhere; two times in three within one of the spans named."""
    if not data:
        data += rng.randbytes(rng.randrange(40))
        return
    low, high = rng.choice(spans) if spans and rng.random() < 0.66 else (0, len(data))
    at = rng.randrange(min(low, len(data) - 1), max(min(high, len(data)), 1))
    rng.choice(DAMAGES)(rng, data, at)


def _flip(rng: random.Random, data: bytearray, at: int) -> None:
    data[at] ^= 1 << rng.randrange(8)


def _byte(rng: random.Random, data: bytearray, at: int) -> None:
    data[at] = rng.randrange(256)


def _number(rng: random.Random, data: bytearray, at: int) -> None:
    size = rng.choice((2, 4, 8))
    value = number(rng, len(data)) % 2 ** (8 * size)
    data[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))[: len(data) - at]


def _cut(rng: random.Random, data: bytearray, at: int) -> None:
    del data[at:]


def _extend(rng: random.Random, data: bytearray, at: int) -> None:
    data += rng.randbytes(rng.randrange(1, 64)) if rng.random() < 0.5 else bytes(rng.randrange(1, 5000))


def _splice(rng: random.Random, data: bytearray, at: int) -> None:
    """Delete, insert or overwrite some bytes."""
    start = rng.randrange(len(data))
    block = data[start : start + rng.choice((1, 2, 4, 8, 12, 20, 100))]
    gone = rng.choice((0, len(block)))
    data[at : at + gone] = rng.choice((b"", block))


def _swap(rng: random.Random, data: bytearray, at: int) -> None:
    other, size = rng.randrange(len(data)), rng.choice((2, 4, 8, 12, 20, 100))
    low, high = min(at, other), max(at, other)
    size = min(size, high - low, len(data) - high)
    data[low : low + size], data[high : high + size] = data[high : high + size], data[low : low + size]


def _fill(rng: random.Random, data: bytearray, at: int) -> None:
    size = min(rng.choice((2, 4, 8, 100)), len(data) - at)
    data[at : at + size] = bytes([rng.choice((0, 255))]) * size


DAMAGES = (*[_flip, _byte, _number, _splice] * 2, _cut, _extend, _swap, _fill)


def number(rng: random.Random, near: int) -> int:
    """A whole number: one at which something may break, one near a size, or any."""
    pick = rng.random()
    if pick < 0.6:
        return rng.choice(NUMBERS)
    return max(near + rng.randrange(-40, 40), 0) if pick < 0.8 else rng.getrandbits(rng.randrange(1, 65))


# TIFF


TYPES = dict(enumerate(["B", "B", "H", "I", "II", "b", "B", "h", "i", "ii", "f", "d", "I"], 1))
TYPES |= {16: "Q", 17: "q", 18: "Q"}
"""Data types of TIFF and BigTIFF, as struct knows them."""


@dataclass(frozen=True)
class Entry:
    """A tag of a TIFF, with the offsets of its entry and of its values."""

    at: int
    code: int
    kind: int
    count: int
    values_at: int

    @property
    def item(self) -> int:
        """Bytes of one value."""
        return struct.calcsize("=" + TYPES.get(self.kind, "B"))


class Tags:
    """The first directory of a well-formed TIFF: enough to know where to damage it."""

    def __init__(self, data: bytes) -> None:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            self.order, page = tiff.byteorder, tiff.pages.first
            self.wide, self.short, self.size = ("Q", "Q", 20) if tiff.is_bigtiff else ("I", "H", 12)
        self.ifd = page.offset
        self.entries = [
            Entry(tag.offset, tag.code, int(tag.dtype), tag.count, tag.valueoffset) for tag in page.tags
        ]
        self.next_at = max(entry.at for entry in self.entries) + self.size
        values = [(entry.values_at, entry.values_at + entry.item * entry.count) for entry in self.entries]
        self.spans = [(0, self.size - 4), (self.ifd, self.next_at + 8), *values]

    def put(self, data: bytearray, at: int, kind: str, value: float) -> None:
        """Overwrite a number, as far as the file reaches."""
        if kind not in "fd":
            value = int(value) % 2 ** (8 * struct.calcsize("=" + kind))
            kind = kind.upper()
        encoded = struct.pack(self.order + kind, value)
        data[at : at + len(encoded)] = encoded

    def value_at(self, entry: Entry) -> int:
        """Where an entry keeps its value, or the place of its values."""
        return entry.at + 4 + struct.calcsize("=" + self.wide)

    def find(self, *codes: int) -> Entry:
        """The entry of the first of these tags that is there."""
        return next(entry for code in codes for entry in self.entries if entry.code == code)


def small_tiffs(path: Path) -> list[tuple[bytes, np.ndarray]]:
    """Good files in many containers, written by GDAL, and what they hold."""
    codecs = [("none", 1), *((codec, kind) for codec in ("deflate", "lzw", "zstd") for kind in (1, 2, 3))]
    containers = [
        {"tiled": tiled, "interleave": interleave, "compress": codec, "predictor": predictor}
        for tiled in (True, False)
        for interleave in ("pixel", "band")
        for codec, predictor in codecs
    ]
    kinds = [("LITTLE", "NO"), ("BIG", "NO"), ("LITTLE", "YES"), ("BIG", "YES")]
    files = []
    for index, container in enumerate(containers):
        endianness, bigtiff = kinds[index % 4]
        values = factory.truth((300, 320), (600, 641), 3 if index % 3 else 1)
        if index % 5 == 4:
            values[:, :16, :16] = 0
        if index % 7 == 6:
            values = values.astype("f8")
        if container["compress"] == "none":
            container |= {"predictor": None, "compress": None}
        factory.write_geotiff(
            path,
            values,
            rows=(300, 320),
            cols=(600, 641),
            blockxsize=16 if container["tiled"] else None,
            blockysize=16 if container["tiled"] else 3,
            endianness=endianness,
            bigtiff=bigtiff,
            sparse_ok=index % 5 == 4,
            **container,
        )
        files.append((path.read_bytes(), values.astype("f4")))
    return files


class TiffTarget:
    """Open a GeoTIFF, cut it into blocks, and read them."""

    def __init__(self, scratch: Path) -> None:
        self._path = scratch / "a.tif"
        self._files = small_tiffs(self._path)
        self._tags = [Tags(data) for data, _ in self._files]

    def run(self, rng: random.Random) -> str:
        """Damage a file, and read it."""
        return self.check(self.mutant(rng))

    def mutant(self, rng: random.Random) -> bytes:
        """Make a damaged file."""
        index = rng.randrange(len(self._files))
        data, tags = bytearray(self._files[index][0]), self._tags[index]
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
            if rng.random() < 0.6:
                rng.choice(TAG_DAMAGES)(rng, data, tags)
            else:
                damage(rng, data, tags.spans)
        return bytes(data)

    def check(self, data: bytes, truth: np.ndarray | None = None) -> str:
        """Read a file, and hold what it gives against what it should; of a damaged one only the shape."""
        self._path.write_bytes(data)
        with bounded():
            return outcome(lambda: read_tiff(self._path, truth))

    def check_good(self) -> None:
        """Undamaged files give the truth."""
        for data, truth in self._files:
            assert self.check(data, truth) == "answer"


def read_tiff(path: Path, truth: np.ndarray | None = None) -> None:
    """Read a file's blocks; a few of them, if nobody knows the truth."""
    with GeoTiff(path) as tiff:
        rows, cols = tiff.info.grid.shape
        blocks = tiff.blocks(8, BLOCK_BYTES)
        if sum(block.cells for block in blocks) != rows * cols:
            raise Finding("blocks do not make up the image")
        for block in blocks if truth is not None else blocks[:BLOCKS_READ]:
            with tiff.buffer() as buffer:
                cells = tiff.read(block, buffer).copy()
            if cells.dtype != np.dtype("f4") or cells.shape != (*block.shape, tiff.info.bands):
                raise Finding(f"{block} is {cells.dtype} {cells.shape}")
            if truth is not None:
                expected = np.moveaxis(truth[:, *block.slices], 0, -1)
                if not np.array_equal(cells, expected):
                    raise Finding(f"{block} is not what was written")


def _entry_field(rng: random.Random, data: bytearray, tags: Tags) -> None:
    """Another code, type, count or value."""
    entry, other = rng.choice(tags.entries), rng.choice(tags.entries)
    field = rng.randrange(4)
    if field == 0:
        tags.put(data, entry.at, "H", rng.choice((other.code, entry.code + 1, number(rng, 300))))
    elif field == 1:
        tags.put(data, entry.at + 2, "H", rng.randrange(20))
    elif field == 2:
        tags.put(data, entry.at + 4, tags.wide, rng.choice((other.count, number(rng, entry.count))))
    else:
        place = rng.choice((other.values_at, number(rng, len(data)), number(rng, entry.values_at)))
        tags.put(data, tags.value_at(entry), tags.wide, place)


def _entry_value(rng: random.Random, data: bytearray, tags: Tags) -> None:
    """Another number among a tag's values: sizes, offsets, lengths, keys, coordinates."""
    entry = rng.choice(tags.entries)
    kind = TYPES.get(entry.kind, "B")[0]
    at = entry.values_at + entry.item * rng.randrange(min(entry.count, 64) or 1)
    value = rng.choice(DOUBLES) if kind in "fd" else number(rng, len(data))
    with contextlib.suppress(OverflowError):  # of 1e308 as float32
        tags.put(data, at, kind, value)


def _sizes(rng: random.Random, data: bytearray, tags: Tags) -> None:
    """Another size of the image, its segments or its samples."""
    sized = [entry for entry in tags.entries if entry.code in {256, 257, 258, 277, 278, 322, 323, 284, 339}]
    entry = rng.choice(sized)
    tags.put(data, entry.values_at, TYPES[entry.kind], number(rng, 16))


def _entry_order(rng: random.Random, data: bytearray, tags: Tags) -> None:
    """Tags in another order, or one of them twice, or fewer or more than there are."""
    one, other = rng.choice(tags.entries).at, rng.choice(tags.entries).at
    if rng.random() < 0.5:
        data[one : one + tags.size] = data[other : other + tags.size]
    else:
        tags.put(data, tags.ifd, tags.short, max(len(tags.entries) + rng.randrange(-6, 4), 0))


def _next_ifd(rng: random.Random, data: bytearray, tags: Tags) -> None:
    """A loop, or a directory where there is none."""
    place = rng.choice((tags.ifd, tags.ifd + 2, rng.choice(tags.entries).at, number(rng, len(data))))
    tags.put(data, tags.next_at, tags.wide, place)


def _segment(rng: random.Random, data: bytearray, tags: Tags) -> None:
    """A segment that is well-formed, and decodes to less or more than it should."""
    offsets, lengths = tags.find(324, 273), tags.find(325, 279)
    index = rng.randrange(offsets.count)
    size = rng.choice((0, 1, 100, 768, 3071, 3072, 3073, 12288, 100_000, 2_000_000))
    raw = bytes(size) if rng.random() < 0.7 else rng.randbytes(min(size, 12288))
    encoded = rng.choice((zlib.compress, imagecodecs.zstd_encode, imagecodecs.lzw_encode, bytes))(raw)
    tags.put(data, offsets.values_at + offsets.item * index, TYPES[offsets.kind], len(data))
    tags.put(data, lengths.values_at + lengths.item * index, TYPES[lengths.kind], len(encoded))
    data += encoded


TAG_DAMAGES = (*[_entry_field, _entry_value] * 2, _sizes, _entry_order, _next_ifd, _segment)


# Store


ROWS, COLS, BANDS = (300, 319), (280, 316), 5
"""A small store: 3 x 5 chunks, some of them empty, those at two edges not full."""

BOXES = ((-109.5, 10.5, -102.0, 14.5), (-106.0, 12.0, -105.0, 13.0))
POINTS = ((-109.0, -107.3, -105.2, -101.5), (14.0, 12.2, 11.1, 10.6))
"""Places in it."""


@dataclass(frozen=True)
class Answers:
    """What a store says of BOXES and POINTS."""

    shape: tuple[int, int, int]
    cells: tuple[np.ndarray, ...]
    pooled: tuple[np.ndarray, ...]
    samples: np.ndarray
    valid: np.ndarray


class StoreTarget:
    """Open a store, and ask it."""

    def __init__(self, scratch: Path) -> None:
        self._path = scratch / "a.zarr"
        values = factory.truth(ROWS, COLS, BANDS)
        source = factory.write_geotiff(self._path.with_name("a.tif"), values, rows=ROWS, cols=COLS)
        cop_zarr.ingest(source, self._path)
        self._objects = {
            path.relative_to(self._path).as_posix(): path.read_bytes()
            for path in self._path.rglob("*")
            if path.is_file()
        }
        self._document = json.loads(self._objects[layout.ROOT])
        read = [layout.ROOT, layout.VALID_CHUNK, layout.INTEGRITY_CHUNK]
        self._read = [*read, *(key for key in self._objects if key.startswith("embedding/c"))]
        self._truth = ask(self._path)
        window = cop_zarr.open(self._path).query(BOXES[0], output="grid").meta
        held = values[:, slice(*window["rows"]), slice(*window["cols"])]
        if not np.array_equal(self._truth.cells[0], held):
            raise Finding("the undamaged store is not what was written")

    def run(self, rng: random.Random) -> str:
        """Damage a store, or make a hostile one whose checksums are right, and ask it."""
        thorough = rng.random() < 0.1
        if rng.random() < 0.5:
            return self.check(self.damaged(rng), self._truth, thorough=thorough)
        return "sealed " + self.check(self.sealed(rng), thorough=thorough)

    def damaged(self, rng: random.Random) -> dict[str, bytes | None]:
        """Objects to replace, None to remove: no checksum goes with them."""
        changed: dict[str, bytes | None] = {}
        for _ in range(rng.choice((1, 1, 2, 3))):
            key = rng.choice(self._read if rng.random() < 0.9 else list(self._objects))
            pick = rng.random()
            if pick < 0.1:
                changed[key] = None
            elif pick < 0.2:
                changed[key] = self._objects[rng.choice(self._read)]
            else:
                data = bytearray(changed.get(key) or self._objects[key])
                damage(rng, data)
                changed[key] = bytes(data)
        return changed

    def sealed(self, rng: random.Random) -> dict[str, bytes | None]:
        """Objects to replace, with every checksum made right again: damage gets past it to the decoders."""
        changed: dict[str, bytes | None] = {}
        document = copy.deepcopy(self._document)
        if rng.random() < 0.6:
            for _ in range(rng.choice((1, 1, 2, 4))):
                key = rng.choice(self._read[1:])
                changed[key] = self._hostile_object(rng, key)
            if any(key.startswith("embedding/c") for key in changed):
                self._seal_table(rng, changed)
            records = document["attributes"]["cop_zarr"]["objects"]
            for key in (layout.VALID_CHUNK, layout.INTEGRITY_CHUNK):
                if data := changed.get(key):
                    records[key] = [len(data), google_crc32c.value(data)]
        if not changed or rng.random() < 0.2:
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                document = restructure(rng, document)
        changed[layout.ROOT] = seal(document)
        return changed

    def _hostile_object(self, rng: random.Random, key: str) -> bytes:
        """An object whose Blosc header still says the right sizes, most of the time."""
        data = bytearray(self._objects[key])
        for _ in range(rng.choice((1, 1, 2, 4))):
            damage(rng, data, [(0, 40)])
        if rng.random() < 0.8 and len(data) >= 16:
            data[4:8] = self._objects[key][4:8]
            data[12:16] = len(data).to_bytes(4, "little")
        return bytes(data)

    def _seal_table(self, rng: random.Random, changed: dict[str, bytes | None]) -> None:
        """Write lengths and checksums of chunks into the integrity table; now and then, other ones."""
        grid = self._document["consolidated_metadata"]["metadata"]["integrity/embedding"]["shape"]
        numbers = np.frombuffer(blosc.decompress(self._objects[layout.INTEGRITY_CHUNK]), "<u4")
        table = numbers.reshape(grid).copy()
        for key, data in changed.items():
            if data is not None and key.startswith("embedding/c"):
                row, col = map(int, key.split("/")[-2:])
                table[:, row, col] = len(data), google_crc32c.value(data)
        if rng.random() < 0.1:
            table.flat[rng.randrange(table.size)] = number(rng, 200) % 2**32
        changed[layout.INTEGRITY_CHUNK] = blosc.compress(table.tobytes(), b"lz4", 5, blosc.BITSHUFFLE, 0, 4)

    def check(
        self, changed: dict[str, bytes | None], truth: Answers | None = None, *, thorough: bool = False
    ) -> str:
        """Ask a store whose objects are replaced; only of a damaged one is the truth known."""
        for key, data in changed.items():
            path = self._path / key
            path.unlink()
            if data is not None:
                path.write_bytes(data)
        with bounded():
            if thorough:
                outcome(lambda: cop_zarr.verify(self._path, workers=1))
            found = outcome(lambda: hold(ask(self._path), truth))
        for key in changed:
            (self._path / key).write_bytes(self._objects[key])
        return found


def ask(path: Path) -> Answers:
    """Ask a store whatever it can be asked without knowing where it is."""
    store = cop_zarr.open(path, workers=1)
    info = store.info()
    json.dumps(info)
    repr(store)
    grids = [store.query(box, output="grid") for box in BOXES]
    pooled = [store.query(box, empty="skip").data for box in BOXES]
    samples = store.sample(*POINTS, method="bilinear")
    rows, cols = store.grid.shape
    return Answers(
        (store.bands, rows, cols), tuple(grid.data for grid in grids), tuple(pooled), samples, store.valid
    )


def hold(answers: Answers, truth: Answers | None) -> None:
    """See that answers are what they must be: of the right shape and type, and if known, the truth."""
    bands, rows, cols = answers.shape
    arrays = (*answers.cells, *answers.pooled, answers.samples)
    if any(array.dtype != np.dtype("f4") for array in arrays):
        raise Finding(f"an answer is {[array.dtype for array in arrays]}")
    shapes = [array.shape for array in (*answers.pooled, answers.samples, answers.valid)]
    if shapes != [(bands,)] * len(BOXES) + [(len(POINTS[0]), bands), (rows, cols)]:
        raise Finding(f"answers of {answers.shape} have shapes {shapes}")
    if any(grid.shape[0] != bands or grid.ndim != 3 for grid in answers.cells):
        raise Finding(f"grids of {answers.shape} have shapes {[grid.shape for grid in answers.cells]}")
    if truth is not None:
        pairs = zip(
            (*arrays, answers.valid), (*truth.cells, *truth.pooled, truth.samples, truth.valid), strict=True
        )
        if not all(np.array_equal(one, other, equal_nan=True) for one, other in pairs):
            raise Finding("a damaged store gave a wrong answer")


def seal(document: Any) -> bytes:
    """The bytes of a root document with the digest that it should have, if it can have one."""
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(20 * usual)
    try:
        with contextlib.suppress(KeyError, TypeError, AttributeError, ValueError):
            document["attributes"]["cop_zarr"]["sha256"] = digest(document)
        return json.dumps(document).encode()
    except RecursionError:
        return b"[" * 5000
    finally:
        sys.setrecursionlimit(usual)


def restructure(rng: random.Random, document: Any) -> Any:
    """Change one thing somewhere in a JSON document, near the parts that are read for preference."""
    roads = list(_roads(document))
    near = [road for road in roads if _is_read(road)]
    road = rng.choice(near if near and rng.random() < 0.8 else roads)
    if not road:
        return _absurd(rng, document)
    parent = document
    for step in road[:-1]:
        parent = parent[step]
    pick = rng.random()
    if pick < 0.1:
        del parent[road[-1]]
    elif pick < 0.15 and isinstance(parent, dict):
        parent[rng.choice(("../../etc/passwd", "/etc/passwd", "", "embedding/c/0/9/9", "\ud800"))] = [1, 1]
    elif pick < 0.2 and isinstance(parent, list):
        parent.append(rng.choice(parent) if parent else None)
    else:
        parent[road[-1]] = _absurd(rng, parent[road[-1]])
    return document


def _is_read(road: tuple[Any, ...]) -> bool:
    """Whether a place in the document is one that opening a store looks at."""
    return road[:2] in {
        ("attributes", "cop_zarr"),
        ("attributes", "spatial:transform"),
    } or road[:3] == ("consolidated_metadata", "metadata", "embedding")


def _roads(value: Any, road: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document, down to a depth beyond which nothing is read."""
    yield road
    pairs = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    if len(road) < 10:
        for step, inner in pairs:
            yield from _roads(inner, (*road, step))


ABSURD = (
    *(None, True, False, "", "a", "\ud800", "../../etc/passwd", [], {}, [[]], [{}], {"": 0}),
    *(1e308, -1e308, float("inf"), float("nan"), 0.5, -0.0, 10**400, -(10**400), 10**4200),
)


def _absurd(rng: random.Random, value: Any) -> Any:
    """Something else in place of a value."""
    pick = rng.randrange(7)
    if pick < 2:
        return rng.choice(ABSURD)
    if pick == 2:
        return nested(rng.choice((3, 100, 400, 600, 900)), rng.choice(("list", "dict")))
    if pick == 3:
        return [value] * rng.choice((1, 2, 3, 50))
    if pick == 4 and isinstance(value, (int, float)) and abs(value) < 1e300:
        return rng.choice((str(value), value - 1, value + 1, value + 0.25, value + 0.5, value + 1e-9))
    return number(rng, 10) * rng.choice((1, 1, 1, -1))


def nested(depth: int, kind: str) -> Any:
    """Lists in lists, or dicts in dicts."""
    value: Any = 0
    for _ in range(depth):
        value = [value] if kind == "list" else {"a": value}
    return value


# The runner


TARGETS: dict[str, Callable[[Path], TiffTarget | StoreTarget]] = {"tiff": TiffTarget, "store": StoreTarget}


def source_of(seed: int, count: int) -> random.Random:
    """All of an input's chance: the same for the same seed and number."""
    return random.Random(f"{seed}:{count}")


def work(
    *,
    name: str,
    seed: int,
    scratch: str,
    span: tuple[int, int],
    ends: float,
    current: Synchronized[int],
    pipe: Connection,
) -> None:
    """Try inputs until time or numbers run out, or one is a finding; send the outcomes."""
    faulthandler.enable()
    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)
    warnings.simplefilter("ignore")  # of NumPy, over nonsense
    outcomes: Counter[str] = Counter()
    try:
        target = TARGETS[name](Path(scratch))
        for count in range(*span):
            if time.time() > ends:
                break
            current.value = count
            outcomes[target.run(source_of(seed, count))] += 1
    except BaseException:  # noqa: BLE001  # whatever it is
        pipe.send((outcomes, traceback.format_exc(limit=-30)))
    else:
        pipe.send((outcomes, None))


def fuzz(name: str, *, seed: int, seconds: float, span: tuple[int, int]) -> int:
    """Fuzz in a process of its own, so that a crash is a finding too; returns the exit status."""
    context = multiprocessing.get_context("spawn")
    current, (receiver, sender) = context.Value("Q", 0), context.Pipe(duplex=False)
    started = time.time()
    with tempfile.TemporaryDirectory(dir=SCRATCH, prefix="fuzz-") as scratch:
        options = {"name": name, "seed": seed, "scratch": scratch, "span": span}
        options |= {"ends": started + seconds, "current": current, "pipe": sender}
        child = context.Process(target=work, kwargs=options)
        child.start()
        sender.close()
        last, since = -1, time.time()
        while not receiver.poll(1):
            if current.value != last:
                last, since = current.value, time.time()
            elif time.time() - since > HANGS_SECONDS:
                child.kill()
        try:
            outcomes, finding = receiver.recv()
        except EOFError:
            outcomes, finding = Counter({"unknown": current.value}), "it crashed, or hung and was killed"
        child.join()
        place = Path(f"fuzz-{name}-{seed}-{current.value}").absolute()
        if finding:
            shutil.copytree(scratch, place, dirs_exist_ok=True)
    took, done = time.time() - started, sum(outcomes.values())
    print(f"{name}: {done:,} inputs in {took:,.0f} s, {done / took:,.0f} per second, seed {seed}")  # noqa: T201
    print("\n".join(f"  {times:>10,} {word}" for word, times in outcomes.most_common()))  # noqa: T201
    if finding:
        print(f"{finding}\nexit code {child.exitcode}; input {current.value}, kept in {place}; again:")  # noqa: T201
        print(f"python -m tests.support.fuzz {name} --seed {seed} --only {current.value}")  # noqa: T201
    return 1 if finding else 0


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inputs", type=int, default=sys.maxsize, help="try so many at most")
    parser.add_argument("--only", type=int, help="try this input alone")
    options = parser.parse_args()
    span = (0, options.inputs) if options.only is None else (options.only, options.only + 1)
    return fuzz(options.target, seed=options.seed, seconds=options.seconds, span=span)


if __name__ == "__main__":
    sys.exit(main())
