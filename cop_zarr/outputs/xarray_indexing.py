"""Read the cells that an xarray indexer selects, each chunk once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cop_zarr.format.chunk_reader import ChunkReader

Index = int | slice | np.ndarray


class _ChunkRun(NamedTuple):
    """Consecutive positions along an axis that are in one chunk."""

    chunk: int
    inside: np.ndarray
    """Positions in the chunk."""
    target: slice
    """Their places among all positions."""


def read_outer(reader: ChunkReader, key: tuple[Index, ...]) -> np.ndarray:
    """Read what one index per axis (band, latitude, longitude) selects.

    Returns
    -------
    ndarray
        float32, without the axes whose index is an int; pixel-interleaved in memory.

    Raises
    ------
    IndexError
        If an index is out of range.
    ChunkError, StoreReplacedError, StorageError
        As :meth:`cop_zarr.format.chunk_reader.ChunkReader.read`.
    """
    bands, rows, cols = (
        _positions(index, size) for index, size in zip(key, reader.layout.shape, strict=True)
    )
    (unique_rows, row_inverse), (unique_cols, col_inverse) = _unique(rows), _unique(cols)
    out = _read_block(reader, bands, unique_rows, unique_cols)
    if row_inverse is not None:
        out = out[row_inverse]
    if col_inverse is not None:
        out = out[:, col_inverse]
    scalar = tuple(0 if isinstance(index, (int, np.integer)) else slice(None) for index in key)
    return np.moveaxis(out, -1, 0)[scalar]


def _read_block(reader: ChunkReader, bands: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Read the cells of all rows and columns, both increasing: ``(rows, cols, bands)``."""
    out = np.zeros((rows.size, cols.size, bands.size), "f4")
    if not out.size:
        return out
    size, band_index = reader.layout.chunk_cells, _as_slice(bands)
    col_runs = list(_chunk_runs(cols, size))
    runs = [
        (row, col)
        for row in _chunk_runs(rows, size)
        for col in col_runs
        if reader.holds_data(row.chunk, col.chunk)
    ]

    def copy(number: int, chunk: np.ndarray) -> None:
        row, col = runs[number]
        cells = chunk[_as_slice(col.inside)][:, _as_slice(row.inside)]
        out[row.target, col.target] = cells[..., band_index].transpose(1, 0, 2)

    for _ in reader.map_chunks([(row.chunk, col.chunk) for row, col in runs], copy):
        pass
    return out


def read_points(reader: ChunkReader, key: tuple[slice | np.ndarray, ...]) -> np.ndarray:
    """Read what arrays select point by point.

    Parameters
    ----------
    key : tuple
        For band, latitude and longitude an array of ints or a slice; arrays broadcast to one shape.

    Returns
    -------
    ndarray
        float32: the arrays' dimensions, then those of the slices in the order of their axes. Errors are
        those of :func:`read_outer`.
    """
    bands, rows, cols, shape = _broadcast(key, reader.layout.shape)
    if not isinstance(bands, slice):
        return _read_cells(reader, bands, rows, cols).reshape(shape)
    vectors = _read_cells(reader, bands, rows, cols)
    array_dims = max(index.ndim for index in key if isinstance(index, np.ndarray))
    return np.moveaxis(vectors.reshape(*shape, vectors.shape[-1]), -1, array_dims)


def _read_cells(
    reader: ChunkReader, bands: slice | np.ndarray, rows: np.ndarray, cols: np.ndarray
) -> np.ndarray:
    """Read cells: ``(cells, bands)`` if bands are a slice, or one value per cell if they are an array."""
    size, chunk_cols = reader.layout.chunk_cells, reader.layout.chunk_grid[1]
    depth = [len(range(*bands.indices(reader.layout.bands)))] if isinstance(bands, slice) else []
    out = np.zeros((rows.size, *depth), "f4")
    if not out.size:
        return out
    numbers = rows // size * chunk_cols + cols // size
    held = np.flatnonzero(reader.lengths.ravel()[numbers])
    order = held[np.argsort(numbers[held], kind="stable")]
    chunks, starts = np.unique(numbers[order], return_index=True)
    groups = np.split(order, starts[1:])

    def copy(number: int, chunk: np.ndarray) -> None:
        cells = groups[number]
        band_index = bands if isinstance(bands, slice) else bands[cells]
        out[cells] = chunk[cols[cells] % size, rows[cells] % size, band_index]

    for _ in reader.map_chunks([divmod(number, chunk_cols) for number in chunks.tolist()], copy):
        pass
    return out


def _broadcast(
    key: tuple[slice | np.ndarray, ...], shape: tuple[int, ...]
) -> tuple[slice | np.ndarray, np.ndarray, np.ndarray, tuple[int, ...]]:
    """Bands, rows and columns of each point as flat arrays, and the points' shape.

    Slices of rows and columns become dimensions of their own, after those of the arrays. A slice of bands
    stays a slice, and is no dimension of the shape.
    """
    sliced = [axis for axis in (1, 2) if isinstance(key[axis], slice)]
    indices: list[np.ndarray] = []
    for axis, index in enumerate(key):
        positions = _positions(index, shape[axis])
        if isinstance(index, slice):
            before = sliced.index(axis) if axis in sliced else 0
            positions = positions.reshape(-1, *[1] * (len(sliced) - 1 - before))
        else:
            positions = positions.reshape(*index.shape, *[1] * len(sliced))
        indices.append(positions)
    bands = key[0]
    arrays = np.broadcast_arrays(*(indices[1:] if isinstance(bands, slice) else indices))
    *band, rows, cols = (positions.ravel() for positions in arrays)
    return band[0] if band else bands, rows, cols, arrays[0].shape


def _positions(index: Index, size: int) -> np.ndarray:
    """The positions from 0 that an index selects along an axis: int64."""
    return np.atleast_1d(np.arange(size)[index])


def _unique(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions in increasing order, each once, and the inverse; None if they are so already."""
    if (np.diff(positions) > 0).all():
        return positions, None
    return np.unique(positions, return_inverse=True)


def _chunk_runs(positions: np.ndarray, size: int) -> Iterator[_ChunkRun]:
    """Split increasing positions at the chunk edges."""
    chunks, starts = np.unique(positions // size, return_index=True)
    for chunk, start, stop in zip(chunks.tolist(), starts, [*starts[1:], positions.size], strict=True):
        yield _ChunkRun(chunk, positions[start:stop] - chunk * size, slice(start, stop))


def _as_slice(positions: np.ndarray) -> slice | np.ndarray:
    """The slice that selects these positions, if there is one, so that NumPy need not copy."""
    step = int(positions[1] - positions[0]) if positions.size > 1 else 1
    if step < 1 or not (np.diff(positions) == step).all():
        return positions
    return slice(int(positions[0]), int(positions[-1]) + 1, step)
