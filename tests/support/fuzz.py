"""Hostile TIFFs and hostile stores, made from good ones: each gives an answer or is refused.

``python -m tests.support.fuzz tiff --seconds 60 --seed 1`` makes files, ``store`` and ``int8`` stores,
each from the seed and its number, and reads them. The first that raises anything but a CopZarrError, gives
a wrong answer, crashes, hangs or takes too much memory ends the run with an error; it and its number are
left in a folder ``fuzz-tiff-1``. ``--first 123 --inputs 1`` repeats one input.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import faulthandler
import io
import itertools
import json
import logging
import random
import re
import resource
import shutil
import signal
import struct
import sys
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import imagecodecs
import numpy as np
import tifffile
from numcodecs import blosc

import cop_zarr
from cop_zarr.format import layout
from cop_zarr.format.document import decode_root, digest
from cop_zarr.source.geotiff import GeoTiff
from tests.support import factory

SECONDS = 5.0
"""Processor time that one input may take."""

MEMORY_BYTES = 64 << 20
"""Memory that one input may take; all that is mutated here is small."""

HANGS_SECONDS = 120
"""After how long an input is taken to hang where no signal handler runs."""

NUMBERS = (
    *(0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 31, 32, 33, 64, 127, 128, 255, 256, 257, 720, 721, 1440),
    *(4095, 4096, 32767, 32768, 65534, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40),
    *(2**62, 2**63 - 1, 2**63, 2**64 - 1),
)
"""Whole numbers at which something may break."""

FLOATS = (0.25, -0.25, 0.0, -0.0, 1e-320, 1e308, -180.125, 90.125, *map(float, ("inf", "-inf", "nan")))


class Finding(AssertionError):  # noqa: N818  # what fuzzers call it
    """Something that must not happen has happened."""


class Overrun(BaseException):
    """An input takes too long; no ``except Exception`` may hold it up."""


# Bounds


@contextlib.contextmanager
def bounded(seconds: float = SECONDS, memory: int = MEMORY_BYTES) -> Iterator[None]:
    """Raise Finding if what is done here takes more processor time or memory than allowed; on Linux.

    Memory is the peak of the process, of whatever allocator. The address space is limited as well, so that
    memory that should not be taken does not bring a machine down. A hang is noticed after twenty times as
    long.
    """
    if sys.platform != "linux":
        yield
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_bytes(b"5")  # the peak starts anew
    before, (soft, hard) = _status("VmHWM"), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + memory + (512 << 20), hard))
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
    if (taken := _status("VmHWM") - before) > memory:
        raise Finding(f"it took {taken / 2**20:,.0f} MiB of memory")


def _overrun(*_: object) -> None:
    raise Overrun


def _status(name: str) -> int:
    """Bytes of one kind of memory that the process has."""
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    return 1024 * int(found[1]) if found else 0


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


# Damage


def damage(rng: random.Random, data: bytearray, spans: list[tuple[int, int]] | None = None) -> None:
    """Overwrite, insert or remove bytes somewhere; two times in three within one of the spans named."""
    if not data:
        data += rng.randbytes(rng.randrange(40))
        return
    low, high = rng.choice(spans) if spans and rng.random() < 0.66 else (0, len(data))
    at = rng.randrange(min(low, len(data) - 1), max(min(high, len(data)), 1))
    size, other = rng.choice((1, 2, 4, 8, 12, 20, 100)), rng.randrange(len(data))
    width = rng.choice((2, 4, 8))
    value = number(rng, len(data)) % 2 ** (8 * width)
    new = rng.choice((
        bytes([data[at] ^ 1 << rng.randrange(8)]),
        rng.randbytes(size),
        bytes([rng.choice((0, 255))]) * size,
        value.to_bytes(width, rng.choice(("little", "big"))),
        bytes(data[other : other + size]),
    ))  # fmt: skip
    length = len(data)
    replaced = rng.choice((len(new), len(new), len(new), size, 0))
    data[at : at + replaced] = new
    if replaced == len(new):
        del data[length:]
    if rng.random() < 0.1:
        del data[at:]
    elif rng.random() < 0.1:
        data += bytes(rng.randrange(1, 5000))


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


def small_tiffs(path: Path) -> list[bytes]:
    """Good files in many containers, written by GDAL."""
    codecs = [(None, None), *itertools.product(("deflate", "lzw", "zstd"), (1, 2, 3))]
    containers = itertools.product((True, False), ("pixel", "band"), codecs)
    files = []
    for index, (tiled, interleave, (codec, predictor)) in enumerate(containers):
        values = factory.truth((300, 320), (600, 641), 3 if index % 3 else 1)
        values[:, :16, :16] *= index % 5 != 4
        values = values.astype("f8" if index % 7 == 6 else "f4")
        factory.write_geotiff(
            path,
            values,
            rows=(300, 320),
            cols=(600, 641),
            tiled=tiled,
            blockxsize=16 if tiled else None,
            blockysize=16 if tiled else 3,
            interleave=interleave,
            compress=codec,
            predictor=predictor,
            endianness=("LITTLE", "BIG")[index % 2],
            bigtiff=("NO", "YES")[index // 2 % 2],
            sparse_ok=index % 5 == 4,
        )
        files.append(path.read_bytes())
    return files


class Directory:
    """Where a well-formed TIFF has its tags and their values."""

    def __init__(self, data: bytes) -> None:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            page = tiff.pages.first
            self.tags = list(page.tags)
            self.order, self.wide = tiff.byteorder, "Q" if tiff.is_bigtiff else "I"
            self.spans = [(0, 16), (page.offset, self.tags[-1].offset + 30)]
        self.spans += [(tag.valueoffset, tag.valueoffset + tag.valuebytecount) for tag in self.tags]

    def put(self, data: bytearray, at: int, kind: str, value: float) -> None:
        """Overwrite a number, as far as the file reaches."""
        if kind not in "fd":
            kind = kind.upper()
            value = int(value) % 2 ** (8 * struct.calcsize("=" + kind))
        with contextlib.suppress(OverflowError):  # of 1e308 as float32
            data[at : at + struct.calcsize("=" + kind)] = struct.pack(self.order + kind, value)

    def change_entry(self, rng: random.Random, data: bytearray) -> None:
        """Another code, type, count or place of the values."""
        tag, other = rng.choice(self.tags), rng.choice(self.tags)
        at, kind, values = rng.choice([
            (0, "H", (other.code, tag.code + 1, number(rng, 300))),
            (2, "H", (rng.randrange(20),)),
            (4, self.wide, (other.count, number(rng, tag.count))),
            (4 + struct.calcsize("=" + self.wide), self.wide, (other.valueoffset, number(rng, len(data)))),
        ])  # fmt: skip
        self.put(data, tag.offset + at, kind, rng.choice(values))

    def change_value(self, rng: random.Random, data: bytearray) -> None:
        """Another number among a tag's values: sizes, offsets, lengths, keys, coordinates."""
        tag = rng.choice(self.tags)
        kind = TYPES[int(tag.dtype)]
        at = tag.valueoffset + struct.calcsize("=" + kind) * rng.randrange(min(tag.count, 64))
        self.put(data, at, kind[0], rng.choice(FLOATS) if kind in "fd" else number(rng, len(data)))

    def change_segment(self, rng: random.Random, data: bytearray) -> None:
        """A segment that is well-formed, and decodes to less or more than it should."""
        places, lengths = (next(tag for tag in self.tags if tag.code in codes) for codes in SEGMENT_TAGS)
        index = rng.randrange(places.count)
        size = rng.choice((0, 1, 768, 3071, 3072, 3073, 12288, 2_000_000))
        raw = bytes(size) if rng.random() < 0.7 else rng.randbytes(min(size, 12288))
        encoded = rng.choice((zlib.compress, imagecodecs.zstd_encode, imagecodecs.lzw_encode, bytes))(raw)
        for tag, value in ((places, len(data)), (lengths, len(encoded))):
            kind = TYPES[int(tag.dtype)]
            self.put(data, tag.valueoffset + struct.calcsize("=" + kind) * index, kind, value)
        data += encoded


