"""A folder on a disk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from cop_zarr.errors import AccessError, CopZarrError, StorageError, StoreBusyError, StoreExistsError
from cop_zarr.storage.names import LOCK, PARTIAL_SUFFIX, REPLACED, SMALL_BYTES, WORK


class LocalFolder:
    """A folder on a disk."""

    remote = False

    def __init__(self, path: Path) -> None:
        self._url = str(path)
        self._root = path.absolute()  # it stays this place when the working directory changes
        self._prefix = f"{self._root}/"
        self._made: set[Path] = set()  # folders known to exist, so that each is made once

    @property
    def url(self) -> str:
        """The path as it was given."""
        return self._url

    def read(self, key: str, limit: int = SMALL_BYTES) -> bytes:
        """Read an object, or its first ``limit`` bytes."""
        # A text and a descriptor, not a Path and a file object: those take a third of the time of a read.
        path = self._prefix + key
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):  # a folder, or a pipe that would never end
                    raise FileNotFoundError(path)
                return _bytes(descriptor, min(found.st_size, limit))
            finally:
                os.close(descriptor)
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(path) from None
        except OSError as error:
            raise _failure(f"cannot read {path}", error) from error

    def write(self, key: str, data: bytes) -> None:
        """Write a whole object, that nobody reads yet."""
        path = self._root / key
        with _telling(f"cannot write {path}"):
            self._make(path.parent)
            path.write_bytes(data)

    def replace(self, key: str, data: bytes) -> None:
        """Write an object that others may be reading: they see the old one or the new one."""
        path = self._root / key
        with _telling(f"cannot write {path}"):
            self._make(path.parent)
        with replacing(path) as partial:
            partial.write_bytes(data)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are gone already."""
        for key in keys:
            path = self._root / key
            with _telling(f"cannot remove {path}"), contextlib.suppress(NotADirectoryError):
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # a folder that still holds something stays
                while (path := path.parent) != self._root:
                    path.rmdir()
                    self._made.discard(path)

    def listing(self) -> dict[str, int]:
        """Every object's key and size."""

        def fail(error: OSError) -> None:  # or os.walk passes over what it may not list
            if not isinstance(error, FileNotFoundError):
                raise _failure(f"cannot list {error.filename}", error) from error

        found = {}
        for parent, folders, names in os.walk(self._root, onerror=fail):
            paths = [Path(parent, name) for name in names]
            links = (path for name in folders if (path := Path(parent, name)).is_symlink())
            for path in (*paths, *links):
                with contextlib.suppress(FileNotFoundError):  # it has gone meanwhile
                    found[path.relative_to(self._root).as_posix()] = path.lstat().st_size
        return found

    def names(self) -> list[str]:
        """List the names directly inside."""
        try:
            return sorted(path.name for path in self._root.iterdir())
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            raise StorageError(f"{self._root} is not a folder, so it holds no store") from None
        except OSError as error:
            raise _failure(f"cannot list {self._root}", error) from error

    def flush(self, keys: Iterable[str]) -> None:
        """Have objects that were written reach the disk."""
        paths = {self._root / key for key in keys}
        for path in (*paths, *{path.parent for path in paths}):
            _sync(path)

    @property
    def staging(self) -> LocalFolder:
        """``NAME.partial`` beside this folder, which is renamed when it is whole."""
        return LocalFolder(self._partial)

    @property
    def _partial(self) -> Path:
        final = self._root.resolve()
        return final.with_name(final.name + PARTIAL_SUFFIX)

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Have :attr:`staging` to oneself; a process that is killed gives it back."""
        self.check_writable()
        partial = self._partial
        lock = partial / LOCK
        with _telling(f"cannot create {partial}"):
            lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            with _telling(f"cannot lock {lock}"):
                locked = _locked(descriptor, lock)
            if not locked:
                raise StoreBusyError(
                    f"another ingest, repair or batch is writing to {partial}; wait for it to end"
                )
            self._undo_publishing()
            try:
                yield
            finally:
                for held in (lock, self._root.resolve() / LOCK):  # it has moved if this was published
                    with contextlib.suppress(OSError):
                        if _is(descriptor, held):
                            held.unlink()
        finally:
            os.close(descriptor)
            for empty in (lock.parent, partial, self._root.resolve() / WORK):
                with contextlib.suppress(OSError):
                    empty.rmdir()  # unless there is something in it to go on with

    def publish(self, *, replace: bool) -> None:
        """Rename :attr:`staging` to this folder's name; a store that is there goes into it for a while."""
        final, partial = self._root.resolve(), self._partial
        aside = partial / REPLACED
        with _telling(f"cannot move {partial} to {final}"):
            for parent, _, _ in os.walk(partial):
                _sync(Path(parent))
            if replace and final.exists():
                shutil.rmtree(aside, ignore_errors=True)
                final.rename(aside)
            try:
                partial.rename(final)  # which an empty folder does not hinder, and anything else does
            except OSError as error:
                if not replace and final.exists():
                    raise StoreExistsError(
                        f"{final} has come into being meanwhile: {error.strerror}"
                    ) from error
                if aside.exists():
                    aside.rename(final)
                raise
            _sync(final.parent)

    def _undo_publishing(self) -> None:
        """Bring back the old store, if a process was killed when it had just moved that out of the way."""
        final, partial = self._root.resolve(), self._partial
        if not final.exists() and (partial / REPLACED).exists():
            with _telling(f"cannot move {partial / REPLACED} to {final}"):
                (partial / REPLACED).rename(final)

    def sweep(self) -> None:
        """Remove what an ingest needed for itself, and the store that was replaced."""
        work = self._root / WORK
        with _telling(f"cannot remove {work}"), contextlib.suppress(FileNotFoundError):
            for path in work.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            with contextlib.suppress(OSError):  # a network disk keeps the lock until it is closed
                work.rmdir()

    def check_writable(self) -> None:
        """Refuse a place that cannot be replaced as a whole.

        Raises
        ------
        StorageError
            If it is a mount point.
        StoreExistsError
            If the name of what is not whole yet leads elsewhere.
        """
        final = self._root.resolve()
        if final.is_mount():
            raise StorageError(f"{final} is a mount point and cannot be replaced: name a folder inside it")
        partial = self._partial
        for needed in (partial, partial / WORK.rstrip("/")):
            if needed.is_symlink() or (needed.exists() and not needed.is_dir()):
                raise StoreExistsError(f"{needed} is in the way: it is not a folder")

    def _make(self, parent: Path) -> None:
        """Make a folder, once; refuse one that a link leads out of this one."""
        if parent in self._made:
            return
        parent.mkdir(parents=True, exist_ok=True)
        if not parent.resolve().is_relative_to(self._root.resolve()):
            raise StorageError(f"{parent} leads out of {self._root}")
        self._made.add(parent)


