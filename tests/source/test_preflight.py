"""What a TIFF claims: nonsense is refused, and nothing that GDAL writes is."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from cop_zarr.source.geotiff import GeoTiff
from cop_zarr.source.preflight import (
    MAX_DIRECTORIES,
    MAX_TAGS,
    MAX_VALUES,
    SINGLE_VALUE_TAGS,
    check_directories,
    check_lzw,
)
from tests.support import factory

Entry = tuple[int, int, int]
"""Of a directory: tag, type, number of values."""

PLAIN: list[Entry] = [(256, 3, 1), (257, 3, 1), (258, 3, 16), (324, 16, 90)]
FORMS = [(order, big) for order in "<>" for big in (False, True)]


def tiff(
    *directories: list[Entry], order: str = "<", big: bool = False, circle: int | None = None
) -> bytes:
    """A TIFF without values; its last directory may lead back to one before."""
    place, number, entry = ("Q", "Q", "HHQ8x") if big else ("I", "H", "HHI4x")
    mark = b"II" if order == "<" else b"MM"
    start = mark + struct.pack(order + ("HHH" if big else "H"), *((43, 8, 0) if big else (42,)))
    at = len(start) + struct.calcsize(order + place)
    places, packed = [], []
    for tags in directories:
        places.append(at)
        body = struct.pack(order + number, len(tags))
        body += b"".join(struct.pack(order + entry, *tag) for tag in tags)
        packed.append(body)
        at += len(body) + struct.calcsize(order + place)
    following = [*places[1:], 0 if circle is None else places[circle]]
    parts = [start, struct.pack(order + place, places[0] if places else 0)]
    for body, next_place in zip(packed, following, strict=False):
        parts += [body, struct.pack(order + place, next_place)]
    return b"".join(parts)


def check(data: bytes) -> None:
    file = io.BytesIO(data)
    check_directories(file)
    assert file.tell() == 0


@pytest.mark.parametrize(("order", "big"), FORMS)
def test_what_is_no_nonsense_passes(order: str, big: bool) -> None:
    check(tiff(PLAIN, order=order, big=big))
    check(tiff(*[PLAIN] * MAX_DIRECTORIES, order=order, big=big))
    check(tiff([(40_000, 1, MAX_VALUES)], order=order, big=big))
    check(tiff([(40_000, 1, 1)] * MAX_TAGS, order=order, big=big))


@pytest.mark.parametrize(("order", "big"), FORMS)
@pytest.mark.parametrize(
    ("directories", "circle"),
    [
        ([PLAIN], 0),
        ([PLAIN] * 3, 1),
        ([PLAIN] * (MAX_DIRECTORIES + 1), None),
        ([[(40_000, 1, 1)] * (MAX_TAGS + 1)], None),
        ([[(40_000, 1, MAX_VALUES + 1)]], None),
        ([[(40_000, 1, MAX_VALUES)], [(40_000, 1, 1)]], None),
        ([PLAIN, [(257, 3, 2)]], None),
    ],
)
def test_nonsense_is_refused(
    order: str, big: bool, directories: list[list[Entry]], circle: int | None
) -> None:
    with pytest.raises(tifffile.TiffFileError):
        check(tiff(*directories, order=order, big=big, circle=circle))


@pytest.mark.parametrize("code", sorted(SINGLE_VALUE_TAGS))
@pytest.mark.parametrize("count", [0, 2, 4_000_000_000])
def test_sizes_are_single_numbers(code: int, count: int) -> None:
    with pytest.raises(tifffile.TiffFileError):
        check(tiff([(code, 3, count)]))


@pytest.mark.parametrize("data", [b"", b"II", b"XX*\0" * 4, b"II\x2c\0" * 4])
def test_what_does_not_begin_as_one(data: bytes) -> None:
    with pytest.raises((tifffile.TiffFileError, struct.error)):
        check(data)


def test_the_published_size_in_the_smallest_tiles_passes(tmp_path: Path) -> None:
    """768 separate bands of 721 x 1440 cells in tiles of 16 x 16: two numbers for each of 3.2 million."""
    tiles = 768 * 46 * 90
    check(tiff([*PLAIN[:2], (258, 3, 768), (324, 16, tiles), (325, 16, tiles)], big=True))


@pytest.mark.parametrize("kind", ["noise", "zeros", "steps"])
def test_every_lzw_that_gdal_writes_is_read(tmp_path: Path, kind: str) -> None:
    """Noise fills the table up after 3,837 codes, and a CLEAR follows; zeros make the longest strings."""
    shape = (4, 300, 300)
    values = {
        "noise": np.random.default_rng(0).integers(0, 2**32, shape, "u4").view("f4"),
        "zeros": np.zeros(shape, "f4"),
        "steps": np.broadcast_to(np.arange(300, dtype="f4"), shape),
    }[kind]
    path = factory.write_geotiff(tmp_path / "a.tif", values, compress="lzw")
    with GeoTiff(path) as tiff:
        for block in tiff.blocks(8, 1 << 30):
            window = np.s_[block.row : block.row_stop, block.col : block.col_stop]
            expected = np.moveaxis(values[:, *window], 0, -1)
            assert tiff.read(block).tobytes() == expected.tobytes()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 254, 255, 256, 257, 4000, 5120, 100_000])
def test_every_lzw_that_imagecodecs_writes_passes(size: int) -> None:
    rng = np.random.default_rng(size)
    for data in (bytes(size), rng.bytes(size), rng.integers(0, 2, size, "u1").tobytes()):
        encoded = imagecodecs.lzw_encode(data)
        check_lzw(encoded)
        assert imagecodecs.lzw_decode(encoded) == data


def lzw(*codes: int) -> bytes:
    """Codes of nine bits."""
    bits = "".join(f"{code:09b}" for code in codes)
    size = -(-len(bits) // 8)
    return int(bits.ljust(8 * size, "0"), 2).to_bytes(size, "big")


@pytest.mark.parametrize(
    "codes",
    [(256, 257), (256, 65, 257), (256, 256, 65, 257), (256, 65, 258, 256, 66, 257), (256, 65), (256,)],
)
def test_codes_that_decode_pass(codes: tuple[int, ...]) -> None:
    check_lzw(lzw(*codes))


@pytest.mark.parametrize(
    "data",
    [
        lzw(256, 258, 257),
        lzw(256, 511),
        lzw(256, 65, 256, 258, 257),
        lzw(256, 256, 300),
        lzw(65, 66, 257),
        lzw(257, 256),
        *(b"", b"\x80", b"\0\0\0", b"\x80\x80\0"),
    ],
)
def test_what_imagecodecs_would_decode_from_memory_that_it_has_not_set_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="CLEAR"):
        check_lzw(data)


def test_a_bad_code_far_behind_is_found() -> None:
    """After the table has been full, with codes of 12 bits, and a CLEAR among them."""
    noise = np.random.default_rng(0).bytes(50_000)
    encoded = imagecodecs.lzw_encode(noise)
    bits = "".join(f"{byte:08b}" for byte in encoded)
    at = first_clear_after(bits, 9)
    bad = bits[:at] + f"{300:09b}" + bits[at + 9 :]
    bad = int(bad, 2).to_bytes(len(bad) // 8, "big")
    check_lzw(encoded)
    with pytest.raises(ValueError, match="after a CLEAR"):
        check_lzw(bad)


def first_clear_after(bits: str, at: int) -> int:
    """Where the code begins that follows the next CLEAR, read one by one as TIFF 6.0 says."""
    table = 257
    while True:
        width = 9 if table < 511 else 10 if table < 1023 else 11 if table < 2047 else 12
        code = int(bits[at : at + width], 2)
        at += width
        if code == 256:
            return at
        table += 1
