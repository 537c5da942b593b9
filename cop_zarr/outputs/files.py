"""Save an answer as ``.json``, ``.npy``, ``.npz`` or ``.csv``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cop_zarr.core.grid import Affine
from cop_zarr.errors import InputError, StoreExistsError
from cop_zarr.outputs.embedding import Embedding
from cop_zarr.storage import check_absent, replacing

PICTURES = (".png", ".svg", ".pdf")
"""Endings of pictures, which :mod:`cop_zarr.outputs.plotting` writes."""


def to_json(embedding: Embedding) -> str:
    """One JSON object with ``meta`` and ``data``; NaN and infinities become null."""
    data, finite = embedding.data.astype(float), np.isfinite(embedding.data)
    if not finite.all():
        data = data.astype(object)
        data[~finite] = None
    return json.dumps({"meta": embedding.meta, "data": data.tolist()}, allow_nan=False)


def check_target(path: Path, overwrite: bool = False, suffixes: Collection[str] | None = None) -> None:
    """Check suffix and absence of a file to write, before the work is done."""
    suffixes = _WRITERS if suffixes is None else suffixes
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{path} must end in one of {', '.join(suffixes)}")
    check_absent(path, overwrite=overwrite)
    if path.is_dir() and path.suffix.lower() != ".zarr":
        raise StoreExistsError(f"{path} is a folder; name another output")


def save(embedding: Embedding, path: Path, overwrite: bool = False) -> None:
    """Write an answer to a file, atomically.

    - ``.json``: as :func:`to_json`
    - ``.npy``: the data
    - ``.npz``: ``data``, ``valid``, ``weights``, ``latitude``, ``longitude`` and ``meta`` (JSON text)
    - ``.csv``: one row of columns ``e0`` … for a pooled vector; for a grid one row per cell, with
      ``latitude``, ``longitude``, ``valid`` (0 or 1) and ``weight`` before them

    Errors are those of :func:`check_target`.
    """
    check_target(path, overwrite)
    with replacing(path) as partial, partial.open("wb") as file:
        _WRITERS[path.suffix.lower()](embedding, file)


def _json(embedding: Embedding, file: BinaryIO) -> None:
    file.write(to_json(embedding).encode())


def _npy(embedding: Embedding, file: BinaryIO) -> None:
    np.save(file, np.ascontiguousarray(embedding.data), allow_pickle=False)


def _npz(embedding: Embedding, file: BinaryIO) -> None:
    latitude, longitude = _cell_centres(embedding)
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
    header = [f"e{band}" for band in range(embedding.data.shape[0])]
    rows: Iterable[list[Any]] = [embedding.data.tolist()]
    if embedding.data.ndim == 3:
        header = ["latitude", "longitude", "valid", "weight", *header]
        latitudes, longitudes = _cell_centres(embedding)
        rows = (
            [
                lat,
                lon,
                int(embedding.valid[row, col]),
                embedding.weights[row, col].item(),
                *embedding.data[:, row, col].tolist(),
            ]
            for row, lat in enumerate(latitudes.tolist())
            for col, lon in enumerate(longitudes.tolist())
        )
    text = io.TextIOWrapper(file, "utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    text.detach()


def _cell_centres(embedding: Embedding) -> tuple[np.ndarray, np.ndarray]:
    """Latitudes and longitudes of the window's cell centres."""
    rows, cols = embedding.valid.shape
    return Affine(*embedding.meta["transform"]).centres((rows, cols))


_WRITERS: dict[str, Callable[[Embedding, BinaryIO], None]] = {
    ".json": _json,
    ".npy": _npy,
    ".npz": _npz,
    ".csv": _csv,
}
