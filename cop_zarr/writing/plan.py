"""Plan an ingest: blocks, memory and size, from the source's tags alone."""

from __future__ import annotations

from dataclasses import dataclass

from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.encodings import find_encoding
from cop_zarr.format.layout import SHARD_CELLS
from cop_zarr.source.geotiff import Block, GeoTiff
from cop_zarr.source.tags import GeoTiffInfo
from cop_zarr.writing.blockwise import plan_blocks
from cop_zarr.writing.options import Run

LAND_SHARE = 0.3
"""Share of the lattice's cells that have data in the published file: about 310,000 of 1,038,240."""


@dataclass(frozen=True)
class IngestPlan:
    """What an ingest would do."""

    source: str
    """The source's path, or its URL without credentials."""
    store: str
    """The store's path, or its URL without credentials."""
    info: GeoTiffInfo
    """The source's tags."""
    source_bytes: int
    layout: Layout
    """Grid, bands and chunks of the store."""
    blocks: int
    """Number of blocks that the source is read in."""
    workers: int
    """Blocks at work at once, as many as asked for and as memory allows."""
    memory_bytes: int
    """Estimated peak."""
    store_bytes: int
    """Estimated size of the store, if as much of it holds data as of the published file."""


def make_plan(
    tiff: GeoTiff, store: str, run: Run, *, shards: bool, encoding: str
) -> tuple[IngestPlan, list[Block]]:
    """Plan an ingest, and cut the source into the plan's blocks."""
    info, found_encoding = tiff.info, find_encoding(encoding)
    shard_cells = SHARD_CELLS if shards else None
    layout = Layout(info.grid, info.bands, shard_cells=shard_cells, encoding=found_encoding)
    found = plan_blocks(tiff, layout, run)
    plan = IngestPlan(
        source=tiff.name,
        store=store,
        info=info,
        source_bytes=tiff.size_bytes,
        layout=layout,
        blocks=len(found.blocks),
        workers=found.workers,
        memory_bytes=found.memory_bytes,
        store_bytes=int(info.grid.whole.cells * LAND_SHARE * info.bands * 4 * found_encoding.stored_ratio),
    )
    return plan, found.blocks
