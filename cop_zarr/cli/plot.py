"""``cop-zarr plot``: a picture of a store, or of a query."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import cop_zarr
from cop_zarr.cli.main import main
from cop_zarr.cli.options import place, placed, pooled
from cop_zarr.cli.output import progress
from cop_zarr.cli.regions import BUFFER, CRS, REPAIR, SHAPE, named_region

if TYPE_CHECKING:
    from cop_zarr.regions import Roi


class Region(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """Four numbers in one word, or a file."""

    name = "region"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Turn the text into a tuple of numbers, or open the file."""
        numbers = value.replace(",", " ").split()
        try:
            box = tuple(map(float, numbers))
        except ValueError:
            return click.File(encoding="utf-8").convert(value, param, ctx)
        if len(box) != 4:
            self.fail(f"a box has four numbers, 'W S E N'; got {value!r}", param, ctx)
        return box


@main.command()
@click.argument("store")
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--bbox",
    type=float,
    nargs=4,
    metavar="W S E N",
    help="What to show; W > E crosses 180°.  [default: all, or the region's surroundings]",
)
@click.option(
    "--region",
    type=Region(),
    metavar="FILE|'W S E N'",
    help="Draw a query's cells, weights and outline: GeoJSON (- is stdin), or a box.",
)
@click.option("--point", type=float, nargs=2, metavar="LON LAT", help="The same of a point, with --buffer.")
@BUFFER
@SHAPE
@REPAIR
@CRS
@pooled
@click.option(
    "--width", type=float, default=10.0, show_default=True, metavar="INCHES", help="Of the picture."
)
@click.option("--dpi", type=float, default=160.0, show_default=True, help="Pixels an inch.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
@placed
def plot(
    store: str,
    out: Path,
    bbox: tuple[float, float, float, float] | None,
    width: float,
    dpi: float,
    overwrite: bool,
    **options: Any,
) -> None:
    """Draw a STORE's embeddings as colours, or a query, to OUT: a .png, .svg or .pdf file.

    Red, green and blue are the first three principal components of the cells that are shown, each from its
    2nd to its 98th percentile. With --region or --point, the picture shows the cells that a query takes and
    what each of them weighs, by the same options as "cop-zarr query" has.
    """
    from cop_zarr.outputs.plotting import save as files

    files.check_plot(out, width, dpi, overwrite)
    options["region"], options["crs"] = _asked(options)
    opened = cop_zarr.open(store, **place(options))
    with progress("plot") as told:
        files.save_plot(
            out,
            lambda axes: opened.plot(bbox, **options, ax=axes, progress=told),
            width=width,
            dpi=dpi,
            overwrite=overwrite,
        )
    click.echo(f"{out}: {out.stat().st_size:,} bytes", err=True)


def _asked(options: dict[str, Any]) -> tuple[Roi | None, str | None]:
    """Take the region that the options name, if any, and the CRS that it is still to be converted from."""
    region, crs = options.pop("region"), options.pop("crs")
    point, buffer, shape = (options.pop(name) for name in ("point", "buffer", "shape"))
    box = region if isinstance(region, tuple) else None
    geojson = None if box else region
    if options["repair"] and geojson is None:
        raise click.UsageError("--repair goes with --region FILE")
    if region is not None and point is not None:
        raise click.UsageError(
            "name one region: --region FILE, --region 'W S E N', or --point with --buffer"
        )
    if region is None and point is None:
        if buffer is not None or shape is not None:
            raise click.UsageError("--buffer M and --shape go with --point LON LAT")
        return None, crs
    return named_region(bbox=box, point=point, buffer=buffer, shape=shape, geojson=geojson, crs=crs)
