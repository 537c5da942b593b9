"""``cop-zarr query``: one region."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import click

import cop_zarr
from cop_zarr import reports
from cop_zarr.cli.group import main
from cop_zarr.cli.options import STORE, Size, place, placed, pooled
from cop_zarr.errors import InputError

if TYPE_CHECKING:
    from cop_zarr.regions import Roi


@main.command()
@STORE
@click.option("--bbox", type=float, nargs=4, metavar="W S E N", help="A box; W > E crosses 180°.")
@click.option("--point", type=float, nargs=2, metavar="LON LAT", help="A point, with --buffer.")
@click.option("--buffer", type=float, metavar="M", help="Geodesic radius around --point, in metres.")
@click.option("--shape", type=click.Choice(["box", "circle"]), help="What --buffer makes.  [default: box]")
@click.option("--geojson", type=click.File(encoding="utf-8"), metavar="FILE", help="Polygons; - is stdin.")
@click.option("--repair", is_flag=True, help="Mend invalid polygons instead of refusing them.")
@click.option("--crs", metavar="CRS", help="Of the region's coordinates, x y.  [default: EPSG:4326]")
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
    from cop_zarr import export

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


def named_region(
    bbox: tuple[float, float, float, float] | None,
    point: tuple[float, float] | None,
    buffer: float | None,
    shape: Literal["box", "circle"] | None,
    geojson: IO[str] | None,
    crs: str | None,
) -> tuple[Roi, str | None]:
    """The one region that the options name, and the CRS that it is still to be converted from."""
    if sum(each is not None for each in (bbox, point, geojson)) != 1:
        raise click.UsageError(
            "name one region: --bbox W S E N, --point LON LAT --buffer M, or --geojson FILE"
        )
    if point is None and (buffer is not None or shape is not None):
        raise click.UsageError("--buffer M and --shape go with --point LON LAT")
    if geojson is not None:
        try:
            document = json.loads(geojson.read().removeprefix("\ufeff"))  # as Windows begins files
        except (ValueError, RecursionError) as error:
            raise InputError(f"{geojson.name} is not JSON: {error}") from error
        if not isinstance(document, dict):
            raise InputError(f"{geojson.name} holds no GeoJSON object, but a {type(document).__name__}")
        return document, crs
    if bbox is not None:
        return cop_zarr.BBox(*bbox) if crs is None else cop_zarr.BBox.from_crs(bbox, crs=crs), None
    if point is None or buffer is None:
        raise click.UsageError(
            "--point LON LAT goes with --buffer M; for the cell at a point: --buffer 1 --subpixel nearest"
        )
    if crs is None:
        return cop_zarr.PointBuffer(*point, buffer, shape or "box"), None
    return cop_zarr.PointBuffer.from_crs(*point, buffer, crs=crs, shape=shape or "box"), None
