"""The finished parts of a batch, in a folder beside the output until they become one file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from cop_zarr.errors import StorageError, StoreExistsError
from cop_zarr.format.codec import crc32c
from cop_zarr.storage import PARTIAL_SUFFIX, REPLACED, LocalFolder, replacing
from cop_zarr.storage.exchange import exchange
from cop_zarr.storage.files import disk_errors, remove, sync

SETTINGS_NAME = "job.json"

OWN_NAMES = re.compile(
    r"job\.json|\d{6}\.(arrow|crc32c)|result.*|replaced|store|ingest|.*\.[0-9a-f]{8}\.partial"
)
"""Names in a checkpoint folder; a folder with any other is left alone."""

WRITE_OPTIONS = pa.ipc.IpcWriteOptions(unify_dictionaries=True)
"""A file has one dictionary for a column; each row group of Parquet has its own."""


class Checkpoint:
    """The finished parts of a batch: ``OUT.partial/000000.arrow`` and so on, with a checksum beside each.

    ``settings`` is everything that the vectors depend on: only a batch with the same settings may resume.
    """

    def __init__(self, out: Path, settings: dict[str, Any]) -> None:
        self._out = out.resolve()
        self._settings = json.loads(json.dumps(settings, default=str))  # as it will be read
        self._folder = self._out.with_name(self._out.name + PARTIAL_SUFFIX)

    def locked(self) -> AbstractContextManager[None]:
        """Hold an exclusive lock; raises StoreBusyError if another process has it."""
        return LocalFolder(self._out).locked()

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Check that the folder is ours, and that its parts may be resumed or overwritten."""
        names = [path.name for path in self._folder.iterdir()] if self._folder.is_dir() else []
        foreign = sorted(name for name in names if not OWN_NAMES.fullmatch(name))
        if foreign or (self._folder.exists() and not self._folder.is_dir()):
            raise StoreExistsError(
                f"{self._folder} is needed for the parts of {self._out}, and it holds "
                f"{', '.join(foreign[:3]) or 'something else'}; move it, or name another output"
            )
        if SETTINGS_NAME not in names or overwrite:
            return
        if not resume:
            raise StoreExistsError(
                f"{self._folder} holds an unfinished batch: resume it with resume=True, or "
                "start again with overwrite=True"
            )
        if self._read_settings() != self._settings:
            raise StoreExistsError(
                f"{self._folder} holds an unfinished batch with another table, store, options or version "
                "of cop-zarr: use the same, or start again with overwrite=True"
            )

    def start(self, *, resume: bool) -> int:
        """Prepare for writing parts, and return how many are finished already, and unaltered."""
        if not resume or self._read_settings() != self._settings:
            self.discard()
            with storage_errors(self._folder), replacing(self._folder / SETTINGS_NAME) as partial:
                partial.write_text(json.dumps(self._settings))
        finished = 0
        while self._is_finished(finished):
            finished += 1
        return finished

    def write_part(self, number: int, part: pa.Table) -> None:
        """Write a part; its file appears when it and its checksum are complete and synced."""
        path = self._part_path(number)
        with storage_errors(path), replacing(path) as partial:
            with (
                pa.OSFile(str(partial), "wb") as file,
                pa.ipc.new_file(file, part.schema, options=WRITE_OPTIONS) as writer,
            ):
                writer.write_table(part)
            with replacing(path.with_suffix(".crc32c")) as checksum:
                checksum.write_text(_checksum(partial))

    def read_part(self, number: int) -> pa.Table:
        """Map a part into memory; StorageError if it is not as it was written."""
        path = self._part_path(number)
        try:
            if path.with_suffix(".crc32c").read_text() == _checksum(path):
                with pa.memory_map(str(path)) as file:
                    return pa.ipc.open_file(file).read_all()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise StorageError(f"cannot read {path}: {error}") from error
        raise StorageError(f"{path} has been altered since it was written")

    def result_path(self) -> Path:
        """Where the output is written before it is published; nothing exists there."""
        path = self._folder / f"result{self._out.suffix}"
        remove(path)
        return path

    def publish(self, result: Path) -> None:
        """Sync the result, and give it the output's name; at every moment an old output or it is there.

        A folder and an old one exchange their names where the system can. Elsewhere there are two renames;
        after a kill between them, :meth:`locked` puts the old one back.
        """
        with storage_errors(self._out):
            for path in (result, *result.rglob("*")):
                sync(path)
            if not (self._out.is_dir() and exchange(result, self._out)):
                self._rename(result)
            sync(self._folder)
            sync(self._out.parent)
            self.discard()

    def _rename(self, result: Path) -> None:
        aside = self._folder / REPLACED
        if self._out.is_dir():
            remove(aside)
            self._out.rename(aside)
        try:
            result.replace(self._out)
        except OSError:
            if aside.exists():
                aside.rename(self._out)
            raise

    def discard_if_empty(self) -> bool:
        """Remove the content of the folder if no part is finished; return whether it was removed."""
        if self._is_finished(0):
            return False
        self.discard()
        return True

    def discard(self) -> None:
        """Remove all parts, the description of the job first: without it, they are of no unfinished one."""
        if self._folder.is_dir():
            remove(self._folder / SETTINGS_NAME)
            for path in self._folder.iterdir():
                if path.name != "ingest":  # the lock, which its holder removes
                    remove(path)

    def _is_finished(self, number: int) -> bool:
        with suppress(StorageError):
            self.read_part(number)
            return True
        return False

    def _read_settings(self) -> Any:
        try:
            return json.loads((self._folder / SETTINGS_NAME).read_text())
        except (OSError, ValueError):
            return None

    def _part_path(self, number: int) -> Path:
        return self._folder / f"{number:06}.arrow"


def _checksum(path: Path) -> str:
    """CRC-32C of a file, hexadecimal."""
    with pa.memory_map(str(path)) as file:
        return f"{crc32c(file.read_buffer()):08x}"


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Convert errors of the operating system and of Arrow to StorageError."""
    try:
        with disk_errors(f"cannot write {path}"):
            yield
    except pa.ArrowException as error:
        raise StorageError(f"cannot write {path}: {error}") from error
