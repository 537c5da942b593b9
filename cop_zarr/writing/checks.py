"""Check the objects of a store against its records, its grid and its source."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cop_zarr.core.grid import Bounds, Window
from cop_zarr.core.threads import ordered_map
from cop_zarr.errors import ChunkError, DamageError, EncodingError
from cop_zarr.format.chunk_grid import ChunkIndex, ChunkPart, ObjectIndex
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.codec import decode
from cop_zarr.format.document import StoreDocument
from cop_zarr.format.encoded_chunks import Encoded
from cop_zarr.format.encodings import check_scale
from cop_zarr.format.layout import (
    BAND,
    LATITUDE,
    LONGITUDE,
    ROOT,
    ROOT_COPY,
    SCALE_CHUNK,
    SPATIAL_REF,
    VALID_CHUNK,
    is_leftover_key,
    is_store_key,
)
from cop_zarr.format.prescribed import unlike_documents
from cop_zarr.storage import LOCK, read_if_there
from cop_zarr.writing.components_checks import ComponentsChecks
from cop_zarr.writing.missing import clear_missing


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a store."""

    key: str
    """The object concerned, within the store."""
    message: str
    """What is wrong with it."""
    bbox: Bounds | None = None
    """Where a chunk of the embedding is on Earth, (west, south, east, north) in degrees; else None."""


def known_keys(document: StoreDocument, chunk_lengths: np.ndarray, more: set[str]) -> set[str]:
    """Every key that may be in a store's folder, the lock of a repair and some others included."""
    stored = np.argwhere(chunk_lengths).tolist()
    objects = {document.layout.key_of_chunk(row, col) for row, col in stored}
    return {ROOT, ROOT_COPY, LOCK, *document.layout.small_keys} | objects | more


