"""Decide whether a store may be written to a folder, and whether to start or to resume.

Only a cop-zarr store, or what an ingest left of one, is ever replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from cop_zarr.errors import StoreExistsError
from cop_zarr.format.document import is_store
from cop_zarr.format.layout import ROOT, ROOT_COPY, is_leftover_key, is_store_key, is_stray_key
from cop_zarr.storage import REPLACED, STAGED, STAGED_GROUP, WORK, Folder, local_path, read_if_there
from cop_zarr.writing.journal import IngestJob, Journal


class State(Enum):
    """What is in a destination."""

    EMPTY = auto()
    STORE = auto()
    UNFINISHED = auto()  # an ingest that may be resumed, if only to remove what it needed
    UNFINISHED_BESIDE_STORE = auto()  # one that was not started to replace the store that is there
    STORE_AT_STAGING = auto()  # another store has the name that the store would have while it is written
    OTHER = auto()


STORE_EXISTS = "{target} is a store already; replace it with overwrite=True"
UNFINISHED = (
    "{work} holds an unfinished ingest: resume it with resume=True, or start again with overwrite=True"
)
STAGING_IS_STORE = (
    "{work} is a store itself, and the place where {target} would be written; name another place"
)
NOT_A_STORE = "{target} exists and is not a cop-zarr store; name another place for the store"
FILE = "{target} is a file, and a store is a folder: name another place for it, after that of the source"

START, RESUME = False, True

DECISIONS: dict[State, tuple[bool | str, bool | str, bool | str, bool | str]] = {
    # state                        no option         --resume      --overwrite       both
    State.EMPTY: (START, START, START, START),
    State.STORE: (STORE_EXISTS, RESUME, START, RESUME),
    State.UNFINISHED: (UNFINISHED, RESUME, START, RESUME),
    State.UNFINISHED_BESIDE_STORE: (UNFINISHED, STORE_EXISTS, START, RESUME),
    State.STORE_AT_STAGING: (STAGING_IS_STORE, STAGING_IS_STORE, STAGING_IS_STORE, STAGING_IS_STORE),
    State.OTHER: (NOT_A_STORE, NOT_A_STORE, NOT_A_STORE, NOT_A_STORE),
}
"""Whether an ingest starts or resumes in each state, or the message of the refusal."""


def check_destination(target: Folder, *, overwrite: bool, resume: bool) -> bool:
    """Return whether to resume what is in a destination if it is of the same source, or to start.

    Raises StoreExistsError if it holds something that may not be replaced, InputError or StorageError if it
    cannot be written, or not be replaced as a whole.
    """
    target.check_writable()
    path = local_path(target.url)
    if path is not None and path.is_file():
        raise StoreExistsError(FILE.format(target=target.url))
    decision = DECISIONS[classify(target)][2 * overwrite + resume]
    if isinstance(decision, str):
        raise StoreExistsError(decision.format(target=target.url, work=target.work.url))
    return decision


def classify(target: Folder) -> State:
    """Look what is in a destination.

    Raises StoreExistsError if there are objects that no store has.
    """
    work, job = target.work, IngestJob.read(target)
    in_place = work is target  # on an object store
    names = [name for name in target.names() if not _is_stray_name(name)]
    has_store = bool(names) and holds_store(target)
    if _more_than_lock(names) and not has_store and not (in_place and job):
        return State.OTHER
    check_only_store_objects(target)
    if in_place:
        return State.UNFINISHED if job else State.STORE if has_store else State.EMPTY
    names = [name for name in work.names() if not _is_stray_name(name)]
    if holds_store(work):
        return State.STORE_AT_STAGING
    check_only_store_objects(work, _is_work_key)
    if job is None and not _more_than_lock(names):
        return State.STORE if has_store else State.EMPTY
    replaces = job is not None and (job.overwrite or Journal(target, job).is_published())
    return State.UNFINISHED_BESIDE_STORE if has_store and not replaces else State.UNFINISHED


def holds_store(folder: Folder) -> bool:
    """Whether a folder holds the ``zarr.json`` of a cop-zarr store, or its copy."""
    found = (read_if_there(folder, key) for key in (ROOT, ROOT_COPY))
    return any(data is not None and is_store(data) for data in found)


def check_only_store_objects(folder: Folder, is_ours: Callable[[str], bool] = is_store_key) -> None:
    """Raise StoreExistsError if a folder holds anything else, unless other programs leave it anywhere."""
    foreign = sorted(key for key in folder.listing() or () if not (is_ours(key) or is_stray_key(key)))
    if foreign:
        raise StoreExistsError(
            f"{folder.url} holds {', '.join(foreign[:3])}, which no store has; move it elsewhere, or name "
            "another place for the store"
        )


def _is_stray_name(name: str) -> bool:
    """Whether all that is directly inside a folder under a name is stray."""
    return is_stray_key(name) or is_stray_key(f"{name}/")


def _is_work_key(key: str) -> bool:
    """Whether a key is one that an ingest, or a new group, may have in ``NAME.partial``."""
    top, _, rest = key.partition("/")
    return is_store_key(rest) if top in {STAGED, STAGED_GROUP, REPLACED} else is_leftover_key(key)


def _more_than_lock(names: list[str]) -> bool:
    """Whether a folder holds more than an empty journal, as a kill leaves it, and the half of a group."""
    return bool(set(names) - {WORK.rstrip("/"), STAGED_GROUP})
