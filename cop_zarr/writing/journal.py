"""What an ingest has finished, kept beside what it writes, so that another run can go on there.

In the folder that an ingest writes to, until it is published::

    ingest/lock             who is writing
    ingest/job.json         what is being made: of which source, begun when, by which versions
    ingest/blocks/R-C.json  the piece of the store whose first cell is (R, C) is on the disk: its part of
                            ``valid`` and of the integrity table

A record is written when its chunks have reached the disk. A run that goes on believes a record only if
every chunk that it lists is there with the recorded length, and removes what no record speaks of.
"""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numcodecs import blosc

from cop_zarr.core.grid import Window
from cop_zarr.core.version import __version__
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.codec import crc32c
from cop_zarr.format.layout import FORMAT_VERSION, ROOT, belongs
from cop_zarr.storage import JOB, WORK, Folder
from cop_zarr.writing.writer import BlockRecord

BLOCKS = f"{WORK}blocks/"

MADE_BY = f"cop-zarr {__version__}, format {FORMAT_VERSION}, {blosc.VERSION_STRING}"
"""The versions that the bytes of a store depend on."""


@dataclass(frozen=True)
class Job:
    """What an ingest makes.

    Attributes
    ----------
    created : str
        When it was begun, ISO 8601: what the store will say.
    overwrite : bool
        Whether it may replace the store that is there.
    source_sha256 : str or None
        Digest of the source; None until it is known, and no piece is recorded before.
    root_crc32c : int or None
        That of the finished ``zarr.json``, kept just before that is written.
    made_by : str
        The versions that the bytes depend on.
    """

    created: str
    overwrite: bool
    source_sha256: str | None = None
    root_crc32c: int | None = None
    made_by: str = MADE_BY

    @classmethod
    def read(cls, staging: Folder) -> Job | None:
        """The job that a folder was last written by; None if there is none, or it cannot be read."""
        try:
            return cls(**json.loads(staging.read(JOB)))
        except (FileNotFoundError, ValueError, TypeError):
            return None


class Journal:
    """The record of one ingest. Thread-safe.

    Parameters
    ----------
    staging : Folder
        Where the ingest writes.
    job : Job
        What it makes.
    """

    def __init__(self, staging: Folder, job: Job) -> None:
        self.job = job
        self._staging = staging
        self._lock = threading.Lock()
        self._waiting: list[BlockRecord] = []

    def begin(self) -> None:
        """Begin anew: mark the place, then remove what is there, ``zarr.json`` first."""
        self._keep()
        self._clear(set(self._staging.listing() or ()))

    def identify(self, source_sha256: str) -> None:
        """Say which source it is; from now on pieces are recorded, and those that waited."""
        with self._lock:
            if self.job.source_sha256 is not None:
                return
            self.job = replace(self.job, source_sha256=source_sha256)
            self._keep()
            for piece in self._waiting:
                self._record(piece)
            self._waiting.clear()

    def record(self, piece: BlockRecord) -> None:
        """Keep that a piece of the store is on the disk."""
        with self._lock:
            if self.job.source_sha256 is None:
                self._waiting.append(piece)
                return
        self._record(piece)

    def finish(self, root: bytes) -> None:
        """Keep that nothing is left to do but to write this ``zarr.json``."""
        self.job = replace(self.job, root_crc32c=crc32c(root))
        self._keep()

    def discard(self) -> None:
        """Remove all that was written, and the journal."""
        there = set(self._staging.listing() or ())
        self._clear({key for key in there if belongs(key)})
        self._staging.remove(key for key in there if key == JOB)

    def is_finished(self) -> bool:
        """Whether the ``zarr.json`` that is there is the one that the job was to end with."""
        try:
            return crc32c(self._staging.read(ROOT)) == self.job.root_crc32c
        except FileNotFoundError:
            return False

    def resume(self, layout: Layout) -> list[BlockRecord]:
        """The pieces that are there and whole; everything else is removed."""
        there = self._staging.listing() or {}
        pieces, keys = [], set()
        for key in sorted(there):
            piece = self._read(key, layout) if key.startswith(BLOCKS) else None
            if piece is None:
                continue
            lengths = piece.lengths(layout)
            if all(there.get(chunk) == length for chunk, length in lengths.items()):
                pieces.append(piece)
                keys |= {key, *lengths}
        self._clear(set(there) - keys)
        return pieces

    def _clear(self, keys: set[str]) -> None:
        """Remove objects, ``zarr.json`` first: a store that is being replaced must not open any more."""
        self._staging.remove({ROOT} & keys)
        self._staging.remove(key for key in keys if not _is_own(key))

    def _record(self, piece: BlockRecord) -> None:
        window = piece.window
        record = {
            "window": [window.row, window.row_stop, window.col, window.col_stop],
            "valid": _text(np.packbits(piece.valid)),
            "integrity": _text(piece.integrity),
        }
        document = {"record": record, "crc32c": crc32c(json.dumps(record).encode())}
        self._staging.replace(f"{BLOCKS}{window.row}-{window.col}.json", json.dumps(document).encode())

    def _read(self, key: str, layout: Layout) -> BlockRecord | None:
        """A recorded piece; None if the record is damaged, or is of another layout."""
        try:
            document = json.loads(self._staging.read(key))
            record = document["record"]
            if crc32c(json.dumps(record).encode()) != document["crc32c"]:
                return None
            window = Window(*record["window"])
            rows, cols = layout.chunk_range(window)
            bits = np.frombuffer(base64.b64decode(record["valid"]), "u1")
            valid = np.unpackbits(bits, count=window.cells).astype(bool).reshape(window.shape)
            integrity = np.frombuffer(base64.b64decode(record["integrity"]), "<u4")
            shape = (2, rows.stop - rows.start, cols.stop - cols.start)
            return BlockRecord(window, valid, integrity.reshape(shape))
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def _keep(self) -> None:
        self._staging.replace(JOB, json.dumps(asdict(self.job)).encode())


def _is_own(key: str) -> bool:
    """Whether an object is the journal's own, and no record of a piece."""
    return key.startswith(WORK) and not key.startswith(BLOCKS)


def _text(values: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
