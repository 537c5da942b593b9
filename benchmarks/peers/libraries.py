"""What each library is asked, and how: ``libraries.py NAME SETTING`` is its worker.

Imports are inside the functions, since no interpreter has all of them.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from in_memory import K, answer, axes_apart, brute_force, faiss, read_vectors, scikit_learn  # noqa: F401
from lattice import CHUNK, NORTH, STEP, WEST, Box, cells, window
from worker import Ask, Library, serve

CACHE_BYTES = 256 << 20
"""TensorStore's cache, as large as cop-zarr's by default."""

CONCURRENT_READS = 256
LIMIT_THREADS = 4
"""What cop-zarr takes."""

MIN_THREADED_CHUNKS = 16
GLOBE_BOX = (-180.0, -90.0, 180.0, 90.0)
Points = tuple[np.ndarray, np.ndarray]


def cop_zarr(store: str, far: str, kept: str, far_kept: str, **_: str) -> Library:
    """The project itself."""
    import cop_zarr

    warm, uncached = cop_zarr.open(store), cop_zarr.open(store, cache_bytes=0)

    def mean(opened: cop_zarr.Store) -> Ask:
        return lambda box: opened.query(box).data

    def grid(opened: cop_zarr.Store) -> Ask:
        return lambda box: opened.query(box, output="grid").data

    def similar(opened: cop_zarr.Store) -> Ask:
        return lambda at: matches(opened.similar(at, k=K))

    def matches(found: cop_zarr.Matches) -> np.ndarray:
        return answer(found.lon, found.lat, found.score)

    def similar_many(points: Points) -> np.ndarray:
        return np.stack([matches(found) for found in uncached.similar_many(uncached.sample(*points), k=K)])

    def components(_: Box) -> np.ndarray:
        found = cop_zarr.open(kept).components()
        return axes_apart(found.explained_variance_ratio, found.axes)

    return Library(
        {
            "answers-max": lambda: lambda box: uncached.query(box, pooling="max").data,
            "warm": lambda: mean(warm),
            "warm-grid": lambda: grid(warm),
            "uncached growth answers-mean": lambda: mean(uncached),
            "grid answers-grid": lambda: grid(uncached),
            "points": lambda: lambda at: cop_zarr.open(store).sample(*at),
            "boxes": lambda: lambda boxes: cop_zarr.open(store).query_many(boxes),
            "remote": lambda: mean(cop_zarr.open(far, cache_bytes=0)),
            "components": lambda: components,
            "cells": lambda: lambda _: uncached.cells().vectors,
            "similar": lambda: similar(uncached),
            "similar-kept": lambda: similar(cop_zarr.open(kept)),
            "similar-many": lambda: similar_many,
            "remote-similar": lambda: similar(cop_zarr.open(far_kept)),
        }
    )


def rs_embed(**_: str) -> Library:
    """rs-embed: its public function, and the reader below that.

    Before anything is measured, its first query unpacks the file in ``RS_EMBED_COP_DIR`` into a memory map
    of 3.2 GB.
    """
    from rs_embed import BBox, OutputSpec, TemporalSpec, get_embedding
    from rs_embed.tools.runtime import get_embedder_bundle_cached

    warnings.simplefilter("ignore")  # about unpacking and the projection
    year, pooled = TemporalSpec.year(2021), OutputSpec.pooled()

    def bbox(box: Box) -> Any:
        return BBox(minlon=box[0], minlat=box[1], maxlon=box[2], maxlat=box[3])

    def cell_boxes(points: Points) -> list[Any]:  # the smallest boxes that it takes
        rows, cols = cells(*points)
        west, north = WEST + STEP * cols, NORTH - STEP * rows
        return [bbox(box) for box in np.column_stack([west, north - STEP, west + STEP, north]).tolist()]

    def api(output: Any) -> Ask:
        options = {"temporal": year, "output": output, "backend": "auto"}
        return lambda box: np.asarray(get_embedding("copernicus", spatial=bbox(box), **options).data)

    api(pooled)((10.875, 46.875, 11.125, 47.125))
    embedder, _ = get_embedder_bundle_cached("copernicus", "auto", "auto")
    (reader,) = embedder._ds_cache.values()  # noqa: SLF001  # another one would unpack another 3.2 GB

    def read(box: Box) -> np.ndarray:
        west, south, east, north = box
        return reader[west:east, south:north]["image"]

    def batch(boxes: list[Any]) -> np.ndarray:
        found = embedder.get_embeddings_batch(spatials=boxes, temporal=year, output=pooled, backend="auto")
        return np.stack([one.data for one in found])

    return Library(
        {
            "api/answers-grid": lambda: api(OutputSpec.grid()),
            "api/answers-max": lambda: api(OutputSpec.pooled(pooling="max")),
            "api/answers-mean api/warm": lambda: api(pooled),
            "api/points api/boxes": lambda: batch,
            "reader/warm reader/growth": lambda: lambda box: read(box).mean(axis=(1, 2)),
            "reader/warm-grid": lambda: lambda box: read(box).copy(),  # a view of the map, not read yet
        },
        max_regions=5000,  # it takes them one after the other
        prepare={"api/points": cell_boxes, "api/boxes": lambda boxes: list(map(bbox, boxes))},
    )


def tensorstore(store: str, far: str, **_: str) -> Library:
    """TensorStore on cop-zarr's store."""
    import tensorstore as ts

    file = {"driver": "file", "path": f"{store}/embedding/"}
    http = {"driver": "http", "base_url": f"{far}/embedding/"}

    def opened(kvstore: dict[str, str], cache_bytes: int) -> ts.TensorStore:
        pool = {"cache_pool": {"total_bytes_limit": cache_bytes}}
        spec = {"driver": "zarr3", "kvstore": kvstore, "context": pool, "recheck_cached_data": False}
        return ts.open(spec, read=True).result()

    def mean(array: ts.TensorStore) -> Ask:
        return lambda box: array[:, *window(box)].read().result().mean(axis=(1, 2))

    def grid(array: ts.TensorStore) -> Ask:
        return lambda box: array[:, *window(box)].read().result()

    def sample(points: Points) -> np.ndarray:
        rows, cols = cells(*points)
        return opened(file, CACHE_BYTES)[:, rows, cols].read().result().T

    def means(boxes: list[Box]) -> np.ndarray:
        array = opened(file, CACHE_BYTES)
        out = np.empty((len(boxes), array.shape[0]), "f4")
        for first in range(0, len(boxes), CONCURRENT_READS):
            reads = [array[:, *window(box)].read() for box in boxes[first : first + CONCURRENT_READS]]
            for number, read in enumerate(reads, first):
                out[number] = read.result().mean(axis=(1, 2))
        return out

    return Library(
        {
            "warm": lambda: mean(opened(file, CACHE_BYTES)),
            "warm-grid": lambda: grid(opened(file, CACHE_BYTES)),
            "uncached growth": lambda: mean(opened(file, 0)),
            "grid": lambda: grid(opened(file, 0)),
            "points": lambda: sample,
            "boxes": lambda: means,
            "remote": lambda: mean(opened(http, 0)),
            "cells": lambda: lambda _: read_vectors(store)[0],
        },
        # more than its cache holds; about a minute each
        skip={"warm/globe", "points/1000000", "boxes/200000"},
    )


