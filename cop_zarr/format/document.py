"""Read and check a store's ``zarr.json``. It is not trusted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from cop_zarr.core.grid import Grid
from cop_zarr.core.packages import upgrade
from cop_zarr.core.product import MAX_BANDS
from cop_zarr.errors import CopZarrError, FormatVersionError, StoreError
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.encodings import ENCODINGS, FLOAT32, Encoding
from cop_zarr.format.layout import (
    ATTRIBUTE,
    DIGEST_ATTRIBUTE,
    EMBEDDING,
    ENCODING_ATTRIBUTE,
    FORMAT,
    FORMAT_VERSION,
    KEYS,
    OBJECT_ATTRIBUTE,
    SCALE,
    SHARD_CELLS,
    TRANSPOSE_ORDER,
    blosc_config,
)
from cop_zarr.storage import SMALL_BYTES

_RECORD_TYPES = {"created": str, "cop_zarr_version": str, "source": dict}
_SOURCE_TYPES = {
    "url": str,
    "bytes": int,
    "sha256": str,
    "published": bool,
    "synthetic": bool,
    "container": str,
}
"""Types of what readers use of the ``cop_zarr`` attribute and of its ``source``."""

_COUNTS = ("nan_cells", "non_finite_cells")
"""Members of ``source`` that the first stores lack: they hold NaN as the source does."""


class ObjectRecord(NamedTuple):
    """Length in bytes and CRC-32C that an object of the store must have."""

    length: int
    crc32c: int


@dataclass(frozen=True)
class StoreDocument:
    """The checked content of a store's ``zarr.json``."""

    layout: Layout

    objects: dict[str, ObjectRecord]
    """Every object apart from ``zarr.json`` itself and the chunks of ``embedding``."""

    record: dict[str, Any]
    """The ``cop_zarr`` attribute: format, provenance, product."""

    root: dict[str, Any]
    """The document as it was read."""

    consolidated: dict[str, Any]
    """The documents of the arrays and groups below, by name."""

    sha256: str
    """Digest of the document without this digest: the identity of the store."""

    @property
    def losses(self) -> dict[str, Any] | None:
        """What the encoding has lost, as it was measured; None if nothing is, or it was not measured."""
        losses: dict[str, Any] | None = self.record.get(ENCODING_ATTRIBUTE, {}).get("losses")
        return losses

    @property
    def clears_missing(self) -> bool:
        """Whether cells without a value in any band of the source are 0 in the store."""
        return "nan_cells" in self.record["source"]


def digest(document: dict[str, Any]) -> str:
    """SHA-256 (hex) of a decoded root document's canonical JSON, without the member that holds it."""
    attributes = dict(document["attributes"])
    attributes[ATTRIBUTE] = {
        key: value for key, value in attributes[ATTRIBUTE].items() if key != DIGEST_ATTRIBUTE
    }
    canonical = json.dumps({**document, "attributes": attributes}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def encode_root(document: dict[str, Any]) -> bytes:
    """Encode a root document, with the ``cop_zarr`` attribute as JSON text: netCDF can hold no object."""
    attributes = document["attributes"]
    text = json.dumps(attributes[ATTRIBUTE], allow_nan=False)
    encoded = {**document, "attributes": {**attributes, ATTRIBUTE: text}}
    return json.dumps(encoded, indent=2, allow_nan=False).encode()


def decode_root(data: bytes) -> dict[str, Any]:
    """Decode a root document, whose ``cop_zarr`` attribute is an object, not text, in the first stores."""
    document: dict[str, Any] = json.loads(data)
    record = document["attributes"][ATTRIBUTE]
    if isinstance(record, str):
        document["attributes"][ATTRIBUTE] = json.loads(record)
    return document


def is_store(data: bytes) -> bool:
    """Whether bytes are the ``zarr.json`` of a cop-zarr store, of any version, damaged or not."""
    try:
        return bool(decode_root(data)["attributes"][ATTRIBUTE]["format"] == FORMAT)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def parse(data: bytes) -> StoreDocument:
    """Parse and check a store's ``zarr.json``.

    StoreError if it is not that of a cop-zarr store, or was changed since it was written;
    FormatVersionError if a newer cop-zarr wrote it.
    """
    if not is_store(data):
        raise StoreError("its zarr.json is not that of a cop-zarr store")
    document = decode_root(data)
    record = document["attributes"][ATTRIBUTE]
    version = record.get("version")
    if not isinstance(version, int) or version < 1:
        raise StoreError(f"its zarr.json names no format version: {version!r}")
    if version > FORMAT_VERSION:
        raise FormatVersionError(
            f"it has {FORMAT} format version {version}, and this cop-zarr reads up to version "
            f"{FORMAT_VERSION}: {upgrade()}"
        )
    sha256 = digest(document)
    if record.get(DIGEST_ATTRIBUTE) != sha256:
        raise StoreError("its zarr.json is damaged, or was edited: it does not match its own SHA-256")
    try:
        layout = _layout(document, _encoding(record))
        objects = {key: _object_record(key, entry) for key, entry in record[OBJECT_ATTRIBUTE].items()}
        _check_types(record, _RECORD_TYPES)
        _check_types(record["source"], _SOURCE_TYPES)
        _integers([record["source"].get(name, 0) for name in _COUNTS])
    except FormatVersionError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, CopZarrError) as error:
        raise StoreError(f"its zarr.json is not valid: {error!r}") from error
    consolidated = document["consolidated_metadata"]["metadata"]
    return StoreDocument(layout, objects, record, document, consolidated, sha256)


