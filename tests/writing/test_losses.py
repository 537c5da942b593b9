"""What an encoding loses, as a store tells it, against NumPy over all cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import cop_zarr
from cop_zarr.cli import main
from tests.support import factory
from tests.writing.test_encodings import expected

ROWS, COLS, BANDS = (300, 349), (600, 655), 24


def truth(seed: int = 0) -> np.ndarray:
    """Cells that resemble their neighbours, and some without data: float32, (24, 49, 55)."""
    generator = np.random.default_rng(seed)
    shape = ROWS[1] - ROWS[0], COLS[1] - COLS[0]
    values = generator.normal(size=(BANDS, *shape)).cumsum(axis=1).cumsum(axis=2)
    values[:, generator.random(shape) < 0.2] = 0
    return values.astype("f4")


def losses_of(path: Path) -> dict[str, Any]:
    found = cop_zarr.open(path).info()["encoding"]["losses"]
    assert isinstance(found, dict)
    return found


def neighbours(cells: np.ndarray, chosen: np.ndarray) -> list[set[int]]:
    """The ten cells most similar to each one chosen, but itself."""
    directions = cells / np.linalg.norm(cells, axis=1, keepdims=True)
    cosines = directions[chosen] @ directions.T
    cosines[np.arange(len(chosen)), chosen] = -np.inf
    return [set(row[:10].tolist()) for row in np.argsort(-cosines, axis=1)]


def by_hand(values: np.ndarray, encoding: str) -> dict[str, Any]:
    after_grid = np.where(np.isfinite(values), expected(np.nan_to_num(values, posinf=0), encoding), values)
    valid = (values != 0).any(axis=0)
    finite = valid & np.isfinite(values).all(axis=0)
    before, after = (each[:, finite].T.astype("f8") for each in (values, after_grid))
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    cosines = (before * after).sum(axis=1) / lengths
    numbers = np.linspace(0, valid.sum() - 1, 1000).astype("i8")
    place = np.cumsum(finite[valid]) - 1
    chosen = np.unique([place[number] for number in numbers if finite[valid][number]])
    shared = [a & b for a, b in zip(neighbours(before, chosen), neighbours(after, chosen), strict=True)]
    absolute, relative = [], []
    for row in range(0, values.shape[1], 8):
        for col in range(0, values.shape[2], 8):
            where = np.s_[row : row + 8, col : col + 8]
            means = [
                each[:, *where][:, finite[where]].mean(axis=1, dtype="f8") for each in (values, after_grid)
            ]
            absolute.append(np.abs(means[1] - means[0]).max())
            relative.append(np.linalg.norm(means[1] - means[0]) / np.linalg.norm(means[0]))
    return {
        "cells": len(before),
        "max_abs_error": np.abs(before - after).max(),
        "cosine_min": cosines.min(),
        "cosine_p0.1": np.quantile(cosines, 0.001),
        "cosine_median": np.median(cosines),
        "means": len(absolute),
        "mean_max_abs_error": max(absolute),
        "mean_max_relative_error": max(relative),
        "similar_queries": len(chosen),
        "similar_recall_at_10": np.mean([len(each) for each in shared]) / 10,
    }


@pytest.mark.parametrize("encoding", ["float16", "int8"])
def test_losses_are_those_of_all_cells(tmp_path: Path, encoding: str) -> None:
    values = truth()
    if encoding == "float16":
        values[3, 20, 20], values[4, 21, 21] = np.nan, np.inf  # cells that are left out
    path = factory.write_geotiff(tmp_path / "a.tif", values, rows=ROWS, cols=COLS)
    cop_zarr.ingest(path, tmp_path / "a.zarr", encoding=encoding)
    found, hand = losses_of(tmp_path / "a.zarr"), by_hand(values, encoding)
    assert found.keys() == hand.keys()
    for name, number in hand.items():
        assert found[name] == pytest.approx(number, rel=6e-6, abs=6e-11), name
    assert found["max_abs_error"] > 0
    assert found["similar_recall_at_10"] > 0.5
    other = truth(1)
    path = factory.write_geotiff(tmp_path / "b.tif", other, rows=ROWS, cols=COLS, nodata=other.max())
    cop_zarr.ingest(path, tmp_path / "b.zarr")
    cop_zarr.ingest(path, tmp_path / "c.zarr", encoding="float16")
    cop_zarr.copy(tmp_path / "b.zarr", tmp_path / "d.zarr", encoding="float16", shards=True)
    assert losses_of(tmp_path / "d.zarr") == losses_of(tmp_path / "c.zarr")
    assert losses_of(tmp_path / "c.zarr")["cells"] == other.any(axis=0).sum() - 1  # nodata became NaN


@pytest.mark.parametrize("count", [0, 1, 2, 5, 11, 12])
def test_few_cells(tmp_path: Path, count: int) -> None:
    values = np.zeros((3, 8, 8), "f4")
    values.reshape(3, 64)[:, :count] = np.random.default_rng(2).normal(size=(3, count))
    path = factory.write_geotiff(tmp_path / "a.tif", values, rows=(300, 308), cols=(600, 608))
    cop_zarr.ingest(path, tmp_path / "a.zarr", encoding="float16")
    found = losses_of(tmp_path / "a.zarr")
    assert found["cells"] == count
    if count:
        assert found["similar_recall_at_10"] == (None if count == 1 else 1)
    assert CliRunner().invoke(main, ["info", str(tmp_path / "a.zarr")]).exit_code == 0


def test_info_shows_them(tmp_path: Path) -> None:
    path = factory.write_geotiff(tmp_path / "a.tif", truth(), rows=ROWS, cols=COLS)
    cop_zarr.ingest(path, tmp_path / "a.zarr", encoding="int8")
    text = CliRunner().invoke(main, ["info", str(tmp_path / "a.zarr")]).stdout
    found = losses_of(tmp_path / "a.zarr")
    (line,) = [line for line in text.splitlines() if line.startswith("lost")]
    shown = dict(entry.split() for entry in line.removeprefix("lost").split(","))
    assert shown.keys() == found.keys()
    for name, number in shown.items():
        assert float(number) == pytest.approx(found[name], rel=1e-7)


def test_progress_is_of_all_passes(tmp_path: Path) -> None:
    path = factory.write_geotiff(tmp_path / "a.tif", truth(), rows=ROWS, cols=COLS)
    seen: list[tuple[int, int]] = []
    cop_zarr.ingest(path, tmp_path / "a.zarr", encoding="int8", progress=lambda *args: seen.append(args))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1][0] == seen[-1][1] == 3 * truth().nbytes
