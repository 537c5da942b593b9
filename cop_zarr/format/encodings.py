"""How the numbers of ``embedding`` are stored: float32 as they are, float16, or int8 with a scale a cell.

Everything above the chunk reader and the writer sees decoded float32.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cop_zarr.errors import DamageError, EncodingError, InputError

MAX_INT8 = 127
"""Largest magnitude of a number that is stored as int8: -128 is not used."""

_HALVES = np.arange(1 << 16, dtype="u2").view("f2").astype("f4")
"""Every float16 as float32, by its bits: to look one up takes half as long as NumPy's conversion."""


@dataclass(frozen=True)
class Encoding:
    """What cells, float32 ``(..., bands)``, are stored as."""

    name: str
    """That of the data type."""
    stored_ratio: float = field(compare=False)
    """Stored size of a chunk against its size in float32: the table in docs/store-format.md."""
    has_scale: bool = False
    """Whether each cell has a scale, its largest magnitude / 127, 0 where it has no data."""

    @property
    def dtype(self) -> np.dtype:
        """Type of the stored numbers."""
        return np.dtype(self.name).newbyteorder("<")

    @property
    def is_lossless(self) -> bool:
        """Whether every bit comes back."""
        return self.name == "float32"

    def scale_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Shape of the scales of so many rows and columns of cells: nothing, if there are none."""
        return shape if self.has_scale else (0, 0)

    def encode(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Encode cells: the numbers to store, in their shape, and the scale of each, ``(...)``.

        EncodingError if a number cannot be held, or if a cell would become one without data.
        """
        if self.is_lossless:
            return cells, np.zeros(cells.shape[:-1], "f4")
        if self.has_scale:
            stored, scale = _quantise(cells)
        else:
            with np.errstate(over="ignore"):
                stored, scale = cells.astype(self.dtype), np.zeros(cells.shape[:-1], "f4")
        self._check_held(cells, self.decode(stored, scale, np.empty_like(cells)))
        return stored, scale

    def decode(self, stored: np.ndarray, scale: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Decode cells into ``out``, float32."""
        if self.has_scale:
            with np.errstate(over="ignore"):
                np.multiply(stored, scale[..., None], out=out)
            return out
        if self.is_lossless:
            out[...] = stored
        else:
            np.take(_HALVES, stored.view("u2"), out=out, mode="clip")
        return out

    def round_trip(self, cells: np.ndarray) -> np.ndarray:
        """Cells as they come back; errors are those of :meth:`encode`."""
        return cells if self.is_lossless else self.decode(*self.encode(cells), np.empty_like(cells))

    def _check_held(self, cells: np.ndarray, decoded: np.ndarray) -> None:
        lost = np.isfinite(cells) & ~np.isfinite(decoded)
        lost |= ((cells != 0).any(axis=-1) & ~(decoded != 0).any(axis=-1))[..., None] & (cells != 0)
        if lost.any():
            raise _not_held(self.name, cells[lost][0])


def _quantise(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells as int8, ties rounded to even, and their scales."""
    finite = np.isfinite(cells)
    if not finite.all():
        raise _not_held("int8", cells[~finite][0])
    largest = np.abs(cells).max(axis=-1).astype("f8")
    divisor = np.where(largest > 0, largest, 1)[..., None]
    stored = np.rint(cells.astype("f8") * MAX_INT8 / divisor).astype("i1")
    return stored, (largest / MAX_INT8).astype("f4")


def _not_held(name: str, value: np.floating) -> EncodingError:
    return EncodingError(
        f"the encoding {name} cannot hold the number {value}; float32 keeps every number: use "
        "encoding='float32'"
    )


def check_scale(scale: np.ndarray) -> np.ndarray:
    """Return scales if they can be some; DamageError if one is negative or not finite."""
    wrong = ~np.isfinite(scale) | np.signbit(scale)
    if wrong.any():
        raise DamageError(f"it holds the scale {scale[wrong][0]}")
    return scale


FLOAT32 = Encoding("float32", 0.91)

ENCODINGS = {
    each.name: each for each in (FLOAT32, Encoding("float16", 0.46), Encoding("int8", 0.25, has_scale=True))
}


def find_encoding(name: str) -> Encoding:
    """The encoding of a name; InputError if there is none."""
    if not isinstance(name, str) or name not in ENCODINGS:
        raise InputError(f"encoding must be one of {', '.join(ENCODINGS)}; got {name!r}")
    return ENCODINGS[name]
