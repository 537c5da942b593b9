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

import re
from typing import Any

from cop_zarr.storage import PARTIAL_SUFFIX, REPLACED, WORK

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

KEYS = re.compile(
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


def belongs(key: str) -> bool:
    """Whether an object of this name may lie in a store; whatever else does is somebody else's."""
    return KEYS.fullmatch(key) is not None or is_unfinished(key)


def is_unfinished(key: str) -> bool:
    """Whether a key is that of something that only an interrupted ingest or repair leaves."""
    if key.startswith(REPLACED):
        return belongs(key.removeprefix(REPLACED))
    half = _HALF.fullmatch(key)
    return bool(_JOURNAL.fullmatch(half[1] if half else key) or (half and KEYS.fullmatch(half[1])))
