"""Is it a store of another layout, and which? Its metadata and coordinates, checked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from cop_zarr.core.grid import TOUCH_TOLERANCE, Grid
from cop_zarr.core.product import STEP_DEG
from cop_zarr.errors import AccessError, GridError, StoreError
from cop_zarr.foreign import arrays
from cop_zarr.foreign.arrays import ATTRIBUTES_V2, GROUP_V2, Claim
from cop_zarr.foreign.opened import open_all, read_all
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.document import StoreDocument, is_record
from cop_zarr.format.layout import (
    ATTRIBUTE,
    EMBEDDING,
    INTEGRITY,
    INTEGRITY_CHUNK,
    LATITUDE,
    LONGITUDE,
    ROOT,
    ROOT_COPY,
)
from cop_zarr.storage import Folder

UNKNOWN = "unknown"


@dataclass(frozen=True)
class ForeignDocument(StoreDocument):
    """What the metadata of a store of another layout say, checked.

    Attributes
    ----------
    version : {2, 3}
        Of the Zarr format.
    documents : dict of str to bytes
        The metadata themselves, by key.
    claims : dict of str to Claim
        What the arrays are.
    """

    version: int
    documents: dict[str, bytes]
    claims: dict[str, Claim]


def is_candidate(where: Folder, root: bytes | None) -> bool:
    """Whether a place may hold a store of another layout: a group that has an embedding, and is not ours.

    Ours, however damaged, is never taken for another: whatever has any object of its integrity group, or
    names that, is ours.

    Parameters
    ----------
    root : bytes or None
        Its ``zarr.json``, if there is one.
    """
    ours = any(_exists(where, key) for key in (ROOT_COPY, INTEGRITY_CHUNK, f"{INTEGRITY}/{ROOT}"))
    if ours or (root is not None and f'"{INTEGRITY}"'.encode() in root):
        return False
    if root is None:
        return _exists(where, GROUP_V2) and _exists(where, f"{EMBEDDING}/.zarray")
    try:
        is_group = arrays.mapping(root, ROOT).get("node_type") == "group"
    except StoreError:
        return False
    return is_group and _exists(where, f"{EMBEDDING}/{ROOT}")


def read_foreign(where: Folder, root: bytes | None) -> ForeignDocument:
    """Read the metadata and the coordinates of a store of another layout.

    Raises
    ------
    StoreError
        If it does not hold what a store holds.
    ChunkError, StorageError
        If its coordinates cannot be read.
    """
    version = 2 if root is None else 3
    found = {key: _read(where, key) for key in arrays.keys(version)}
    if version == 2:
        found |= {GROUP_V2: _read(where, GROUP_V2), ATTRIBUTES_V2: _read(where, ATTRIBUTES_V2)}
    documents = {key: data for key, data in found.items() if data is not None}
    claims = arrays.claims(documents, version)
    if root is not None:
        documents[ROOT] = root
        attributes = arrays.mapping(root, ROOT).get("attributes", {})
    else:
        attributes = arrays.mapping(documents.get(ATTRIBUTES_V2, b"{}"), ATTRIBUTES_V2)
    opened = open_all(where, version, documents, claims)
    lats, lons = (read_all(where, opened[name], name).astype("f8") for name in (LATITUDE, LONGITUDE))
    layout = Layout(_grid(lats, lons), claims[EMBEDDING].shape[0])
    record = _record(attributes if isinstance(attributes, dict) else {})
    return ForeignDocument(layout, {}, record, {}, _digest(documents), version, documents, claims)


def _grid(lats: np.ndarray, lons: np.ndarray) -> Grid:
    """The grid whose cell centres these are."""
    try:
        half = STEP_DEG / 2
        grid = Grid.from_corner(float(lons[0]) - half, float(lats[0]) + half, lats.size, lons.size)
    except GridError as error:
        raise StoreError(f"its {LATITUDE} and {LONGITUDE} are not the product's: {error}") from error
    off = np.abs(lats - grid.latitudes).max(), np.abs((lons - grid.longitudes + 180) % 360 - 180).max()
    if not max(off) <= TOUCH_TOLERANCE * STEP_DEG:  # NaN is not either
        raise StoreError(
            f"its {LATITUDE} and {LONGITUDE} are not the centres of the product's cells, from north to "
            f"south and from west to east in steps of {STEP_DEG}°; a grid is never guessed"
        )
    return grid


def _record(attributes: dict[str, Any]) -> dict[str, Any]:
    """Provenance as ours records it, where it was copied along; unknown otherwise."""
    record = attributes.get(ATTRIBUTE)
    if isinstance(record, dict) and is_record(record):
        return dict(record)
    made_up = "SYNTHETIC" in str(attributes.get("title"))
    source = {"url": UNKNOWN, "bytes": 0, "sha256": UNKNOWN, "published": False, "synthetic": made_up}
    return {
        "format": "zarr",
        "version": 0,
        "created": UNKNOWN,
        "cop_zarr_version": UNKNOWN,
        "source": {**source, "container": UNKNOWN},
    }


def _digest(documents: dict[str, bytes]) -> str:
    """SHA-256 (hex) of all metadata: as much of an identity as such a store has."""
    found = hashlib.sha256()
    for key in sorted(documents):
        found.update(f"{key}\0{len(documents[key])}\0".encode() + documents[key])
    return found.hexdigest()


def _exists(where: Folder, key: str) -> bool:
    """Whether an object is there; who may not list is denied those that are not."""
    try:
        where.read(key, 1)
    except (FileNotFoundError, AccessError):
        return False
    return True


def _read(where: Folder, key: str) -> bytes | None:
    try:
        return where.read(key)
    except (FileNotFoundError, AccessError):
        return None
