"""``cop-zarr batch``: a file of points or regions."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

import cop_zarr
from cop_zarr.cli import reports
from cop_zarr.cli.main import main
from cop_zarr.cli.options import (
    JSON,
    POOLING_OPTIONS,
    REPAIR,
    STORE_OPTIONS,
    YEAR,
    choice,
    complete_path,
    option_group,
    output_option,
)
from cop_zarr.cli.output import resumable, show
from cop_zarr.cli.wording import in_options


@main.command(
    examples=[
        "cop-zarr batch places.csv --to places.parquet",
        "cop-zarr batch copernicus.zarr countries.geojson --to means.npy --empty skip",
    ]
)
@click.argument("paths", nargs=-1, required=True, metavar="[STORE] ROIS", shell_complete=complete_path)
@output_option("OUT", "A .parquet, .geoparquet, .zarr or .npy file.", required=True)
@click.option(
    "--columns",
    metavar="NAMES",
    help="Columns of the coordinates, with commas: WKT or WKB; lon,lat; or west,south,east,north.",
)
@option_group(
    "options",
    click.option("--layer", help="The layer, of a file with several; or the file in a ZIP file."),
    click.option("--separator", metavar="CHAR", help="Between values of a text file.  [default: found]"),
    click.option("--decimal", metavar="CHAR", help="Decimal mark of a text file.  [default: found]"),
    click.option("--encoding", metavar="NAME", help="Encoding of a text file.  [default: found]"),
    click.option("--crs", metavar="CRS", help="CRS of the x y.  [default: what the file says]"),
    click.option("--buffer", "buffer_m", type=float, metavar="M", help="Radius around points, in metres."),
    choice("--shape", "box circle", "Shape of the buffer."),
    choice("--method", "nearest bilinear", "For points: the cell each is in, or the four around it."),
    *POOLING_OPTIONS,
    REPAIR,
    YEAR,
    choice("--on-error", "raise nan", "Stop at a row without an answer, or write NaN and the error."),
    click.option(
        "--scheduler", "client", metavar="ADDRESS", help="Use a Dask cluster: tcp://10.0.0.1:8786."
    ),
    click.option("--overwrite", is_flag=True, help="Replace OUT, or an interrupted batch."),
    click.option("--resume", is_flag=True, help="Continue an interrupted batch."),
)
@JSON
@option_group("store_options", *STORE_OPTIONS)
def batch(
    paths: tuple[str, ...],
    out: Path,
    columns: str | None,
    options: dict[str, Any],
    store_options: dict[str, Any],
    as_json: bool,
) -> None:
    """Write a vector for each point or region of a file.

    ROIS is GeoJSON (also a feature a line), GeoPackage, FlatGeobuf, Shapefile, File Geodatabase, KML, or a
    ZIP file of one; GeoParquet, Parquet, CSV or other text. Points get the vector of their cell, regions
    are pooled as by query. OUT has the columns and the order of ROIS (.npy: the vectors alone), and appears
    when it is complete. An interrupted batch, even one that was killed, is finished by the same command
    with --resume.
    """
    if len(paths) > 2:
        raise click.UsageError(f"name a STORE and one table ROIS; got {len(paths)} names")
    store, rois = paths if len(paths) == 2 else (None, paths[0])
    if rois.rstrip("/").endswith(".zarr"):
        raise click.UsageError(f"{rois} is a STORE; name the file of points or regions after it")
    opened = cop_zarr.open(store, **store_options)
    names = None if columns is None else [name.strip() for name in columns.split(",")]
    with resumable("batch", "row") as advance:
        report = cop_zarr.batch(rois, out, opened, columns=names, progress=advance, **options)
    command = click.get_current_context().command
    refusals = [(number, in_options(reason, command)) for number, reason in report.refusals]
    report = replace(report, refusals=refusals)
    show(asdict(report), as_json, reports.batch_text(report, out))
