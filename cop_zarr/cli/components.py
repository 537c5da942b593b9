"""``cop-zarr components``: derive principal components, keep them in the store, or write them to a file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

import cop_zarr
from cop_zarr.cli import reports
from cop_zarr.cli.main import main
from cop_zarr.cli.options import JSON, STORAGE_OPTIONS, STORE, TIMEOUT, option_group, output_option
from cop_zarr.cli.output import progress, show
from cop_zarr.cli.stores import BREAK_LOCK


@main.command(
    examples=[
        "cop-zarr components --count 8",
        "cop-zarr components --to era5_static.nc --count 8 --longitudes 0..360",
    ]
)
@STORE
@click.option("--count", type=int, help="How many.  [default: those kept, or 64]")
@output_option("OUT", "Write the scores to a netCDF file (.nc), and nothing to the store.")
@click.option(
    "--longitudes",
    type=click.Choice(["-180..180", "0..360"]),
    help="Of OUT; 0..360 as in files of ERA5.  [default: -180..180]",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT, or the components that the store keeps.")
@BREAK_LOCK
@JSON
@option_group(
    "options",
    click.option("--workers", type=int, help="Number of threads.  [COP_ZARR_WORKERS, or up to 4]"),
    STORAGE_OPTIONS,
    TIMEOUT,
)
def components(
    store: str | None,
    out: Path | None,
    longitudes: Any,
    as_json: bool,
    options: dict[str, Any],
    **given: Any,
) -> None:
    """Derive the principal components of a STORE, and keep them.

    Plots and searches for similar places read them there; what else reads the STORE passes over them. They
    are exact, of all cells with data, derived once, and gone when the STORE is overwritten.

    With --to, they are written to a file on the grid of ERA5 instead, the kept ones if there are any.
    """
    if out is not None:
        if given["break_lock"]:
            raise click.UsageError(
                "--break-lock cannot be given with --to, which writes nothing to the store"
            )
        report = _write(store, out, longitudes or "-180..180", options, given)
        show(report, as_json, f"{out}: {report['count']} components of {report['cells']:,} cells")
        return
    if longitudes is not None:
        raise click.UsageError("--longitudes needs --to OUT")
    with progress("components") as options["progress"]:
        kept = cop_zarr.keep_components(store, **given, **options)
    show(asdict(kept), as_json, reports.components_text(kept))


def _write(
    store: str | None, out: Path, longitudes: Any, options: dict[str, Any], given: dict[str, Any]
) -> dict[str, Any]:
    """Write a file; returns a report."""
    from cop_zarr.outputs.components import check_file, save

    check_file(out, overwrite=given["overwrite"])
    opened = cop_zarr.open(store, **options)
    with progress("components") as advance:
        found = opened.components(given["count"], progress=advance)
        if advance is not None:
            advance(1, 1)  # what the bar says then: the file is written
        save(found, out, longitudes)
    return {
        "store": opened.url,
        "out": str(out),
        "longitudes": longitudes,
        "count": len(found.axes),
        "cells": found.cells,
        "explained_variance_ratio": found.explained_variance_ratio.tolist(),
        "kept": found.kept,
    }
