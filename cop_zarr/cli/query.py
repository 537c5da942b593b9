"""``cop-zarr query``: one region."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import cop_zarr
from cop_zarr.cli import reports
from cop_zarr.cli.main import main
from cop_zarr.cli.options import (
    JSON,
    OVERWRITE,
    POOLING_OPTIONS,
    REPAIR,
    STORE,
    STORE_OPTIONS,
    YEAR,
    choice,
    option_group,
    output_option,
    size,
)
from cop_zarr.cli.output import show
from cop_zarr.cli.regions import CELL_AT_POINT, REGION_OPTIONS, note_features, parse_region

if TYPE_CHECKING:
    from cop_zarr.outputs.embedding import Embedding


@main.command(
    options_metavar="(--bbox|--point|--geojson) [OPTIONS]",
    examples=[
        "cop-zarr query --bbox 120 30 122 32 --weights area --empty skip",
        "cop-zarr query copernicus.zarr --point 121.5 31.2 --buffer 30000 --json",
        "cop-zarr query --geojson lake.geojson --output grid --to lake.npz",
    ],
)
@STORE
@option_group("region", *REGION_OPTIONS)
@option_group(
    "options",
    REPAIR,
    YEAR,
    choice("--output", "pooled grid", "One vector, or every cell of the region's window."),
    *POOLING_OPTIONS,
    click.option("--max-bytes", type=size, default="1GiB", show_default=True, help="Largest grid."),
)
@output_option("OUT", "A .json, .npy, .npz or .csv file.")
@OVERWRITE
@JSON
@option_group("store_options", *STORE_OPTIONS)
def query(
    store: str | None,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
    region: dict[str, Any],
    options: dict[str, Any],
    store_options: dict[str, Any],
) -> None:
    """Query a STORE for a region: its vector, or its cells.

    The region is a box, a point with a radius, or polygons. A terminal shows a summary; a pipe, and --json,
    get one JSON object with the numbers and how they were made.
    """
    from cop_zarr.outputs import files

    roi, crs = parse_region(**region, advice=CELL_AT_POINT)
    _check_output(region, options, out, overwrite)
    if out is not None:
        files.check_target(out, overwrite)
    if region["geojson"] is not None:
        note_features(roi, region["geojson"].name, store)
    answer = cop_zarr.open(store, **store_options).query(roi, crs=crs, **options)
    if out is not None:
        files.save(answer, out, overwrite)
        shape = " x ".join(map(str, answer.data.shape))
        text = f"{out}: {shape} float32 numbers of {reports.cells_text(answer.meta)}"
        show({"out": str(out), "shape": answer.data.shape, "meta": answer.meta}, as_json, text)
    elif as_json or not sys.stdout.isatty():
        click.echo(files.to_json(answer))
    else:
        click.echo(answer_text(answer))


def _check_output(
    region: dict[str, Any], options: dict[str, Any], out: Path | None, overwrite: bool
) -> None:
    """Check the options that need others."""
    if options["repair"] and region["geojson"] is None:
        raise click.UsageError("--repair needs --geojson FILE")
    if out is None and overwrite:
        raise click.UsageError("--overwrite needs --to OUT")
    if out is None and options["output"] == "grid":
        raise click.UsageError("--output grid is too much to print; write it to a file: --to OUT.npz")


def answer_text(answer: Embedding) -> str:
    """What was asked, what is in it, and the first numbers."""
    meta, data = answer.meta, answer.data
    west, south, east, north = meta["bbox_4326"]
    valid, total = meta["valid_cells"], meta["total_cells"]
    has_zeros = 0 < valid < total and meta["empty"] == "include"
    zeros = "; the others count as zeros (--empty skip leaves them out)"
    rule = (
        f"--subpixel {meta['subpixel']}" if meta["subpixel"] else f"--weights {meta['weights'] or 'none'}"
    )
    facts = {
        "store": meta["store"] + (", SYNTHETIC: its values are made up" if meta["synthetic"] else ""),
        "region": f"lon {west:g} … {east:g}, lat {south:g} … {north:g} ({_form(meta['roi'])})",
        "cells": f"{valid:,} of {total:,} with data" + (zeros if has_zeros else ""),
        "pooled": f"--pooling {meta['pooling']} {rule} --empty {meta['empty']}",
    }
    if not valid:
        number = "zero" if meta["empty"] == "include" else "NaN"
        return reports.table({**facts, "vector": f"{data.size} numbers, all {number}: no cell has data"})
    norm = math.sqrt(sum(value * value for value in data.tolist()))
    facts["vector"] = f"{data.size} numbers, norm {norm:.5g}"
    facts["first"] = " ".join(f"{value:.4g}" for value in data[:8]) + (" …" if data.size > 8 else "")
    return reports.table(facts) + "\n(--json prints all numbers, --to OUT writes them to a file)"


def _form(roi: dict[str, Any]) -> str:
    """What kind of region it is."""
    if roi["type"] == "PointBuffer":
        return f"{roi['shape']} of {roi['buffer_m']:,g} m around {roi['lon']:g} {roi['lat']:g}"
    return "box" if roi["type"] == "BBox" else f"{roi['type']}, {roi['vertices']:,} vertices"
