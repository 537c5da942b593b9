"""Folders that watch what is read, or answer with something else."""

from __future__ import annotations

from collections.abc import Callable

from cop_zarr.core.lru_cache import LRUCache
from cop_zarr.format import layout
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.document import parse
from cop_zarr.storage import SMALL_BYTES, Folder
from cop_zarr.store import Store

Answer = Callable[[str, bytes], bytes]


class WatchedFolder:
    """A folder that keeps the keys read; ``answer`` may change what is read, or raise."""

    def __init__(self, folder: Folder, answer: Answer = lambda _, data: data) -> None:
        self._folder = folder
        self._answer = answer
        self.url, self.remote = folder.url, folder.remote
        self.read_keys: list[str] = []

    def read(self, key: str, limit: int = SMALL_BYTES) -> bytes:
        self.read_keys.append(key)
        return self._answer(key, self._folder.read(key, limit))


def open_in(folder: Folder, workers: int = 4, root: bytes | None = None, cache_bytes: int = 0) -> Store:
    """Open the store in a folder of the caller's own, with its zarr.json or another one."""
    document = parse(folder.read(layout.ROOT) if root is None else root)
    return Store(ChunkReader(folder, document, workers, memory=LRUCache(cache_bytes)), document)
