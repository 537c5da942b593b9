"""The layout of a store: names, keys, chunk size and codecs.

A store is one Zarr v3 group; ``docs/store-format.md`` is its specification::

    zarr.json                    group: conventions, provenance, consolidated metadata, object table
    embedding/c/0/I/J            float32 (band, latitude, longitude), chunks of 8 x 8 cells, every band;
                                 or shards of 64 x 64 cells, each with the chunks in it; or float16, int8
    scale/c/0/0                  float32 (latitude, longitude), with int8 only: by what to multiply a cell
    valid/c/0/0                  bool    (latitude, longitude), False where all bands are 0
    latitude/c/0  longitude/c/0  float64 cell centres in degrees
    band/c/0                     int32   0 … bands - 1
    spatial_ref/c                int32   scalar that carries the CRS (CF grid mapping)
    integrity/embedding/c/0/0/0  uint32  (2, chunk rows, chunk cols): length and CRC-32C of each chunk;
                                 with shards (3, …), the offset of the chunk in its shard, too
    integrity/root.json          a copy of zarr.json, to repair it from
    components/…                 principal components, derived and optional: cop_zarr.format.components

A chunk of ``embedding`` in which no bit is set is not written; its length in the integrity table is 0. Any
other absent chunk is damage. Checks go from the root down: ``zarr.json`` contains its own SHA-256 and the
length and CRC-32C of every small object, the integrity table those of every chunk.
"""

from __future__ import annotations

import re
from typing import Any

from cop_zarr.storage import PARTIAL_SUFFIX, WORK

FORMAT = "cop-zarr"
FORMAT_VERSION = 2
"""The newest version that is read. A store has the first that knows its layout: 1, or 2 with shards or with
another encoding than float32."""

ATTRIBUTE = "cop_zarr"
"""The root attribute that holds format, provenance and object table."""

ROOT = "zarr.json"
ROOT_COPY = "integrity/root.json"
EMBEDDING = "embedding"
VALID = "valid"
SCALE = "scale"
LATITUDE = "latitude"
LONGITUDE = "longitude"
BAND = "band"
SPATIAL_REF = "spatial_ref"
INTEGRITY = "integrity"
DIMENSIONS = (BAND, LATITUDE, LONGITUDE)
VALID_CHUNK = "valid/c/0/0"
SCALE_CHUNK = "scale/c/0/0"
INTEGRITY_CHUNK = "integrity/embedding/c/0/0/0"
COMPONENTS = "components"

CHUNK_CELLS = 8
"""Rows and columns of a chunk, chosen by measurement (docs/store-format.md)."""

SHARD_CELLS = 64
"""Rows and columns of a shard (docs/store-format.md)."""

TRANSPOSE_ORDER = (2, 1, 0)
"""Stored axes are (longitude, latitude, band): the only pixel-interleaved order that all readers, GDAL 3.12
included, decode alike, because it is its own inverse (docs/store-format.md)."""

BLOSC: dict[str, Any] = {
    "cname": "lz4",
    "clevel": 5,
    "shuffle": "bitshuffle",
    "typesize": 4,
    "blocksize": 0,
}
"""Codec of float32, chosen by measurement (docs/store-format.md); others have another ``typesize``."""


def blosc_config(itemsize: int) -> dict[str, Any]:
    """Codec of numbers of so many bytes."""
    return {**BLOSC, "typesize": itemsize}


KEYS = re.compile(
    r"((embedding|valid|scale|latitude|longitude|band|spatial_ref|integrity|integrity/embedding)/)?zarr\.json"
    r"|embedding/c/0/\d+/\d+|(valid|scale)/c/0/0|(latitude|longitude|band)/c/0|spatial_ref/c"
    r"|integrity/embedding/c/0/0/0|integrity/root\.json"
)
SMALL_KEYS = frozenset(
    {
        *(f"{name}/{ROOT}" for name in (EMBEDDING, VALID, *DIMENSIONS, SPATIAL_REF, INTEGRITY)),
        *(f"{INTEGRITY}/{EMBEDDING}/{ROOT}", INTEGRITY_CHUNK, VALID_CHUNK, f"{SPATIAL_REF}/c"),
        *(f"{name}/c/0" for name in DIMENSIONS),
    }
)
"""The keys that ``zarr.json`` records: all but its own, its copy's and the chunks' of ``embedding``."""

SCALE_KEYS = frozenset({f"{SCALE}/{ROOT}", SCALE_CHUNK})
"""The keys that it records, too, if cells have a scale."""

COMPONENT_KEYS = re.compile(
    rf"{COMPONENTS}/((mean|axes|explained_variance|explained_variance_ratio|scores|remainder|length|component"
    r"|leading|latitude|longitude|band|spatial_ref)/)?(zarr\.json|c(/\d+)*)"
)
"""The keys that the group of components may have, which ``zarr.json`` does not record."""

_JOURNAL = re.compile(rf"{WORK}(lock|job\.json|blocks/\d+-\d+\.json)")
"""The journal of an ingest."""

_PARTIAL = re.compile(rf"(.*)\.[0-9a-f]{{8}}\{PARTIAL_SUFFIX}", re.DOTALL)
"""A temporary object, left where a process was killed while it replaced one."""

_STRAY = re.compile(
    r"(.*/)?(\.DS_Store|\._[^/]*|\.nfs[^/]*|\.fuse_hidden[^/]*|Thumbs\.db|desktop\.ini)"
    r"|(README|LICEN[CS]E|CITATION)(\.\w+)?|\.gitattributes|\.gitignore|\.(cache|huggingface)/.*",
    re.IGNORECASE | re.DOTALL,
)
"""What file managers, network disks and hubs put into any folder."""

OBJECT_ATTRIBUTE = "objects"
ENCODING_ATTRIBUTE = "encoding"
DIGEST_ATTRIBUTE = "sha256"


def is_store_key(key: str) -> bool:
    """Whether a key is one that a store, or an ingest into it, may have; any other file is not ours."""
    return any(keys.fullmatch(key) for keys in (KEYS, COMPONENT_KEYS)) or is_leftover_key(key)


def is_stray_key(key: str) -> bool:
    """Whether a file is of a kind that other programs leave in any folder, and hubs beside any data."""
    return _STRAY.fullmatch(key) is not None


def is_leftover_key(key: str) -> bool:
    """Whether a key is one that only an interrupted ingest or repair leaves behind."""
    partial = _PARTIAL.fullmatch(key)
    final = partial[1] if partial else key
    return bool(_JOURNAL.fullmatch(final) or (partial and KEYS.fullmatch(final)))
