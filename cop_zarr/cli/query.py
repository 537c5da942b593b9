"""``cop-zarr query``: one region."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import cop_zarr
from cop_zarr.cli import reports
from cop_zarr.cli.main import main
from cop_zarr.cli.options import (
    PATH,
    POOLING_OPTIONS,
    REPAIR,
    STORE,
    STORE_OPTIONS,
    YEAR,
    choice,
    option_group,
    size,
)
from cop_zarr.cli.regions import REGION_OPTIONS, note_features, parse_region


@main.command()
@STORE
@option_group("region", *REGION_OPTIONS)
@option_group(
    "options",
    REPAIR,
    YEAR,
    choice("--output", "pooled grid"),
    *POOLING_OPTIONS,
    click.option("--max-bytes", type=size, default="1GiB", show_default=True, help="Largest grid."),
)
@click.option("--to", type=PATH, help="A .json, .npy, .npz or .csv file.")
@click.option("--overwrite", is_flag=True, help="Replace the file that --to names.")
@option_group("store_options", *STORE_OPTIONS)
def query(
    store: str | None,
    to: Path | None,
    overwrite: bool,
    region: dict[str, Any],
    options: dict[str, Any],
    store_options: dict[str, Any],
) -> None:
    """Query a STORE for a region's embedding: JSON on stdout, or a file with --to."""
    from cop_zarr.outputs import files

    roi, crs = parse_region(**region)
    if options["repair"] and region["geojson"] is None:
        raise click.UsageError("--repair needs --geojson FILE")
    if overwrite and to is None:
        raise click.UsageError("--overwrite needs --to FILE")
    if to is not None:
        files.check_target(to, overwrite)
    if region["geojson"] is not None:
        note_features(roi, region["geojson"].name, store)
    embedding = cop_zarr.open(store, **store_options).query(roi, crs=crs, **options)
    if to is None:
        click.echo(files.to_json(embedding))
    else:
        files.save(embedding, to, overwrite)
        shape = " x ".join(map(str, embedding.data.shape))
        click.echo(f"{to}: {shape} float32 numbers of {reports.cells_text(embedding.meta)}", err=True)
