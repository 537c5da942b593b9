"""Many answers, written block by block, by this process or by the workers of a cluster."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from cop_zarr.core.progress import Progress
from cop_zarr.core.reducers import quiet
from cop_zarr.querying.many_regions import RegionBatch
from cop_zarr.querying.out_array import ArrayLike2D, blocks, rows_for
from cop_zarr.querying.points import PointBatch

if TYPE_CHECKING:
    from cop_zarr.querying.distributed.answers import DistributedBatch

Batch = RegionBatch | PointBatch


@quiet
def answer_batch(batch: Batch, out: ArrayLike2D | None, *, progress: Progress | None, client: Any) -> Any:
    """Answer each region or point of a batch by a row of a new array, or of ``out``; return that array."""
    bands, total, done = batch.reader.layout.bands, len(batch), 0
    rows = rows_for(total, bands, out)
    connection: AbstractContextManager[Batch | DistributedBatch] = nullcontext(batch)
    if client is not None:
        from cop_zarr.querying.distributed.answers import on_cluster  # 5 ms, which only clusters need

        connection = on_cluster(batch, client)
    with connection as runner:
        for first, stop, block in blocks(rows, total, bands):
            for more in runner.fill(first, stop, block):
                done += more
                if progress is not None and more:
                    progress(done, total)
    return rows
