"""What the page shows: a store, and the components that belong to it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cop_zarr.analysis.components import DEFAULT_COUNT
from cop_zarr.core import settings
from cop_zarr.core.progress import Progress
from cop_zarr.errors import (
    ComponentsError,
    DamageError,
    InputError,
    StorageError,
    StoreExistsError,
    UnreachableError,
)
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.components import CHUNK_COMPONENTS, COMPONENTS_ROOT, parse_kept, read_kept
from cop_zarr.format.document import StoreDocument
from cop_zarr.format.object_reader import check
from cop_zarr.format.opening import open_reader, read_document
from cop_zarr.storage import (
    SMALL_BYTES,
    TIMEOUT_SECONDS,
    Folder,
    LocalFolder,
    NotPrivateError,
    PrivateFolder,
    StorageOptions,
    disk_errors,
    expanded,
)
from cop_zarr.writing.components import derive_into
from cop_zarr.writing.options import Run

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contents:
    """A store whose components are kept: in the store, or in another folder."""

    store: Folder

    elsewhere: LocalFolder | None
    """The folder that holds the components, if the store cannot."""

    max_object_bytes: int
    """Size of the largest object that there can be."""

    @property
    def components(self) -> Folder:
        """The folder that holds the components."""
        return self.elsewhere or self.store


def open_store(
    store: str | os.PathLike[str] | None,
    storage_options: StorageOptions | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> tuple[ChunkReader, StoreDocument]:
    """Open a store, by default what ``COP_ZARR_STORE`` names; errors are those of :func:`cop_zarr.open`."""
    folder = Run(storage_options=storage_options, timeout=timeout).folder(store)
    document = read_document(folder)
    return open_reader(folder, document, None), document


def find_contents(
    reader: ChunkReader,
    document: StoreDocument,
    other_folder: Callable[[], Path],
    progress: Progress | None = None,
) -> Contents:
    """Find a store's components, or derive them and keep them.

    They are kept in the store if it can be written, and otherwise in ``other_folder()``. Raises
    ComponentsError if those in the store are damaged, and whatever reading all its chunks raises.
    """
    elsewhere = None
    if read_kept(reader) is None:
        elsewhere = _keep_somewhere(reader, document, other_folder, progress)
    return Contents(reader.folder, elsewhere, _max_object_bytes(document.layout))


def _keep_somewhere(
    reader: ChunkReader,
    document: StoreDocument,
    other_folder: Callable[[], Path],
    progress: Progress | None,
) -> LocalFolder | None:
    """Keep components in a store, or if it cannot be written, in the folder returned."""
    count = min(DEFAULT_COUNT, document.layout.bands)
    try:
        reader.folder.check_writable()
        derive_into(reader.folder, document, reader, count, progress)
    except UnreachableError:
        raise
    except (InputError, StorageError, StoreExistsError) as error:
        reason = str(error)
    else:
        return None
    other = LocalFolder(other_folder())
    if not _holds_components(other, reader):
        derive_into(other, document, reader, count, progress)
        logger.warning("the components are kept in %s: %s", other.url, reason)
    return other


def _holds_components(folder: LocalFolder, reader: ChunkReader) -> bool:
    """Whether a folder holds the whole components of a store, none of them damaged."""
    try:
        kept = parse_kept(reader, folder.read(COMPONENTS_ROOT))
        for key, record in kept.objects.items():
            check(folder.read(key, record.length + 1), record)
    except (FileNotFoundError, DamageError, ComponentsError):
        return False
    return True


def _max_object_bytes(layout: Layout) -> int:
    """Size of the largest object that a store can have: a chunk of scores, axes, or a shard."""
    scores = 4 * CHUNK_COMPONENTS * layout.grid.whole.cells
    return SMALL_BYTES + max(scores, 8 * layout.bands**2, 4 * layout.object_cells**2 * layout.bands)


def cache_folder(sha256: str) -> Path:
    """Make the folder in the user's cache for what belongs to one store."""
    folder = expanded(settings.cache_folder()) / "explorer"
    with disk_errors(f"cannot write {folder} (XDG_CACHE_HOME names another cache)"):
        folder.parent.mkdir(0o700, parents=True, exist_ok=True)
        try:
            PrivateFolder(folder).create()
        except NotPrivateError as error:
            raise InputError(
                f"{folder} cannot be trusted: {error.strerror}; remove it, or name another folder by "
                "XDG_CACHE_HOME"
            ) from error
        own = folder / sha256
        own.mkdir(0o700, exist_ok=True)
    return own
