"""Save a plot as ``.png``, ``.svg`` or ``.pdf``."""

from __future__ import annotations

import math
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cop_zarr.errors import InputError
from cop_zarr.outputs.files import PICTURES, check_target
from cop_zarr.outputs.plotting.axes import WIDTH_INCHES, fit_figure
from cop_zarr.storage import replacing

NO_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Creator": None, "Date": None},
    ".pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}
"""Removes program and date from each format, so that the same plot has the same bytes."""

DPI = 160
MIN_WIDTH_INCHES, MAX_WIDTH_INCHES = 5.0, 60.0
"""In less, the caption does not fit."""

MAX_PIXELS = 20_000
"""Pixels along a side, which matplotlib can render."""


def check_plot(path: Path, width: float, dpi: float, overwrite: bool) -> None:
    """Check file name and size of a plot, before the work is done."""
    check_target(path, overwrite, PICTURES)
    if not MIN_WIDTH_INCHES <= width <= MAX_WIDTH_INCHES:  # also rejects NaN
        raise InputError(
            f"width must be {MIN_WIDTH_INCHES:g} to {MAX_WIDTH_INCHES:g} inches; got {width:g}"
        )
    if not (math.isfinite(dpi) and dpi >= 1 and width * dpi <= MAX_PIXELS):
        raise InputError(
            f"dpi must be 1 or more, and width times dpi {MAX_PIXELS:,} pixels at most; got dpi={dpi:g}, "
            f"width={width:g}"
        )


def save_plot(
    path: Path,
    plot: Callable[[Axes], object],
    *,
    width: float = WIDTH_INCHES,
    dpi: float = DPI,
    overwrite: bool = False,
) -> None:
    """Call a function that plots on the Axes it is given, and save the figure atomically.

    The same plot gives the same bytes, whatever the user's matplotlib settings are. ``width`` is in inches,
    and the height is what the map needs. Errors are those of :func:`check_plot`.
    """
    check_plot(path, width, dpi, overwrite)
    suffix = path.suffix.lower()
    with style.context(["default", {"svg.hashsalt": "cop-zarr"}]):
        figure = Figure(dpi=dpi)
        axes = figure.add_subplot()
        plot(axes)
        fit_figure(axes, width)
        image = BytesIO()  # on a full disk, what matplotlib raises while it closes a PDF is no OSError
        figure.savefig(image, format=suffix[1:], dpi=dpi, metadata=NO_METADATA[suffix])
        with replacing(path) as partial:
            partial.write_bytes(image.getvalue())
