"""A folder on a disk."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from cop_zarr.errors import StorageError, StoreExistsError

PARTIAL_SUFFIX = ".partial"
"""What the name of a folder or file ends in until it is whole."""


class LocalFolder:
    """A folder on a disk."""

    def __init__(self, path: Path) -> None:
        self._url = str(path)
        self._root = path.absolute()  # it stays this place when the working directory changes
        self._made: set[Path] = set()  # folders known to exist, so that each is made once

    @property
    def url(self) -> str:
        """The path as it was given."""
        return self._url

    def read(self, key: str) -> bytes:
        """Read a whole object."""
        try:
            # A text, not a Path: joining one takes 3 µs, a fifth of what reading the file takes.
            with open(f"{self._root}/{key}", "rb", buffering=0) as file:  # noqa: PTH123
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(f"{self._root}/{key}") from None
        except OSError as error:
            raise StorageError(f"cannot read {self._root}/{key}: {error.strerror}") from error

    def write(self, key: str, data: bytes) -> None:
        """Write a whole object."""
        path = self._root / key
        try:
            if path.parent not in self._made:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._made.add(path.parent)
            path.write_bytes(data)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}") from error

    def listing(self) -> Iterator[str]:
        """List every object's key."""

        def fail(error: OSError) -> None:  # or os.walk passes over what it may not list
            if not isinstance(error, FileNotFoundError):
                raise StorageError(f"cannot list {error.filename}: {error.strerror}") from error

        for parent, _, names in os.walk(self._root, onerror=fail):
            for name in names:
                yield Path(parent, name).relative_to(self._root).as_posix()

    def names(self) -> list[str]:
        """List the names directly inside."""
        try:
            return sorted(path.name for path in self._root.iterdir())
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            raise StorageError(f"{self._root} is not a folder, so it holds no store") from None
        except OSError as error:
            raise StorageError(f"cannot list {self._root}: {error.strerror}") from error

    @contextlib.contextmanager
    def staged(self) -> Iterator[LocalFolder]:
        """Write into ``<name>.partial`` beside this folder, and rename it when it is whole."""
        final = self._root.resolve()
        partial = final.with_name(final.name + PARTIAL_SUFFIX)
        if final.is_mount():
            raise StorageError(f"{final} is a mount point and cannot be replaced: name a folder inside it")
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            partial.mkdir()
        except FileExistsError as error:
            raise StoreExistsError(
                f"{partial} exists: another ingest is writing there, or one was killed. If none is "
                f"running, remove it and start again: rm -r {shlex.quote(str(partial))}"
            ) from error
        except OSError as error:
            raise StorageError(f"cannot create {partial}: {error.strerror}") from error
        try:
            yield LocalFolder(partial)
            _replace(partial, final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _replace(partial: Path, final: Path) -> None:
    """Move a finished folder to its name; one that is there is moved aside, then removed."""
    try:
        if not final.exists():
            partial.rename(final)
            return
        aside = final.with_name(f"{final.name}.old-{uuid.uuid4().hex[:8]}")
        final.rename(aside)
        try:
            partial.rename(final)
        except OSError:
            aside.rename(final)
            raise
        shutil.rmtree(aside)
    except OSError as error:
        raise StorageError(f"cannot move {partial} to {final}: {error.strerror}") from error


def refuse_existing(path: Path, *, overwrite: bool) -> None:
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

    Its name is nobody else's, so that two processes that write the same file each write a whole one.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{PARTIAL_SUFFIX}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
