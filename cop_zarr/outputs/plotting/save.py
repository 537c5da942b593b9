"""How does a picture become a file? ``.png``, ``.svg`` or ``.pdf``, by its name."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cop_zarr.errors import InputError
from cop_zarr.outputs.plotting.axes import WIDTH_INCHES, fit
from cop_zarr.storage import check_absent, replacing

NAMELESS: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Creator": None, "Date": None},
    ".pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}
"""What each kind of file would say of when and by what it was made: a picture has the same bytes again."""

DPI = 160
NARROWEST_INCHES, WIDEST_INCHES = 5.0, 60.0
"""Below that the lines of the caption do not fit."""

MOST_PIXELS = 20_000
"""Pixels of a side, which matplotlib can draw."""


def check(path: Path, width: float, dpi: float, overwrite: bool) -> None:
    """Refuse a file whose kind is unknown, or that exists, or a size that no picture has.

    Raises
    ------
    InputError
        If the name ends in none of the known ways, or the size is out of range.
    StoreExistsError
        If the file exists, and ``overwrite`` is not set.
    StorageError
        If that cannot be told.
    """
    if path.suffix.lower() not in NAMELESS:
        raise InputError(f"{path} must end in one of {', '.join(NAMELESS)}")
    if not NARROWEST_INCHES <= width <= WIDEST_INCHES:  # NaN is not either
        raise InputError(f"width must be {NARROWEST_INCHES:g} to {WIDEST_INCHES:g} inches; got {width:g}")
    if not (math.isfinite(dpi) and dpi >= 1 and width * dpi <= MOST_PIXELS):
        raise InputError(
            f"dpi must be 1 or more, and width times dpi {MOST_PIXELS:,} pixels at most; got dpi={dpi:g}, "
            f"width={width:g}"
        )
    check_absent(path, overwrite=overwrite)


def write(
    path: Path,
    draw: Callable[[Axes], object],
    *,
    width: float = WIDTH_INCHES,
    dpi: float = DPI,
    overwrite: bool = False,
) -> None:
    """Have a picture drawn, and write it to a file; the file gets its name when it is whole.

    The same picture gives the same bytes, whatever the user's own matplotlib settings are.

    Parameters
    ----------
    draw : callable
        Draws into the Axes that it is given.
    width : float
        Inches; the height is what the map needs.
    dpi : float
        Pixels an inch; of ``.svg`` and ``.pdf``, of the map's image only.

    Raises
    ------
    InputError, StoreExistsError
        As :func:`check`.
    StorageError
        If the file cannot be written.
    """
    check(path, width, dpi, overwrite)
    kind = path.suffix.lower()
    with style.context(["default", {"svg.hashsalt": "cop-zarr"}]):
        figure = Figure(dpi=dpi)
        axes = figure.add_subplot()
        draw(axes)
        fit(axes, width)
        with replacing(path) as partial:
            figure.savefig(partial, format=kind[1:], dpi=dpi, metadata=NAMELESS[kind])
