"""The principal components that a store keeps: the group ``components/``, checked and read.

They are derived from the store's own values, and bound to its SHA-256. ``docs/store-format.md`` is the
specification::

    components/zarr.json                 group: what it is bound to, consolidated metadata, object table
    components/mean/c/0                  float64 (band)
    components/axes/c/0/0                float64 (component, band), orthonormal rows
    components/explained_variance/c/0    float64 (component); explained_variance_ratio the same
    components/scores/c/I/0/0            float32 (component, latitude, longitude), 8 components a chunk
    components/remainder/c/I/0/0         float32 (leading, latitude, longitude): left by the first 8, 16 …
    components/length/c/0/0              float32 (latitude, longitude): of the vector itself

The store's ``zarr.json`` says nothing of them: readers that don't know the group pass over it.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from typing import Any

import numpy as np

from cop_zarr.core.packages import upgrade
from cop_zarr.core.threads import ordered_map
from cop_zarr.errors import AccessError, ComponentsError, DamageError, FormatVersionError
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.codec import MAX_OVERHEAD, decode
from cop_zarr.format.document import ObjectRecord, decode_root, digest
from cop_zarr.format.layout import (
    ATTRIBUTE,
    COMPONENT_KEYS,
    COMPONENTS,
    DIGEST_ATTRIBUTE,
    OBJECT_ATTRIBUTE,
    ROOT,
)
from cop_zarr.storage import SMALL_BYTES

COMPONENTS_FORMAT = "cop-zarr-components"
COMPONENTS_VERSION = 1
COMPONENTS_ROOT = f"{COMPONENTS}/{ROOT}"

CHUNK_COMPONENTS = 8
"""Components in a chunk of scores, whose chunks hold the whole grid: who wants the first 32 reads four."""

MAX_READERS = 4
"""Chunks of scores read at once: one of the globe takes 33 MB when it is decoded."""


def leading_counts(count: int) -> list[int]:
    """The numbers of leading components for which a remainder is kept: each whole chunk, and all."""
    return [*range(CHUNK_COMPONENTS, count, CHUNK_COMPONENTS), count]


def map_key(name: str, number: int) -> str:
    """Key in the group of a chunk of scores, of remainders, or of lengths, which have one only."""
    return f"{name}/c/0/0" if name == "length" else f"{name}/c/{number}/0/0"


@dataclass(frozen=True)
class KeptComponents:
    """The components that an open store keeps; its objects are checked when they are read."""

    reader: ChunkReader

    count: int
    """Components kept."""

    cells: int
    """Cells that they were derived from: all with data whose values are all finite."""

    objects: dict[str, ObjectRecord]
    """Every object of the group apart from its ``zarr.json``."""

    document: dict[str, Any]
    """Its ``zarr.json``, decoded."""

    @property
    def mean(self) -> np.ndarray:
        """Mean vector of the cells: float64, ``(bands,)``."""
        return self._small("mean", (self.reader.layout.bands,))

    @property
    def axes(self) -> np.ndarray:
        """Unit vectors, largest variance first: float64, ``(count, bands)``."""
        return self._small("axes", (self.count, self.reader.layout.bands))

    @property
    def explained_variance(self) -> np.ndarray:
        """Variance along each axis: float64, ``(count,)``."""
        return self._small("explained_variance", (self.count,))

    @property
    def explained_variance_ratio(self) -> np.ndarray:
        """Share of all variance along each axis: float64, ``(count,)``."""
        return self._small("explained_variance_ratio", (self.count,))

    @property
    def rounding(self) -> float:
        """Bound of the rounding of scores and remainder, as a part of a cell's distance from the mean.

        For each of :func:`leading_counts`, the vector of these scores and the remainder, as kept, is no
        farther from the exact one than this times its length: 2⁻²⁴ for float32, and the error of float64
        sums, worst where hardly anything is left over.
        """
        sums = 2 * self.reader.layout.bands * (1 + 2 * math.sqrt(self.count))
        return 2.0**-23 + math.sqrt(sums * 2.0**-53)

    def scores(self, valid: np.ndarray, count: int | None = None) -> np.ndarray:
        """Scores along the first ``count`` axes of the cells of a mask: float32, ``(cells, count)``.

        ``valid`` is bool, of the whole grid; cells are in its order, row by row. NaN for cells that have a
        value that is not finite, or scores beyond float32. The array is in Fortran order.
        """
        count = self.count if count is None else count
        cells = np.flatnonzero(valid)
        out = np.empty((count, cells.size), "f4")

        def read(chunk: int) -> None:
            first = chunk * CHUNK_COMPONENTS
            target = out[first : first + CHUNK_COMPONENTS]
            values = self.read_chunk("scores", chunk)[: len(target)]
            values.reshape(len(target), -1).take(cells, axis=1, out=target)

        chunks = range(-(-count // CHUNK_COMPONENTS))
        for _ in ordered_map(read, chunks, workers=min(self.reader.workers, MAX_READERS)):
            pass
        return out.T

    def remainder(self, valid: np.ndarray, count: int | None = None) -> np.ndarray:
        """What the first ``count`` components leave of the cells of a mask: float32, ``(cells,)``.

        The distance of a cell's vector from the plane of these axes through the mean; ``count`` is one of
        :func:`leading_counts`. NaN as for :meth:`scores`.
        """
        number = leading_counts(self.count).index(self.count if count is None else count)
        remainder: np.ndarray = self.read_chunk("remainder", number)[0][valid]
        return remainder

    def length(self, valid: np.ndarray) -> np.ndarray:
        """Lengths of the vectors of a mask's cells: float32, ``(cells,)``; NaN as for :meth:`scores`."""
        length: np.ndarray = self.read_chunk("length", 0)[0][valid]
        return length

    def chunks(self) -> list[tuple[str, int]]:
        """Array and number of each chunk of maps."""
        numbers = range(len(leading_counts(self.count)))  # as many remainders as chunks of scores
        return [(name, number) for name in ("scores", "remainder") for number in numbers] + [("length", 0)]

    def read_chunk(self, name: str, number: int) -> np.ndarray:
        """Read a chunk of scores, the remainder of one number of components, or lengths: float32, 3-D."""
        depth = min(CHUNK_COMPONENTS, self.count) if name == "scores" else 1
        return self.read(map_key(name, number), (depth, *self.reader.layout.grid.shape), "<f4")

    def read_object(self, key: str) -> bytes:
        """Read an object of the group by its key in the store; ComponentsError if it is not as recorded."""
        layout = self.reader.layout
        limit = max(4 * CHUNK_COMPONENTS * layout.grid.whole.cells, 8 * self.count * layout.bands)
        try:
            return self.reader.objects.read(key, self.objects[key], limit + SMALL_BYTES)
        except (DamageError, KeyError) as error:
            raise damaged(self.reader, f"{key}: {error}") from error

    def read(self, key: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """Read an array's only chunk, or one of several, by its key in the group.

        ComponentsError if the object is absent or damaged.
        """
        key = f"{COMPONENTS}/{key}"
        record = self.objects.get(key)
        if record is None:
            raise damaged(self.reader, f"its {ROOT} does not record {key}")
        out = np.empty(shape, dtype)
        try:
            return decode(self.reader.objects.read(key, record, out.nbytes + MAX_OVERHEAD), out)
        except DamageError as damage:
            raise damaged(self.reader, f"{key}: {damage}") from damage

    def _small(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        return self.read(f"{name}/c/{'/'.join('0' * len(shape))}", shape, "<f8")


def read_kept(reader: ChunkReader) -> KeptComponents | None:
    """The components that a store keeps; None if it keeps none.

    ComponentsError if they are damaged, or of another store; FormatVersionError if a newer cop-zarr kept
    them.
    """
    try:
        data = reader.objects.read_unrecorded(COMPONENTS_ROOT)
    except FileNotFoundError:
        return None
    except AccessError:  # who may not list is denied what is not there
        if not reader.folder.remote:
            raise
        return None
    return parse_kept(reader, data)


def parse_kept(reader: ChunkReader, data: bytes) -> KeptComponents:
    """Parse and check the ``zarr.json`` of the group; errors are those of :func:`read_kept`."""
    try:
        document = decode_root(data)
        record = document["attributes"][ATTRIBUTE]
        name, version = record["format"], record["version"]
        bound, own = record["store_sha256"], record[DIGEST_ATTRIBUTE] == digest(document)
        count, cells = record["count"], record["cells"]
        objects = {key: ObjectRecord(*entry) for key, entry in record[OBJECT_ATTRIBUTE].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise damaged(reader, f"its {ROOT} cannot be read") from None
    if isinstance(version, int) and version > COMPONENTS_VERSION:
        raise FormatVersionError(
            f"{reader.folder.url}/{COMPONENTS} has version {version} of its format; this cop-zarr reads "
            f"up to version {COMPONENTS_VERSION}: {upgrade()}"
        )
    numbers = [version, count, cells, *(number for entry in objects.values() for number in entry)]
    plausible = (
        name == COMPONENTS_FORMAT
        and all(type(number) is int and number >= 0 for number in numbers)
        and 1 <= count <= reader.layout.bands
        and all(map(COMPONENT_KEYS.fullmatch, objects))
    )
    if not own or not plausible:
        raise damaged(reader, f"its {ROOT} does not match its own SHA-256, or is not valid")
    if bound != reader.sha256:
        if reader.is_replaced():
            raise reader.replaced_error()
        raise ComponentsError(
            f"the components in {reader.folder.url} are those of another store, with the SHA-256 {bound}. "
            f"{_remedy(reader)}"
        )
    return KeptComponents(reader, count, cells, objects, document)


def damaged(reader: ChunkReader, detail: str) -> ComponentsError:
    """The error to raise for components that are not as recorded."""
    return ComponentsError(
        f"the components kept in {reader.folder.url} are damaged: {detail}. {_remedy(reader)}"
    )


def _remedy(reader: ChunkReader) -> str:
    return (
        f"Derive them again with: cop-zarr components {shlex.quote(reader.folder.url)} --overwrite; in "
        "Python, store.components(recompute=True) does without them"
    )