SEGMENT_TAGS = ((324, 273), (325, 279))
"""Offsets and lengths of the tiles or strips."""


class TiffTarget:
    """Open a GeoTIFF, cut it into blocks, and read them."""

    def __init__(self, scratch: Path) -> None:
        self._path = scratch / "a.tif"
        self._files = small_tiffs(self._path)
        self._directories = [Directory(data) for data in self._files]

    def run(self, rng: random.Random) -> str:
        """Damage a file, and read it."""
        index = rng.randrange(len(self._files))
        data, directory = bytearray(self._files[index]), self._directories[index]
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
            kind = rng.randrange(20)
            if kind < 8:
                damage(rng, data, directory.spans)
            else:
                change = directory.change_entry if kind < 13 else directory.change_value
                (directory.change_segment if kind > 17 else change)(rng, data)
        self._path.write_bytes(data)
        with bounded():
            return outcome(lambda: read_tiff(self._path))


def read_tiff(path: Path, truth: np.ndarray | None = None) -> None:
    """Read a file's blocks; a few of them, if nobody knows the truth."""
    with GeoTiff(path) as tiff:
        rows, cols = tiff.info.grid.shape
        blocks = tiff.blocks(8, 8 << 20)
        if sum(block.cells for block in blocks) != rows * cols:
            raise Finding("blocks do not make up the image")
        for block in blocks if truth is not None else blocks[:6]:
            with tiff.buffer() as buffer:
                cells = tiff.read(block, buffer).copy()
            if cells.dtype != np.dtype("f4") or cells.shape != (*block.shape, tiff.info.bands):
                raise Finding(f"{block} is {cells.dtype} {cells.shape}")
            if truth is not None:
                expected = np.moveaxis(truth[:, *block.slices], 0, -1)
                if not np.array_equal(cells, expected):
                    raise Finding(f"{block} is not what was written")


