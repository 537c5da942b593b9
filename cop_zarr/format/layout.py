"""The tree of a store: names, chunk sizes, codecs, keys, and how to recognise one.

A store is one Zarr v3 group; ``docs/store-format.md`` is its specification::

    zarr.json                    group: conventions, provenance, consolidated metadata, object table
    embedding/c/0/I/J            float32 (band, latitude, longitude), chunks of 8 x 8 cells, every band
    valid/c/0/0                  bool    (latitude, longitude), False where all bands are 0
    latitude/c/0  longitude/c/0  float64 cell centres in degrees
    band/c/0                     int32   0 … bands - 1
    spatial_ref/c                int32   scalar that carries the CRS (CF grid mapping)
    integrity/embedding/c/0/0/0  uint32  (2, chunk rows, chunk cols): length and CRC-32C of each chunk
    integrity/root.json          a copy of zarr.json, to repair it from

A chunk of ``embedding`` without a single set bit is not written, and its length in the integrity table is
0. Any other absent chunk is damage. A store is trusted from the root down: ``zarr.json`` holds its own
SHA-256 and the length and CRC-32C of every small object, the integrity table those of every chunk.

This module knows what a store must look like and reads that from ``zarr.json``; it does no I/O and
imports no Zarr library, so that opening a store costs next to nothing. Documents are written by
:mod:`cop_zarr.format.metadata`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from cop_zarr.core.grid import Grid, Window, split_columns
from cop_zarr.core.product import MAX_BANDS
from cop_zarr.errors import CopZarrError, FormatVersionError, StoreError
from cop_zarr.storage import PARTIAL_SUFFIX, REPLACED, SMALL_BYTES, WORK

FORMAT = "cop-zarr"
FORMAT_VERSION = 1
ATTRIBUTE = "cop_zarr"
"""The root attribute that holds format, provenance and object table."""

ROOT = "zarr.json"
ROOT_COPY = "integrity/root.json"
EMBEDDING = "embedding"
VALID = "valid"
LATITUDE = "latitude"
LONGITUDE = "longitude"
BAND = "band"
SPATIAL_REF = "spatial_ref"
INTEGRITY = "integrity"
DIMENSIONS = (BAND, LATITUDE, LONGITUDE)
VALID_CHUNK = "valid/c/0/0"
INTEGRITY_CHUNK = "integrity/embedding/c/0/0/0"

CHUNK_CELLS = 8
"""Rows and columns of a chunk, chosen by benchmarks/chunking.py; docs/store-format.md has its table."""

TRANSPOSE_ORDER = (2, 1, 0)
"""Stored axes are (longitude, latitude, band): the only pixel-interleaved order that GDAL 3.12 and all
other readers agree on, because it is its own inverse (docs/store-format.md)."""

BLOSC: dict[str, Any] = {
    "cname": "lz4",
    "clevel": 5,
    "shuffle": "bitshuffle",
    "typesize": 4,
    "blocksize": 0,
}
"""Codec of ``embedding``, chosen by the same table."""

_KEYS = re.compile(
    r"((embedding|valid|latitude|longitude|band|spatial_ref|integrity|integrity/embedding)/)?zarr\.json"
    r"|embedding/c/0/\d+/\d+|valid/c/0/0|(latitude|longitude|band)/c/0|spatial_ref/c"
    r"|integrity/embedding/c/0/0/0|integrity/root\.json"
)
_JOURNAL = re.compile(rf"{WORK}(lock|job\.json|blocks/\d+-\d+\.json)")
"""What an ingest keeps for itself."""

_HALF = re.compile(rf"(.*)\.[0-9a-f]{{8}}\{PARTIAL_SUFFIX}", re.DOTALL)
"""An object that was being replaced when its process was killed."""

OBJECT_ATTRIBUTE = "objects"
DIGEST_ATTRIBUTE = "sha256"

_RECORD_TYPES = {"created": str, "cop_zarr_version": str, "source": dict}
_SOURCE_TYPES = {
    "url": str,
    "bytes": int,
    "sha256": str,
    "published": bool,
    "synthetic": bool,
    "container": str,
}
"""What readers take from the ``cop_zarr`` attribute and from its ``source``, and of which types."""


class ChunkPart(NamedTuple):
    """The part of one chunk that falls into a window.

    Attributes
    ----------
    row, col : int
        The chunk's place in the chunk grid.
    inside : tuple of slice
        Rows and columns within the chunk.
    target : tuple of slice
        Rows and columns within the window.
    """

    row: int
    col: int
    inside: tuple[slice, slice]
    target: tuple[slice, slice]

    @property
    def cells(self) -> int:
        """Number of cells in this part."""
        rows, cols = self.inside
        return int((rows.stop - rows.start) * (cols.stop - cols.start))

    def of(self, chunk: np.ndarray) -> np.ndarray:
        """The cells of a whole chunk that are this part: both ``(longitude, latitude, band)``."""
        rows, cols = self.inside
        return chunk[cols, rows]


@dataclass(frozen=True)
class Layout:
    """How an embedding array of ``bands`` on ``grid`` is cut into chunks."""

    grid: Grid
    bands: int
    chunk_cells: int = CHUNK_CELLS

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of ``embedding``: (band, latitude, longitude)."""
        return self.bands, *self.grid.shape

    @property
    def chunk_grid(self) -> tuple[int, int]:
        """Number of chunk rows and chunk columns."""
        rows, cols = self.grid.shape
        return -(-rows // self.chunk_cells), -(-cols // self.chunk_cells)

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """Shape of a decoded chunk as it is stored: (longitude, latitude, band)."""
        return self.chunk_cells, self.chunk_cells, self.bands

    @property
    def chunk_bytes(self) -> int:
        """Size of a decoded chunk."""
        return 4 * self.chunk_cells**2 * self.bands

    def chunk_key(self, row: int, col: int) -> str:
        """Key of a chunk object within the store."""
        return f"{EMBEDDING}/c/0/{row}/{col}"

    def chunk_range(self, window: Window) -> tuple[slice, slice]:
        """Rows and columns of the chunk grid that a window reaches into; the window does not wrap."""
        size = self.chunk_cells
        return (
            slice(window.row // size, -(-window.row_stop // size)),
            slice(window.col // size, -(-window.col_stop // size)),
        )

    def chunk_window(self, row: int, col: int) -> Window:
        """Cells of the grid that a chunk holds; fewer than a full chunk at the south and east edge."""
        size, (rows, cols) = self.chunk_cells, self.grid.shape
        return Window(row * size, min((row + 1) * size, rows), col * size, min((col + 1) * size, cols))

    def chunks(
        self, window: Window, where: np.ndarray | None = None
    ) -> list[tuple[tuple[int, int], list[ChunkPart]]]:
        """The chunks under a window, each once, by row and column, and their parts.

        A window all around the globe has two parts in the chunk that it begins and ends in.

        Parameters
        ----------
        where : ndarray, optional
            Of the chunk grid's shape: those that are 0 there are left out.
        """
        parts = self.parts(window)
        if where is not None:
            held = where.tolist() if len(parts) > 64 else where
            parts = [part for part in parts if held[part.row][part.col]]
        if window.col_stop <= self.grid.cols:
            return [((part.row, part.col), [part]) for part in parts]
        place = attrgetter("row", "col")
        return [(key, list(group)) for key, group in groupby(sorted(parts, key=place), place)]

    def parts_in(self, window: Window, place: tuple[int, int]) -> Iterator[ChunkPart]:
        """The parts of a window in one chunk: one, or two if it goes all around the globe."""
        (chunk_row, chunk_col), size = place, self.chunk_cells
        row, col = chunk_row * size, chunk_col * size
        top, bottom = max(window.row, row), min(window.row_stop, row + size)
        for first, stop, offset in split_columns(window, self.grid.cols):
            left, right, shift = max(first, col), min(stop, col + size), offset - first
            if left < right:
                inside = slice(top - row, bottom - row), slice(left - col, right - col)
                target = slice(top - window.row, bottom - window.row), slice(left + shift, right + shift)
                yield ChunkPart(chunk_row, chunk_col, inside, target)

    def under(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The chunks under many windows at once.

        Parameters
        ----------
        windows : ndarray
            int64, ``(n, 4)``: the numbers of a :class:`Window` each.

        Returns
        -------
        chunks, owners : ndarray
            int64: numbers of chunks, counted row by row, and which window each lies under. A window around
            the globe may meet a chunk twice.
        """
        size, cols, chunk_cols = self.chunk_cells, self.grid.cols, self.chunk_grid[1]
        wraps = np.flatnonzero(windows[:, 3] > cols)
        beyond = windows[wraps] * [1, 1, 0, 1] - [0, 0, 0, cols]
        pieces = np.concatenate([windows, beyond])
        owners = np.concatenate([np.arange(len(windows)), wraps])
        row, row_stop, col, col_stop = pieces.T
        col_stop = np.minimum(col_stop, cols)
        heights, widths = -(-row_stop // size) - row // size, -(-col_stop // size) - col // size
        counts = heights * widths
        piece = np.repeat(np.arange(len(pieces)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        down, across = np.divmod(within, widths[piece])
        return (row[piece] // size + down) * chunk_cols + col[piece] // size + across, owners[piece]

    def parts(self, window: Window) -> list[ChunkPart]:
        """Cut a window along the chunk edges, chunk row by chunk row; a wrapped one is followed around."""
        size = self.chunk_cells
        columns = [
            cut
            for first, stop, offset in split_columns(window, self.grid.cols)
            for cut in _cut(first, stop, offset, size)
        ]
        return [
            ChunkPart(chunk_row, chunk_col, (rows, cols), (target_rows, target_cols))
            for chunk_row, rows, target_rows in _cut(window.row, window.row_stop, 0, size)
            for chunk_col, cols, target_cols in columns
        ]


class ObjectRecord(NamedTuple):
    """What an object of the store must be: its length in bytes and its CRC-32C."""

    length: int
    crc32c: int


@dataclass(frozen=True)
class StoreDocument:
    """What ``zarr.json`` says of a store, checked.

    Attributes
    ----------
    layout : Layout
        Grid, bands and chunks.
    objects : dict of str to ObjectRecord
        Every object apart from ``zarr.json`` itself and the chunks of ``embedding``.
    record : dict
        The ``cop_zarr`` attribute: format, provenance, product.
    consolidated : dict
        The documents of the arrays and groups below, by name.
    sha256 : str
        Digest of the document without this digest: the identity of the store.
    """

    layout: Layout
    objects: dict[str, ObjectRecord]
    record: dict[str, Any]
    consolidated: dict[str, Any]
    sha256: str


def digest(document: dict[str, Any]) -> str:
    """SHA-256 (hex) of a root document's canonical JSON, leaving out the place where it is kept."""
    attributes = dict(document["attributes"])
    attributes[ATTRIBUTE] = {
        key: value for key, value in attributes[ATTRIBUTE].items() if key != DIGEST_ATTRIBUTE
    }
    canonical = json.dumps({**document, "attributes": attributes}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def belongs(key: str) -> bool:
    """Whether an object of this name may lie in a store; whatever else does is somebody else's."""
    return _KEYS.fullmatch(key) is not None or is_unfinished(key)


def is_unfinished(key: str) -> bool:
    """Whether a key is that of something that only an interrupted ingest or repair leaves."""
    if key.startswith(REPLACED):
        return belongs(key.removeprefix(REPLACED))
    half = _HALF.fullmatch(key)
    return bool(_JOURNAL.fullmatch(half[1] if half else key) or (half and _KEYS.fullmatch(half[1])))


def is_store(data: bytes) -> bool:
    """Whether bytes are the ``zarr.json`` of a cop-zarr store of any version, whole or not."""
    try:
        return bool(json.loads(data)["attributes"][ATTRIBUTE]["format"] == FORMAT)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def is_record(record: Any) -> bool:
    """Whether something is a ``cop_zarr`` attribute from which provenance can be taken."""
    try:
        _check_record(record)
    except (LookupError, TypeError):
        return False
    return True


def parse(data: bytes) -> StoreDocument:
    """Read a store's ``zarr.json``.

    Parameters
    ----------
    data : bytes
        The root document. It is not trusted.

    Returns
    -------
    StoreDocument

    Raises
    ------
    StoreError
        If it is not the document of a cop-zarr store, or not as it was written.
    FormatVersionError
        If a newer cop-zarr wrote it.
    """
    if not is_store(data):
        raise StoreError("its zarr.json is not that of a cop-zarr store")
    document = json.loads(data)
    record = document["attributes"][ATTRIBUTE]
    version = record.get("version")
    if not isinstance(version, int) or version < 1:
        raise StoreError(f"its zarr.json names no format version: {version!r}")
    if version > FORMAT_VERSION:
        raise FormatVersionError(
            f"it has {FORMAT} format version {version}, and this cop-zarr reads up to version "
            f"{FORMAT_VERSION}: pip install --upgrade cop-zarr"
        )
    sha256 = digest(document)
    if record.get(DIGEST_ATTRIBUTE) != sha256:
        raise StoreError("its zarr.json is damaged, or was edited: it does not match its own SHA-256")
    try:
        layout = _layout(document)
        objects = {key: _object_record(key, entry) for key, entry in record[OBJECT_ATTRIBUTE].items()}
        _check_record(record)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, CopZarrError) as error:
        raise StoreError(f"its zarr.json is not as the format says: {error!r}") from error
    consolidated = document["consolidated_metadata"]["metadata"]
    return StoreDocument(layout, objects, record, consolidated, sha256)


def _layout(document: dict[str, Any]) -> Layout:
    """Find grid and bands in a root document, and insist on this format's own chunks and codecs."""
    array = document["consolidated_metadata"]["metadata"][EMBEDDING]
    bands, rows, cols = _whole_numbers(array["shape"])
    transform = document["attributes"]["spatial:transform"]
    layout = Layout(Grid.from_corner(transform[2], transform[5], rows, cols), bands)
    chunk_shape = array["chunk_grid"]["configuration"]["chunk_shape"]
    codecs = {codec["name"]: codec.get("configuration", {}) for codec in array["codecs"]}
    expected = {
        "transpose": {"order": list(TRANSPOSE_ORDER)},
        "bytes": {"endian": "little"},
        "blosc": BLOSC,
    }
    if not 0 < bands <= MAX_BANDS:
        raise ValueError(f"{bands} bands")
    if array["data_type"] != "float32" or codecs != expected:
        raise ValueError(f"{array['data_type']} with codecs {list(codecs)}")
    if [codec["name"] for codec in array["codecs"]] != list(expected) or array["fill_value"] != 0:
        raise ValueError(f"codecs {list(codecs)} and fill value {array['fill_value']}")
    if array["chunk_key_encoding"] != {"name": "default", "configuration": {"separator": "/"}}:
        raise ValueError(f"chunk keys {array['chunk_key_encoding']}")
    if list(transform) != list(layout.grid.transform()):
        raise ValueError(f"transform {transform}")
    if chunk_shape != [bands, layout.chunk_cells, layout.chunk_cells]:
        raise ValueError(f"chunks of {chunk_shape}")
    return layout


def _object_record(key: str, entry: Any) -> ObjectRecord:
    length, crc32c = _whole_numbers(entry)
    if not _KEYS.fullmatch(key) or not 0 <= length <= SMALL_BYTES:
        raise ValueError(f"an object {key!r} of {length} bytes")
    return ObjectRecord(length, crc32c)


def _whole_numbers(values: Any) -> list[int]:
    """The numbers of a JSON list; 4.0 and true are none."""
    if not isinstance(values, list) or any(type(value) is not int for value in values):
        raise TypeError(f"{values!r} are no whole numbers")
    return values


def _check_record(record: dict[str, Any]) -> None:
    _check_types(record, _RECORD_TYPES)
    _check_types(record["source"], _SOURCE_TYPES)


def _check_types(record: dict[str, Any], types: Mapping[str, type]) -> None:
    for name, kind in types.items():
        if not isinstance(record[name], kind):
            raise TypeError(f"{name} is {record[name]!r}")


def _cut(start: int, stop: int, offset: int, size: int) -> Iterator[tuple[int, slice, slice]]:
    """Cut a run of cells at chunk edges: chunk index, slice in the chunk, slice from ``offset`` on."""
    shift = offset - start
    while start < stop:
        index, first = divmod(start, size)
        last = min(stop - start + first, size)
        yield index, slice(first, last), slice(start + shift, start + shift + last - first)
        start += last - first
