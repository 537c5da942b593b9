"""Commands for whoever does not have the published file."""

from __future__ import annotations

from pathlib import Path

import click

import cop_zarr
from cop_zarr.cli import reports
from cop_zarr.cli.main import main
from cop_zarr.cli.output import progress, progress_bars


@main.command()
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--bands", type=int, default=768, show_default=True)
@click.option("--bbox", type=float, nargs=4, metavar="W S E N", help="A part of the globe only.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def synth(
    out: Path,
    bands: int,
    bbox: tuple[float, float, float, float] | None,
    seed: int,
    overwrite: bool,
) -> None:
    """Write a stand-in GeoTIFF to OUT: the published container, real coastlines, made-up values."""
    from cop_zarr.regions import BBox
    from cop_zarr.source.synthetic import LATTICE

    grid = LATTICE if bbox is None else LATTICE.part(LATTICE.touched(BBox(*bbox).bounds)[0])
    with progress("synth") as told:
        cop_zarr.synthesize(out, grid=grid, bands=bands, seed=seed, overwrite=overwrite, progress=told)
    rows, cols = grid.shape
    click.echo(
        f"{out}: {rows} x {cols} cells x {bands} bands, synthetic, {reports.size_text(out.stat().st_size)}"
    )


@main.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data/quickstart"),
    show_default=True,
    help="Where a stand-in and its store are put.",
)
def quickstart(folder: Path) -> None:
    """Do the main job once: ingest, verify, and ask about a few places.

    Takes the published file if the folder that RS_EMBED_COP_DIR names has it (default
    data/copernicus_embed). Otherwise it makes a stand-in of the whole globe, whose values are made up.
    """
    from cop_zarr.cli import quickstart as tour

    with progress_bars() as bar:
        for line in tour.steps(folder, bar):
            click.echo(line)
