"""Commands that make, check, mend and describe stores."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

import click

import cop_zarr
from cop_zarr.cli import reports
from cop_zarr.cli.main import main
from cop_zarr.cli.options import JSON, STORAGE_OPTIONS, STORE, TIMEOUT, going_through
from cop_zarr.cli.output import progress, show


@main.command()
@click.argument("source", required=False)
@STORE
@click.option("--overwrite", is_flag=True, help="Replace a cop-zarr store that is there.")
@click.option("--resume", is_flag=True, help="Go on with what an interrupted ingest left.")
@click.option("--strict", is_flag=True, help="Refuse a source that is not the published file.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@going_through
def ingest(
    source: str | None,
    store: str | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Convert the Copernicus-Embed GeoTIFF SOURCE into a STORE.

    SOURCE is a GeoTIFF, or a folder with one embed_map_*.tif. Without it, the folder that
    RS_EMBED_COP_DIR names is taken (default data/copernicus_embed), and if the file is not there, it is
    downloaded from its publisher (768 MB).

    An ingest that was interrupted, even by a kill, is finished by the same command with --resume.
    """
    if dry_run:
        plan = cop_zarr.plan_ingest(source, store, **options)
        show(asdict(plan), as_json, reports.plan_text(plan))
        return
    try:
        with progress("ingest") as told:
            report = cop_zarr.ingest(source, store, **options, progress=told)
    except (KeyboardInterrupt, SystemExit):
        click.echo(
            "\nStopped. What is finished, if anything, has been kept: go on with --resume.", err=True
        )
        raise
    show(asdict(report), as_json, reports.ingest_text(report))


@main.command()
@STORE
@click.option("--source", help="The GeoTIFF that it was made from: compare every value.")
@going_through
def verify(store: str | None, as_json: bool, **options: Any) -> None:
    """Check all of a STORE: structure, checksums, and every value if given the source."""
    with progress("verify") as told:
        report = cop_zarr.verify(store, **options, progress=told)
    verdict = {"ok": report.ok, "damaged_chunks": report.damaged_chunks}
    show({**verdict, **asdict(report)}, as_json, reports.verify_text(report))
    sys.exit(0 if report.ok else 1)


@main.command()
@STORE
@click.option(
    "--source", help="The GeoTIFF that it was made from.  [the folder that RS_EMBED_COP_DIR names]"
)
@going_through
def repair(store: str | None, as_json: bool, **options: Any) -> None:
    """Rewrite what is damaged in a STORE from its source, and nothing else."""
    with progress("repair") as told:
        report = cop_zarr.repair(store, **options, progress=told)
    show({"ok": report.ok, **asdict(report)}, as_json, reports.repair_text(report))
    sys.exit(0 if report.ok else 1)


@main.command()
@STORE
@STORAGE_OPTIONS
@TIMEOUT
@JSON
def info(store: str | None, storage_options: dict[str, Any] | None, timeout: float, as_json: bool) -> None:
    """Say what a STORE holds, where it came from, and under which licence."""
    found = cop_zarr.open(store, storage_options=storage_options, timeout=timeout).info()
    show(found, as_json, reports.info_text(found))
