"""Options that several commands share, how their values are parsed, and groups of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from cop_zarr.core import product

Command = Callable[..., None]
Option = Callable[[Command], Command]
SIZE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def size(text: str) -> int:
    """Parse a number of bytes: 500MB, 1GiB, 2G, 1048576; units are powers of 1024."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not match:
        raise click.BadParameter(f"{text!r} is not a size such as 512MB, 1GiB or 1048576")
    return int(float(match[1]) * SIZE_UNITS[match[2].upper()])


def json_object(text: str) -> dict[str, Any]:
    """Parse options for the filesystem of a URL; the message does not repeat what may be a secret."""
    try:
        options = json.loads(text)
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise click.BadParameter('it is not a JSON object such as {"anon": true}')
    return options


def choice(name: str, words: str, text: str | None = None, callback: Any = None) -> Option:
    """An option whose value is one of some words, separated by spaces; the first is the default."""
    kind = click.Choice(words.split())
    return click.option(
        name, type=kind, default=kind.choices[0], show_default=True, help=text, callback=callback
    )


def option_group(name: str, *options: Option) -> Option:
    """Add options to a command, and pass their values as one dict, the argument ``name``."""

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run(**values: Any) -> None:
            group = {key: values.pop(key) for key in keys}
            command(**values, **{name: group})

        for option in reversed(options):
            option(run)
        params: list[click.Parameter] = run.__click_params__  # type: ignore[attr-defined]  # set by click
        keys = [str(param.name) for param in params[-len(options) :]]
        return run

    return decorate


class PathToWrite(click.Path):
    """A path, with the home folder in place of ``~``, which a shell leaves in ``--to=~/a.npy``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Expand the path, then check it as click does."""
        from cop_zarr.storage import expanded

        return super().convert(expanded(value), param, ctx)


class FileToRead(click.File):
    """A file of text, or - for stdin; ``~`` is expanded. Status 1 if it cannot be read."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Expand the path, then open it as click does."""
        from cop_zarr.storage import expanded

        is_home = value.startswith("~")  # a Path would make "./-", which is a file, "-"
        try:
            return super().convert(str(expanded(value)) if is_home else value, param, ctx)
        except click.BadParameter as error:
            raise click.ClickException(f"cannot read {error.message}") from error


def complete_path(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Have the shell complete a path: of a store, or of a file."""
    return [CompletionItem(incomplete, type="file")]


def output_option(name: str, text: str, *, required: bool = False) -> Option:
    """The option ``--to``, the argument ``out``."""
    return click.option("--to", "out", type=PATH, metavar=name, required=required, help=text)


PATH = PathToWrite(path_type=Path)
TEXT_FILE = FileToRead(encoding="utf-8")
STORE = click.argument("store", required=False, shell_complete=complete_path)
OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace what --to names.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
YEAR = click.option("--year", type=int, default=product.YEAR, show_default=True)
REPAIR = click.option("--repair", is_flag=True, help="Repair invalid polygons instead of refusing them.")
STORAGE_OPTIONS = click.option(
    "--storage-options", type=json_object, metavar="JSON", help="For the store's URL: '{\"anon\": true}'."
)
TIMEOUT = click.option(
    "--timeout",
    type=float,
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Limit of silence for one object over a network, pauses between retries included.",
)

STORE_OPTIONS = (
    STORAGE_OPTIONS,
    TIMEOUT,
    click.option("--cache-dir", type=PATH, help="Disk cache for a remote store."),
    click.option(
        "--cache-disk-bytes", type=size, default="4GiB", show_default=True, help="Size of the disk cache."
    ),
)
"""Of :func:`cop_zarr.open`."""

RUN_OPTIONS = (
    click.option("--workers", type=int, help="Number of threads.  [COP_ZARR_WORKERS, or up to 4]"),
    click.option("--memory", type=size, default="1GiB", show_default=True, help="Memory limit."),
    STORAGE_OPTIONS,
    click.option(
        "--source-options", type=json_object, metavar="JSON", help="The same for the source's URL."
    ),
    TIMEOUT,
)
"""Of ingest, verify and repair."""

# The words are those of cop_zarr.querying.options, which --help must not import.
POOLING_OPTIONS = (
    choice("--pooling", "mean max min std sum"),
    choice(
        "--weights",
        "auto none coverage area",
        "Weight of a cell: 1 if touched, the fraction of it inside, or that in m². Auto: none for boxes, "
        "coverage for polygons and circles.",
        callback=lambda _, __, word: None if word == "none" else word,
    ),
    choice("--empty", "include skip", "Whether cells without data count, as zeros."),
    choice("--subpixel", "raise touch nearest bilinear", "What to do with a region smaller than a cell."),
)
