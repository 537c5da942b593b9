"""``cop-zarr quickstart``: create a store, verify it, query a few regions, and draw the globe."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import cop_zarr
from cop_zarr.cli.main import main
from cop_zarr.cli.options import JSON, PATH
from cop_zarr.cli.output import progress, show
from cop_zarr.core import packages, settings
from cop_zarr.errors import MissingDependencyError, RegionError, StoreError, StoreNotFoundError

if TYPE_CHECKING:
    from cop_zarr.store import Store

SYNTHETIC_SOURCE = "standin.tif"
"""Not ``embed_map_*.tif``, which would later be taken for the published file."""

REGIONS = {
    "Munich": (11, 47.5, 12.5, 49),
    "Amazon, Manaus": (-61, -4, -59, -2),
    "Yangtze delta": (120, 30, 122, 32),
    "Fiji, over the antimeridian": (176.5, -19, -178.5, -16),
    "South Pacific, open ocean": (-130, -40, -125, -35),
}
"""(minlon, minlat, maxlon, maxlat)."""


@main.command(examples=["cop-zarr quickstart"])
@click.option(
    "--folder",
    type=PATH,
    default=Path("data"),
    show_default=True,
    help="Folder of a synthetic source, its store and the picture.",
)
@JSON
def quickstart(folder: Path, as_json: bool) -> None:
    """Create a store, verify it, query it, and draw the globe.

    Uses the published file if it is in the folder of RS_EMBED_COP_DIR (default data/copernicus_embed) or in
    the cache of huggingface_hub, and otherwise a synthetic file of the whole globe with made-up values.
    What an earlier run has left is used again.
    """
    from cop_zarr.source.locate import find_default

    source, store = find_default(), settings.store_url()
    is_synthetic = source is None
    if source is None:
        source, store = _synthetic_source(folder), str(folder / "standin.zarr")
    _ingest(source, store, overwrite=is_synthetic)
    report: dict[str, Any] = {"source": str(source), "synthetic": is_synthetic, "store": store}
    report["values_compared"] = _verify(source, store)
    report["components"] = _keep_components(store)
    opened = cop_zarr.open(store)
    report["regions"] = _query_regions(opened)
    report["picture"] = _draw(opened, folder / "globe.png")
    if is_synthetic:
        needs = "" if find_spec("aiohttp") else f"{packages.install(['aiohttp'], 'http')} && "
        _say(f"\nFor the published file, a download of 768 MB:  {needs}cop-zarr ingest")
    _say(f"\nNext, in this shell:\n{_next_lines(store)}")
    if as_json:
        show(report, as_json, "")


def _say(text: str) -> None:
    """Print what was done; beside a report as JSON, to stderr."""
    click.echo(text, err=click.get_current_context().params["as_json"])


def _synthetic_source(folder: Path) -> Path:
    """The synthetic file, made if there is none; it appears under its name when it is complete."""
    path = folder / SYNTHETIC_SOURCE
    if path.exists():
        _say(f"         used again: {path}, a file with MADE-UP values")
        return path
    _say(f"No embed_map_*.tif in {settings.source_folder()}: writing a file with MADE-UP values.")
    begin = time.perf_counter()
    with progress("synth") as advance:
        cop_zarr.synthesize(path, progress=advance)
    _echo_time(begin, f"wrote {path}, {path.stat().st_size / 1e6:.0f} MB")
    return path


def _ingest(source: Path, store: str, overwrite: bool) -> None:
    """Ingest the source, unless the store opens; ``overwrite`` replaces one that does not."""
    try:
        cop_zarr.open(store)
    except (StoreNotFoundError, StoreError):
        begin = time.perf_counter()
        with progress("ingest") as advance:
            report = cop_zarr.ingest(source, store, overwrite=overwrite, progress=advance)
        _echo_time(begin, f"ingested it into {store}, {report.valid_cells:,} cells with data")
    else:
        _say(f"         used again: {store}")


def _verify(source: Path, store: str) -> int:
    """Compare the store with its source; return how many values are equal."""
    begin = time.perf_counter()
    with progress("verify") as advance:
        found = cop_zarr.verify(store, source, progress=advance)
    if not found.ok:
        again = f"cop-zarr ingest {shlex.quote(str(source))} {shlex.quote(store)} --overwrite"
        raise StoreError(f"{store} differs from {source}: {found.problems[0]}; make it again: {again}")
    _echo_time(begin, f"verified {found.values_compared:,} values: equal to the source's")
    return found.values_compared


def _keep_components(store: str) -> int:
    """Have the store keep its principal components; return how many."""
    begin = time.perf_counter()
    with progress("components") as advance:
        kept = cop_zarr.keep_components(store, progress=advance)
    text = f"{kept.count} principal components, for pictures, similar places and the explorer"
    if kept.derived:
        _echo_time(begin, f"derived {text}")
    else:
        _say(f"         used again: {text}")
    return kept.count


def _query_regions(store: Store) -> list[dict[str, Any]]:
    """Query a few regions; return what is in them, of those that the store covers."""
    found = list[dict[str, Any]]()
    _say(f"\n{'region':28}{'cells':>7}{'with data':>11}   their mean, weighted by area            time")
    for name, bbox in REGIONS.items():
        begin = time.perf_counter()
        try:
            answer = store.query(bbox, weights="area", empty="skip")
        except RegionError:
            _say(f"{name:28}   outside this store")
            continue
        elapsed = time.perf_counter() - begin
        cells, valid = answer.meta["total_cells"], answer.meta["valid_cells"]
        found.append({"region": name, "bbox": bbox, "cells": cells, "valid_cells": valid})
        numbers = " ".join(f"{value:+.3f}" for value in answer.data[:4])
        mean = f"[{numbers} …]" if valid else "no data"
        _say(f"{name:28}{cells:7}{valid:11}   {mean:33}{1e3 * elapsed:8.1f} ms")
    _say("")
    return found


def _draw(store: Store, path: Path) -> str | None:
    """Draw the globe, if matplotlib is installed; return the picture's path."""
    try:
        from cop_zarr.outputs.plotting import save
    except MissingDependencyError as error:
        _say(f"         no picture: {error}")
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    with progress("plot") as advance:
        save.save_plot(
            path, lambda axes: store.plot(ax=axes, progress=advance), width=10.0, dpi=160.0, overwrite=True
        )
    _echo_time(begin, f"drew {path}")
    return str(path)


def _next_lines(store: str) -> str:
    """Three commands to paste; the program is named as it was typed, unless PATH has it."""
    found, typed = shutil.which("cop-zarr"), Path(sys.argv[0])
    program = "cop-zarr" if found and Path(found).resolve() == typed.resolve() else shlex.quote(str(typed))
    return "\n".join(
        f"  {line}"
        for line in (
            f"export {settings.STORE_VARIABLE}={shlex.quote(store)}",
            f"{program} query --bbox 11 47.5 12.5 49 --weights area --empty skip",
            f"{program} explore",
        )
    )


def _echo_time(begin: float, text: str) -> None:
    """Print the seconds since ``begin``."""
    _say(f"{time.perf_counter() - begin:6.1f} s {text}")
