"""Which cells does an indexer of xarray ask for? Axes become positions, and positions chunks to read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cop_zarr.format.chunk_reader import ChunkReader

Index = int | slice | np.ndarray


class _Run(NamedTuple):
    """Positions along an axis that lie in one chunk: where there, and where among all positions."""

    chunk: int
    inside: np.ndarray
    target: slice


def read_outer(reader: ChunkReader, key: tuple[Index, ...]) -> np.ndarray:
    """Read what one index for each axis selects, each chunk under it once.

    Parameters
    ----------
    key : tuple
        Band, latitude, longitude: an int, a slice or an array of ints each, negative ones from the end.

    Returns
    -------
    ndarray
        float32, without the axes whose index is an int. Its memory order is pixel-interleaved.

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
    (row_set, row_places), (col_set, col_places) = _each_once(rows), _each_once(cols)
    out = _block(reader, bands, row_set, col_set)
    if row_places is not None:
        out = out[row_places]
    if col_places is not None:
        out = out[:, col_places]
    scalar = tuple(0 if isinstance(index, (int, np.integer)) else slice(None) for index in key)
    return np.moveaxis(out, -1, 0)[scalar]


def _block(reader: ChunkReader, bands: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Read where rising rows and rising columns cross: ``(rows, cols, bands)``."""
    out = np.zeros((rows.size, cols.size, bands.size), "f4")
    if not out.size:
        return out
    size, chosen = reader.layout.chunk_cells, _as_slice(bands)
    col_runs = list(_runs(cols, size))
    parts = [
        (row, col)
        for row in _runs(rows, size)
        for col in col_runs
        if reader.holds_data(row.chunk, col.chunk)
    ]

    def work(number: int, chunk: np.ndarray) -> None:
        row, col = parts[number]
        cells = chunk[_as_slice(col.inside)][:, _as_slice(row.inside)]
        out[row.target, col.target] = cells[..., chosen].transpose(1, 0, 2)

    for _ in reader.map_chunks([(row.chunk, col.chunk) for row, col in parts], work):
        pass
    return out


def read_points(reader: ChunkReader, key: tuple[slice | np.ndarray, ...]) -> np.ndarray:
    """Read what arrays select point by point, each chunk under a point once.

    Parameters
    ----------
    key : tuple
        Band, latitude, longitude: arrays of ints, all of one number of dimensions, which broadcast to one
        shape; or slices.

    Returns
    -------
    ndarray
        float32: the arrays' dimensions, then those of the slices in the order of their axes.

    Raises
    ------
    IndexError, ChunkError, StoreReplacedError, StorageError
        As :func:`read_outer`.
    """
    bands, rows, cols, shape = _points(key, reader.layout.shape)
    if not isinstance(bands, slice):
        return _values(reader, bands, rows, cols).reshape(shape)
    depth = len(range(*bands.indices(reader.layout.bands)))
    vectors = _values(reader, bands, rows, cols).reshape(*shape, depth)
    arrays = max(index.ndim for index in key if isinstance(index, np.ndarray))
    return np.moveaxis(vectors, -1, arrays)


def _values(
    reader: ChunkReader, bands: slice | np.ndarray, rows: np.ndarray, cols: np.ndarray
) -> np.ndarray:
    """Read points: ``(points, bands)`` if bands are a slice, one value a point if they are an array."""
    size, chunk_cols = reader.layout.chunk_cells, reader.layout.chunk_grid[1]
    depth = [len(range(*bands.indices(reader.layout.bands)))] if isinstance(bands, slice) else []
    out = np.zeros((rows.size, *depth), "f4")
    if not out.size:
        return out
    numbers = rows // size * chunk_cols + cols // size
    held = np.flatnonzero(reader.lengths.ravel()[numbers])
    order = held[np.argsort(numbers[held], kind="stable")]
    found, starts = np.unique(numbers[order], return_index=True)
    groups = np.split(order, starts[1:])

    def work(number: int, chunk: np.ndarray) -> None:
        members = groups[number]
        chosen = bands if isinstance(bands, slice) else bands[members]
        out[members] = chunk[cols[members] % size, rows[members] % size, chosen]

    for _ in reader.map_chunks([divmod(number, chunk_cols) for number in found.tolist()], work):
        pass
    return out


def _points(
    key: tuple[slice | np.ndarray, ...], shape: tuple[int, ...]
) -> tuple[slice | np.ndarray, np.ndarray, np.ndarray, tuple[int, ...]]:
    """Bands, rows and columns of each point, in one row; and the shape of what is asked for.

    Slices of rows and of columns are spelled out along dimensions of their own; one of bands stays, and
    is no dimension of the shape.
    """
    spelled = [axis for axis in (1, 2) if isinstance(key[axis], slice)]
    indices: list[np.ndarray] = []
    for axis, index in enumerate(key):
        positions = _positions(index, shape[axis])
        if isinstance(index, slice):
            ahead = spelled.index(axis) if axis in spelled else 0
            positions = positions.reshape(-1, *[1] * (len(spelled) - 1 - ahead))
        else:
            positions = positions.reshape(*index.shape, *[1] * len(spelled))
        indices.append(positions)
    bands = key[0]
    chosen = indices[1:] if isinstance(bands, slice) else indices
    every = np.broadcast_arrays(*chosen)
    *band, rows, cols = (positions.ravel() for positions in every)
    return band[0] if band else bands, rows, cols, every[0].shape


def _positions(index: Index, size: int) -> np.ndarray:
    """What an index selects along an axis, counted from 0: int64; of one dimension if it is no array."""
    return np.atleast_1d(np.arange(size)[index])


def _each_once(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions in rising order, each once; and where those given are among them, if they were not."""
    if (np.diff(positions) > 0).all():
        return positions, None
    return np.unique(positions, return_inverse=True)


def _runs(positions: np.ndarray, size: int) -> Iterator[_Run]:
    """Cut rising positions where chunks meet."""
    chunks, starts = np.unique(positions // size, return_index=True)
    for chunk, start, stop in zip(chunks.tolist(), starts, [*starts[1:], positions.size], strict=True):
        yield _Run(chunk, positions[start:stop] - chunk * size, slice(start, stop))


def _as_slice(positions: np.ndarray) -> slice | np.ndarray:
    """The slice that selects positions, if there is one: NumPy then need not copy what it selects."""
    step = int(positions[1] - positions[0]) if positions.size > 1 else 1
    if step < 1 or not (np.diff(positions) == step).all():
        return positions
    return slice(int(positions[0]), int(positions[-1]) + 1, step)
