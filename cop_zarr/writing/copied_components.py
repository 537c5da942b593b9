"""Carry the principal components that a store keeps over to a copy that holds the same numbers."""

from __future__ import annotations

from typing import Literal

from cop_zarr.errors import ComponentsError, FormatVersionError
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.components import COMPONENTS_ROOT, KeptComponents, read_kept
from cop_zarr.format.document import decode_root, digest, encode_root
from cop_zarr.format.layout import ATTRIBUTE, DIGEST_ATTRIBUTE
from cop_zarr.storage import Folder

Carried = Literal["none", "copied", "not copied"]
"""What became of the components: the store had none; they were copied; they have to be derived anew."""


def copy_components(
    reader: ChunkReader, staging: Folder, root: bytes, *, same_numbers: bool
) -> tuple[Carried, set[str]]:
    """Copy a store's components to one with another ``zarr.json``; return the keys written, too.

    Each object is checked on the way, and the group's own root, the last, is bound to the new store. Those
    that are damaged, another store's or a newer version's are left behind, and so are all if the copy does
    not hold the ``same_numbers``.
    """
    written: set[str] = set()
    try:
        kept = read_kept(reader)
        if kept is None or not same_numbers:
            return "none" if kept is None else "not copied", written
        for key in kept.objects:
            data = kept.read_object(key)
            written.add(key)
            staging.write(key, data)
    except (ComponentsError, FormatVersionError):
        staging.remove(written)
        return "not copied", set()
    staging.flush(written)
    staging.write(COMPONENTS_ROOT, _bound(kept, root))
    staging.flush([COMPONENTS_ROOT])
    return "copied", {*written, COMPONENTS_ROOT}


def _bound(kept: KeptComponents, root: bytes) -> bytes:
    """The ``zarr.json`` of the group, bound to the store that has this root document."""
    attributes = kept.document["attributes"]
    sha256 = decode_root(root)["attributes"][ATTRIBUTE][DIGEST_ATTRIBUTE]
    record = {**attributes[ATTRIBUTE], "store_sha256": sha256}
    document = {**kept.document, "attributes": {**attributes, ATTRIBUTE: record}}
    record[DIGEST_ATTRIBUTE] = digest(document)
    return encode_root(document)
