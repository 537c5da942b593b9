"""``cop-zarr batch``: a file of points or regions."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

import cop_zarr
from cop_zarr.cli import reports
from cop_zarr.cli.main import main
from cop_zarr.cli.options import JSON, SCHEDULER, place, placed, pooled
from cop_zarr.cli.output import progress, show


@main.command()
@click.argument("places", nargs=-1, required=True, metavar="[STORE] ROIS")
@click.option(
    "--to",
    "out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="OUT",
    help="A .parquet, .geoparquet, .zarr or .npy file.",
)
@click.option(
    "--columns",
    metavar="NAMES",
    help="The columns that say where rows are, with commas: WKT or WKB, lon,lat, or west,south,east,north.",
)
@click.option("--layer", help="Which layer, of a file with several.")
@click.option("--crs", metavar="CRS", help="Of the coordinates, x y.  [default: what the file says]")
@click.option("--buffer", "buffer_m", type=float, metavar="M", help="Radius around points, in metres.")
@click.option(
    "--shape",
    type=click.Choice(["box", "circle"]),
    default="box",
    show_default=True,
    help="What --buffer makes.",
)
@click.option(
    "--method",
    type=click.Choice(["nearest", "bilinear"]),
    default="nearest",
    show_default=True,
    help="For points: the cell that each lies in, or a mean of the four around it.",
)
@pooled
@click.option("--repair", is_flag=True, help="Mend invalid polygons instead of refusing them.")
@click.option("--year", type=int, default=2021, show_default=True)
@click.option(
    "--on-error",
    type=click.Choice(["raise", "nan"]),
    default="raise",
    show_default=True,
    help="Stop at a row that has no answer, or leave it without a vector and say why in a column 'error'.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT, or what an interrupted batch has left.")
@click.option("--resume", is_flag=True, help="Go on with what an interrupted batch has left.")
@SCHEDULER
@JSON
@placed
def batch(
    places: tuple[str, ...],
    out: Path,
    columns: str | None,
    scheduler: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Answer the points or regions of a file ROIS into OUT, row by row.

    ROIS is GeoJSON, GeoPackage, FlatGeobuf, Shapefile, GeoParquet, Parquet or CSV. Points get the vector of
    their cell, regions are pooled as by query. OUT has the columns and the order of ROIS (.npy: the vectors
    alone), and its name when it is whole. A batch that was interrupted, even by a kill, is finished by the
    same command with --resume.
    """
    if len(places) > 2:
        raise click.UsageError(f"name a STORE and one table ROIS; got {len(places)} names")
    store, rois = places if len(places) == 2 else (None, places[0])
    opened = cop_zarr.open(store, **place(options))
    names = None if columns is None else [name.strip() for name in columns.split(",")]
    try:
        with progress("batch", "row") as told:
            report = cop_zarr.batch(
                rois, out, opened, columns=names, client=scheduler, progress=told, **options
            )
    except (KeyboardInterrupt, SystemExit):
        click.echo(
            "\nStopped. What is finished, if anything, has been kept: go on with --resume.", err=True
        )
        raise
    show(asdict(report), as_json, reports.batch_text(report))
