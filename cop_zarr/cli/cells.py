"""``cop-zarr cells``: the cells with data, as a file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import cop_zarr
from cop_zarr.cli.main import main
from cop_zarr.cli.options import JSON, OVERWRITE, STORE, STORE_OPTIONS, option_group, output_option
from cop_zarr.cli.output import progress, show
from cop_zarr.cli.regions import REGION_OPTIONS, optional_region


@main.command(
    examples=[
        "cop-zarr cells --to cells.parquet",
        "cop-zarr cells --bbox -10 35 30 60 --to europe.npz",
    ]
)
@STORE
@option_group("region", *REGION_OPTIONS)
@output_option("OUT", "A .parquet, .geoparquet, .npz or .zarr file.", required=True)
@OVERWRITE
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
    """Write each cell with data to a file: its place and its vector.

    All cells of the STORE, or those that a region touches: from north to south, and from west to east.
    Parquet files are GeoParquet of points. Memory does not depend on the number of cells.
    """
    from cop_zarr.interop.cell_files import check_cell_file, write_cells

    roi, crs = optional_region(region, ": 1 takes the cell at the point")
    check_cell_file(out, overwrite=overwrite)
    opened = cop_zarr.open(store, **store_options)
    with progress("cells", "cell") as advance:
        report = write_cells(opened, out, roi, crs, overwrite=overwrite, progress=advance)
    show(asdict(report), as_json, f"{out}: {report.cells:,} cells of {report.bands} bands")
