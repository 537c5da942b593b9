"""Keep a store's principal components in the store.

They are written beside the store, and renamed into it when they are whole; on an object store, their
``zarr.json`` is written last. ``zarr.json`` of the store stays as it is.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from cop_zarr.analysis.components import DEFAULT_COUNT, check_any, check_count, fit, project
from cop_zarr.core import settings
from cop_zarr.core.progress import Progress, cell_counter
from cop_zarr.core.progress_bar import progress_bar
from cop_zarr.errors import InputError, StorageError, StoreError, StoreExistsError, UnreachableError
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.codec import crc32c, encode
from cop_zarr.format.components import (
    CHUNK_COMPONENTS,
    COMPONENTS_ROOT,
    KeptComponents,
    map_key,
    read_kept,
)
from cop_zarr.format.components_metadata import NUMBERS, component_documents
from cop_zarr.format.document import StoreDocument
from cop_zarr.format.layout import COMPONENT_KEYS, COMPONENTS, is_store_key
from cop_zarr.format.opening import open_reader, read_document
from cop_zarr.querying.cells import CellSelection
from cop_zarr.storage import TIMEOUT_SECONDS, Folder, StorageOptions
from cop_zarr.writing.destination import check_only_store_objects
from cop_zarr.writing.options import Run


@dataclass(frozen=True)
class ComponentsReport:
    """The components that a store keeps."""

    store: str
    count: int
    """Components kept."""
    cells: int
    """Cells with data whose values are all finite, from which they were derived."""
    explained_variance_ratio: list[float]
    """Share of all variance along each of them."""
    stored_bytes: int
    """Size of the objects that hold them."""
    derived: bool
    """Whether they were derived now; False if the store had them."""


def keep_components(
    store: str | os.PathLike[str] | None = None,
    count: int | None = None,
    *,
    overwrite: bool = False,
    break_lock: bool = False,
    workers: int | None = None,
    storage_options: StorageOptions | None = None,
    timeout: float = TIMEOUT_SECONDS,
    progress: Progress | bool | None = None,
) -> ComponentsReport:
    """Derive the principal components of a store's cells, and keep them in the store.

    :meth:`cop_zarr.Store.components`, plots and searches for similar places then read them instead of
    deriving them each time. They are bound to the store's SHA-256, and checked on reading like chunks;
    ``zarr.json`` of the store stays as it is, and other readers pass over them. If this is interrupted or
    killed, nothing of them is believed.

    Parameters
    ----------
    store : str or path, optional
        A path or an fsspec URL; by default what ``COP_ZARR_STORE`` names.
    count : int, optional
        How many; by default 64, or as many as there are bands. If the store keeps as many or more,
        nothing is done.
    overwrite : bool
        Derive them again, and replace those that are kept: fewer, damaged or another store's.
    break_lock : bool
        As for :func:`cop_zarr.ingest`.
    workers, storage_options, timeout
        As for :func:`cop_zarr.open`.
    progress : callable or bool, optional
        True shows a bar. A function is called with the bytes done and those in all; each chunk is read
        twice.

    Returns
    -------
    ComponentsReport

    Raises
    ------
    InputError
        If ``count`` is not accepted, no cell has data, or the store can only be read.
    StoreExistsError
        If the store keeps fewer components, or holds other files where they would be; StoreBusyError if
        another process is writing there.
    ComponentsError
        If those kept are damaged or another store's, and ``overwrite`` is not set.
    StoreNotFoundError, StoreError, ChunkError, StorageError
        If the store cannot be read, or not be written.
    """
    folder = Run(storage_options=storage_options, timeout=timeout).folder(store)
    document = read_document(folder)
    check_count(count, document.layout.bands)
    reader = open_reader(folder, document, workers)
    if not overwrite and (kept := _enough(reader, count)):
        return _report(kept, derived=False)
    count = min(DEFAULT_COUNT, document.layout.bands) if count is None else int(count)
    with _says_what_else(folder, InputError):
        folder.check_writable()
    with _says_what_else(folder, StorageError), progress_bar(progress, "components") as advance:
        derive_into(folder, document, reader, count, advance, break_lock=break_lock)
    kept = read_kept(reader)
    if kept is None:
        raise StoreError(f"the components written to {folder.url} were removed meanwhile")
    return _report(kept, derived=True)


def _enough(reader: ChunkReader, count: int | None) -> KeptComponents | None:
    """The components that a store keeps, if it keeps any; StoreExistsError if they are too few.

    Those read in any case are checked here; ``verify`` checks all.
    """
    kept = read_kept(reader)
    if kept is not None and (count or 0) > kept.count:
        raise StoreExistsError(
            f"{reader.folder.url} keeps {kept.count} components; replace them by {count} with "
            "overwrite=True"
        )
    for name in NUMBERS if kept else ():
        getattr(kept, name)
    return kept


def _is_inside(key: str) -> bool:
    return key.startswith(f"{COMPONENTS}/")


@contextmanager
def _says_what_else(folder: Folder, kind: type[InputError | StorageError]) -> Iterator[None]:
    """Where a store cannot be written, say how to have its components nevertheless."""
    try:
        yield
    except UnreachableError:
        raise
    except kind as error:
        raise type(error)(
            f"{error}. Have its components in a file: cop-zarr components {shlex.quote(folder.url)} --to "
            "FILE.nc, or in memory: store.components()"
        ) from error


def derive_into(
    folder: Folder,
    document: StoreDocument,
    reader: ChunkReader,
    count: int,
    progress: Progress | None,
    *,
    break_lock: bool = False,
) -> None:
    """Derive a store's components, and write them into its folder or another one, as a whole."""
    with folder.locked(break_lock=break_lock):
        if reader.is_replaced():
            raise reader.replaced_error()
        check_only_store_objects(folder, lambda key: not _is_inside(key) or is_store_key(key))
        _write(folder, document, reader, count, progress)
        folder.publish_group(COMPONENTS)


