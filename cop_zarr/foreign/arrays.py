"""What do the arrays of any Zarr group claim to be? Looked at before zarr-python would believe it.

Nothing vouches for the metadata of a store of another layout. So shapes, sizes, codecs and keys are checked
here first, with no Zarr library and no I/O. A codec that is not on the list is refused: one that numcodecs
has, ``pickle``, runs what it reads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cop_zarr.core.product import LATTICE_COLS, LATTICE_ROWS, MAX_BANDS
from cop_zarr.errors import StoreError
from cop_zarr.format.layout import DIMENSIONS, EMBEDDING, LATITUDE, LONGITUDE, ROOT, VALID

MAX_OBJECT_BYTES = 512 << 20
"""What a chunk or a shard may claim to decode to: all of it is read at once. Shards of 256 x 256 cells of
768 bands have 192 MiB."""

GROUP_V2 = ".zgroup"
ATTRIBUTES_V2 = ".zattrs"

NAMES = (EMBEDDING, VALID, LATITUDE, LONGITUDE)

_DIMENSIONS = {EMBEDDING: DIMENSIONS, VALID: DIMENSIONS[1:], LATITUDE: (LATITUDE,), LONGITUDE: (LONGITUDE,)}

_ITEM_BYTES = {"float32": 4, "float64": 8, "bool": 1, "int8": 1, "uint8": 1}
_TYPES = {
    EMBEDDING: ("float32",),
    VALID: ("bool", "int8", "uint8"),
    LATITUDE: ("float64", "float32"),
    LONGITUDE: ("float64", "float32"),
}
_TYPES_V2 = {"f4": "float32", "f8": "float64", "b1": "bool", "i1": "int8", "u1": "uint8"}

_NUMCODECS = frozenset(
    [
        "adler32",
        "blosc",
        "bz2",
        "crc32",
        "crc32c",
        "delta",
        "fletcher32",
        "gzip",
        "lz4",
        "lzma",
        "shuffle",
        "zlib",
        "zstd",
    ]
)
_CODECS_V3 = frozenset(("blosc", "bytes", "crc32c", "gzip", "transpose", "zstd")) | {
    f"numcodecs.{name}" for name in _NUMCODECS
}
_SHARDING = "sharding_indexed"


@dataclass(frozen=True)
class Claim:
    """What an array's metadata say, checked.

    Attributes
    ----------
    shape : tuple of int
        Its cells.
    unit : tuple of int
        The least that is decoded by itself: a chunk, or an inner chunk of a shard.
    stored : tuple of int
        What lies in one object: a chunk or a shard.
    item_bytes : int
        Size of one number.
    nan : bool
        Whether an absent chunk stands for NaN, and not for 0.
    """

    shape: tuple[int, ...]
    unit: tuple[int, ...]
    stored: tuple[int, ...]
    item_bytes: int
    nan: bool

    @property
    def limit(self) -> int:
        """Bytes that an object may have: some more than it decodes to, and a shard's index."""
        size = self.item_bytes * math.prod(self.stored)
        units = math.prod(self.stored) // math.prod(self.unit)
        return size + size // 8 + 256 * units + (64 << 10)


def keys(version: int) -> tuple[str, ...]:
    """The objects that hold the metadata of the arrays; those of attributes may be absent."""
    endings = (ROOT,) if version == 3 else (".zarray", ATTRIBUTES_V2)
    return tuple(f"{name}/{ending}" for name in NAMES for ending in endings)


def mapping(data: bytes, key: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    StoreError
        If it is none.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"its {key} is not JSON") from error
    if not isinstance(document, dict):
        raise StoreError(f"its {key} is not a JSON object")
    return document


def claims(documents: Mapping[str, bytes], version: int) -> dict[str, Claim]:
    """Check what the arrays claim to be, each and together.

    Parameters
    ----------
    documents : mapping of str to bytes
        The metadata that are there, by key.
    version : {2, 3}
        Of the Zarr format.

    Raises
    ------
    StoreError
        If an array is missing, or is not what a store holds, or claims what no store needs.
    """
    found = {name: _claim(name, documents, version) for name in NAMES}
    bands, rows, cols = found[EMBEDDING].shape
    if bands > MAX_BANDS or rows > LATTICE_ROWS or cols > LATTICE_COLS:
        raise StoreError(
            f"its {EMBEDDING} claims {bands} x {rows} x {cols} numbers; at most {MAX_BANDS:,} bands on "
            f"{LATTICE_ROWS} x {LATTICE_COLS} cells are possible"
        )
    for name, shape in ((VALID, (rows, cols)), (LATITUDE, (rows,)), (LONGITUDE, (cols,))):
        if found[name].shape != shape:
            raise StoreError(f"its {name} has the shape {found[name].shape}; {shape} goes with {EMBEDDING}")
    return found


def _claim(name: str, documents: Mapping[str, bytes], version: int) -> Claim:
    """Check one array."""
    key = f"{name}/{ROOT if version == 3 else '.zarray'}"
    if key not in documents:
        raise StoreError(f"it has no array {name!r}: there is no {key}")
    document = mapping(documents[key], key)
    try:
        return _claim_v3(name, document) if version == 3 else _claim_v2(name, document, documents)
    except (LookupError, TypeError, AttributeError) as error:
        raise StoreError(f"its {key} is not as Zarr v{version} says: {error!r}") from error


