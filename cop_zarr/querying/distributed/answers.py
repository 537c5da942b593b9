"""Many regions or points, answered by the workers of a cluster.

The driver cuts a batch into groups that are in the same chunks. A worker answers a group with the code of
one machine and returns its rows, which the driver writes where they belong. So each chunk is decoded by one
worker, or by a few where regions cross the edge of a group.

Each group is sent with the pickled reader of the store: its integrity table of 130 KB, and no chunk. So a
worker that has just joined needs nothing else, and one that dies loses nothing that others need.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

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
from cop_zarr.querying.options import OnError
from cop_zarr.querying.points import PointBatch
from cop_zarr.querying.valid_mask import ValidMask

ROWS_BYTES = 32 << 20
"""Size of a group's rows: 10,922 of 768 bands. The driver holds those of one group at a time."""

SENT_BYTES = 4 << 20
"""Size of a pickled group; Dask is made for small messages, and warns of 10 MB."""


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
        batch, sent = self.batch, list[np.ndarray]()
        try:
            with closing(self.cluster.map(_answer, self._tasks(first, stop, sent))) as answers:
                for group, (rows, refused) in answers:
                    out[sent[group] - first] = rows
                    if isinstance(batch, RegionBatch) and callable(batch.on_error):
                        for row, error in refused:
                            batch.on_error(int(sent[group][row]), error)
                    yield len(rows)
        except RegionError:
            if isinstance(batch, RegionBatch) and batch.on_error == "raise":
                for number in range(first, stop):
                    grid = batch.reader.layout.grid
                    plan_or_report(grid, batch.regions[number], number, batch.options, "raise")
            raise

    def _tasks(self, first: int, stop: int, sent: list[np.ndarray]) -> Iterator[tuple[bytes, bytes]]:
        """Pickle the reader and each group; append the numbers of its members to ``sent``."""
        batch, reader = self.batch, self.batch.reader
        # from a disk, a worker reads in the one thread that it has for a group
        pickled_reader = pickle.dumps(reader if reader.folder.remote else reader.with_workers(1))
        if isinstance(batch, PointBatch):
            lons, lats = batch.points.lons[first:stop], batch.points.lats[first:stop]
        else:
            lons, lats = partition.centres(batch.regions[first:stop], batch.options.crs)
        keys = partition.chunk_keys(reader.layout, lons, lats)
        most = max(1, ROWS_BYTES // (4 * reader.layout.bands))
        for members in partition.groups(keys, self.cluster.threads, most):
            for numbers, pickled in self._pickle_in_parts(first + members):
                sent.append(numbers)
                yield pickled_reader, pickled

    def _pickle_in_parts(self, numbers: np.ndarray) -> Iterator[tuple[np.ndarray, bytes]]:
        """Pickle a group, in parts that are small enough to be sent."""
        data = pickle_group(self._group(numbers))
        if len(data) <= SENT_BYTES or len(numbers) == 1:
            yield numbers, data
            return
        for half in np.array_split(numbers, 2):
            yield from self._pickle_in_parts(half)

    def _group(self, numbers: np.ndarray) -> Callable[..., Batch]:
        """Some members of the batch as a batch, which lacks the worker's ``reader`` and ``valid``."""
        batch = self.batch
        if isinstance(batch, RegionBatch):
            regions = [batch.regions[number] for number in numbers.tolist()]
            on_error: OnError = "raise" if batch.on_error == "raise" else "nan"
            return partial(RegionBatch, regions=regions, options=batch.options, on_error=on_error)
        points = batch.points
        refused = None if points.refused is None else points.refused[numbers]
        some = replace(points, lons=points.lons[numbers], lats=points.lats[numbers], refused=refused)
        return partial(PointBatch, points=some, empty=batch.empty)


# What follows runs on the workers.


@quiet
def _answer(pickled_reader: bytes, group: bytes) -> tuple[np.ndarray, list[tuple[int, RegionError]]]:
    """Answer a group: its rows, and which of its regions were refused, and why."""
    reader, valid = unpickle_reader(pickled_reader)
    batch: Batch = unpickle_group(group)(reader=reader, valid=valid)
    refused: list[tuple[int, RegionError]] = []
    if isinstance(batch, RegionBatch) and batch.on_error == "nan":
        batch = replace(batch, on_error=lambda *each: refused.append(each))
    rows = np.empty((len(batch), reader.layout.bands), "f4")
    for _ in batch.fill(0, len(batch), rows):
        pass
    return rows, refused


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
