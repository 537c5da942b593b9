"""The options that several commands have, and the types of their values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

if TYPE_CHECKING:
    from cop_zarr.format.opening import StoreOptions

SIZE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Size(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """A number of bytes: 500MB, 1GiB, 2G, 1048576; units are powers of 1024."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Turn the text into bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", value.strip(), re.IGNORECASE)
        if not match:
            self.fail(f"{value!r} is not a size such as 512MB, 1GiB or 1048576", param, ctx)
        return int(float(match[1]) * SIZE_UNITS[match[2].upper()])


class Options(click.ParamType):  # type: ignore[type-arg]  # as above
    """A JSON object of options for the filesystem of a URL."""

    name = "json"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        """Turn the text into a dict; what it says may be secret, and is not repeated."""
        try:
            options = json.loads(value)
        except ValueError:
            options = None
        if not isinstance(options, dict):
            self.fail('it is not a JSON object such as {"anon": true}', param, ctx)
        return options


STORE = click.argument("store", required=False)
JSON = click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
WORKERS = click.option("--workers", type=int, help="Threads at once.  [COP_ZARR_WORKERS, or up to 4]")
MEMORY = click.option("--memory", type=Size(), default="1GiB", show_default=True, help="Stay within.")
SCHEDULER = click.option(
    "--scheduler", metavar="ADDRESS", help="Have a Dask cluster do it: tcp://10.0.0.1:8786."
)
STORAGE_OPTIONS = click.option(
    "--storage-options", type=Options(), metavar="JSON", help="For the store's URL: '{\"anon\": true}'."
)
SOURCE_OPTIONS = click.option(
    "--source-options", type=Options(), metavar="JSON", help="The same for the source's URL."
)
TIMEOUT = click.option(
    "--timeout",
    type=float,
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Over a network, for an object with all its tries.",
)

CACHE_DIR = click.option(
    "--cache-dir", type=click.Path(path_type=Path), help="Keep what is read of a remote store here."
)
CACHE_DISK_BYTES = click.option(
    "--cache-disk-bytes", type=Size(), default="4GiB", show_default=True, help="Size of that."
)
POOLING = click.option(
    "--pooling",
    type=click.Choice(["mean", "max", "min", "std", "sum"]),
    default="mean",
    show_default=True,
)
WEIGHTS = click.option(
    "--weights",
    type=click.Choice(["auto", "none", "coverage", "area"]),
    default="auto",
    show_default=True,
    callback=lambda _, __, word: None if word == "none" else word,
    help="What a cell counts: 1 if touched, its part inside, or that in m². Auto: none for boxes, "
    "coverage for polygons and circles.",
)
EMPTY = click.option(
    "--empty",
    type=click.Choice(["include", "skip"]),
    default="include",
    show_default=True,
    help="Whether cells without data count, as zeros.",
)
SUBPIXEL = click.option(
    "--subpixel",
    type=click.Choice(["raise", "touch", "nearest", "bilinear"]),
    default="raise",
    show_default=True,
    help="What to do with a region smaller than a cell.",
)


def going_through(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of going through all of a source or a store."""
    for option in (JSON, TIMEOUT, SOURCE_OPTIONS, STORAGE_OPTIONS, MEMORY, WORKERS):
        command = option(command)
    return command


def pooled(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of how a region's cells become a vector."""
    for option in (SUBPIXEL, EMPTY, WEIGHTS, POOLING):
        command = option(command)
    return command


def placed(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of how a store is reached; :func:`place` takes them together."""
    for option in (CACHE_DISK_BYTES, CACHE_DIR, TIMEOUT, STORAGE_OPTIONS):
        command = option(command)
    return command


def place(options: dict[str, Any]) -> StoreOptions:
    """Take out of a command's options those that :func:`cop_zarr.open` takes."""
    names = ("storage_options", "timeout", "cache_dir", "cache_disk_bytes")
    return cast("StoreOptions", {name: options.pop(name) for name in names})
