"""Check the principal components that a store keeps: its objects, its documents, its numbers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from cop_zarr.analysis.components import PrincipalComponents, project
from cop_zarr.errors import ChunkError, ComponentsError, FormatVersionError
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.components import COMPONENTS_ROOT, KeptComponents, map_key, read_kept
from cop_zarr.format.components_metadata import component_documents, coordinates
from cop_zarr.format.document import StoreDocument
from cop_zarr.format.layout import COMPONENT_KEYS, COMPONENTS, ROOT
from cop_zarr.format.prescribed import difference
from cop_zarr.querying.cells import CellSelection

SAMPLE_CELLS = 256
"""Cells, spread evenly, whose scores are computed again."""

TOLERANCE = 1e-9
"""How far from orthonormal axes may be."""


class ComponentsChecks:
    """The checks of the components that a store keeps, if any; ``valid`` is its mask, if that is good."""

    def __init__(self, reader: ChunkReader, document: StoreDocument, valid: np.ndarray | None) -> None:
        self.kept: KeptComponents | None = None
        self.problems: dict[str, str] = {}
        """What is wrong, by key."""
        self._newer = False
        try:
            self.kept = read_kept(reader)
        except ComponentsError as error:
            self.problems[COMPONENTS_ROOT] = str(error)
        except FormatVersionError:  # a newer version's, and no damage
            self._newer = True
        if self.kept is None:
            return
        for found in (_damaged_objects(self.kept), _unlike_documents(self.kept, document)):
            self.problems.update(found)
        if not self.problems:
            self.problems.update(_wrong_numbers(self.kept))
        if not self.problems and valid is not None:
            self.problems.update(_wrong_maps(self.kept, valid))

    @property
    def objects(self) -> int:
        """Number of objects checked."""
        return len(self.kept.objects) + 1 if self.kept else len(self.problems)

    def known(self, listing: Collection[str]) -> set[str]:
        """The group's keys, but for those of objects that it does not record.

        Without a root that can be believed, all that are there are known, and make one problem.
        """
        if self.kept is not None:
            return {COMPONENTS_ROOT, *self.kept.objects}
        keys = {key for key in listing if COMPONENT_KEYS.fullmatch(key)}
        if keys and not self.problems and not self._newer:
            self.problems[COMPONENTS_ROOT] = (
                f"it is absent, and {len(keys)} objects of its group are there, as an interrupted "
                "'cop-zarr components' leaves them: run that again"
            )
        return keys


def _damaged_objects(kept: KeptComponents) -> Iterator[tuple[str, str]]:
    """Objects that are not as recorded."""
    for key in kept.objects:
        try:
            kept.read_object(key)
        except ComponentsError as error:
            yield key, str(error.__cause__)


def _unlike_documents(kept: KeptComponents, document: StoreDocument) -> Iterator[tuple[str, str]]:
    """Documents that are not those that the format prescribes, and objects that are too many or missing."""
    prescribed = component_documents(document, kept.count)
    expected = {*prescribed, *(f"{COMPONENTS}/{map_key(*chunk)}" for chunk in kept.chunks())} - {
        COMPONENTS_ROOT
    }
    for key in expected ^ kept.objects.keys():
        yield key, f"{COMPONENTS_ROOT} {'does not record' if key in expected else 'records'} it"
    root = json.loads(prescribed[COMPONENTS_ROOT])
    if wrong := difference(kept.document, root):
        yield COMPONENTS_ROOT, wrong
    members = _members(kept)
    for name, own in root["consolidated_metadata"]["metadata"].items():
        key = f"{COMPONENTS}/{name}/{ROOT}"
        if wrong := difference(members.get(name), own):
            yield COMPONENTS_ROOT, f"what it says of {name}: {wrong}"
        with contextlib.suppress(ComponentsError):  # named already
            if _decoded(kept.read_object(key)) != members.get(name):
                yield key, f"it is not what {COMPONENTS_ROOT} says of it"


def _members(kept: KeptComponents) -> dict[str, Any]:
    """What the group's root says of its arrays; nothing if that is no mapping."""
    found = kept.document.get("consolidated_metadata")
    members = found.get("metadata") if isinstance(found, dict) else None
    return members if isinstance(members, dict) else {}


def _decoded(data: bytes) -> Any:
    """A document, or None if it is no JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _wrong_numbers(kept: KeptComponents) -> Iterator[tuple[str, str]]:
    """Arrays that are as recorded, and cannot be components."""
    for name, values in coordinates(kept.reader.layout, kept.count).items():
        key = f"{name}/c/0"
        if not np.array_equal(kept.read(key, values.shape, values.dtype.str), values):
            yield f"{COMPONENTS}/{key}", "it is not that of this grid and number of components"
    axes, variances, ratios = kept.axes, kept.explained_variance, kept.explained_variance_ratio
    checks = {
        "mean/c/0": np.isfinite(kept.mean).all(),
        "axes/c/0/0": np.abs(axes @ axes.T - np.eye(kept.count)).max() <= TOLERANCE,
        "explained_variance/c/0": np.isfinite(variances).all()
        and np.all(np.diff(variances, append=0) <= 0),
        "explained_variance_ratio/c/0": np.all(ratios >= 0) and ratios.sum() <= 1 + TOLERANCE,
    }
    for key, good in checks.items():
        if not good:
            yield f"{COMPONENTS}/{key}", "its values cannot be those of principal components"


def _wrong_maps(kept: KeptComponents, valid: np.ndarray) -> Iterator[tuple[str, str]]:
    """Maps that do not have values for the same cells, or not those that some cells have."""
    sample, cells = np.zeros(valid.shape, bool), np.flatnonzero(valid)
    sample.flat[cells[:: max(1, cells.size // SAMPLE_CELLS)]] = True
    expected = _maps_of(kept, sample)
    known: np.ndarray | None = None
    for name, number in kept.chunks():
        maps = kept.read_chunk(name, number)
        first = number * len(maps)
        maps = maps[: kept.count - first] if name == "scores" else maps
        finite = np.isfinite(maps)
        known = finite[0] if known is None else known
        wrong = (finite != known).any() or (known & ~valid).any() or known.sum() > kept.cells
        if not wrong and expected is not None:
            rows = expected[name][first : first + len(maps)]
            difference = np.abs(maps[:, sample] - rows)
            off = 2 * kept.rounding * np.nan_to_num(expected["length" if name == "length" else "distance"])
            wrong = bool((difference > off).any() or (np.isnan(difference) != np.isnan(rows)).any())
        if wrong:
            yield f"{COMPONENTS}/{map_key(name, number)}", "its values are not those of the store's cells"


def _maps_of(kept: KeptComponents, sample: np.ndarray) -> dict[str, np.ndarray] | None:
    """What is kept of some cells, computed again, and their distance from the mean.

    None if their chunks are damaged.
    """
    grid = kept.reader.layout.grid
    found = PrincipalComponents(
        kept.mean, kept.axes, kept.explained_variance, kept.explained_variance_ratio, kept.cells
    )
    try:
        maps = project(kept.reader, CellSelection(grid, grid.whole, sample), found, lambda _: None)
    except ChunkError:  # which is reported beside
        return None
    scores, remainder = maps["scores"].astype("f8"), maps["remainder"][-1].astype("f8")
    return {**maps, "distance": np.sqrt((scores**2).sum(axis=0) + remainder**2)}