def _write(
    folder: Folder, document: StoreDocument, reader: ChunkReader, count: int, progress: Progress | None
) -> None:
    """Derive components, and write them where they are no part of the store yet; their root last."""
    valid = reader.read_valid()
    selection = CellSelection(document.layout.grid, document.layout.grid.whole, valid)
    advance = cell_counter(2 * selection.size, 4 * document.layout.bands, progress)
    found = fit(reader, selection, count, advance)
    check_any(found, folder.url)
    maps = project(reader, selection, found, advance)
    staging = folder.group_staging
    if staging is folder:
        _clear(folder)
    chunks = {}
    for key, data in _encode(maps, valid):
        staging.write(key, data)
        chunks[key] = len(data), crc32c(data)
    arrays = {
        "mean": found.mean,
        "axes": found.axes,
        "explained_variance": found.explained_variance,
        "explained_variance_ratio": found.explained_variance_ratio,
    }
    objects = component_documents(
        document, count, arrays, cells=found.cells, created=settings.timestamp(), chunks=chunks
    )
    small = [key for key in objects if key != COMPONENTS_ROOT]
    for key in small:
        staging.write(key, objects[key])
    staging.flush([*chunks, *small])
    staging.write(COMPONENTS_ROOT, objects[COMPONENTS_ROOT])
    staging.flush([COMPONENTS_ROOT])


def _clear(folder: Folder) -> None:
    """Remove components from an object store, the root first: without it, nobody believes the rest."""
    listing = folder.listing() or {}
    folder.remove(key for key in listing if key == COMPONENTS_ROOT)
    folder.remove(key for key in listing if COMPONENT_KEYS.fullmatch(key))


def _encode(maps: dict[str, np.ndarray], valid: np.ndarray) -> Iterator[tuple[str, bytes]]:
    """Encode what is kept of cells as maps of the whole grid, NaN where there is no data."""
    depth = min(CHUNK_COMPONENTS, len(maps["scores"]))
    whole = np.empty((depth, *valid.shape), "<f4")
    for name, values in maps.items():
        size = depth if name == "scores" else 1
        for number in range(-(-len(values) // size)):
            part = values[number * size : (number + 1) * size]
            whole[:] = np.nan
            whole[: len(part), valid] = part
            yield f"{COMPONENTS}/{map_key(name, number)}", encode(whole[:size])


def _report(kept: KeptComponents, *, derived: bool) -> ComponentsReport:
    return ComponentsReport(
        store=kept.reader.folder.url,
        count=kept.count,
        cells=kept.cells,
        explained_variance_ratio=kept.explained_variance_ratio.tolist(),
        stored_bytes=sum(record.length for record in kept.objects.values()),
        derived=derived,
    )