# Store


ROWS, COLS, BANDS = (300, 319), (280, 316), 5
"""A small store: 3 x 5 chunks, some of them empty, those at two edges not full."""

BOXES = ((-109.5, 10.5, -102.0, 14.5), (-106.0, 12.0, -105.0, 13.0))
POINTS = ((-109.0, -107.3, -105.2, -101.5), (14.0, 12.2, 11.1, 10.6))
"""Places in it."""

Objects = dict[str, bytes | None]
"""Objects to replace, by their keys; None removes one."""


class StoreTarget:
    """Open a store, and query it."""

    encoding = "float32"

    def __init__(self, scratch: Path) -> None:
        self._path = scratch / "a.zarr"
        values = factory.truth(ROWS, COLS, BANDS)
        source = factory.write_geotiff(self._path.with_name("a.tif"), values, rows=ROWS, cols=COLS)
        cop_zarr.ingest(source, self._path, encoding=self.encoding)
        files = [path for path in self._path.rglob("*") if path.is_file()]
        self._objects = {path.relative_to(self._path).as_posix(): path.read_bytes() for path in files}
        self._document = decode_root(self._objects[layout.ROOT])
        self._chunks = [key for key in self._objects if key.startswith("embedding/c")]
        self._read = [layout.ROOT, layout.VALID_CHUNK, layout.INTEGRITY_CHUNK, *self._chunks]
        self._read += self._objects.keys() & {layout.SCALE_CHUNK}
        self._truth = ask(self._path)
        window = cop_zarr.open(self._path).query(BOXES[0], output="grid").meta
        held = values[:, slice(*window["rows"]), slice(*window["cols"])]
        if self.encoding == "float32" and not np.array_equal(self._truth[0], held):
            raise Finding("the undamaged store is not what was written")

    def run(self, rng: random.Random) -> str:
        """Damage a store, or make a hostile one whose checksums are right, and ask it."""
        if rng.random() < 0.5:
            return self._check(self._damaged(rng), self._truth, verify=rng.random() < 0.1)
        return "sealed " + self._check(self._sealed(rng), verify=rng.random() < 0.1)

    def _damaged(self, rng: random.Random) -> Objects:
        """Damage, removal or exchange of objects: no checksum goes with them."""
        changed: Objects = {}
        for _ in range(rng.choice((1, 1, 2, 3))):
            key = rng.choice(self._read if rng.random() < 0.9 else list(self._objects))
            data = bytearray(self._objects[key])
            damage(rng, data)
            changed[key] = rng.choice((None, self._objects[rng.choice(self._read)], *[bytes(data)] * 8))
        return changed

    def _sealed(self, rng: random.Random) -> Objects:
        """Damage with every checksum made right again: it gets past them, to the decoders."""
        changed: Objects = {}
        document = copy.deepcopy(self._document)
        records = document["attributes"]["cop_zarr"]["objects"]
        if rng.random() < 0.6:
            for key in rng.sample(self._read[1:], rng.choice((1, 1, 2, 4))):
                changed[key] = self._hostile_object(rng, key)
            if not changed.keys().isdisjoint(self._chunks):
                changed[layout.INTEGRITY_CHUNK] = self._table_of(rng, changed)
            for key in changed.keys() & records.keys():
                data = changed[key] or b""
                records[key] = [len(data), google_crc32c.value(data)]
        if not changed or rng.random() < 0.2:
            replace_value(rng, document)
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

    def _table_of(self, rng: random.Random, changed: Objects) -> bytes:
        """The integrity table with the lengths and checksums of the chunks; now and then, other ones."""
        shape = self._document["consolidated_metadata"]["metadata"]["integrity/embedding"]["shape"]
        numbers = np.frombuffer(blosc.decompress(self._objects[layout.INTEGRITY_CHUNK]), "<u4")
        table = numbers.reshape(shape).copy()
        for key in changed.keys() & set(self._chunks):
            data = changed[key] or b""
            row, col = map(int, key.split("/")[-2:])
            table[:, row, col] = len(data), google_crc32c.value(data)
        if rng.random() < 0.1:
            table.flat[rng.randrange(table.size)] = number(rng, 200) % 2**32
        return blosc.compress(table.tobytes(), b"lz4", 5, blosc.BITSHUFFLE, 0, 4)

    def _check(self, changed: Objects, truth: list[np.ndarray] | None = None, *, verify: bool) -> str:
        """Query a store whose objects are replaced; only of a damaged one is the truth known."""
        for key, data in changed.items():
            (self._path / key).unlink()
            if data is not None:
                (self._path / key).write_bytes(data)

        def compare() -> None:
            pairs = zip(ask(self._path), truth or (), strict=bool(truth))
            if not all(np.array_equal(found, true, equal_nan=True) for found, true in pairs):
                raise Finding("a damaged store gave a wrong answer")

        with bounded():
            if verify:
                outcome(lambda: cop_zarr.verify(self._path, workers=1))
            found = outcome(compare)
        for key in changed:
            (self._path / key).write_bytes(self._objects[key])
        return found


