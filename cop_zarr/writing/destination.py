"""May a store be written here? Nothing is touched but a cop-zarr store, or the beginning of one."""

from __future__ import annotations

from cop_zarr.errors import StoreExistsError
from cop_zarr.format.document import is_store
from cop_zarr.format.layout import ROOT, ROOT_COPY, belongs
from cop_zarr.storage import WORK, Folder
from cop_zarr.writing.journal import Job


def check_destination(target: Folder, *, overwrite: bool, resume: bool) -> None:
    """Refuse a place that a store cannot or must not be written to.

    Parameters
    ----------
    target : Folder
        The place.
    overwrite : bool
        Whether a store that is there, finished or not, may be replaced.
    resume : bool
        Whether an unfinished one may be gone on with.

    Raises
    ------
    StoreExistsError
        If there is something that may not be replaced.
    InputError, StorageError
        If the place can only be read, or cannot be replaced as a whole.
    """
    target.check_writable()
    staging = target.staging
    left = Job.read(staging)
    begun = left is not None and staging is target
    there = target.names()
    store = bool(there) and is_store_place(target)
    if there and not store and not begun and set(there) != {WORK.rstrip("/")}:
        raise StoreExistsError(
            f"{target.url} exists and is not a cop-zarr store; name another place for the store"
        )
    check_only_store_objects(target)
    unfinished = left is not None
    if staging is not target and staging.names():
        if left is None and is_store_place(staging):
            raise StoreExistsError(
                f"{staging.url} is a store itself, and the place where {target.url} would be written; name "
                "another place"
            )
        check_only_store_objects(staging)
        unfinished = unfinished or set(staging.names()) != {WORK.rstrip("/")}
    if overwrite:
        return
    if unfinished and not resume:
        raise StoreExistsError(
            f"{staging.url} holds an unfinished ingest: go on with --resume (resume=True), or begin anew "
            "with --overwrite (overwrite=True)"
        )
    continued = left is not None and left.overwrite
    if store and not begun and not continued and (unfinished or not resume):
        raise StoreExistsError(
            f"{target.url} is a store already; replace it with --overwrite (overwrite=True)"
        )


def is_store_place(target: Folder) -> bool:
    """Whether the ``zarr.json`` of a cop-zarr store is there, or its copy."""
    for key in (ROOT, ROOT_COPY):
        try:
            if is_store(target.read(key)):
                return True
        except FileNotFoundError:
            continue
    return False


def check_only_store_objects(place: Folder) -> None:
    """Refuse a place that holds anything which is no part of a store.

    Raises
    ------
    StoreExistsError
        If it does: it would be lost.
    """
    foreign = sorted(key for key in place.listing() or () if not belongs(key))
    if foreign:
        raise StoreExistsError(
            f"{place.url} holds {', '.join(foreign[:3])}, which no store has, and which would be lost; "
            "move it elsewhere, or name another place for the store"
        )
