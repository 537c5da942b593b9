"""A folder on a disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from cop_zarr import system
from cop_zarr.errors import StorageError, StoreExistsError
from cop_zarr.storage.files import disk_error, disk_errors, read_start, remove, replacing, sync
from cop_zarr.storage.locks import file_lock
from cop_zarr.storage.names import LOCK_SUFFIX, PARTIAL_SUFFIX, REPLACED, SMALL_BYTES, WORK


class LocalFolder:
    """A folder on a disk; see :class:`cop_zarr.storage.Folder`."""

    remote = False

    def __init__(self, path: Path) -> None:
        self.url = str(path)
        self._root = path.absolute()  # the working directory may change
        self._prefix = f"{self._root}/"
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
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(path) from None
        except OSError as error:
            raise disk_error(f"cannot read {path}", error) from error

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

    @property
    def staging(self) -> LocalFolder:
        """``NAME.partial`` beside this folder, renamed when it is complete."""
        return LocalFolder(self._partial)

    @property
    def _final(self) -> Path:
        return self._root.resolve()

    @property
    def _partial(self) -> Path:
        return self._final.with_name(self._final.name + PARTIAL_SUFFIX)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock :attr:`staging` with a file lock, which ends with the process."""
        self.check_writable()
        partial = self._partial
        # beside the folder, which can be moved on every system while the lock is held
        lock = partial.with_name(partial.name + LOCK_SUFFIX)
        with disk_errors(f"cannot create {lock.parent}"):
            lock.parent.mkdir(parents=True, exist_ok=True)
        busy = f"another ingest, repair or batch is writing to {partial}; wait for it to end"
        with file_lock(lock, busy):
            self._undo_publishing()
            try:
                with disk_errors(f"cannot create {partial}"):
                    partial.mkdir(exist_ok=True)
                yield
            finally:
                for path in (partial / WORK, partial, self._final / WORK):
                    with contextlib.suppress(OSError):
                        path.rmdir()  # unless it holds something to resume

    def publish(self, *, replace: bool) -> None:
        """Rename :attr:`staging` to this folder; a store that is there is moved into it meanwhile."""
        final, partial = self._final, self._partial
        aside = partial / REPLACED
        with disk_errors(f"cannot move {partial} to {final}"):
            for parent, _, _ in os.walk(partial):
                sync(Path(parent))
            if replace and final.exists():
                shutil.rmtree(aside, ignore_errors=True)
                aside.parent.mkdir(exist_ok=True)
                final.rename(aside)
            with contextlib.suppress(OSError):
                final.rmdir()  # if it is an empty folder
            try:
                partial.rename(final)
            except OSError as error:
                if not replace and final.exists():
                    raise StoreExistsError(f"{final} was created meanwhile: {error.strerror}") from error
                if aside.exists():
                    aside.rename(final)
                raise
            sync(final.parent)

    def _undo_publishing(self) -> None:
        """Restore the old store if a process was killed just after it had moved it."""
        aside = self._partial / REPLACED
        if not self._final.exists() and aside.exists():
            with disk_errors(f"cannot move {aside} to {self._final}"):
                aside.rename(self._final)

    def remove_work(self) -> None:
        """Remove what an ingest needed for itself, and the store that was replaced."""
        work = self._root / WORK
        with disk_errors(f"cannot remove {work}"), contextlib.suppress(FileNotFoundError):
            for path in work.iterdir():
                remove(path)
            work.rmdir()

    def check_writable(self) -> None:
        """Raise StorageError for a mount point, StoreExistsError if ``NAME.partial`` is not a folder."""
        final = self._final
        if os.path.ismount(final):  # Path.is_mount does not work on Windows before Python 3.12
            raise StorageError(f"{final} is a mount point and cannot be replaced: name a folder inside it")
        partial = self._partial  # which "/" has none of
        for needed in (partial, partial / WORK.rstrip("/")):
            if needed.is_symlink() or (needed.exists() and not needed.is_dir()):
                raise StoreExistsError(f"{needed} is in the way: it is not a folder")

    def _create_folder(self, parent: Path) -> None:
        """Create a folder unless this was done before; refuse one outside this folder (behind a link)."""
        if parent in self._created:
            return
        parent.mkdir(parents=True, exist_ok=True)
        if not parent.resolve().is_relative_to(self._final):
            raise StorageError(f"{parent} leads out of {self._root}")
        self._created.add(parent)
