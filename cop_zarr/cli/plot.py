"""``cop-zarr plot``: a plot of a store or of a query."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

import cop_zarr
from cop_zarr.cli.main import main
from cop_zarr.cli.numbers import split_numbers
from cop_zarr.cli.options import (
    POOLING_OPTIONS,
    REPAIR,
    STORE,
    STORE_OPTIONS,
    TEXT_FILE,
    PathToWrite,
    choice,
    option_group,
)
from cop_zarr.cli.output import progress
from cop_zarr.cli.regions import BUFFER, CRS, POINT, SHAPE, check_buffer, parse_region

PICTURE = PathToWrite(path_type=Path, dir_okay=False)
SUFFIXES = (".png", ".svg", ".pdf")


def box_or_file(text: str) -> Any:
    """Parse four numbers, or open a file."""
    try:
        box = tuple(map(float, split_numbers(text)))
    except ValueError:
        return TEXT_FILE.convert(text, None, click.get_current_context())
    if len(box) != 4:
        raise click.BadParameter(f"a box has four numbers, 'W S E N'; got {text!r}")
    return box


@main.command()
@STORE
@click.argument("out", type=PICTURE, required=False)
@click.option("--to", type=PICTURE, metavar="OUT", help="The file to write: .png, .svg or .pdf.")
@click.option(
    "--bbox",
    type=float,
    nargs=4,
    metavar="W S E N",
    help="Extent; W > E crosses 180°.  [default: the whole store, or around the region]",
)
@option_group(
    "named",
    click.option(
        "--region",
        type=box_or_file,
        metavar="FILE|'W S E N'",
        help="Plot a query's cells, weights and outline: GeoJSON (- is stdin), or a box.",
    ),
    POINT,
    BUFFER,
    SHAPE,
)
@choice(
    "--colours-of",
    "store shown",
    "Whose principal components the colours are: of all cells, so that plots can be compared, or of those "
    "shown.",
)
@option_group("options", REPAIR, CRS, *POOLING_OPTIONS)
@option_group(
    "size",
    click.option("--width", type=float, default=10.0, show_default=True, metavar="INCHES"),
    click.option("--dpi", type=float, default=160.0, show_default=True, help="Pixels per inch."),
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@option_group("store_options", *STORE_OPTIONS)
def plot(
    store: str | None,
    out: Path | None,
    to: Path | None,
    bbox: tuple[float, float, float, float] | None,
    overwrite: bool,
    colours_of: Any,
    named: dict[str, Any],
    options: dict[str, Any],
    size: dict[str, float],
    store_options: dict[str, Any],
) -> None:
    """Plot a STORE's embeddings as colours, or a query, to a .png, .svg or .pdf file.

    The file is named by --to, or after the STORE: "plot STORE OUT" is "plot STORE --to OUT".

    Red, green and blue are the first three principal components of all its cells, each from its 2nd to its
    98th percentile; a STORE that keeps them ("cop-zarr components") is plotted sooner. With --region or
    --point, the plot shows the cells of a query and their weights; options are those of "cop-zarr query".
    """
    from cop_zarr.outputs.plotting import save

    picture = _picture(store, out, to)
    save.check_plot(picture, **size, overwrite=overwrite)
    query = _query_options(named, options)
    opened = cop_zarr.open(store, **store_options)
    with progress("plot") as advance:
        save.save_plot(
            picture,
            lambda axes: opened.plot(bbox, **query, colours_of=colours_of, ax=axes, progress=advance),
            **size,
            overwrite=overwrite,
        )
    click.echo(f"{picture}: {picture.stat().st_size:,} bytes", err=True)


def _picture(store: str | None, out: Path | None, to: Path | None) -> Path:
    """The file that --to or the second argument names."""
    if out is not None and to is not None:
        raise click.UsageError(f"name one picture: --to {to}, or {out}")
    found = out or to
    if found is None:
        named = store if store and Path(store).suffix.lower() in SUFFIXES else "OUT"
        raise click.UsageError(f"name the picture: --to {named}")
    return found


def _query_options(named: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """The region and the options of the query to plot; empty for a plot of the store."""
    region, point = named.pop("region"), named["point"]
    box, geojson = (region, None) if isinstance(region, tuple) else (None, region)
    if options["repair"] and geojson is None:
        raise click.UsageError("--repair needs --region FILE")
    if region is not None and point is not None:
        raise click.UsageError(
            "name one region: --region FILE, --region 'W S E N', or --point with --buffer"
        )
    if region is None and point is None:
        check_buffer(**named)
        _check_defaults(options)
        return {}
    roi, crs = parse_region(**named, bbox=box, geojson=geojson, crs=options["crs"])
    return {**options, "region": roi, "crs": crs}


def _check_defaults(options: dict[str, Any]) -> None:
    """Refuse options of a query where there is none."""
    ctx = click.get_current_context()
    for param in ctx.command.params:
        given = (
            param.name in options and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
        )
        if given and ctx.params[str(param.name)] != param.default:
            raise click.UsageError(f"{param.opts[0]} needs --region or --point")