def _encoding(record: dict[str, Any]) -> Encoding:
    """The encoding that a store names; FormatVersionError if it is none of those known."""
    given = record.get(ENCODING_ATTRIBUTE)
    if given is None:
        return FLOAT32
    name, losses = given["name"], given["losses"]
    figures = losses.values() if losses is not None else ()
    if not isinstance(name, str) or not all(isinstance(value, float | int | None) for value in figures):
        raise TypeError(f"the encoding is {given!r}")
    if name not in ENCODINGS:
        raise FormatVersionError(
            f"its numbers have the encoding {name!r}, and this cop-zarr knows {', '.join(ENCODINGS)}: "
            + upgrade()
        )
    return ENCODINGS[name]


def _layout(document: dict[str, Any], encoding: Encoding) -> Layout:
    """Grid and bands of a root document; chunks and codecs must be those of this format."""
    arrays = document["consolidated_metadata"]["metadata"]
    array = arrays[EMBEDDING]
    bands, rows, cols = _integers(array["shape"])
    transform = document["attributes"]["spatial:transform"]
    chunk_shape, given, shard_cells = _sharding(array)
    grid = Grid.from_corner(transform[2], transform[5], rows, cols)
    layout = Layout(grid, bands, shard_cells=shard_cells, encoding=encoding)
    if document["attributes"][ATTRIBUTE]["version"] < layout.format_version:
        raise ValueError("it has shards or an encoding that its version does not know")
    codecs = {codec["name"]: codec.get("configuration", {}) for codec in given}
    itemsize = encoding.dtype.itemsize
    expected = {
        "transpose": {"order": list(TRANSPOSE_ORDER)},
        "bytes": {"endian": "little"} if itemsize > 1 else {},
        "blosc": blosc_config(itemsize),
    }
    if not 0 < bands <= MAX_BANDS:
        raise ValueError(f"{bands} bands")
    if array["data_type"] != encoding.name or codecs != expected:
        raise ValueError(f"{array['data_type']} with codecs {list(codecs)}")
    if [codec["name"] for codec in given] != list(expected) or array["fill_value"] != 0:
        raise ValueError(f"codecs {list(codecs)} and fill value {array['fill_value']}")
    if array["chunk_key_encoding"] != {"name": "default", "configuration": {"separator": "/"}}:
        raise ValueError(f"chunk keys {array['chunk_key_encoding']}")
    if encoding.has_scale and arrays[SCALE]["shape"] != [rows, cols]:
        raise ValueError(f"scales of {arrays[SCALE]['shape']}")
    if list(transform) != list(layout.grid.transform()):
        raise ValueError(f"transform {transform}")
    if chunk_shape != [bands, layout.chunk_cells, layout.chunk_cells]:
        raise ValueError(f"chunks of {chunk_shape}")
    return layout


def _sharding(array: dict[str, Any]) -> tuple[list[int], list[dict[str, Any]], int | None]:
    """Shape and codecs of the chunks of an array, and the cells along a shard if there are shards."""
    shape, codecs = array["chunk_grid"]["configuration"]["chunk_shape"], array["codecs"]
    if codecs[0]["name"] != "sharding_indexed":
        return shape, codecs, None
    given = codecs[0]["configuration"]
    index = [codec["name"] for codec in given["index_codecs"]], given.get("index_location", "end")
    if len(codecs) > 1 or index != (["bytes", "crc32c"], "end"):
        raise ValueError(f"shards with {index}")
    if shape != [given["chunk_shape"][0], SHARD_CELLS, SHARD_CELLS]:
        raise ValueError(f"shards of {shape}")
    return given["chunk_shape"], given["codecs"], SHARD_CELLS


def _object_record(key: str, entry: Any) -> ObjectRecord:
    length, crc32c = _integers(entry)
    if not KEYS.fullmatch(key) or not 0 <= length <= SMALL_BYTES:
        raise ValueError(f"an object {key!r} of {length} bytes")
    return ObjectRecord(length, crc32c)


def _integers(values: Any) -> list[int]:
    """Require a JSON list of integers; floats and booleans are rejected."""
    if not isinstance(values, list) or any(type(value) is not int for value in values):
        raise TypeError(f"{values!r} is not a list of integers")
    return values


def _check_types(record: dict[str, Any], types: Mapping[str, type]) -> None:
    for name, kind in types.items():
        if not isinstance(record[name], kind):
            raise TypeError(f"{name} is {record[name]!r}")
