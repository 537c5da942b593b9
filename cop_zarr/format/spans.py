"""Which chunks one request brings: ranges of shards that lie close are merged. Nothing is read here."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

EXTRA_SHARE = 0.3
"""Bytes between chunks that are read along, as a share of the chunks'. Half of 300 boxes of 20° then need 6
requests at most, instead of 16; boxes of 2° hardly change (docs/store-format.md)."""

MAX_EXTRA_SHARE, FEW_SPANS = 0.5, 16
"""More is read along while there are more requests than these."""

MAX_SPAN_BYTES = 16 << 20
"""Largest request, unless one chunk alone is larger: more than a shard of 768 bands."""


class Span(NamedTuple):
    """A range of an object, and the chunks in it that are wanted."""

    start: int
    stop: int
    chunks: list[int]
    """Numbers of chunks, in the order in which they lie in the object."""


def plan_spans(
    objects: np.ndarray, starts: np.ndarray, lengths: np.ndarray, *, together: bool = False
) -> list[Span]:
    """Merge the ranges of chunks, each ``(n,)``: the object's number, first byte and length in it.

    The smallest gaps are closed first; with ``together``, all. Spans are in the order of their first chunk.
    """
    order = np.lexsort((starts, objects))
    first, last = starts[order].astype("i8"), (starts + lengths.astype("i8"))[order]
    gaps = first[1:] - last[:-1]
    same = objects[order][1:] == objects[order][:-1]
    joined = same if together else np.zeros(len(gaps), bool)
    joined[_gaps_to_close(gaps, same, int(lengths.sum(dtype="i8")))] = True
    edges = [0, *(np.flatnonzero(~joined) + 1).tolist(), len(order)]
    spans = [
        span
        for begin, end in pairwise(edges)
        for span in _cut(order[begin:end].tolist(), first[begin:end].tolist(), last[begin:end].tolist())
    ]
    return sorted(spans, key=lambda span: min(span.chunks))


def _gaps_to_close(gaps: np.ndarray, same: np.ndarray, wanted: int) -> np.ndarray:
    """Which gaps are read along: those inside one object, the smallest first."""
    inside = np.flatnonzero(same)
    inside = inside[np.argsort(gaps[inside], kind="stable")]
    extra = np.cumsum(gaps[inside])
    few, many = np.searchsorted(extra, [EXTRA_SHARE * wanted, MAX_EXTRA_SHARE * wanted], "right").tolist()
    return inside[: max(few, min(many, len(gaps) + 1 - FEW_SPANS))]


def _cut(chunks: list[int], first: list[int], last: list[int]) -> list[Span]:
    """Cut a span into requests that are not too large."""
    spans: list[Span] = []
    for chunk, start, stop in zip(chunks, first, last, strict=True):
        if spans and stop - spans[-1].start <= MAX_SPAN_BYTES:
            spans[-1] = Span(spans[-1].start, stop, spans[-1].chunks)
            spans[-1].chunks.append(chunk)
        else:
            spans.append(Span(start, stop, [chunk]))
    return spans
