"""Blocks of a source, written by the workers of a cluster.

No two blocks share a chunk, so each chunk has one writer. A worker opens the source itself, once in a
process, decodes a block, encodes and writes its chunks, and sends back what the store must know of them.
The driver keeps the journal and writes the metadata, ``zarr.json`` last; it holds the place, and lends it:
a worker stops when the driver holds it no more.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cop_zarr.errors import ClusterError, SourceNotFoundError, StorageError
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.querying.distributed.cluster import Cluster, here
from cop_zarr.source.geotiff import Block, GeoTiff
from cop_zarr.source.locate import located, sha256_of
from cop_zarr.source.tags import GeoTiffInfo
from cop_zarr.storage import Folder, StorageOptions, local_path
from cop_zarr.writing.blockwise import cut
from cop_zarr.writing.journal import Job
from cop_zarr.writing.writer import Piece, StoreWriter

ENDING_SECONDS = 30.0
"""How long an ingest that fails waits for the blocks that are at work, until it clears up behind them."""


@dataclass(frozen=True)
class Source:
    """How a worker comes to the source, and what it may take.

    Attributes
    ----------
    place : str
        A path that each worker sees, or a URL, of which each makes a copy.
    options : mapping or None
        Passed to the URL's filesystem.
    timeout : float
        A copy is given up when nothing has come for so many seconds.
    workers : int or None
        Blocks at work at once in a process, at most.
    memory : int
        Bytes of memory that a process is to stay within.
    """

    place: str
    options: StorageOptions | None
    timeout: float
    workers: int | None
    memory: int


@dataclass(frozen=True)
class Order:
    """What a worker must know to write any block.

    Attributes
    ----------
    source : Source
        How to come to the source.
    info : GeoTiffInfo
        What its tags say.
    sha256 : str
        Its digest.
    layout : Layout
        Grid, bands and chunks of the store.
    target : Folder
        Where to write; lent.
    name : str
        By which a worker knows the order again.
    """

    source: Source
    info: GeoTiffInfo
    sha256: str
    layout: Layout
    target: Folder
    name: str = field(default_factory=lambda: uuid.uuid4().hex)


def reachable(source: str | os.PathLike[str] | None, path: Path) -> str:
    """What a worker is to open: the URL of a source that was copied from there, else its path on a disk."""
    if source is not None and local_path(os.fspath(source)) is None:
        return os.fspath(source)
    return str(path.absolute())


def written(cluster: Cluster, order: Order, blocks: Iterable[Block]) -> Iterator[Piece]:
    """Have blocks written by a cluster's workers, and give what the store must know of each, as they come.

    Raises
    ------
    ClusterError
        If the cluster fails, or a worker sees another file than this process.
    SourceNotFoundError
        If a worker sees none.
    SourceError, StorageError, MemoryLimitError
        As :func:`cop_zarr.ingest`.
    """
    try:
        with closing(cluster.each(_write, ((order, block) for block in blocks))) as pieces:
            for _, piece in pieces:
                yield piece
    finally:
        give_up = time.monotonic() + ENDING_SECONDS
        while not all(cluster.tell(_forget, order.name)) and time.monotonic() < give_up:
            time.sleep(0.1)  # what failed is cleared away, and nobody may write behind that


# What follows runs on the workers.


@dataclass
class _Source:
    """An open source, its copy if it is one, where its blocks go, and room for so many of them at once."""

    tiff: GeoTiff
    target: Folder  # the first order's, whose connections are set up
    room: threading.Semaphore
    held: ExitStack
    users: int = 0


_sources: dict[str, _Source] = {}
_over: set[str] = set()  # orders that are done or given up
_LOCK = threading.Lock()


def _write(order: Order, block: Block) -> Piece:
    """Write a block; then it is on the disk."""
    with _opened(order) as source, source.room, StoreWriter(order.layout, source.target) as writer:
        piece = writer.write(block, source.tiff.read(block))
        source.tiff.refuse_changed()
        return piece


@contextmanager
def _opened(order: Order) -> Iterator[_Source]:
    """The source of an order, opened once in a process, and closed when nobody needs it any more."""
    with _LOCK:  # others wait for the copy that this one makes
        _refuse_over(order)
        source = _sources.get(order.name)
        if source is None:
            _refuse_unseen(order)
            source = _sources[order.name] = _open(order)
        source.users += 1
    try:
        _refuse_over(order)
        yield source
    finally:
        with _LOCK:
            source.users -= 1
            _close_unwanted()


def _forget(name: str) -> bool:
    """Close the source of an order that is done, or given up; whether nothing of it is at work."""
    _over.add(name)
    if not _LOCK.acquire(timeout=0.1):  # a copy is being made, and this thread has heartbeats to send
        return False
    try:
        _close_unwanted()
        return name not in _sources
    finally:
        _LOCK.release()


def _close_unwanted() -> None:
    for name in _over & _sources.keys():
        if not _sources[name].users:
            _sources.pop(name).held.close()


def _open(order: Order) -> _Source:
    """Open the source, and see that it is the driver's."""
    source = order.source
    with ExitStack() as held:
        try:
            path, name = held.enter_context(
                located(source.place, source.options, download=False, timeout=source.timeout)
            )
            tiff = held.enter_context(GeoTiff(path, name))
        except SourceNotFoundError as error:
            raise SourceNotFoundError(
                f"{here()}: {error}. A source on a disk must be at the same path on every worker; put it "
                "on a disk that they share, or name it by a URL"
            ) from error
        if tiff.info != order.info or sha256_of(path) != order.sha256:
            raise ClusterError(
                f"{here()} sees another file at {name} than the process that began the ingest; put the "
                "source on a disk that all of them share, or name it by a URL"
            )
        pieces = cut(tiff, order.layout, workers=source.workers, memory=source.memory)
        return _Source(tiff, order.target, threading.Semaphore(pieces.threads), held.pop_all())


def _refuse_over(order: Order) -> None:
    """Refuse to begin what was given up while this part waited, or the source was copied."""
    if order.name in _over:
        raise StorageError(f"the ingest into {order.target.url} has been given up")


def _refuse_unseen(order: Order) -> None:
    """Refuse to write where the driver's ingest is not to be seen: that is a folder of this machine's."""
    if Job.read(order.target) is None:
        raise StorageError(
            f"{here()} sees no ingest at {order.target.url}: a store on a disk must be at the same path on "
            "every worker; write it to a disk that they share, or to object storage"
        )
