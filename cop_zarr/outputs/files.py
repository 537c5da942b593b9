"""Write an answer to a file: ``.json``, ``.npy``, ``.npz`` or ``.csv``, by its name."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cop_zarr.core.grid import Affine
from cop_zarr.errors import InputError
from cop_zarr.outputs.embedding import Embedding
from cop_zarr.storage import check_absent, replacing


def to_json(embedding: Embedding) -> str:
    """One JSON object with ``meta`` and ``data``; a value that is no number becomes null."""
    data = embedding.data.astype(float)
    values: Any = data.tolist()
    if not np.isfinite(data).all():
        values = _nulls(values)
    return json.dumps({"meta": embedding.meta, "data": values}, allow_nan=False)


def check_target(path: Path, overwrite: bool = False) -> None:
    """Refuse a file whose kind is unknown, or that exists; to be asked before the work is done.

    Raises
    ------
    InputError
        If the name ends in none of the known ways.
    StoreExistsError
        If the file exists, and ``overwrite`` is not set.
    StorageError
        If that cannot be told.
    """
    if path.suffix.lower() not in _WRITERS:
        raise InputError(f"{path} must end in one of {', '.join(_WRITERS)}")
    check_absent(path, overwrite=overwrite)


def save(embedding: Embedding, path: Path, overwrite: bool = False) -> None:
    """Write an answer to a file; the file gets its name when it is whole.

    - ``.json``: as :func:`to_json`
    - ``.npy``: the data
    - ``.npz``: ``data``, ``valid``, ``weights``, ``latitude``, ``longitude`` and ``meta`` (JSON text)
    - ``.csv``: a row of columns ``e0`` … for a pooled vector; for a grid a row a cell, with ``latitude``,
      ``longitude``, ``valid`` (0 or 1) and ``weight`` before them

    Raises
    ------
    InputError, StoreExistsError
        As :func:`check_target`.
    StorageError
        If the file cannot be written.
    """
    check_target(path, overwrite)
    with replacing(path) as partial, partial.open("wb") as file:
        _WRITERS[path.suffix.lower()](embedding, file)


def _json(embedding: Embedding, file: BinaryIO) -> None:
    file.write(to_json(embedding).encode())


def _npy(embedding: Embedding, file: BinaryIO) -> None:
    np.save(file, np.ascontiguousarray(embedding.data), allow_pickle=False)


def _npz(embedding: Embedding, file: BinaryIO) -> None:
    latitude, longitude = _centres(embedding)
    np.savez(
        file,
        data=np.ascontiguousarray(embedding.data),
        valid=embedding.valid,
        weights=embedding.weights,
        latitude=latitude,
        longitude=longitude,
        meta=np.array(json.dumps(embedding.meta)),
    )


def _csv(embedding: Embedding, file: BinaryIO) -> None:
    columns = [f"e{band}" for band in range(embedding.data.shape[0])]
    if embedding.data.ndim == 1:
        _rows(file, columns, [embedding.data.tolist()])
        return
    latitudes, longitudes = _centres(embedding)
    _rows(
        file,
        ["latitude", "longitude", "valid", "weight", *columns],
        (
            [
                lat,
                lon,
                int(embedding.valid[row, col]),
                embedding.weights[row, col].item(),
                *embedding.data[:, row, col].tolist(),
            ]
            for row, lat in enumerate(latitudes.tolist())
            for col, lon in enumerate(longitudes.tolist())
        ),
    )


def _rows(file: BinaryIO, header: list[str], rows: Iterable[list[Any]]) -> None:
    text = io.TextIOWrapper(file, "utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    text.detach()


def _centres(embedding: Embedding) -> tuple[np.ndarray, np.ndarray]:
    """Latitudes and longitudes of the window's cell centres."""
    rows, cols = embedding.valid.shape
    return Affine(*embedding.meta["transform"]).centres((rows, cols))


def _nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [_nulls(item) for item in value]
    return value if math.isfinite(value) else None


_WRITERS: dict[str, Callable[[Embedding, BinaryIO], None]] = {
    ".json": _json,
    ".npy": _npy,
    ".npz": _npz,
    ".csv": _csv,
}
