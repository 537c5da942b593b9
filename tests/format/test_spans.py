"""Which ranges of shards are merged: by brute force over random shards."""

from __future__ import annotations

import numpy as np
import pytest

from cop_zarr.format import spans
from cop_zarr.format.spans import EXTRA_SHARE, FEW_SPANS, MAX_EXTRA_SHARE, plan_spans


def random_chunks(seed: int, share: float, shards: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Some of the 64 chunks of some shards, in any order: numbers of shards, first bytes, lengths."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 1000, (shards, 64))
    starts = np.cumsum(lengths, axis=1) - lengths
    wanted = np.argwhere(rng.random((shards, 64)) < share)
    rng.shuffle(wanted)
    shard, chunk = wanted.T
    return shard, starts[shard, chunk].astype("<u4"), lengths[shard, chunk].astype("<u4")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_every_chunk_is_in_one_span_and_little_is_read_along(seed: int, share: float) -> None:
    shards, starts, lengths = random_chunks(seed, share, 4)
    found = plan_spans(shards, starts, lengths)
    assert sorted(chunk for span in found for chunk in span.chunks) == list(range(len(starts)))
    for span in found:
        own = np.array(span.chunks)
        assert len(set(shards[own])) == 1
        assert (span.start, span.stop) == (starts[own].min(), (starts + lengths)[own].max())
    assert [min(span.chunks) for span in found] == sorted(min(span.chunks) for span in found)
    read, wanted = sum(span.stop - span.start for span in found), int(lengths.sum())
    assert read <= wanted * (1 + (EXTRA_SHARE if len(found) < FEW_SPANS else MAX_EXTRA_SHARE))
    touching = {(int(shard), int(start)) for shard, start in zip(shards, starts, strict=True)}
    ends = {(int(shards[span.chunks[0]]), span.stop) for span in found}
    assert not touching & ends  # what follows without a gap is in the same span


def test_the_smallest_gaps_are_closed_first() -> None:
    starts, lengths = np.array([0, 120, 240, 345]), np.array([100, 100, 100, 100])  # gaps 20, 20 and 5
    joined = [span.chunks for span in plan_spans(np.zeros(4, int), starts, lengths)]
    assert joined == [[0, 1, 2, 3]]  # 45 of 400 bytes
    apart = [span.chunks for span in plan_spans(np.zeros(4, int), starts * 3, lengths)]
    assert apart == [[0], [1], [2], [3]]
    some = [span.chunks for span in plan_spans(np.zeros(3, int), np.array([0, 170, 330]), lengths[:3])]
    assert some == [[0], [1, 2]]  # gaps of 70 and 60; 90 are allowed


def test_more_is_read_along_where_there_are_many_requests() -> None:
    starts, lengths = np.arange(40) * 160, np.full(40, 100)
    assert len(plan_spans(np.zeros(40, int), starts, lengths)) == FEW_SPANS  # 24 of 39 gaps of 60 bytes


def test_a_request_is_not_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "MAX_SPAN_BYTES", 250)
    found = plan_spans(np.zeros(7, int), np.arange(7) * 100, np.full(7, 100))
    assert [(span.start, span.stop, span.chunks) for span in found] == [
        (0, 200, [0, 1]),
        (200, 400, [2, 3]),
        (400, 600, [4, 5]),
        (600, 700, [6]),
    ]


def test_no_chunk_is_no_request() -> None:
    nothing = np.zeros(0, int)
    assert plan_spans(nothing, nothing, nothing) == []
