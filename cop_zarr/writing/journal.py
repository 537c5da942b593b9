"""Record which blocks an ingest has finished, so that another run can resume it.

On an object store in the folder of the store, on a disk in ``NAME.partial``, until the store is published::

    ingest/lock             who is writing
    ingest/job.json         the job: its source, when it was started, with which versions
    ingest/blocks/R-C.json  the block whose first cell is (R, C) is finished: its part of ``valid``, of the
                            integrity table, of the counts of cells that are not numbers, and of the scales

A record is written when its objects have reached the disk. A run that resumes trusts a record only if every
object that it lists is there with the recorded length and CRC-32C. What else was there when a run began is
overwritten, or removed before the new ``zarr.json`` is written.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Container
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numcodecs import blosc

from cop_zarr.core.grid import Window
from cop_zarr.core.threads import ordered_map
from cop_zarr.core.version import __version__
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.codec import crc32c
from cop_zarr.format.layout import FORMAT_VERSION, ROOT, ROOT_COPY, is_store_key, is_stray_key
from cop_zarr.storage import JOB, REQUESTS_AT_ONCE, WORK, Folder, read_if_there
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
    shards: bool = False  # whether the store has them
    encoding: str = "float32"

    @classmethod
    def read(cls, target: Folder) -> IngestJob | None:
        """The job that last wrote a store; None if there is none, or it cannot be parsed."""
        try:
            job = cls(**json.loads(target.work.read(JOB)))
        except (FileNotFoundError, ValueError, TypeError, RecursionError):
            return None
        return job if isinstance(job.created, str) and isinstance(job.overwrite, bool) else None


class Journal:
    """The records of one ingest of a store. To be used by one thread."""

    def __init__(self, target: Folder, job: IngestJob) -> None:
        self.job = job
        self._target, self._staging, self._work = target, target.staging, target.work
        self._waiting: list[BlockRecord] = []
        self._found: set[str] = set()  # objects that were there when this run began

    def start(self) -> None:
        """Write the job. An old store in its place cannot be opened any more."""
        sizes, records = self._list()
        self._work.remove(records)  # before the job changes: they are another's
        self._write_job()
        self._remove_root(sizes)

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
        sizes, records = self._list()
        self._remove_root(sizes)
        self._staging.remove(key for key in sizes if is_store_key(key) and not key.startswith(WORK))
        self._work.remove([*records, JOB])

    def is_finished(self) -> bool:
        """Whether the job's own ``zarr.json`` has been written."""
        return self._is_own(self._staging)

    def is_published(self) -> bool:
        """Whether it is in the store's own place."""
        return self._is_own(self._target)

    def _is_own(self, folder: Folder) -> bool:
        root = read_if_there(folder, ROOT)
        return root is not None and crc32c(root) == self.job.root_crc32c

    def resume(self, layout: Layout) -> list[BlockRecord]:
        """The recorded blocks whose objects are all as recorded; the records of others are removed."""
        sizes, records = self._list()
        self._remove_root(sizes)
        blocks = {key: self._read_block(key, layout) for key in records}
        objects = {
            key: record
            for block in blocks.values()
            if block is not None
            for key, record in block.records(layout).items()
        }
        workers = REQUESTS_AT_ONCE if self._staging.remote else min(4, os.cpu_count() or 1)
        found = ordered_map(lambda item: self._is_whole(*item), objects.items(), workers=workers)
        whole = {key for key, is_whole in zip(objects, found, strict=True) if is_whole}
        kept = {
            key: block
            for key, block in blocks.items()
            if block is not None and whole.issuperset(block.records(layout))
        }
        self._work.remove(blocks.keys() - kept.keys())
        return list(kept.values())

    def _is_whole(self, key: str, record: tuple[int, int]) -> bool:
        """Whether an object is there, and as it was when it was recorded."""
        data = read_if_there(self._staging, key, record[0] + 1)
        return data is not None and (len(data), crc32c(data)) == record

    def remove_strays(self, keys: Container[str]) -> None:
        """Remove what was there when this run began, and is not among the keys of the finished store.

        Before its ``zarr.json`` is written: another reader would take an old chunk for data.
        """
        strays = (key for key in self._found if key not in keys and not key.startswith(WORK))
        self._staging.remove(filter(is_store_key, strays))

    def publish(self) -> None:
        """Have the finished store appear in its own place."""
        there = () if self._target.remote else self._target.listing() or ()
        only_strays = bool(there) and all(map(is_stray_key, there))  # which are moved into the new store
        self._target.publish(replace=self.job.overwrite or only_strays)

    def _list(self) -> tuple[dict[str, int], list[str]]:
        """Sizes of the objects that are there, and the keys of the records."""
        sizes = self._staging.listing() or {}
        self._found = set(sizes)
        there = sizes if self._work is self._staging else self._work.listing() or {}
        return sizes, sorted(key for key in there if key.startswith(BLOCKS))

    def _remove_root(self, keys: Container[str]) -> None:
        """Have nothing open as a store, or be repaired as one, that is about to be overwritten."""
        for key in (ROOT, ROOT_COPY):  # one after the other: this may be paused, and lose its lock
            if key in keys:
                self._staging.remove([key])

    def _write_job(self) -> None:
        self._work.replace(JOB, json.dumps(asdict(self.job)).encode())

    def _write_block(self, block: BlockRecord) -> None:
        window = block.window
        record = {
            "window": [window.row, window.row_stop, window.col, window.col_stop],
            "valid": _base64(np.packbits(block.valid)),
            "integrity": _base64(block.integrity),
            "objects": _base64(block.objects),
            "missing": _base64(block.missing),
            "scale": _base64(block.scale),
        }
        document = {"record": record, "crc32c": crc32c(json.dumps(record).encode())}
        self._work.replace(f"{BLOCKS}{window.row}-{window.col}.json", json.dumps(document).encode())

    def _read_block(self, key: str, layout: Layout) -> BlockRecord | None:
        """A recorded block; None if the record is damaged, or is of another layout."""
        try:
            document = json.loads(self._work.read(key))
            record = document["record"]
            if crc32c(json.dumps(record).encode()) != document["crc32c"]:
                return None
            window = Window(*record["window"])
            if not (0 <= window.row < window.row_stop and 0 <= window.col < window.col_stop):
                return None
            if window.row_stop > layout.grid.rows or window.col_stop > layout.grid.cols:
                return None
            bits = np.frombuffer(base64.b64decode(record["valid"]), "u1")
            valid = np.unpackbits(bits, count=window.cells).astype(bool).reshape(window.shape)
            chunks, objects = _shape(layout.chunk_range(window)), _shape(layout.object_range(window))
            return BlockRecord(
                window,
                valid,
                _numbers(record["integrity"], (layout.table_shape[0], *chunks)),
                _numbers(record["objects"], (2, *objects)),
                _numbers(record["missing"], (2, *chunks)),
                _numbers(record["scale"], layout.encoding.scale_shape(window.shape), "<f4"),
            )
        except (FileNotFoundError, ValueError, TypeError, KeyError, RecursionError):
            return None


def _shape(ranges: tuple[slice, slice]) -> tuple[int, int]:
    rows, cols = ranges
    return rows.stop - rows.start, cols.stop - cols.start


def _numbers(text: str, shape: tuple[int, ...], dtype: str = "<u4") -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)


def _base64(values: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
