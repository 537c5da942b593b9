"""What the commands print: reports on stdout, progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cop_zarr.core.progress import Progress


@contextmanager
def progress(name: str, unit: str = "B") -> Iterator[Progress | None]:
    """A progress bar on stderr, only if that is a terminal."""
    from cop_zarr.core.progress_bar import progress_bar

    with progress_bar(True, name, unit, only_on_terminal=True) as advance:
        yield advance


@contextmanager
def resumable(name: str, unit: str = "B") -> Iterator[Progress | None]:
    """One progress bar; a command that is interrupted says how to continue."""
    try:
        with progress(name, unit) as advance:
            yield advance
    except (KeyboardInterrupt, SystemExit):
        click.echo("\nInterrupted. Finished parts are kept: continue with --resume.", err=True)
        raise


def note(text: str) -> None:
    """Print a line on stderr, above a bar if there is one."""
    bars = sys.modules.get("tqdm")
    with bars.tqdm.external_write_mode(file=sys.stderr) if bars else nullcontext():
        click.echo(text, err=True)


def show(document: dict[str, Any], as_json: bool, text: str) -> None:
    """Print a report, as JSON or as text."""
    click.echo(json.dumps(document, indent=2) if as_json else text)
