"""Commands that create, verify, repair and describe stores."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

import click

import cop_zarr
from cop_zarr.cli import reports
from cop_zarr.cli.main import main
from cop_zarr.cli.options import (
    JSON,
    RUN_OPTIONS,
    STORAGE_OPTIONS,
    STORE,
    TIMEOUT,
    complete_path,
    option_group,
)
from cop_zarr.cli.output import progress, resumable, show
from cop_zarr.core import settings

ENCODING = click.Choice(["float32", "float16", "int8"])

BREAK_LOCK = click.option(
    "--break-lock", is_flag=True, help="Take the lock of a process elsewhere that cannot end any more."
)


@main.command(
    examples=[
        "cop-zarr ingest",
        "cop-zarr ingest embed_map_310k.tif copernicus.zarr --overwrite",
    ]
)
@click.argument("source", required=False, shell_complete=complete_path)
@STORE
@click.option("--dry-run", is_flag=True, help="Report what would be done, and write nothing.")
@BREAK_LOCK
@option_group(
    "options",
    click.option("--overwrite", is_flag=True, help="Replace an existing cop-zarr store."),
    click.option("--resume", is_flag=True, help="Continue an interrupted ingest."),
    click.option("--strict", is_flag=True, help="Refuse a source that is not the published file."),
    click.option("--shards", is_flag=True, help="Write few large objects, for publishing."),
    click.option(
        "--encoding",
        type=ENCODING,
        default="float32",
        help="How numbers are stored; float16 and int8 are smaller, and lose something.  [float32]",
    ),
    *RUN_OPTIONS,
)
@JSON
def ingest(
    source: str | None,
    store: str | None,
    dry_run: bool,
    break_lock: bool,
    options: dict[str, Any],
    as_json: bool,
) -> None:
    """Convert the Copernicus-Embed GeoTIFF to a STORE.

    SOURCE is a GeoTIFF, or a folder with one embed_map_*.tif; by default the folder in RS_EMBED_COP_DIR,
    or data/copernicus_embed. If that has no file, the published one is taken from the cache of
    huggingface_hub, or downloaded (768 MB).

    An interrupted ingest, even one that was killed, is finished by the same command with --resume.
    """
    if dry_run:
        plan = cop_zarr.plan_ingest(source, store, **options)
        show(asdict(plan), as_json, reports.plan_text(plan))
        return
    with resumable("ingest") as options["progress"]:
        report = cop_zarr.ingest(source, store, break_lock=break_lock, **options)
    show(asdict(report), as_json, reports.ingest_text(report))
    if report.source.get("non_finite_cells"):
        found = reports.non_finite_text(report.source)
        click.echo(f"Warning: {found}, as answers that they are part of can be", err=True)


@main.command(
    examples=[
        "cop-zarr copy --to copy.zarr",
        "cop-zarr copy --to published.zarr --shards --encoding int8",
    ]
)
@STORE
@click.option(
    "--to",
    "other",
    metavar="OTHER",
    required=True,
    shell_complete=complete_path,
    help="The path or URL of the copy.",
)
@click.option("--shards/--no-shards", default=None, help="Whether OTHER has shards.  [as STORE has]")
@click.option(
    "--encoding", type=ENCODING, help="How numbers are stored, if STORE is float32.  [as STORE's]"
)
@BREAK_LOCK
@option_group(
    "options",
    click.option("--overwrite", is_flag=True, help="Replace an existing cop-zarr store."),
    *RUN_OPTIONS,
)
@JSON
def copy(
    store: str | None,
    other: str,
    shards: bool | None,
    encoding: str | None,
    break_lock: bool,
    options: dict[str, Any],
    as_json: bool,
) -> None:
    """Copy a STORE, with shards or without, or encoded anew.

    Its source is not needed. Each chunk is checked on the way, and so are the components that STORE keeps.
    One that was interrupted begins anew with --overwrite. --source-options are for STORE, --storage-options
    for OTHER.
    """
    with progress("copy") as options["progress"]:
        report = cop_zarr.copy(
            settings.store_url(store),
            other,
            shards=shards,
            encoding=encoding,
            break_lock=break_lock,
            **options,
        )
    show(asdict(report), as_json, reports.copy_text(report))


@main.command(
    examples=[
        "cop-zarr verify",
        "cop-zarr verify copernicus.zarr --source embed_map_310k.tif",
    ]
)
@STORE
@click.option(
    "--source", shell_complete=complete_path, help="The GeoTIFF it was made from: compare every value."
)
@option_group("options", *RUN_OPTIONS)
@JSON
def verify(store: str | None, source: str | None, options: dict[str, Any], as_json: bool) -> None:
    """Verify a STORE: its structure and its checksums.

    With the source at hand (--source), every value is compared.
    """
    with progress("verify") as options["progress"]:
        report = cop_zarr.verify(store, source, **options)
    verdict = {"ok": report.ok, "damaged_chunks": report.damaged_chunks}
    show({**verdict, **asdict(report)}, as_json, reports.verify_text(report))
    sys.exit(0 if report.ok else 1)


@main.command(examples=["cop-zarr repair copernicus.zarr --source embed_map_310k.tif"])
@STORE
@click.option(
    "--source",
    shell_complete=complete_path,
    help="The GeoTIFF it was made from.  [default: the folder in RS_EMBED_COP_DIR]",
)
@BREAK_LOCK
@option_group("options", *RUN_OPTIONS)
@JSON
def repair(
    store: str | None, source: str | None, break_lock: bool, options: dict[str, Any], as_json: bool
) -> None:
    """Rewrite the damaged objects of a STORE from its source."""
    with progress("repair") as options["progress"]:
        report = cop_zarr.repair(store, source, break_lock=break_lock, **options)
    show({"ok": report.ok, **asdict(report)}, as_json, reports.repair_text(report))
    sys.exit(0 if report.ok else 1)


@main.command(
    examples=[
        "cop-zarr info",
        "cop-zarr info https://example.org/copernicus.zarr --json",
    ]
)
@STORE
@option_group("store_options", STORAGE_OPTIONS, TIMEOUT)
@JSON
def info(store: str | None, store_options: dict[str, Any], as_json: bool) -> None:
    """Describe a STORE: contents, source, licence."""
    found = cop_zarr.open(store, **store_options).info()
    show(found, as_json, reports.info_text(found))
