"""Options that ingest, verify and repair share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypedDict, cast

from cop_zarr.core import settings
from cop_zarr.core.progress import Progress
from cop_zarr.core.progress_bar import progress_bar
from cop_zarr.source.geotiff import GeoTiff
from cop_zarr.source.locate import locate
from cop_zarr.storage import TIMEOUT_SECONDS, Folder, LocalFolder, StorageOptions, folder

MEMORY_BYTES = 1 << 30
"""Default of ``memory``: 1 GiB."""


class SilentOptions(TypedDict, total=False):
    """:class:`RunOptions` but ``progress``."""

    workers: int | None
    memory: int
    source_options: StorageOptions | None
    storage_options: StorageOptions | None
    timeout: float


class RunOptions(SilentOptions, total=False):
    """Keyword arguments of :func:`ingest`, :func:`plan_ingest`, :func:`verify` and :func:`repair`."""

    progress: Progress | bool | None


@dataclass(frozen=True)
class Run:
    """:class:`RunOptions` with their defaults, and a bar if one is wanted."""

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


@contextmanager
def start_run(name: str, options: RunOptions) -> Iterator[Run]:
    """The options of a run, whose bar is shown meanwhile."""
    with progress_bar(options.get("progress"), name) as progress:
        silent = {key: value for key, value in options.items() if key != "progress"}
        yield Run(progress=progress, **cast("SilentOptions", silent))
