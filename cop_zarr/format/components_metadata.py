"""Make the documents and small arrays of the group ``components/``, with zarr-python, in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, BytesCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from cop_zarr.core.version import __version__
from cop_zarr.format.cf import VALUES_ATTRIBUTES, axes, group_attributes
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.codec import crc32c
from cop_zarr.format.components import (
    CHUNK_COMPONENTS,
    COMPONENTS_FORMAT,
    COMPONENTS_ROOT,
    COMPONENTS_VERSION,
    leading_counts,
)
from cop_zarr.format.document import StoreDocument, digest, encode_root
from cop_zarr.format.layout import (
    ATTRIBUTE,
    BAND,
    BLOSC,
    COMPONENTS,
    DIGEST_ATTRIBUTE,
    DIMENSIONS,
    OBJECT_ATTRIBUTE,
    ROOT,
)
from cop_zarr.format.metadata import consolidate, create_coordinates, create_small_array, on_grid

COMPONENT, LEADING = "component", "leading"
"""Dimensions: of components, and of numbers of leading components."""

NUMBERS = {
    "mean": (BAND,),
    "axes": (COMPONENT, BAND),
    "explained_variance": (COMPONENT,),
    "explained_variance_ratio": (COMPONENT,),
}
"""Dimensions of the small arrays."""


def coordinates(layout: Layout, count: int) -> dict[str, np.ndarray]:
    """Coordinates of the dimensions of a group of ``count`` components."""
    return {
        **axes(layout.bands, layout.grid.latitudes, layout.grid.longitudes),
        COMPONENT: np.arange(1, count + 1, dtype="<i4"),
        LEADING: np.array(leading_counts(count), "<i4"),
    }


def component_documents(
    document: StoreDocument,
    count: int,
    arrays: Mapping[str, np.ndarray] | None = None,
    *,
    cells: int = 0,
    created: str = "",
    chunks: Mapping[str, tuple[int, int]] | None = None,
) -> dict[str, bytes]:
    """Make every object of the group but the chunks of maps, by key; its root is the last.

    ``arrays`` are mean, axes, explained_variance and explained_variance_ratio, float64, derived from
    ``cells`` cells, or zeros; ``chunks`` has the length and CRC-32C of each other object.
    """
    written: dict[str, Buffer] = {}
    store = MemoryStore(written)
    root = zarr.create_group(
        store, path=COMPONENTS, zarr_format=3, attributes=_attributes(document, count, cells, created)
    )
    create_coordinates(root, document.layout)
    along = coordinates(document.layout, count)
    for name in (COMPONENT, LEADING):
        create_small_array(root, name, along[name], (name,), VALUES_ATTRIBUTES[name])
    for name, dimensions in NUMBERS.items():
        shape = tuple(len(along[dimension]) for dimension in dimensions)
        values = np.zeros(shape) if arrays is None else np.asarray(arrays[name], "<f8")
        create_small_array(root, name, values, dimensions, VALUES_ATTRIBUTES[name])
    scores = {COMPONENT: (count, min(CHUNK_COMPONENTS, count))}
    remainder = {LEADING: (len(along[LEADING]), 1)}
    for name, leading in {"scores": scores, "remainder": remainder, "length": {}}.items():
        _create_maps(root, document.layout, name, leading)
    consolidate(store, COMPONENTS)
    written.pop(ROOT, None)  # of the group around it, which zarr-python makes up
    objects = {key: written[key].to_bytes() for key in sorted(written)}
    group = json.loads(objects.pop(COMPONENTS_ROOT))
    record = group["attributes"][ATTRIBUTE]
    small = {key: (len(data), crc32c(data)) for key, data in objects.items()}
    record[OBJECT_ATTRIBUTE] = {
        key: list(entry) for key, entry in sorted({**small, **(chunks or {})}.items())
    }
    record[DIGEST_ATTRIBUTE] = digest(group)
    return {**objects, COMPONENTS_ROOT: encode_root(group)}


def _create_maps(
    root: zarr.Group, layout: Layout, name: str, leading: Mapping[str, tuple[int, int]]
) -> None:
    """Create an array of maps of the whole grid: number of maps along a dimension, and those in a chunk."""
    root.create_array(
        name,
        shape=(*(number for number, _ in leading.values()), *layout.grid.shape),
        chunks=(*(depth for _, depth in leading.values()), *layout.grid.shape),
        dtype="float32",
        serializer=BytesCodec(endian="little"),
        compressors=[BloscCodec(**BLOSC)],
        fill_value=np.nan,
        dimension_names=(*leading, *DIMENSIONS[1:]),
        attributes={**VALUES_ATTRIBUTES[name], **on_grid(layout)},
    )


def _attributes(document: StoreDocument, count: int, cells: int, created: str) -> dict[str, Any]:
    general = group_attributes(document.record)
    made = f"{created}: principal components derived by cop-zarr {__version__}"
    return {
        **general,
        "title": f"Principal components of {general['title']}",
        "history": f"{general['history']}\n{made}",
        ATTRIBUTE: {
            "format": COMPONENTS_FORMAT,
            "version": COMPONENTS_VERSION,
            "created": created,
            "cop_zarr_version": __version__,
            "store_sha256": document.sha256,
            "count": count,
            "cells": cells,
        },
    }
