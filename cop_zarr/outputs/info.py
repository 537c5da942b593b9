"""What a store says about itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from cop_zarr.core import product
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.components import read_kept
from cop_zarr.format.document import StoreDocument


def encoding_info(document: StoreDocument) -> dict[str, Any]:
    """How numbers are stored, and what that has lost: as ``meta["encoding"]`` and ``info()`` have it."""
    return {"name": document.layout.encoding.name, "losses": document.losses}


def store_info(reader: ChunkReader, document: StoreDocument, valid_cells: int) -> dict[str, Any]:
    """As :meth:`cop_zarr.Store.info` returns it."""
    layout, record, kept = document.layout, document.record, read_kept(reader)
    return {
        "store": reader.folder.url,
        "format": f"{record['format']} {record['version']}",
        "bands": layout.bands,
        "shape": list(layout.grid.shape),
        "bounds": list(layout.grid.bounds),
        "crs": product.CRS,
        "resolution_deg": product.STEP_DEG,
        "year": product.YEAR,
        "valid_cells": valid_cells,
        "total_cells": layout.grid.whole.cells,
        "chunk_cells": [layout.chunk_cells, layout.chunk_cells],
        "shard_cells": [layout.shard_cells] * 2 if layout.shard_cells else None,
        "chunks_stored": int((reader.lengths > 0).sum()),
        "chunks_total": reader.lengths.size,
        "stored_bytes": reader.encoded.stored_bytes,
        "encoding": encoding_info(document),
        "array_bytes": int(np.prod(layout.shape, dtype=np.int64)) * 4,
        "components": kept.count if kept else None,
        "source": dict(record["source"]),
        "created": record["created"],
        "created_by": f"cop-zarr {record['cop_zarr_version']}",
        "license": product.LICENSE,
        "citation": product.CITATION,
        "sha256": document.sha256,
    }