def _bytes(descriptor: int, count: int) -> bytes:
    """Read so many bytes, in as many goes as it takes, or up to the end."""
    data = os.read(descriptor, count)
    while len(data) < count and (more := os.read(descriptor, count - len(data))):
        data += more
    return data


def _locked(descriptor: int, lock: Path) -> bool:
    """Lock an open file; False if somebody else has, or has just removed it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _is(descriptor, lock)
    except (BlockingIOError, FileNotFoundError):
        return False


def _is(descriptor: int, path: Path) -> bool:
    return os.path.samestat(path.stat(), os.fstat(descriptor))


def _failure(what: str, error: OSError) -> StorageError:
    kind = AccessError if isinstance(error, PermissionError) else StorageError
    return kind(f"{what}: {error.strerror or error}")


@contextlib.contextmanager
def _telling(what: str) -> Iterator[None]:
    """Turn what the operating system says into an error that says what could not be done."""
    try:
        yield
    except CopZarrError:  # told already; some are OSErrors, too
        raise
    except OSError as error:
        raise _failure(what, error) from error


def _sync(path: Path) -> None:
    """Have a file's bytes, or a folder's names, reach the disk; a full disk may say so only now."""
    with _telling(f"cannot write {path}"):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if not (path.is_dir() and error.errno in {errno.EINVAL, errno.ENOTSUP}):
                raise  # some network disks know no sync of folders, and need none
        finally:
            os.close(descriptor)


def file_stamp(file: Path | int) -> tuple[int, ...]:
    """Size, times and inode of a file (path or descriptor): they change when it is written to or replaced.

    Its device is left out: its number may be another after a restart.
    """
    found = os.stat(file)  # noqa: PTH116  # a Path knows no descriptor
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def check_absent(path: Path, *, overwrite: bool) -> None:
    """Refuse a file that exists.

    Raises
    ------
    StoreExistsError
        If it exists, and ``overwrite`` is not set.
    StorageError
        If that cannot be told.
    """
    try:
        exists = path.exists()
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
    if exists and not overwrite:
        raise StoreExistsError(f"{path} exists; replace it with --overwrite (overwrite=True)")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the path of a new file that becomes ``path`` when the context is left without an exception.

    Its name is nobody else's, so that two processes that write the same file each write a whole one. When
    it gets its name, it is on the disk.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{PARTIAL_SUFFIX}")
    try:
        with _telling(f"cannot write {path}"):
            yield partial
            _sync(partial)
            partial.replace(path)
            _sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
