"""Compare a store's documents with those that the format prescribes for its grid."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from cop_zarr.format.document import StoreDocument
from cop_zarr.format.layout import ROOT
from cop_zarr.format.metadata import documents

STRUCTURE = (
    *("node_type", "zarr_format", "shape", "data_type", "chunk_grid", "chunk_key_encoding", "codecs"),
    *("fill_value", "dimension_names"),
)
"""Members of a document that other readers follow."""

PLACE = (
    *("proj:code", "spatial:dimensions", "spatial:transform", "spatial:bbox", "spatial:shape"),
    *("spatial:registration", "GeoTransform", "grid_mapping", "units", "standard_name", "axis"),
)
"""Attributes that say where cells are; a store that lacks one is of an older version."""


def unlike_documents(document: StoreDocument) -> dict[str, str]:
    """What is wrong, by key, with a store's documents, whose checksums may be right nevertheless.

    They must give any reader the shape, type, codecs, names and place that this format prescribes.
    """
    layout, source = document.layout, document.record["source"]
    valid, scale = np.zeros(layout.grid.shape, bool), np.zeros(layout.grid.shape, "<f4")
    made = documents(layout, source, "", valid, np.zeros(layout.table_shape, "<u4"), scale=scale)
    expected = json.loads(made[ROOT])
    members = expected["consolidated_metadata"]["metadata"]
    unknown = sorted(document.consolidated.keys() - members.keys())
    wrong = {ROOT: f"it describes {unknown[0]!r}"} if unknown else {}
    for name, own in members.items():
        if found := difference(document.consolidated.get(name), own):
            wrong[f"{name}/{ROOT}"] = found
    if found := difference(document.root, expected):
        wrong[ROOT] = found
    return wrong


def difference(found: Any, expected: dict[str, Any]) -> str | None:
    """The first member that differs of those that tell a reader how to read, and where the cells are."""
    if not isinstance(found, dict) or not isinstance(found.get("attributes"), dict):
        return "it is not the document of an array or group"
    for member in STRUCTURE:
        if _plain(found.get(member)) != _plain(expected.get(member)):
            return f"its {member} is not that of this format"
    given, attributes = found["attributes"], expected["attributes"]
    for name in PLACE:
        if name in attributes and given.get(name, attributes[name]) != attributes[name]:
            return f"its attribute {name} is not the grid's"
    return None


def _plain(member: Any) -> Any:
    """A member without the codec ``bytes``, which versions of zarr-python describe differently."""
    if isinstance(member, dict):
        return {name: _plain(each) for name, each in member.items()}
    if not isinstance(member, list) or not all(isinstance(each, dict) for each in member):
        return member
    codecs = [(each.get("name"), _plain(each.get("configuration") or {})) for each in member]
    return [each for each in codecs if each not in (("bytes", {}), ("bytes", {"endian": "little"}))]
