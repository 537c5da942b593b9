"""Read the cells that an xarray indexer selects, each chunk once."""

from __future__ import annotations

import numpy as np

from cop_zarr.core.grouping import group_by
from cop_zarr.format.chunk_reader import ChunkReader

Index = int | slice | np.ndarray


def read_outer(reader: ChunkReader, key: tuple[Index, ...]) -> np.ndarray:
    """Read what one index per axis (band, latitude, longitude) selects; IndexError if one is out of range.

    float32, without the axes whose index is an int; pixel-interleaved in memory.
    """
    bands, rows, cols = (
        np.atleast_1d(np.arange(size)[index]) for index, size in zip(key, reader.layout.shape, strict=True)
    )
    if isinstance(key[0], np.ndarray):
        band_index: slice | np.ndarray = np.broadcast_to(bands, (rows.size * cols.size, bands.size))
    else:
        band_index = key[0] if isinstance(key[0], slice) else slice(bands[0], bands[0] + 1)
    vectors = _read_cells(reader, band_index, np.repeat(rows, cols.size), np.tile(cols, rows.size))
    out = vectors.reshape(rows.size, cols.size, bands.size)
    scalar = tuple(0 if isinstance(index, (int, np.integer)) else slice(None) for index in key)
    return np.moveaxis(out, -1, 0)[scalar]


def read_points(reader: ChunkReader, key: tuple[slice | np.ndarray, ...]) -> np.ndarray:
    """Read what arrays of ints, which broadcast to one shape, select point by point.

    float32: the arrays' dimensions, then those of the slices in the order of their axes.
    """
    sliced = sum(isinstance(index, slice) for index in key[1:])
    following = sliced  # dimensions of slices of rows and columns that come after this one
    positions = []
    for axis, index in enumerate(key):
        selected = np.arange(reader.layout.shape[axis])[index]
        if isinstance(index, np.ndarray):
            selected = selected.reshape(*index.shape, *[1] * sliced)
        elif axis:
            following -= 1
            selected = selected.reshape(-1, *[1] * following)
        positions.append(selected)
    if isinstance(key[0], np.ndarray):
        bands, rows, cols = np.broadcast_arrays(*positions)
        return _read_cells(reader, bands.reshape(-1, 1), rows.ravel(), cols.ravel()).reshape(rows.shape)
    rows, cols = np.broadcast_arrays(*positions[1:])
    vectors = _read_cells(reader, key[0], rows.ravel(), cols.ravel())
    return np.moveaxis(vectors.reshape(*rows.shape, positions[0].size), -1, rows.ndim - sliced)


def _read_cells(
    reader: ChunkReader, bands: slice | np.ndarray, rows: np.ndarray, cols: np.ndarray
) -> np.ndarray:
    """Read some bands of cells: ``(cells, bands)``; an array of that shape names them for each cell."""
    size, chunk_cols = reader.layout.chunk_cells, reader.layout.chunk_grid[1]
    depth = len(range(reader.layout.bands)[bands]) if isinstance(bands, slice) else bands.shape[1]
    out = np.zeros((rows.size, depth), "f4")
    if not out.size:
        return out
    numbers = rows // size * chunk_cols + cols // size
    held = np.flatnonzero(reader.lengths.ravel()[numbers])
    groups = group_by(numbers[held], held)

    def copy(number: int, chunk: np.ndarray) -> None:
        cells = groups[number][1]
        within = cols[cells] % size, rows[cells] % size
        if isinstance(bands, slice):
            out[cells] = chunk[*within, bands]
        else:
            out[cells] = chunk[within[0][:, None], within[1][:, None], bands[cells]]

    for _ in reader.map_chunks([divmod(number, chunk_cols) for number, _ in groups], copy):
        pass
    return out
