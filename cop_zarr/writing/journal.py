"""Record which blocks an ingest has finished, so that another run can resume it.

In the folder that an ingest writes to, until the store is published::

    ingest/lock             who is writing
    ingest/job.json         the job: its source, when it was started, with which versions
    ingest/blocks/R-C.json  the block whose first cell is (R, C) is finished: its part of ``valid``, of the
                            integrity table, and of the counts of cells that are not numbers

A record is written when its chunks have reached the disk. A run that resumes trusts a record only if every
chunk that it lists is there with the recorded length, and removes what no record lists.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numcodecs import blosc

from cop_zarr.core.grid import Window
from cop_zarr.core.version import __version__
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.codec import crc32c
from cop_zarr.format.layout import FORMAT_VERSION, ROOT, is_store_key
from cop_zarr.storage import JOB, WORK, Folder, read_if_there
from cop_zarr.writing.writer import BlockRecord

BLOCKS = f"{WORK}blocks/"

VERSIONS = f"cop-zarr {__version__}, format {FORMAT_VERSION}, {blosc.VERSION_STRING}"
"""The versions that the bytes of a store depend on."""


@dataclass(frozen=True)
class IngestJob:
    """What an ingest writes."""

    created: str  # when it was started, ISO 8601; recorded in the store
    overwrite: bool  # whether it may replace the store that is there
    source_sha256: str | None = None  # None until it is known; no block is recorded before
    root_crc32c: int | None = None  # of the finished zarr.json, recorded just before that is written
    made_by: str = VERSIONS

    @classmethod
    def read(cls, staging: Folder) -> IngestJob | None:
        """The job that last wrote to a folder; None if there is none, or it cannot be parsed."""
        try:
            return cls(**json.loads(staging.read(JOB)))
        except (FileNotFoundError, ValueError, TypeError):
            return None


class Journal:
    """The records of one ingest in the folder that it writes to. To be used by one thread."""

    def __init__(self, staging: Folder, job: IngestJob) -> None:
        self.job = job
        self._staging = staging
        self._waiting: list[BlockRecord] = []

    def start(self) -> None:
        """Write the job, then remove everything else, ``zarr.json`` first."""
        self._write_job()
        self._clear(set(self._staging.listing() or ()))

    def set_source(self, source_sha256: str) -> None:
        """Name the source; from now on blocks are recorded, and those that waited for it."""
        if self.job.source_sha256 is not None:
            return
        self.job = replace(self.job, source_sha256=source_sha256)
        self._write_job()
        for block in self._waiting:
            self._write_block(block)
        self._waiting.clear()

    def record(self, block: BlockRecord) -> None:
        """Record that a block's chunks are on the disk."""
        if self.job.source_sha256 is None:
            self._waiting.append(block)
        else:
            self._write_block(block)

    def finish(self, root: bytes) -> None:
        """Record that only this ``zarr.json`` is left to be written."""
        self.job = replace(self.job, root_crc32c=crc32c(root))
        self._write_job()

    def discard(self) -> None:
        """Remove all that was written, and the job last."""
        keys = set(self._staging.listing() or ())
        self._clear({key for key in keys if is_store_key(key)})
        self._staging.remove(key for key in keys if key == JOB)

    def is_finished(self) -> bool:
        """Whether the job's own ``zarr.json`` has been written."""
        root = read_if_there(self._staging, ROOT)
        return root is not None and crc32c(root) == self.job.root_crc32c

    def resume(self, layout: Layout) -> list[BlockRecord]:
        """The recorded blocks whose chunks are all there; everything else is removed."""
        sizes = self._staging.listing() or {}
        blocks, keep = [], set()
        for key in sorted(sizes):
            block = self._read_block(key, layout) if key.startswith(BLOCKS) else None
            if block is None:
                continue
            lengths = block.lengths(layout)
            if all(sizes.get(chunk) == length for chunk, length in lengths.items()):
                blocks.append(block)
                keep |= {key, *lengths}
        self._clear(set(sizes) - keep)
        return blocks

    def _clear(self, keys: set[str]) -> None:
        """Remove objects, ``zarr.json`` first: a store that is being replaced must not open any more."""
        self._staging.remove({ROOT} & keys)
        self._staging.remove(key for key in keys if key.startswith(BLOCKS) or not key.startswith(WORK))

    def _write_job(self) -> None:
        self._staging.replace(JOB, json.dumps(asdict(self.job)).encode())

    def _write_block(self, block: BlockRecord) -> None:
        window = block.window
        record = {
            "window": [window.row, window.row_stop, window.col, window.col_stop],
            "valid": _base64(np.packbits(block.valid)),
            "integrity": _base64(block.integrity),
            "missing": _base64(block.missing),
        }
        document = {"record": record, "crc32c": crc32c(json.dumps(record).encode())}
        self._staging.replace(f"{BLOCKS}{window.row}-{window.col}.json", json.dumps(document).encode())

    def _read_block(self, key: str, layout: Layout) -> BlockRecord | None:
        """A recorded block; None if the record is damaged, or is of another layout."""
        try:
            document = json.loads(self._staging.read(key))
            record = document["record"]
            if crc32c(json.dumps(record).encode()) != document["crc32c"]:
                return None
            window = Window(*record["window"])
            rows, cols = layout.chunk_range(window)
            bits = np.frombuffer(base64.b64decode(record["valid"]), "u1")
            valid = np.unpackbits(bits, count=window.cells).astype(bool).reshape(window.shape)
            shape = (2, rows.stop - rows.start, cols.stop - cols.start)
            integrity, missing = (
                np.frombuffer(base64.b64decode(record[name]), "<u4").reshape(shape)
                for name in ("integrity", "missing")
            )
            return BlockRecord(window, valid, integrity, missing)
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None


def _base64(values: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
