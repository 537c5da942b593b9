"""Ask rs-embed, see ``asking.py``; ``RS_EMBED_COP_DIR`` names the folder of its GeoTIFF.

A case of the name ``api/…`` goes through its public function, one of the name ``reader/…`` through the
reader below that. Its first query unpacks the file into a memory map of 3.2 GB; that is done before the
first question.
"""

from __future__ import annotations

import warnings

import numpy as np
from asking import NORTH, STEP, WEST, Box, Case, always, boxes, cells, serve, setting
from rs_embed import BBox, OutputSpec, TemporalSpec, get_embedding
from rs_embed.tools.runtime import get_embedder_bundle_cached

PLACES = np.load(setting()["places"])
YEAR = TemporalSpec.year(2021)
PART = 5000
"""Regions that are asked of the many; it takes them one after the other, so the rest takes as long."""

warnings.simplefilter("ignore")  # that it unpacks, and which projection it has


def api(box: Box) -> np.ndarray:
    """Ask its public function for the mean."""
    where = bbox(box)
    answer = get_embedding(
        "copernicus", spatial=where, temporal=YEAR, output=OutputSpec.pooled(), backend="auto"
    )
    return answer.data


def bbox(box: Box) -> BBox:
    """A box as it takes them."""
    west, south, east, north = box
    return BBox(minlon=west, minlat=south, maxlon=east, maxlat=north)


def cell_boxes(count: int) -> list[BBox]:
    """The boxes of the points' cells, on their very edges (exact in binary): it takes none smaller."""
    rows, cols = cells(PLACES["lon"][:count], PLACES["lat"][:count])
    west, north = WEST + STEP * cols, NORTH - STEP * rows
    sides = zip(west.tolist(), (north - STEP).tolist(), (west + STEP).tolist(), north.tolist(), strict=True)
    return [bbox(box) for box in sides]


api((10.875, 46.875, 11.125, 47.125))
EMBEDDER, _ = get_embedder_bundle_cached("copernicus", "auto", "auto")
(READER,) = EMBEDDER._ds_cache.values()  # noqa: SLF001  # another one would unpack another 3.2 GB


def reader(box: Box) -> np.ndarray:
    """Ask its reader for the cells, and pool them as its API does."""
    west, south, east, north = box
    return READER[west:east, south:north]["image"].mean(axis=(1, 2))


def grid(box: Box) -> np.ndarray:
    """Ask its reader for every cell. What it gives is a view of the map, of which nothing was read yet."""
    west, south, east, north = box
    return READER[west:east, south:north]["image"].copy()


def batch(regions: list[BBox]) -> np.ndarray:
    """Ask its embedder for many means."""
    found = EMBEDDER.get_embeddings_batch(
        spatials=regions, temporal=YEAR, output=OutputSpec.pooled(), backend="auto"
    )
    return np.stack([one.data for one in found])


def case(name: str) -> Case | None:
    """The case of a name."""
    way, group, what = name.split("/")
    if way == "api" and group in {"points", "boxes"}:
        count = min(int(what), PART)
        regions = (
            cell_boxes(count) if group == "points" else list(map(bbox, boxes(PLACES, "boxes")[:count]))
        )
        return always(batch, [regions], share=len(regions) / int(what))
    if group in {"warm", "again"}:
        moving = what if group == "warm" else ""
        return always({"api": api, "reader": reader}[way], boxes(PLACES, what), moving=moving)
    if way == "reader" and group == "warm-grid":
        return always(grid, boxes(PLACES, what), moving=what)
    if way == "reader" and group == "growth":
        return always(reader, boxes(PLACES, f"side-{what}"))
    return None


serve(case)
