"""The command line: parse, call, print, exit status. The only module that prints.

Exit status: 0 good; 1 the job failed, or the check found damage; 2 wrong usage. Results go to stdout,
progress to stderr, and only on a terminal.

Everything but click, tqdm and the error types is imported by the command that needs it, so that
``cop-zarr --help`` answers at once.
"""

from __future__ import annotations

import errno
import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import click

import cop_zarr
from cop_zarr import reports
from cop_zarr.errors import CopZarrError, InputError

if TYPE_CHECKING:
    from cop_zarr.regions import Roi
    from cop_zarr.storage import Progress

SIZE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Size(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """A number of bytes: 500MB, 1GiB, 2G, 1048576; units are powers of 1024."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Turn the text into bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", value.strip(), re.IGNORECASE)
        if not match:
            self.fail(f"{value!r} is not a size such as 512MB, 1GiB or 1048576", param, ctx)
        return int(float(match[1]) * SIZE_UNITS[match[2].upper()])


class Options(click.ParamType):  # type: ignore[type-arg]  # as above
    """A JSON object of options for the filesystem of a URL."""

    name = "json"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        """Turn the text into a dict; what it says may be secret, and is not repeated."""
        try:
            options = json.loads(value)
        except ValueError:
            options = None
        if not isinstance(options, dict):
            self.fail('it is not a JSON object such as {"anon": true}', param, ctx)
        return options


class Commands(click.Group):
    """A group whose commands turn cop-zarr's own errors into messages and exit statuses."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a request to stop (SIGTERM, SIGHUP) lets it clean up, as Ctrl-C does."""
        before = {
            request: signal.signal(request, lambda number, _: sys.exit(128 + number))
            for request in (signal.SIGTERM, signal.SIGHUP)
            if signal.getsignal(request) is not signal.SIG_IGN  # as nohup asks
        }
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise click.UsageError(str(error)) from error
        except CopZarrError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # the reader of our output has enough; click ends quietly
            raise click.ClickException(str(error)) from error
        finally:
            for request, handler in before.items():
                signal.signal(request, handler)


STORE = click.argument("store", required=False)
JSON = click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
WORKERS = click.option("--workers", type=int, help="Threads at once.  [COP_ZARR_WORKERS, or up to 4]")
MEMORY = click.option("--memory", type=Size(), default="1GiB", show_default=True, help="Stay within.")
STORAGE_OPTIONS = click.option(
    "--storage-options", type=Options(), metavar="JSON", help="For the store's URL: '{\"anon\": true}'."
)
SOURCE_OPTIONS = click.option(
    "--source-options", type=Options(), metavar="JSON", help="The same for the source's URL."
)
TIMEOUT = click.option(
    "--timeout",
    type=float,
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Over a network, for an object with all its tries.",
)


def going_through(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of going through all of a source or a store."""
    for option in (JSON, TIMEOUT, SOURCE_OPTIONS, STORAGE_OPTIONS, MEMORY, WORKERS):
        command = option(command)
    return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(cop_zarr.__version__, prog_name="cop-zarr")
def main() -> None:
    """Copernicus-Embed as a chunked Zarr store, with queries for regions.

    Where STORE is left out, COP_ZARR_STORE names it (default data/copernicus_embed.zarr). Stores and
    sources are paths or fsspec URLs.

    Exit status: 0 good; 1 the job failed, or the check found damage; 2 wrong usage.
    """


@main.command()
@click.argument("source", required=False)
@STORE
@click.option("--overwrite", is_flag=True, help="Replace a cop-zarr store that is there.")
@click.option("--resume", is_flag=True, help="Go on with what an interrupted ingest left.")
@click.option("--strict", is_flag=True, help="Refuse a source that is not the published file.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@going_through
def ingest(source: str | None, store: str | None, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Convert the Copernicus-Embed GeoTIFF SOURCE into a STORE.

    SOURCE is a GeoTIFF, or a folder with one embed_map_*.tif. Without it, the folder that
    RS_EMBED_COP_DIR names is taken (default data/copernicus_embed), and if the file is not there, it is
    downloaded from its publisher (768 MB).

    An ingest that was interrupted, even by a kill, is finished by the same command with --resume.
    """
    if dry_run:
        plan = cop_zarr.plan_ingest(source, store, **options)
        _print(asdict(plan), as_json, reports.plan_text(plan))
        return
    try:
        with _progress("ingest") as progress:
            report = cop_zarr.ingest(source, store, **options, progress=progress)
    except (KeyboardInterrupt, SystemExit):
        click.echo(
            "\nStopped. What is finished, if anything, has been kept: go on with --resume.", err=True
        )
        raise
    _print(asdict(report), as_json, reports.ingest_text(report))


@main.command()
@STORE
@click.option("--source", help="The GeoTIFF that it was made from: compare every value.")
@going_through
def verify(store: str | None, as_json: bool, **options: Any) -> None:
    """Check all of a STORE: structure, checksums, and every value if given the source."""
    with _progress("verify") as progress:
        report = cop_zarr.verify(store, **options, progress=progress)
    verdict = {"ok": report.ok, "damaged_chunks": report.damaged_chunks}
    _print({**verdict, **asdict(report)}, as_json, reports.verify_text(report))
    sys.exit(0 if report.ok else 1)


@main.command()
@STORE
@click.option(
    "--source", help="The GeoTIFF that it was made from.  [the folder that RS_EMBED_COP_DIR names]"
)
@going_through
def repair(store: str | None, as_json: bool, **options: Any) -> None:
    """Rewrite what is damaged in a STORE from its source, and nothing else."""
    with _progress("repair") as progress:
        report = cop_zarr.repair(store, **options, progress=progress)
    _print({"ok": report.ok, **asdict(report)}, as_json, reports.repair_text(report))
    sys.exit(0 if report.ok else 1)


@main.command()
@STORE
@STORAGE_OPTIONS
@TIMEOUT
@JSON
def info(store: str | None, storage_options: dict[str, Any] | None, timeout: float, as_json: bool) -> None:
    """Say what a STORE holds, where it came from, and under which licence."""
    found = cop_zarr.open(store, storage_options=storage_options, timeout=timeout).info()
    _print(found, as_json, reports.info_text(found))


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
@click.option(
    "--pooling",
    type=click.Choice(["mean", "max", "min", "std", "sum"]),
    default="mean",
    show_default=True,
)
@click.option(
    "--weights",
    type=click.Choice(["auto", "none", "coverage", "area"]),
    default="auto",
    show_default=True,
    help="What a cell counts: 1 if touched, its part inside, or that in m². Auto: none for boxes, "
    "coverage for polygons and circles.",
)
@click.option(
    "--empty",
    type=click.Choice(["include", "skip"]),
    default="include",
    show_default=True,
    help="Whether cells without data count, as zeros.",
)
@click.option(
    "--subpixel",
    type=click.Choice(["raise", "touch", "nearest", "bilinear"]),
    default="raise",
    show_default=True,
    help="What to do with a region smaller than a cell.",
)
@click.option("--max-bytes", type=Size(), default="1GiB", show_default=True, help="Largest grid.")
@click.option("--to", type=click.Path(path_type=Path), help="A .json, .npy, .npz or .csv file.")
@click.option("--overwrite", is_flag=True, help="Replace the file that --to names.")
@STORAGE_OPTIONS
@TIMEOUT
@click.option(
    "--cache-dir", type=click.Path(path_type=Path), help="Keep what is read of a remote store here."
)
@click.option("--cache-disk-bytes", type=Size(), default="4GiB", show_default=True, help="Size of that.")
def query(
    store: str | None,
    max_bytes: int,
    to: Path | None,
    overwrite: bool,
    weights: str,
    year: int,
    **options: Any,
) -> None:
    """Ask a STORE for a region's embedding: JSON on stdout, or a file by --to."""
    from cop_zarr import export

    region = {name: options.pop(name) for name in ("bbox", "point", "buffer", "shape", "geojson")}
    roi, crs = _roi(**region, crs=options.pop("crs"))
    place = {
        name: options.pop(name) for name in ("storage_options", "timeout", "cache_dir", "cache_disk_bytes")
    }
    if options["repair"] and region["geojson"] is None:
        raise click.UsageError("--repair goes with --geojson FILE")
    if overwrite and to is None:
        raise click.UsageError("--overwrite goes with --to FILE")
    if to is not None:
        export.check_target(to, overwrite)
    embedding = cop_zarr.open(store, **place).query(
        roi,
        crs=crs,
        year=year,
        weights=None if weights == "none" else weights,  # type: ignore[arg-type]  # one of the choices
        max_bytes=max_bytes,
        **options,
    )
    if to is None:
        click.echo(export.to_json(embedding))
    else:
        export.save(embedding, to, overwrite)
        shape = " x ".join(map(str, embedding.data.shape))
        click.echo(f"{to}: {shape} float32 numbers of {reports.cells_text(embedding.meta)}", err=True)


@main.command()
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--bands", type=int, default=768, show_default=True)
@click.option("--bbox", type=float, nargs=4, metavar="W S E N", help="A part of the globe only.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def synth(
    out: Path,
    bands: int,
    bbox: tuple[float, float, float, float] | None,
    seed: int,
    overwrite: bool,
) -> None:
    """Write a stand-in GeoTIFF to OUT: the published container, real coastlines, made-up values."""
    from cop_zarr.regions import BBox
    from cop_zarr.synthetic import LATTICE

    grid = LATTICE if bbox is None else LATTICE.part(LATTICE.touched(BBox(*bbox).bounds)[0])
    with _progress("synth") as progress:
        cop_zarr.synthesize(out, grid=grid, bands=bands, seed=seed, overwrite=overwrite, progress=progress)
    rows, cols = grid.shape
    click.echo(
        f"{out}: {rows} x {cols} cells x {bands} bands, synthetic, {reports.size_text(out.stat().st_size)}"
    )


@main.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data/quickstart"),
    show_default=True,
    help="Where a stand-in and its store are put.",
)
def quickstart(folder: Path) -> None:
    """Do the main job once: ingest, verify, and ask about a few places.

    Takes the published file if the folder that RS_EMBED_COP_DIR names has it (default
    data/copernicus_embed). Otherwise it makes a stand-in of the whole globe, whose values are made up.
    """
    from cop_zarr import tour

    with _progress_bars() as bar:
        for line in tour.steps(folder, bar):
            click.echo(line)


def _roi(
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


@contextmanager
def _progress_bars() -> Iterator[Callable[[str], Progress]]:
    """Make progress bars with bytes, rate and time left; on stderr, and only if it is a terminal."""
    from tqdm import tqdm

    bars: list[Any] = []

    def start(name: str) -> Progress:
        for bar in bars:
            bar.close()
        current = tqdm(desc=name, unit="B", unit_scale=True, unit_divisor=1024, disable=None, leave=False)
        bars.append(current)

        def advance(done: int, total: int) -> None:
            if total != current.total or done < current.n:
                current.reset(total)  # the next part of the same job
            current.update(done - current.n)

        return advance

    try:
        yield start
    finally:
        for bar in bars:
            bar.close()


@contextmanager
def _progress(name: str) -> Iterator[Progress]:
    with _progress_bars() as start:
        yield start(name)


def _print(document: dict[str, Any], as_json: bool, text: str) -> None:
    """Print a report, as JSON or for people."""
    click.echo(json.dumps(document, indent=2) if as_json else text)
