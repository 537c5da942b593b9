"""Make the metadata of a store: every object but the chunks of ``embedding``.

zarr-python makes the documents and the small arrays, in memory; this module adds the object table and the
digest of the root document. Attributes follow CF 1.11 and the GeoZarr conventions ``proj:``, ``spatial:``
and ``geoemb:``, but for ``zarr_conventions`` being JSON text.
"""

from __future__ import annotations

import json
import threading
import warnings
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, BytesCodec, TransposeCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from cop_zarr.core import product
from cop_zarr.core.version import __version__
from cop_zarr.format.cf import (
    AXIS_ATTRIBUTES,
    EMBEDDING_ATTRIBUTES,
    SCALE_ATTRIBUTES,
    SCALED_ATTRIBUTES,
    VALID_ATTRIBUTES,
    axes,
    grid_mapping,
    group_attributes,
)
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.codec import crc32c
from cop_zarr.format.document import digest, encode_root
from cop_zarr.format.layout import (
    ATTRIBUTE,
    DIGEST_ATTRIBUTE,
    DIMENSIONS,
    EMBEDDING,
    ENCODING_ATTRIBUTE,
    FORMAT,
    INTEGRITY,
    LATITUDE,
    LONGITUDE,
    OBJECT_ATTRIBUTE,
    ROOT,
    ROOT_COPY,
    SCALE,
    SPATIAL_REF,
    TRANSPOSE_ORDER,
    VALID,
    blosc_config,
)

_FILTERS = threading.Lock()
"""Held while warnings are filtered: the filters are the process's, and other threads would restore them."""


def _convention(name: str, uuid: str, description: str) -> dict[str, str]:
    """An entry of ``zarr_conventions``."""
    return {
        "schema_url": f"https://raw.githubusercontent.com/zarr-conventions/{name}/refs/tags/v0.1/schema.json",
        "spec_url": f"https://github.com/zarr-conventions/{name}/blob/v0.1/README.md",
        "name": name,
        "uuid": uuid,
        "description": description,
    }


GEO_CONVENTIONS = [
    _convention(
        "proj",
        "f17cb550-5864-4468-aeb7-f3180cfb622f",
        "Coordinate reference system information for geospatial data",
    ),
    _convention("spatial", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Spatial coordinate information"),
]
"""The conventions, as released."""

EMBEDDING_CONVENTION = {
    "schema_url": "https://raw.githubusercontent.com/geo-embeddings/embeddings-zarr-convention/"
    "refs/tags/v1/schema.json",
    "spec_url": "https://github.com/geo-embeddings/embeddings-zarr-convention/blob/v1/README.md",
    "uuid": "61c12cc5-0e28-4056-999a-480cf3fb7e4c",
    "name": "geoemb:",
    "description": "Geoembeddings convention for geospatial embedding arrays with model provenance",
}

QUANTIZATION = {
    "method": "per_pixel_scale",
    "original_dtype": "float32",
    "quantized_dtype": "int8",
    "scale": {"type": "array", "array_name": SCALE, "nodata": 0},
}
"""What that convention has for a scale a cell."""


def documents(
    layout: Layout,
    source: dict[str, Any],
    created: str,
    valid: np.ndarray,
    integrity: np.ndarray,
    *,
    scale: np.ndarray,
    losses: dict[str, Any] | None = None,
) -> dict[str, bytes]:
    """Make every object of a store but the chunks of ``embedding``, by key.

    They must be written in this order: ``zarr.json``, which makes a store of them, is the last, and its
    copy the one before. ``valid`` is bool, ``(rows, cols)``; ``integrity`` is uint32, of the layout's
    ``table_shape``: length and CRC-32C of each chunk, and its offset in its shard. ``scale`` is float32,
    ``(rows, cols)``, if the layout's encoding has one; ``losses`` is what that encoding has lost.
    """
    written: dict[str, Buffer] = {}
    store = MemoryStore(written)
    attributes = _group_attributes(layout, source, created, losses)
    root = zarr.create_group(store, zarr_format=3, attributes=attributes)
    _create_embedding(root, layout)
    create_coordinates(root, layout)
    create_small_array(root, VALID, valid, DIMENSIONS[1:], {**VALID_ATTRIBUTES, **on_grid(layout)})
    if layout.encoding.has_scale:
        create_small_array(root, SCALE, scale, DIMENSIONS[1:], {**SCALE_ATTRIBUTES, **on_grid(layout)})
    group = root.create_group(INTEGRITY)
    create_small_array(group, EMBEDDING, integrity, ("record", "chunk_row", "chunk_col"), {})
    consolidate(store)
    objects = {key: written[key].to_bytes() for key in sorted(written)}
    document = json.loads(objects.pop(ROOT))
    record = document["attributes"][ATTRIBUTE]
    record[OBJECT_ATTRIBUTE] = {key: [len(data), crc32c(data)] for key, data in objects.items()}
    record[DIGEST_ATTRIBUTE] = digest(document)
    root_json = encode_root(document)
    return {**objects, ROOT_COPY: root_json, ROOT: root_json}


def consolidate(store: MemoryStore, path: str = "") -> None:
    """Put the documents of all that is in a group into the group's own."""
    with _FILTERS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)
        zarr.consolidate_metadata(store, path=path)