def _claim_v3(name: str, document: dict[str, Any]) -> Claim:
    if (document["zarr_format"], document["node_type"]) != (3, "array"):
        raise StoreError(f"its {name} is not a Zarr v3 array")
    dimensions, attributes = document.get("dimension_names"), document.get("attributes", {})
    grid, encoding = document["chunk_grid"], document["chunk_key_encoding"]
    if grid["name"] != "regular" or document.get("storage_transformers"):
        raise StoreError(f"its {name} has no regular chunk grid, or storage transformers")
    separator = encoding.get("configuration", {}).get("separator", "/")
    if encoding["name"] not in {"default", "v2"} or separator not in {"/", "."}:
        raise StoreError(f"its {name} has the unknown chunk keys {encoding!r}")
    stored = unit = _lengths(name, grid["configuration"]["chunk_shape"])
    for codec in _known(name, document["codecs"]):
        if codec.get("name") == _SHARDING:
            unit = _lengths(name, codec["configuration"]["chunk_shape"])
            _known(name, codec["configuration"]["codecs"], _CODECS_V3)
            _known(name, codec["configuration"]["index_codecs"], _CODECS_V3)
    dtype, fill = document["data_type"], document["fill_value"]
    claim = _claim_of(name, document["shape"], unit=unit, stored=stored, dtype=dtype, fill=fill)
    _refuse_meaning(name, dimensions, attributes)
    return claim


def _claim_v2(name: str, document: dict[str, Any], documents: Mapping[str, bytes]) -> Claim:
    if document["zarr_format"] != 2:
        raise StoreError(f"its {name} is not a Zarr v2 array")
    key = f"{name}/{ATTRIBUTES_V2}"
    attributes = mapping(documents.get(key, b"{}"), key)
    for codec in (*(document["filters"] or ()), document["compressor"]):
        if codec is not None and codec["id"] not in _NUMCODECS:
            raise _unknown(name, codec["id"])
    if document.get("dimension_separator", ".") not in {"/", "."}:
        raise StoreError(f"its {name} has the unknown chunk keys {document['dimension_separator']!r}")
    chunks = _lengths(name, document["chunks"])
    dtype = _TYPES_V2.get(str(document["dtype"])[1:], document["dtype"])
    dimensions = attributes.get("_ARRAY_DIMENSIONS")
    fill = document["fill_value"]
    claim = _claim_of(name, document["shape"], unit=chunks, stored=chunks, dtype=dtype, fill=fill)
    _refuse_meaning(name, dimensions, attributes)
    return claim


def _known(
    name: str, codecs: list[dict[str, Any]], known: frozenset[str] = _CODECS_V3 | {_SHARDING}
) -> list[dict[str, Any]]:
    """Codecs, if all are on the list."""
    for codec in codecs:
        if codec["name"] not in known:
            raise _unknown(name, codec["name"])
    return codecs


def _unknown(name: str, codec: object) -> StoreError:
    return StoreError(f"its {name} has the codec {codec!r}, which is not taken from strangers")


def _claim_of(
    name: str, shape: Any, *, unit: tuple[int, ...], stored: tuple[int, ...], dtype: Any, fill: Any
) -> Claim:
    """What both versions of the format say of an array's numbers, checked."""
    cells = _lengths(name, shape)
    if dtype not in _TYPES[name]:
        raise StoreError(f"its {name} holds {dtype!r}; {' or '.join(_TYPES[name])} is expected")
    if not len(cells) == len(unit) == len(stored) == len(_DIMENSIONS[name]):
        raise StoreError(f"its {name} has the shape {cells} and chunks of {unit} in {stored}")
    if any(outer % inner for outer, inner in zip(stored, unit, strict=True)):
        raise StoreError(f"its {name} has shards of {stored}, no multiple of their chunks of {unit}")
    item_bytes = _ITEM_BYTES[dtype]
    if (size := item_bytes * math.prod(stored)) > MAX_OBJECT_BYTES:
        raise StoreError(
            f"its {name} has chunks or shards of {size:,} bytes each; no more than {MAX_OBJECT_BYTES:,} "
            "are read at once: write it again in smaller ones"
        )
    if name == EMBEDDING and fill not in {None, "NaN"} and (isinstance(fill, str) or fill != 0):
        raise StoreError(f"its {name} has the fill value {fill!r}; 0, NaN or none is expected")
    return Claim(cells, unit, stored, item_bytes, fill == "NaN")


def _refuse_meaning(name: str, dimensions: Any, attributes: dict[str, Any]) -> None:
    """Refuse an array whose axes or numbers mean something else."""
    expected = list(_DIMENSIONS[name])
    if dimensions != expected:
        raise StoreError(f"its {name} has the dimensions {dimensions!r}; {expected} are expected")
    if {"scale_factor", "add_offset"} & attributes.keys():
        raise StoreError(
            f"its {name} is packed (scale_factor, add_offset); the numbers themselves are expected"
        )


def _lengths(name: str, values: Any) -> tuple[int, ...]:
    """The lengths of the axes of something; 4.0 and true are none."""
    if not isinstance(values, list) or any(type(value) is not int or value < 1 for value in values):
        raise StoreError(f"its {name} has the shape or chunks {values!r}, no whole numbers from 1 on")
    return tuple(values)
