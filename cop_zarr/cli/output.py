"""What the commands print: reports on stdout, progress on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cop_zarr.core.progress import Progress


@contextmanager
def progress_bars(unit: str = "B") -> Iterator[Callable[[str], Progress]]:
    """Make progress bars with what is done, rate and time left; on stderr, and only if it is a terminal."""
    from tqdm import tqdm

    bars: list[Any] = []

    def start(name: str) -> Progress:
        for bar in bars:
            bar.close()
        current = tqdm(
            desc=name,
            unit=unit,
            unit_scale=True,
            unit_divisor=1024 if unit == "B" else 1000,
            disable=None,
            leave=False,
        )
        bars.append(current)

        def advance(done: int, total: int) -> None:
            if total != current.total or done < current.n:
                current.reset(total)  # the next part of the same job
            current.update(done - current.n)

        return advance

    try:
        yield start
    finally:
        for bar in bars:
            bar.close()


@contextmanager
def progress(name: str, unit: str = "B") -> Iterator[Progress]:
    """Make one progress bar."""
    with progress_bars(unit) as start:
        yield start(name)


def show(document: dict[str, Any], as_json: bool, text: str) -> None:
    """Print a report, as JSON or for people."""
    click.echo(json.dumps(document, indent=2) if as_json else text)
