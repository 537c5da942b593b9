"""Principal components of cells: exact, from float64 sums, chunk by chunk.

Chunks are read twice: for the covariance, then for the scores. Memory holds a covariance matrix (4.7 MB for
768 bands), a batch of cells, and the scores. Sums are made in the order of the cells, whatever the number
of workers, so that the same cells give the same bits.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from cop_zarr.analysis.blas import product_workers, single_threaded_blas
from cop_zarr.core.arrays import as_array
from cop_zarr.core.progress import Progress, cell_counter
from cop_zarr.core.reducers import quiet
from cop_zarr.core.threads import ordered_map
from cop_zarr.errors import InputError, ResultTooLargeError
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.components import KeptComponents, leading_counts, read_kept
from cop_zarr.format.layout import COMPONENTS
from cop_zarr.querying.cells import CellSelection, map_cells

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

DEFAULT_COUNT = 64
"""Components derived unless more or fewer are asked for."""

BATCH_BYTES = 12 << 20
"""Cells multiplied at a time, as float64: 2,048 of 768 bands. The products of the globe took 4.3 s of one
processor so, 4.7 s with half of it, 4.2 s with twice as much. Those of float32 numbers take half of that
time, and are exact to 4e-7 only."""

MIN_BATCH_CELLS = 64

MAX_COVARIANCE_BYTES = 1 << 30
"""11,585 bands."""


@dataclass(frozen=True)
class PrincipalComponents:
    """The first principal components of some cells, each of which counts once."""

    mean: np.ndarray
    """float64, ``(bands,)``."""

    axes: np.ndarray
    """float64, ``(count, bands)``: orthonormal, largest variance first, the largest element positive."""

    explained_variance: np.ndarray
    """float64, ``(count,)``: variance along each axis, with n - 1 in its denominator."""

    explained_variance_ratio: np.ndarray
    """float64, ``(count,)``: its share of all variance."""

    cells: int
    """Cells that they were derived from: those whose values are all finite."""

    @quiet
    def transform(self, vectors: ArrayLike) -> np.ndarray:
        """Scores of vectors: float64, ``(…, count)``; NaN for a vector that is not finite."""
        given = as_array(vectors, "vectors")
        if given.dtype.kind not in "fiu" or given.shape[-1:] != self.mean.shape:
            raise InputError(
                f"vectors must be numbers, {self.mean.size} in the last dimension; got {given.dtype} of "
                f"the shape {given.shape}"
            )
        scores: np.ndarray = (given - self.mean) @ self.axes.T
        scores[~np.isfinite(given).all(axis=-1)] = np.nan
        return scores


@dataclass(frozen=True)
class ScoredCells:
    """Components, and the scores of a selection's cells along them."""

    components: PrincipalComponents

    scores: np.ndarray
    """float32, ``(cells, count)``, in the order of the cells; NaN for a cell that is not finite."""

    remainder: np.ndarray
    """float32, ``(cells,)``: distance of a cell from the plane of the axes through the mean."""

    kept: bool
    """Whether the store keeps them."""


def check_count(count: int | None, bands: int) -> None:
    """Raise InputError unless a number of components is None, or one that a store of ``bands`` can have."""
    if count is not None and (isinstance(count, bool) or not isinstance(count, int | np.integer)):
        raise InputError(f"count must be a whole number; got {count!r}")
    if count is not None and not 1 <= count <= bands:
        raise InputError(f"count must be 1 to {bands}, the number of bands; got {count}")


def check_any(found: PrincipalComponents, url: str) -> None:
    """Raise InputError if there was no cell to derive the components of the store at ``url`` from."""
    if not found.cells:
        raise InputError(f"{url} has no components, because no cell with data has only finite values")


def _first(kept: KeptComponents, valid: np.ndarray, count: int) -> ScoredCells:
    """The first ``count`` components that a store keeps, and the scores of its cells."""
    found = PrincipalComponents(
        kept.mean,
        kept.axes[:count],
        kept.explained_variance[:count],
        kept.explained_variance_ratio[:count],
        kept.cells,
    )
    leading = min(number for number in leading_counts(kept.count) if number >= count)
    scores, remainder = kept.scores(valid, leading), kept.remainder(valid, leading)
    if leading > count:
        beyond = scores[:, count:].astype("f8")
        remainder = np.sqrt(remainder.astype("f8") ** 2 + (beyond**2).sum(axis=1)).astype("f4")
    return ScoredCells(found, scores[:, :count], remainder, kept=True)


