"""What a batch has finished: its parts, in a folder beside the output, until they become one file."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from cop_zarr.errors import CopZarrError, StorageError, StoreExistsError
from cop_zarr.storage import PARTIAL_SUFFIX, LocalFolder, replacing

JOB = "job.json"
_OURS = re.compile(r"job\.json|\d{6}\.arrow|result.*|replaced|ingest|.*\.[0-9a-f]{8}\.partial")
"""What a folder of parts holds; a folder with anything else is somebody else's."""


class Parts:
    """The finished parts of a batch: ``OUT.partial/000000.arrow`` and so on.

    Parameters
    ----------
    out : Path
        What the batch is to become.
    job : dict
        All that the answers depend on, JSON-ready: parts of another job are of no use.
    """

    def __init__(self, out: Path, job: dict[str, Any]) -> None:
        self._out, self._job = out.resolve(), json.loads(json.dumps(job))  # as it will be read
        self.folder = self._out.with_name(self._out.name + PARTIAL_SUFFIX)

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Have the place to oneself; raises StoreBusyError if another process is at work there."""
        with LocalFolder(self._out).claimed():
            yield

    def refuse_left(self, *, resume: bool, overwrite: bool) -> None:
        """Refuse a folder that is not ours, or parts that nobody said what to do with.

        Raises
        ------
        StoreExistsError
            If there is something that may not be touched.
        """
        names = [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else []
        foreign = sorted(name for name in names if not _OURS.fullmatch(name))
        if foreign or (self.folder.exists() and not self.folder.is_dir()):
            raise StoreExistsError(
                f"{self.folder} is in the way: the parts of {self._out} would be kept there, and it holds "
                f"{', '.join(foreign[:3]) or 'something else'}; move it, or name another output"
            )
        if JOB in names and not overwrite:
            if not resume:
                raise StoreExistsError(
                    f"{self.folder} holds an unfinished batch: go on with --resume (resume=True), or begin "
                    "anew with --overwrite (overwrite=True)"
                )
            if self._known() != self._job:
                raise StoreExistsError(
                    f"{self.folder} holds an unfinished batch of another table, store, options or "
                    "version of cop-zarr; repeat those, or begin anew with --overwrite (overwrite=True)"
                )

    def begin(self, *, resume: bool) -> int:
        """Be ready to write parts; how many are there already."""
        if not resume or self._known() != self._job:
            self._clear()
            with telling(self.folder), replacing(self.folder / JOB) as partial:
                partial.write_text(json.dumps(self._job))
        done = 0
        while self._is_whole(self._path(done)):
            done += 1
        return done

    @staticmethod
    def _is_whole(path: Path) -> bool:
        try:
            with pa.memory_map(str(path)) as file:
                pa.ipc.open_file(file)
        except (OSError, pa.ArrowException):
            return False
        return True

    def advice(self) -> str:
        """What to do after a failure that was not the table's."""
        if self._is_whole(self._path(0)):
            return "What is finished has been kept: go on with --resume (resume=True)"
        self.discard()
        return "Nothing was finished yet: begin again"

    def discard_if_empty(self) -> None:
        """Remove the folder's content if no part is finished."""
        if not self._is_whole(self._path(0)):
            self.discard()

    def write(self, number: int, part: pa.Table) -> None:
        """Keep a part; it has its name when it is on the disk."""
        with (
            telling(self._path(number)),
            replacing(self._path(number)) as partial,
            pa.OSFile(str(partial), "wb") as file,
            pa.ipc.new_file(file, part.schema) as writer,
        ):
            writer.write_table(part)

    def read(self, number: int) -> pa.Table:
        """A part, mapped into memory."""
        path = self._path(number)
        try:
            with pa.memory_map(str(path)) as file:
                return pa.ipc.open_file(file).read_all()
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"cannot read {path}: {error}") from error

    def result(self) -> Path:
        """Where the whole is put together, before it gets its name."""
        path = self.folder / f"result{self._out.suffix}"
        _remove(path)
        return path

    def publish(self, result: Path) -> None:
        """Give the result its name, in place of what may be there."""
        aside = self.folder / "replaced"
        with telling(self._out):
            _sync_all(result)
            if self._out.is_dir():  # a folder cannot be replaced in one step
                _remove(aside)
                self._out.rename(aside)
            result.replace(self._out)
            self.discard()

    def discard(self) -> None:
        """Remove all parts."""
        self._clear()

    def _clear(self) -> None:
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name != "ingest":  # the lock, which its holder removes
                    _remove(path)

    def _known(self) -> Any:
        try:
            return json.loads((self.folder / JOB).read_text())
        except (OSError, ValueError):
            return None

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06}.arrow"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync_all(path: Path) -> None:
    """Have a file, or a folder with all that is in it, reach the disk."""
    for parent, _, names in os.walk(path):
        for name in (*names, "."):
            _sync(Path(parent, name))
    if path.is_file():
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def telling(path: Path) -> Iterator[None]:
    """Turn what the operating system or Arrow says into an error of ours."""
    try:
        yield
    except CopZarrError:  # told already; some are OSErrors, too
        raise
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot write {path}: {error}") from error
