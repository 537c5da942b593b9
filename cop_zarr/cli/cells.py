"""``cop-zarr cells``: the cells with data, as a file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

import cop_zarr
from cop_zarr.cli.main import main
from cop_zarr.cli.options import JSON, PATH, STORE, STORE_OPTIONS, option_group
from cop_zarr.cli.output import progress, show
from cop_zarr.cli.regions import REGION_OPTIONS, check_buffer, parse_region


@main.command()
@STORE
@option_group("region", *REGION_OPTIONS)
@click.option(
    "--to",
    "out",
    type=PATH,
    required=True,
    metavar="OUT",
    help="A .parquet, .geoparquet, .npz or .zarr file.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
@JSON
@option_group("store_options", *STORE_OPTIONS)
def cells(
    store: str | None,
    out: Path,
    overwrite: bool,
    as_json: bool,
    region: dict[str, Any],
    store_options: dict[str, Any],
) -> None:
    """Write the cells of a STORE that have data to OUT, each with its place and its vector.

    All of them, or those that a region touches: from north to south, and from west to east. Parquet files
    are GeoParquet of points. Memory does not depend on the number of cells.
    """
    from cop_zarr.interop.cell_files import check_cell_file, write_cells

    roi, crs = _optional_region(region)
    check_cell_file(out, overwrite=overwrite)
    opened = cop_zarr.open(store, **store_options)
    with progress("cells", "cell") as advance:
        report = write_cells(opened, out, roi, crs, overwrite=overwrite, progress=advance)
    show(asdict(report), as_json, f"{out}: {report.cells:,} cells of {report.bands} bands")


def _optional_region(region: dict[str, Any]) -> tuple[Any, str | None]:
    """The region that the options name, and its CRS; None for the whole store."""
    if region["point"] is not None and region["buffer"] is None:
        raise click.UsageError("--point LON LAT needs --buffer M: 1 takes the cell at the point")
    if any(region[name] is not None for name in ("bbox", "point", "geojson")):
        return parse_region(**region)
    check_buffer(None, region["buffer"], region["shape"])
    if region["crs"] is not None:
        raise click.UsageError("--crs needs --bbox, --point or --geojson")
    return None, None
