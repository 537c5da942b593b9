"""``cop-zarr similar``: the places most like others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import cop_zarr
from cop_zarr.cli.main import main
from cop_zarr.cli.options import JSON, PATH, STORE, STORE_OPTIONS, TEXT_FILE, choice, option_group
from cop_zarr.cli.output import progress, show
from cop_zarr.cli.plot import box_or_file
from cop_zarr.cli.regions import read_geojson


def place_options(prefix: str, text: str) -> tuple[Any, ...]:
    """Options that name places, each of which may be given several times."""
    return (
        click.option(
            f"--{prefix}point",
            type=float,
            nargs=2,
            multiple=True,
            metavar="LON LAT",
            help=f"A point {text}.",
        ),
        click.option(
            f"--{prefix}bbox", type=float, nargs=4, multiple=True, metavar="W S E N", help=f"A box {text}."
        ),
        click.option(
            f"--{prefix}geojson",
            type=TEXT_FILE,
            multiple=True,
            metavar="FILE",
            help=f"Polygons and points {text}: each feature is a place. - is stdin.",
        ),
    )


@main.command()
@STORE
@option_group("like", *place_options("", "to be like"))
@option_group("unlike", *place_options("not-", "to be unlike"))
@option_group(
    "options",
    click.option("-k", type=int, default=10, show_default=True, help="Number of cells."),
    choice("--metric", "cosine l2", "Angle, or distance between vectors."),
    click.option(
        "--exclude-km", type=float, default=0.0, metavar="KM", help="Leave out cells nearer to a place."
    ),
    click.option(
        "--spacing-km",
        type=float,
        default=0.0,
        metavar="KM",
        help="Leave out cells nearer to a better one.",
    ),
)
@click.option(
    "--within",
    type=box_or_file,
    metavar="FILE|'W S E N'",
    help="Only cells that a region touches: GeoJSON (- is stdin), or a box.",
)
@click.option("--to", type=PATH, metavar="OUT", help="A .geojson, .csv, .parquet or .png file.")
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
@JSON
@option_group("store_options", *STORE_OPTIONS)
def similar(
    store: str | None,
    like: dict[str, Any],
    unlike: dict[str, Any],
    within: Any,
    to: Path | None,
    overwrite: bool,
    as_json: bool,
    options: dict[str, Any],
    store_options: dict[str, Any],
) -> None:
    """Find the cells of a STORE most like places, and unlike others.

    Places are given by --point, --bbox and --geojson, each once or several times; those to be unlike by
    --not-point, --not-bbox and --not-geojson. The cells are printed, the best first, or written to OUT.
    """
    from cop_zarr.interop.match_files import check_match_file, write_matches

    places, negatives = _places(like), _places(unlike, "not_") or None
    if not places:
        raise click.UsageError("name a place: --point LON LAT, --bbox W S E N, or --geojson FILE")
    if overwrite and to is None:
        raise click.UsageError("--overwrite needs --to FILE")
    if to is not None:
        check_match_file(to, overwrite=overwrite)
    if within is not None:
        options["within"] = within if isinstance(within, tuple) else read_geojson(within)
    opened = cop_zarr.open(store, **store_options)
    with progress("similar", "chunk") as advance:
        matches = opened.similar(places, negatives, progress=advance, **options)
    found = {"metric": matches.metric, "matches": matches.records()}
    if to is None:
        show(found, as_json, _table(matches.records()))
        return
    write_matches(to, matches, overwrite=overwrite)
    if as_json:
        show({"out": str(to), **found}, as_json, "")
    else:
        click.echo(f"{to}: {len(matches):,} cells", err=True)


def _places(given: dict[str, Any], prefix: str = "") -> list[Any]:
    """The places that options name."""
    places = [*given[f"{prefix}point"], *given[f"{prefix}bbox"]]
    for file in given[f"{prefix}geojson"]:
        document = read_geojson(file)
        features = document.get("features")
        places += features if isinstance(features, list) else [document]
    return places


def _table(records: list[dict[str, Any]]) -> str:
    lines = ["rank       lon      lat    score"]
    lines += [
        f"{rank:4} {cell['lon']:9.2f} {cell['lat']:8.2f} {cell['score']:8.5g}"
        for rank, cell in enumerate(records, 1)
    ]
    return "\n".join(lines)
