"""The options that name one region, and the region they name."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Literal

import click

import cop_zarr
from cop_zarr.cli.options import TEXT_FILE
from cop_zarr.errors import InputError

if TYPE_CHECKING:
    from cop_zarr.regions import Roi

POINT = click.option("--point", type=float, nargs=2, metavar="LON LAT", help="A point, with --buffer.")
BUFFER = click.option(
    "--buffer", type=float, metavar="M", help="Geodesic radius around --point, in metres."
)
SHAPE = click.option(
    "--shape", type=click.Choice(["box", "circle"]), help="Shape of the buffer.  [default: box]"
)
CRS = click.option("--crs", metavar="CRS", help="CRS of the region's x y.  [default: EPSG:4326]")
REGION_OPTIONS = (
    click.option("--bbox", type=float, nargs=4, metavar="W S E N", help="Or W,S,E,N; W > E crosses 180°."),
    POINT,
    BUFFER,
    SHAPE,
    click.option("--geojson", type=TEXT_FILE, metavar="FILE", help="Polygons; - is stdin."),
    CRS,
)
"""The parameters of :func:`parse_region`."""


def parse_region(
    bbox: tuple[float, float, float, float] | None,
    point: tuple[float, float] | None,
    buffer: float | None,
    shape: Literal["box", "circle"] | None,
    geojson: IO[str] | None,
    crs: str | None,
) -> tuple[Roi, str | None]:
    """Return the one region that the options name, and the CRS it is still to be converted from."""
    if sum(option is not None for option in (bbox, point, geojson)) != 1:
        raise click.UsageError(
            "name one region: --bbox W S E N, --point LON LAT --buffer M, or --geojson FILE"
        )
    check_buffer(point, buffer, shape)
    if geojson is not None:
        return read_geojson(geojson), crs
    if bbox is not None:
        return cop_zarr.BBox(*bbox) if crs is None else cop_zarr.BBox.from_crs(bbox, crs=crs), None
    if point is None or buffer is None:
        raise click.UsageError(
            "--point LON LAT needs --buffer M; for the cell at a point: --buffer 1 --subpixel nearest"
        )
    if crs is None:
        return cop_zarr.PointBuffer(*point, buffer, shape or "box"), None
    return cop_zarr.PointBuffer.from_crs(*point, buffer, crs=crs, shape=shape or "box"), None


def check_buffer(point: object, buffer: object, shape: object) -> None:
    """Check that there is a point for a buffer."""
    if point is None and (buffer is not None or shape is not None):
        raise click.UsageError("--buffer M and --shape need --point LON LAT")


def note_features(document: object, name: str, store: str | None) -> None:
    """Say on stderr that several features are one region, and which command has one vector for each."""
    features = document.get("features") if isinstance(document, dict) else None
    if isinstance(features, list) and len(features) > 1:
        names = [*([store] if store else []), "FILE" if name == "<stdin>" else name]
        click.echo(
            f"{name} has {len(features):,} features, and this is one answer for all of them. For a vector "
            f"each: cop-zarr batch {' '.join(names)} --to OUT.parquet",
            err=True,
        )


def read_geojson(file: IO[str]) -> dict[str, object]:
    """Read a GeoJSON object; InputError if it is none."""
    try:
        document = json.loads(file.read().removeprefix("\ufeff"))  # the BOM of files from Windows
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{file.name} is not JSON: {error}; for tables and other files, use cop-zarr batch"
        ) from error
    if not isinstance(document, dict):
        raise InputError(f"{file.name} must hold a GeoJSON object; got a {type(document).__name__}")
    return document
