"""``cop-zarr synth``: a synthetic source."""

from __future__ import annotations

from pathlib import Path

import click

import cop_zarr
from cop_zarr.cli import reports
from cop_zarr.cli.main import main
from cop_zarr.cli.options import JSON, OVERWRITE, output_option
from cop_zarr.cli.output import progress, show


@main.command(
    examples=[
        "cop-zarr synth --to standin.tif --bands 16",
        "cop-zarr synth --to europe.tif --bbox -10 35 30 60",
    ]
)
@output_option("OUT", "The .tif file to write.", required=True)
@click.option("--bands", type=int, default=768, show_default=True, help="Numbers of a cell.")
@click.option("--bbox", type=float, nargs=4, metavar="W S E N", help="A part of the globe only.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another one has other values.")
@OVERWRITE
@JSON
def synth(
    out: Path,
    bands: int,
    bbox: tuple[float, float, float, float] | None,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write a synthetic source: real coastlines, made-up values.

    OUT is a GeoTIFF as the published one is, to try things with.
    """
    if out.suffix.lower() not in {".tif", ".tiff"}:
        raise click.UsageError(f"{out} must end in .tif or .tiff")
    from cop_zarr.regions import BBox
    from cop_zarr.source.synthetic import LATTICE

    grid = LATTICE if bbox is None else LATTICE.part(LATTICE.touched(BBox(*bbox).bounds)[0])
    with progress("synth") as advance:
        cop_zarr.synthesize(out, grid=grid, bands=bands, seed=seed, overwrite=overwrite, progress=advance)
    (rows, cols), size = grid.shape, out.stat().st_size
    show(
        {"out": str(out), "rows": rows, "cols": cols, "bands": bands, "seed": seed, "bytes": size},
        as_json,
        f"{out}: {rows} x {cols} cells x {bands} bands, synthetic, {reports.size_text(size)}",
    )
