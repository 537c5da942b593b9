"""Ask zarr-python on cop-zarr's store, see ``asking.py``; with ``--zarrs``, through the codecs of zarrs."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import zarr
from asking import Box, Case, always, boxes, serve, setting, window

SETTING = setting()
PLACES = np.load(SETTING["places"])
RUST = "--zarrs" in sys.argv
PART = 500
"""Regions that are asked of the many; it takes them one after the other, so the rest takes as long."""

if RUST:
    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline", "codec_pipeline.strict": True})


def opened(where: str) -> zarr.Array:
    """Open the array of vectors."""
    return zarr.open_group(where, mode="r")["embedding"]


def pooled(array: zarr.Array, box: Box) -> np.ndarray:
    """Ask for the mean."""
    return array[:, *window(box)].mean(axis=(1, 2))


def many(regions: list[Box]) -> np.ndarray:
    """Ask for many means, one after the other."""
    array = opened(SETTING["store"])
    return np.stack([pooled(array, box) for box in regions])


def case(name: str) -> Case | None:
    """The case of a name."""
    group, _, what = name.partition("/")
    if group == "remote":
        return None if RUST else far(what)
    if group == "boxes":
        some = boxes(PLACES, "boxes")[: min(int(what), PART)]
        return always(many, [some], share=len(some) / int(what))
    if name == "uncached/globe" or (RUST and what == "globe"):  # it keeps nothing: that is "warm/globe"
        return None
    array = opened(SETTING["store"])
    moving = what if group.startswith("warm") else ""
    if group in {"warm", "uncached", "growth"}:
        where = boxes(PLACES, f"side-{what}" if group == "growth" else what)
        return always(lambda box: pooled(array, box), where, moving=moving)
    if group in {"grid", "warm-grid"}:
        return always(lambda box: array[:, *window(box)], boxes(PLACES, what), moving=moving)
    return None


def far(what: str) -> Case:
    """A case over the network: opening alone, or the mean, from a store opened anew."""
    url = SETTING["far"]
    if what == "open":
        return always(opened, [url])
    return Case(boxes(PLACES, f"far-{what}"), lambda: partial(pooled, opened(url)))


serve(case)
