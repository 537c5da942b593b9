"""The options that name one region, and the region that they name."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Literal

import click

import cop_zarr
from cop_zarr.errors import InputError

if TYPE_CHECKING:
    from cop_zarr.regions import Roi

BUFFER = click.option(
    "--buffer", type=float, metavar="M", help="Geodesic radius around --point, in metres."
)
SHAPE = click.option(
    "--shape", type=click.Choice(["box", "circle"]), help="What --buffer makes.  [default: box]"
)
REPAIR = click.option("--repair", is_flag=True, help="Mend invalid polygons instead of refusing them.")
CRS = click.option("--crs", metavar="CRS", help="Of the region's coordinates, x y.  [default: EPSG:4326]")


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