def find_components(
    reader: ChunkReader,
    valid: np.ndarray,
    count: int | None,
    *,
    recompute: bool = False,
    progress: Progress | None = None,
) -> ScoredCells:
    """The components that a store keeps; if there are none, or fewer, those of all its cells, derived.

    ``valid`` is the store's mask; ``count`` None is all that are kept, or :data:`DEFAULT_COUNT`. What is
    derived stays in the memory of the reader, if that has room. With ``recompute``, what is kept and what
    is in memory is not looked at.
    """
    bands = reader.layout.bands
    check_count(count, bands)
    kept = None if recompute else read_kept(reader)
    if kept is not None and kept.count >= (count or 1):
        return _first(kept, valid, kept.count if count is None else int(count))
    count = min(DEFAULT_COUNT, bands) if count is None else int(count)
    found: ScoredCells | None = None if recompute else reader.memory.get((COMPONENTS, count))
    if found is None:
        selection = CellSelection(reader.layout.grid, reader.layout.grid.whole, valid)
        found = derive(reader, selection, count, progress)
        _make_read_only(found)
        reader.memory.put((COMPONENTS, count), found, found.scores.nbytes + found.remainder.nbytes)
        if found.components.cells and not recompute:
            _say_how_to_keep(reader, count, found.components.cells, "" if kept is None else " --overwrite")
    return found


def _make_read_only(found: ScoredCells) -> None:
    """Have nobody change arrays that stay in memory for others."""
    components = found.components
    variances = components.explained_variance, components.explained_variance_ratio
    for values in (found.scores, found.remainder, components.mean, components.axes, *variances):
        values.flags.writeable = False


def _say_how_to_keep(reader: ChunkReader, count: int, cells: int, option: str) -> None:
    url, useful = reader.folder.url, max(count, min(DEFAULT_COUNT, reader.layout.bands))
    logger.warning(
        "%s does not keep %d components, so they were derived from %d cells; to keep them: cop-zarr "
        "components %s --count %d%s",
        *(url, count, cells, shlex.quote(url), useful, option),
    )


def derive(
    reader: ChunkReader, selection: CellSelection, count: int, progress: Progress | None = None
) -> ScoredCells:
    """Derive the components of a selection's cells, and their scores.

    ``progress`` is called with bytes done and bytes in all; each chunk is read twice.
    """
    advance = cell_counter(2 * selection.size, 4 * reader.layout.bands, progress)
    found = fit(reader, selection, count, advance)
    maps = project(reader, selection, found, advance)
    return ScoredCells(found, maps["scores"].T, maps["remainder"][-1], kept=False)


