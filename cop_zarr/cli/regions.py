"""The options that name one region, and the region they name."""

from __future__ import annotations

import json
import shlex
from typing import IO, TYPE_CHECKING, Any, Literal

import click

import cop_zarr
from cop_zarr.cli.options import TEXT_FILE

if TYPE_CHECKING:
    from cop_zarr.regions import BBox, PointBuffer, Roi

REGION_OPTIONS = (
    click.option("--bbox", type=float, nargs=4, metavar="W S E N", help="A box; W > E crosses 180°."),
    click.option("--point", type=float, nargs=2, metavar="LON LAT", help="A point, with --buffer."),
    click.option(
        "--buffer", "buffer_m", type=float, metavar="M", help="Geodesic radius around --point, in metres."
    ),
    click.option(
        "--shape", type=click.Choice(["box", "circle"]), help="Shape of the buffer.  [default: box]"
    ),
    click.option("--geojson", type=TEXT_FILE, metavar="FILE", help="Polygons; - is stdin."),
    click.option("--crs", metavar="CRS", help="CRS of the region's x y.  [default: EPSG:4326]"),
)
"""The parameters of :func:`parse_region`."""

REGION_NAMES = "--bbox W S E N, --point LON LAT --buffer M, or --geojson FILE"
CELL_AT_POINT = "; for the cell at a point: --buffer 1 --subpixel nearest"


def parse_region(
    bbox: tuple[float, float, float, float] | None,
    point: tuple[float, float] | None,
    buffer_m: float | None,
    shape: Literal["box", "circle"] | None,
    geojson: IO[str] | None,
    crs: str | None,
    advice: str = "",
) -> tuple[Roi, str | None]:
    """Return the one region that the options name, and the CRS it is still to be converted from.

    ``advice`` says how to have the cell at a point.
    """
    if sum(option is not None for option in (bbox, point, geojson)) != 1:
        raise click.UsageError(f"name one region: {REGION_NAMES}")
    check_buffer(point, buffer_m, shape)
    if geojson is not None:
        return read_geojson(geojson), crs
    if bbox is not None:
        return _as_box(bbox, crs), None
    if point is None or buffer_m is None:
        raise click.UsageError(f"--point LON LAT needs --buffer M{advice}")
    return _as_buffer(point, buffer_m, shape, crs), None


def optional_region(region: dict[str, Any], advice: str = "") -> tuple[Roi | None, str | None]:
    """The region that the options name, and its CRS; None for the whole store."""
    if any(region[name] is not None for name in ("bbox", "point", "geojson")):
        return parse_region(**region, advice=advice)
    check_buffer(None, region["buffer_m"], region["shape"])
    if region["crs"] is not None:
        raise click.UsageError("--crs needs --bbox, --point or --geojson")
    return None, None


def _as_box(bbox: tuple[float, float, float, float], crs: str | None) -> BBox:
    """The box of four numbers, in degrees unless there is a CRS."""
    return cop_zarr.BBox(*bbox) if crs is None else cop_zarr.BBox.from_crs(bbox, crs=crs)


def _as_buffer(
    point: tuple[float, float], buffer_m: float, shape: Literal["box", "circle"] | None, crs: str | None
) -> PointBuffer:
    """The buffer around a point, in degrees unless there is a CRS."""
    if crs is None:
        return cop_zarr.PointBuffer(*point, buffer_m, shape or "box")
    return cop_zarr.PointBuffer.from_crs(*point, buffer_m, crs=crs, shape=shape or "box")


def check_buffer(point: object, buffer_m: float | None, shape: Literal["box", "circle"] | None) -> None:
    """Check that there is a point for a buffer, and that one of this radius can be."""
    if not point and (buffer_m is not None or shape is not None):
        raise click.UsageError("--buffer M and --shape need --point LON LAT")
    if buffer_m is not None:
        cop_zarr.PointBuffer(0, 0, buffer_m, shape or "box")


def note_features(document: object, name: str, store: str | None) -> None:
    """Say on stderr that several features are one region, and which command has one vector for each."""
    features = document.get("features") if isinstance(document, dict) else None
    if isinstance(features, list) and len(features) > 1:
        names = [*([store] if store else []), "FILE" if name == "<stdin>" else name]
        click.echo(
            f"{name} has {len(features):,} features, and this is one answer for all of them. For a vector "
            f"each: cop-zarr batch {shlex.join(names)} --to OUT.parquet",
            err=True,
        )


def read_geojson(file: IO[str]) -> dict[str, object]:
    """Read a GeoJSON object; an error of status 1 if the file holds none."""
    try:
        document = json.loads(file.read().removeprefix("\ufeff"))  # the BOM of files from Windows
    except (ValueError, RecursionError) as error:
        raise click.ClickException(
            f"{file.name} is not JSON: {error}; for tables and other files, use cop-zarr batch"
        ) from error
    if not isinstance(document, dict):
        raise click.ClickException(
            f"{file.name} must hold a GeoJSON object; got a {type(document).__name__}"
        )
    return document