def zarr(store: str, far: str, **_: str) -> Library:
    """zarr-python on cop-zarr's store. It caches nothing: its uncached globe is "warm/globe"."""
    import zarr

    def opened(place: str) -> zarr.Array:
        return zarr.open_group(place, mode="r")["embedding"]

    def mean(array: zarr.Array) -> Ask:
        return lambda box: array[:, *window(box)].mean(axis=(1, 2))

    def grid(array: zarr.Array) -> Ask:
        return lambda box: array[:, *window(box)]

    return Library(
        {
            "warm uncached growth": lambda: mean(opened(store)),
            "warm-grid grid": lambda: grid(opened(store)),
            "boxes": lambda: lambda boxes: np.stack(list(map(mean(opened(store)), boxes))),
            "remote": lambda: mean(opened(far)),
        },
        skip={"uncached/globe"},
        max_regions=500,  # it takes them one after the other
    )


def zarrs(store: str, **_: str) -> Library:
    """zarr-python through the codecs of zarrs."""
    from zarr import config

    config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline", "codec_pipeline.strict": True})
    same = zarr(store, "")
    skip = {"warm/globe", "uncached/globe", "remote/open", "remote/2", "remote/64", "remote/ocean"}
    return Library(same.asks, skip, same.max_regions)


def xarray(store: str, **_: str) -> Library:
    """Read through xarray on cop-zarr's store."""
    import xarray

    embedding = xarray.open_zarr(store, chunks=None).embedding

    def read(box: Box) -> xarray.DataArray:
        rows, cols = window(box)
        return embedding.isel(latitude=rows, longitude=cols)

    def sample(points: Points) -> np.ndarray:
        lon, lat = (xarray.DataArray(values, dims="point") for values in points)
        opened = xarray.open_zarr(store, chunks=None).embedding
        return opened.sel(latitude=lat, longitude=lon, method="nearest").values.T

    return Library(
        {
            "warm uncached": lambda: lambda box: read(box).mean(("latitude", "longitude")).values,
            "warm-grid grid": lambda: lambda box: read(box).values,
            "points": lambda: sample,
        },
        # the globe is zarr-python's read; more points take minutes
        skip={"warm/globe", "uncached/globe", "points/100000", "points/1000000"},
    )


