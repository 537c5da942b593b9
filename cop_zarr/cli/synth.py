"""``cop-zarr synth``: a synthetic source."""

from __future__ import annotations

from pathlib import Path

import click

import cop_zarr
from cop_zarr.cli import reports
from cop_zarr.cli.main import main
from cop_zarr.cli.options import PathToWrite
from cop_zarr.cli.output import progress


@main.command()
@click.argument("out", type=PathToWrite(path_type=Path, dir_okay=False))
@click.option("--bands", type=int, default=768, show_default=True)
@click.option("--bbox", type=float, nargs=4, metavar="W S E N", help="A part of the globe only.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def synth(
    out: Path,
    bands: int,
    bbox: tuple[float, float, float, float] | None,
    seed: int,
    overwrite: bool,
) -> None:
    """Write a synthetic GeoTIFF to OUT: the published container, real coastlines, made-up values."""
    from cop_zarr.regions import BBox
    from cop_zarr.source.synthetic import LATTICE

    grid = LATTICE if bbox is None else LATTICE.part(LATTICE.touched(BBox(*bbox).bounds)[0])
    with progress("synth") as advance:
        cop_zarr.synthesize(out, grid=grid, bands=bands, seed=seed, overwrite=overwrite, progress=advance)
    rows, cols = grid.shape
    size = reports.size_text(out.stat().st_size)
    click.echo(f"{out}: {rows} x {cols} cells x {bands} bands, synthetic, {size}")
