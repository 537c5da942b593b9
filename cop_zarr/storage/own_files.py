"""Files of a folder on a disk that others may ask for: none that a link leads out to."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cop_zarr import system
from cop_zarr.errors import AccessError
from cop_zarr.storage.files import read_error, read_range
from cop_zarr.storage.names import SMALL_BYTES


class OwnFiles:
    """The objects of a folder; those that a link leads out of it to are an AccessError.

    Each is opened anew, and looked at while it is open: what is replaced meanwhile cannot lead elsewhere.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)

    def size(self, key: str) -> int:
        """Return the number of bytes of an object."""
        with self._opened(key) as (_, size):
            return size

    def read(self, key: str, limit: int = SMALL_BYTES) -> bytes:
        """Read an object, or its first ``limit`` bytes."""
        return self.read_range(key, 0, limit)

    def read_range(self, key: str, start: int, count: int) -> bytes:
        """Read a part of an object, shorter where the object ends."""
        with self._opened(key) as (descriptor, size):
            return read_range(descriptor, start, max(0, min(count, size - start)))

    @contextlib.contextmanager
    def _opened(self, key: str) -> Iterator[tuple[int, int]]:
        """A descriptor of an object's file, and its size."""
        path = f"{self._root}/{key}"
        try:
            descriptor = os.open(path, system.READ_FLAGS)
            try:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):  # a folder, or a pipe, which would block
                    raise FileNotFoundError(path)
                real = Path(os.path.realpath(path))
                if not real.is_relative_to(self._root) or not os.path.samestat(real.stat(), found):
                    raise AccessError(f"{path} is a link, or below one, that leads out of {self._root}")
                yield descriptor, found.st_size
            finally:
                os.close(descriptor)
        except AccessError:
            raise
        except OSError as error:
            raise read_error(path, error) from None