def rasterio(source: str, **_: str) -> Library:
    """Read the GeoTIFF through rasterio, at few places: a block decodes to 201 MB."""
    import rasterio
    from rasterio.windows import Window

    opened = rasterio.open(source)

    def grid(box: Box) -> np.ndarray:
        return opened.read(window=Window.from_slices(*window(box)))

    def mean(box: Box) -> np.ndarray:
        return grid(box).mean(axis=(1, 2))

    def sample(points: Points) -> np.ndarray:
        with rasterio.open(source) as anew:
            return np.stack(list(anew.sample(zip(*points, strict=True))))

    return Library(
        {"warm": lambda: mean, "warm-grid": lambda: grid, "points": lambda: sample},
        skip={"warm/globe", "points/1000", "points/100000", "points/1000000"},
        max_places={"1": 4, "2": 4, "20": 1},
    )


def decoding(store: str, **_: str) -> Library:
    """The floor of what is not cached: read and decode the chunk objects into buffers that are reused."""
    from numcodecs import blosc

    blosc.use_threads = False  # chunks are spread over threads instead
    pool, local = ThreadPoolExecutor(LIMIT_THREADS), threading.local()

    def decode(items: list[tuple[str, int]]) -> None:
        if not hasattr(local, "buffer"):
            local.buffer = np.empty(768 * CHUNK * CHUNK * 4, "u1")
        for path, size in items:
            descriptor = os.open(path, os.O_RDONLY)
            blosc.decompress(os.read(descriptor, size), local.buffer)
            os.close(descriptor)

    def decode_all(items: list[tuple[str, int]]) -> None:
        if len(items) < MIN_THREADED_CHUNKS:
            decode(items)
        else:
            list(pool.map(decode, (items[first::LIMIT_THREADS] for first in range(LIMIT_THREADS))))

    def objects(chunks: Iterable[tuple[int, int]]) -> list[tuple[str, int]]:
        paths = (f"{store}/embedding/c/0/{row}/{col}" for row, col in sorted(set(chunks)))
        return [(path, os.path.getsize(path)) for path in paths if os.path.exists(path)]  # noqa: PTH110, PTH202

    prepare: dict[str, Ask] = {
        **dict.fromkeys(("uncached", "grid", "growth"), lambda box: objects(_chunks(box))),
        **dict.fromkeys(("cells", "similar", "similar-many"), lambda _: objects(_chunks(GLOBE_BOX))),
        "boxes": lambda boxes: objects(chunk for box in boxes for chunk in _chunks(box)),
        "points": lambda at: objects(zip(*(cell // CHUNK for cell in cells(*at)), strict=True)),
    }
    return Library({" ".join(prepare): lambda: decode_all}, prepare=prepare)


def _chunks(box: Box) -> Iterable[tuple[int, int]]:
    """Rows and columns of the chunks under a box."""
    rows, cols = (range(side.start // CHUNK, (side.stop - 1) // CHUNK + 1) for side in window(box))
    return itertools.product(rows, cols)


if __name__ == "__main__":
    setting = json.loads(sys.argv[2])
    serve(globals()[sys.argv[1]](**setting), setting)