class StoreChecks:
    """The checks of one open store. :meth:`small_objects` must come first."""

    def __init__(self, reader: ChunkReader, document: StoreDocument) -> None:
        self._reader, self._document = reader, document
        self._layout = reader.layout
        self.valid: np.ndarray | None = None  # the mask of cells with data, unless it is damaged

    def small_objects(self) -> list[Problem]:
        """Check every object but the chunks against its record, and its content against the grid."""
        problems = [*self._root_copy(), *self._wrong_records()]
        wrong = unlike_documents(self._document)
        if ROOT in wrong:
            problems.append(Problem(ROOT, wrong[ROOT]))
        for key in self._layout.small_keys & self._document.objects.keys():
            try:
                data = self._reader.read_checked(key)
                message = wrong.get(key) or self._wrong_content(key, data)
            except DamageError as damage:
                message = str(damage)
            if message:
                problems.append(Problem(key, message))
        return problems

    def _wrong_content(self, key: str, data: bytes) -> str | None:
        """What is wrong with a small object that is as recorded; DamageError if it does not decode."""
        grid = self._layout.grid
        if key == SCALE_CHUNK:
            check_scale(decode(data, np.empty(grid.shape, "<f4")))
        if key == VALID_CHUNK:
            self.valid = decode(data, np.empty(grid.shape, "?"))
            return "it holds bytes that are neither 0 nor 1" if self.valid.view("u1").max() > 1 else None
        expected = {
            f"{LATITUDE}/c/0": grid.latitudes,
            f"{LONGITUDE}/c/0": grid.longitudes,
            f"{BAND}/c/0": np.arange(self._layout.bands, dtype="<i4"),
            f"{SPATIAL_REF}/c": np.zeros((), "<i4"),
        }
        if key in expected:
            return _wrong_values(data, expected[key])
        return self._wrong_metadata(key, data) if key.endswith(f"/{ROOT}") else None

    def _wrong_records(self) -> Iterator[Problem]:
        """What ``zarr.json`` fails to record, or records although it must not."""
        expected = self._layout.small_keys
        for key in sorted(expected ^ self._document.objects.keys()):
            yield Problem(key, f"{ROOT} does not record it" if key in expected else f"{ROOT} records it")

    def _wrong_metadata(self, key: str, data: bytes) -> str | None:
        """An array's or group's own document must be equal to the root's copy of it: readers use either."""
        try:
            own = json.loads(data)
        except (ValueError, RecursionError):
            own = data  # equal to no document
        consolidated = self._document.consolidated.get(key.removesuffix(f"/{ROOT}"))
        if isinstance(own, dict) and isinstance(consolidated, dict):
            ignored = {"consolidated_metadata": None}
            own, consolidated = own | ignored, consolidated | ignored
        return None if own == consolidated else f"it is not what {ROOT} says of it"

    def _root_copy(self) -> list[Problem]:
        copy = read_if_there(self._reader.folder, ROOT_COPY)
        if copy is None:
            return [Problem(ROOT_COPY, "it is absent")]
        if copy != read_if_there(self._reader.folder, ROOT):
            return [Problem(ROOT_COPY, f"it is not equal to {ROOT}")]
        return []

    def components(self) -> ComponentsChecks:
        """Check the components that the store keeps; after :meth:`small_objects`."""
        return ComponentsChecks(self._reader, self._document, self.valid)

    def unknown_objects(self, components: ComponentsChecks) -> tuple[list[Problem], list[str]] | None:
        """Objects that nothing records. None if they cannot be listed.

        Those with names of a store's objects are problems: other readers would take them for data. The
        others are harmless, and returned as keys.
        """
        listing = self._reader.folder.listing()
        if listing is None:
            return None
        unknown = listing.keys() - known_keys(
            self._document, self._reader.lengths, components.known(listing)
        )
        leftover, stray = "it is left from an interrupted ingest or repair", "nothing records it"
        problems = [
            Problem(key, leftover if is_leftover_key(key) else stray)
            for key in filter(is_store_key, unknown)
        ]
        return problems, sorted(key for key in unknown if not is_store_key(key))

    def object_rows(self) -> Iterator[Window]:
        """The windows of the rows of objects."""
        size, (rows, cols) = self._layout.object_cells, self._layout.grid.shape
        for row in range(0, rows, size):
            yield Window(row, min(row + size, rows), 0, cols)

    def chunks(
        self, window: Window, source: np.ndarray | None, requests: int, nodata: float = math.nan
    ) -> tuple[list[Problem], int]:
        """Check the objects of a window whose edges are edges of objects, ``requests`` of them at once.

        Returns problems, and how many values were compared with ``source``: the window's cells in the
        source, float32, ``(rows, cols, bands)``, whose ``nodata`` is that of :func:`clear_missing`, which
        changes them in place.
        """

        def check(item: tuple[ObjectIndex, list[ChunkPart]]) -> tuple[list[Problem], int]:
            index, parts = item
            problems, encoded = self._shard(index, parts)
            compared = 0
            for part in parts:
                expected = None if source is None else source[part.target]
                if expected is not None and self._document.clears_missing:
                    clear_missing(expected, nodata)
                found, count = self._chunk(part, expected, encoded.get((part.row, part.col)))
                problems += found
                compared += count
            return problems, compared

        results = list(ordered_map(check, self._layout.objects(window), workers=requests))
        return [problem for problems, _ in results for problem in problems], sum(n for _, n in results)

    def _shard(
        self, index: ObjectIndex, parts: list[ChunkPart]
    ) -> tuple[list[Problem], dict[ChunkIndex, Encoded]]:
        """Read a shard and check what is no chunk in it; return its chunks, too. Nothing without shards."""
        chunks = [(part.row, part.col) for part in parts if self._reader.holds_data(part.row, part.col)]
        if self._layout.shard_cells is None or not chunks:
            return [], {}
        damage, encoded = self._reader.encoded.read_shard(index, chunks)
        if damage is None:
            return [], encoded
        return [Problem(self._layout.object_key(*index), str(damage))], encoded

    def _chunk(
        self, part: ChunkPart, expected: np.ndarray | None, encoded: Encoded | None
    ) -> tuple[list[Problem], int]:
        """Check a chunk against its record, against ``valid``, and against the source's cells."""
        window = self._layout.chunk_window(part.row, part.col)
        try:
            if self._reader.holds_data(part.row, part.col):
                chunk = self._reader.read(part.row, part.col, encoded=encoded)
            else:
                chunk = np.zeros(self._layout.stored_shape, "f4")
        except ChunkError as error:
            messages, compared = [str(error.__cause__)], 0
        else:
            height, width = window.shape
            cells = chunk[:width, :height].transpose(1, 0, 2)
            messages, compared = [*self._wrong_cells(chunk, cells, window)], 0
            if expected is not None:
                messages += self._differences(part, cells, expected, window)
                compared = cells.size
        key, bbox = self._layout.key_of_chunk(part.row, part.col), self._layout.grid.window_bounds(window)
        return [Problem(key, message, bbox) for message in messages], compared

    def _differences(
        self, part: ChunkPart, cells: np.ndarray, expected: np.ndarray, window: Window
    ) -> Iterator[str]:
        """What differs from the source's cells, encoded as the store's."""
        encoding = self._layout.encoding
        try:
            stored, scale = encoding.encode(expected)
        except EncodingError as error:
            yield f"the source has what the store cannot: {error}"
            return
        scales, (height, width) = self._reader.scales, window.shape
        if scales is not None and not np.array_equal(scales[part.row, part.col].T[:height, :width], scale):
            yield "a scale of its cells is not that of the source's"
        if not encoding.is_lossless:
            expected = encoding.decode(stored, scale, np.empty_like(expected))
        yield from _differences(cells, expected, window)

    def _wrong_cells(self, chunk: np.ndarray, cells: np.ndarray, window: Window) -> Iterator[str]:
        if self.valid is not None:
            wrong = int((np.any(cells != 0, axis=2) != self.valid[window.slices]).sum())
            if wrong:
                yield f"'valid' is wrong about {wrong} of its cells"
        height, width = window.shape
        bits = chunk.view("u4")
        if bits[width:].any() or bits[:, height:].any():
            yield "it holds values beyond the grid's edge"


def _wrong_values(data: bytes, expected: np.ndarray) -> str | None:
    found = decode(data, np.empty_like(expected))
    if np.array_equal(found, expected):
        return None
    return f"its values are not the grid's: {found.ravel()[:2]} … instead of {expected.ravel()[:2]} …"


def _differences(cells: np.ndarray, expected: np.ndarray, window: Window) -> Iterator[str]:
    wrong = cells.view("u4") != expected.view("u4")
    if wrong.any():
        row, col, band = np.argwhere(wrong)[0]
        yield (
            f"{int(wrong.sum()):,} of its values differ from the source's, the first at row "
            f"{window.row + row}, column {window.col + col}, band {band}: "
            f"{cells[row, col, band]!r} instead of {expected[row, col, band]!r}"
        )
