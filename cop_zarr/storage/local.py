"""A folder on a disk."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cop_zarr import system
from cop_zarr.errors import StorageError, StoreExistsError
from cop_zarr.storage.exchange import exchange
from cop_zarr.storage.file_locks import file_lock
from cop_zarr.storage.files import (
    disk_error,
    disk_errors,
    read_error,
    read_start,
    remove,
    replacing,
    sync,
)
from cop_zarr.storage.locks import Lock
from cop_zarr.storage.names import (
    LOCK_SUFFIX,
    PARTIAL_SUFFIX,
    REPLACED,
    SMALL_BYTES,
    STAGED,
    STAGED_GROUP,
    WORK,
)
from cop_zarr.storage.obstacles import make_room
from cop_zarr.storage.open_files import OpenFiles
from cop_zarr.storage.own_files import OwnFiles

logger = logging.getLogger(__name__)


class LocalFolder:
    """A folder on a disk; see :class:`cop_zarr.storage.Folder`."""

    remote = False

    def __init__(self, path: Path, url: str | None = None) -> None:
        self.url = str(path) if url is None else url
        self._root = path.absolute()  # the working directory may change
        self._final = Path(os.path.realpath(self._root))  # what is locked and published
        self._prefix = f"{self._root}/"
        self._open_files = OpenFiles()
        self._created: set[Path] = set()  # folders known to exist, so that each is created once

    def read(self, key: str, limit: int = SMALL_BYTES) -> bytes:
        """Read an object, or its first ``limit`` bytes."""
        # Strings and descriptors, because a Path and a file object take a third of the time of a read.
        path = self._prefix + key
        try:
            descriptor = os.open(path, system.READ_FLAGS)
            try:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):  # a folder, or a pipe, which would block
                    raise FileNotFoundError(path)
                return read_start(descriptor, min(found.st_size, limit))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise read_error(path, error) from None

    def read_range(self, key: str, start: int, count: int) -> bytes:
        """Read a part of an object, shorter where the object ends; its file is kept open."""
        path = self._prefix + key
        try:
            return self._open_files.read(path, start, count)
        except OSError as error:
            raise read_error(path, error) from None

    def forget(self, key: str) -> None:
        """Have :meth:`read_range` read what an object is now, if it was replaced since it was opened."""
        self._open_files.forget(self._prefix + key)

    def write(self, key: str, data: bytes) -> None:
        """Write an object that nobody reads yet."""
        path = self._root / key
        with disk_errors(f"cannot write {path}"):
            self._create_folder(path.parent)
            path.write_bytes(data)

    def replace(self, key: str, data: bytes) -> None:
        """Write an object atomically: readers see the old one or the new one."""
        path = self._root / key
        with disk_errors(f"cannot write {path}"):
            self._create_folder(path.parent)
        with replacing(path) as partial:
            partial.write_bytes(data)

    def make_room(self, key: str) -> None:
        """Clear away what is in the place of an object or of one of its folders, such as a socket."""
        path = self._root / key
        with disk_errors(f"cannot clear {path}"):
            make_room(self._root, path)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless there is one; return whether it was written."""
        path = self._root / key
        with disk_errors(f"cannot write {path}"):
            self._create_folder(path.parent)
            try:
                with path.open("xb") as file:
                    file.write(data)
            except FileExistsError:
                return False
        return True

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects, and the folders that they leave empty."""
        for key in keys:
            path = self._root / key
            with disk_errors(f"cannot remove {path}"), contextlib.suppress(NotADirectoryError):
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # the folder is not empty
                while (path := path.parent) != self._root:
                    path.rmdir()
                    self._created.discard(path)

    def listing(self) -> dict[str, int]:
        """Return every object's key and size."""

        def fail(error: OSError) -> None:  # without it, os.walk skips what it cannot list
            if not isinstance(error, FileNotFoundError):
                raise disk_error(f"cannot list {error.filename}", error) from error

        found = {}
        for parent, folders, names in os.walk(self._root, onerror=fail):
            paths = [Path(parent, name) for name in names]
            links = (path for name in folders if (path := Path(parent, name)).is_symlink())
            for path in (*paths, *links):
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    found[path.relative_to(self._root).as_posix()] = path.lstat().st_size
        return found

    def names(self) -> list[str]:
        """List the names directly inside."""
        with disk_errors(f"cannot list {self._root}"):
            try:
                return sorted(path.name for path in self._root.iterdir())
            except FileNotFoundError:
                return []
            except NotADirectoryError:
                raise StorageError(f"{self._root} is a file, not a folder with a store") from None

    def flush(self, keys: Iterable[str]) -> None:
        """Sync objects and their folders to the disk."""
        paths = {self._root / key for key in keys}
        for path in (*paths, *{path.parent for path in paths}):
            sync(path)

    def pinned(self) -> LocalFolder:
        """Return this folder by the path that its links lead to now, whatever they lead to later."""
        return LocalFolder(self._final, self.url)

    def own_files(self) -> OwnFiles:
        """The objects of this folder for others to read: none that a link leads out to."""
        return OwnFiles(self._final)

    @property
    def work(self) -> LocalFolder:
        """``NAME.partial`` beside this folder, with the journal of an ingest and :attr:`staging`."""
        return LocalFolder(self._partial)

    @property
    def staging(self) -> LocalFolder:
        """Where a store is written until it is whole."""
        return LocalFolder(self._partial / STAGED)

    @property
    def group_staging(self) -> LocalFolder:
        """Where a group is written until it is whole, while this folder is locked."""
        return LocalFolder(self._partial / STAGED_GROUP)

    @property
    def _partial(self) -> Path:
        return self._final.with_name(self._final.name + PARTIAL_SUFFIX)

    @contextlib.contextmanager
    def locked(self, *, break_lock: bool = False) -> Iterator[None]:
        """Lock :attr:`work` with a file lock, which ends with the process and cannot be broken.

        Where the disk has none, as on an object store, by a record of who has it.
        """
        self.check_writable()
        partial = self._partial
        # beside the folder, which can be moved on every system while the lock is held
        lock = partial.with_name(partial.name + LOCK_SUFFIX)
        with disk_errors(f"cannot create {lock.parent}"):
            lock.parent.mkdir(parents=True, exist_ok=True)
        busy = f"another ingest, repair or batch is writing to {partial}; wait for it to end"
        beside, record = LocalFolder(lock.parent, str(partial)), f"{lock.name}.json"
        remedy = f"remove {lock.parent / record}"  # a batch has no --break-lock
        with file_lock(lock, busy, lambda: Lock(beside, record, break_lock=break_lock, remedy=remedy)):
            self._end_renaming()
            try:
                with disk_errors(f"cannot create {partial}"):
                    partial.mkdir(exist_ok=True)
                    remove(partial / STAGED_GROUP)  # of a run that was killed
                yield
            finally:
                with contextlib.suppress(OSError):
                    remove(partial / STAGED_GROUP)
                for path in (partial / WORK, partial / STAGED, partial):
                    with contextlib.suppress(OSError):
                        path.rmdir()  # unless it holds something to resume

    def publish(self, *, replace: bool) -> None:
        """Give :attr:`staging` this folder's name; an old store that has it gets the name of staging."""
        final, staged = self._final, self._partial / STAGED
        with disk_errors(f"cannot move {staged} to {final}"):
            for parent, _, _ in os.walk(staged):
                sync(Path(parent))
            if final.is_symlink():
                raise StoreExistsError(f"{final} has become a link meanwhile")
            if not (replace and final.exists() and exchange(staged, final)):
                self._rename(staged, final, replace=replace)
            self._created.clear()  # in the old store
            sync(self._partial)
            sync(final.parent)

    def publish_group(self, name: str) -> None:
        """Move a group from :attr:`group_staging` to its place, in exchange for one that is there."""
        staged, final = self._partial / STAGED_GROUP / name, self._final / name
        with disk_errors(f"cannot move {staged} to {final}"):
            for parent, _, _ in os.walk(staged):
                sync(Path(parent))
            if not (final.exists() and exchange(staged, final)):
                remove(final)
                staged.rename(final)
            self._created.clear()  # in the old group
            sync(self._final)

    def _rename(self, staged: Path, final: Path, *, replace: bool) -> None:
        """Publish in steps; if there is an old store, there is none for a moment."""
        if replace and final.exists():
            final.rename(self._partial / REPLACED)
        with contextlib.suppress(OSError):
            final.rmdir()  # if it is an empty folder
        try:
            staged.rename(final)
        except OSError as error:
            if not replace and final.exists():
                raise StoreExistsError(f"{final} was created meanwhile: {error.strerror}") from error
            raise
        finally:
            self._end_renaming()

    def _end_renaming(self) -> None:
        """Move an old store that was renamed to where it belongs, after a kill or a failure, too."""
        aside, final, staged = self._partial / REPLACED, self._final, self._partial / STAGED
        place = next((path for path in (final, staged) if not path.exists()), None)
        if place and aside.exists():
            with disk_errors(f"cannot move {aside} to {place}"):
                aside.rename(place)

    def remove_work(self, is_ours: Callable[[str], bool]) -> None:
        """Remove what an ingest needed for itself, and of the store that was replaced what ``is_ours``.

        Whatever else is there, perhaps saved a moment before, is put into this folder under the same key.
        """
        self._remove_old(self.staging, is_ours)
        work = self._partial / WORK
        with disk_errors(f"cannot remove {work}"), contextlib.suppress(FileNotFoundError):
            for path in sorted(work.iterdir()):  # the job after its blocks
                remove(path)

    def _remove_old(self, old: LocalFolder, is_ours: Callable[[str], bool]) -> None:
        old.remove(filter(is_ours, old.listing()))
        for key in old.listing():
            source, target = old._root / key, self._root / key
            with disk_errors(f"cannot move {source} to {target}"):
                if not os.path.lexists(target):
                    self._create_folder(target.parent)
                    source.rename(target)
        for parent, _, _ in os.walk(old._root, topdown=False):
            with contextlib.suppress(OSError):
                Path(parent).rmdir()  # unless something was saved there just now
        if old._root.exists():
            logger.warning("%s holds files that were in the store that was replaced", old._root)

    def check_writable(self) -> None:
        """Raise StorageError for a mount point, StoreExistsError if ``NAME.partial`` is not a folder."""
        final = self._final
        if os.path.ismount(final):  # Path.is_mount does not work on Windows before Python 3.12
            raise StorageError(f"{final} is a mount point and cannot be replaced: name a folder inside it")
        partial = self._partial  # which "/" has none of
        for needed in (partial, *(partial / name for name in (WORK, STAGED, STAGED_GROUP, REPLACED))):
            if needed.is_symlink() or (needed.exists() and not needed.is_dir()):
                raise StoreExistsError(f"{needed} is in the way: it is not a folder")

    def _create_folder(self, parent: Path) -> None:
        """Create a folder unless this was done before; refuse one behind a link."""
        if parent in self._created:
            return
        if os.path.realpath(parent) != str(self._final / parent.relative_to(self._root)):
            raise StorageError(f"{parent} is a link, or below one; nothing is written through it")
        parent.mkdir(parents=True, exist_ok=True)
        self._created.add(parent)
