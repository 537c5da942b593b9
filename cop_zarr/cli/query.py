"""``cop-zarr query``: one region."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import cop_zarr
from cop_zarr.cli import reports
from cop_zarr.cli.main import main
from cop_zarr.cli.options import STORE, Size, place, placed, pooled
from cop_zarr.cli.regions import BUFFER, CRS, REPAIR, SHAPE, named_region


@main.command()
@STORE
@click.option("--bbox", type=float, nargs=4, metavar="W S E N", help="A box; W > E crosses 180°.")
@click.option("--point", type=float, nargs=2, metavar="LON LAT", help="A point, with --buffer.")
@BUFFER
@SHAPE
@click.option("--geojson", type=click.File(encoding="utf-8"), metavar="FILE", help="Polygons; - is stdin.")
@REPAIR
@CRS
@click.option("--year", type=int, default=2021, show_default=True)
@click.option("--output", type=click.Choice(["pooled", "grid"]), default="pooled", show_default=True)
@pooled
@click.option("--max-bytes", type=Size(), default="1GiB", show_default=True, help="Largest grid.")
@click.option("--to", type=click.Path(path_type=Path), help="A .json, .npy, .npz or .csv file.")
@click.option("--overwrite", is_flag=True, help="Replace the file that --to names.")
@placed
def query(
    store: str | None,
    to: Path | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Ask a STORE for a region's embedding: JSON on stdout, or a file by --to."""
    from cop_zarr.outputs import files as export

    region = {name: options.pop(name) for name in ("bbox", "point", "buffer", "shape", "geojson")}
    roi, crs = named_region(**region, crs=options.pop("crs"))
    reached = place(options)
    if options["repair"] and region["geojson"] is None:
        raise click.UsageError("--repair goes with --geojson FILE")
    if overwrite and to is None:
        raise click.UsageError("--overwrite goes with --to FILE")
    if to is not None:
        export.check_target(to, overwrite)
    embedding = cop_zarr.open(store, **reached).query(roi, crs=crs, **options)
    if to is None:
        click.echo(export.to_json(embedding))
    else:
        export.save(embedding, to, overwrite)
        shape = " x ".join(map(str, embedding.data.shape))
        click.echo(f"{to}: {shape} float32 numbers of {reports.cells_text(embedding.meta)}", err=True)
