"""Many regions or points, answered by the workers of a cluster.

The driver cuts what is asked into groups that lie in the same chunks. A worker answers a group with the
same code as one machine answers all, and sends its rows back; the driver puts them where they belong. So
each chunk is read and decoded by one worker, or by a few where regions reach over the edge of a group.

With every group goes the reader of the store, pickled: its integrity table of 130 KB, and no chunk. A
worker that has just come knows all it needs, and one that dies takes nothing along that others lack.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np

from cop_zarr.errors import RegionError, StoreError, StoreNotFoundError, StoreReplacedError
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.opening import read_document
from cop_zarr.querying.distributed import partition as partitions
from cop_zarr.querying.distributed.cluster import Cluster, dumped, here, loaded
from cop_zarr.querying.many_regions import Batch
from cop_zarr.querying.options import CheckedOptions, OnError
from cop_zarr.querying.points import Points, answer

ROWS_BYTES = 32 << 20
"""What the rows of a group may take: 10,922 of 768 bands. The driver holds those of one group at a time."""

SENT_BYTES = 4 << 20
"""What the regions of a group may take, pickled; Dask is made for small parts, and warns of 10 MB."""


@dataclass(frozen=True)
class RegionsAsked:
    """The part of a :class:`Batch` that is sent to a worker."""

    options: CheckedOptions
    on_error: Literal["raise", "nan"]


class Answered(NamedTuple):
    """What a worker sends back: rows, and which of them have no answer, and why."""

    rows: np.ndarray
    refused: list[tuple[int, RegionError]]


def answer_regions(
    cluster: Cluster, batch: Batch, rois: Sequence[Any], first: int, out: np.ndarray
) -> None:
    """Answer regions, each with one row: :meth:`Batch.answer`, by the workers of a cluster.

    Raises
    ------
    RegionError
        If a region is refused: the one that a single machine would name, which is found by planning them
        here once more, in their order.
    """
    asked = RegionsAsked(batch.options, "raise" if batch.on_error == "raise" else "nan")
    found = partitions.keys(batch.reader.layout, *partitions.middles(rois, batch.options.crs))
    taken: list[np.ndarray] = []
    sent = pickled(batch.reader)

    def parts() -> Iterator[tuple[Any, ...]]:
        for members in _groups(found, cluster, batch.reader):
            for numbers, some in _sendable(rois, members):
                taken.append(numbers)
                yield sent, asked, some

    def tell(number: int, error: RegionError) -> None:
        if callable(batch.on_error):
            batch.on_error(first + number, error)

    try:
        _collect(cluster, _regions, parts(), taken, out=out, done=batch.done, tell=tell)
    except RegionError:
        replace(batch, done=_nobody).check(rois, first)
        raise


def answer_points(
    cluster: Cluster,
    reader: ChunkReader,
    points: Points,
    span: slice,
    *,
    skip: bool,
    out: np.ndarray,
    done: Callable[[int], None],
) -> None:
    """Look up the vectors of some of the points by a cluster's workers.

    Parameters
    ----------
    skip : bool
        Whether cells without data don't count.
    done : callable
        Called with a number of points whenever that many more are done.
    """
    lons, lats = points.lons[span], points.lats[span]
    refused = None if points.refused is None else points.refused[span]
    found = partitions.keys(reader.layout, lons, lats)
    taken: list[np.ndarray] = []
    sent = pickled(reader)

    def parts() -> Iterator[tuple[Any, ...]]:
        for numbers in _groups(found, cluster, reader):
            taken.append(numbers)
            bad = None if refused is None else refused[numbers]
            part = Points(numbers.shape, lons[numbers], lats[numbers], points.method, bad)
            yield sent, part, skip

    _collect(cluster, _points, parts(), taken, out=out, done=done, tell=_tell_nobody)


def _groups(numbers: np.ndarray, cluster: Cluster, reader: ChunkReader) -> list[np.ndarray]:
    most = max(1, ROWS_BYTES // (4 * reader.layout.bands))
    return partitions.groups(numbers, cluster.threads, most)


def _collect(
    cluster: Cluster,
    work: Callable[..., Answered],
    parts: Iterator[tuple[Any, ...]],
    taken: list[np.ndarray],
    *,
    out: np.ndarray,
    done: Callable[[int], None],
    tell: Callable[[int, RegionError], None],
) -> None:
    """Put the rows of groups where they belong, as they come."""
    with closing(cluster.each(work, parts)) as answers:
        for group, (rows, refused) in answers:
            numbers = taken[group]
            out[numbers] = rows
            for row, error in refused:
                tell(int(numbers[row]), error)
            done(len(rows))


def _sendable(rois: Sequence[Any], members: np.ndarray) -> Iterator[tuple[np.ndarray, bytes]]:
    """Pickle the regions of a group, in parts that are small enough to be sent."""
    some = [rois[number] for number in members.tolist()]
    data = dumped(some)
    if len(data) <= SENT_BYTES or len(members) == 1:
        yield members, data
        return
    for half in np.array_split(members, 2):
        yield from _sendable(rois, half)


def _nobody(done: int) -> None:
    """Tell nobody."""


def _tell_nobody(number: int, error: RegionError) -> None:
    """Points that are refused were told of before they were sent."""


# What follows runs on the workers.


def _regions(reader: bytes, asked: RegionsAsked, rois: bytes) -> Answered:
    """Answer a group of regions."""
    opened = open_reader(reader)
    some = loaded(rois)
    mask = _mask(reader) if asked.options.empty == "skip" else None
    refused: list[tuple[int, RegionError]] = []
    on_error: OnError = "raise" if asked.on_error == "raise" else lambda *each: refused.append(each)
    batch = Batch(opened, asked.options, on_error, mask, _nobody)
    rows = np.empty((len(some), opened.layout.bands), "f4")
    batch.answer(some, 0, rows)
    return Answered(rows, refused)


def _points(reader: bytes, points: Points, skip: bool) -> Answered:
    """Look up the vectors of a group of points."""
    opened = open_reader(reader)
    rows = np.empty((len(points.lons), opened.layout.bands), "f4")
    mask = _mask(reader) if skip else None
    for _ in answer(opened, points, slice(0, len(points.lons)), mask, rows):
        pass
    return Answered(rows, [])


def pickled(reader: ChunkReader) -> bytes:
    """A reader as it is sent to the workers.

    From a disk, a worker reads in the one thread that it has for a part; over a network it waits, and does
    so in as many as the caller would.
    """
    return pickle.dumps(reader if reader.folder.remote else reader.with_workers(1))


@lru_cache(maxsize=1)
def open_reader(pickled: bytes) -> ChunkReader:
    """A store's reader in this process, with a memory for chunks that goes on from group to group.

    Raises
    ------
    StoreNotFoundError
        If the store is not where the driver sees it.
    StoreReplacedError
        If another is.
    """
    reader: ChunkReader = pickle.loads(pickled)  # noqa: S301  # Dask itself unpickles what it is sent
    try:
        document = read_document(reader.folder)
    except StoreNotFoundError as error:
        raise StoreNotFoundError(
            f"{here()} finds no store at {reader.folder.url}: a store on a disk must be at the same path "
            "on every worker; put it on a disk that they share, or on object storage"
        ) from error
    except StoreError:
        return reader  # it is being replaced, or is damaged: what is read will tell
    if document.sha256 != reader.sha256:
        raise StoreReplacedError(
            f"{here()} finds another store at {reader.folder.url} than the one that was opened: it was "
            "replaced since, or workers see another disk; open it again"
        )
    return reader


@lru_cache(maxsize=1)
def _mask(pickled: bytes) -> np.ndarray:
    """The cells with data, read once in a process."""
    return open_reader(pickled).read_valid()
