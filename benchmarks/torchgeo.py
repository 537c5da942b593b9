"""What TorchGeo, rs-embed and cop-zarr answer for the same boxes, for docs/readers.md.

``python -m benchmarks.torchgeo``, where TorchGeo, rs-embed and this project are installed (Python 3.12 or
newer). It makes a stand-in of 16 bands in a temporary folder. A difference of two vectors is the length of
what they differ by, as a share of the second one's length.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import cop_zarr
from benchmarks.timings import markdown

BOXES = {
    "on the edges of cells": (10.125, 47.125, 11.875, 48.875),
    "2° on whole degrees, centres of cells": (10, 47, 12, 49),
    "2° anywhere": (10.1, 47.07, 12.1, 49.07),
    "2° on a coast, with cells without data": (120, 30, 122, 32),
    "1.8° x 1.7°": (10.1, 47.05, 11.9, 48.75),
    "10.1°": (10.1, 40.05, 20.2, 50.15),
    "5° at a pole": (10, -90, 15, -85),
    "over the antimeridian": (177, 65, -178, 68),
    "the same, as 177 … 182": (177, 65, 182, 68),
    "a cell wide, anywhere": (10.06, 47.17, 10.31, 47.42),
    "0.2°": (10.05, 47.05, 10.25, 47.25),
    "0.1°": (10.05, 47.05, 10.15, 47.15),
}

FILE = "embed_map_310k.tif"
MIN_BYTES = 700 << 20
"""rs-embed refuses a file that is smaller."""

EQUAL = 1e-6
"""Vectors that differ by less are equal: sums of float32 in another order."""


def main() -> None:
    """Print a row for each box."""
    warnings.simplefilter("ignore")
    with TemporaryDirectory() as folder:
        source = cop_zarr.synthesize(Path(folder, FILE), bands=16)
        cop_zarr.ingest(source, Path(folder, "standin.zarr"))
        os.truncate(source, MIN_BYTES)
        store = cop_zarr.open(Path(folder, "standin.zarr"))
        torchgeo, rs_embed = torchgeo_sample(folder), rs_embed_mean(folder)
        rows = [
            (
                "box",
                "TorchGeo's sample",
                'its mean beside `weights="coverage"`',
                "rs-embed beside the default",
                "the default beside coverage",
            )
        ]
        rows += [(name, *compare(store, torchgeo, rs_embed, box)) for name, box in BOXES.items()]
    print(markdown(rows))


def compare(
    store: cop_zarr.Store,
    torchgeo: Callable[[tuple[float, ...]], np.ndarray],
    rs_embed: Callable[[tuple[float, ...]], np.ndarray],
    box: tuple[float, ...],
) -> tuple[str, ...]:
    """The cells of a row."""
    default = attempt(lambda: store.query(box).data)
    coverage = store.query(box, weights="coverage", subpixel="touch").data
    sample = attempt(lambda: torchgeo(box))
    if isinstance(sample, str):
        shape, mean = "", sample
    else:
        shape = " x ".join(map(str, sample.shape[1:]))
        mean = difference(sample.mean((1, 2), dtype="f8"), coverage) if sample.size else "no cell"
    return shape, mean, difference(attempt(lambda: rs_embed(box)), default), difference(default, coverage)


def attempt(ask: Callable[[], np.ndarray]) -> np.ndarray | str:
    """An answer, or the error's class."""
    try:
        return ask()
    except Exception as error:  # noqa: BLE001  # whatever a library raises is what is asked for
        return type(error).__name__


def difference(one: np.ndarray | str, other: np.ndarray | str) -> str:
    """How far one vector is from another, in words."""
    if isinstance(one, str):
        return one
    if isinstance(other, str):
        return f"an answer; cop-zarr: {other}"
    share = float(np.linalg.norm(one - other) / np.linalg.norm(other))
    return "equal" if share < EQUAL else f"{share:.1%}"


def torchgeo_sample(folder: str) -> Callable[[tuple[float, ...]], np.ndarray]:
    """TorchGeo's array for a box, (bands, rows, cols)."""
    from torchgeo.datasets import CopernicusEmbed

    dataset = CopernicusEmbed(folder)

    def ask(box: tuple[float, ...]) -> Any:
        west, south, east, north = box
        return dataset[west:east, south:north]["image"].numpy()

    return ask


def rs_embed_mean(folder: str) -> Callable[[tuple[float, ...]], np.ndarray]:
    """rs-embed's pooled vector of a box."""
    from rs_embed import BBox, OutputSpec, TemporalSpec, get_embedding

    os.environ["RS_EMBED_COP_DIR"] = folder
    options = {"temporal": TemporalSpec.year(2021), "output": OutputSpec.pooled(), "backend": "auto"}

    def ask(box: tuple[float, ...]) -> Any:
        bbox = BBox(**dict(zip(("minlon", "minlat", "maxlon", "maxlat"), box, strict=True)))
        return np.asarray(get_embedding("copernicus", spatial=bbox, **options).data)

    return ask


if __name__ == "__main__":
    main()