def ask(path: Path) -> list[np.ndarray]:
    """Answers of a store, whose shapes and types are checked."""
    store = cop_zarr.open(path, workers=1)
    json.dumps(store.info())
    repr(store)
    grids = [store.query(box, output="grid").data for box in BOXES]
    vectors = [store.query(box, empty="skip").data for box in BOXES]
    answers = [*grids, *vectors, store.sample(*POINTS, method="bilinear")]
    shapes = [(store.bands, *grid.shape[1:3]) for grid in grids]
    shapes += [(store.bands,)] * len(BOXES) + [(len(POINTS[0]), store.bands)]
    if [(array.dtype, array.shape) for array in answers] != [(np.dtype("f4"), shape) for shape in shapes]:
        raise Finding(f"answers are {[(array.dtype, array.shape) for array in answers]}")
    if store.valid.shape != store.grid.shape:
        raise Finding(f"valid is {store.valid.shape}, the grid {store.grid.shape}")
    return [*answers, store.valid]


def seal(document: Any) -> bytes:
    """The bytes of a root document with the digest that it should have, if it can have one."""
    with contextlib.suppress(KeyError, TypeError, AttributeError, ValueError):
        document["attributes"]["cop_zarr"]["sha256"] = digest(document)
    return json.dumps(document).encode()


ABSURD = (
    *(None, True, False, "", "a", "\ud800", "../../etc/passwd", [], {}, [[]], [{}], {"": 0}, ["a"] * 50),
    *(1e308, -1e308, float("inf"), float("nan"), 0.5, -0.0, 10**400, -(10**400), 10**4200),
)


def replace_value(rng: random.Random, document: Any) -> None:
    """Replace or remove one value in a JSON document."""
    holder, key = rng.choice(list(_values(document)))
    if rng.random() < 0.1:
        del holder[key]
    else:
        holder[key] = rng.choice((rng.choice(ABSURD), number(rng, 10), -number(rng, 10), [holder[key]]))


def _values(holder: Any) -> Iterator[tuple[Any, Any]]:
    """Every value of a document, as what holds it and its key or index there."""
    pairs = holder.items() if isinstance(holder, dict) else enumerate(holder)
    for key, value in pairs:
        yield holder, key
        if isinstance(value, dict | list):
            yield from _values(value)


# The command


class Int8Target(StoreTarget):
    """The same, of integers with scales."""

    encoding = "int8"


TARGETS: dict[str, Callable[[Path], TiffTarget | StoreTarget]] = {
    "tiff": TiffTarget,
    "store": StoreTarget,
    "int8": Int8Target,
}


def main() -> None:
    """Try inputs until time or numbers run out, or one is a finding; print the outcomes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--inputs", type=int, default=sys.maxsize, help="how many inputs to try at most")
    options = parser.parse_args()
    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)
    warnings.simplefilter("ignore")  # of NumPy, over nonsense
    faulthandler.enable()
    scratch = Path(f"fuzz-{options.target}-{options.seed}").absolute()
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    target = TARGETS[options.target](scratch)
    outcomes, started = Counter[str](), time.monotonic()
    count = options.first
    while count < options.first + options.inputs and time.monotonic() < started + options.seconds:
        (scratch / "number").write_text(f"{count}")
        faulthandler.dump_traceback_later(HANGS_SECONDS, exit=True)
        outcomes[target.run(random.Random(f"{options.seed}:{count}"))] += 1
        count += 1
    faulthandler.cancel_dump_traceback_later()
    shutil.rmtree(scratch)
    print(f"{outcomes.total():,} inputs in {time.monotonic() - started:,.0f} s", dict(outcomes))  # noqa: T201


if __name__ == "__main__":
    main()
