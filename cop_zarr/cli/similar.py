"""``cop-zarr similar``: the places most like others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import cop_zarr
from cop_zarr.cli.main import main
from cop_zarr.cli.options import (
    JSON,
    OVERWRITE,
    STORE,
    STORE_OPTIONS,
    TEXT_FILE,
    choice,
    option_group,
    output_option,
)
from cop_zarr.cli.output import progress, show
from cop_zarr.cli.regions import check_buffer, read_geojson


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


@main.command(
    former={"--within": "--within-bbox W S E N, or --within-geojson FILE"},
    options_metavar="(--point|--bbox|--geojson) [OPTIONS]",
    examples=[
        "cop-zarr similar --point 11.5 48.1 -k 5 --exclude-km 200",
        "cop-zarr similar --bbox 120 30 122 32 --within-bbox -10 35 30 60 --to a.csv",
    ],
)
@STORE
@option_group("like", *place_options("", "to be like"))
@option_group("unlike", *place_options("not-", "to be unlike"))
@option_group(
    "within",
    click.option(
        "--within-bbox", type=float, nargs=4, metavar="W S E N", help="Only cells that a box touches."
    ),
    click.option(
        "--within-geojson", type=TEXT_FILE, metavar="FILE", help="Only cells that polygons touch."
    ),
)
@option_group(
    "form",
    click.option(
        "--buffer",
        "buffer_m",
        type=float,
        metavar="M",
        help="Geodesic radius around each point, in metres.",
    ),
    click.option(
        "--shape", type=click.Choice(["box", "circle"]), help="Shape of the buffers.  [default: box]"
    ),
    click.option("--crs", metavar="CRS", help="CRS of every x y.  [default: EPSG:4326]"),
)
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
@output_option("OUT", "A .geojson, .csv, .parquet or .png file.")
@OVERWRITE
@JSON
@option_group("store_options", *STORE_OPTIONS)
def similar(
    store: str | None,
    like: dict[str, Any],
    unlike: dict[str, Any],
    within: dict[str, Any],
    form: dict[str, Any],
    out: Path | None,
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

    check_buffer([*like["point"], *unlike["not_point"]], form["buffer_m"], form["shape"])
    places, negatives = _places(like, form), _places(unlike, form, "not_") or None
    if not places:
        raise click.UsageError("name a place: --point LON LAT, --bbox W S E N, or --geojson FILE")
    if overwrite and out is None:
        raise click.UsageError("--overwrite needs --to OUT")
    if out is not None:
        check_match_file(out, overwrite=overwrite)
    options |= {"within": _region_to_search(**within), "crs": form["crs"]}
    opened = cop_zarr.open(store, **store_options)
    with progress("similar", "chunk") as advance:
        matches = opened.similar(places, negatives, progress=advance, **options)
    found = {"metric": matches.metric, "matches": matches.records()}
    if out is None:
        show(found, as_json, _table(matches.records()))
        return
    write_matches(out, matches, overwrite=overwrite)
    show({"out": str(out), **found}, as_json, f"{out}: {len(matches):,} cells")


def _region_to_search(within_bbox: Any, within_geojson: Any) -> Any:
    """The region whose cells are searched; None for the whole store."""
    if within_bbox is not None and within_geojson is not None:
        raise click.UsageError("name one region to search: --within-bbox W S E N, or --within-geojson FILE")
    return within_bbox if within_geojson is None else read_geojson(within_geojson)


def _places(given: dict[str, Any], form: dict[str, Any], prefix: str = "") -> list[Any]:
    """The places that options name."""
    places: list[Any] = list(given[f"{prefix}point"])
    if form["buffer_m"] is not None:
        circle = {"buffer_m": form["buffer_m"], "shape": form["shape"] or "box"}
        places = [{"lon": x, "lat": y, **circle} for x, y in places]
    places += given[f"{prefix}bbox"]
    for file in given[f"{prefix}geojson"]:
        places += _features(read_geojson(file))
    return places


def _features(document: dict[str, Any]) -> list[Any]:
    """The features of a GeoJSON document, each with the CRS that the document declares."""
    features = document.get("features")
    if not isinstance(features, list):
        return [document]
    if "crs" not in document:
        return features
    return [one | {"crs": document["crs"]} if isinstance(one, dict) else one for one in features]


def _table(records: list[dict[str, Any]]) -> str:
    lines = ["rank       lon      lat    score"]
    lines += [
        f"{rank:4} {cell['lon']:9.2f} {cell['lat']:8.2f} {cell['score']:8.5g}"
        for rank, cell in enumerate(records, 1)
    ]
    return "\n".join(lines)
