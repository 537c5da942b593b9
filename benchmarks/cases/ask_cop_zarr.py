"""Ask cop-zarr, see ``asking.py``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from asking import Case, always, boxes, serve, setting
from numcodecs import blosc

import cop_zarr

SETTING = setting()
STORE, FAR = SETTING["store"], SETTING["far"]
PLACES = np.load(SETTING["places"])
WARM, UNCACHED = cop_zarr.open(STORE), cop_zarr.open(STORE, cache_bytes=0)


def pooled(store: cop_zarr.Store) -> Callable[[Any], np.ndarray]:
    """Ask for the mean."""
    return lambda box: store.query(box).data


def grid(store: cop_zarr.Store) -> Callable[[Any], np.ndarray]:
    """Ask for every cell."""
    return lambda box: store.query(box, output="grid").data


def far() -> Callable[[Any], np.ndarray]:
    """Open the store over the network, anew and with nothing cached, to ask for the mean."""
    return pooled(cop_zarr.open(FAR, cache_bytes=0))


def decodings(points: tuple[np.ndarray, np.ndarray]) -> dict[str, int]:
    """How often chunks are decoded for points: the most times of any, and all together.

    A chunk is told by its bytes. None at all means that decoding is done elsewhere than here was thought.
    """
    seen: Counter[int] = Counter()
    decompress = blosc.decompress

    def counting(data: bytes, *arguments: Any) -> Any:
        seen[hash(bytes(data))] += 1
        return decompress(data, *arguments)

    blosc.decompress = counting
    try:
        cop_zarr.open(STORE).sample(*points)
    finally:
        blosc.decompress = decompress
    return {"most": max(seen.values(), default=0), "all": seen.total()}


def case(name: str) -> Case | None:
    """The case of a name."""
    group, _, what = name.partition("/")
    if group in {"points", "decodings"}:
        some = (PLACES["lon"][: int(what)], PLACES["lat"][: int(what)])
        if group == "decodings":
            return always(decodings, [some])
        return always(lambda at: cop_zarr.open(STORE).sample(*at), [some])
    if group == "boxes":
        some = boxes(PLACES, "boxes")[: int(what)]
        return always(lambda regions: cop_zarr.open(STORE).query_many(regions), [some])
    if name == "remote/open":
        return always(lambda url: cop_zarr.open(url, cache_bytes=0), [FAR])
    if group == "remote":
        return Case(boxes(PLACES, f"far-{what}"), far)
    ask = {
        "warm": pooled(WARM),
        "again": pooled(WARM),
        "warm-grid": grid(WARM),
        "uncached": pooled(UNCACHED),
        "growth": pooled(UNCACHED),
        "grid": grid(UNCACHED),
    }.get(group)
    where = boxes(PLACES, f"side-{what}" if group == "growth" else what)
    return ask and always(ask, where, moving=what if group.startswith("warm") else "")


serve(case)
