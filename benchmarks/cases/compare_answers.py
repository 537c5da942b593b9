"""Hold cop-zarr's answers against rs-embed's: ``compare_answers.py STORE ANSWERS.npz BOXES_JSON``.

Prints a JSON object: values compared, grid values of other bits, maxima of another value, and by box the
number of cells and the largest differences of means (NaN if any is NaN): between the two, and of each from
the mean that float64 gives of rs-embed's own grid. An answer of another shape is wrong in every value.
"""

import json
import sys
from collections import Counter

import numpy as np

import cop_zarr


def differing(mine: np.ndarray, theirs: np.ndarray, dtype: str) -> int:
    """Count the values that differ, both taken as ``dtype``."""
    if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
        return theirs.size
    mine, theirs = np.ascontiguousarray(mine), np.ascontiguousarray(theirs)
    return int((mine.view(dtype) != theirs.view(dtype)).sum())


def largest(one: np.ndarray, other: np.ndarray) -> float:
    """The largest absolute difference, computed in float64; NaN if a value is, or the shapes differ."""
    if one.shape != other.shape:
        return float("nan")
    return float(np.abs(one.astype("f8") - other).max())


def compare(
    store: cop_zarr.Store, box: tuple[float, ...], grid: np.ndarray, mean: np.ndarray, top: np.ndarray
) -> tuple[Counter[str], tuple[float, float, float]]:
    """Compare the answers for one box with rs-embed's grid, mean and maximum: counts, and gaps of means."""
    mine, my_mean = store.query(box, output="grid"), store.query(box).data
    counts = Counter(
        cells=mine.valid.size,
        cells_with_data=int(mine.valid.sum()),
        grid_values=grid.size,
        grid_differing=differing(mine.data, grid, "u4"),
        max_values=top.size,
        max_differing=differing(store.query(box, pooling="max").data, top, "f4"),
    )
    exact = grid.mean(axis=(1, 2), dtype="f8")
    return counts, (largest(my_mean, mean), largest(my_mean, exact), largest(mean, exact))


def main(store_path: str, answers_path: str, boxes: dict[str, tuple[float, ...]]) -> None:
    """Ask for every box, compare, print."""
    store, total, means = cop_zarr.open(store_path), Counter[str](), {}
    with np.load(answers_path) as answers:
        for name, box in boxes.items():
            theirs = (answers[f"{name}/{what}"] for what in ("grid", "mean", "max"))
            counts, (between, mine, rs_embed) = compare(store, box, *theirs)
            total.update(counts)
            means[name] = {
                "cells": counts["cells"],
                "difference": between,
                "error": mine,
                "rs_embed_error": rs_embed,
            }
    print(json.dumps({**total, "boxes": boxes, "means": means}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