def _create_embedding(root: zarr.Group, layout: Layout) -> None:
    shard, encoding = layout.shard_cells, layout.encoding
    itemsize = encoding.dtype.itemsize
    root.create_array(
        EMBEDDING,
        shape=layout.shape,
        chunks=(layout.bands, layout.chunk_cells, layout.chunk_cells),
        shards=(layout.bands, shard, shard) if shard else None,
        dtype=encoding.name,
        filters=[TransposeCodec(order=TRANSPOSE_ORDER)],
        serializer=BytesCodec(endian="little" if itemsize > 1 else None),
        compressors=[BloscCodec(**blosc_config(itemsize))],
        fill_value=0,
        dimension_names=DIMENSIONS,
        attributes={
            **(SCALED_ATTRIBUTES if encoding.has_scale else EMBEDDING_ATTRIBUTES),
            "grid_mapping": SPATIAL_REF,
            "coordinates": SPATIAL_REF,
            "ancillary_variables": f"{VALID} {SCALE}" if encoding.has_scale else VALID,
            **_geo_attributes(layout),
        },
    )


def create_coordinates(root: zarr.Group, layout: Layout) -> None:
    """Latitude, longitude, band and the grid mapping."""
    grid = layout.grid
    for name, values in axes(layout.bands, grid.latitudes, grid.longitudes).items():
        create_small_array(root, name, values, (name,), AXIS_ATTRIBUTES[name])
    create_small_array(root, SPATIAL_REF, np.zeros((), "i4"), (), grid_mapping(grid.transform()))


def create_small_array(
    group: zarr.Group,
    name: str,
    values: np.ndarray,
    dimensions: tuple[str, ...],
    attributes: dict[str, Any],
) -> None:
    """Create an array of a single chunk, with the embedding's compressor."""
    compressor = BloscCodec(**blosc_config(values.itemsize))
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=values.shape,
        dtype=values.dtype,
        serializer=BytesCodec(endian="little" if values.itemsize > 1 else None),
        compressors=[compressor],
        fill_value=0,
        dimension_names=dimensions,
        attributes=attributes,
        config={"write_empty_chunks": True},
    )
    array[...] = values


def _group_attributes(
    layout: Layout, source: dict[str, Any], created: str, losses: dict[str, Any] | None
) -> dict[str, Any]:
    geo, encoding = _geo_attributes(layout), layout.encoding
    record = {
        "format": FORMAT,
        "version": layout.format_version,
        "created": created,
        "cop_zarr_version": __version__,
        "year": product.YEAR,
        "license": product.LICENSE,
        "citation": product.CITATION,
        "source": source,
    }
    if not encoding.is_lossless:
        record[ENCODING_ATTRIBUTE] = {"name": encoding.name, "losses": losses}
    return {
        **group_attributes(record),
        **geo,
        "zarr_conventions": json.dumps([*GEO_CONVENTIONS, EMBEDDING_CONVENTION]),
        "geoemb:type": "pixel",
        "geoemb:dimensions": layout.bands,
        "geoemb:model": product.MODEL_URL,
        "geoemb:source_data": [product.PRETRAIN_URL],
        "geoemb:data_type": encoding.name,
        **({"geoemb:quantization": json.dumps(QUANTIZATION)} if encoding.has_scale else {}),
        **({"geoemb:spatial_layout": "global"} if layout.grid.cyclic else {}),
        "geoemb:build_version": __version__,
        ATTRIBUTE: record,
    }


def on_grid(layout: Layout) -> dict[str, Any]:
    """Attributes of an array of cells: where its coordinates, its CRS and its cells are."""
    return {"grid_mapping": SPATIAL_REF, "coordinates": SPATIAL_REF, **_geo_attributes(layout)}


def _geo_attributes(layout: Layout) -> dict[str, Any]:
    bounds = layout.grid.bounds
    return {
        "zarr_conventions": json.dumps(GEO_CONVENTIONS),  # netCDF can hold no list of objects
        "proj:code": product.CRS,
        "spatial:dimensions": [LATITUDE, LONGITUDE],
        "spatial:transform": list(layout.grid.transform()),
        "spatial:bbox": [bounds.west, bounds.south, bounds.east, bounds.north],
        "spatial:shape": list(layout.grid.shape),
        "spatial:registration": "pixel",
    }
