"""Options that ingest, verify and repair share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypedDict

from cop_zarr.core import settings
from cop_zarr.core.progress import Progress
from cop_zarr.source.geotiff import GeoTiff
from cop_zarr.source.locate import locate
from cop_zarr.storage import TIMEOUT_SECONDS, Folder, LocalFolder, StorageOptions, folder

MEMORY_BYTES = 1 << 30
"""Default of ``memory``: 1 GiB."""


class RunOptions(TypedDict, total=False):
    """Keyword arguments of :func:`ingest`, :func:`plan_ingest`, :func:`verify` and :func:`repair`."""

    workers: int | None
    memory: int
    source_options: StorageOptions | None
    storage_options: StorageOptions | None
    timeout: float
    progress: Progress | None


@dataclass(frozen=True)
class Run:
    """:class:`RunOptions` with their defaults."""

    workers: int | None = None
    memory: int = MEMORY_BYTES
    source_options: StorageOptions | None = None
    storage_options: StorageOptions | None = None
    timeout: float = TIMEOUT_SECONDS
    progress: Progress | None = None

    def folder(self, store: str | os.PathLike[str] | None) -> Folder:
        """The folder of a store, by default the default store's; links are followed now, once."""
        found = folder(settings.store_url(store), self.storage_options, self.timeout)
        return found.pinned() if isinstance(found, LocalFolder) else found

    @contextmanager
    def open_source(
        self, source: str | os.PathLike[str] | None, *, download: bool = False
    ) -> Iterator[GeoTiff]:
        """Find a source, copy it from a URL or download it if need be, and open it."""
        with (
            locate(
                source,
                self.source_options,
                download=download,
                progress=self.progress,
                timeout=self.timeout,
            ) as (path, url),
            GeoTiff(path, url) as tiff,
        ):
            yield tiff
