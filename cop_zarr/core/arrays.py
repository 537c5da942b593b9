"""Arrays of numbers from what users give."""

from __future__ import annotations

from typing import Any

import numpy as np

from cop_zarr.errors import InputError


def as_array(given: Any, name: str) -> np.ndarray:
    """What is given as an array; InputError if it is none, or has masked elements.

    ``name`` is that of the argument.
    """
    try:
        found = np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:  # of ragged lists, or a tensor's own
        raise InputError(
            f"{name} must be an array of numbers; got {type(given).__name__}: {error}"
        ) from error
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise InputError(f"{name} has masked elements; fill them first, as filled(np.nan) does")
    return found
