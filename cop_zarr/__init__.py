"""Copernicus-Embed as a chunked Zarr store, with a query API.

Ingest the published GeoTIFF once, then ask for the embeddings of any region::

    import cop_zarr

    cop_zarr.ingest("embed_map_310k.tif", "copernicus.zarr")
    store = cop_zarr.open("copernicus.zarr")
    store.query((120, 30, 122, 32))  # minlon, minlat, maxlon, maxlat -> pooled mean, (768,)

Names are imported when they are first used, so that ``import cop_zarr`` costs nothing and a query does not
pay for what only an ingest needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cop_zarr.core.version import __version__

if TYPE_CHECKING:
    from cop_zarr.errors import CopZarrError
    from cop_zarr.explorer.notebook import Explorer
    from cop_zarr.interop.tables.batch import batch
    from cop_zarr.interop.tables.runner import BatchReport
    from cop_zarr.outputs.cell_map import CellMap
    from cop_zarr.outputs.components import Components
    from cop_zarr.outputs.embedding import Embedding
    from cop_zarr.outputs.matches import Matches
    from cop_zarr.querying.cells import Cells
    from cop_zarr.regions import BBox, PointBuffer
    from cop_zarr.source.synthetic import synthesize
    from cop_zarr.store import Store, open, query
    from cop_zarr.writing.checks import Problem
    from cop_zarr.writing.components import ComponentsReport, keep_components
    from cop_zarr.writing.copying import CopyReport, copy
    from cop_zarr.writing.ingest import IngestReport, ingest, plan_ingest
    from cop_zarr.writing.plan import IngestPlan
    from cop_zarr.writing.repair import RepairReport, repair
    from cop_zarr.writing.verify import VerificationReport, verify

_HOMES = {
    "BBox": "regions",
    "BatchReport": "interop.tables.runner",
    "CellMap": "outputs.cell_map",
    "Cells": "querying.cells",
    "Components": "outputs.components",
    "ComponentsReport": "writing.components",
    "CopZarrError": "errors",
    "CopyReport": "writing.copying",
    "Embedding": "outputs.embedding",
    "Explorer": "explorer.notebook",
    "IngestPlan": "writing.plan",
    "IngestReport": "writing.ingest",
    "Matches": "outputs.matches",
    "PointBuffer": "regions",
    "Problem": "writing.checks",
    "RepairReport": "writing.repair",
    "Store": "store",
    "VerificationReport": "writing.verify",
    "batch": "interop.tables.batch",
    "copy": "writing.copying",
    "ingest": "writing.ingest",
    "keep_components": "writing.components",
    "open": "store",
    "plan_ingest": "writing.ingest",
    "query": "store",
    "repair": "writing.repair",
    "synthesize": "source.synthetic",
    "verify": "writing.verify",
}

__all__ = [
    "BBox",
    "BatchReport",
    "CellMap",
    "Cells",
    "Components",
    "ComponentsReport",
    "CopZarrError",
    "CopyReport",
    "Embedding",
    "Explorer",
    "IngestPlan",
    "IngestReport",
    "Matches",
    "PointBuffer",
    "Problem",
    "RepairReport",
    "Store",
    "VerificationReport",
    "__version__",
    "batch",
    "copy",
    "ingest",
    "keep_components",
    "open",
    "plan_ingest",
    "query",
    "repair",
    "synthesize",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
