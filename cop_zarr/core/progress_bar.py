"""Show progress as a bar: ``progress=True`` in Python, and every bar of the command line."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from cop_zarr.core.progress import Progress
from cop_zarr.errors import InputError

START = "{desc} …"
"""What a bar shows until something is counted."""

THEN = {
    "batch": "writing the file",
    "components": "writing them",
    "copy": "completing the store",
    "ingest": "completing the store",
    "plot": "drawing",
    "synth": "closing the file",
}
"""What follows when all is counted, by the name of the bar; a bar does not stay at 100 %."""


@contextmanager
def progress_bar(
    given: Progress | bool | None, name: str, unit: str = "B", *, only_on_terminal: bool = False
) -> Iterator[Progress | None]:
    """Give the callback that an argument ``progress`` stands for: itself, or that of a bar for True.

    The bar is on stderr, or in a notebook's cell, and disappears when the work is done or has failed.
    """
    if given is None or given is False:
        yield None
    elif given is not True:
        if not callable(given):
            raise InputError(f"progress must be True or a function of (done, total); got {given!r}")
        yield given
    else:
        divisor = 1024 if unit == "B" else 1000
        bar = _bar_class()(
            desc=name,
            unit=unit,
            unit_scale=True,
            unit_divisor=divisor,
            disable=None if only_on_terminal else False,
            leave=False,
            bar_format=START,
        )
        with bar, nullcontext() if bar.disable else _log_above(type(bar)):
            yield None if bar.disable else _advance(bar, name)


def _bar_class() -> Any:
    """The class of tqdm that suits: a notebook's, where ipywidgets can draw one, or a terminal's."""
    from tqdm import TqdmWarning  # noqa: PLC0415  # 0.07 s

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TqdmWarning)  # of a notebook without ipywidgets
        from tqdm.auto import tqdm  # noqa: PLC0415

    class Bar(tqdm):  # type: ignore[misc]  # tqdm has no types
        """A bar that does not round 99.6 % up."""

        @staticmethod
        def format_meter(n: float, total: float | None, *given: Any, **options: Any) -> Any:
            text = tqdm.format_meter(n, total, *given, **options)
            return text.replace("100%", " 99%", 1) if total and n < total else text

    return Bar


def _log_above(bar_class: Any) -> AbstractContextManager[None]:
    """Have what is logged to the terminal appear above the bar."""
    from tqdm.contrib.logging import logging_redirect_tqdm  # noqa: PLC0415

    redirected: AbstractContextManager[None] = logging_redirect_tqdm(tqdm_class=bar_class)
    return redirected


def _advance(bar: Any, name: str) -> Progress:
    """The callback that moves a bar."""
    finishing = f"{{desc}}: {THEN.get(name, 'finishing')}"

    def advance(done: int, total: int) -> None:
        if done >= total:
            bar.n, bar.bar_format = done, finishing
            bar.refresh()
            return
        if total != bar.total or done < bar.n or bar.bar_format is not None:
            bar.bar_format = None
            bar.reset(total)  # the first step, or the next one
        bar.update(done - bar.n)

    return advance
