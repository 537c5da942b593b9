"""What do its chunks hold? Read in blocks that suit them, handed out in chunks of ours."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np

from cop_zarr.core.grid import Window
from cop_zarr.core.lru_cache import ENTRY_BYTES, LRUCache
from cop_zarr.errors import ChunkError, CopZarrError, StorageError, StoreError, StoreReplacedError
from cop_zarr.foreign import arrays
from cop_zarr.foreign.arrays import Claim
from cop_zarr.foreign.documents import ForeignDocument
from cop_zarr.foreign.opened import DECODING_ERRORS, open_all, read_all, read_part
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.chunk_reader import SHORT_PAUSES, ChunkReader, Place
from cop_zarr.format.layout import EMBEDDING, VALID
from cop_zarr.storage import Folder

T = TypeVar("T")

BLOCK_BYTES = 64 << 20
"""What a block may take, unless 8 x 8 cells take more: 144 x 144 cells of 768 bands."""

HELD_BYTES = 256 << 20
"""What blocks that are read at the same time may take, and so may chunks that wait for their turn."""


class ForeignReader(ChunkReader):
    """The chunks of a store of another layout, read by zarr-python in blocks; safe to use from threads.

    Parameters
    ----------
    folder, workers, memory
        As of :class:`ChunkReader`; memory keeps blocks.
    document : ForeignDocument
        What the metadata say.
    """

    def __init__(self, folder: Folder, document: ForeignDocument, workers: int, memory: LRUCache) -> None:
        self.folder = folder
        self.memory = memory
        self.layout: Layout = document.layout
        self._document = document
        self._claim = document.claims[EMBEDDING]
        self._block_cells = _block_cells(self.layout, self._claim)
        block_bytes = 4 * self.layout.bands * math.prod(self._block_cells)
        self._workers = max(1, min(workers, HELD_BYTES // block_bytes))
        self.lengths = np.ones(self.layout.chunk_grid, "<u4")  # any may hold data
        self._opened: dict[str, Any] | None = None
        self._mask: np.ndarray | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    @property
    def unit_cells(self) -> tuple[int, int]:
        """Rows and columns of a block."""
        return self._block_cells

    def holds_data(self, row: int, col: int) -> bool:  # noqa: ARG002  # the same for every chunk
        """That it may: only reading tells, because nothing vouches for ``valid`` but the values."""
        return True

    def valid(self) -> np.ndarray:
        """The mask of cells with data: bool, shape ``(rows, cols)``."""
        return self._marked().copy()

    def described(self) -> dict[str, Any]:
        """What ``info`` says of the chunks; None where the place cannot be listed."""
        listing = self.folder.listing()
        steps = zip(self._claim.shape, self._claim.stored, strict=True)
        sizes = None
        if listing is not None:
            known = arrays.keys(self._document.version)
            sizes = [
                n for key, n in listing.items() if key.startswith(f"{EMBEDDING}/") and key not in known
            ]
        return {
            "format": f"Zarr v{self._document.version}, another layout than cop-zarr's: its chunks have no "
            "checksums of ours",
            "chunk_cells": list(self._claim.unit[1:]),
            "chunks_stored": None if sizes is None else len(sizes),
            "chunks_total": math.prod(-(-length // step) for length, step in steps),
            "stored_bytes": None if sizes is None else sum(sizes),
        }

    def read(self, row: int, col: int, out: np.ndarray | None = None) -> np.ndarray | None:
        """Read one chunk of ours; as :meth:`ChunkReader.read`."""
        return self._cut(self._block(self._block_of((row, col))), (row, col), out)

    def each(
        self, places: Sequence[Place], work: Callable[[int, np.ndarray | None], T], *, lend: bool = True
    ) -> Iterator[T]:
        """Read chunks of ours; as :meth:`ChunkReader.each`.

        Those of a block are cut from it together, wherever they stand among the places, and what ``work``
        made of them waits for its turn. Chunks to keep are read in runs, so that no more of them wait than
        memory is meant for; a block may then be read once a run.
        """
        size = max(1, len(places) if lend else HELD_BYTES // self.layout.chunk_bytes)
        for first in range(0, len(places), size):
            yield from self._run(range(first, min(first + size, len(places))), places, work, lend=lend)

    def _run(
        self,
        numbers: range,
        places: Sequence[Place],
        work: Callable[[int, np.ndarray | None], T],
        *,
        lend: bool,
    ) -> Iterator[T]:
        """Have work done with chunks, block by block, and give its results in the chunks' order."""
        groups: dict[Place, list[int]] = {}
        for number in numbers:
            groups.setdefault(self._block_of(places[number]), []).append(number)

        def answer(place: Place, members: list[int]) -> dict[int, T]:
            block = self._block(place)
            out = np.empty(self.layout.stored_shape, "<f4") if lend else None
            return {number: work(number, self._cut(block, places[number], out)) for number in members}

        done: dict[int, T] = {}
        following = iter(numbers)
        expected = next(following)
        for found in self._spread([partial(answer, *group) for group in groups.items()]):
            done |= found
            while expected in done:
                yield done.pop(expected)
                expected = next(following, -1)

    def _spread(self, tasks: Sequence[Callable[[], dict[int, T]]]) -> Iterator[dict[int, T]]:
        """Do tasks, in threads if there are several."""
        if self._workers == 1 or len(tasks) == 1:
            yield from (task() for task in tasks)
            return
        yield from self._in_threads(lambda task: [task()], tasks)

    def _block_of(self, place: Place) -> Place:
        """The block that a chunk of ours lies in; none lies in two."""
        size = self.layout.chunk_cells
        return place[0] * size // self._block_cells[0], place[1] * size // self._block_cells[1]

    def _cut(self, block: np.ndarray, place: Place, out: np.ndarray | None) -> np.ndarray | None:
        """Cut a chunk of ours from its block; None if no bit of it is set, as ours would not be stored."""
        size, (rows, cols) = self.layout.chunk_cells, self._block_cells
        row, col = place[0] * size % rows, place[1] * size % cols
        cells = block[col : col + size, row : row + size]
        if not cells.view("u4").any():
            return None
        if out is None:
            out = np.empty(self.layout.stored_shape, "<f4")
        np.copyto(out, cells)
        return out

    def _block(self, place: Place) -> np.ndarray:
        """Read whole chunks of ours, from memory if they are there: ``(longitude, latitude, band)``."""
        key = ("block", *place)
        block: np.ndarray | None = self.memory.get(key)
        if block is not None:
            return block
        (height, width), (rows, cols) = self._block_cells, self.layout.grid.shape
        row, col = place[0] * height, place[1] * width
        window = Window(row, min(row + height, rows), col, min(col + width, cols))
        size = self.layout.chunk_cells
        high, wide = (-(-length // size) * size for length in window.shape)
        block = np.zeros((wide, high, self.layout.bands), "<f4")
        cells = block[: window.shape[1], : window.shape[0]]
        np.copyto(cells, self._values(window).transpose(2, 1, 0))
        self._refuse_disagreeing(cells, window)
        block.flags.writeable = False
        self.memory.put(key, block, block.nbytes + ENTRY_BYTES)
        return block

    def _values(self, window: Window) -> np.ndarray:
        """Read ``(band, rows, cols)`` by zarr-python; again, if a network may have cut it short."""
        pauses = SHORT_PAUSES if self.folder.remote else ()
        for pause in (*pauses, None):
            try:
                return read_part(self._arrays()[EMBEDDING], (slice(None), *window.slices)).astype(
                    "<f4", copy=False
                )
            except CopZarrError:
                raise
            except DECODING_ERRORS as error:
                if pause is None:
                    raise self._error(window, f"zarr-python cannot decode it: {error}") from error
                self._opened = None  # and with it, what is kept of shards
                time.sleep(pause)
        raise AssertionError  # the last pause is None

    def _marked(self) -> np.ndarray:
        """The mask of cells with data, read once."""
        if self._mask is not None:
            return self._mask
        url, values = self.folder.url, read_all(self.folder, self._arrays()[VALID], VALID)
        if values.dtype != bool and not np.isin(values, (0, 1)).all():
            raise StoreError(f"{url} cannot be read: its {VALID} holds other values than 0 and 1")
        if not values.any():
            raise ChunkError(
                f"{url}/{VALID} marks no cell at all: its chunks may be absent, which Zarr gives back as "
                "zeros; copy the store again"
            )
        mask = values.astype(bool)
        self._mask = mask
        return mask

    def _refuse_disagreeing(self, cells: np.ndarray, window: Window) -> None:
        """Hold cells, ``(longitude, latitude, band)``, against ``valid``."""
        marked = self._marked()[window.slices].T
        # "!= 0" and not any() alone, which warns of a signalling NaN
        held = np.any(cells != 0, axis=2)
        absent = marked & (np.isnan(cells).all(axis=2) if self._claim.nan else ~held)
        for wrong, what in (
            (absent, f"{VALID} marks cells without values; Zarr gives absent chunks back as fill values"),
            (marked != held, f"it has values in cells that {VALID} does not mark"),
        ):
            if wrong.any():
                col, row = (int(numbers[0]) for numbers in np.nonzero(wrong))
                row, col = window.row + row, window.col + col
                one = Window(row, row + 1, col, col + 1)
                raise self._error(one, f"{what} ({int(wrong.sum()):,} cells)")

    def _error(self, window: Window, message: str) -> StoreError:
        url = self.folder.url
        if self._is_changed():
            return StoreReplacedError(f"{url} was replaced since it was opened; open it again")
        lats, lons = self.layout.grid.window_latitudes(window), self.layout.grid.window_longitudes(window)
        return ChunkError(
            f"{url}/{EMBEDDING} (lat {lats[-1]:g} … {lats[0]:g}, lon {lons[0]:g} … {lons[-1]:g}) is damaged"
            f": {message}. Copy the store again, or make one with: cop-zarr ingest SOURCE"
        )

    def _is_changed(self) -> bool:
        """Whether other metadata lie at this place now."""
        try:
            found = {key: self.folder.read(key) for key in self._document.documents}
        except FileNotFoundError:
            return True
        except StorageError:
            return False
        return found != self._document.documents

    def _arrays(self) -> dict[str, Any]:
        """zarr-python's arrays; each process opens its own."""
        opened, document = self._opened, self._document  # another thread may forget them meanwhile
        if opened is None:
            opened = open_all(self.folder, document.version, document.documents, document.claims)
            self._opened = opened
        return opened


def _block_cells(layout: Layout, claim: Claim) -> Place:
    """Rows and columns of a block: whole chunks of ours and, if they fit, of the store's own."""
    size = layout.chunk_cells
    sides = [
        min(math.lcm(unit, size), -(-length // size) * size)
        for unit, length in zip(claim.unit[1:], layout.grid.shape, strict=True)
    ]
    while 4 * layout.bands * math.prod(sides) > BLOCK_BYTES and max(sides) > size:
        longer = sides.index(max(sides))
        sides[longer] = -(-sides[longer] // (2 * size)) * size
    return sides[0], sides[1]
