"""Grouping of array elements by a key."""

from __future__ import annotations

import numpy as np


def group_by(keys: np.ndarray, members: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Group members by their keys: keys ascend, and the members of a key keep their order.

    Examples
    --------
    >>> group_by(np.array([7, 3, 7]), np.array([10, 11, 12]))
    [(3, array([11])), (7, array([10, 12]))]
    """
    order = np.argsort(keys, kind="stable")
    found, starts = np.unique(keys[order], return_index=True)
    return list(zip(found.tolist(), np.split(members[order], starts[1:]), strict=False))  # [] has one piece
