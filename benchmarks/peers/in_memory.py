"""Libraries that hold all vectors in memory: what they are asked, and the form of answers.

The vectors are read by TensorStore, so that they are not cop-zarr's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np
from lattice import CHUNK, COLS, ROWS, Box, cells
from worker import Ask, Library

K = 10
"""Cells that are looked for."""

COMPONENTS = 64
TOGETHER = 64
"""Places whose cosines are in memory at once: 88 MB."""

CANDIDATES = 2 * K
"""Best by float32, of which the best by float64 are taken."""

APART = 0.01
"""Axes are compared whose share of the variance differs by so much, relatively, from their neighbours'."""

Points = tuple[np.ndarray, np.ndarray]


def answer(lon: np.ndarray, lat: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The cells' numbers in order, and the scores, best first: ``(K, 2)``.

    Two cells of nearly the same score may be in either order.
    """
    rows, cols = cells(lon, lat)
    return _answer(rows * COLS + cols, scores)


def axes_apart(shares: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Shares of the variance and axes; zeros for an axis that its neighbours could be mixed with."""
    gaps = np.abs(np.diff(shares)) / shares[:-1]
    apart = np.minimum(np.r_[np.inf, gaps], np.r_[gaps, 0]) > APART
    return np.column_stack([shares, axes * apart[:, None]])


def read_vectors(store: str) -> tuple[np.ndarray, np.ndarray]:
    """All cells with data, row by row, ``(n, bands)``, and the number of each in the grid."""
    import tensorstore as ts

    def opened(name: str) -> ts.TensorStore:
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{store}/{name}/"}}
        return ts.open(spec, read=True).result()

    valid, embedding = opened("valid").read().result().astype(bool), opened("embedding")
    vectors = np.empty((np.count_nonzero(valid), embedding.shape[0]), "f4")
    done = 0
    for row in range(0, ROWS, CHUNK):  # the whole array takes 3.2 GB
        rows = slice(row, min(row + CHUNK, ROWS))
        found = embedding[:, rows].read().result().transpose(1, 2, 0)[valid[rows]]
        vectors[done : done + len(found)] = found
        done += len(found)
    return vectors, np.flatnonzero(valid)


def brute_force(store: str, **_: str) -> Library:
    """NumPy: products in float32 with all vectors, and the best again in float64."""

    @functools.cache
    def vectors() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        read, numbers = read_vectors(store)
        return read, np.sqrt(np.einsum("ij,ij->i", read, read, dtype="f8")), numbers

    def best(places: np.ndarray) -> Iterator[np.ndarray]:
        given, lengths, numbers = vectors()
        queries = given[places].astype("f8") / lengths[places, None]
        cosines = queries.astype("f4") @ given.T
        cosines /= lengths.astype("f4")
        candidates = np.argpartition(-cosines, CANDIDATES, axis=1)[:, :CANDIDATES]
        for query, found in zip(queries, candidates, strict=True):
            scores = given[found].astype("f8") @ query / lengths[found]
            order = np.argsort(-scores)[:K]
            yield _answer(numbers[found[order]], scores[order])

    def similar_many(points: Points) -> np.ndarray:
        places = _places(points, vectors()[2])
        parts = (places[first : first + TOGETHER] for first in range(0, len(places), TOGETHER))
        return np.stack([found for part in parts for found in best(part)])

    return _searches(vectors, similar_many)


def faiss(store: str, **_: str) -> Library:
    """faiss: its flat index of inner products, in float32."""
    import faiss

    @functools.cache
    def indexed() -> tuple[faiss.IndexFlatIP, np.ndarray]:
        read, numbers = read_vectors(store)
        faiss.normalize_L2(read)
        index = faiss.IndexFlatIP(read.shape[1])
        index.add(read)
        return index, numbers

    def similar_many(points: Points) -> np.ndarray:
        index, numbers = indexed()
        queries = index.reconstruct_batch(_places(points, numbers))
        found = zip(*index.search(queries, K), strict=True)
        return np.stack([_answer(numbers[best], scores) for scores, best in found])

    return _searches(indexed, similar_many)


def scikit_learn(store: str, **_: str) -> Library:
    """scikit-learn: principal components in float64. Compared only: it is timed as a whole process."""
    from sklearn.decomposition import PCA

    def components(_: Box) -> np.ndarray:
        found = PCA(COMPONENTS).fit(read_vectors(store)[0].astype("f8"))
        return axes_apart(found.explained_variance_ratio_, found.components_)

    return Library({"components": lambda: components})


def _searches(load: Callable[[], object], similar_many: Ask) -> Library:
    """What both are asked; all is in memory before anything is timed."""

    def one() -> Ask:
        load()
        return lambda at: similar_many(at)[0]

    def many() -> Ask:
        load()
        return similar_many

    return Library({"similar similar-kept": one, "similar-many": many})


def _places(points: Points, numbers: np.ndarray) -> np.ndarray:
    """Which of the vectors are those of points."""
    rows, cols = cells(*map(np.atleast_1d, points))
    return np.searchsorted(numbers, rows * COLS + cols)


def _answer(numbers: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """As :func:`answer`."""
    return np.column_stack([np.sort(numbers), scores])
