"""Many regions or points, answered by the workers of a cluster.

The driver cuts a batch into groups that are in the same chunks. A worker answers a group with the code of
one machine and returns its rows, which the driver writes where they belong. So each chunk is decoded by one
worker, or by a few where regions cross the edge of a group.

Each group is sent with the pickled reader of the store: its integrity table of 130 KB, and no chunk. So a
worker that has just joined needs nothing else, and one that dies loses nothing that others need.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from cop_zarr.core.reducers import quiet
from cop_zarr.errors import RegionError, StoreError, StoreNotFoundError, StoreReplacedError
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.opening import read_document
from cop_zarr.querying.batch import Batch
from cop_zarr.querying.distributed import partition
from cop_zarr.querying.distributed.cluster import (
    Cluster,
    connected,
    pickle_group,
    unpickle_group,
    worker_name,
)
from cop_zarr.querying.many_regions import RegionBatch, plan_or_report
from cop_zarr.querying.options import CheckedOptions, Empty, OnError
from cop_zarr.querying.points import PointBatch, Points
from cop_zarr.querying.valid_mask import ValidMask

ROWS_BYTES = 32 << 20
"""Size of a group's rows: 10,922 of 768 bands. The driver holds those of one group at a time."""

SENT_BYTES = 4 << 20
"""Size of a pickled group; Dask is made for small messages, and warns of 10 MB."""


class Answer(NamedTuple):
    """The rows of a group, and which of them were refused, and why."""

    rows: np.ndarray
    refused: list[tuple[int, RegionError]]


class RegionGroup(NamedTuple):
    """Some regions of a batch, for a worker."""

    regions: list[Any]
    options: CheckedOptions
    raises: bool

    def answer(self, reader: ChunkReader, valid: ValidMask) -> Answer:
        """Answer them."""
        refused: list[tuple[int, RegionError]] = []
        on_error: OnError = "raise" if self.raises else lambda *each: refused.append(each)
        return Answer(_rows(RegionBatch(reader, self.regions, self.options, on_error, valid)), refused)


class PointGroup(NamedTuple):
    """Some points of a batch, for a worker."""

    points: Points
    empty: Empty

    def answer(self, reader: ChunkReader, valid: ValidMask) -> Answer:
        """Look them up."""
        return Answer(_rows(PointBatch(reader, self.points, self.empty, valid)), [])


@contextmanager
def on_cluster(batch: Batch, client: Any) -> Iterator[DistributedBatch]:
    """Connect to a cluster; yield the batch, answered by its workers."""
    with connected(client) as cluster:
        yield DistributedBatch(cluster, batch)


@dataclass(frozen=True)
class DistributedBatch:
    """A batch, answered by the workers of a cluster."""

    cluster: Cluster
    batch: Batch

    def fill(self, first: int, stop: int, out: np.ndarray) -> Iterator[int]:
        """Answer the batch's rows ``first`` to ``stop``; yield how many more are done.

        The RegionError of a refused region is the one that a single machine would raise.
        """
        sent: list[np.ndarray] = []
        try:
            with closing(self.cluster.map(_answer, self._tasks(first, stop, sent))) as answers:
                for group, (rows, refused) in answers:
                    out[sent[group] - first] = rows
                    self._report([(int(sent[group][row]), error) for row, error in refused])
                    yield len(rows)
        except RegionError:
            self._refuse_first(first, stop)
            raise

    def _tasks(self, first: int, stop: int, sent: list[np.ndarray]) -> Iterator[tuple[bytes, bytes]]:
        """Pickle the reader and each group; append the numbers of its members to ``sent``."""
        batch, reader = self.batch, _pickle_reader(self.batch.reader)
        layout = batch.reader.layout
        if isinstance(batch, PointBatch):
            lons, lats = batch.points.lons[first:stop], batch.points.lats[first:stop]
        else:
            lons, lats = partition.centres(batch.regions[first:stop], batch.options.crs)
        keys = partition.chunk_keys(layout, lons, lats)
        most = max(1, ROWS_BYTES // (4 * layout.bands))
        for members in partition.groups(keys, self.cluster.threads, most):
            for numbers, pickled in self._pickle_in_parts(first + members):
                sent.append(numbers)
                yield reader, pickled

    def _pickle_in_parts(self, numbers: np.ndarray) -> Iterator[tuple[np.ndarray, bytes]]:
        """Pickle a group, in parts that are small enough to be sent."""
        data = pickle_group(self._group(numbers))
        if len(data) <= SENT_BYTES or len(numbers) == 1:
            yield numbers, data
            return
        for half in np.array_split(numbers, 2):
            yield from self._pickle_in_parts(half)

    def _group(self, numbers: np.ndarray) -> RegionGroup | PointGroup:
        batch = self.batch
        if isinstance(batch, RegionBatch):
            regions = [batch.regions[number] for number in numbers.tolist()]
            return RegionGroup(regions, batch.options, batch.on_error == "raise")
        points = batch.points
        refused = None if points.refused is None else points.refused[numbers]
        some = replace(points, lons=points.lons[numbers], lats=points.lats[numbers], refused=refused)
        return PointGroup(some, batch.empty)

    def _report(self, refused: list[tuple[int, RegionError]]) -> None:
        if isinstance(self.batch, RegionBatch) and callable(self.batch.on_error):
            for number, error in refused:
                self.batch.on_error(number, error)

    def _refuse_first(self, first: int, stop: int) -> None:
        batch, grid = self.batch, self.batch.reader.layout.grid
        if isinstance(batch, RegionBatch) and batch.on_error == "raise":
            for number in range(first, stop):
                plan_or_report(grid, batch.regions[number], number, batch.options, "raise")


def _pickle_reader(reader: ChunkReader) -> bytes:
    """Pickle a reader for the workers.

    From a disk, a worker reads in the one thread that it has for a group; over a network, in as many as the
    caller would.
    """
    return pickle.dumps(reader if reader.folder.remote else reader.with_workers(1))


# What follows runs on the workers.


def _answer(reader: bytes, group: bytes) -> Answer:
    opened = unpickle_reader(reader)
    answer: Answer = unpickle_group(group).answer(*opened)
    return answer


@quiet
def _rows(batch: Batch) -> np.ndarray:
    rows = np.empty((len(batch), batch.reader.layout.bands), "f4")
    for _ in batch.fill(0, len(batch), rows):
        pass
    return rows


@lru_cache(maxsize=1)
def unpickle_reader(pickled: bytes) -> tuple[ChunkReader, ValidMask]:
    """The store that the driver sees, in this process; its cache serves group after group."""
    reader: ChunkReader = pickle.loads(pickled)  # noqa: S301  # Dask itself unpickles what it receives
    try:
        found = read_document(reader.folder).sha256
    except StoreNotFoundError as error:
        raise StoreNotFoundError(
            f"{worker_name()} finds no store at {reader.folder.url}: a store on a disk must be at the same "
            "path on every worker; put it on a disk that they share, or on object storage"
        ) from error
    except StoreError:  # it is being replaced, or is damaged: reading its chunks will say which
        found = reader.sha256
    if found != reader.sha256:
        raise StoreReplacedError(
            f"{worker_name()} finds another store at {reader.folder.url} than the one that was opened: it "
            "was replaced since, or workers see another disk; open it again"
        )
    return reader, ValidMask(reader)
