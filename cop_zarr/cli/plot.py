"""``cop-zarr plot``: a plot of a store or of a query."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

import cop_zarr
from cop_zarr.cli.main import main
from cop_zarr.cli.options import (
    JSON,
    OVERWRITE,
    POOLING_OPTIONS,
    REPAIR,
    STORE,
    STORE_OPTIONS,
    choice,
    option_group,
    output_option,
)
from cop_zarr.cli.output import progress
from cop_zarr.cli.output import show as print_report
from cop_zarr.cli.regions import CELL_AT_POINT, REGION_NAMES, REGION_OPTIONS, optional_region


@main.command(
    former={"--region": "--bbox, --point or --geojson, with --show weights"},
    examples=[
        "cop-zarr plot --to globe.png",
        "cop-zarr plot --bbox -12 35 32 62 --to europe.png",
        "cop-zarr plot --geojson lake.geojson --show weights --to lake.svg",
    ],
)
@STORE
@option_group("region", *REGION_OPTIONS)
@choice(
    "--show",
    "embeddings weights",
    "What the region is shown as: embeddings in colours, or the cells and weights of a query.",
)
@choice(
    "--colours-of",
    "store shown",
    "Whose principal components the colours are: of all cells, so that plots can be compared, or of those "
    "shown.",
)
@click.option(
    "--extent",
    type=float,
    nargs=4,
    metavar="W S E N",
    help="What the map covers, with --show weights.  [default: the region and a margin]",
)
@option_group("options", REPAIR, *POOLING_OPTIONS)
@output_option("OUT", "A .png, .svg or .pdf file.", required=True)
@option_group(
    "size",
    click.option("--width", type=float, default=10.0, show_default=True, metavar="INCHES"),
    click.option("--dpi", type=float, default=160.0, show_default=True, help="Pixels per inch."),
)
@OVERWRITE
@JSON
@option_group("store_options", *STORE_OPTIONS)
def plot(
    store: str | None,
    out: Path,
    overwrite: bool,
    as_json: bool,
    show: str,
    extent: tuple[float, float, float, float] | None,
    colours_of: Any,
    region: dict[str, Any],
    options: dict[str, Any],
    size: dict[str, float],
    store_options: dict[str, Any],
) -> None:
    """Plot a STORE's embeddings as colours, or a query's weights.

    Red, green and blue are the first three principal components of all its cells, each from its 2nd to its
    98th percentile; a STORE that keeps them ("cop-zarr components") is plotted sooner. With --show weights,
    the plot shows the cells of a query and their weights; options are those of "cop-zarr query".
    """
    from cop_zarr.outputs.plotting import save

    roi, crs = optional_region(region, CELL_AT_POINT)
    what = _query(roi, crs, options, extent) if show == "weights" else _part(roi, crs, options)
    save.check_plot(out, **size, overwrite=overwrite)
    opened = cop_zarr.open(store, **store_options)
    with progress("plot") as advance:
        save.save_plot(
            out,
            lambda axes: opened.plot(**what, colours_of=colours_of, ax=axes, progress=advance),
            **size,
            overwrite=overwrite,
        )
    written = out.stat().st_size
    report = {"out": str(out), "store": opened.url, "show": show, "bytes": written}
    print_report(report, as_json, f"{out}: {written:,} bytes")


def _query(roi: Any, crs: str | None, options: dict[str, Any], extent: Any) -> dict[str, Any]:
    """Arguments for a plot of a query."""
    if roi is None:
        raise click.UsageError(f"--show weights needs a region: {REGION_NAMES}")
    _check_repair(options)
    return {"region": roi, "crs": crs, **options, "bbox": extent}


def _part(roi: Any, crs: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Arguments for a plot of embeddings, in the box around the region."""
    ctx = click.get_current_context()
    for param in ctx.command.params:
        given = ctx.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE
        if given and param.name in {*options, "extent"} - {"repair"}:
            raise click.UsageError(f"{param.opts[0]} needs --show weights")
    _check_repair(options)
    if roi is None:
        return {}
    from cop_zarr.regions import footprint

    return {"bbox": footprint(roi, crs, repair=options["repair"]).bounds.on_earth}


def _check_repair(options: dict[str, Any]) -> None:
    if options["repair"] and click.get_current_context().params["geojson"] is None:
        raise click.UsageError("--repair needs --geojson FILE")
