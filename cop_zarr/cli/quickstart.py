"""``cop-zarr quickstart``: create a store, verify it, and run a few queries."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

import cop_zarr
from cop_zarr.cli.main import main
from cop_zarr.cli.options import PathToWrite
from cop_zarr.cli.output import progress
from cop_zarr.core import settings
from cop_zarr.errors import RegionError, StoreError

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


@main.command()
@click.option(
    "--folder",
    type=PathToWrite(path_type=Path, file_okay=False),
    default=Path("data/quickstart"),
    show_default=True,
    help="Folder of a synthetic source and its store.",
)
def quickstart(folder: Path) -> None:
    """Create a store, verify it, and query a few regions.

    Uses the published file if it is in the folder of RS_EMBED_COP_DIR (default data/copernicus_embed) or in
    the cache of huggingface_hub, and otherwise a synthetic file of the whole globe with made-up values.
    """
    from cop_zarr.source.locate import find_default
    from cop_zarr.storage import folder as storage_folder

    source, store = find_default(), settings.store_url()
    begin = time.perf_counter()
    if source is None:
        click.echo(f"No embed_map_*.tif in {settings.source_folder()}: writing a file with MADE-UP values.")
        store = str(folder / "standin.zarr")
        with progress("synth") as advance:
            source = cop_zarr.synthesize(folder / SYNTHETIC_SOURCE, overwrite=True, progress=advance)
        begin = _echo_time(begin, f"wrote {source}")
    if store == settings.store_url() and storage_folder(store).names():
        click.echo(f"       {store} exists, and is not replaced")
    else:
        with progress("ingest") as advance:
            report = cop_zarr.ingest(source, store, overwrite=True, progress=advance)
        begin = _echo_time(begin, f"ingested {source} into {store}, {report.valid_cells:,} cells with data")
    with progress("verify") as advance:
        found = cop_zarr.verify(store, source, progress=advance)
    if not found.ok:
        raise StoreError(f"{store} differs from {source}: {found.problems[0]}")
    _echo_time(begin, f"verified, {found.values_compared:,} values equal to the source's")
    _query_regions(cop_zarr.open(store))
    click.echo(f"Next, in Python:  cop_zarr.open({store!r}).query((120, 30, 122, 32))")
    if source.name == SYNTHETIC_SOURCE:
        click.echo("With the published file:  pip install '.[http]' && cop-zarr ingest")
    click.echo(f"In a browser:  cop-zarr explore {shlex.quote(store)}")


def _query_regions(store: Store) -> None:
    click.echo(f"\n{'region':28}{'cells':>7}{'with data':>11}   pooled mean                          time")
    for name, bbox in REGIONS.items():
        begin = time.perf_counter()
        try:
            answer = store.query(bbox)
        except RegionError:
            click.echo(f"{name:28}   outside this store")
            continue
        elapsed = time.perf_counter() - begin
        numbers = " ".join(f"{value:+.3f}" for value in answer.data[:4])
        cells, valid = answer.meta["total_cells"], answer.meta["valid_cells"]
        click.echo(f"{name:28}{cells:7}{valid:11}   [{numbers} …]  {1e3 * elapsed:5.1f} ms")
    click.echo()


def _echo_time(begin: float, text: str) -> float:
    """Print the seconds since ``begin``, and return the time."""
    now = time.perf_counter()
    click.echo(f"{now - begin:5.1f} s  {text}")
    return now