@quiet
def fit(
    reader: ChunkReader, selection: CellSelection, count: int, advance: Callable[[int], None]
) -> PrincipalComponents:
    """Derive the first ``count`` components of a selection's cells; those that are not finite are left out.

    ``advance`` is called with the number of cells done since the last call. Without a cell, all is 0.
    """
    bands, cells = reader.layout.bands, 0
    if 8 * bands**2 > MAX_COVARIANCE_BYTES:
        raise ResultTooLargeError(
            f"the covariance of {bands:,} bands takes {8 * bands**2:,} bytes; at most "
            f"{MAX_COVARIANCE_BYTES:,} are used"
        )
    shift: np.ndarray | None = None
    total, products = np.zeros(bands), np.zeros((bands, bands))

    def batches() -> Iterator[np.ndarray]:
        nonlocal shift
        for _, batch in _batches(reader, selection, advance):
            if shift is None:
                shift = batch.mean(axis=0)  # near the mean: differences of large squares lose nothing
            yield batch

    def sums(batch: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
        batch -= shift
        return len(batch), batch.sum(axis=0), batch.T @ batch

    for size, one, two in _map_batches(sums, batches(), reader.workers):
        cells, total, products = cells + size, total + one, products + two
    offset = total / max(cells, 1)
    covariance = (products - cells * np.outer(offset, offset)) / max(cells - 1, 1)
    with single_threaded_blas():
        variances, axes = _leading(covariance, count)
    whole = float(np.trace(covariance))
    ratios = variances / whole if whole > 0 else np.zeros(count)
    mean = offset if shift is None else shift + offset
    return PrincipalComponents(mean, axes, variances, ratios, cells)


def _leading(covariance: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues, ``(count,)``, and their unit vectors, ``(count, bands)``, signs fixed."""
    variances, vectors = np.linalg.eigh(covariance)
    axes = vectors.T[::-1][:count]
    peaks = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return np.maximum(variances[::-1][:count], 0.0), axes * np.where(peaks < 0, -1.0, 1.0)


@quiet
def project(
    reader: ChunkReader,
    selection: CellSelection,
    components: PrincipalComponents,
    advance: Callable[[int], None],
) -> dict[str, np.ndarray]:
    """What is kept of a selection's cells, as maps: float32, ``(maps, cells)``, by name.

    ``scores`` are one map a component, ``remainder`` one for each of :func:`leading_counts`, ``length``
    is one. All are NaN for cells that are not finite, or of which one is beyond float32.
    """
    last = np.array(leading_counts(len(components.axes))) - 1
    numbers_of = {"scores": len(components.axes), "remainder": last.size, "length": 1}
    maps = {name: np.full((number, selection.size), np.nan, "f4") for name, number in numbers_of.items()}

    def project_batch(given: tuple[np.ndarray, np.ndarray]) -> None:
        numbers, batch = given
        maps["length"][0, numbers] = np.sqrt(np.einsum("ij,ij->i", batch, batch))
        batch -= components.mean
        along = components.axes @ batch.T
        left = np.einsum("ij,ij->i", batch, batch) - np.cumsum(along**2, axis=0)[last]
        maps["scores"][:, numbers], maps["remainder"][:, numbers] = along, np.sqrt(np.maximum(left, 0.0))

    for _ in _map_batches(project_batch, _batches(reader, selection, advance), reader.workers):
        pass
    beyond = ~np.all([np.isfinite(values).all(axis=0) for values in maps.values()], axis=0)
    for values in maps.values():
        values[:, beyond] = np.nan
    return maps


def _map_batches(fn: Callable[[T], R], batches: Iterator[T], workers: int) -> Iterator[R]:
    """Apply a function to batches in a few threads, and yield the results in their order."""
    workers = product_workers(workers)
    with single_threaded_blas():
        yield from ordered_map(fn, batches, workers=workers, ahead=workers)


def _batches(
    reader: ChunkReader, selection: CellSelection, advance: Callable[[int], None]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The numbers of finite cells, and their vectors as float64, in batches of one size but the last.

    The batches are the same whatever the number of workers; the caller may change them.
    """
    bands = reader.layout.bands
    size = min(max(BATCH_BYTES // (8 * bands), MIN_BATCH_CELLS), selection.size)
    batch, batch_numbers, filled = np.empty((size, bands)), np.empty(size, "i8"), 0
    for read, numbers, cells in map_cells(reader, selection, _finite):
        advance(read)
        done = 0
        while done < len(cells):
            taken = min(size - filled, len(cells) - done)
            batch[filled : filled + taken] = cells[done : done + taken]
            batch_numbers[filled : filled + taken] = numbers[done : done + taken]
            filled, done = filled + taken, done + taken
            if filled == size:
                yield batch_numbers, batch
                batch, batch_numbers, filled = np.empty((size, bands)), np.empty(size, "i8"), 0
    if filled:
        yield batch_numbers[:filled], batch[:filled]


def _finite(numbers: np.ndarray, cells: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Number of cells, and the numbers and vectors of those whose values are all finite."""
    finite = np.isfinite(cells).all(axis=1)
    if finite.all():  # nearly always: a copy less
        return len(cells), numbers, cells
    return len(cells), numbers[finite], cells[finite]
