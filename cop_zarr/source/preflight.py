"""Check a TIFF before tifffile and imagecodecs, which trust it, read it.

tifffile reads every tag, however long, and follows directories that form a cycle; imagecodecs follows
pointers that LZW data have not set. The fuzzer in ``tests/support/fuzz.py`` found these.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np
import tifffile

MAX_DIRECTORIES = 64
"""An image of the whole globe has ten overviews at most."""

MAX_TAGS = 4096
"""Tags of one directory, at most; GDAL writes some twenty."""

MAX_VALUES = 8 << 20
"""Numbers in all tags together, at most: two for each of the 16 x 16 tiles of 768 separate bands, and room.
tifffile makes Python objects of them, of 40 bytes each."""

SINGLE_VALUE_TAGS = frozenset({254, 256, 257, 259, 262, 266, 277, 278, 284, 317, 322, 323, 32997, 32998})
"""Tags that hold one number: sizes above all. tifffile makes a tuple of several, and multiplies it."""

CLEAR, END = 256, 257
"""LZW codes that are not of bytes or strings (TIFF 6.0, section 13)."""

_TABLE_SIZES = np.maximum(257 + np.arange(5120 - 256), 258)
"""Size of imagecodecs' table when it reads the nth code after a CLEAR."""

_CODE_BITS = 9 + (_TABLE_SIZES >= 511) + (_TABLE_SIZES >= 1023) + (_TABLE_SIZES >= 2047)
_CODE_STARTS = np.concatenate([[0], np.cumsum(_CODE_BITS)])
"""Width of the nth code after a CLEAR, and its first bit."""

FIRST_CODES = 32
"""Codes that are looked at first, as the next CLEAR may be near."""


def check_directories(file: BinaryIO) -> None:
    """Raise TiffFileError if tags would take much time or memory to read; the file is rewound."""
    start = file.read(8)
    order = {b"II": "<", b"MM": ">"}.get(start[:2], "")
    version = struct.unpack(f"{order}H", start[2:4])[0] if order else 0
    if version not in {42, 43}:
        raise tifffile.TiffFileError("it does not begin as a TIFF")
    offset, number, entry = ("Q", "Q", "HHQ8x") if version == 43 else ("I", "H", "HHI4x")

    def read(form: str, count: int = 1) -> list[tuple[int, ...]]:
        packed = struct.Struct(order + form)
        data = file.read(packed.size * count)
        if len(data) != packed.size * count:
            raise tifffile.TiffFileError("its directories are cut short")
        return list(packed.iter_unpack(data))

    values, seen = 0, set[int]()
    file.seek(8 if version == 43 else 4)
    while at := read(offset)[0][0]:
        if at in seen or len(seen) == MAX_DIRECTORIES:
            raise tifffile.TiffFileError(
                f"it has more than {MAX_DIRECTORIES} directories, or they form a cycle"
            )
        seen.add(at)
        file.seek(at)
        tags = read(number)[0][0]
        if tags > MAX_TAGS:
            raise tifffile.TiffFileError(f"a directory claims to have {tags:,} tags")
        for code, _, count in read(entry, tags):
            values += count
            if code in SINGLE_VALUE_TAGS and count != 1:
                raise tifffile.TiffFileError(f"its tag {code} has {count:,} values; one is expected")
        if values > MAX_VALUES:
            raise tifffile.TiffFileError(f"its tags claim to have {values:,} values")
    file.seek(0)


def check_lzw(data: bytes) -> None:
    """Raise ValueError for LZW data that imagecodecs (2026.3.6) would decode from unset memory.

    After a CLEAR code, its table is empty: a next code that is not of a single byte makes it follow a
    pointer that was never set. Data that do not begin with a CLEAR do the same.
    """
    if len(data) < 2 or data[0] != 0x80 or data[1] & 0x80:
        raise ValueError("LZW data do not begin with a CLEAR code")
    values = np.frombuffer(data + bytes(3), "u1")
    start, end, count = 9, 8 * len(data), FIRST_CODES
    while True:
        bits, widths = start + _CODE_STARTS[:count], _CODE_BITS[:count]
        fitting = int(np.searchsorted(bits + widths, end, "right"))
        bits, widths = bits[:fitting], widths[:fitting]
        byte = bits >> 3
        window = (values[byte].astype("u4") << 16) | (values[byte + 1].astype("u4") << 8) | values[byte + 2]
        codes = (window >> (24 - (bits & 7) - widths)) & ((1 << widths) - 1)
        if fitting and codes[0] > END:
            raise ValueError("an LZW code after a CLEAR is not of a single byte")
        special = np.flatnonzero((codes == CLEAR) | (codes == END))
        if special.size:
            if codes[special[0]] == END:
                return
            start, count = int(bits[special[0]] + widths[special[0]]), FIRST_CODES
        elif fitting < count or count == len(_CODE_BITS):
            return
        else:
            count = len(_CODE_BITS)
