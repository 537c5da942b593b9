"""Open a store through a disk cache, and from the cache alone while no server answers.

Only its ``zarr.json`` tells whether a store is still the same, so that is read anew whenever the store is
opened. The last one is kept: under a digest of its URL, after a digest of all that leads to the server, so
that no other server's is ever taken. It is checked by the digest that it holds.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from cop_zarr.errors import StoreError, UnreachableError
from cop_zarr.format.document import StoreDocument, parse
from cop_zarr.format.layout import ROOT
from cop_zarr.format.opening import read_document
from cop_zarr.storage import DiskCache, Folder, RemoteFolder

logger = logging.getLogger(__name__)


def read_through_cache(
    folder: Folder, cache_dir: Path, limit: int
) -> tuple[StoreDocument, DiskCache, bool]:
    """Read a store's ``zarr.json``, or take the one that was kept if no server answers.

    Also returns the cache of the store's objects, and whether the document is a kept one. Errors are those
    of :func:`read_document` and of :class:`DiskCache`.
    """
    try:
        document = read_document(folder)
    except UnreachableError as error:
        kept = _Kept(folder, cache_dir, limit)
        found = kept.get()
        if found is None:
            raise
        logger.warning("%s; what the cache %s holds is answered as it was", error, cache_dir)
        return found, kept.cache.part(found.sha256), True
    if not isinstance(folder, RemoteFolder):
        return document, DiskCache(cache_dir, limit, document.sha256), False
    kept = _Kept(folder, cache_dir, limit)
    kept.put(document)
    return document, kept.cache.part(document.sha256), False


class _Kept:
    """The last ``zarr.json`` that was read from an address."""

    def __init__(self, folder: Folder, cache_dir: Path, limit: int) -> None:
        self.cache = DiskCache(cache_dir, limit, hashlib.sha256(folder.url.encode()).hexdigest())
        self._address = (folder.address_digest() if isinstance(folder, RemoteFolder) else None) or ""

    def get(self) -> StoreDocument | None:
        """Return it, unless it is absent, damaged or another address's."""
        address, _, root = (self.cache.get(ROOT) or b"").partition(b" ")
        if not self._address or address != self._address.encode():
            return None
        try:
            return parse(root)
        except StoreError:
            return None

    def put(self, document: StoreDocument) -> None:
        """Keep it in place of the last one."""
        data = f"{self._address} {json.dumps(document.root)}".encode()
        if self._address and self.cache.get(ROOT) != data:
            self.cache.put(ROOT, data)
