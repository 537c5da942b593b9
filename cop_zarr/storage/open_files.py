"""Files kept open to read ranges of them: opening one takes as long as reading a chunk from it."""

from __future__ import annotations

import errno
import os
import stat

from cop_zarr import system
from cop_zarr.storage.files import read_range

MAX_OPEN_FILES = 256
"""Files that one folder keeps open, unless that is more than a quarter of those that the process may.
The globe has some 200 shards with data."""


class _OpenFile:
    """A file's descriptor, closed when nobody uses it any more; FileNotFoundError for a folder or pipe."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, system.READ_FLAGS)
        if not stat.S_ISREG(os.fstat(self.descriptor).st_mode):
            raise FileNotFoundError(path)

    def __del__(self) -> None:
        descriptor = getattr(self, "descriptor", None)
        if descriptor is not None:
            os.close(descriptor)


class OpenFiles:
    """Files of one folder by their paths. Safe to share between threads, and to use after a fork.

    Who reads holds a file, so that none is closed under it. One that is replaced is read as it was until it
    is forgotten. A pickle holds none.
    """

    def __init__(self) -> None:
        self._files: dict[str, _OpenFile] = {}
        self._most = max(1, min(MAX_OPEN_FILES, system.max_descriptors() // 4))

    def __reduce__(self) -> tuple[type[OpenFiles], tuple[()]]:
        return OpenFiles, ()

    def read(self, path: str, start: int, count: int) -> bytes:
        """Read a range of a file, shorter where the file ends; OSError if it cannot be read."""
        file = self._files.get(path) or self._open(path)
        return read_range(file.descriptor, start, count)

    def forget(self, path: str) -> None:
        """Have a file opened anew when it is read next."""
        self._files.pop(path, None)

    def _open(self, path: str) -> _OpenFile:
        try:
            file = _OpenFile(path)
        except OSError as error:
            if error.errno != errno.EMFILE or not self._files:
                raise
            self._files.clear()
            file = _OpenFile(path)
        if system.MOVES_OPEN_FILES:
            self._files[path] = file
            if len(self._files) > self._most:  # asked after adding, since other threads add, too
                self._files.clear()
        return file
